"""Attacking pictures once for all that need them, and judging edits."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from lord.attacks.components import WHOLE, attack_component, edit_seeds
from lord.data.subjects import sample_domain
from lord.editing.editors import Editor, edit
from lord.editing.settings import EditSettings
from lord.experiments.components.chain.models import instruments_of
from lord.experiments.components.chain.pictures import Pictures, same_energy
from lord.experiments.components.protocol import attack_settings
from lord.experiments.sheet import rows
from lord.metrics.edits import clip_score, inception_score, similarities
from lord.metrics.features import FeatureNet
from lord.metrics.fid import extract, fid
from lord.study.context import Context
from lord.study.experiment import Cell, Outcome, Settings

SHOWN = 8
"""Pictures of a sheet."""


def attacked_once(
    context: Context,
    cell: Cell,
    editors: Sequence[Editor],
    pictures: Pictures,
    component: str,
    asked: Mapping[str, Any],
    prompts: Sequence[str] | None = None,
    window: tuple[float, float] = WHOLE,
) -> Tensor:
    """The pictures attacked in a component, made once for all cells that ask the same.

    Args:
        asked: what tells this attack from others with the same budget and component.
        prompts: those that the attacker edits with; the pictures' own unless given.
    """
    settings, how = cell.settings, cell.settings.attack_edit
    shared = {name: settings.asked.get(name) for name in ("model", "size", "pictures", "budget")}
    shared |= {"weights": settings.weights["model"], "window": list(window), "component": component}
    shared |= {"edit": how.model_dump(mode="json"), "domain": cell["domain"]}
    # What the denoiser of the task is, beside the model.
    shared |= {k: settings.asked[k] for k in ("learned", "editing") if k in settings.asked}
    components = [name for name in cell.components if name.startswith(("step:", "attacker:"))]

    def make() -> dict[str, Tensor]:
        attacked = attack_component(
            editors,
            pictures.images,
            prompts or pictures.prompts,
            attack_settings(settings.budget, component),
            pictures.seeds,
            how,
            pictures.masks,
            window,
        )
        return {"attacked": attacked}

    return context.once("component-attack", shared | dict(asked), components, make)["attacked"]


def judge_attack(
    context: Context,
    cell: Cell,
    editor: Editor,
    pictures: Pictures,
    attacked: Tensor,
    prompts: Sequence[str] | None = None,
) -> Outcome:
    """Edits of attacked and of noisy pictures against those of clean ones.

    The noise of these edits is another one than the attacker's; ``known/…`` are edits by his.
    """
    how, prompts = cell.settings.edit, tuple(prompts or pictures.prompts)
    noisy = same_energy(attacked, pictures.images, pictures.seeds)
    edits = partial(_edits, editor, pictures, prompts, how)
    # Those of clean pictures are the same for every attack on a model.
    clean, known = (
        context.hold(_clean_edits, editor, pictures, prompts, how, known) for known in (False, True)
    )
    edited = {"clean": clean, "attack": edits(attacked), "noise": edits(noisy)}
    metrics, series = judged(context, cell.settings, cell["domain"], edited, prompts)
    for name, values in similarities(edits(attacked, known=True), known).items():
        metrics[f"known/{name}"] = values.mean().item()
    change = (attacked - pictures.images).square().mean().sqrt()
    metrics["change_levels"] = 255 * change.item()
    shown = [images[:SHOWN] for images in (edited["clean"], edited["attack"], edited["noise"])]
    return Outcome(metrics, series, rows(*shown))


def _clean_edits(
    editor: Editor, pictures: Pictures, prompts: Sequence[str], how: EditSettings, known: bool
) -> Tensor:
    return _edits(editor, pictures, prompts, how, pictures.images, known)


def _edits(
    editor: Editor,
    pictures: Pictures,
    prompts: Sequence[str],
    how: EditSettings,
    images: Tensor,
    known: bool = False,
) -> Tensor:
    """Edits of what became of the pictures, with their own noise or with that of the attacker."""
    seeds = edit_seeds(pictures.seeds) if known else pictures.seeds
    return edit(editor, images, prompts, seeds, how, pictures.masks)


def judged(
    context: Context,
    settings: Settings,
    domain: str,
    edited: Mapping[str, Tensor],
    prompts: Sequence[str],
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Metrics of edits, and series with a number for each picture.

    Args:
        edited: edits by name, among them those of ``clean`` pictures, which others are compared
            with; FID compares all with renders.
    """
    instruments = instruments_of(context, settings)
    reference = reference_features(context, settings, domain)
    metrics, series = {}, {}
    for name, images in edited.items():
        features = extract(instruments.features, images)
        scores = clip_score(instruments.clip, images, prompts)
        metrics[f"{name}/clip_score"] = scores.mean().item()
        metrics[f"{name}/fid"] = fid(reference, features)
        if isinstance(instruments.features, FeatureNet):
            metrics[f"{name}/inception_score"] = inception_score(
                instruments.features, features, domain
            )
        series[f"{name}/clip_score"] = scores.tolist()
        if name != "clean":
            for measure, values in similarities(images, edited["clean"]).items():
                metrics[f"{name}/{measure}"] = values.mean().item()
                series[f"{name}/{measure}"] = values.tolist()
    return metrics, series


def reference_features(context: Context, settings: Settings, domain: str) -> Tensor:
    """Features (N, D) of renders beyond the pictures that are edited, computed once."""
    asked = {"size": settings.size, "domain": domain, "first": settings.pictures}
    asked |= {"count": settings.references, "judges": settings.weights.get("judges")}

    def make() -> dict[str, Tensor]:
        numbers = range(settings.pictures, settings.pictures + settings.references)
        images = sample_domain(domain, "evaluation", numbers, settings.size).images
        return {"features": extract(instruments_of(context, settings).features, images)}

    components = ["step:renderer", "metric:fid"]
    return context.once("edit-references", asked, components, make)["features"]
