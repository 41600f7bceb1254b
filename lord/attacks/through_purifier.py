"""An attack on photographs that DiffPure will purify, by someone who knows that it will.

What the plain attacks of `lord.attacks.pgd` put into a picture, a purifier takes out again before a
LoRA learns from it. This one looks for what outlives purification.
"""

from collections.abc import Sequence

from torch import Tensor

from lord.attacks.pgd import attack, objective_values
from lord.attacks.settings import AttackSettings
from lord.models.diffusion import Pipeline
from lord.models.pipeline import pad
from lord.purifiers.latent_diffusion import noise_and_denoise


def attack_purified(
    pipeline: Pipeline,
    images: Tensor,
    prompts: Sequence[str],
    settings: AttackSettings,
    seeds: Sequence[int],
    denoising_steps: int = 2,
) -> Tensor:
    """Attacked images, as from `lord.attacks.pgd.attack`, that raise L(P(x)) once purified.

    P is `lord.purifiers.latent_diffusion.diffpure` in ``denoising_steps`` instead of its ten, so
    that a gradient step is affordable (Lee and Kim, arXiv:2303.09051, call that a surrogate
    process), with fresh noise in every draw, as the attacker does not know the defender's. The
    gradient goes through P exactly.

    Raises:
        ValueError: an attack with a surrogate model or transformations, which this one has not, or
            as `attack`.
    """
    if settings.surrogate != "none" or settings.transformations:
        raise ValueError("surrogate, transformations: expected none of these")

    def objective(pipeline, images, text, *, seeds, **draw):
        height, width = images.shape[2:]
        padded = pad(pipeline, images)
        seen = noise_and_denoise(pipeline, padded, text, seeds, steps=denoising_steps)
        return objective_values(pipeline, seen[..., :height, :width], text, seeds=seeds, **draw)

    return attack(pipeline, images, prompts, settings, seeds, objective=objective)
