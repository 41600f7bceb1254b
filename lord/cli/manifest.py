"""Folders that fill up image by image, and need not start over.

A hidden file in the folder keeps, for each image, the request it answers, checksums of its files
and some numbers about it. An image that is there unchanged and answers the same request is not made
again; what is not listed with these contents is never replaced.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, TypeAdapter

from lord.processes import processes, rank
from lord.progress import track

if TYPE_CHECKING:
    from lord.models.diffusion import Pipeline

FILE = ".lord.json"
SHOWN = 3
"""So many names a message lists."""


class Shard(NamedTuple):
    """One of equal shares of the batches of a folder, which several processes make at a time.

    Attributes:
        number: from 1 on.
        of: how many shares there are.
    """

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}-{self.of}"


class Entry(BaseModel):
    """What is known of an image, see `Manifest`; what else is noted about it are numbers."""

    model_config = ConfigDict(extra="allow", strict=True)
    __pydantic_extra__: dict[str, float]

    group: str
    request: str | None
    files: dict[str, list[str]]


ENTRIES = TypeAdapter(dict[str, Entry])


def own_share() -> Shard | None:
    """The share of this process of those that were launched together; None of one alone."""
    return Shard(rank() + 1, processes()) if processes() > 1 else None


class Manifest:
    """What is known of the images in a folder, by name.

    Each entry has the ``group`` of images that were asked for together, the ``request`` that the
    image answers, and the checksums of its ``files`` by their paths in the folder: several of a
    file while it is being replaced, so that a killed process leaves nothing unknown.

    Args:
        common: what all images depend on that the command is asked for.
        shard: the share of the batches that this process makes, while others make others; without,
            all of them.

    Raises:
        ValueError: the hidden file is damaged, or of another version of this program.
        OSError: it cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        common: Mapping[str, Any] | None = None,
        shard: Shard | None = None,
    ):
        self.folder = folder
        self.path = folder / FILE
        self.group = request_of(common or {})
        self.shard = shard
        self.entries = self._read()
        self._own: set[str] = set()  # what this process has put

    def require_own(self, files: Iterable[str]) -> None:
        """Before any work, refuse a folder in which files would be lost or mixed up with others.

        Args:
            files: the paths in the folder of what is to be written.

        Raises:
            ValueError: some of them, or pictures beside them, are there and not listed, or were
                changed since.
        """
        from lord.data.picture import SUFFIXES

        files = set(files)
        places = {(self.folder / file).parent for file in files}
        found = {
            path.relative_to(self.folder).as_posix()
            for place in places
            if place.is_dir()
            for path in place.iterdir()
            if path.suffix.lower() in SUFFIXES
        }
        found |= {file for file in files if (self.folder / file).exists()}
        if self.shard:  # others list what they are about to write, and write it
            self.entries = self._read()
        listed = self._listed()
        strange = sorted(file for file in found if not self._is(file, listed.get(file, ())))
        if strange:
            raise ValueError(
                f"{self.folder}: not written here by this program, or changed since: "
                f"{shorten(strange)}. Give another folder, or move them away."
            )

    def require_alone(self, names: Iterable[str]) -> None:
        """Refuse a folder whose other images would stay, though something else was asked for.

        Args:
            names: the images that are to be written.

        Raises:
            ValueError: there are such images.
        """
        stale = [name for name in self._others(names) if self._group(name) != self.group]
        if stale:
            raise ValueError(
                f"{self.folder}: holds images that something else was asked for: "
                f"{shorten(stale)}. Give another folder, or delete them."
            )

    def companions(self, names: Iterable[str]) -> list[str]:
        """Further images of the same group, of an earlier run that asked for more or for others."""
        return [name for name in self._others(names) if self._group(name) == self.group]

    def require_unchanged(self, files: Iterable[str]) -> None:
        """Before a folder is read, refuse it if it is not as it was written, but for what is gone.

        Args:
            files: the pictures that are in it.

        Raises:
            ValueError: some of them are not listed, or what is listed was changed since.
        """
        if not self.entries:
            return
        listed = self._listed()
        strange = {
            "added": [file for file in files if file not in listed],
            "changed": [
                file
                for file, sums in listed.items()
                if (self.folder / file).exists() and not self._is(file, sums)
            ],
        }
        told = [f"{what}: {shorten(sorted(names))}" for what, names in strange.items() if names]
        if told:
            raise ValueError(
                f"{self.folder}: since it was written, {'; '.join(told)}. "
                f"To use the folder as it is now, delete {self.path}"
            )

    def remarks(self) -> list[str]:
        """What of the images that were written to a folder may surprise who reads it."""
        gone = [file for file in self._listed() if not (self.folder / file).exists()]
        groups = {self._group(name) for name in self.entries}
        return [
            *([f"missing since it was written: {shorten(sorted(gone))}"] if gone else []),
            *([f"images of {len(groups)} different requests"] if len(groups) > 1 else []),
        ]

    def missing(
        self, names: Sequence[str], requests: Sequence[str], batch_size: int
    ) -> Iterator[slice]:
        """Go through the batches in which an image is missing or answers another request.

        Batches are always the same, so that a resumed run does not differ even in rounding, and
        neither do shards from the whole.
        """
        starts = range(0, len(names), batch_size)
        if self.shard:
            starts = starts[self.shard.number - 1 :: self.shard.of]
        for start in track(starts, f"batches of {batch_size} images"):
            rows = slice(start, start + batch_size)
            if not all(map(self._answers, names[rows], requests[rows])):
                yield rows

    def put(
        self,
        names: Sequence[str],
        requests: Sequence[str],
        files: Sequence[Mapping[str, bytes]],
        numbers: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Write images and note them.

        Args:
            files: of each image, the contents of its files by path in the folder.
            numbers: of each image, what else is noted about it.

        Raises:
            OSError: a file cannot be written.
        """
        from lord.files import write_bytes

        sums = [{path: digest(content) for path, content in each.items()} for each in files]
        known = self._listed()
        for name, new in zip(names, sums, strict=True):
            both = {path: [*known.get(path, ()), value] for path, value in new.items()}
            self.entries[name] = {"group": self.group, "request": None, "files": both}
        self._own |= set(names)
        self._write()
        for each in files:
            for path, content in each.items():
                write_bytes(self.folder / path, content)
        noted = numbers or [{}] * len(names)
        for name, request, new, about in zip(names, requests, sums, noted, strict=True):
            final = {path: [value] for path, value in new.items()}
            self.entries[name] = {"group": self.group, "request": request, "files": final, **about}
        self._write()

    def _answers(self, name: str, request: str) -> bool:
        entry = self.entries.get(name)
        if entry is None or entry["request"] != request:
            return False
        return all(self._is(file, sums) for file, sums in entry["files"].items())

    def _group(self, name: str) -> str:
        return self.entries[name]["group"]

    def _others(self, names: Iterable[str]) -> list[str]:
        """Names of further images of which a file is still there."""
        names = set(names)
        return [
            name
            for name, entry in self.entries.items()
            if name not in names and any((self.folder / file).exists() for file in entry["files"])
        ]

    def _listed(self) -> dict[str, list[str]]:
        """The checksums of all files."""
        return {
            file: sums for entry in self.entries.values() for file, sums in entry["files"].items()
        }

    def _is(self, file: str, sums: Iterable[str]) -> bool:
        path = self.folder / file
        return path.is_file() and digest(path.read_bytes()) in sums

    def _read(self) -> dict[str, dict[str, Any]]:
        if not self.path.exists():
            return {}
        try:
            found = ENTRIES.validate_json(self.path.read_bytes())
        except ValueError as error:
            raise ValueError(
                f"{self.path}: damaged, or of another version. Give another folder, or delete "
                "this file."
            ) from error
        return {name: entry.model_dump() for name, entry in found.items()}

    def _write(self) -> None:
        from lord.files import turn, write_text

        self.folder.mkdir(parents=True, exist_ok=True)
        with turn(self.folder) if self.shard else nullcontext():
            if self.shard:
                own = {name: self.entries[name] for name in self._own}
                self.entries = self._read() | own
            write_text(self.path, json.dumps(self.entries, indent=1) + "\n")


def of_shard(shard: Shard | None) -> str:
    """The beginning of what a command says that has made a share alone."""
    if shard is None:
        return ""
    return f"Share {shard.number} of {shard.of} is done; with all of them, "


def image_files(names: Iterable[str]) -> list[str]:
    """The files of images and their captions."""
    return [f"{name}{suffix}" for name in names for suffix in (".png", ".txt")]


def shorten(names: Sequence[str]) -> str:
    """The first of many names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def digest(content: bytes) -> str:
    """Hash bytes to a short name."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def digest_files(path: Path) -> str:
    """Hash a file, or all files of a folder that are not hidden, to a short name."""
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if not file.name.startswith("."))
    return digest(b"".join(file.read_bytes() for file in files if file.is_file()))


def request_of(asked: Mapping[str, Any]) -> str:
    """Hash everything that an image depends on, given as JSON values, to a short name."""
    return digest(json.dumps(asked, sort_keys=True).encode())


def identity_of(pipeline: "Pipeline") -> dict[str, str]:
    """Tell a model from others in a request."""
    from lord.models.card import weights_checksum

    return {
        "model": pipeline.name_or_path,
        "weights": weights_checksum(str(pipeline.name_or_path)),
        "dtype": str(pipeline.dtype),
    }
