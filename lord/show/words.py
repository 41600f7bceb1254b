"""Numbers and lists in words, and what earns which verdict."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

# The share that must be repaired of every gap for a verdict; the first is the goal of the study.
VERDICTS = {"Yes": 0.85, "Largely": 0.5}


class Answer(NamedTuple):
    """An answer to a question of the study, short and in full.

    Attributes:
        verdict: a word or a few.
        number: the one that says most, with what it is of.
        text: all numbers behind the verdict, in sentences.
    """

    verdict: str
    number: str
    text: str

    @property
    def short(self) -> str:
        """The verdict with its number."""
        return f"{self.verdict}: {self.number}" if self.number else self.verdict

    def __str__(self) -> str:
        return f"**{self.verdict}.** {self.text}" if self.text else f"{self.verdict}."


NOT_MEASURED = Answer("Not measured", "", "")


def verdict(shares: Sequence[float]) -> str:
    """How much the shares of the damage repaired come to, in a word, by the least of them."""
    known = [share for share in shares if share == share]
    if not known:
        return "There was nothing to repair"
    for word, least in VERDICTS.items():
        if min(known) >= least:
            return word
    return "In part" if max(known) >= min(VERDICTS.values()) else "Hardly"


def share(gap: Mapping[str, float]) -> str:
    """A share of the damage, with its interval if it has one."""
    if gap["closed"] != gap["closed"]:
        return "nothing, for want of a gap,"
    text = f"{gap['closed']:z.0%}"
    if gap["closed_low"] == gap["closed_low"]:
        text += f" [{gap['closed_low']:z.0%}, {gap['closed_high']:z.0%}]"
    return text


def folded(text: str) -> str:
    """Markdown to unfold: all numbers behind what is said in short."""
    return f"<details><summary>All numbers</summary>\n\n{text}\n\n</details>"


def capitalised(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}"


def listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


def share_range(shares: pd.Series) -> str:
    ends = dict.fromkeys(f"{share:z.0%}" for share in (shares.min(), shares.max()))
    return " to ".join(ends)
