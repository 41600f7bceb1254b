"""The command that teaches a model a subject."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from pydantic import BaseModel, ConfigDict, Field, model_validator

from lord.cli.folders import album_requests
from lord.cli.manifest import Manifest, identity_of, own_share, request_of
from lord.cli.models import MAIN, OTHERS, last_losses, remove_work
from lord.cli.opening import (
    Loading,
    is_ours,
    native_size,
    open_album,
    open_pipeline,
    require_album,
    require_defence,
    say_notes,
    usual_batch,
)
from lord.cli.options import Caption, Size, Upscale
from lord.cli.outputs import require_lora_out, require_losses_out, require_out
from lord.cli.provenance import name_of, save_with_note
from lord.cli.samples import Sampling, generate_folder
from lord.cli.settings import loads_model, options_from
from lord.cli.watching import (
    Watching,
    board,
    csv_of,
    curve_of,
    sample_of,
    sampler,
    samples_beside,
)
from lord.files import write_bytes, write_text
from lord.names import LORA_FORMATS
from lord.processes import is_main, wait
from lord.progress import say
from lord.training.settings import FinetuneSettings

if TYPE_CHECKING:
    from lord.models.diffusion import Pipeline


class ClassImages(BaseModel):
    """Images of the class, which keep the model from forgetting it (prior preservation)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prior: Path | None = Field(
        None,
        description="folder with images of the class, which keep the model from forgetting it "
        "(prior preservation), with --prior-weight",
    )
    class_prompt: str | None = Field(
        None,
        description="in the place of --prior: the model itself draws its images of the class, from "
        "this prompt, such as 'a photograph of a person'",
    )
    class_count: int = Field(100, ge=1, le=10_000, description="how many of them")

    @model_validator(mode="after")
    def _of_one_source(self) -> "ClassImages":
        if self.prior is not None and self.class_prompt is not None:
            raise ValueError("--prior and --class-prompt: give one of them")
        if self.class_prompt is not None and not self.class_prompt.strip():
            raise ValueError("--class-prompt: it says nothing")
        if "class_count" in self.model_fields_set and self.class_prompt is None:
            raise ValueError("--class-count: only with --class-prompt, which says what is drawn")
        return self

    @property
    def given(self) -> bool:
        """Whether there are any."""
        return self.prior is not None or self.class_prompt is not None


@options_from(
    FinetuneSettings, "settings", finer=FinetuneSettings.model_fields.keys() - MAIN, others=OTHERS
)
@options_from(
    ClassImages,
    "classes",
    finer=ClassImages.model_fields,
    open_fields={"prior": "", "class_prompt": "", "class_count": "100"},
)
@options_from(
    Watching,
    "watching",
    finer=Watching.model_fields,
    open_fields={
        "losses": "",
        "tensorboard": "",
        "sample_prompt": "the caption of the first image",
    },
)
@loads_model
def finetune(
    images: Annotated[
        Path, typer.Argument(help="Folder with images of one subject, captions in .txt files.")
    ],
    out: Annotated[Path, typer.Argument(help="The LoRA's file, ending in .safetensors.")],
    *,
    defence: Annotated[
        Path | None, typer.Option(help="Train on top of this defence, from `lord defend`.")
    ] = None,
    classes: ClassImages,
    format: Annotated[
        Literal[LORA_FORMATS],
        typer.Option(help="Of the file: kohya's is for A1111, ComfyUI and the like."),
    ] = "diffusers",
    watching: Watching,
    settings: FinetuneSettings,
    caption: Caption = "a photograph",
    size: Size = None,
    upscale: Upscale = False,
    loading: Loading,
) -> None:
    """Teach the model a subject: train a LoRA, with or without a defence (LoRD, stage 2).

    Writes the LoRA in the format of diffusers, or of kohya. One that was trained with a defence is
    sampled without it, as `lord generate` does unless told otherwise. Run again, a killed training
    goes on where it was.

    **Examples**: the same images without and with the defence.

    ```
    lord finetune attacked plain.safetensors
    lord finetune attacked defended.safetensors --defence defence
    ```
    """
    for folder in filter(None, (images, classes.prior)):
        require_album(folder)
    if defence is not None:
        require_defence(defence)
    if classes.given != (settings.prior_weight != 0):
        raise ValueError("--prior-weight: give both, it and --prior or --class-prompt, or neither")
    work = require_lora_out(out)
    if watching.losses is not None:
        require_losses_out(watching.losses)
    steps = watching.steps_of(settings)
    if steps:
        require_out(samples_beside(out))
        Manifest(samples_beside(out)).require_own(f"{sample_of(step)}.png" for step in steps)
    from lord.api import fine_tune
    from lord.training.adapters import check_layers
    from lord.training.lora import check_text_encoders

    pipeline = open_pipeline(loading)
    check_layers(pipeline.unet, settings)
    check_text_encoders(pipeline, settings)
    side = size or native_size(pipeline)
    album = open_album(images, side, caption, upscale)
    say_notes(images, album, pipeline)
    prior, of_class = classes.prior, None
    if classes.class_prompt is not None:
        prior = draw_class(pipeline, work, classes, side, loading.model)
    if prior is not None:
        of_class = open_album(prior, side, caption, upscale)
        say_notes(prior, of_class, pipeline)
    note, watchers = name_of(defence), []
    if watching.tensorboard is not None and is_main():
        watchers.append(board(watching.tensorboard))
    if steps and is_main():
        learned = album_requests(album, settings.model_dump() | {"defence": note}, together=False)
        prompt = watching.sample_prompt or album.captions[0]
        asked = {"prompt": prompt, "size": side, "learned": learned}
        watchers.append(sampler(pipeline, samples_beside(out), steps, asked, loading.model))
    history = fine_tune(
        pipeline,
        album.images,
        album.captions,
        settings,
        defence=defence,
        prior=of_class and (of_class.images, of_class.captions),
        checkpoint=work / "checkpoint.safetensors",
        watchers=watchers,
    )
    if not is_main():
        return
    save_with_note(pipeline, out, note, format)
    if watching.losses is not None:
        write_text(watching.losses, csv_of(history))
        write_bytes(watching.losses.with_suffix(".png"), curve_of(history))
    remove_work(work)
    say(f"The LoRA is in {out} ({last_losses(history)})")


def draw_class(
    pipeline: "Pipeline", work: Path, classes: ClassImages, side: int, model: str
) -> Path:
    """Let the model draw images of a class, one for each seed from 0 on, before it learns.

    Returns:
        Their folder, which no other request shares.
    """
    scale = {} if is_ours(model) else {"guidance_scale": 7.5}
    asked = identity_of(pipeline) | Sampling(**scale).asked()
    asked |= {"prompt": classes.class_prompt, "size": side}
    out = work / f"class-{request_of(asked | {'count': classes.class_count})}"
    batch_size = usual_batch(None, model, pipeline)
    generate_folder(pipeline, out, range(classes.class_count), asked, batch_size, own_share())
    wait()
    return out
