"""CLIP-IQA: how much more an image looks like a good photo than like a bad one.

s = exp(100·cos(x, t₁)) / (exp(100·cos(x, t₁)) + exp(100·cos(x, t₂))) with the image embedding x and
the embeddings t₁, t₂ of the antonym prompts "Good photo." and "Bad photo." [Wang et al., Exploring
CLIP for Assessing the Look and Feel of Images, 2023, equation 2]. Computed by torchmetrics, either
with the small CLIP of this package (``clip_iqa_embedded``) or with one of OpenAI's by its hub id
(``clip_iqa_openai``); the two scales are not comparable.

torchmetrics asks a model for embeddings through names whose result changed in transformers 5, and
prepares images for a processor that rescales bytes. `ClipEncoder` therefore wraps a `CLIPModel`
and takes images in [0, 1]; torchmetrics receives it through the callable it accepts in place of a
model name. The positional embedding is kept, as torchmetrics does for every model but its own.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.multimodal import CLIPImageQualityAssessment
from transformers import CLIPModel, CLIPTokenizer

from lord.models.memory import BATCH

PROMPTS = ("Good photo.", "Bad photo.")
"""The antonym pair of the ``quality`` score, the good one first."""

# Per-channel statistics of the images that OpenAI's CLIP was trained on.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class ClipEncoder(nn.Module):
    """A `CLIPModel` with its tokenizer: images in [0, 1] and strings to embeddings."""

    def __init__(self, model: CLIPModel, tokenizer: CLIPTokenizer):
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer

    def preprocess(self, images: Tensor) -> Tensor:
        """Resize the short side to the model's input, crop the centre, normalise the colours."""
        size = self.model.config.vision_config.image_size
        height, width = images.shape[-2:]
        if min(height, width) != size:
            scale = size / min(height, width)
            shape = (max(size, round(height * scale)), max(size, round(width * scale)))
            images = F.interpolate(images, shape, mode="bicubic", antialias=True).clamp(0, 1)
        top, left = (images.shape[-2] - size) // 2, (images.shape[-1] - size) // 2
        images = images[..., top : top + size, left : left + size]
        mean = images.new_tensor(CLIP_MEAN).view(3, 1, 1)
        return (images - mean) / images.new_tensor(CLIP_STD).view(3, 1, 1)

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Token ids and attention mask, both of shape (N, L)."""
        length = self.model.config.text_config.max_position_embeddings
        tokens = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=length, return_tensors="pt"
        )
        return {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        """Embeddings of preprocessed images, shape (N, D), not normalised."""
        return self.model.get_image_features(pixel_values=pixel_values).pooler_output

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Embeddings of tokenized texts, shape (N, D), not normalised."""
        output = self.model.get_text_features(input_ids=input_ids, attention_mask=attention_mask)
        return output.pooler_output

    def processor(
        self,
        text: Sequence[str] | None = None,
        images: Sequence[Tensor] | None = None,
        return_tensors: str = "pt",
        padding: bool = True,
    ) -> dict[str, Tensor]:
        """What torchmetrics calls to prepare a list of texts or a list of (3, H, W) images."""
        if text is not None:
            return self.tokenize(text)
        return {"pixel_values": self.preprocess(torch.stack(list(images)))}


def openai_clip(model: str = "openai/clip-vit-base-patch16") -> ClipEncoder:
    """One of OpenAI's CLIP models by hub id, downloaded on first use.

    Raises:
        OSError: the model is neither cached nor reachable.
    """
    clip = CLIPModel.from_pretrained(model, use_safetensors=True).eval().requires_grad_(False)
    return ClipEncoder(clip, CLIPTokenizer.from_pretrained(model))


@torch.inference_mode()
def clip_iqa(encoder: ClipEncoder, images: Tensor, batch_size: int = BATCH) -> Tensor:
    """CLIP-IQA of every image, float32, on the CPU, shape (N,), in [0, 1]; higher is better.

    Args:
        encoder: the small CLIP of `lord.metrics.clip.load_clip`, or `openai_clip`.
        images: shape (N, 3, H, W), in [0, 1].
        batch_size: images per forward pass.

    Raises:
        ValueError: there are no images.
    """
    if len(images) == 0:
        raise ValueError("CLIP-IQA needs at least one image")
    device = encoder.model.device
    # Built on the CPU, where torchmetrics computes the anchors, then moved with its model.
    metric = CLIPImageQualityAssessment(
        model_name_or_path=lambda: (encoder.cpu(), encoder.processor),
        data_range=1.0,
        prompts=(PROMPTS,),
    ).to(device)
    for batch in images.float().split(batch_size):
        metric.update(batch.to(device))
    return metric.compute().reshape(-1).float().cpu()
