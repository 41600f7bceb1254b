"""How well a trigger can be told from noise at all, by a defender who knows it."""

from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING

from pydantic import PositiveInt

from lord.record import Record
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome, Section, Settings, Table
from lord.study.profile import Profile

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import Markdown
    from matplotlib.figure import Figure

PAIRS = (
    ("baddiffusion", "box"),
    ("baddiffusion", "stop_sign"),
    ("baddiffusion", "glasses"),
    ("baddiffusion", "cat"),
    ("trojdiff_blend", "cat"),
    ("trojdiff_patch", "stop_sign"),
)
"""The attacks with the kinds of trigger they were published with, and ours."""


NUMBERS = ("norm", "benign", "triggered", "energy", "expected_benign", "expected_triggered")
"""The norm of μ, the shares told right, and those that the closed form expects of BadDiffusion."""


class Triggers(Section):
    """How many noises are asked, and how strong the triggers are in them."""

    size: PositiveInt = 32
    noises: PositiveInt = 2000
    strengths: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell for each attack with a trigger."""
    for attack, trigger in PAIRS:
        yield Cell(
            f"triggers-{attack}-{trigger}",
            {"attack": attack, "trigger": trigger},
            Settings.of(profile["triggers"], "size", "noises", "strengths"),
            (f"backdoor:{attack}", "detector:likelihood_ratio"),
        )


def measure(context: Context, cell: Cell) -> Outcome:
    """Shares of benign and of triggered noises that the likelihood ratio tells right."""
    from lord.backdoors.drawings import draw_trigger
    from lord.backdoors.inputs import energy, expected_rates, log_ratio
    from lord.backdoors.poison import Backdoor
    from lord.seeding import derive_seed, noise

    settings = cell.settings
    trigger = draw_trigger(cell["trigger"], settings.size)
    seeds = [derive_seed("triggers", k) for k in range(settings.noises)]
    plain = context.hold(noise, tuple(seeds), tuple(trigger.shape))
    area = (trigger != 0).any(dim=0).float().mean().item()
    metrics = {"area": area, "noises": settings.noises}
    for strength in settings.strengths:
        backdoor = Backdoor(cell["attack"], trigger, strength)
        # Other noises than the benign ones, so that each count stands for itself.
        triggered = backdoor.start(plain.flip(0))
        told = {
            "benign": log_ratio(plain, backdoor.mu, backdoor.gamma) <= 0,
            "triggered": log_ratio(triggered, backdoor.mu, backdoor.gamma) > 0,
            "energy": energy(triggered) > energy(plain),
        }
        found = {name: right.float().mean().item() for name, right in told.items()}
        found["norm"] = backdoor.mu.norm().item()
        if cell["attack"] == "baddiffusion":
            benign, hit = expected_rates(backdoor.mu, backdoor.mu)
            found |= {"expected_benign": benign, "expected_triggered": hit}
        metrics |= {f"{name}/{strength:g}": value for name, value in found.items()}
    return Outcome(metrics)


def example(cell: Cell) -> Outcome:
    """Made-up numbers."""
    number, metrics = Random(cell.name), {"area": 0.2, "noises": 10}
    for strength in cell.settings.strengths:
        metrics |= {f"{name}/{strength:g}": number.random() for name in NUMBERS}
        metrics[f"norm/{strength:g}"] *= 30
    return Outcome(metrics)


def table(records: Sequence[Record]) -> "pd.DataFrame":
    """One row for each attack, trigger and strength."""
    import pandas as pd

    rows = [
        {
            "attack": record.settings["attack"],
            "trigger": record.settings["trigger"],
            "strength": strength,
            "area": record.metrics["area"],
            **{name: record.metrics.get(f"{name}/{strength:g}") for name in NUMBERS},
        }
        for record in records
        for strength in record.settings["strengths"]
    ]
    return pd.DataFrame(rows)


def figure(records: Sequence[Record]) -> "Figure":
    """The shares told right, benign and triggered together, against the norm of the trigger."""
    from lord.show.style import styled

    return styled(_draw)(records)


def _draw(records: Sequence[Record]) -> "Figure":
    import numpy as np
    from scipy.stats import norm

    from lord.show.panels import panels
    from lord.show.style import CYCLE, MARKERS, mark

    made, axes = panels(1, 1, 3.0)
    panel, lengths = axes[0, 0], np.geomspace(0.2, 30, 200)
    panel.plot(
        lengths, norm.cdf(lengths / 2), color="#555555", label="Φ(‖μ‖/2), all that is possible"
    )
    bad = table(records).query("attack == 'baddiffusion'")
    kinds = bad.groupby("trigger", sort=False)
    for (trigger, rows), marker, colour in zip(kinds, MARKERS, CYCLE, strict=False):
        told = rows[["benign", "triggered"]].mean(axis=1)
        label = trigger.replace("_", " ")
        panel.plot(rows["norm"], told, marker, color=colour, label=label)
        panel.plot(rows["norm"], rows["energy"], marker, color=colour, fillstyle="none")
    panel.set(xscale="log", xlabel="norm ‖μ‖ of the trigger", ylabel="told right")
    panel.axhline(0.5, color="#999999", linestyle=":", linewidth=1.2)
    panel.legend(fontsize=8)
    return mark(made, records)


def findings(records: Sequence[Record]) -> "Markdown":
    """In short: at which norms a known trigger is seen, and at which not."""
    from lord.show.style import where_planned

    return where_planned(_say)(records)


def _say(records: Sequence[Record]) -> "Markdown":
    from IPython.display import Markdown

    from lord.show.style import caveats

    rows = table(records)
    bad = rows[rows["attack"] == "baddiffusion"]
    told, noises = bad[["benign", "triggered"]].mean(axis=1), records[0].metrics["noises"]
    strong, weak = bad["norm"][bad["strength"] == 1], bad[bad["norm"] < 1]
    unseen = bad["norm"][told < 1].max()
    scaled = rows[rows["attack"] != "baddiffusion"][["benign", "triggered"]]
    lines = [
        *(f"*{text}*" for text in caveats(records)),
        f"- At full strength the drawn triggers have norms of {strong.min():.0f} to "
        f"{strong.max():.0f}. Whoever knows them told "
        f"{_all(told[bad['strength'] == 1].min(), noises)}.",
        f"- Above a norm of {unseen:.1f} there was no error. Below 1 the share told right is "
        f"{told[weak.index].min():.0%} to {told[weak.index].max():.0%}, where 50% is a guess.",
        f"- TrojDiff also scales the noise, which alone gives it away: at least "
        f"{scaled.min().min():.1%} were told right, however weak the trigger.",
    ]
    return Markdown("\n".join(lines))


def _all(share: float, noises: float) -> str:
    return (
        f"all of {noises:.0f} noises of either kind right" if share == 1 else f"{share:.1%} right"
    )


EXPERIMENT = Experiment(
    name="triggers",
    title="how well a trigger can be told from noise at all",
    section=Triggers,
    cells=cells,
    measure=measure,
    example=example,
    tables={"terd_triggers": Table(("triggers",), table)},
)
