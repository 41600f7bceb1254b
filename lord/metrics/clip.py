"""The small CLIP behind the embedded CLIP-IQA: renders, their captions and words of quality.

A genuine `CLIPModel`, trained here with CLIP's contrastive loss [Radford et al., Learning
Transferable Visual Models From Natural Language Supervision, 2021]. CLIP-IQA assumes that the
model has met good and bad photographs in its training text; ours meets them in two ways. Some
captions begin with "good photo" or "bad photo" according to what was done to the image, and the
antonym prompts of CLIP-IQA are trained directly: its score is asked to equal one minus the
severity of the degradation.
"""

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline
from pydantic import Field
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from lord.files import replacing_together, write_text
from lord.metrics.clip_iqa import PROMPTS, ClipEncoder
from lord.metrics.pool import Pool, cached_pool, training_view
from lord.metrics.training import (
    TrainingSettings,
    checkpoint_path,
    fit,
    half_precision,
    held_out_views,
    network_in,
)
from lord.models.embedded import forget_lengths
from lord.models.source import check_weights
from lord.seeding import derive_seed
from lord.tensors import save_tensors

ASSETS = Path(__file__).parents[1] / "assets" / "clip"


class ClipSettings(TrainingSettings):
    """Sizes and training of the small CLIP."""

    steps: int = Field(2600, ge=1)
    learning_rate: float = Field(1e-3, gt=0, description="peak of the cosine schedule")
    weight_decay: float = Field(0.1, ge=0)
    patch: int = Field(8, ge=1, description="side of a vision patch in pixels")
    width: int = Field(128, ge=8)
    vision_layers: int = Field(4, ge=1)
    text_layers: int = Field(2, ge=1)
    embedding: int = Field(64, ge=2)
    quality_weight: float = Field(4.0, gt=0, description="of the quality words in the loss")


def build_clip(tokenizer: CLIPTokenizer, settings: ClipSettings) -> ClipEncoder:
    """A randomly initialised encoder of the sizes in ``settings``."""
    tower = {
        "hidden_size": settings.width,
        "intermediate_size": 4 * settings.width,
        "num_attention_heads": max(1, settings.width // 32),
        "projection_dim": settings.embedding,
    }
    text = tower | {
        "num_hidden_layers": settings.text_layers,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": tokenizer.model_max_length,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = tower | {
        "num_hidden_layers": settings.vision_layers,
        "image_size": settings.image_size,
        "patch_size": settings.patch,
    }
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=settings.embedding)
    return ClipEncoder(CLIPModel(config), tokenizer)


class ClipObjective(nn.Module):
    """Contrastive loss over image and caption, and cross-entropy of CLIP-IQA with its target."""

    def __init__(self, encoder: ClipEncoder, quality_weight: float):
        super().__init__()
        self.encoder, self.quality_weight = encoder, quality_weight

    def forward(
        self, pixels: Tensor, severities: Tensor, input_ids: Tensor, attention_mask: Tensor
    ) -> Tensor:
        """The loss of one batch of N images.

        Args:
            pixels: preprocessed images, shape (N, 3, H, W).
            severities: of their degradations, 0 for clean ones, shape (N,).
            input_ids: the N captions, then the good and the bad prompt, shape (N + 2, L).
            attention_mask: of the same shape.
        """
        images = self.encoder.get_image_features(pixels)
        texts = self.encoder.get_text_features(input_ids, attention_mask)
        images, texts = F.normalize(images.float(), dim=1), F.normalize(texts.float(), dim=1)
        captions, prompts = texts[:-2], texts[-2:]
        scale = self.encoder.model.logit_scale.exp().clamp(max=100)
        logits = scale * images @ captions.T
        diagonal = torch.arange(len(images), device=images.device)
        contrastive = (F.cross_entropy(logits, diagonal) + F.cross_entropy(logits.T, diagonal)) / 2
        # The difference of the two scores is the logit of CLIP-IQA.
        quality = 100 * images @ (prompts[0] - prompts[1])
        judged = F.binary_cross_entropy_with_logits(quality, 1 - severities)
        return contrastive + self.quality_weight * judged


def _describe(captions: list[str], severities: Tensor, seed: int) -> list[str]:
    """Captions, every second one on average led by its quality where that is clear."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "quality words"))
    spoken = (torch.rand(len(captions), generator=generator) < 0.5).tolist()
    described = []
    for caption, severity, speak in zip(captions, severities.tolist(), spoken, strict=True):
        if speak and severity == 0:
            caption = f"good photo, {caption}"
        elif speak and severity > 0.5:
            caption = f"bad photo, {caption}"
        described.append(caption)
    return described


@torch.inference_mode()
def held_out_scores(encoder: ClipEncoder, pool: Pool) -> dict[str, Any]:
    """How well the encoder does on a pool that was not trained on.

    Returns:
        ``caption_recall``: share of clean images whose caption wins among a batch;
        ``quality_clean`` and ``quality_severe``: mean CLIP-IQA of clean images and of those with
        a severity above 0.7; ``quality_error``: mean distance from one minus the severity.
    """
    prompts = F.normalize(encoder.get_text_features(**encoder.tokenize(PROMPTS)), dim=1)
    recalls, scores, severities = [], [], []
    for view in held_out_views(pool):
        captions = [pool.captions[row] for row in view.rows.tolist()]
        images = F.normalize(encoder.get_image_features(encoder.preprocess(view.images)), dim=1)
        texts = F.normalize(encoder.get_text_features(**encoder.tokenize(captions)), dim=1)
        best = (images @ texts.T).argmax(1).tolist()
        # Two images of a batch may have one caption; any of them counts.
        same = torch.tensor([captions[i] == captions[j] for i, j in enumerate(best)])
        recalls.append(same[view.kinds == 0])
        scores.append((100 * images @ (prompts[0] - prompts[1])).sigmoid())
        severities.append(view.severities)
    score, severity = torch.cat(scores), torch.cat(severities)
    results = {
        "caption_recall": torch.cat(recalls).float().mean(),
        "quality_clean": score[severity == 0].mean(),
        "quality_severe": score[severity > 0.7].mean(),
        "quality_error": (score - (1 - severity)).abs().mean(),
    }
    return {name: round(value.item(), 4) for name, value in results.items()}


def train_clip(
    pipeline: StableDiffusionPipeline,
    out: str | Path,
    work: str | Path,
    settings: ClipSettings | None = None,
) -> ClipEncoder:
    """Train the small CLIP with the pipeline's tokenizer and save it.

    Run again after an interruption, it goes on where it was.

    Args:
        pipeline: whose VAE makes the round trips and whose tokenizer knows the captions.
        out: folder for a model that `CLIPModel.from_pretrained` loads (half precision), its
            tokenizer, and ``training.json`` with the settings and the held-out scores.
        work: folder for the rendered pool and the checkpoint; that of `train_features` will do.
        settings: the defaults take some minutes on two CPU cores.
    """
    settings = settings or ClipSettings()
    work = Path(work)
    pool = cached_pool(pipeline, "train", settings.images_per_domain, settings.image_size, work)
    torch.manual_seed(derive_seed("clip", settings.seed))
    encoder = build_clip(pipeline.tokenizer, settings)

    def draw(seed: int) -> tuple[Tensor, ...]:
        view = training_view(pool, seed, settings.batch_size)
        captions = [pool.captions[row] for row in view.rows.tolist()]
        tokens = encoder.tokenize([*_describe(captions, view.severities, seed), *PROMPTS])
        pixels = encoder.preprocess(view.images)
        return pixels, view.severities, tokens["input_ids"], tokens["attention_mask"]

    checkpoint = checkpoint_path(work, "clip", settings)
    objective = ClipObjective(encoder, settings.quality_weight)
    fit(objective, draw, settings, checkpoint, "Small CLIP")
    encoder.cpu().eval()
    held_out = cached_pool(
        pipeline, "held-out", settings.held_out_per_domain, settings.image_size, work
    )
    encoder.half().float()  # the scores belong to what is stored
    record = {"settings": settings.model_dump(), "held_out": held_out_scores(encoder, held_out)}
    forget_lengths(encoder.tokenizer)
    with replacing_together(out) as new:  # a transformers folder
        encoder.model.config.save_pretrained(new)
        encoder.tokenizer.save_pretrained(new)
        write_text(new / "training.json", json.dumps(record, indent=2) + "\n")
        save_tensors(half_precision(encoder.model), new / "model.safetensors", {"format": "pt"})
    checkpoint.unlink(missing_ok=True)
    return encoder


def load_clip(folder: str | Path = ASSETS, device: torch.device | str = "cpu") -> ClipEncoder:
    """The CLIP of a folder, by default the one shipped, frozen, in evaluation mode, float32.

    Raises:
        FileNotFoundError: the folder holds no model.
        ValueError: it is broken.
    """
    folder = Path(folder)
    with network_in(folder, "CLIP", "train_clip"):
        model = CLIPModel.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
        check_weights(folder, model)
        tokenizer = CLIPTokenizer.from_pretrained(folder)
    return ClipEncoder(model.to(device).eval().requires_grad_(False), tokenizer)
