"""An attack on LoRD by someone who knows it: fool the denoiser, and keep the gate shut.

The plain attacks of `lord.attacks.pgd` already attack a defended model, gates included, if its
adapter is on the pipeline. This one wants λ → 0 besides, so that the defence branch does not take
the perturbation upon itself while a LoRA is trained.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lord.adapter import record_gates
from lord.attacks.pgd import attack, objective_values
from lord.attacks.settings import AttackSettings
from lord.models.diffusion import Pipeline


def attack_and_close(
    pipeline: Pipeline,
    images: Tensor,
    prompts: Sequence[str],
    settings: AttackSettings,
    seeds: Sequence[int],
    weight: float = 1.0,
) -> Tensor:
    """Attacked images, as from `lord.attacks.pgd.attack`, that raise

        L(x) + weight · mean log(1 − λ),

    the attack's own objective and, averaged over the layers, the log-probability that each gate
    gives to the image being clean. For a defence whose gates are learned; without surrogate.

    Raises:
        ValueError: the pipeline has no LoRD adapter, the attack has a surrogate, or as `attack`.
    """
    if settings.surrogate != "none":
        raise ValueError("surrogate: expected 'none', the defended model itself is attacked")

    def objective(pipeline: Pipeline, images: Tensor, **draw: object) -> Tensor:
        with record_gates(pipeline.unet) as gates:
            value = objective_values(pipeline, images, **draw)
        logits = [layer for passes in gates.logits.values() for layer in passes]
        shut = torch.stack([F.logsigmoid(-layer).mean(1) for layer in logits])
        return value + weight * shut.mean(0)

    return attack(pipeline, images, prompts, settings, seeds, objective=objective)
