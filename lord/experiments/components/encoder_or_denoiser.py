"""Whether attacks on latent models work through the encoder: one attack with it and without."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from lord.experiments.components.example import made_up
from lord.experiments.components.protocol import edit_cell, pixel_settings
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome, Section
from lord.study.profile import Profile

VARIANTS = ("encoder", "both", "denoiser", "latents", "pixels")
"""What the attack goes through: the encoder alone; encoder and denoiser; both, with the encoder's
part of the gradient cut; the denoiser alone, from latents on; the denoiser of a model in pixels."""


class EncoderOrDenoiser(Section):
    """What is attacked in the denoiser."""

    component: str = Field("*.residual", description="of the denoiser, of any model")
    variants: tuple[Literal[VARIANTS], ...] = VARIANTS


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell for each domain and variant; the model in pixels knows one domain."""
    protocol, own = profile["components"], profile["encoder_or_denoiser"]
    for domain in protocol.domains:
        for variant in own.variants:
            if variant == "pixels" and domain != protocol.pixel_domain:
                continue
            also = pixel_settings(protocol) if variant == "pixels" else {}
            coordinates = {"domain": domain, "variant": variant}
            yield edit_cell(
                "encoder-or-denoiser", protocol, coordinates, also | {"component": own.component}
            )


def measure(context: Context, cell: Cell) -> Outcome:
    """Edits of attacked pictures or latents, the control, and how far the denoiser's input moved.

    ``moved/…`` is the root mean square of the change of what the denoiser works on (latents, or
    pixels), in units of its deviation. The budget of an attack on latents is that of pixels in the
    same units.
    """
    from lord.experiments.components.chain.encoder import variant_outcome

    return variant_outcome(context, cell)


def example(cell: Cell) -> Outcome:
    """Made-up numbers: without the encoder there is little damage."""
    outcome = made_up(cell, 5.0 if cell["variant"] in ("encoder", "both") else 0.5)
    return Outcome(
        outcome.metrics | {"moved/attack": 0.2, "moved/noise": 0.1}, outcome.series, outcome.sheet
    )


EXPERIMENT = Experiment(
    name="encoder_or_denoiser",
    title="whether attacks on latent models work through the encoder",
    section=EncoderOrDenoiser,
    cells=cells,
    measure=measure,
    example=example,
    needs=("component_damage",),
)
