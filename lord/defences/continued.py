"""Stage 2 without an adapter of its own: the defence itself learns the subject.

The summaries of the paper (arXiv 2602.10319) leave open what is trained in Stage 2. Usually here it
is a new LoRA over the frozen defence (`lord.training.lora.finetune`). In another reading it is the
ordinary branch of the defence, B·A or B alone, while B′ and the gate stay as Stage 1 left them: the
defence branch takes the perturbation, and what remains with the gate closed is a plain LoRA.
"""

from collections.abc import Sequence

from torch import Tensor

from lord.defences.stage1 import ADAPTER
from lord.models.diffusion import Pipeline
from lord.training.adapters import History, train_adapter
from lord.training.lora import learning
from lord.training.settings import FinetuneSettings

TRAINED_PARTS = {"shared": ("lora_A", "lora_B"), "branch": ("lora_B",)}
"""What learns, by the name of the reading: A, which B′ reads through as well, and B, or B alone."""


def continue_defence(
    pipeline: Pipeline,
    images: Tensor,
    captions: Sequence[str],
    trains: str,
    settings: FinetuneSettings | None = None,
) -> History:
    """Let a part of the defence on the pipeline learn images of a subject; all of it ends frozen.

    The loss, steps, batches and seeds are those of `lord.training.lora.finetune`, so that readings
    are compared on equal terms. Rank, scale and layers are those of the defence; those of the
    settings are not used. λ is what the gate says, or the number to which it is fixed.

    Args:
        images: float, shape (N, 3, H, W) in [0, 1].
        captions: one per image.
        trains: one of `TRAINED_PARTS`.

    Returns:
        ``"loss"`` of every step.

    Raises:
        ValueError: another part, images or captions that are not as above, or no defence.
        FloatingPointError: the loss is not finite. The defence is then gone.
    """
    if trains not in TRAINED_PARTS:
        raise ValueError(f"unknown part {trains!r}: choose one of {', '.join(TRAINED_PARTS)}")
    if ADAPTER not in getattr(pipeline.unet, "peft_config", {}):
        raise ValueError("the pipeline has no defence; load one first")
    settings = settings or FinetuneSettings()
    loss, _ = learning(pipeline, images, captions, settings)
    ends = tuple(f".{part}.{ADAPTER}.weight" for part in TRAINED_PARTS[trains])
    for name, weight in pipeline.unet.named_parameters():
        weight.requires_grad_(name.endswith(ends))
    return train_adapter(pipeline, ADAPTER, loss, settings, None, "", f"stage 2, {trains}")
