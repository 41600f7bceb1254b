"""What the chapter on purification shows of t*, and of what each part of a purifier does."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from lord.experiments.purification.tables import (
    BASELINE,
    SIGNIFICANT,
    attack_table,
    defence_table,
    paired,
)
from lord.record import Record
from lord.show.panels import legend, panels
from lord.show.purification import PURIFIERS, by_place, most_kept, share
from lord.show.style import CYCLE, MARKERS, caveats, mark, styled, where_planned
from lord.show.tables import plain_table
from lord.show.words import count, listed

PARTS = "purification_parts"
VARIANTS = {
    "no_class": "without its class term",
    "no_latent": "without its distance of features",
    "no_limit": "without its limit",
    "noisy": "guided at the noisy picture",
    "fading": "guided less where there is less noise",
}


@styled
def frontier(records: Sequence[Record]) -> Figure:
    """Accuracy before and after an attack for every t*, and for every part taken away."""
    shown = [record for record in records if record.kind == PARTS]
    table = attack_table(shown)
    figure, axes = panels(1, 1, 3.0)
    panel = axes[0, 0]
    last = table.groupby("defence")["place"].transform("max")
    before = table[table["place"] == 0].set_index("defence")["worst"]
    after = table[table["place"] == last].set_index("defence")["worst"]
    kinds: dict[str, list[str]] = {}
    for name in before.index:
        kinds.setdefault(name.split(",t=")[0] if ",t=" in name else "variants", []).append(name)
    for (kind, names), marker, colour in zip(kinds.items(), MARKERS, CYCLE, strict=False):
        line = "none" if kind == "variants" or len(names) == 1 else "-"
        panel.plot(
            before[names], after[names], marker, linestyle=line, color=colour,
            label=PURIFIERS.get(kind, kind),
        )  # fmt: skip
        places: dict[tuple[float, float], list[str]] = {}
        for name in names:
            text = _time(name) if kind != "variants" else name.replace("_", " ")
            places.setdefault((before[name], after[name]), []).append(text)
        offset, side = ((-4, -8), "right") if kind == "variants" else ((3, 3), "left")
        for place, texts in places.items():
            panel.annotate(
                ", ".join(texts), place, offset, textcoords="offset points", fontsize=7, ha=side
            )
    panel.set(xlabel="right without attack", ylabel="right after it", ylim=(-0.03, None))
    legend(figure)
    return mark(figure, shown)


@where_planned
def times(records: Sequence[Record]) -> Markdown:
    """For each purifier the t* that keeps most, and what it leaves right without attack."""
    lines = []
    for place, faced in by_place(records, PARTS).items():
        for purifier, words in PURIFIERS.items():
            tried = [name for name in faced if name.startswith(f"{purifier},t=")]
            best = most_kept(faced, tried)
            if len(tried) > 1:
                (row,) = defence_table([faced[best]]).to_dict("records")
                lines.append(
                    f"- {place}: of t* {listed([_time(name) for name in tried])}, {words} keeps "
                    f"most at {_time(best)}. That is {share(row, 'robust_worst')} after the "
                    f"attack, and {share(row, 'standard_worst')} before it."
                )
    return Markdown("\n".join([*(f"*{text}*" for text in caveats(records)), *lines]))


@where_planned
def parts_table(records: Sequence[Record]) -> Styler:
    """Each changed purifier, and what it won and lost beside the same unchanged, in pictures."""
    rows = {}
    for place, faced in by_place(records, PARTS).items():
        for whole, changed in _compared(faced).items():
            purifier = PURIFIERS[faced[whole].settings["purifier"]["method"]]
            rows[place, f"{purifier}, whole"] = _row(faced[whole])
            rows |= {(place, _variant(n)): _row(faced[n], faced[whole]) for n in changed}
    return plain_table(pd.DataFrame.from_dict(rows, orient="index").fillna(""), records)


@where_planned
def part_findings(records: Sequence[Record]) -> Markdown:
    """In short: which changes of a purifier are surely felt, on the same pictures.

    A test among n must have a p below 0.05 / n (Bonferroni).
    """
    lines = []
    for place, faced in by_place(records, PARTS).items():
        for whole, changed in _compared(faced).items():
            tests = {name: paired(faced[name], faced[whole]) for name in changed}
            enough = SIGNIFICANT / len(tests)
            felt = [
                f"{_variant(name)} it keeps {'more' if test['won'] > test['lost'] else 'less'} "
                f"(p {test['p']:.2g})"
                for name, test in tests.items()
                if test["p"] < enough
            ]
            nearest = min(tests, key=lambda name: tests[name]["p"])
            told = listed(felt) or (
                "none makes a difference that the sign test can tell. Nearest to it comes the one "
                f"{_variant(nearest)} (p {tests[nearest]['p']:.2g}, where {enough:.2g} would tell)"
            )
            purifier = PURIFIERS[faced[whole].settings["purifier"]["method"]]
            lines.append(f"- {place}: of {count(len(tests), 'change')} to {purifier}, {told}.")
    return Markdown("\n".join(lines))


@where_planned
def rivals(records: Sequence[Record]) -> Styler:
    """Each purifier where it keeps most, and what it won and lost beside DiffPure, in pictures."""
    rows = {}
    for place, faced, base, others in _beside(records):
        rows[place, _titled(base)] = _row(faced[base])
        rows |= {(place, _titled(name)): _row(faced[name], faced[base]) for name in others}
    return plain_table(pd.DataFrame.from_dict(rows, orient="index").fillna(""), records)


@where_planned
def rival_findings(records: Sequence[Record]) -> Markdown:
    """In short: which purifiers keep surely more or less than DiffPure, on the same pictures.

    A test among n must have a p below 0.05 / n (Bonferroni).
    """
    lines = []
    for place, faced, base, others in _beside(records):
        tests = {name: paired(faced[name], faced[base]) for name in others}
        told: dict[str, list[str]] = {}
        for name, test in tests.items():
            more = "more than it" if test["won"] > test["lost"] else "less than it"
            found = more if test["p"] < SIGNIFICANT / len(tests) else "what cannot be told from it"
            told.setdefault(found, []).append(f"{_titled(name)} (p {test['p']:.2g})")
        said = [f"{name} keeps {how}" for how, names in told.items() for name in names]
        lines += [f"- {place}, beside {_titled(base)}: {one}." for one in said]
    return Markdown("\n".join(lines))


def _beside(
    records: Sequence[Record],
) -> Iterator[tuple[str, Mapping[str, Record], str, list[str]]]:
    """Of each place its records, the name of DiffPure, and those of other purifiers.

    Each is there at the t* where it keeps most; a place without DiffPure or others is left out.
    """
    for place, faced in by_place(records, PARTS).items():
        tried = {
            purifier: [name for name in faced if name.startswith(f"{purifier},t=")]
            for purifier in PURIFIERS
        }
        best = {p: most_kept(faced, names) for p, names in tried.items() if names}
        base = best.pop(BASELINE, None)
        if base and best:
            yield place, faced, base, [*best.values()]


def _titled(name: str) -> str:
    """A purifier with its t* in words: "GDMP at t* 36"."""
    return f"{PURIFIERS[name.split(',')[0]]} at t* {_time(name)}"


def _compared(faced: Mapping[str, Record]) -> dict[str, list[str]]:
    """For each unchanged purifier that there is, those that are it but for a change."""
    found: dict[str, list[str]] = {}
    for name, record in faced.items():
        purifier = record.settings["purifier"]
        whole = f"{purifier['method']},t={purifier['timestep']}"
        if ",t=" not in name and whole in faced:
            found.setdefault(whole, []).append(name)
    return found


def _variant(name: str) -> str:
    return VARIANTS.get(name, name.replace("_", " "))


def _row(record: Record, whole: Record | None = None) -> dict[str, str]:
    (row,) = defence_table([record]).to_dict("records")
    shown = {
        "right before": share(row, "standard_worst"),
        "right after": share(row, "robust_worst"),
    }
    if whole is not None:
        test = paired(record, whole)
        shown |= {"won": str(test["won"]), "lost": str(test["lost"]), "p": f"{test['p']:.2g}"}
    return shown


def _time(name: str) -> str:
    """t* of a purifier that is named by it."""
    return name.split("=")[1]
