"""The main table: every defence against every attack that it faces, on every subject and seed."""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydantic import Field, field_validator

from lord.experiments.lord import example
from lord.experiments.lord.budget import attack_at
from lord.experiments.lord.conditions import Place, cells_of, measure, tabulated
from lord.experiments.lord.protocol import PROPOSED, Conditions, Treatment, treatments_of
from lord.record import Record
from lord.study.experiment import Cell, Experiment, Picture, Section, Table
from lord.study.profile import Profile
from lord.study.store import Store

OVERVIEW = (
    "Photographs",
    "What a LoRA learns from them",
    "From attacked photographs",
    "From attacked photographs, with LoRD",
)
"""The rows of the picture of the first page."""


class Main(Section):
    """Which defences face which attacks."""

    conditions: Conditions
    further_treatments: tuple[Treatment, ...] = Field(
        (), description="treatments of the paper's LoRD, behind ACE only, to see what λ does"
    )

    @field_validator("conditions")
    @classmethod
    def _comparable(cls, conditions: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if not all("none" in defences for defences in conditions.values()):
            raise ValueError("without the defence 'none' there is nothing to compare")
        for attack in ("none", "ace"):
            if attack not in conditions:
                raise ValueError(f"without the attack {attack!r} there is nothing to compare")
        return conditions


def cells(profile: Profile) -> Iterator[Cell]:
    """Every condition on the evaluation subjects."""
    protocol, own = profile["lord"], profile["main"]
    for place in product(protocol.domains, ["evaluation"], protocol.subjects, protocol.seeds):
        for method, defences in own.conditions.items():
            attack = None if method == "none" else attack_at(protocol, method)
            for defence in defences:
                treatments = treatments_of(protocol, defence)
                if method == "ace" and defence == PROPOSED:
                    treatments += own.further_treatments
                yield from cells_of(protocol, Place(*place), attack, defence, treatments)


def shown(records: Sequence[Record]) -> Sequence[Record]:
    """The records whose pictures chapters show: the first seed of each subject, undefended or ours.

    Of the first subject under every attack and, under ACE, behind every defence that is dropped.
    """
    from lord.experiments.lord.tables.conditions import selected_treatment

    kept = []
    for record in (r for r in records if r.kind == "main"):
        own = record.settings
        first = next(r.settings for r in records if r.kind == "main")
        if own["seed"] != first["seed"]:
            continue
        attack, defence, treatment = (own[k] for k in ("attack_name", "defence", "treatment"))
        chosen = defence == "none" and attack in ("none", "ace")
        if defence == PROPOSED and attack == "ace":
            chosen = treatment == selected_treatment(records, own["domain"])
        here = own["subject"] == first["subject"]
        undefended = here and defence == "none"
        compared = here and attack == "ace" and treatment in ("none", "dropped")
        if chosen or undefended or compared:
            kept.append(record)
    return kept


def overview_records(records: Sequence[Record]) -> Sequence[Record]:
    """For each domain the records of what `OVERVIEW` names, photographs as the attack took them.

    The first subject and seed: nothing is chosen by its looks.
    """
    from lord.experiments.lord.tables.conditions import selected_treatment

    main = [record for record in records if record.kind == "main"]
    chosen = []
    for domain in dict.fromkeys(record.settings["domain"] for record in main):
        chosen.append(next(r for r in records if r.name == f"{domain}-ace"))
        for attack, defence in (("none", "none"), ("ace", "none"), ("ace", PROPOSED)):
            condition = {name: main[0].settings[name] for name in ("subject", "seed")} | {
                "domain": domain,
                "attack_name": attack,
                "defence": defence,
                "treatment": "none" if defence == "none" else selected_treatment(records, domain),
            }
            chosen.append(next(r for r in main if condition.items() <= r.settings.items()))
    return chosen


def overview(store: Store, records: Sequence[Record]) -> NDArray[np.uint8]:
    """Four pictures of each of the `overview_records`, twice as large, below what they are.

    Domains take turns after two pictures, so that the left half, which phones show, has both.
    """
    found, rows = overview_records(records), []
    for place, label in enumerate(OVERVIEW):
        same = found[place :: len(OVERVIEW)]
        size = same[0].settings["size"]
        sheets = [store.sheet(record)[:size] for record in same]
        pairs = [s[:, k * size : (k + 2) * size] for k in (0, 2) for s in sheets]
        row = np.concatenate(pairs, axis=1).repeat(2, axis=0).repeat(2, axis=1)
        rows += [_line(label, row.shape[1]), row]
    width = min(row.shape[1] for row in rows)  # there may be fewer photographs than samples
    return np.concatenate([row[:, :width] for row in rows])


def _line(text: str, width: int) -> NDArray[np.uint8]:
    """A line of black text on white."""
    image = Image.new("RGB", (width, 40), "white")
    font = ImageFont.load_default(24)
    ImageDraw.Draw(image).text((4, 32), text, fill="black", font=font, anchor="ls")
    return np.asarray(image)


RESULTS = ("ace", "selection", "main")

EXPERIMENT = Experiment(
    name="main",
    title="every defence against every attack that it faces",
    section=Main,
    cells=cells,
    measure=measure,
    example=example.condition,
    needs=("stage1",),
    tables={
        "main_table": Table(
            RESULTS, tabulated("main_table_with_costs"), also=("performance", "cost", "stage1")
        ),
        "rivals": Table(RESULTS, tabulated("rival_table")),
        "clean_harm": Table(RESULTS, tabulated("clean_harm")),
        "treatments": Table(RESULTS, tabulated("treatment_table")),
    },
    pictures={"overview": Picture(RESULTS, overview, overview_records)},
    kept=shown,
)
