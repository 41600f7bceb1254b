"""The files of a defence, in peft's format."""

import json
from pathlib import Path

from lord.adapter import LordConfig, adapter_tensors, announce_timesteps, load_tensors, set_gate
from lord.adapter.saved import config_of
from lord.defences.audit import AUDIT_FILE, Calibration, save_calibration
from lord.defences.stage1 import ADAPTER
from lord.files import replacing_together, settle, write_text
from lord.models.diffusion import Pipeline
from lord.tensors import save_tensors
from lord.training.lora_file import check_effect, read_safetensors

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"

MADE_BY = {"made_by": "lord defend"}
"""In the metadata of a defence's weights."""


def save_defence(
    pipeline: Pipeline,
    folder: str | Path,
    calibration: Calibration | None = None,
) -> Path:
    """Write the defence in peft's format: ``adapter_model.safetensors``, ``adapter_config.json``.

    These files and that of the calibration replace those of an earlier defence together, or not at
    all.

    Args:
        calibration: of the audit; without one, that of an earlier defence in the folder goes.

    Raises:
        ValueError: the pipeline has none.
        OSError: it cannot be written. What was there before is kept.
    """
    folder = Path(folder)
    config = getattr(pipeline.unet, "peft_config", {}).get(ADAPTER)
    if config is None:
        raise ValueError(f"the pipeline has no defence named {ADAPTER!r} to save")
    settings = json.dumps(config.to_dict(), indent=2, sort_keys=True, default=sorted)
    with replacing_together(folder, (WEIGHTS_FILE, CONFIG_FILE, AUDIT_FILE)) as new:
        tensors = adapter_tensors(pipeline.unet, ADAPTER)
        save_tensors(tensors, new / WEIGHTS_FILE, {"format": "pt"} | MADE_BY)
        write_text(new / CONFIG_FILE, settings + "\n")
        if calibration:
            save_calibration(calibration, new)
    return folder


def load_defence(pipeline: Pipeline, folder: str | Path) -> None:
    """Put a saved defence on the pipeline: active, frozen, in float32, with the gate it asks for.

    That is the learned one, unless its settings fix λ to a number. Load it before any LoRA; the two
    then share layers.

    Raises:
        FileNotFoundError: a file of the defence is missing.
        ValueError: a file is broken, the defence belongs to another model or has no effect, or an
            adapter is in the way. The pipeline is then as it was.
    """
    folder = Path(folder)
    settle(folder)
    tensors, _ = read_safetensors(folder / WEIGHTS_FILE)
    path = folder / CONFIG_FILE
    config = config_of(_read_settings(path), tensors, str(path))
    load_tensors(pipeline.unet, config, tensors, ADAPTER, str(folder))
    if isinstance(config, LordConfig):
        set_gate(pipeline.unet, "learned" if config.fixed_gate is None else config.fixed_gate)
        if config.gate == "timestep":
            announce_timesteps(pipeline.unet)
    check_effect(pipeline.unet, ADAPTER, str(folder))


def _read_settings(path: Path) -> object:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from None
