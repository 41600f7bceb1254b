"""Which defence a LoRA has learned behind, as its file says.

On top of another one it does something nobody has trained, and does it without an error.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from lord.cli.manifest import digest_files

if TYPE_CHECKING:
    from lord.models.diffusion import Pipeline

NOTE = "lord_defence"


def save_with_note(pipeline: "Pipeline", out: Path, note: str, form: str = "diffusers") -> None:
    """Write a LoRA as `save_lora` does, with a note of the defence underneath.

    Args:
        note: the `name_of` the defence, taken before the training.
        form: of the file, see `save_lora`.
    """
    from lord.files import replacing
    from lord.tensors import save_tensors
    from lord.training.lora_file import read_safetensors, save_lora

    with replacing(out) as temporary:
        save_lora(pipeline, temporary, form)
        tensors, metadata = read_safetensors(temporary)
        save_tensors(tensors, temporary, metadata | {NOTE: note})


def check_note(lora: Path, defence: Path) -> None:
    """Before a model is loaded, see that a LoRA has learned behind this defence.

    Files without a note, such as those of other software, pass.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has learned behind another one or none, or is broken.
    """
    from lord.training.lora_file import lora_file, read_safetensors

    path = lora_file(lora)
    _, metadata = read_safetensors(path)
    noted = metadata.get(NOTE)
    if noted == name_of(None):
        raise ValueError(
            f"{path}: this LoRA has learned without a defence; leave --treatment at dropped"
        )
    if noted not in (None, name_of(defence)):
        raise ValueError(
            f"{path}: this LoRA has learned behind another defence than {defence}; give that one, "
            "or leave --treatment at dropped"
        )


def name_of(defence: Path | None) -> str:
    """A short name for the weights of a defence, ``none`` without one."""
    from lord.defences.saved import WEIGHTS_FILE

    return digest_files(defence / WEIGHTS_FILE) if defence else "none"
