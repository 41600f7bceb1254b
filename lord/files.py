"""Files that are either whole or absent: everything is written beside its target, then renamed."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path in the target's folder that replaces ``path`` if the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_tensors(
    tensors: "Mapping[str, Tensor]", path: str | Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file atomically."""
    from safetensors.torch import save_file

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(contiguous, temporary, metadata=dict(metadata or {}))


def save_png(image: "Tensor", path: str | Path) -> None:
    """Write one image, shape (3, H, W) in [0, 1], as an 8-bit RGB PNG."""
    array = (image.detach().cpu().clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()
    with replacing(path) as temporary:
        Image.fromarray(array.astype(np.uint8)).save(temporary, format="PNG", optimize=True)
