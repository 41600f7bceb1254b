"""Commands that train: a defence, a LoRA."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lord.attacks.settings import AttackSettings
from lord.cli.folders import attack_folder, attack_table, scores_of
from lord.cli.manifest import identity_of, request_of
from lord.cli.options import (
    FINER,
    Caption,
    Device,
    Domain,
    Dtype,
    Model,
    Revision,
    Size,
    is_ours,
    native_size,
    open_pipeline,
    require_album,
    require_defence,
    require_out,
    usual_batch,
)
from lord.cli.provenance import name_of, save_with_note
from lord.cli.settings import options_from
from lord.defences.settings import Stage1Settings
from lord.names import LORA_FORMATS
from lord.progress import console
from lord.training.settings import FinetuneSettings

if TYPE_CHECKING:
    from torch import Tensor

    from lord.data.folder import ImageSet
    from lord.models.diffusion import Pipeline

AUDITABLE = 32
"""So many images a LoRD takes to learn from, or the audit has too few to be calibrated with."""

MAIN = {"rank", "learning_rate", "steps", "batch_size", "seed"}
"""Settings of a training that are not in the panel of finer ones."""

OTHERS = {"learning_rate": 1e-4, "batch_size": 4}
"""What suits Stable Diffusion."""


@options_from(
    AttackSettings,
    "attack",
    fields=("method", "eps", "step_size", "steps"),
    names={"steps": "attack_steps"},
    defaults={"eps": "8/255", "step_size": "3/255", "steps": 10, "rounds": 1},
)
@options_from(
    Stage1Settings, "settings", finer=Stage1Settings.model_fields.keys() - MAIN, others=OTHERS
)
def defend(
    out: Annotated[Path, typer.Argument(help="Folder for the defence.")],
    *,
    images: Annotated[
        Path | None,
        typer.Option(help="Learn from this folder of clean images: many people or places."),
    ] = None,
    domain: Annotated[
        Domain | None, typer.Option(help="Learn from rendered people or places instead.")
    ] = None,
    identities: Annotated[
        int, typer.Option(min=1, help="How many of them, one picture each, with --domain.")
    ] = 384,
    attack: AttackSettings,
    settings: Stage1Settings,
    caption: Caption = "a photograph",
    size: Size = None,
    model: Model = "embedded",
    revision: Revision = None,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Learn a defence against an attack (LoRD, stage 1).

    Attacks the images, then learns to tell them from the clean ones and to undo what the attack
    does to the model. The defence belongs to this model, and serves any subject that was not
    among the images. Run again, a killed command goes on where it was.

    **Examples**: for the embedded model, from rendered people; for a model of your own.

    ```
    lord defend defence --domain portraits
    lord defend defence --images many_people --model my_model
    ```
    """
    if (images is None) == (domain is None):
        raise ValueError("say what to learn from: either --images FOLDER or --domain portraits")
    require_out(out)
    if images is not None:
        require_album(images)
    import torch

    from lord.data.folder import load_folder, read_image
    from lord.defences.saved import save_defence

    pipeline = open_pipeline(model, device, dtype, revision)
    side = size or native_size(pipeline)
    if images is not None:
        clean = load_folder(images, side, caption)
    else:
        clean = render_identities(domain, identities, side)
    work = out / ".work"
    folder = work / "attacked"
    batch_size = usual_batch(None, model)
    entries = attack_folder(pipeline, clean, side, folder, attack, settings.seed, batch_size)
    console.print(attack_table(entries))
    attacked = torch.stack([read_image(folder / f"{name}.png", (side, side)) for name in entries])
    history = learn_defence(pipeline, clean, attacked, settings, out)
    save_defence(pipeline, out)
    shutil.rmtree(work)
    console.print(f"The defence is in {out} ({last_losses(history)})")


def render_identities(domain: str, count: int, side: int) -> "ImageSet":
    """Render one picture of each of the people or places of stage 1."""
    from lord.data.folder import ImageSet
    from lord.data.subjects import sample_domain

    batch = sample_domain(domain, "stage1", range(count), side)
    paths = [Path(f"{domain}-{k:05d}") for k in range(count)]
    return ImageSet(batch.images, batch.captions, paths)


def learn_defence(
    pipeline: "Pipeline",
    clean: "ImageSet",
    attacked: "Tensor",
    settings: Stage1Settings,
    out: Path,
) -> dict[str, list[float]]:
    """Train a defence in a pipeline, and calibrate its audit on pairs that it has not seen.

    Returns:
        The losses, by name.
    """
    from lord.defences.audit import AUDIT_FILE, calibrate, save_calibration
    from lord.defences.stage1 import train_defence

    enough = settings.kind == "lord" and len(attacked) >= AUDITABLE
    count = len(attacked) - (len(attacked) // 8 if enough else 0)
    history = train_defence(
        pipeline,
        clean.images[:count],
        attacked[:count],
        clean.captions[:count],
        settings,
        checkpoint=out / ".work" / "checkpoint.safetensors",
    )
    (out / AUDIT_FILE).unlink(missing_ok=True)  # of an earlier defence in this folder
    if enough:
        scores = [
            scores_of(pipeline, images[count:], clean.captions[count:])
            for images in (clean.images, attacked)
        ]
        save_calibration(calibrate(*scores), out)
    elif settings.kind == "lord":
        console.print(
            f"{len(attacked)} images are too few to hold some back: `lord audit`, which takes "
            f"{AUDITABLE}, will not work with this defence"
        )
    return history


@options_from(
    FinetuneSettings, "settings", finer=FinetuneSettings.model_fields.keys() - MAIN, others=OTHERS
)
def finetune(
    images: Annotated[
        Path, typer.Argument(help="Folder with images of one subject, captions in .txt files.")
    ],
    out: Annotated[Path, typer.Argument(help="The LoRA's file, ending in .safetensors.")],
    *,
    defence: Annotated[
        Path | None, typer.Option(help="Train on top of this defence, from `lord defend`.")
    ] = None,
    prior: Annotated[
        Path | None,
        typer.Option(
            help="Folder with images of the class, which keep the model from forgetting it (prior "
            "preservation), with --prior-weight.",
            rich_help_panel=FINER,
        ),
    ] = None,
    class_prompt: Annotated[
        str | None,
        typer.Option(
            help="In the place of --prior: the model itself draws its images of the class, from "
            "this prompt, such as 'a photograph of a person'.",
            rich_help_panel=FINER,
        ),
    ] = None,
    class_count: Annotated[
        int,
        typer.Option(min=1, help="How many of them.", rich_help_panel=FINER),
    ] = 100,
    format: Annotated[
        Literal[LORA_FORMATS],
        typer.Option(help="Of the file: kohya's is for A1111, ComfyUI and the like."),
    ] = "diffusers",
    settings: FinetuneSettings,
    caption: Caption = "a photograph",
    size: Size = None,
    model: Model = "embedded",
    revision: Revision = None,
    device: Device = None,
    dtype: Dtype = None,
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
    for folder in (images, prior):
        if folder is not None:
            require_album(folder)
    if defence is not None:
        require_defence(defence)
    if out.suffix != ".safetensors" or out.is_dir():
        raise ValueError(f"{out}: the LoRA is a file, and its name must end in .safetensors")
    if prior is not None and class_prompt is not None:
        raise ValueError("--prior and --class-prompt: give one of them")
    if (prior is None and class_prompt is None) != (settings.prior_weight == 0):
        raise ValueError("--prior-weight: give both, it and --prior or --class-prompt, or neither")
    from lord.api import fine_tune
    from lord.data.folder import load_folder

    pipeline = open_pipeline(model, device, dtype, revision)
    side = size or native_size(pipeline)
    album = load_folder(images, side, caption)
    work = out.with_name(f".{out.stem}.work")
    if class_prompt is not None:
        prior = draw_class(pipeline, work, class_prompt, class_count, side, model)
    of_class = load_folder(prior, side, caption) if prior else None
    note = name_of(defence)
    history = fine_tune(
        pipeline,
        album.images,
        album.captions,
        settings,
        defence=defence,
        prior=of_class and (of_class.images, of_class.captions),
        checkpoint=work / "checkpoint.safetensors",
    )
    save_with_note(pipeline, out, note, format)
    shutil.rmtree(work, ignore_errors=True)
    console.print(f"The LoRA is in {out} ({last_losses(history)})")


def draw_class(
    pipeline: "Pipeline", work: Path, prompt: str, count: int, side: int, model: str
) -> Path:
    """Let the model draw images of a class, one for each seed from 0 on, before it learns.

    Returns:
        Their folder, which no other request shares.
    """
    from lord.cli.samples import Sampling, generate_folder

    scale = {} if is_ours(model) else {"guidance_scale": 7.5}
    asked = identity_of(pipeline) | Sampling(**scale).model_dump()
    asked |= {"prompt": prompt, "size": side}
    out = work / f"class-{request_of(asked | {'count': count})}"
    generate_folder(pipeline, out, range(count), asked, usual_batch(None, model))
    return out


def last_losses(history: dict[str, list[float]]) -> str:
    """The mean of each part of the loss over its last tenth."""
    means = {
        name: sum(values[-(len(values) // 10 + 1) :]) / (len(values) // 10 + 1)
        for name, values in history.items()
    }
    return ", ".join(f"{name} {mean:.4f}" for name, mean in means.items())
