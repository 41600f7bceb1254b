"""Cells of the results: a LoRA on a subject's photographs, under an attack, behind a defence."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, Literal

from pydantic import Field, ValidationError

from lord.attacks.settings import AttackSettings
from lord.errors import described
from lord.experiments.lord import example
from lord.experiments.lord.budget import attack_at, attack_components
from lord.experiments.lord.cells import defence_components, pictures_of, pixel_settings, taking_part
from lord.experiments.lord.protocol import (
    COMMON,
    DEFENCES,
    SELECTION_START,
    TRAINED,
    Conditions,
    Protocol,
    Scenario,
    Treatment,
    can_know,
    is_lord,
    takes_part,
    treatments_of,
)
from lord.models.card import weights_checksum, weights_of
from lord.names import IN_PIXELS, PROMPTED
from lord.names import INDEPENDENT as JUDGED
from lord.record import Record
from lord.settings_file import require_numbers
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Indices, Name, Outcome, Section, Settings, Table
from lord.study.profile import Profile

MEASURED = ("metric:fid", "metric:clip_iqa", "metric:identity", "metric:ssim")
"""What is measured in a cell; a further metric leaves the records as they are."""

INDEPENDENT = tuple(f"metric:{name}" for name in JUDGED)
"""What is measured as well where the protocol asks for independent judges."""

CHAIN = ("step:renderer", "step:finetune", "step:sampler")
"""What every cell goes through."""


@dataclass(frozen=True)
class Place:
    """Whose photographs, and with which seed: a subject of a domain, of a split."""

    domain: str
    split: Literal["evaluation", "stage1"]
    subject: int
    seed: int

    @property
    def name(self) -> str:
        """As records are called."""
        kind = "subject" if self.split == "evaluation" else "selection"
        return f"{self.domain}-{kind}{self.subject}-seed{self.seed}"


def cells_of(
    protocol: Protocol,
    place: Place,
    attack: AttackSettings | None,
    defence: str,
    treatments: tuple[str, ...],
    label: str = "",
    variant: str | None = None,
) -> Iterator[Cell]:
    """The cells of one LoRA: one for every test-time treatment, none if the defence lacks a model.

    Args:
        label: tells attacks of one method apart.
        variant: the name of the change that made the protocol, of an ablation.
    """
    if not takes_part(protocol, place.domain, defence):
        return
    method = attack.method if attack else "none"
    names = [*COMMON, "photographs", "references", "finetune", "sampling", "independent"]
    components = [*CHAIN]
    coordinates = vars(place) | {"attack_name": method, "defence": defence}
    attacker = protocol.scenario.attacker
    if attack:
        components += attack_components(attack)
    if variant:
        names += ["scenario"] if attack else []
        coordinates["variant"] = variant
        if attacker != "base" and attack:
            components.append(f"attacker:{attacker}")
        if attacker in ("defended", "closing"):
            names += TRAINED[defence]
    if defence in TRAINED:
        names += [*TRAINED[defence], "scenario"]
        components += defence_components(protocol, defence)
    elif defence in PROMPTED:
        if place.domain in protocol.albums:
            raise ValueError(f"{defence}: of {place.domain}, photographs, no class is known")
        components.append(f"prompts:{defence}")
    elif defence != "none":
        components.append(f"purifier:{defence}")
    if place.domain in protocol.albums and protocol.scenario.stage1_domain == "other":
        raise ValueError(f"{variant}: to {place.domain}, which are photographs, there is no other")
    settings = Settings.of(protocol, *names).also(
        weights=weights_of(protocol.model, judged=True), **pictures_of(protocol, place.domain)
    )
    if attack:
        settings = settings.also(attack=attack)
    measured = (*MEASURED, *(INDEPENDENT if protocol.independent else ()))
    if model := protocol.identity_model:
        settings = settings.also(identity_model=model, identity_weights=weights_checksum(model))
        measured = (*measured, "metric:identity_similarity")
    if defence in IN_PIXELS:
        settings = settings.also(**pixel_settings(protocol, place.domain))
    candidates = set(treatments_of(protocol, defence)) - {"none"}
    prefix = f"{place.name}-{method}{label}-{defence}"
    for treatment in treatments:
        yield Cell(
            prefix if treatment == "none" else f"{prefix}-{treatment}",
            coordinates | {"treatment": treatment},
            settings.also(candidate=treatment in candidates),
            taking_part(protocol, place.domain, components),
            measured,
        )


def measure(context: Context, cell: Cell) -> Outcome:
    """Fine-tune behind a defence, sample and measure."""
    from lord.experiments.lord.chain.condition import measure_condition

    return measure_condition(context, cell)


class Ablation(Section):
    """Cells of the main table under changed settings."""

    variants: dict[Name, dict[str, Any]] = Field(
        description="for each name, the settings of the protocol that are otherwise"
    )
    conditions: Conditions = Field(
        description="without those under a variant's attacker who cannot know the defence"
    )
    treatments: tuple[Treatment, ...] = Field(
        min_length=1, description="of LoRD's gate at test time"
    )
    split: Literal["evaluation", "stage1"] = Field(
        "evaluation", description="'stage1': the subjects are those that decide, by number"
    )
    subjects: Indices
    seeds: Indices


def ablation(name: str, title: str, costs: tuple[str, ...] = (), **declared: Any) -> Experiment:
    """The experiment that measures every variant of the section of its name, with its table.

    Args:
        costs: experiments whose numbers stand in the table as well.
    """
    return Experiment(
        name=name,
        title=title,
        section=Ablation,
        cells=partial(_ablated, name),
        measure=measure,
        example=example.condition,
        needs=("stage1",),
        tables={
            f"ablation_{name}": Table(
                ("selection", "main", name, *costs), tabulated("ablation_table", name)
            )
        },
        **declared,
    )


def tabulated(name: str, *further: Any) -> Callable[[Sequence[Record]], Any]:
    """What makes a table of `lord.experiments.lord.tables`, which is imported when it is made.

    Args:
        further: arguments after the records.
    """

    def make(records: Sequence[Record]) -> Any:
        from lord.experiments.lord import tables

        return getattr(tables, name)(records, *further)

    return make


def _ablated(name: str, profile: Profile) -> Iterator[Cell]:
    """The cells of every variant of the section of that name."""
    return variant_cells(name, profile["lord"], profile[name])


def variant_cells(
    name: str, protocol: Protocol, own: Ablation, unchanged: bool = False
) -> Iterator[Cell]:
    """The cells of every variant, of an experiment of that name.

    Args:
        unchanged: also those whose settings a variant does not change.
    """
    check_places(name, own, protocol)
    start = SELECTION_START if own.split == "stage1" else 0
    conditions = [(a, d) for a, names in own.conditions.items() for d in names]
    for variant, changes in own.variants.items():
        try:
            varied = protocol.varied(changes)
        except ValidationError as error:
            raise ValueError(f"{name}.variants.{variant}.{described(error)}") from error
        require_numbers(changes, varied, f"{name}.variants.{variant}")
        check_attacker(variant, varied, own)
        cells = product(protocol.domains, own.subjects, own.seeds, conditions)
        for domain, index, seed, (method, defence) in cells:
            if method != "none" and not can_know(varied, varied.scenario.attacker, defence):
                continue
            place = Place(domain, own.split, start + index, seed)
            changed, same = (
                list(_variant(name, p, place, method, defence, variant, own))
                for p in (varied, protocol)
            )
            if unchanged or [c.settings.asked for c in changed] != [c.settings.asked for c in same]:
                yield from changed


def _variant(
    experiment: str,
    protocol: Protocol,
    place: Place,
    method: str,
    defence: str,
    variant: str,
    ablation: Ablation,
) -> Iterator[Cell]:
    rounds = protocol.scenario.surrogate_rounds
    own = protocol.scenario.model_dump()
    if defence not in TRAINED:  # stage 1 is nothing to those who have none
        own |= {"stage1_domain": "own", "stage2_gate": "learned", "stage2_trains": "lora"}
    if method == "none":  # and an attacker, to those whom nobody attacks
        own |= {"attacked_share": 1.0, "attacker": "base", "surrogate_rounds": 1}
    protocol = protocol.model_copy(update={"scenario": Scenario(**own)})
    attack = None if method == "none" else attack_at(protocol, method, rounds=rounds)
    treatments = treatments_of(protocol, defence)
    if is_lord(protocol, defence):
        treatments = ablation.treatments
    elif defence in TRAINED:
        treatments = tuple(t for t in treatments if t in ablation.treatments)
    if protocol.scenario.stage2_trains != "lora":  # what learned would be dropped
        treatments = tuple(t for t in treatments if t != "dropped")
    label = f"-{experiment}_{variant}"
    return cells_of(protocol, place, attack, defence, treatments, label, variant)


def check_places(name: str, own: Any, protocol: Protocol) -> None:
    """Raise ValueError where the subjects and seeds of a section are not those of the protocol."""
    subjects, seeds = protocol.subjects, protocol.seeds
    if getattr(own, "split", "evaluation") == "stage1":
        subjects, seeds = range(protocol.selection_subjects), seeds[:1]
    if not (set(own.subjects) <= set(subjects) and set(own.seeds) <= set(seeds)):
        raise ValueError(f"{name}: subjects and seeds must be among those of the section lord")


def check_attacker(variant: str, protocol: Protocol, own: Ablation) -> None:
    """Raise ValueError where an attacker who knows can face none of the defences."""
    attacker, rounds = protocol.scenario.attacker, protocol.scenario.surrogate_rounds
    if attacker == "base":
        return
    methods = [
        method
        for method, defences in own.conditions.items()
        if method != "none" and any(can_know(protocol, attacker, name) for name in defences)
    ]
    if not methods:
        raise ValueError(f"{variant}: no defence here that {attacker!r} could know")
    surrogates = {attack_at(protocol, method, rounds=rounds).surrogate for method in methods}
    if attacker in ("closing", "through_diffpure") and surrogates != {"none"}:
        raise ValueError(f"{variant}: {attacker!r} attacks without a surrogate, in one round")


def defended(conditions: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The defences among some conditions, in the order of the book."""
    return [name for name in DEFENCES if any(name in c for c in conditions.values())]
