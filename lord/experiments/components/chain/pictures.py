"""The pictures that are attacked and edited."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lord.data.subjects import domain_module, sample_domain
from lord.editing.kernels import shrink
from lord.editing.masks import mask_of
from lord.models.pretrain import vary_caption
from lord.seeding import derive_seed
from lord.study.context import Context
from lord.study.experiment import Settings


@dataclass(frozen=True, eq=False)
class Pictures:
    """N pictures on the grid of 8 bits, with all that an edit of them depends on.

    Each is equal to itself alone, so that a context can hold what was made of it.

    Attributes:
        images: what is edited, shape (N, 3, h, w) in [0, 1].
        originals: the same pictures as they were rendered, shape (N, 3, H, W).
        prompts, seeds: one for each picture.
        masks: shape (N, 1, H, W) for inpainting.
    """

    images: Tensor
    originals: Tensor
    prompts: list[str]
    seeds: list[int]
    masks: Tensor | None = None


def pictures_of(
    context: Context, settings: Settings, domain: str, task: str = "variation", factor: int = 1
) -> Pictures:
    """One picture each of people or places that no model has seen, described in its prompt.

    Args:
        factor: how many times smaller the pictures of super-resolution are.
    """
    return context.hold(_render, domain, settings.pictures, settings.size, task, factor)


def _render(domain: str, count: int, size: int, task: str, factor: int) -> Pictures:
    batch = sample_domain(domain, "evaluation", range(count), size)
    originals = (batch.images * 255).round() / 255
    seeds = [derive_seed("components", domain, k) for k in range(count)]
    images, masks = originals, None
    if task == "super-resolution":
        images = (shrink(originals, factor, "box") * 255).round() / 255
    if task == "inpainting":
        kinds = ("shape", "segment")
        masks = torch.stack(
            [mask_of(image, seeds[k], kinds[k % 2]) for k, image in enumerate(originals)]
        )
    return Pictures(images, originals, batch.captions, seeds, masks)


def prompts_of(pictures: Pictures, domain: str, kind: str) -> list[str]:
    """Other prompts for the same pictures.

    ``caption`` describes the picture, ``other`` the next one, ``class`` names the domain, ``empty``
    says nothing, and ``random`` is a caption as users write them, by chance shortened or left out.
    """
    name, count = domain_module(domain).CLASS_PROMPT, len(pictures.prompts)
    if kind == "random":
        generator = torch.Generator().manual_seed(derive_seed("prompts", domain))
        return [vary_caption(caption, name, 0.1, generator) for caption in pictures.prompts]
    return {
        "caption": pictures.prompts,
        "other": [*pictures.prompts[1:], pictures.prompts[0]],
        "class": [name] * count,
        "empty": [""] * count,
    }[kind]


def same_energy(attacked: Tensor, images: Tensor, seeds: list[int]) -> Tensor:
    """Noise of the energy of an attack: its change of every number, each with a random sign."""
    change = (attacked - images).abs()
    draws = [torch.Generator().manual_seed(derive_seed(seed, "signs")) for seed in seeds]
    signs = torch.stack([torch.randint(0, 2, change.shape[1:], generator=g) for g in draws]) * 2 - 1
    # Where one sign would leave the range, the other does not.
    moved = images + signs * change
    return torch.where((moved < 0) | (moved > 1), images - signs * change, moved).clamp(0, 1)
