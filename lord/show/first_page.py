"""The first page of the book: its questions, each with a verdict and the numbers behind it."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import pandas as pd
from IPython.display import Markdown

from lord.experiments.lord import tables
from lord.experiments.lord.protocol import AS_TRAINED, PROPOSED, VARIANTS
from lord.record import Record
from lord.show.cards import RESULTS, chosen_treatments
from lord.show.components import through_the_encoder, weakest
from lord.show.purification import guided, without_training
from lord.show.results import JUDGED, result_records
from lord.show.robustness import branch, knowing, strangers
from lord.show.style import (
    ATTACK_NAMES,
    DEFENCE_NAMES,
    caveats,
    higher_is_better,
    metric_keys,
    metric_name,
    where_planned,
    with_interval,
)
from lord.show.terd import models_told, noises_told
from lord.show.words import (
    NOT_MEASURED,
    VERDICTS,
    Answer,
    capitalised,
    count,
    listed,
    share,
    share_range,
    verdict,
)
from lord.study.run import run

CLEAN, ATTACKED = ("none", "none"), ("ace", "none")

# The attacks under which defences are compared, as far as there are any: in the published study
# every defence faces these.
COMPARED = ("ace", "ace_plus")


BACKDOORED = ("backdoors", "reversion", "elijah", "input_rivals")
"""The experiments that say whether backdoors are found."""

BROKEN = ("purification_attacks", "component_damage", "encoder_or_denoiser")
"""The experiments that say what purification holds, and what breaks in a model."""

CLAIMS = {
    "LoRD makes fine-tuning on attacked pictures work": ("zhu2026lord", "Does LoRD repair it?"),
    "LoRD is ahead of adversarial training": ("zhu2026lord", ""),
    "TERD tells all models with a backdoor from clean ones": (
        "mo2024terd",
        "Does TERD find models with a backdoor?",
    ),
    "TERD tells all triggered inputs from clean ones": (
        "mo2024terd",
        "Does it find triggered inputs?",
    ),
    "Guidance keeps more pictures right than DiffPure": (
        "lin2024purification",
        "Does guidance make purification robust?",
    ),
    "Purification keeps more than adversarial training": (
        "lin2024purification",
        "Does purification beat adversarial training?",
    ),
    "Residual blocks of the denoiser are weakest": (
        "zhang2023robustness",
        "Which part of the model breaks?",
    ),
}
"""What the papers say: the paper, and the question whose answer stands against it if it has one."""

Cell = Mapping[str, float]


class Found:
    """What answers are made from: records sorted by what they say, and two tables of the results.

    Args:
        records: of a profile or of a chapter.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.results = self.of(*RESULTS)

    def of(self, *kinds: str) -> list[Record]:
        return [record for record in self.records if record.kind in kinds]

    @cached_property
    def table(self) -> pd.DataFrame:
        """How each condition did."""
        return tables.main_table(self.results)

    @cached_property
    def gaps(self) -> pd.DataFrame:
        """Which share of the damage each defence repairs."""
        return tables.gaps_closed(self.results)


# The questions of the study: the chapter about each, and who answers it.
QUESTIONS: dict[str, tuple[str, Callable[[Found], Answer]]] = {
    "Does ACE ruin a LoRA?": ("04_ace_attack", lambda f: _damage(f.table, f.results)),
    "Does LoRD repair it?": ("10_results", lambda f: _repair(f.gaps, f.results)),
    "Can its gate be left as trained?": (
        "09_lord_stage2",
        lambda f: _gate(f.table, f.gaps, f.results),
    ),
    "Is LoRD ahead of other defences?": ("10_results", lambda f: _rivals(f.results)),
    "Does it hold against unseen attacks?": (
        "15_transfer",
        lambda f: strangers(f.gaps, f.results),
    ),
    "Does it hold against an attacker who knows it?": (
        "16_adaptive",
        lambda f: knowing(f.of("adaptive"), f.results),
    ),
    "Is it the second branch that repairs?": (
        "14_parts",
        lambda f: branch(f.of("parts"), f.results),
    ),
    "Can LoRD be made better?": ("10_results", lambda f: _variants(f.gaps, f.results)),
    "Does TERD find models with a backdoor?": (
        "23_terd",
        lambda f: models_told(f.of(*BACKDOORED)),
    ),
    "Does it find triggered inputs?": ("23_terd", lambda f: noises_told(f.of(*BACKDOORED))),
    "Does guidance make purification robust?": (
        "30_purification",
        lambda f: guided(f.of("purification_attacks")),
    ),
    "Does purification beat adversarial training?": (
        "30_purification",
        lambda f: without_training(f.of("purification_attacks")),
    ),
    "Which part of the model breaks?": (
        "40_components",
        lambda f: weakest(f.of("component_damage")),
    ),
    "Do attacks work through the encoder?": (
        "40_components",
        lambda f: through_the_encoder(f.of("encoder_or_denoiser")),
    ),
}


def answers(profile: str) -> dict[str, tuple[str, Answer]]:
    """The questions of the study, each with the page about it and its answer.

    Raises:
        FileNotFoundError: records of the profile are missing.
    """
    names = ("parts", "adaptive", *BACKDOORED, *BROKEN)
    further = [record for name in names for record in run(profile, name, compute=False)]
    found = Found([*result_records(profile), *further])
    return {question: (page, asked(found)) for question, (page, asked) in QUESTIONS.items()}


@where_planned
def answer(records: Sequence[Record], *questions: str) -> Markdown:
    """What a chapter found, in short: questions of the study with their answers.

    Args:
        records: those of the results, and what else the answers need.

    Raises:
        KeyError: the study has no such question.
    """
    found = Found(records)
    return Markdown("\n\n".join(f"*{q}* {QUESTIONS[q][1](found)}" for q in questions))


def pages(profile: str) -> dict[str, str]:
    """What the book's pages include, as Markdown by the name of the file.

    ``questions.md`` has a verdict and one number for each question, ``summary.md`` all numbers,
    ``claims.md`` what the papers say beside what was found.

    Raises:
        FileNotFoundError: records of the profile are missing.
    """
    records, found = result_records(profile), answers(profile)
    warnings = _warnings(records)
    rows = ["| Question | Verdict | In one number |", "| --- | --- | --- |"]
    for question, (page, answer) in found.items():
        rows.append(f"| [{question}](notebooks/{page}) | {answer.verdict} | {answer.number} |")
    full = [f"{n}. [{q}](notebooks/{p}) {a}" for n, (q, (p, a)) in enumerate(found.items(), 1)]
    reading = _reading(profile, tables.main_table(records))
    claims = ["| The paper says | Paper | Here |", "| --- | --- | --- |"]
    for claim, (paper, question) in CLAIMS.items():
        answer = found[question][1] if question else _trained_rival(records)
        here = f"{answer.verdict}{f': {answer.number}' if answer.number else ''}"
        claims.append(f"| {claim} | {{cite}}`{paper}` | {here} |")
    return {
        "questions.md": "\n".join([*warnings, *rows, ""]),
        "summary.md": "\n".join([*warnings, *full, "", reading, ""]),
        "claims.md": "\n".join([*claims, ""]),
    }


def _trained_rival(records: Sequence[Record]) -> Answer:
    """Whether LoRD is ahead of adversarial training, as `_rivals` compares them."""
    against = _standing(tables.rival_table(records))
    if "adversarial" not in against.index:
        return NOT_MEASURED
    place = against.loc["adversarial"]
    verdict = "Yes" if place["everywhere"] else "In part" if place["ahead"] else "No"
    return Answer(verdict, "in some respects behind it" if place["behind"] else "", "")


def _warnings(records: Sequence[Record]) -> list[str]:
    """What a reader must know before believing the records, each in a box."""
    return [
        f":::{{admonition}} {title}\n:class: warning\n\n{text.capitalize()}\n:::\n"
        for title, text in (caveat.split(": ") for caveat in caveats(records))
    ]


def _reading(profile: str, table: pd.DataFrame) -> str:
    """How the numbers are to be read."""
    subjects, seeds = table["subjects"].max(), table["seeds"].max()
    text = f"Profile `{Path(profile).stem}`: {count(subjects, 'subject')} and "
    text += f"{count(seeds, 'seed')} in each domain, "
    text += "no intervals" if subjects * seeds == 1 else "95 % intervals in brackets"
    if seeds > 1:
        text += ", in which seeds of a subject, alike as they are, count for fewer"
    shares = ", ".join(f"“{word}” at least {share:.0%}" for word, share in VERDICTS.items())
    return (
        f"{text}. What is closed is a share of the gap between LoRAs on attacked and on clean "
        f"photographs; by the least share of an answer, {shares}."
    )


def _damage(table: pd.DataFrame, records: Sequence[Record]) -> Answer:
    """Is a LoRA on attacked photographs worse than one on clean photographs?"""
    keys, domains = metric_keys(records), _by_domain(table)
    worse, parts = [], []
    for name in JUDGED:
        changes = []
        for domain, cells in domains.items():
            clean, attacked = cells[CLEAN], cells[ATTACKED]
            worse.append(is_worse(attacked, clean, name))
            changes.append(
                f"from {with_interval(clean, name)} to {with_interval(attacked, name)} on {domain}"
            )
        parts.append(f"{metric_name(keys[name])} goes {listed(changes)}")
    verdict = "Yes" if all(worse) else "In part" if any(worse) else "Not in this run"
    times = min(cells[ATTACKED]["fid"] / cells[CLEAN]["fid"] for cells in domains.values())
    number = f"FID {times:.1f} times as high, or more"
    return Answer(verdict, number, f"With it {'; '.join(parts)}.")


def _repair(gaps: pd.DataFrame, records: Sequence[Record]) -> Answer:
    """How far does LoRD bring the metrics back?"""
    gaps = gaps[(gaps["attack"] == "ace") & (gaps["defence"] == PROPOSED) & gaps["selected"]]
    gaps = gaps[gaps["metric"].isin(JUDGED)]
    closed = "; ".join(_closed(rows, records) for _, rows in gaps.groupby("metric", sort=False))
    return Answer(
        verdict(gaps["closed"]),
        f"{gaps['closed'].min():z.0%} repaired or more",
        f"With the test-time treatment chosen on other identities it closes {closed}.",
    )


def _closed(gaps: pd.DataFrame, records: Sequence[Record]) -> str:
    """The shares of one metric, on every domain."""
    metric = metric_name(metric_keys(records)[gaps["metric"].iloc[0]])
    shares = [f"{share(row)} on {row['domain']}" for row in gaps.to_dict("records")]
    return f"by {metric} {listed(shares)}"


def _gate(table: pd.DataFrame, gaps: pd.DataFrame, records: Sequence[Record]) -> Answer:
    """Which treatment was chosen, and what the gate does as trained.

    It is not trusted where LoRD as trained has a worse FID under ACE than as chosen, everywhere.
    """
    ours = table[(table["attack"] == "ace") & (table["defence"] == PROPOSED)]
    left = ours["treatment"] == AS_TRAINED[PROPOSED]
    worse = []
    for _, rows in ours.groupby("domain"):
        as_trained, best = rows[left.loc[rows.index]], rows[rows["selected"]]
        worse.append(len(as_trained) and is_worse(as_trained.iloc[0], best.iloc[0], "fid"))
    verdict = "No" if all(worse) else "Undecided"
    chosen = chosen_treatments(records, list(_by_domain(table)))
    text, number = f"Chosen on identities that are not evaluated: {chosen}.", ""
    trained = gaps[(gaps["attack"] == "ace") & (gaps["defence"] == PROPOSED)]
    trained = trained[trained["treatment"] == AS_TRAINED[PROPOSED]]
    if len(trained):
        trained = trained[trained["metric"] == "fid"]
        text += f" As trained, it closes {_closed(trained, records)}."
        number = f"{trained['closed'].min():z.0%} repaired at worst"
    return Answer(verdict, number, text)


def _rivals(records: Sequence[Record]) -> Answer:
    """Which defences LoRD is ahead of or behind, and which each of its variants is."""
    keys, leads = metric_keys(records), tables.rival_table(records)
    against = _standing(leads)
    if not len(against):
        return NOT_MEASURED
    attacks = [ATTACK_NAMES[name] for name in COMPARED if name in set(leads["attack"])]
    ahead = against["everywhere"]
    verdict = "Of all" if ahead.all() else "Of some" if ahead.any() else "Of none everywhere"
    text = (
        f"Under {listed(attacks)}, by {listed([metric_name(keys[name]) for name in JUDGED])}, on "
    )
    text += f"the same subjects and seeds, it is {_ahead_and_behind(against)}."
    for variant in VARIANTS:
        if len(of_variant := _standing(tables.rival_table(records, variant))):
            text += f" {capitalised(DEFENCE_NAMES[variant])} is {_ahead_and_behind(of_variant)}."
    if leads["lead_low"].notna().any():
        text += " A difference counts if its interval does not contain 0."
    return Answer(verdict, f"ahead of {ahead.sum()} of {len(against)} everywhere", text)


def _standing(leads: pd.DataFrame) -> pd.DataFrame:
    """A row for every rival of a defence, with three truth values.

    The defence is ahead of it under every attack of `COMPARED`, in every domain and metric
    (``everywhere``), in at least one (``ahead``), or behind it in at least one (``behind``).

    Args:
        leads: a `tables.rival_table`.
    """
    # A LoRA alone and variants of LoRD are no rivals.
    leads = leads[leads["attack"].isin(COMPARED) & leads["metric"].isin(JUDGED)]
    leads = leads[~leads["defence"].isin(("none", PROPOSED, *VARIANTS))]
    leads = leads.assign(
        ahead=leads["lead_low"].fillna(leads["lead"]) > 0,
        behind=leads["lead_high"].fillna(leads["lead"]) < 0,
    )
    # A rival counts with the better of its treatments.
    against = leads.groupby(["defence", "attack", "domain", "metric"], sort=False)
    against = against.agg({"ahead": "all", "behind": "any"}).groupby("defence", sort=False)
    return against.any().assign(everywhere=against["ahead"].all())


def _ahead_and_behind(against: pd.DataFrame) -> str:
    """The rows of `_standing` in words."""
    groups = {
        "everywhere": against["everywhere"],
        "in some respects": against["ahead"] & ~against["everywhere"],
        "nowhere": ~against["ahead"],
    }
    ahead = [f"{words} of {_defences(who)}" for words, who in groups.items() if who.any()]
    behind = against["behind"]
    behind = f"in some respects behind {_defences(behind)}" if behind.any() else "behind none"
    return f"ahead {', '.join(ahead)}, and {behind}"


def _defences(which: pd.Series) -> str:
    return listed([DEFENCE_NAMES[name] for name in DEFENCE_NAMES if which.get(name)])


def _variants(gaps: pd.DataFrame, records: Sequence[Record]) -> Answer:
    """What variants of LoRD repair beside it, each at the treatment that was chosen for it."""
    gaps = gaps[gaps["selected"] & gaps["metric"].isin(JUDGED)]
    places = ["attack", "domain", "metric"]
    closed = gaps.pivot(index=places, columns="defence", values="closed")
    variants = [name for name in VARIANTS if name in closed]
    closed = closed.reindex(columns=[PROPOSED, *variants]).dropna(subset=[PROPOSED])
    closed = closed[closed[variants].notna().any(axis=1)]
    if not len(closed):
        return NOT_MEASURED
    ahead = [(closed[name] > closed[PROPOSED])[closed[name].notna()] for name in variants]
    verdict = "Yes" if any(a.all() for a in ahead) else "In part" if any(map(any, ahead)) else "No"
    said = []
    for attack in (name for name in ATTACK_NAMES if name in closed.index.unique("attack")):
        rows = closed.xs(attack).dropna(axis="columns", how="all")
        metrics = [name for name in JUDGED if name in rows.index.unique("metric")]
        shares = [
            f"{DEFENCE_NAMES[name]} "
            + listed([share_range(rows.xs(metric, level="metric")[name]) for metric in metrics])
            for name in rows
        ]
        said.append(f"under {ATTACK_NAMES[attack]} {', '.join(shares)}")
    names = listed([f"by {metric_name(metric_keys(records)[name])}" for name in JUDGED])
    best = closed[variants].min().idxmax()
    return Answer(
        verdict,
        f"{DEFENCE_NAMES[best]}: {closed[best].min():z.0%} repaired or more",
        f"What closes {names}, each from domain to domain: {'; '.join(said)}.",
    )


def is_worse(cell: Cell, baseline: Cell, name: str) -> bool:
    """Whether a metric is worse than a baseline, with intervals that do not overlap if any."""
    near, far = (f"{name}_low", f"{name}_high")
    if higher_is_better(name):
        cell, baseline = baseline, cell
    if cell[near] != cell[near]:  # one cell, no interval
        near = far = name
    return bool(cell[near] > baseline[far])


def _by_domain(table: pd.DataFrame) -> dict[str, dict[tuple[str, str], Cell]]:
    """The rows of the main table, as selected, under domain and (attack, defence)."""
    cells: dict[str, dict[tuple[str, str], Cell]] = {}
    for row in table[table["selected"]].to_dict("records"):
        cells.setdefault(row["domain"], {})[row["attack"], row["defence"]] = row
    return cells
