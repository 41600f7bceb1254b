"""Commands that train: the embedded model, a defence, a LoRA."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lord.attacks.settings import AttackSettings
from lord.cli.folders import attack_folder, attack_table, scores_of
from lord.cli.options import (
    FINER,
    Caption,
    Device,
    Domain,
    Dtype,
    Model,
    Size,
    native_size,
    open_pipeline,
    require_album,
    require_defence,
    require_out,
)
from lord.cli.provenance import name_of, save_with_note
from lord.cli.settings import options_from
from lord.defences.settings import Stage1Settings
from lord.progress import console
from lord.training.settings import FinetuneSettings

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline
    from pydantic import BaseModel
    from torch import Tensor

    from lord.data.folder import ImageSet

AUDITABLE = 32
"""So many images a LoRD takes to learn from, or the audit has too few to be calibrated with."""

MAIN = {"rank", "learning_rate", "steps", "batch_size", "seed"}
"""Settings of a training that are not in the panel of finer ones."""


def pretrain(
    out: Annotated[Path, typer.Argument(help="Folder for the model and its networks.")],
    settings: Annotated[
        Path | None,
        typer.Option(
            help="YAML file with the sections model, features and clip, or pixel; see "
            "lord.models.pretrain.PretrainSettings, lord.metrics.features.FeatureSettings, "
            "lord.metrics.clip.ClipSettings and lord.models.pretrain_pixel.PixelSettings.",
            show_default="as the models of the package",
        ),
    ] = None,
    kind: Annotated[
        Literal["latent", "pixel"],
        typer.Option(help="The embedded model with its judges, or an unconditional one."),
    ] = "latent",
) -> None:
    """Train the embedded model, and the networks that measure it, from nothing.

    An hour or more on two CPU cores. The model is a diffusers folder, OUT/embedded; the networks
    are in OUT/features and OUT/clip. With `--kind pixel` it is an unconditional model of the
    renders of one domain, in OUT/portraits, which takes three hours of one core. Run again, a
    killed training goes on where it was.

    **Example**: train, then use what was trained.

    ```
    lord pretrain mine
    lord generate "a portrait of a person" samples --model mine/embedded
    ```
    """
    require_out(out)
    if kind == "pixel":
        _pretrain_pixel(out, settings)
        return
    sections = read_sections(settings, ("model", "features", "clip"))
    from lord.metrics.clip import ClipSettings, train_clip
    from lord.metrics.features import FeatureSettings, train_features
    from lord.models.pipeline import load_pipeline
    from lord.models.pretrain import PretrainSettings
    from lord.models.pretrain import pretrain as train_model

    # All three are checked before the first is used.
    of_model = PretrainSettings(**sections["model"])
    of_features = FeatureSettings(**sections["features"])
    of_clip = ClipSettings(**sections["clip"])
    remember_settings(out, {"model": of_model, "features": of_features, "clip": of_clip})
    train_model(out / "embedded", of_model)
    pipeline = load_pipeline(out / "embedded", "cpu")
    train_features(pipeline, out / "features", out / ".work", of_features)
    train_clip(pipeline, out / "clip", out / ".work", of_clip)
    console.print(
        f"The model is in {out / 'embedded'}. Work in progress is no longer needed: "
        f"{out / 'embedded' / '.work'}, {out / '.work'}"
    )


def _pretrain_pixel(out: Path, settings: Path | None) -> None:
    """Train an unconditional model in the folder of its domain."""
    section = read_sections(settings, ("pixel",))["pixel"]
    from lord.models.pretrain_pixel import PixelSettings, pretrain_pixel

    of_pixel = PixelSettings(**section)
    folder = out / of_pixel.domain
    remember_settings(folder, {"pixel": of_pixel})
    pretrain_pixel(folder, of_pixel)
    console.print(
        f"The model is in {folder}. Work in progress is no longer needed: {folder / '.work'}"
    )


def read_sections(path: Path | None, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The sections of a YAML file; those that it leaves out are empty.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no YAML, or has other sections.
    """
    if path is None:
        return {name: {} for name in names}
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a YAML file ({error})") from error
    if not isinstance(content, dict) or not set(content) <= set(names):
        raise ValueError(f"{path}: expected the sections {', '.join(names)}, and no others")
    sections = {name: content.get(name) or {} for name in names}
    for name, section in sections.items():
        if not isinstance(section, dict):
            raise ValueError(f"{path}: {name}: expected settings with names, not {section!r}")
    return sections


def remember_settings(out: Path, settings: "dict[str, BaseModel]") -> None:
    """Keep what a training was begun with, so that it is not continued with something else.

    Raises:
        ValueError: it was begun with other settings.
    """
    from lord.files import write_text

    path = out / ".work" / "settings.json"
    asked = json.dumps({name: value.model_dump(mode="json") for name, value in settings.items()})
    if path.is_file() and path.read_text(encoding="utf-8") != asked:
        raise ValueError(
            f"{out}: a training with other settings was begun there; choose another folder, or "
            "delete this one"
        )
    write_text(path, asked)


@options_from(
    AttackSettings,
    "attack",
    fields=("method", "eps", "step_size", "steps"),
    names={"steps": "attack_steps"},
    defaults={"eps": "8/255", "step_size": "3/255", "steps": 10, "rounds": 1},
)
@options_from(Stage1Settings, "settings", finer=Stage1Settings.model_fields.keys() - MAIN)
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

    pipeline = open_pipeline(model, device, dtype)
    side = size or native_size(pipeline)
    if images is not None:
        clean = load_folder(images, side, caption)
    else:
        clean = render_identities(domain, identities, side)
    work = out / ".work"
    folder = work / "attacked"
    entries = attack_folder(pipeline, clean, side, folder, attack, settings.seed, batch_size=16)
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
    pipeline: "StableDiffusionPipeline",
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


@options_from(FinetuneSettings, "settings", finer=FinetuneSettings.model_fields.keys() - MAIN)
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
    settings: FinetuneSettings,
    caption: Caption = "a photograph",
    size: Size = None,
    model: Model = "embedded",
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Teach the model a subject: train a LoRA, with or without a defence (LoRD, stage 2).

    Writes the LoRA in the format of diffusers. One that was trained with a defence is sampled
    without it, as `lord generate` does unless told otherwise. The defaults suit the embedded model;
    Stable Diffusion wants a learning rate near 1e-4. Run again, a killed training goes on where it
    was.

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
    if (prior is None) != (settings.prior_weight == 0):
        raise ValueError("--prior and --prior-weight: give both, or neither")
    from lord.api import fine_tune
    from lord.data.folder import load_folder

    pipeline = open_pipeline(model, device, dtype)
    side = size or native_size(pipeline)
    album = load_folder(images, side, caption)
    of_class = load_folder(prior, side, caption) if prior else None
    work = out.with_name(f".{out.stem}.work")
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
    save_with_note(pipeline, out, note)
    shutil.rmtree(work, ignore_errors=True)
    console.print(f"The LoRA is in {out} ({last_losses(history)})")


def last_losses(history: dict[str, list[float]]) -> str:
    """The mean of each part of the loss over its last tenth."""
    means = {
        name: sum(values[-(len(values) // 10 + 1) :]) / (len(values) // 10 + 1)
        for name, values in history.items()
    }
    return ", ".join(f"{name} {mean:.4f}" for name, mean in means.items())
