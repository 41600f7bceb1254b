"""Tensors in safetensors files, written whole and always in the same way."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lord.files import replacing
from lord.progress import say

if TYPE_CHECKING:
    from torch import Tensor


def load_tensors(path: Path) -> "tuple[dict[str, Tensor], dict[str, str]] | None":
    """The tensors and the metadata of work in progress; None if there is none that can be used.

    Of a file that is broken this is said.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        say(f"{path}: broken, and made again ({error})")
        return None


def save_tensors(
    tensors: "Mapping[str, Tensor]", path: str | Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file atomically; what is equal makes equal files."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        try:
            save_file(contiguous, temporary, metadata=dict(metadata or {}))
        except SafetensorError as error:  # its name for a full disk
            raise OSError(str(error)) from error
        _sort_metadata(temporary)


def _sort_metadata(path: Path) -> None:
    """Order the metadata in the header of a safetensors file, which its writer puts at random.

    The header is JSON, may end in blanks, and follows its length in eight bytes.
    """
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
            text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
            if len(text) <= size:  # it could only be longer if JSON were escaped otherwise
                file.seek(8)
                file.write(text.ljust(size))
