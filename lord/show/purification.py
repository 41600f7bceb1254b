"""What the chapter on purification shows of what attacks leave."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from lord.experiments.purification.tables import (
    attack_names,
    attack_table,
    defence_table,
)
from lord.metrics.interval import Interval, share_interval
from lord.record import Record
from lord.show.panels import band, grid, interval, legend
from lord.show.style import (
    BLUE,
    CYCLE,
    MARKERS,
    VERMILION,
    LeftOut,
    caveats,
    mark,
    styled,
    where_planned,
)
from lord.show.tables import plain_table

PURIFIERS = {
    "diffpure": "DiffPure",
    "diffpure_ode": "DiffPure, ODE",
    "gdmp": "GDMP",
    "gridpure": "GrIDPure",
    "robust": "robust process",
}
USUAL = "residual"
"""The classifier that purifiers are compared in front of."""

CLASSIFIERS = {
    "pgd": "PGD-AT",
    "trades": "TRADES",
    "pgd_4": "PGD-AT at 4/255",
    "trades_4": "TRADES at 4/255",
}
ATTACKS = {
    "standard": "no attack",
    "bpda": "BPDA",
    "transfer": "transfer",
    "pgd": "PGD",
    "apgd_ce": "Auto-PGD",
    "apgd_dlr": "Auto-PGD, DLR",
    "apgd_t": "Auto-PGD, targeted",
    "fab_t": "FAB",
    "square": "Square",
    "spatial": "spatial",
}
STANDINGS = {"right in all purifications": "worst", "right by their vote": "majority"}


@styled
def accuracies(records: Sequence[Record]) -> Figure:
    """Accuracy of each defence before and after all attacks, a panel for each threat."""
    shown = _of(records, "purification_attacks")
    table = defence_table(shown)
    names, threats = (list(dict.fromkeys(table[n])) for n in ("defence", "threat"))
    figure, _, places = grid(
        ["records"], [threat_name(t) for t in threats], 0.24 * len(names) + 0.9, sharey=True
    )
    for threat, (panel, _, _) in zip(threats, places, strict=True):
        for row in table[table["threat"] == threat].to_dict("records"):
            place = names.index(row["defence"])
            interval(panel, row, "standard_worst", place - 0.14, BLUE, False, "no attack")
            interval(panel, row, "robust_worst", place + 0.14, VERMILION, label="all attacks")
        panel.set(xlim=(-0.03, 1.03), xlabel="share right")
        panel.grid(axis="y", visible=False)
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.set_yticks(range(len(names)), [defence_name(name) for name in names])
    legend(figure)
    return mark(figure, shown)


@styled
def attack_by_attack(records: Sequence[Record]) -> Figure:
    """What each attack leaves behind each purifier, in all purifications and by their vote; beside
    it what the best classifier that was trained adversarially keeps after all attacks.

    Defences whose noise is known are left out, as they meet other attacks.
    """
    shown = _of(records, "purification_attacks")
    places = by_place(shown)
    figure, axes, found = grid([*places], [*STANDINGS], 2.4 * len(places) + 0.6, sharey=True)
    for panel, place, words in found:
        faced, standing = places[place], STANDINGS[words]
        purified = [r for r in faced.values() if r.settings["purifier"] and not r.settings["known"]]
        for record, colour, marker in zip(purified, CYCLE, MARKERS, strict=False):
            names = attack_names(record)
            curve = np.transpose([left_after(record, name, standing) for name in names])
            label = defence_name(record.settings["defence"])
            band(panel, range(len(names)), curve, f"{marker}-", colour, label, 0.2)
            panel.set_xticks(range(len(names)), map(attack_name, names), rotation=40, ha="right")
        if best := most_kept(faced, CLASSIFIERS):
            kept = left_after(faced[best], attack_names(faced[best])[-1], standing).mean
            panel.axhline(kept, color=VERMILION, linestyle="--", label=defence_name(best))
        panel.set_ylim(-0.03, 1.03)
    for panel, place in zip(axes[:, 0], places, strict=True):
        panel.set_ylabel(place)
    legend(figure)
    return mark(figure, shown)


@where_planned
def steps_table(records: Sequence[Record]) -> Styler:
    """What every attack on every defence leaves, as the worst of several purifications."""
    table = attack_table(_of(records, "purification_attacks"))
    cells = pd.DataFrame(
        {
            "threat": [threat_name(threat) for threat in table["threat"]],
            "defence": [defence_name(name) for name in table["defence"]],
            "attack": [attack_name(name) for name in table["attack"]],
            "tried on": table["asked"].astype(str),
            "right in all": [share(row, "worst") for row in table.to_dict("records")],
            "right by vote": [share(row, "majority") for row in table.to_dict("records")],
        }
    ).set_index(["threat", "defence", "attack"])
    return plain_table(cells.rename_axis([None, None, None]), records)


@where_planned
def converged(records: Sequence[Record]) -> Markdown:
    """How many pictures the whole protocol takes that the attacks of the main table left.

    Args:
        records: those of the main table, and those of ``purification_converged``.
    """
    whole = _of(records, "purification_converged")
    if not whole:
        raise LeftOut
    lines = [f"*{text}*" for text in caveats(whole)]
    for record in whole:
        (main,) = (
            r
            for r in _of(records, "purification_attacks")
            if all(
                r.settings[n] == record.settings[n] for n in ("domain", "defence", "threat_name")
            )
        )
        count, names = int(record.metrics["images"]), attack_names(record)
        left, end = (
            round(record.metrics[f"{name}/worst"] * count)
            for name in (attack_names(main)[-1], names[-1])
        )
        lines.append(
            f"- {defence_name(record.settings['defence'])}, "
            f"{threat_name(record.settings['threat_name'])}: of {count} pictures the attacks of "
            f"the table leave {left}, the whole protocol {end}."
        )
    return Markdown("\n".join(lines))


@where_planned
def classifier_table(records: Sequence[Record]) -> Styler:
    """How good the classifiers are alone: on clean pictures, and under a quick attack."""
    cells = pd.DataFrame(
        {
            "right": [f"{r.metrics['held_out']:.1%}" for r in records],
            "under a quick attack": [f"{r.metrics['attacked']:.0%}" for r in records],
            "thousand parameters": [f"{r.metrics['parameters_thousands']:.0f}" for r in records],
        }
    ).set_index(
        pd.Index([CLASSIFIERS.get(r.settings["name"], r.settings["name"]) for r in records])
    )
    return plain_table(cells, records)


@where_planned
def costs(records: Sequence[Record]) -> Markdown:
    """What a gradient takes beside its passes, and how many pictures are purified in a second."""
    lines = [f"*{text}*" for text in caveats(records)]
    lines += [
        f"- {defence_name(r.settings['defence'])}: a gradient takes "
        f"{r.metrics['gradient/times_its_passes']:.2f} times as long as its passes. Purifying "
        f"takes {r.metrics['purify/times_the_sampler']:.2f} times as long as the sampler alone, at "
        f"{r.metrics['purify/pictures_per_second']:.1f} pictures a second."
        for r in records
    ]
    return Markdown("\n".join(lines))


def defence_name(name: str) -> str:
    """A defence in words: "robust process, noise known", with the classifier if it is another."""
    classifier, _, purifier = name.removesuffix(",known").partition("+")
    words = [PURIFIERS.get(purifier, purifier)] if purifier else []
    if classifier != USUAL:
        words.append(CLASSIFIERS.get(classifier, classifier))
    if name.endswith(",known"):
        words.append("noise known")
    return ", ".join(words) or "no purifier"


def threat_name(name: str) -> str:
    """A threat in words: "l∞ 8/255"."""
    for norm, words in (("linf", "l∞ {}/255"), ("l2", "l2 {}"), ("flow", "flow {} px")):
        if name.startswith(norm):
            return words.format(name.removeprefix(norm))
    raise ValueError(f"unknown threat {name!r}")


def attack_name(name: str) -> str:
    """An attack in words, with its steps and draws: "PGD 20 × 4"."""
    method, _, count = name.partition("-")
    return f"{ATTACKS[method]} {count.replace('x', ' × ')}".strip()


def _of(records: Sequence[Record], kind: str) -> list[Record]:
    return [record for record in records if record.kind == kind]


def by_place(
    records: Sequence[Record], kind: str = "purification_attacks"
) -> dict[str, dict[str, Record]]:
    """Each task and threat in words, with the records of the defences that faced it."""
    found: dict[str, dict[str, Record]] = {}
    for record in _of(records, kind):
        settings = record.settings
        place = f"{settings['domain']}, {threat_name(settings['threat_name'])}"
        found.setdefault(place, {})[settings["defence"]] = record
    return found


def most_kept(faced: dict[str, Record], names: Sequence[str]) -> str | None:
    """Which of some defences holds most pictures, of those that are there."""
    there = [name for name in names if name in faced]
    return max(there, key=lambda name: sum(faced[name].series["robust/worst"]), default=None)


def left_after(record: Record, attack: str, standing: str) -> Interval:
    """The share right after an attack and those before it, with its exact interval."""
    count = int(record.metrics["images"])
    return share_interval(round(record.metrics[f"{attack}/{standing}"] * count), count)


def share(row: dict, name: str) -> str:
    """A share with its exact interval of 95 %."""
    return f"{row[name]:.0%} ({row[f'{name}_low']:.0%} to {row[f'{name}_high']:.0%})"
