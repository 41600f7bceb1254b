"""Contrastive decoupling (CDL): the perturbation gets a name of its own, which is then left out.

Liu et al., arXiv:2406.18944. Nothing but prompts changes. The subject's photographs are learned as
``<prompt>, bhj noisy pattern``, beside clean pictures of the class as ``<class>, without bhj noisy
pattern`` (prior preservation, of weight 1), so that a rare word takes the perturbation. Samples are
asked for without it, and guided away from noise.

The paper trains the text encoder as well; here the U-Net's LoRA learns alone, as behind every other
defence. Its restorer of faces, which improves clean samples too, is left out.
"""

from collections.abc import Sequence

NOISE = "bhj noisy pattern"
"""What the perturbation is called; as in the public code."""

NEGATIVE = "noisy, abstract, pattern, low quality"
"""What guidance leads away from."""

PRIOR_WEIGHT = 1.0
"""Of the loss on pictures of the class."""


def with_noise(prompts: Sequence[str]) -> list[str]:
    """What photographs are learned as that may be perturbed."""
    return [f"{prompt}, {NOISE}" for prompt in prompts]


def without_noise(prompts: Sequence[str]) -> list[str]:
    """What pictures of the class are learned as, and what samples are asked for by."""
    return [f"{prompt}, without {NOISE}" for prompt in prompts]
