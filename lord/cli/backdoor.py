"""Commands that look for a backdoor in an unconditional diffusion model."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from lord.backdoors.settings import LEAST_CLEAN, SUSPECTED, ReversionSettings
from lord.cli.opening import open_ddpm
from lord.cli.options import Device
from lord.cli.outputs import require_out
from lord.cli.settings import options_from
from lord.progress import console, results

if TYPE_CHECKING:
    from diffusers import DDPMPipeline

    from lord.backdoors.calibration import CleanModels
    from lord.backdoors.reversion import Reversion

app = typer.Typer(no_args_is_help=True)

TRIGGER, CLEAN, PICTURE = WRITTEN = "trigger.safetensors", "clean.json", "trigger.png"
"""What a scan writes, all of them or none."""

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
        list[Path] | None,
        typer.Option(help="A model of the same kind that is known to be clean; at least four."),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            help=f"In place of clean models: {CLEAN} of an earlier scan, or 'embedded', for "
            "fine-tunes of the embedded model. The search is as it was there."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the reversed trigger and for what clean models look like."),
    ] = None,
    settings: ReversionSettings,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Reverse a trigger out of a model, and say whether clean models look like that.

    The search starts twice, from noise that is darker and from noise that is brighter.

    A clean verdict means that this search found nothing: a weak trigger, or one made by somebody
    who knows the search, may be there all the same.

    **Example**: four fine-tunes of your own are the yardstick, for one model and then another.

    ```
    lord backdoor scan theirs --clean a --clean b --clean c --clean d --out found
    lord backdoor scan others --calibration found/clean.json
    ```
    """
    clean = clean or []
    different = {os.path.realpath(path) for path in clean} - {os.path.realpath(model)}
    if (calibration is None) == (not clean):
        raise ValueError("--clean, --calibration: give clean models, or what was found in such")
    if calibration is None and len(different) < max(LEAST_CLEAN, len(clean)):
        raise ValueError(
            f"--clean: give at least {LEAST_CLEAN} clean models, each once and without {model}"
        )
    if out is not None:
        require_out(out)
        _require_own(out)
    from lord.backdoors.calibration import Calibration, CleanModels
    from lord.models.pixel import noise_shape

    known = _read_calibration(calibration, settings) if calibration is not None else None
    settings = known.settings if known else settings
    # All models are opened before any is scanned.
    models = {path: open_ddpm(str(path), device) for path in (model, *clean)}
    shapes = {path: noise_shape(pipeline) for path, pipeline in models.items()}
    expected = {str(path): shapes[path] for path in clean}
    expected |= {calibration: known.shape} if known else {}
    for name, shape in expected.items():
        if shape != shapes[model]:
            raise ValueError(f"{name}: noise of shape {shape}, not {shapes[model]}")
    found = {path: _reversed(path, pipeline, settings) for path, pipeline in models.items()}
    values = {path: divergences for path, (_, divergences) in found.items()}
    if known is None:
        features = {str(path): values[path] for path in clean}
        known = CleanModels(settings=settings, shape=shapes[model], features=features)
    p_value = Calibration(list(known.features.values())).p_value(values[model])
    if out is not None:
        _save(found[model][0], known, out)
    report: dict[str, Any] = {
        "model": str(model),
        "kl_mean": values[model][0],
        "kl_variance": values[model][1],
        "clean": known.features,
        "p_value": p_value,
        "suspected": p_value < SUSPECTED,
    }
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        _print(report)


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
            f"{tuple(found['mu'].shape)} in {trigger}"
        )
    scores = log_ratio(values, found["mu"], found["gamma"]).tolist()
    if as_json:
        typer.echo(json.dumps([{"score": s, "triggered": s > 0} for s in scores], indent=2))
        return
    table = Table("noise", "score", "triggered")
    for place, score in enumerate(scores):
        table.add_row(str(place), f"{score:.2f}", "yes" if score > 0 else "no")
    results.print(table)


def _read_calibration(name: str, settings: ReversionSettings) -> "CleanModels":
    """What an earlier scan has kept, or what comes with the embedded model."""
    from lord.backdoors.calibration import read_clean_models
    from lord.models.card import PIXEL

    known = read_clean_models(PIXEL.parent / CLEAN if name == "embedded" else Path(name))
    if settings not in (known.settings, ReversionSettings()):
        raise ValueError("--calibration: the search is as it was there; give no other settings")
    return known


def _print(report: dict[str, Any]) -> None:
    """The two features beside those of clean models, and the verdict."""
    table = Table("divergence from noise", "this model", "clean models")
    for place, name in enumerate(("kl_mean", "kl_variance")):
        column = [features[place] for features in report["clean"].values()]
        label = f"{name.removeprefix('kl_')} over pixels"
        table.add_row(label, f"{report[name]:.3g}", f"{min(column):.3g} to {max(column):.3g}")
    results.print(table)
    verdict = "suspected of a backdoor" if report["suspected"] else "nothing found"
    p_value = report["p_value"]
    typer.echo(f"{verdict}: a clean model looks like this with probability {p_value:.2g}")


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


def _require_own(out: Path) -> None:
    """Refuse to replace files that no scan has written: a scan writes all of them, or none."""
    from lord.backdoors.calibration import read_clean_models
    from lord.files import settle

    settle(out)
    there = [out / name for name in WRITTEN if (out / name).exists()]
    if there:
        try:
            read_clean_models(out / CLEAN)
            _tensors(out / TRIGGER, "mu", "gamma")
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{there[0]}: not written by `lord backdoor scan`, and not replaced ({error})"
            ) from error


def _save(found: "Reversion", known: "CleanModels", out: Path) -> None:
    from lord.data.picture import save_png
    from lord.files import replacing_together, write_text
    from lord.tensors import save_tensors

    with replacing_together(out, WRITTEN) as folder:
        save_tensors({"mu": found.mu, "gamma": found.gamma}, folder / TRIGGER)
        shown = found.mu[:3] if len(found.mu) >= 3 else found.mu[:1].expand(3, -1, -1)
        save_png(shown / 2 + 0.5, folder / PICTURE)
        write_text(folder / CLEAN, known.model_dump_json(indent=1))


def _tensors(path: Path, *names: str) -> dict[str, Any]:
    """The tensors of a safetensors file: these names, or any single one with four dimensions."""
    from lord.training.lora_file import read_safetensors

    found, _ = read_safetensors(path)
    if names and set(found) != set(names):
        raise ValueError(f"{path}: expected the tensors {', '.join(names)}")
    if not names and (len(found) != 1 or next(iter(found.values())).ndim != 4):
        raise ValueError(f"{path}: expected one tensor of shape (N, C, H, W)")
    return found
