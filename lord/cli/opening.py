"""What the options of commands name, found and opened: albums, devices, models."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field
from rich.text import Text

from lord.cli.manifest import Manifest, Shard, shorten
from lord.cli.outputs import require_out
from lord.data.captions import DEFAULT_CAPTION, check_text
from lord.names import MEMORIES
from lord.progress import console, say

if TYPE_CHECKING:
    from diffusers import DDPMPipeline

    from lord.data.folder import ImageSet
    from lord.models.diffusion import Pipeline


class Loading(BaseModel):
    """Which model a command uses, and how it is loaded. What is None is chosen when it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        "embedded",
        description="'embedded' (comes with the package), a folder in the diffusers layout, a "
        "checkpoint in one .safetensors file, or a model on the Hugging Face hub, such as "
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
    )
    revision: str | None = Field(None, description="a commit, branch or tag of a model on the hub")
    device: str | None = Field(None, description="where to compute: cuda, cuda:1, mps or cpu")
    dtype: Literal["float32", "float16", "bfloat16"] | None = Field(
        None, description="precision of the weights"
    )
    memory: Literal[MEMORIES] | None = Field(
        None,
        description="low takes less memory and more time; numbers change by rounding at most",
    )


def require_folders(images: Path, out: Path, shard: Shard | None = None) -> None:
    """As `require_album` and `require_out`, for images of the same names in another folder.

    Raises:
        FileNotFoundError: there is no folder ``images``.
        ValueError: it holds no images, or two of one name; ``out`` is the same folder, or a file,
            or in use.
        OSError: nothing can be written to ``out``.
    """
    require_album(images)
    if os.path.realpath(out) == os.path.realpath(images):
        raise ValueError(f"{out}: give another folder than that of the originals")
    require_out(out, shard)


def require_album(folder: Path) -> None:
    """Find a mistyped path, or a folder without images, before a model is loaded for it.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there are no images in it, or two with the same name but for its ending; or
            it was written by this program, and is not as it was.
        OSError: what this program noted of it cannot be read.
    """
    from lord.data.folder import list_images

    Manifest(folder).require_unchanged([path.name for path in list_images(folder)])


def open_album(
    folder: Path, size: int | None, caption: str = DEFAULT_CAPTION, upscale: bool = False
) -> "ImageSet":
    """The images of a folder.

    Args:
        size: their side; None to keep the size of each.
        caption: of images that have none.

    Raises:
        FileNotFoundError, ValueError: see `lord.data.folder.load_folder`, and `check_text`.
    """
    from lord.data.folder import load_folder, load_originals

    check_text(caption)
    if size:
        return load_folder(folder, size, caption, upscale)
    return load_originals(folder, caption)


def say_notes(
    folder: Path,
    album: "ImageSet",
    pipeline: "Pipeline | None" = None,
    captions: bool = True,
) -> None:
    """Say in one line what about the images of a folder may surprise.

    Args:
        pipeline: the model that is to read the captions; what it cannot see of them is said, too.
        captions: whether they matter.
    """
    notes = [*album.notes, *(album.caption_notes if captions else []), *Manifest(folder).remarks()]
    if notes:
        say(f"{folder}: {'; '.join(notes)}")
    if pipeline is not None:
        say_what_is_cut(pipeline, album.captions)


def say_what_is_cut(pipeline: "Pipeline", prompts: Sequence[str]) -> None:
    """Say which words of prompts the text encoder of a model does not see.

    Raises:
        ValueError: a prompt is no text.
    """
    tokenizer, cut = pipeline.tokenizer, []
    for prompt in dict.fromkeys(prompts):
        check_text(prompt)
        tokens = tokenizer(prompt, truncation=False, verbose=False).input_ids
        if len(tokens) > tokenizer.model_max_length:
            # The last token says that the prompt ends; it is kept.
            lost = tokenizer.decode(tokens[tokenizer.model_max_length - 1 : -1])
            cut.append(f"{prompt[:40]!r} without its end, {lost.strip()!r}")
    if cut:
        say(
            f"{len(cut)} of the prompts are longer than the {tokenizer.model_max_length} tokens "
            f"that the model reads: it sees {shorten(cut)}"
        )


def require_defence(folder: Path) -> None:
    """The same for the folder of a defence, by the names that peft gives to its files.

    Raises:
        FileNotFoundError: there is no such folder, or no defence in it.
    """
    from lord.files import settle

    settle(folder)  # a defence whose writing was killed at the end
    for path in (folder / "adapter_model.safetensors", folder / "adapter_config.json"):
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such file. Give a defence that `lord defend` has written."
            )


def require_device(device: str | None) -> None:
    """Find out that a device is not there before anything is loaded for it.

    Raises:
        ValueError: there is no such device.
    """
    import torch

    if device is not None:
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise ValueError(
                f"--device {device}: not to be had on this machine. Leave the option out to "
                "take the fastest device there is."
            ) from error


def is_ours(model: str) -> bool:
    """Whether a model is the embedded one, or has like it the networks of its training beside it.

    These are small; any other model is taken for Stable Diffusion, whose usual settings differ.
    """
    return model == "embedded" or (Path(model).parent / "features").is_dir()


def usual_batch(asked: int | None, model: str, pipeline: "Pipeline | DDPMPipeline") -> int:
    """The ``--batch-size`` that was asked for, or that suits the model and its memory."""
    from lord.models.memory import BATCH, spares_memory

    return asked or (1 if spares_memory(pipeline) else BATCH if is_ours(model) else 2)


def choose_memory(pipeline: "Pipeline", model: str, asked: str | None) -> None:
    """Let a pipeline spare memory if ``--memory`` says so, or says nothing and little is free.

    Little is free for a model that is not one of this package, see `is_ours`.
    """
    from lord.models.memory import AMPLE, free_memory, spare_memory

    free = free_memory(pipeline.unet.device)
    if asked is None and not is_ours(model) and free < AMPLE:
        asked = "low"
        say(f"{free / 2**30:.1f} GiB are free, which is little: --memory low, the slower way")
    if asked == "low":
        spare_memory(pipeline)


def open_pipeline(loading: Loading) -> "Pipeline":
    """The pipeline that the options of the panel on models ask for.

    Raises:
        FileNotFoundError, OSError: see `lord.models.pipeline.load_pipeline`.
        ValueError: there is no such device.
    """
    model, dtype = loading.model, loading.dtype
    with console.status(Text(f"Loading {model} …")):
        import diffusers
        import torch
        import transformers

        from lord.models.pipeline import load_pipeline

        # Theirs count the parts of a pipeline, which load in a moment.
        diffusers.utils.logging.disable_progress_bar()
        transformers.utils.logging.disable_progress_bar()

        require_device(loading.device)
        precision = dtype and getattr(torch, dtype)
        try:
            pipeline = load_pipeline(model, loading.device, precision, loading.revision)
        except FileNotFoundError:  # says itself what is wrong with a folder
            raise
        except OSError as error:
            if model == "embedded" or Path(model).exists():
                reason = str(error).partition("\n")[0]
                raise OSError(
                    f"--model {model}: a part is missing or damaged ({reason})"
                ) from error
            raise OSError(
                f"--model {model}: not a folder here, and not to be had from the Hugging Face hub; "
                "check the spelling and the network. `lord --debug` shows what the hub answered."
            ) from error
    choose_memory(pipeline, model, loading.memory)
    return pipeline


def open_ddpm(model: str, device: str | None) -> "DDPMPipeline":
    """The unconditional model that an option and ``--device`` ask for.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: see `lord.models.pixel.load_ddpm`, or there is no such device.
    """
    require_device(device)
    from lord.models.pixel import load_ddpm

    return load_ddpm(model, device)


def native_size(pipeline: "Pipeline") -> int:
    """The side of the images a model was made for, in pixels.

    Raises:
        ValueError: the model does not say.
    """
    side = pipeline.unet.config.sample_size
    if not isinstance(side, int) or side < 1:
        raise ValueError(
            f"{pipeline.name_or_path}: unet: sample_size is {side!r}; give --size, or set it there"
        )
    return side * pipeline.vae_scale_factor
