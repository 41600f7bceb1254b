"""Where records live: one JSON-lines file per paper, and pictures packed beside them.

``<paper>.jsonl`` has a part for each experiment: a line with what all its records share, then a
line for each record, sorted by name. A file is always replaced whole, under a lock: a writer killed
at any moment loses nothing, and neither do two at once.

Pictures of finished records lie in the work folder, one lossless WebP each. Those that the book
shows are packed into ``sheets/<paper>.webp``, one below the other; any other comes back by
computing its record again.
"""

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from lord.files import read_text, replacing, require_writable, write_text
from lord.record import Record
from lord.study import registry

# Fields of a record whose entries are shared one by one.
NESTED = ("settings", "versions", "components")


class Store:
    """The records of one profile, in a folder.

    Args:
        folder: is made when something is written.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.work = folder / ".work"

    def path(self, experiment: str) -> Path:
        """The file of an experiment's records, which those of its paper share."""
        return self.folder / f"{registry.experiments()[experiment].paper}.jsonl"

    def records(self, experiment: str) -> Mapping[str, Record]:
        """The records of an experiment by name; none if there is no file.

        Raises:
            ValueError: the file is damaged; the message names it and the line.
        """
        path = self.path(experiment)
        if not path.is_file():
            return {}
        state = path.stat()
        return _read(path, experiment, state.st_mtime_ns, state.st_size, state.st_ino)

    def prepare(self) -> None:
        """Find out that a file cannot be written before there is something to write.

        Raises:
            OSError: so it is; the message names it.
        """
        self.work.mkdir(parents=True, exist_ok=True)
        for path in {*map(self.path, registry.experiments()), self.work / "sheet.webp"}:
            require_writable(path)

    def write(self, record: Record, sheet: NDArray[np.uint8] | None = None) -> None:
        """Add a record, or replace the one of its name; its picture (H, W, 3) first."""
        if sheet is not None:
            self.write_sheet(record.name, sheet)
        self.write_all(record.kind, [record])

    def write_all(self, experiment: str, records: Iterable[Record]) -> None:
        """Add records of one experiment, or replace those of their names."""
        path = self.path(experiment)
        self.work.mkdir(parents=True, exist_ok=True)
        with FileLock(self.work / f"{path.stem}.lock"):
            merged = {**self.records(experiment), **{record.name: record for record in records}}
            parts = {part: "".join(lines) for part, (_, lines) in _parts(path).items()}
            parts[experiment] = _dumps([merged[name] for name in sorted(merged)])
            write_text(path, "".join(parts[part] for part in sorted(parts)))

    def write_sheet(self, name: str, sheet: NDArray[np.uint8]) -> Path:
        """Keep the picture (H, W, 3) of a record in the work folder; return its file."""
        _save_webp(sheet, self._sheet(name))
        return self._sheet(name)

    def _sheet(self, name: str) -> Path:
        return self.work / "sheets" / f"{name}.webp"

    def sheet(self, record: Record) -> NDArray[np.uint8]:
        """The picture of a record, shape (H, W, 3).

        Raises:
            FileNotFoundError: it is not kept; the message says how it comes back.
        """
        if self._sheet(record.name).is_file():
            return _open(self._sheet(record.name))[1]
        pack = next((pack for pack in self._packs() if record.name in pack[0]), None)
        if pack is None:
            raise FileNotFoundError(
                f"{self.folder}: no picture of {record.name} is kept; it comes back with: "
                f"lord study sheet {record.name} --profile {self.folder.name}"
            )
        index, stack = pack
        top, height, width = index[record.name]
        return stack[top : top + height, :width]

    def has_sheet(self, record: Record) -> bool:
        """Whether the picture of a record is kept."""
        return self._sheet(record.name).is_file() or self.is_packed(record)

    def is_packed(self, record: Record) -> bool:
        """Whether the picture of a record is kept for good."""
        return any(record.name in index for index, _ in self._packs())

    def pack(self, paper: str, records: Iterable[Record]) -> None:
        """Keep the pictures of some records of a paper's experiments, and no others, for good."""
        sheets = {r.name: self.sheet(r) for r in records if self.has_sheet(r)}
        if not sheets:
            return
        index, top = {}, 0
        width = max(sheet.shape[1] for sheet in sheets.values())
        stack = np.full((sum(len(sheet) for sheet in sheets.values()), width, 3), 255, np.uint8)
        for name, sheet in sheets.items():
            index[name] = [top, *sheet.shape[:2]]
            stack[top : top + len(sheet), : sheet.shape[1]] = sheet
            top += len(sheet)
        path = self.folder / "sheets" / f"{paper}.webp"
        before = _open(path) if path.is_file() else ({}, np.empty((0, 0, 3), np.uint8))
        if before[0] != index or not np.array_equal(before[1], stack):
            _save_webp(stack, path, index)

    def _packs(self) -> list[tuple[Mapping[str, list[int]], NDArray[np.uint8]]]:
        """Of each pack, top, height and width of its pictures by record, and all of them in one."""
        return [_open(path) for path in sorted((self.folder / "sheets").glob("*.webp"))]


def _save_webp(
    pixels: NDArray[np.uint8], path: Path, index: Mapping[str, list[int]] | None = None
) -> None:
    """Write a picture; an index of its parts is in the file, so that both change together."""
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(
            temporary,
            format="WEBP",
            lossless=True,
            quality=90,
            method=4,
            xmp=json.dumps(index or {}).encode(),
        )


def _open(path: Path) -> tuple[Mapping[str, list[int]], NDArray[np.uint8]]:
    state = path.stat()
    return _open_pack(path, state.st_mtime_ns, state.st_size, state.st_ino)


@lru_cache(maxsize=16)
def _open_pack(path: Path, *state: int) -> tuple[Mapping[str, list[int]], NDArray[np.uint8]]:
    try:
        with Image.open(path, formats=("WEBP",)) as image:
            return json.loads(image.info["xmp"]), np.array(image.convert("RGB"))
    except (OSError, ValueError, LookupError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path}: not a picture of records ({error}). Delete it; `lord study sheet` and `lord "
            "study tables` bring it back."
        ) from error


def _parts(path: Path) -> dict[str, tuple[int, list[str]]]:
    """Of each experiment in a file, the number of its first line, and its lines.

    Raises:
        ValueError: the file does not begin with an experiment.
    """
    parts: dict[str, tuple[int, list[str]]] = {}
    lines: list[str] = []
    text = read_text(path) if path.is_file() else ""
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        if found := re.match(r'\{"experiment": "([^"]*)"', line):
            lines = []
            parts[found[1]] = number, lines
        elif number == 1:
            raise ValueError(f"{path}, line 1: names no experiment. Take the file back from git.")
        lines.append(line)
    return parts


@lru_cache(maxsize=256)
def _read(path: Path, experiment: str, *state: int) -> Mapping[str, Record]:
    parts, records = _parts(path), {}
    if experiment not in parts:
        return records
    number, (header, *lines) = parts[experiment]
    try:
        shared = json.loads(header)["shared"]
        for line in lines:
            number += 1
            content = json.loads(line)
            for field, values in shared.items():
                if field in NESTED:
                    content[field] = {**values, **content.get(field, {})}
                else:
                    content[field] = values
            record = Record.model_validate(content)
            records[record.name] = record
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise ValueError(
            f"{path}, line {number}: not a valid record ({reason}). Remove the line and run its "
            "experiment again."
        ) from error
    return records


def _dumps(records: list[Record]) -> str:
    """The part of an experiment: the shared fields first, then a line for each record."""
    contents = [record.model_dump(mode="json") for record in records]
    first, shared = contents[0], {}
    for field, value in first.items():
        if field in NESTED:
            common = {
                key: entry
                for key, entry in value.items()
                if all(c[field].get(key, ...) == entry for c in contents)
            }
            shared[field] = common
            for content in contents:
                content[field] = {k: v for k, v in content[field].items() if k not in common}
        elif field not in ("name", "key") and all(c[field] == value for c in contents):
            shared[field] = value
    for content in contents:
        for field in [f for f in content if f in shared and f not in NESTED]:
            del content[field]
        for field in NESTED:
            if not content[field]:
                del content[field]
    lines = [{"experiment": first.get("kind", records[0].kind), "shared": shared}, *contents]
    # The name first, the rest in alphabetical order.
    lines = [{k: line[k] for k in sorted(line, key=lambda k: (k != "name", k))} for line in lines]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
