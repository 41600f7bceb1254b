"""Photographs of many people or places in the place of rendered ones, and what each is for.

A study needs subjects of three kinds, of which none is of two: those that are attacked, learned and
measured, those that decide between treatments, and those that a defence learns from. Nothing is
imported here that plans can do without.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from lord.data.subjects import Batch

Patterns = tuple[str, ...]
Role = Literal["evaluated", "choosing", "stage1"]

SHOWN = 5
"""So many names an error lists."""


class Albums(BaseModel):
    """Where the photographs are, and what each subject, and each of its pictures, is for.

    Patterns are those of a shell: ``*`` stands for any text. A subject is of the first kind whose
    patterns its name matches, in the order of the fields here.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: str | None = Field(
        None, description="in it a folder for each subject, with photographs at any depth"
    )
    dataset: str | None = Field(
        None, description="instead: a data set of the library datasets, an id on the hub or a path"
    )
    revision: str | None = Field(None, description="of a data set on the hub")
    split: str = Field("train", description="of a data set")
    image_column: str = Field("image", description="of a data set")
    subject_column: str = Field("label", description="of a data set: whom a picture shows")
    upscale: bool = Field(False, description="enlarge smaller pictures instead of refusing them")
    prompt: str = Field(min_length=1, description="what an evaluated subject is called")
    caption: str = Field(min_length=1, description="of each picture that a defence learns from")
    evaluated: Patterns = Field(min_length=1, description="subjects that are attacked and learned")
    choosing: Patterns = Field(min_length=1, description="subjects that decide on treatments")
    stage1: Patterns = Field(("*",), min_length=1, description="subjects that defences learn from")
    photographs: Patterns = Field(
        ("*",), min_length=1, description="pictures of a subject to learn; the first count"
    )
    references: Patterns = Field(
        ("*",), min_length=1, description="its pictures to compare with; the last count"
    )

    @model_validator(mode="after")
    def _one_source(self) -> "Albums":
        if (self.folder is None) == (self.dataset is None):
            raise ValueError("give one of folder and dataset")
        return self


@dataclass(frozen=True)
class Album:
    """All pictures of one subject, by name, with what reads one of them."""

    subject: str
    names: tuple[str, ...]
    read: Callable[[str, int], Any]

    def matching(self, patterns: Patterns) -> list[str]:
        """The names of pictures that match a pattern."""
        return [name for name in self.names if _matches(name, patterns)]


def albums_of(albums: Albums, role: Role) -> list[Album]:
    """The subjects of a kind, in the order of their names.

    Raises:
        FileNotFoundError: there is no such folder or data set.
        ValueError: there are no subjects of the kind.
    """
    found = _all_albums(albums)
    kinds: tuple[Role, ...] = ("evaluated", "choosing", "stage1")
    earlier = [p for kind in kinds[: kinds.index(role)] for p in getattr(albums, kind)]
    own = getattr(albums, role)
    chosen = [a for a in found if _matches(a.subject, own) and not _matches(a.subject, earlier)]
    if not chosen:
        names = ", ".join(album.subject for album in found[:SHOWN])
        raise ValueError(
            f"{albums.folder or albums.dataset}: no subject is {role} by {', '.join(own)}; "
            f"there are {len(found)}: {names}{', …' if len(found) > SHOWN else ''}"
        )
    return chosen


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@lru_cache(maxsize=8)
def _all_albums(albums: Albums) -> list[Album]:
    made = _albums_of_dataset(albums) if albums.dataset else _albums_of_folder(albums)
    return sorted(made, key=lambda album: album.subject)


def _albums_of_folder(albums: Albums) -> list[Album]:
    from lord.data.picture import SUFFIXES, read_picture

    made = []
    for folder in _subject_folders(albums.folder):

        def read(name: str, size: int, folder: Path = folder) -> Any:
            return read_picture(folder / name, (size, size), albums.upscale).image

        paths = [path for path in folder.rglob("[!.]*") if path.suffix.lower() in SUFFIXES]
        names = sorted(path.relative_to(folder).as_posix() for path in paths)
        made.append(Album(folder.name, tuple(names), read))
    return made


def _subject_folders(folder: str) -> list[Path]:
    """The folders of all subjects.

    Raises:
        FileNotFoundError: there are none.
    """
    found = [p for p in Path(folder).glob("*") if p.is_dir() and not p.name.startswith(".")]
    if not found:
        raise FileNotFoundError(f"{folder}: no folder with a folder of pictures for each subject")
    return found


def _albums_of_dataset(albums: Albums) -> list[Album]:
    import datasets

    from lord.data.dataset import open_table, read_row

    table = open_table(
        albums.dataset,
        (albums.image_column, albums.subject_column),
        albums.split,
        albums.revision,
    )
    kind, labels = table.features[albums.subject_column], table[albums.subject_column]
    whose = [kind.int2str(k) if isinstance(kind, datasets.ClassLabel) else str(k) for k in labels]
    rows: dict[str, list[str]] = {}
    for row, subject in enumerate(whose):
        rows.setdefault(subject, []).append(f"{row:06d}")
    column = table.cast_column(albums.image_column, datasets.Image(decode=False))

    def read(name: str, size: int) -> Any:
        stored = column[int(name)][albums.image_column]
        where = f"{albums.dataset}, row {int(name)}"
        return read_row(stored, where, size, albums.upscale).image

    return [Album(subject, tuple(names), read) for subject, names in rows.items()]


@cache
def checksum(albums: Albums) -> str:
    """Twelve hexadecimal digits of the names and sizes of all files; ``""`` of a hub's data set.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if albums.folder:
        _subject_folders(albums.folder)
    folder = Path(albums.folder or albums.dataset)
    if not folder.is_dir():
        return ""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    text = "\n".join(f"{p.relative_to(folder).as_posix()} {p.stat().st_size}" for p in files)
    return sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class AlbumSubject:
    """One subject of an album, as `lord.data.subjects.Subject` is one that is rendered.

    Attributes:
        domain, split, index: its name in the study, its kind, and its number in that.
    """

    domain: str
    split: str
    index: int
    albums: Albums
    album: Album

    @property
    def prompt(self) -> str:
        """The prompt that names the subject."""
        return self.albums.prompt

    def photographs(self, count: int, size: int) -> "Batch":
        """The pictures a fine-tune learns from.

        Raises:
            ValueError: there are not so many, or one cannot be read.
        """
        return self._read(self.chosen("photographs", count), size)

    def references(self, count: int, size: int) -> "Batch":
        """Other pictures of the same subject, see `photographs`."""
        return self._read(self.chosen("references", count), size)

    def chosen(self, part: Literal["photographs", "references"], count: int) -> list[str]:
        """The names of some pictures: the first ones to learn, the last ones to compare with.

        Raises:
            ValueError: there are not so many.
        """
        names = self.album.matching(getattr(self.albums, part))
        if len(names) < count:
            who = f"{self.domain}: {self.album.subject}"
            raise ValueError(f"{who} has {len(names)} {part}, and {count} are asked")
        return names[:count] if part == "photographs" else names[-count:]

    def _read(self, names: list[str], size: int) -> "Batch":
        return _batch([(self.album, name) for name in names], self.prompt, size)


def album_subject(albums: Albums, domain: str, role: Role, number: int) -> AlbumSubject:
    """A subject of a kind, by number.

    Raises:
        ValueError: there are not so many.
    """
    found = albums_of(albums, role)
    if number >= len(found):
        raise ValueError(f"{domain}: {len(found)} subjects are {role}, and number {number} is none")
    return AlbumSubject(domain, role, number, albums, found[number])


def stage1_pictures(albums: Albums, count: int) -> list[tuple[Album, str]]:
    """Pictures that a defence learns from: subjects take turns, each with its next picture.

    Raises:
        ValueError: there are not so many.
    """
    found = albums_of(albums, "stage1")
    longest = max(len(album.names) for album in found)
    turns = [(a, a.names[turn]) for turn in range(longest) for a in found if turn < len(a.names)]
    if len(turns) < count:
        raise ValueError(f"stage 1 has {len(turns)} pictures of {len(found)} subjects, not {count}")
    return turns[:count]


def stage1_batch(albums: Albums, count: int, size: int) -> "Batch":
    """These pictures, read, all with one caption."""
    return _batch(stage1_pictures(albums, count), albums.caption, size)


def _batch(pictures: Sequence[tuple[Album, str]], caption: str, size: int) -> "Batch":
    """Pictures, read; one error names all that cannot be."""
    import torch

    from lord.data.folder import read_each
    from lord.data.subjects import Batch

    images = read_each(lambda picture: picture[0].read(picture[1], size), pictures)
    return Batch(torch.stack(images), [caption] * len(images), {})
