"""The command that trains the models of the package from nothing."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lord.cli.opening import Loading, native_size, open_pipeline
from lord.cli.outputs import require_out
from lord.progress import console

if TYPE_CHECKING:
    from pydantic import BaseModel


def pretrain(
    out: Annotated[Path, typer.Argument(help="Folder for the model and its networks.")],
    settings: Annotated[
        Path | None,
        typer.Option(
            help="YAML file with the sections model, features and clip, or pixel, or editing; see "
            "lord.models.pretrain.PretrainSettings, lord.metrics.features.FeatureSettings, "
            "lord.metrics.clip.ClipSettings, lord.models.pretrain_pixel.PixelSettings and "
            "lord.editing.settings.AdaptationSettings.",
            show_default="as the models of the package",
        ),
    ] = None,
    kind: Annotated[
        Literal["latent", "pixel", "inpainting", "super-resolution"],
        typer.Option(
            help="The embedded model with its judges, an unconditional one, or what a latent model "
            "learns in order to edit."
        ),
    ] = "latent",
    size: Annotated[
        int | None,
        typer.Option(
            min=8,
            max=1024,
            help="Side of the pictures of a model of kind pixel, in pixels; a multiple of 8 for "
            "the usual architecture.",
            show_default="32, or as the settings say",
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(help="The model that learns to edit: 'embedded' or a diffusers folder.")
    ] = "embedded",
) -> None:
    """Train the embedded model, and the networks that measure it, from nothing.

    An hour or more on two CPU cores. The model is a diffusers folder, OUT/embedded; the networks
    are in OUT/features and OUT/clip. With `--kind pixel` it is an unconditional model of the
    renders of one domain, in OUT/portraits, which takes one to two hours of one core, and three
    times that with `--size 64`; with `--kind inpainting` or `--kind super-resolution` what --model
    learns, in a folder of that name. Run again, a killed training goes on where it was.

    **Example**: train, then use what was trained.

    ```
    lord pretrain mine
    lord generate "a portrait of a person" samples --model mine/embedded
    ```
    """
    require_out(out)
    if model != "embedded" and kind in ("latent", "pixel"):
        raise ValueError(f"--model: a model of kind {kind} is trained from nothing")
    if size is not None and kind != "pixel":
        raise ValueError("--size: only of kind pixel; another model's is among its settings")
    if kind == "pixel":
        _pretrain_pixel(out, settings, size)
        return
    if kind != "latent":
        _adapt(out, settings, kind, model)
        return
    sections = read_sections(settings, ("model", "features", "clip"))
    from lord.metrics.clip import ClipSettings, train_clip
    from lord.metrics.features import FeatureSettings, train_features
    from lord.models.pipeline import load_pipeline
    from lord.models.pretrain import PretrainSettings
    from lord.models.pretrain import pretrain as train_model
    from lord.settings_file import settings_of

    # All three are checked before the first is used.
    of_model = settings_of(PretrainSettings, sections["model"], "model")
    of_features = settings_of(FeatureSettings, sections["features"], "features")
    of_clip = settings_of(ClipSettings, sections["clip"], "clip")
    filled = [out / name for name in ("embedded", "features", "clip")]
    remember_settings(out, {"model": of_model, "features": of_features, "clip": of_clip}, filled)
    train_model(out / "embedded", of_model)
    pipeline = load_pipeline(out / "embedded", "cpu")
    train_features(pipeline, out / "features", out / ".work", of_features)
    train_clip(pipeline, out / "clip", out / ".work", of_clip)
    console.print(
        f"The model is in {out / 'embedded'}. Work in progress is no longer needed: "
        f"{out / 'embedded' / '.work'}, {out / '.work'}"
    )


def _pretrain_pixel(out: Path, settings: Path | None, size: int | None) -> None:
    """Train an unconditional model in the folder of its domain."""
    section = read_sections(settings, ("pixel",))["pixel"]
    from lord.models.pretrain_pixel import PixelSettings, pretrain_pixel
    from lord.settings_file import settings_of

    if size is not None:
        section = section | {"architecture": section.get("architecture", {}) | {"image_size": size}}
    of_pixel = settings_of(PixelSettings, section, "pixel")
    folder = out / of_pixel.domain
    remember_settings(folder, {"pixel": of_pixel}, [folder])
    pretrain_pixel(folder, of_pixel)
    console.print(
        f"The model is in {folder}. Work in progress is no longer needed: {folder / '.work'}"
    )


def _adapt(out: Path, settings: Path | None, task: str, model: str) -> None:
    """Teach a model a task of editing, in the folder of that name."""
    section = read_sections(settings, ("editing",))["editing"]
    from lord.editing.adaptation import adapt
    from lord.editing.settings import AdaptationSettings
    from lord.models.card import weights_checksum
    from lord.settings_file import settings_of

    asked = settings_of(AdaptationSettings, section, "editing")
    pipeline = open_pipeline(Loading(model=model, memory="normal"))
    native_size(pipeline)  # that of the pictures it learns from
    folder = out / task
    weights = weights_checksum(model) or model
    remember_settings(folder, {"editing": asked}, [folder], model=weights)
    adapt(pipeline, task, folder, asked)
    console.print(
        f"What it learned is in {folder}. Work in progress is no longer needed: {folder / '.work'}"
    )


def read_sections(path: Path | None, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The sections of a YAML file; those that it leaves out are empty.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no YAML, or has other sections.
    """
    if path is None:
        return {name: {} for name in names}
    from lord.settings_file import read_settings

    content = read_settings(path)
    if not set(content) <= set(names):
        raise ValueError(f"{path}: expected the sections {', '.join(names)}, and no others")
    sections = {name: content.get(name, {}) for name in names}
    for name, section in sections.items():
        if not isinstance(section, dict):
            raise ValueError(f"{path}: {name}: expected settings with names, not {section!r}")
    return sections


def remember_settings(
    out: Path, settings: "dict[str, BaseModel]", filled: Sequence[Path], **also: str
) -> None:
    """Keep what a training was begun with, so that it is not continued with something else.

    Args:
        filled: the folders that the training fills. Where none was begun, nothing is in them.
        also: what it depends on beside settings, such as a model.

    Raises:
        ValueError: it was begun with other settings, or would replace what is of other origin.
    """
    from lord.files import write_text

    path = out / ".work" / "settings.json"
    strange = [entry for folder in filled for entry in folder.glob("[!.]*")]
    if strange and not path.is_file():
        raise ValueError(
            f"{strange[0]}: of no training that goes on here, and not replaced; choose another "
            "folder, or move it away"
        )
    values = {name: value.model_dump(mode="json") for name, value in settings.items()}
    asked = json.dumps(values | also)
    if path.is_file() and path.read_text(encoding="utf-8") != asked:
        raise ValueError(
            f"{out}: a training with other settings was begun there; choose another folder, or "
            "delete this one"
        )
    write_text(path, asked)
