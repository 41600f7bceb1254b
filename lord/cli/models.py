"""The command that trains a defence, and what all commands that train share."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lord.attacks.settings import AttackSettings
from lord.cli.folders import attack_folder, attack_request, attack_table, scores_of
from lord.cli.manifest import FILE as MANIFEST
from lord.cli.manifest import own_share, request_of
from lord.cli.opening import (
    Loading,
    native_size,
    open_album,
    open_pipeline,
    require_album,
    say_notes,
    usual_batch,
)
from lord.cli.options import Caption, Domain, Size, Upscale
from lord.cli.outputs import require_defence_out
from lord.cli.settings import loads_model, options_from
from lord.defences.settings import Stage1Settings
from lord.processes import is_main, processes, wait
from lord.progress import console, say

if TYPE_CHECKING:
    from torch import Tensor

    from lord.data.folder import ImageSet
    from lord.defences.audit import Calibration
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
@loads_model
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
        int,
        typer.Option(
            min=1, max=1_000_000, help="How many of them, one picture each, with --domain."
        ),
    ] = 384,
    attack: AttackSettings,
    settings: Stage1Settings,
    caption: Caption = "a photograph",
    size: Size = None,
    upscale: Upscale = False,
    loading: Loading,
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
    if images is not None:
        require_album(images)
    require_defence_out(out)
    import torch

    from lord.data.picture import read_image
    from lord.defences.saved import save_defence
    from lord.training.adapters import check_layers

    pipeline = open_pipeline(loading)
    check_layers(pipeline.unet, settings)  # before the attack, which takes long
    side = size or native_size(pipeline)
    if images is not None:
        clean = open_album(images, side, caption, upscale)
        say_notes(images, clean, pipeline)
    else:
        clean = render_identities(domain, identities, side)
    # Pictures of another attack, which a killed run has left, are not among these.
    work, asked = out / ".work", attack_request(pipeline, side, attack, settings.seed)
    folder = work / f"attacked-{request_of(asked)}"
    batch_size = usual_batch(None, loading.model, pipeline)
    asked = (pipeline, clean, side, folder, attack, settings.seed, batch_size)
    if processes() > 1:
        if not attack.together:
            attack_folder(*asked, own_share())
        elif is_main():
            attack_folder(*asked)
        wait()
    entries = attack_folder(*asked)
    console.print(attack_table(entries))
    attacked = torch.stack([read_image(folder / f"{name}.png", (side, side)) for name in entries])
    history, calibration = learn_defence(pipeline, clean, attacked, settings, work, batch_size)
    if not is_main():
        return
    save_defence(pipeline, out, calibration)
    remove_work(work)
    say(f"The defence is in {out} ({last_losses(history)})")


def remove_work(work: Path) -> None:
    """Remove what commands of this module have left in their folder of work in progress.

    Whatever else is there stays, and the folder with it.
    """
    digits = "[0-9a-f]" * 16
    for kind in ("attacked", "class"):
        for path in work.glob(f"{kind}-{digits}"):
            if (path / MANIFEST).exists() or not any(path.iterdir()):
                shutil.rmtree(path)
    for path in work.glob(f"checkpoint-{digits}.safetensors"):
        path.unlink()
    if work.is_dir() and not any(work.iterdir()):
        work.rmdir()


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
    work: Path,
    batch_size: int,
) -> "tuple[dict[str, list[float]], Calibration | None]":
    """Train a defence in a pipeline, and calibrate its audit on pairs that it has not seen.

    Args:
        batch_size: pictures that the audit looks at together.

    Returns:
        The losses, by name, and the calibration if there were enough images for one.
    """
    from lord.defences.audit import calibrate
    from lord.defences.stage1 import train_defence

    enough = settings.kind == "lord" and len(attacked) >= AUDITABLE
    count = len(attacked) - (len(attacked) // 8 if enough else 0)
    history = train_defence(
        pipeline,
        clean.images[:count],
        attacked[:count],
        clean.captions[:count],
        settings,
        checkpoint=work / "checkpoint.safetensors",
    )
    if enough:
        scores = [
            scores_of(pipeline, images[count:], clean.captions[count:], batch_size)
            for images in (clean.images, attacked)
        ]
        return history, calibrate(*scores)
    if settings.kind == "lord":
        console.print(
            f"{len(attacked)} images are too few to hold some back: `lord audit`, which takes "
            f"{AUDITABLE}, will not work with this defence"
        )
    return history, None


def last_losses(history: dict[str, list[float]]) -> str:
    """The mean of each part of the loss over its last tenth."""
    means = {
        name: sum(values[-(len(values) // 10 + 1) :]) / (len(values) // 10 + 1)
        for name, values in history.items()
    }
    return ", ".join(f"{name} {mean:.4f}" for name, mean in means.items())
