"""The questions of the study, each with a verdict and the numbers behind it, as pages show them."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import pandas as pd
from IPython.display import Markdown

from lord.experiments.lord import tables
from lord.record import Record
from lord.show.cards import RESULTS
from lord.show.components import through_the_encoder, weakest
from lord.show.confirmation import confirmed
from lord.show.purification_findings import guided, without_training
from lord.show.results import result_records
from lord.show.robustness import branch, knowing, strangers
from lord.show.style import (
    caveats,
    where_planned,
)
from lord.show.terd import models_told, noises_told
from lord.show.transfer import carried
from lord.show.verdicts import damage, gate, repair, rivals, trained_rival, variants
from lord.show.words import (
    VERDICTS,
    Answer,
    count,
    folded,
)
from lord.study.run import run

BACKDOORED = ("backdoors", "reversion", "elijah", "input_rivals")
"""The experiments that say whether backdoors are found."""

BROKEN = (
    "purification_attacks",
    "component_damage",
    "encoder_or_denoiser",
    "component_transfer",
)
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
        "Does guided purification keep more than DiffPure?",
    ),
    "Purification keeps more than adversarial training": (
        "lin2024purification",
        "Does purification beat adversarial training?",
    ),
    "Residual blocks of the denoiser are weakest": (
        "zhang2023robustness",
        "Which part of the model breaks?",
    ),
    "Attacks on components carry over to other prompts": (
        "zhang2023robustness",
        "Do they carry over to other prompts?",
    ),
}
"""What the papers say: the paper, and the question whose answer stands against it if it has one."""


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
    "Does ACE ruin a LoRA?": ("04_ace_attack", lambda f: damage(f.table, f.results)),
    "Does LoRD repair it?": ("10_results", lambda f: repair(f.gaps, f.results)),
    "Does it hold for new subjects?": (
        "17_confirmation",
        lambda f: confirmed(f.of("confirmation")),
    ),
    "Does it work as it was trained?": (
        "09_lord_stage2",
        lambda f: gate(f.table, f.gaps, f.results),
    ),
    "Is LoRD ahead of other defences?": ("10_results", lambda f: rivals(f.results)),
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
    "Can LoRD be made better?": ("10_results", lambda f: variants(f.gaps, f.results)),
    "Does TERD find models with a backdoor?": (
        "23_terd",
        lambda f: models_told(f.of(*BACKDOORED)),
    ),
    "Does it find triggered inputs?": ("23_terd", lambda f: noises_told(f.of(*BACKDOORED))),
    "Does guided purification keep more than DiffPure?": (
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
    "Do they carry over to other prompts?": (
        "42_component_transfer",
        lambda f: carried(f.of("component_transfer")),
    ),
}

FIRST = (
    "Does ACE ruin a LoRA?",
    "Does LoRD repair it?",
    "Does it work as it was trained?",
    "Is LoRD ahead of other defences?",
    "Does TERD find models with a backdoor?",
    "Does purification beat adversarial training?",
    "Which part of the model breaks?",
)
"""The questions of the first page: what a newcomer has to know of each paper."""


def answers(profile: str) -> dict[str, tuple[str, Answer]]:
    """The questions of the study, each with the page about it and its answer.

    Raises:
        FileNotFoundError: records of the profile are missing.
    """
    names = ("confirmation", "parts", "adaptive", *BACKDOORED, *BROKEN)
    further = [record for name in names for record in run(profile, name, compute=False)]
    found = Found([*result_records(profile), *further])
    return {question: (page, asked(found)) for question, (page, asked) in QUESTIONS.items()}


@where_planned
def answer(records: Sequence[Record], *questions: str) -> Markdown:
    """What a chapter found, in short: questions with their verdicts, and all numbers folded.

    Args:
        records: those of the results, and what else the answers need.

    Raises:
        KeyError: the study has no such question.
    """
    found = Found(records)
    return Markdown("\n\n".join(_folded(q, QUESTIONS[q][1](found)) for q in questions))


def _folded(question: str, answer: Answer) -> str:
    """A question with its verdict, and all numbers to unfold."""
    short = f"*{question}* **{answer.short}.**"
    return f"{short}\n\n{folded(answer.text)}" if answer.text else short


def pages(profile: str) -> dict[str, str]:
    """What the book's pages include, as Markdown by the name of the file.

    ``first.md`` has one sentence and the table of the first page; ``verdicts.md`` a verdict and one
    number for every question; ``summary.md`` all numbers, ``claims.md`` what the papers say beside
    what was found.

    Raises:
        FileNotFoundError: records of the profile are missing.
    """
    records, found = result_records(profile), answers(profile)
    warnings = _warnings(records)
    full = [f"{n}. [{q}](notebooks/{p}) {a}" for n, (q, (p, a)) in enumerate(found.items(), 1)]
    reading = _reading(profile, tables.main_table(records))
    claims = ["| The paper says | Paper | Here |", "| --- | --- | --- |"]
    for claim, (paper, question) in CLAIMS.items():
        answer = found[question][1] if question else trained_rival(records)
        claims.append(f"| {claim} | {{cite}}`{paper}` | {answer.short} |")
    first = {question: found[question] for question in FIRST}
    return {
        "first.md": "\n".join([*warnings, _in_one_sentence(found), "", *_verdicts(first), ""]),
        "verdicts.md": "\n".join([*warnings, *_verdicts(found), ""]),
        "summary.md": "\n".join([*full, "", reading, ""]),
        "claims.md": "\n".join([*claims, ""]),
    }


def _verdicts(found: Mapping[str, tuple[str, Answer]]) -> list[str]:
    """A table of questions, each with its verdict and one number."""
    rows = ["| Question | Verdict | Number |", "| --- | --- | --- |"]
    for question, (page, answer) in found.items():
        rows.append(f"| [{question}](notebooks/{page}) | {answer.verdict} | {answer.number} |")
    return rows


def _in_one_sentence(found: Mapping[str, tuple[str, Answer]]) -> str:
    """What became of the question that the study began with."""
    asked = ("Does LoRD repair it?", "Does it work as it was trained?")
    chosen, trained = (found[question][1].number.partition(" repaired")[0] for question in asked)
    text = f"LoRD repairs **{chosen}** of the damage with a setting chosen on other subjects"
    return f"{text}; as trained, **{trained}** at worst." if trained else f"{text}."


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
        text += ". Seeds of a subject are alike and count for fewer"
    shares = ", ".join(f"“{word}” at least {share:.0%}" for word, share in VERDICTS.items())
    return (
        f"{text}. What is closed is a share of the gap between LoRAs on attacked and on clean "
        f"photographs. Verdicts go by the least share of an answer: {shares}."
    )
