"""The folders that the running command writes to: found to be writable, and kept to itself."""

from contextlib import ExitStack, suppress
from pathlib import Path

from lord.cli.manifest import Shard
from lord.files import require_writable, reserved
from lord.processes import is_main

HELD = ExitStack()
"""What the running command has reserved; `lord.cli.errors.ReportingGroup` lets go of it."""


def require_out(folder: Path, shard: Shard | None = None) -> None:
    """Before any work, reserve a folder for this command, until the command ends.

    Args:
        shard: reserve this share alone, as others make others.

    Raises:
        ValueError: it is a file, or another command is writing there.
        OSError: nothing can be written there.
    """
    if not is_main():  # who has reserved it for all
        return
    with suppress(OSError):  # of a name that is too long, which is said below
        if folder.is_file():
            raise ValueError(f"{folder}: is a file; give a folder")
    HELD.enter_context(reserved(folder, shard and str(shard)))


def require_defence_out(folder: Path) -> None:
    """The same as `require_out` for a defence, which may replace one of `lord defend` alone.

    Raises:
        ValueError: files of other origin would be replaced.
    """
    require_out(folder)
    from lord.defences.audit import AUDIT_FILE
    from lord.defences.saved import CONFIG_FILE, MADE_BY, WEIGHTS_FILE
    from lord.files import settle
    from lord.training.lora_file import read_safetensors

    settle(folder)  # a defence whose writing was killed at the end
    names = (WEIGHTS_FILE, CONFIG_FILE, AUDIT_FILE)
    there = [folder / name for name in names if (folder / name).exists()]
    if there:
        made_by = read_safetensors(there[0])[1] if there[0].name == WEIGHTS_FILE else {}
        if not MADE_BY.items() <= made_by.items():
            raise ValueError(f"{there[0]}: not written by `lord defend`, and not replaced")


def require_losses_out(path: Path) -> None:
    """Before any work, see that a table of losses and its picture replace nothing but such.

    Raises:
        ValueError: the name does not end in .csv, or a file of other origin would be replaced.
        OSError: it cannot be written.
    """
    if path.suffix != ".csv":
        raise ValueError(f"--losses {path}: the name must end in .csv")
    table = path.read_bytes()[:5] == b"step," if path.is_file() else None
    for file in (path, path.with_suffix(".png")):
        if file.exists() and not table:
            raise ValueError(f"{file}: not written by `lord finetune`, and not replaced")
        require_writable(file)


def require_lora_out(path: Path) -> Path:
    """The same for the file of a LoRA, which `lord finetune` has written if it is there already.

    Returns:
        The folder for work in progress.

    Raises:
        ValueError: it is no file name for a LoRA, or a file of other origin would be replaced.
        OSError: it cannot be written.
    """
    with suppress(OSError):  # of a name that is too long, which is said below
        if path.suffix != ".safetensors" or path.is_dir():
            raise ValueError(f"{path}: the LoRA is a file, and its name must end in .safetensors")
    require_writable(path)
    if path.exists():
        from lord.cli.provenance import NOTE
        from lord.training.lora_file import read_safetensors

        _, metadata = read_safetensors(path)
        if NOTE not in metadata:
            raise ValueError(f"{path}: not written by `lord finetune`, and not replaced")
    work = path.with_name(f".{path.stem}.work")
    require_out(work)
    return work
