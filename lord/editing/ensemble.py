"""Several denoisers on the latents of one autoencoder, whose mean prediction edits."""

from collections.abc import Sequence
from types import SimpleNamespace

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from lord.editing.editors import Editor, make_editor


def mean_editor(pipelines: Sequence[StableDiffusionPipeline]) -> Editor:
    """Variation by the mean prediction of the pipelines' denoisers, each with its text encoder.

    Autoencoder, tokenizer and schedule are those of the first.

    Raises:
        ValueError: their tokenizers know different words.
    """
    first = pipelines[0]
    if any(one.tokenizer.get_vocab() != first.tokenizer.get_vocab() for one in pipelines):
        raise ValueError("the models of an ensemble must have one tokenizer")
    parts = first.components | {"text_encoder": _Texts([one.text_encoder for one in pipelines])}
    joint = StableDiffusionPipeline(
        **parts | {"safety_checker": None}, requires_safety_checker=False
    )
    widths = [one.unet.config.cross_attention_dim for one in pipelines]
    return make_editor("variation", joint, _Mean([one.unet for one in pipelines], widths))


class _Texts(nn.Module):
    """The embeddings of several text encoders, side by side: (N, L, D₁ + D₂ + …)."""

    def __init__(self, encoders: Sequence[nn.Module]):
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self.config, self.dtype = encoders[0].config, encoders[0].dtype
        self.device = encoders[0].device

    def forward(self, tokens: Tensor) -> tuple[Tensor]:
        return (torch.cat([encoder(tokens)[0] for encoder in self.encoders], dim=-1),)


class _Mean(nn.Module):
    """The mean prediction of denoisers, each given its own part of the embeddings."""

    def __init__(self, unets: Sequence[nn.Module], widths: Sequence[int]):
        super().__init__()
        self.unets, self.widths = nn.ModuleList(unets), list(widths)
        self.config, self.dtype = unets[0].config, unets[0].dtype
        self.device = unets[0].device

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        return_dict: bool = True,
        **options: object,
    ) -> tuple[Tensor] | SimpleNamespace:
        texts = encoder_hidden_states.split(self.widths, dim=-1)
        found = [
            unet(sample, timestep, text, return_dict=False, **options)[0]
            for unet, text in zip(self.unets, texts, strict=True)
        ]
        mean = torch.stack(found).mean(0)
        return SimpleNamespace(sample=mean) if return_dict else (mean,)
