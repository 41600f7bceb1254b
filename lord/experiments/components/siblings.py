"""Relatives of the model under study, trained once and kept, for transfer and for ensembles."""

from typing import Literal

from pydantic import Field, PositiveInt

from lord.study.experiment import Section

BASE, PIXEL, ENSEMBLE = "base", "pixel", "ensemble"
"""The model under study, the one in pixel space, and all models in latents but the victim."""


class Sibling(Section):
    """How a relative differs from the model under study, as it is trained with defaults."""

    seed: int = Field(0, description="of its weights and its training")
    first: int = Field(0, ge=0, description="the identity with which its pictures begin")
    unet_channels: tuple[int, ...] = Field((64, 96, 128), description="of the denoiser")
    encoder: Literal["own", "shared"] = Field("own", description="'shared': that of the model")

    @property
    def shares_encoder(self) -> bool:
        """Whether its latents are those of the model under study."""
        return self.encoder == "shared"


class Training(Section):
    """How all siblings are trained."""

    pool: PositiveInt = Field(8192, description="rendered pictures of each domain")
    vae_steps: PositiveInt = 2500
    vae_batch: PositiveInt = 16
    unet_steps: PositiveInt = 3500
    unet_batch: PositiveInt = 32
    mixed_precision: Literal["no", "bf16"] = "bf16"


SIBLINGS = {
    "seed": Sibling(seed=1),
    "data": Sibling(seed=2, first=1_000_000),
    "narrow": Sibling(seed=3, unet_channels=(32, 64, 96)),
    "encoder": Sibling(seed=4, encoder="shared"),
}
"""Another seed, other pictures, a narrower denoiser, and another denoiser on the same encoder."""
