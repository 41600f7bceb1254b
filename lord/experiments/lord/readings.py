"""Every reading of the paper: what stage 1 aims at, what stage 2 trains, how the test treats λ.

The paper's summaries say that Stage 2 fine-tunes a LoRA with LoRD merged into the model, and that
it tests with merged weights (arXiv 2602.10319). That can be read in several ways, all of them
measured here on the same cells.
"""

from collections.abc import Iterator
from itertools import product
from typing import Annotated, Literal

from pydantic import Field

from lord.experiments.lord import example
from lord.experiments.lord.conditions import Ablation, measure, tabulated, variant_cells
from lord.experiments.lord.protocol import Conditions, Treatment
from lord.study.experiment import Cell, Experiment, Indices, Section, Table
from lord.study.profile import Profile

TARGETS = {
    "noise": {"clean_target": "noise", "attacked_target": "noise"},
    "distilled": {"clean_target": "distill", "attacked_target": "noise"},
    "clean_latent": {"clean_target": "distill", "attacked_target": "clean_latent"},
}
"""What stage 1 has the model predict: the noise everywhere, as the paper; the base model's answer
on clean images; and, on attacked ones, what makes the clean image of them."""

Gate = Literal["learned"] | Annotated[float, Field(ge=-10, le=10)]


class Readings(Section):
    """Which readings are measured, on whom."""

    targets: tuple[Literal[(*TARGETS,)], ...] = Field(min_length=1, description="of stage 1")
    trains: tuple[Literal["lora", "shared", "branch"], ...] = Field(
        min_length=1, description="what learns in stage 2, as in lord.scenario"
    )
    gates: tuple[Gate, ...] = Field(min_length=1, description="λ during stage 2")
    treatments: tuple[Treatment, ...] = Field(
        min_length=1, description="at test time; 'dropped' where a LoRA of its own learned"
    )
    conditions: Conditions
    split: Literal["evaluation", "stage1"] = Field(
        "stage1", description="'stage1': the subjects are those that decide, by number"
    )
    subjects: Indices
    seeds: Indices


def variant(target: str, trains: str, gate: str | float) -> str:
    """What a reading is called: the three choices that make it."""
    return f"{target}.{trains}.{gate if gate == 'learned' else format(gate, 'g')}"


def cells(profile: Profile) -> Iterator[Cell]:
    """Every reading, that of the main table among them: it has fewer treatments there."""
    own = profile["readings"]
    variants = {
        variant(target, trains, gate): {
            "stage1": TARGETS[target],
            "scenario": {"stage2_trains": trains, "stage2_gate": gate},
        }
        for target, trains, gate in product(own.targets, own.trains, own.gates)
    }
    same = own.model_dump(include=set(Ablation.model_fields) - {"variants"})
    ablation = Ablation(variants=variants, **same)
    yield from variant_cells("readings", profile["lord"], ablation, unchanged=True)


EXPERIMENT = Experiment(
    name="readings",
    title="which reading of the paper repairs what",
    section=Readings,
    cells=cells,
    measure=measure,
    example=example.condition,
    needs=("stage1",),
    tables={"readings": Table(("selection", "main", "readings"), tabulated("reading_table"))},
)
