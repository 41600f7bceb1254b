"""Whether an attack made with one prompt or model also spoils edits with another."""

from collections.abc import Iterator
from itertools import product
from typing import Literal

from pydantic import Field

from lord.experiments.components.example import made_up
from lord.experiments.components.protocol import Protocol, edit_cell, pixel_settings
from lord.experiments.components.siblings import BASE, ENSEMBLE, PIXEL, SIBLINGS, Sibling, Training
from lord.experiments.components.tables import transfer_table
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Name, Outcome, Section, Table
from lord.study.profile import Profile

PROMPTS = ("caption", "other", "class", "empty")


class ComponentTransfer(Section):
    """From what to what attacks are carried over."""

    component: str = Field("*.residual", description="of any model")
    prompts: tuple[Literal[PROMPTS], ...] = PROMPTS
    siblings: dict[Name, Sibling] = SIBLINGS
    training: Training = Training()
    pixel: bool = Field(True, description="whether the model in pixels takes part, in its domain")


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell for each domain and each pair of prompts, and of models."""
    protocol, own = profile["components"], profile["component_transfer"]
    latent = (BASE, *own.siblings)
    for domain in protocol.domains:
        drawn = own.pixel and domain == protocol.pixel_domain
        models = (*latent, PIXEL) if drawn else latent
        for source, victim in product(own.prompts, own.prompts):
            yield _cell(protocol, own, domain, "prompt", source, victim)
        for source, victim in product(models, models):
            yield _cell(protocol, own, domain, "model", source, victim)
        for victim in models if len(latent) > 2 else ():
            yield _cell(protocol, own, domain, "model", ENSEMBLE, victim)


def _cell(
    protocol: Protocol, own: ComponentTransfer, domain: str, kind: str, source: str, victim: str
) -> Cell:
    also: dict = {"component": own.component}
    components: tuple[str, ...] = ()
    if kind == "model":
        taking_part = {source, victim}
        if source == ENSEMBLE:
            taking_part |= {*own.siblings, BASE}
        if siblings := {k: v for k, v in own.siblings.items() if k in taking_part}:
            also |= {"siblings": siblings, "training": own.training}
            components = ("step:pretraining",)
        if PIXEL in taking_part:
            also |= pixel_settings(protocol)
    coordinates = {"domain": domain, "kind": kind, "source": source, "victim": victim}
    return edit_cell("transfer", protocol, coordinates, also, components)


def measure(context: Context, cell: Cell) -> Outcome:
    """Edits by a victim, of pictures attacked with another prompt or on another model.

    An ensemble attacks all models in latents at once, but for the victim.
    """
    from lord.experiments.components.chain.transfer import transferred

    return transferred(context, cell)


def example(cell: Cell) -> Outcome:
    """Made-up numbers: an attack is strongest where it was made."""
    return made_up(cell, 5.0 if cell["source"] == cell["victim"] else 2.0)


EXPERIMENT = Experiment(
    name="component_transfer",
    title="whether attacks on components transfer to other prompts and models",
    section=ComponentTransfer,
    cells=cells,
    measure=measure,
    example=example,
    tables={"transfer": Table(("component_transfer",), transfer_table)},
    needs=("component_damage",),
)
