"""Folders that fill up image by image, and need not start over.

A hidden file in the folder keeps, for each image, the request it answers and some numbers about it.
An image that is there and answers the same request is not made again.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lord.progress import track

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

FILE = ".lord.json"


class Manifest:
    """What is known of the images in a folder, by name.

    Raises:
        ValueError: the hidden file is damaged.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.path = folder / FILE
        self.entries: dict[str, dict[str, Any]] = {}
        if self.path.is_file():
            try:
                self.entries = dict(json.loads(self.path.read_text(encoding="utf-8")))
            except (ValueError, TypeError) as error:
                raise ValueError(f"{self.path}: damaged; delete it to start over") from error

    def missing(self, names: list[str], requests: list[str], batch_size: int) -> Iterator[slice]:
        """Go through the batches in which an image is missing or answers another request.

        Batches are always the same, so that a resumed run does not differ even in rounding.
        """
        for start in track(range(0, len(names), batch_size), "images"):
            rows = slice(start, start + batch_size)
            if not all(map(self._answers, names[rows], requests[rows])):
                yield rows

    def forget(self, names: Iterable[str]) -> None:
        """Forget images that are about to be written anew."""
        known = [name for name in names if self.entries.pop(name, None)]
        if known:
            self._write()

    def add(self, names: Iterable[str], requests: Iterable[str], numbers: Iterable[dict]) -> None:
        """Note images that have been written."""
        for name, request, known in zip(names, requests, numbers, strict=True):
            self.entries[name] = {"request": request, **known}
        self._write()

    def _answers(self, name: str, request: str) -> bool:
        entry = self.entries.get(name, {})
        return entry.get("request") == request and (self.folder / f"{name}.png").is_file()

    def _write(self) -> None:
        from lord.files import write_text

        write_text(self.path, json.dumps(self.entries, indent=1) + "\n")


def digest(content: bytes) -> str:
    """Hash bytes to a short name."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def digest_files(path: Path) -> str:
    """Hash a file, or all files of a folder, to a short name."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return digest(b"".join(file.read_bytes() for file in files if file.is_file()))


def request_of(asked: Mapping[str, Any]) -> str:
    """Hash everything that an image depends on, given as JSON values, to a short name."""
    return digest(json.dumps(asked, sort_keys=True).encode())


def identity_of(pipeline: "StableDiffusionPipeline") -> dict[str, str]:
    """Tell a model from others in a request."""
    from lord.models.card import weights_checksum

    return {
        "model": pipeline.name_or_path,
        "weights": weights_checksum(str(pipeline.name_or_path)),
        "dtype": str(pipeline.dtype),
    }
