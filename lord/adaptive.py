"""An attack on LoRD by someone who knows it: fool the denoiser, and keep the gate shut.

The plain attacks of `lord.attacks` already attack a defended model, gates included, if its adapter
is on the pipeline. This one wants λ → 0 besides, so that the defence branch does not take the
perturbation upon itself while a LoRA is trained.
"""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline
from torch import Tensor

from lord.adapter import record_gates
from lord.attacks import (
    AttackSettings,
    frozen,
    load_target,
    objective_values,
    pgd_step,
    quantise,
    start,
)
from lord.model.pipeline import encode_prompts
from lord.objectives import TARGETED
from lord.progress import track
from lord.seeding import derive_seed


def attack_and_close(
    pipeline: StableDiffusionPipeline,
    images: Tensor,
    prompts: Sequence[str],
    settings: AttackSettings,
    seeds: Sequence[int],
    weight: float = 1.0,
) -> Tensor:
    """Attacked images, as from `lord.attacks.attack`, that raise

        L(x) + weight · mean log(1 − λ),

    the attack's own objective and, averaged over the layers, the log-probability that each gate
    gives to the image being clean. For a defence whose gates are learned; without surrogate.

    Raises:
        ValueError: the pipeline has no LoRD adapter, or the attack has a surrogate.
    """
    if settings.surrogate != "none":
        raise ValueError("surrogate: expected 'none', the defended model itself is attacked")
    text = encode_prompts(pipeline, prompts)
    original = images.detach().float()
    attacked = start(original, settings, seeds)
    with frozen(pipeline.vae, pipeline.unet):
        target = None
        if settings.method in TARGETED:
            target = load_target(pipeline, settings.target, *images.shape[2:])
        for step in track(range(settings.steps), f"{settings.method}, closing the gates"):
            draws = [derive_seed("attack", seed, 0, step, 0) for seed in seeds]
            value = partial(
                objective_values, pipeline, text=text, settings=settings, target=target, seeds=draws
            )

            def loss(pixels: Tensor, value: partial = value) -> Tensor:
                with record_gates(pipeline.unet) as gates:
                    objective = value(pixels)
                logits = [layer for passes in gates.logits.values() for layer in passes]
                shut = torch.stack([F.logsigmoid(-layer).mean(1) for layer in logits])
                return objective + weight * shut.mean(0)

            attacked = pgd_step(
                [loss], attacked, original, settings.eps, settings.step_size, settings.norm
            )
    return quantise(attacked, original, settings.eps, settings.norm)
