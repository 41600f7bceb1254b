"""The captions of a folder of pictures, in the forms that programs for fine-tuning write.

For a picture ``rose.jpg`` that is the text of ``rose.txt``, ``rose.caption``, ``rose.jpg.txt`` or
``rose.jpg.caption``, in upper or lower case; else the row of ``rose.jpg`` in ``metadata.jsonl`` or
``metadata.csv``, as Hugging Face's image folders have it; else, in a folder with a name such as
``10_sks person``, the words of that name, as kohya's scripts have it.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lord.files import read_rows, read_text

DEFAULT_CAPTION = "a photograph"
SUFFIXES = (".txt", ".caption")
METADATA = ("metadata.jsonl", "metadata.csv")
COLUMNS = ("text", "caption", "prompt")
"""Columns of metadata that hold a caption; the first that a row has is taken."""

NAMED = re.compile(r"\d+_(?P<words>.*\S)")
"""The name of a folder of kohya's scripts: how often to repeat its pictures, and what they show."""


@dataclass(frozen=True)
class Captions:
    """The captions of pictures, one each, and what is to be said of them.

    Attributes:
        default: what pictures without a caption got.
        missing: how many these are.
        orphans: names of captions of which there is no picture.
    """

    texts: list[str]
    default: str
    missing: int
    orphans: list[str]


def is_caption(path: Path) -> bool:
    """Whether a file holds captions, by its name."""
    return path.suffix.lower() in SUFFIXES or path.name.lower() in METADATA


def check_text(text: str) -> None:
    """Raise ValueError for a text with bytes that are not UTF-8, as a terminal may hand over."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{text[:60]!r}: no text, as some of its bytes are not UTF-8") from None


def read_captions(folder: Path, pictures: Sequence[Path], default: str) -> Captions:
    """The captions of pictures of a folder.

    Raises:
        ValueError: a caption is not UTF-8 text, two of a picture differ, or metadata is broken; one
            message names them all.
    """
    problems: list[str] = []
    beside: dict[str, list[Path]] = {}
    rows: dict[str, str] = {}
    for path in sorted(path for path in folder.iterdir() if path.is_file() and is_caption(path)):
        if path.name.startswith("."):
            continue
        if path.name.lower() in METADATA:
            try:
                rows |= _rows(path)
            except ValueError as error:
                problems.append(str(error))
        else:
            beside.setdefault(path.stem.lower(), []).append(path)
    named = NAMED.fullmatch(folder.resolve().name)
    if named and default == DEFAULT_CAPTION:  # a caption that somebody has chosen goes before
        default = named["words"]
    texts, used = [], set()
    for picture in pictures:
        keys = (picture.stem.lower(), picture.name.lower())
        files = [path for key in keys for path in beside.get(key, [])]
        used |= {path.name for path in files} | {picture.name}
        try:
            texts.append(_agreed(files) or rows.get(picture.name, ""))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("\n".join(problems))
    every = [*rows, *(path.name for files in beside.values() for path in files)]
    orphans = sorted(name for name in set(every) if name not in used)
    return Captions([text or default for text in texts], default, texts.count(""), orphans)


def _agreed(files: Iterable[Path]) -> str:
    """What all the files of a picture say; those that are empty say nothing."""
    said = {text: path for path in files if (text := read_text(path).strip())}
    if len(said) > 1:
        first, second, *_ = said.values()
        raise ValueError(f"{first}: another caption than in {second.name}. Remove one of them.")
    return next(iter(said), "")


def _rows(path: Path) -> dict[str, str]:
    """The captions of a file of metadata, by the names of its pictures."""
    captions = {}
    for number, row in _parsed(path):
        name = row.get("file_name") if isinstance(row, dict) else None
        if not isinstance(name, str):
            raise ValueError(f"{path}, line {number}: no file_name in it")
        text = next((row[column] for column in COLUMNS if row.get(column) is not None), "")
        if not isinstance(text, str):
            raise ValueError(f"{path}, line {number}: the caption is no text, but {text!r}")
        captions[name] = text.strip()
    return captions


def _parsed(path: Path) -> Iterable[tuple[int, object]]:
    if path.suffix.lower() == ".csv":
        yield from enumerate(read_rows(path), start=2)
        return
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}, line {number}: not JSON ({error})") from error
