"""What becomes of a defence at test time."""

import math
from typing import Literal

from lord.adapter import LordConfig, activate, merge, set_gate, unmerge
from lord.adapter.gate import LARGEST
from lord.defences.stage1 import ADAPTER
from lord.models.diffusion import Pipeline


def apply_treatment(pipeline: Pipeline, treatment: str) -> None:
    """Choose what becomes of the defence at test time. Any treatment can follow any other.

    ===============  ==============================================================================
    ``learned``      every layer computes λ from its input, as the paper's equation says
    ``prior=0.01``   as ``learned``, for a world where one input in a hundred is attacked and not,
                     as in stage 1, one in two, see `lord.adapter.set_gate`; a variant of ours
    ``lambda=0.5``   λ is this number everywhere: 0 closes the defence branch and keeps the
                     ordinary branch B, 1 opens it fully; any other number up to 1000 works as well
    ``dropped``      the Stage-1 adapter, A and B included, takes no part at all
    ``merged=0.5``   as ``lambda=0.5``, with all adapters added to the weights; ``merged`` alone is
                     ``merged=1``
    ``kept``         a defence without gate, that is a plain LoRA, stays as it was in Stage 2
    ===============  ==============================================================================

    The paper (arXiv 2602.10319) merges LoRD and LoRA with the pretrained weights and samples from
    prompts. As its λ depends on the input, no merge can equal its equation, and it names no fixed
    λ: ``merged`` takes the description literally (both branches are added to the weights), and
    ``learned`` takes the equation literally.

    Raises:
        ValueError: an unknown treatment, the pipeline has no defence, or the treatment is of a gate
            and the defence has none.
    """
    unet = pipeline.unet
    kind, gate, prior = _parse_treatment(treatment)
    configs = getattr(unet, "peft_config", {})
    if ADAPTER not in configs:
        raise ValueError(f"{treatment}: the pipeline has no defence; load one first")
    gated = isinstance(configs[ADAPTER], LordConfig)
    if kind != "dropped" and gated == (kind == "kept"):
        having = "has a gate" if gated else "has no gate"
        raise ValueError(f"{treatment}: not for this defence, which {having}")
    unmerge(unet)
    if gated:
        set_gate(unet, gate, prior)
    activate(unet, [name for name in configs if kind != "dropped" or name != ADAPTER])
    if kind == "merged":
        merge(unet)


def _parse_treatment(treatment: str) -> tuple[str, Literal["learned"] | float, float]:
    """The kind of a treatment, its gate and its prior."""
    kind, _, number = treatment.partition("=")
    if treatment in ("learned", "kept", "dropped"):
        return kind, "learned", 0.5
    if treatment == "merged":
        return kind, 1.0, 0.5
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if kind == "prior" and 0 < value < 1:
        return kind, "learned", value
    if kind not in ("lambda", "merged") or not abs(value) <= LARGEST:
        raise ValueError(
            f"unknown treatment {treatment!r}: choose 'learned', 'kept', 'dropped', 'merged', "
            "'lambda=' or 'merged=' with a number, such as 'lambda=0.5', or 'prior=' with a "
            "probability"
        )
    return kind, value, 0.5
