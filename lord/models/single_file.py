"""Checkpoints in one file, as model-sharing sites and A1111 have them, by diffusers' own loader."""

from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.loaders.single_file_utils import (
    CHECKPOINT_KEY_NAMES,
    SingleFileComponentError,
    infer_diffusers_model_type,
)
from safetensors import SafetensorError
from safetensors.torch import load_file

from lord.models.layout import INDEX
from lord.models.source import UNLOADABLE, unloadable

KINDS = {
    "v1": StableDiffusionPipeline,
    "v2": StableDiffusionPipeline,
    "xl_base": StableDiffusionXLPipeline,
}
"""What diffusers calls the checkpoints that are supported, by the pipeline that takes them."""

PICKLES = (".ckpt", ".pt", ".pth", ".bin")


def is_single_file(model: str | Path) -> bool:
    """Whether a model's name is that of a file of weights."""
    return Path(model).suffix in (".safetensors", *PICKLES)


def load_single_file(
    path: Path, dtype: torch.dtype
) -> StableDiffusionPipeline | StableDiffusionXLPipeline:
    """Load a checkpoint that holds U-Net, autoencoder and text encoder in one file.

    Settings and tokenizer, which are not in the file, come from a folder of the same name beside it
    in the layout of diffusers, which needs no weights, or else from the hub or its cache.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is a pickle, is broken, or holds a model that is not supported.
        OSError: the settings are not to be had.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.suffix in PICKLES:
        raise ValueError(f"{path}: a pickle may run code when it is read; give a .safetensors file")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file, or a broken one ({error})") from None
    first = tensors.get(CHECKPOINT_KEY_NAMES["inpainting"])  # the first layer of every U-Net
    if first is None or first.ndim != 4:
        raise ValueError(f"{path}: no checkpoint, as it holds no U-Net of Stable Diffusion")
    found = infer_diffusers_model_type(tensors) if first.shape[1] == 4 else "edits pictures"
    kind = KINDS.get(found)
    del tensors, first
    if kind is None:
        raise ValueError(
            f"{path}: diffusers takes it for a model of the kind {found!r}; supported are "
            "checkpoints of Stable Diffusion 1.x, 2.x and XL"
        )
    options = {"safety_checker": None} if kind is StableDiffusionPipeline else {}
    if (path.with_suffix("") / INDEX).is_file():
        options["config"] = str(path.with_suffix(""))
    try:
        pipeline = kind.from_single_file(str(path), torch_dtype=dtype, **options)
    except (*UNLOADABLE, SingleFileComponentError) as error:
        raise unloadable(path, error) from error
    except OSError as error:
        raise OSError(
            f"{path}: settings that go with it are not to be had, neither in a folder "
            f"{path.with_suffix('')} nor from the hub"
        ) from error
    pipeline.register_to_config(_name_or_path=str(path))
    return pipeline
