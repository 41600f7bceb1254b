"""The steps that the commands and the five lines of Python share: fine-tune, and evaluate."""

import math
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from lord.defences.saved import load_defence
from lord.metrics.clip import load_clip
from lord.metrics.clip_iqa import openai_clip
from lord.metrics.features import load_features
from lord.metrics.fid import extract, inception
from lord.metrics.measure import Instruments, measure, reference_features
from lord.metrics.resemblance import Encoder, ceiling, resemblance
from lord.models.diffusion import Pipeline
from lord.training.adapters import History, Watch
from lord.training.lora import finetune, remove_adapters
from lord.training.settings import FinetuneSettings


def fine_tune(
    pipeline: Pipeline,
    images: Tensor,
    captions: Sequence[str],
    settings: FinetuneSettings | None = None,
    *,
    defence: str | Path | None = None,
    prior: tuple[Tensor, Sequence[str]] | None = None,
    checkpoint: Path | None = None,
    watchers: Sequence[Watch] = (),
) -> History:
    """Train a LoRA on images, from the base model on, with or without a defence underneath.

    Adapters that were on the pipeline are taken off first, so the function can be called again and
    again with one pipeline.

    Args:
        images: float, shape (N, 3, H, W) in [0, 1].
        captions: one per image.
        defence: a folder written by `lord.defences.saved.save_defence`.
        prior, checkpoint, watchers: see `lord.training.lora.finetune`.

    Returns:
        The parts of the loss at every step.

    Raises:
        FileNotFoundError, ValueError, FloatingPointError: see `load_defence` and `finetune`.
    """
    remove_adapters(pipeline)
    if defence is not None:
        load_defence(pipeline, defence)
    options = {"prior": prior, "checkpoint": checkpoint, "watchers": watchers}
    return finetune(pipeline, images, captions, settings, **options)


def evaluate(
    pipeline: Pipeline, samples: Tensor, references: Tensor, encoder: Encoder | None = None
) -> dict[str, float]:
    """Fréchet distance of samples to clean images, raw and after the VAE, and CLIP-IQA.

    The names in the result tell which networks measured, see `lord.metrics.measure`. With an
    encoder there are also ``identity_similarity`` and its ceiling, see `lord.metrics.resemblance`.

    Args:
        samples, references: float, shapes (N, 3, H, W) and (M, 3, H, W) in [0, 1], at least two of
            each; the more references, the less biased the distance.
        encoder: from `lord.metrics.resemblance.load_encoder`.

    Raises:
        ValueError: too few images.
        FloatingPointError: a result is not finite.
        OSError, ModuleNotFoundError: the networks that judge hub models are not to be had.
    """
    for name, images in (("samples", samples), ("references", references)):
        if len(images) < 2:
            raise ValueError(f"{name}: at least two images are needed, not {len(images)}")
    instruments = instruments_for(pipeline)
    found = measure(instruments, samples, reference_features(instruments, pipeline, references))
    if encoder is not None:
        shown, clean = extract(encoder, samples), extract(encoder, references)
        found["identity_similarity"] = resemblance(shown, clean).mean().item()
        found["identity_ceiling"] = ceiling(clean)
    if broken := [name for name, value in found.items() if not math.isfinite(value)]:
        raise FloatingPointError(f"{broken[0]} is not finite; --dtype float32 may help")
    return found


def instruments_for(pipeline: Pipeline) -> Instruments:
    """The networks that judge a model: those pretrained with it, which lie beside it.

    `lord pretrain` and this package keep a model in ``embedded`` and its networks in ``features``
    and ``clip`` of the same folder. Any other model is judged by Inception and OpenAI's CLIP.
    """
    beside, device = Path(str(pipeline.name_or_path)).parent, pipeline.unet.device
    if not (beside / "features").is_dir():  # these are downloaded on first use
        features, clip = inception().to(device), openai_clip().to(device)
        return Instruments(features, clip, "fid_inception", "clip_iqa_openai")
    features = load_features(beside / "features", device)
    clip = load_clip(beside / "clip", device)
    return Instruments(features, clip, "fid_embedded", "clip_iqa_embedded")
