"""Folders that fill up image by image, and need not start over.

A hidden file in the folder keeps, for each image, the request it answers and some numbers about it.
An image that is there and answers the same request is not made again.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

FILE = ".lord.json"


class Ledger:
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

    def answers(self, name: str, request: str) -> bool:
        """Whether the image is there and was made for this request."""
        entry = self.entries.get(name, {})
        return entry.get("request") == request and (self.folder / f"{name}.png").is_file()

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

    def _write(self) -> None:
        from lord.files import write_text

        write_text(self.path, json.dumps(self.entries, indent=1) + "\n")


def digest(content: bytes) -> str:
    """A short name for some bytes."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def digest_files(path: Path) -> str:
    """A short name for the content of a file, or of all files of a folder."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return digest(b"".join(file.read_bytes() for file in files if file.is_file()))


def request_of(asked: Mapping[str, Any]) -> str:
    """A short name for everything that an image depends on, given as JSON values."""
    return digest(json.dumps(asked, sort_keys=True).encode())
