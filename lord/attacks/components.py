"""Attacks on one component of a model: its features are driven away from those of the clean run.

Zhang et al., "On the Robustness of Latent Diffusion Models", arXiv:2306.08257: maximise

    Σ_k mean‖f_k(x′) − f_k(x)‖²

over the calls k of the component's modules while the model edits the picture: f_k(x) is what they
put out in the run on the clean picture, with the same noise. Where a batch holds a picture twice,
once without and once with its prompt (classifier-free guidance), both count.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from lord.attacks.ball import quantise, start
from lord.attacks.pgd import ascend, frozen, originals
from lord.attacks.settings import COMPONENT, AttackSettings
from lord.editing.editors import Editor, runner
from lord.editing.settings import EditSettings
from lord.models.components import catch, modules_of
from lord.models.memory import BATCH
from lord.progress import track
from lord.seeding import derive_seed

WHOLE = (0.0, 1.0)
"""The part of a run whose calls count: all of it."""


@dataclass(frozen=True)
class Reference:
    """What modules put out while a model runs on N clean pictures.

    Attributes:
        run: what the model does with pictures.
        features: of the calls that count, each of shape (N, …), or (2N, …) with guidance.
        first: the number of calls before those.
    """

    modules: Sequence[nn.Module]
    run: Callable[[Tensor], object]
    features: Sequence[Tensor]
    first: int

    def distances(self, images: Tensor) -> Tensor:
        """Σ_k mean‖f_k(x′) − f_k(x)‖² of each picture, shape (N,), differentiable in the images.

        The run ends with the last call that counts.
        """
        last = self.first + len(self.features)
        found = catch(self.modules, partial(self.run, images), last)[self.first :]
        pairs = zip(found, self.features, strict=True)
        return sum(_per_picture(a - b, len(images)) for a, b in pairs)

    @property
    def energy(self) -> float:
        """Σ_k mean f_k(x)², by which distances in different models are compared."""
        return sum(feature.float().square().mean().item() for feature in self.features)


@torch.no_grad()
def make_reference(
    modules: Sequence[nn.Module],
    run: Callable[[Tensor], object],
    images: Tensor,
    window: tuple[float, float] = WHOLE,
) -> Reference:
    """The features of the clean pictures at hand.

    Args:
        window: the first and the last share of the run, from 0 to 1, whose calls count. A component
            of the denoiser is called in every step, so that these are timesteps, from noise on;
            they are rounded to whole steps, in which each of the modules is called once.

    Raises:
        ValueError: no module is called in the run, or none in the window.
    """
    found = catch(modules, partial(run, images))
    steps = max(1, len(found) // len(modules))
    first, last = (round(share * steps) * len(found) // steps for share in window)
    if first >= last:
        raise ValueError(
            f"of {len(found)} calls of the component in this run, none lies between "
            f"{window[0]:g} and {window[1]:g} of it"
        )
    return Reference(modules, run, found[first:last], first)


def attack_features(
    images: Tensor,
    settings: AttackSettings,
    seeds: Sequence[int],
    references: Callable[[slice], Sequence[Reference]],
    batch_size: int = BATCH,
) -> Tensor:
    """What PGD makes of images (N, C, H, W) in [0, 1] to drive features away, not yet in 8 bits.

    Args:
        references: those of some rows of the images, one for each model that is attacked; each
            model's distance counts in units of its features' energy.

    Raises:
        ValueError: as `make_reference`.
        FloatingPointError: a gradient is not finite.
    """
    attacked = start(images, settings, seeds)
    for first in range(0, len(images), batch_size):
        rows = slice(first, first + batch_size)
        found = references(rows)
        weights = [1 / one.energy if len(found) > 1 else 1.0 for one in found]

        def distance(x: Tensor, found=found, weights=weights) -> Tensor:
            return sum(w * one.distances(x) for w, one in zip(weights, found, strict=True))

        for step in track(range(settings.steps), settings.component or settings.method):
            attacked[rows] = ascend([distance], attacked[rows], images[rows], settings, step)
    return attacked


def attack_component(
    editors: Sequence[Editor],
    images: Tensor,
    prompts: Sequence[str],
    settings: AttackSettings,
    seeds: Sequence[int],
    how: EditSettings | None = None,
    masks: Tensor | None = None,
    window: tuple[float, float] = WHOLE,
    batch_size: int = BATCH,
) -> Tensor:
    """Attacked images, as from `lord.attacks.pgd.attack`, whose edits go wrong in one component.

    The noise of an edit belongs to the seed of its picture and is the same in every step. Models,
    their weights and their modes are left as they were.

    Args:
        editors: the models that are attacked at once, mostly one.
        settings: with the component, which must be there in each model.
        how: how pictures are edited, as published unless given.
        masks, window: see `lord.editing.editors.Request` and `make_reference`.

    Raises:
        ValueError: there is no such component, the edit does not use it, or as
            `lord.attacks.pgd.attack`.
    """
    if settings.method != COMPONENT:
        raise ValueError(f"method: expected {COMPONENT!r}, not {settings.method!r}")
    how, original = how or EditSettings(), originals(images, prompts, seeds, settings)
    modules = [modules_of(editor.pipeline, settings.component) for editor in editors]
    noises = edit_seeds(seeds)

    def references(rows: slice) -> list[Reference]:
        painted = None if masks is None else masks[rows]
        found = []
        for editor, parts in zip(editors, modules, strict=True):
            edits = runner(editor, prompts[rows], noises[rows], how, painted)
            found.append(make_reference(parts, edits, original[rows], window))
        return found

    networks = [part for e in editors for part in e.pipeline.components.values()]
    with frozen(*(part for part in networks if isinstance(part, nn.Module))):
        attacked = attack_features(original, settings, seeds, references, batch_size)
    return quantise(attacked, original, settings.eps, settings.norm)


def edit_seeds(seeds: Sequence[int]) -> list[int]:
    """The seeds of the noise with which an attack edits its pictures."""
    return [derive_seed(seed, "edit") for seed in seeds]


def _per_picture(difference: Tensor, count: int) -> Tensor:
    """The mean square of each picture's rows, shape (count,); guidance has two of each picture."""
    if len(difference) % count:
        raise ValueError(f"{len(difference)} rows of features cannot be those of {count} pictures")
    difference = difference.to(torch.promote_types(difference.dtype, torch.float32))
    return difference.square().reshape(-1, count, difference[0].numel()).mean(dim=(0, 2))
