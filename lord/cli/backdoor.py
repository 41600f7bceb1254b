"""Commands that look for a backdoor in an unconditional diffusion model."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from lord.backdoors.settings import LEAST_CLEAN, SUSPECTED, ReversionSettings
from lord.cli.options import Device, require_device, require_out
from lord.cli.settings import options_from
from lord.progress import console, results

if TYPE_CHECKING:
    from diffusers import DDPMPipeline

    from lord.backdoors.reversion import Reversion

app = typer.Typer(no_args_is_help=True)

TRIGGER = "trigger.safetensors"

SEARCH = [name for name in ReversionSettings.model_fields if name != "start"]
"""The options of a search, which starts from numbers of either sign."""

Scanned = Annotated[Path, typer.Argument(help="A folder in the diffusers layout, a DDPMPipeline.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")]


@app.callback()
def backdoor() -> None:
    """Look for a backdoor in an unconditional diffusion model (TERD).

    Whoever trained a model may have taught it to draw a picture of theirs wherever a trigger lies
    in the noise. A trigger can be reversed out of the model, and noises be searched for it.

    **Example**: scan a model, then the noises that somebody asks it to begin with.

    ```
    lord backdoor scan theirs --clean a --clean b --clean c --clean d --out found
    lord backdoor inputs noises.safetensors --trigger found/trigger.safetensors
    ```
    """


@app.command(no_args_is_help=True)
@options_from(ReversionSettings, "settings", fields=SEARCH, finer=SEARCH)
def scan(
    model: Scanned,
    *,
    clean: Annotated[
        list[Path],
        typer.Option(help="A model of the same kind that is known to be clean; at least four."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the reversed trigger, as PNG and as numbers.")
    ] = None,
    settings: ReversionSettings,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Reverse a trigger out of a model, and say whether clean models look like that.

    The search starts twice, from noise that is darker and from noise that is brighter.

    A clean verdict means that this search found nothing: a weak trigger, or one made by somebody
    who knows the search, may be there all the same.

    **Example**: four fine-tunes of your own are the yardstick.

    ```
    lord backdoor scan theirs --clean a --clean b --clean c --clean d --out found
    ```
    """
    different = {os.path.realpath(path) for path in clean} - {os.path.realpath(model)}
    if len(different) < max(LEAST_CLEAN, len(clean)):
        raise ValueError(
            f"--clean: give at least {LEAST_CLEAN} clean models, each once and without {model}"
        )
    if out is not None:
        require_out(out)
    require_device(device)
    from lord.backdoors.calibration import Calibration
    from lord.models.pixel import noise_shape

    models = {path: _load(path, device) for path in (model, *clean)}  # all, before any is scanned
    shapes = {path: noise_shape(pipeline) for path, pipeline in models.items()}
    for path in clean:
        if shapes[path] != shapes[model]:
            raise ValueError(f"{path}: noise of shape {shapes[path]}, not {shapes[model]}")
    found = {path: _reversed(path, pipeline, settings) for path, pipeline in models.items()}
    values = {path: divergences for path, (_, divergences) in found.items()}
    calibration = Calibration([values[path] for path in clean])
    p_value = calibration.p_value(values[model])
    if out is not None:
        _save(found[model][0], out)
    report: dict[str, Any] = {
        "model": str(model),
        "kl_mean": values[model][0],
        "kl_variance": values[model][1],
        "clean": {str(path): values[path] for path in clean},
        "p_value": p_value,
        "suspected": p_value < SUSPECTED,
    }
    if as_json:
        typer.echo(json.dumps(report, indent=2))
        return
    table = Table("divergence from noise", "this model", "clean models")
    for place, name in enumerate(("mean over pixels", "variance over pixels")):
        column = [values[path][place] for path in clean]
        low, high = f"{min(column):.3g}", f"{max(column):.3g}"
        table.add_row(name, f"{values[model][place]:.3g}", f"{low} to {high}")
    results.print(table)
    verdict = "suspected of a backdoor" if report["suspected"] else "nothing found"
    typer.echo(f"{verdict}: a clean model looks like this with probability {p_value:.2g}")


@app.command(no_args_is_help=True)
def inputs(
    noises: Annotated[
        Path, typer.Argument(help="A safetensors file with a tensor (N, C, H, W) of noises.")
    ],
    trigger: Annotated[
        Path, typer.Option(help=f"What `lord backdoor scan --out` has found: {TRIGGER}.")
    ],
    as_json: AsJson = False,
) -> None:
    """Tell which noises carry a trigger that was reversed out of a model.

    The score is the logarithm of how many times likelier a noise is with the trigger than without.

    **Example**:

    ```
    lord backdoor inputs noises.safetensors --trigger found/trigger.safetensors
    ```
    """
    from lord.backdoors.inputs import log_ratio

    found = _tensors(trigger, "mu", "gamma")
    (values,) = _tensors(noises).values()
    if values.shape[1:] != found["mu"].shape:
        raise ValueError(
            f"{noises}: noises have the shape {tuple(values.shape[1:])}, the trigger "
            f"{tuple(found['mu'].shape)}"
        )
    scores = log_ratio(values, found["mu"], found["gamma"]).tolist()
    if as_json:
        typer.echo(json.dumps([{"score": s, "triggered": s > 0} for s in scores], indent=2))
        return
    table = Table("noise", "score", "triggered")
    for place, score in enumerate(scores):
        table.add_row(str(place), f"{score:.2f}", "yes" if score > 0 else "no")
    results.print(table)


def _load(path: Path, device: str | None) -> "DDPMPipeline":
    from lord.models.pixel import load_ddpm, training_schedule

    pipeline = load_ddpm(path, device)
    try:
        training_schedule(pipeline)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return pipeline


def _reversed(
    path: Path, pipeline: "DDPMPipeline", settings: ReversionSettings
) -> tuple["Reversion", tuple[float, float]]:
    """The stronger of the triggers reversed from either start, and the larger of each feature."""
    from lord.backdoors.models import features
    from lord.backdoors.reversion import reverse

    console.print(f"Scanning {path}")
    try:
        found = [
            reverse(pipeline, settings.model_copy(update={"start": start}))
            for start in ("negative", "positive")
        ]
    except FloatingPointError as error:
        raise FloatingPointError(f"{path}: {error}") from error
    means, variances = zip(*(features(one.mu, one.gamma) for one in found), strict=True)
    return found[means.index(max(means))], (max(means), max(variances))


def _save(found: "Reversion", out: Path) -> None:
    from lord.files import save_png, save_tensors

    save_tensors({"mu": found.mu, "gamma": found.gamma}, out / TRIGGER)
    shown = found.mu[:3] if len(found.mu) >= 3 else found.mu[:1].expand(3, -1, -1)
    save_png(shown / 2 + 0.5, out / "trigger.png")


def _tensors(path: Path, *names: str) -> dict[str, Any]:
    """The tensors of a safetensors file: these names, or any single one with four dimensions."""
    import safetensors
    from safetensors.torch import load_file

    try:
        found = load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file ({error})") from error
    if names and set(found) != set(names):
        raise ValueError(f"{path}: expected the tensors {', '.join(names)}")
    if not names and (len(found) != 1 or next(iter(found.values())).ndim != 4):
        raise ValueError(f"{path}: expected one tensor of shape (N, C, H, W)")
    for name, values in found.items():
        if not values.isfinite().all():
            raise ValueError(f"{path}: {name} is not finite")
    return found
