"""What is found of purification, in words: the robust process, DiffPure, adversarial training."""

from collections.abc import Sequence

from IPython.display import Markdown

from lord.experiments.purification.tables import (
    BASELINE,
    SIGNIFICANT,
    attack_names,
    defence_table,
    paired,
)
from lord.record import Record
from lord.show.purification import (
    CLASSIFIERS,
    PURIFIERS,
    STANDINGS,
    USUAL,
    attack_name,
    by_place,
    defence_name,
    left_after,
    most_kept,
    share,
)
from lord.show.style import caveats, where_planned
from lord.show.words import NOT_MEASURED, Answer, capitalised, listed

GUARDED, PLAIN = f"{USUAL}+robust", f"{USUAL}+{BASELINE}"
"""The usual classifier behind the robust process, and behind DiffPure."""

KNOWN = ",known"
"""Ends the names of defences whose noise the attacker knows."""


@where_planned
def findings(records: Sequence[Record]) -> Markdown:
    """In short: DiffPure, the robust process beside it, and adversarial training, for each threat.

    Args:
        records: those of ``purification_attacks``, others are left out.
    """
    lines = []
    for place, faced in by_place(records).items():
        named = {row["defence"]: row for row in defence_table([*faced.values()]).to_dict("records")}
        if PLAIN in named:
            row = named[PLAIN]
            lines.append(
                f"- {place}: behind DiffPure {share(row, 'standard_worst')} of pictures are right "
                f"in all purifications before any attack. After all attacks "
                f"{share(row, 'robust_worst')} are. By their vote it is "
                f"{share(row, 'standard_majority')} and {share(row, 'robust_majority')}."
            )
        if GUARDED not in named:
            lines.append(f"- {place}: the robust process has not been measured in this study.")
        elif PLAIN in named:
            lines.append(_compared(place, named[GUARDED], named[PLAIN]))
        if best := most_kept(faced, CLASSIFIERS):
            row = named[best]
            lines.append(
                f"- {place}: {defence_name(best)} without a purifier keeps "
                f"{share(row, 'robust_worst')}. Without attack it has "
                f"{share(row, 'standard_worst')} right."
            )
            if GUARDED in faced:
                lines.append(_turn(place, faced[GUARDED], named[best]["robust_worst"]))
    return Markdown("\n".join([*(f"*{text}*" for text in caveats(records)), *lines]))


def _turn(place: str, record: Record, kept: float) -> str:
    """From which attack on the robust process has no more right than adversarial training keeps."""
    parts = []
    for words, standing in STANDINGS.items():
        left = {name: left_after(record, name, standing) for name in attack_names(record)}
        name = next((name for name, found in left.items() if found.mean <= kept), None)
        when = "never" if name is None else f"from {attack_name(name)} on"
        mean, low, high = left[name or [*left][-1]]
        parts.append(f"{words} {when}, {mean:.0%} ({low:.0%} to {high:.0%})")
    said = ". ".join(map(capitalised, parts))
    return f"- {place}: when are no more than that right behind the robust process? {said}."


@where_planned
def blind(records: Sequence[Record]) -> Markdown:
    """What an attack without gradients, where it comes last, takes of what the others leave."""
    lines = [f"*{text}*" for text in caveats(records)]
    for place, faced in by_place(records).items():
        taken = []
        for name in [name for name in (PLAIN, GUARDED) if name in faced]:
            metrics, last = faced[name].metrics, attack_names(faced[name])[-1]
            if last.startswith("square"):
                asked = int(metrics[f"{last}/asked"])
                left = round(metrics[f"{last}/majority"] * metrics["images"])
                taken.append(f"{asked - left} of {asked} behind {defence_name(name)}")
        if taken:
            lines.append(
                f"- {place}: Square sees no gradient. Of those still right by vote it takes "
                f"{listed(taken)}."
            )
    return Markdown("\n".join(lines))


@where_planned
def noise_known(records: Sequence[Record]) -> Markdown:
    """What purifiers keep whose noise is always the same for a picture, and known."""
    lines = [f"*{text}*" for text in caveats(records)]
    for place, faced in by_place(records).items():
        rows = defence_table([r for r in faced.values() if r.settings["known"]]).to_dict("records")
        kept = [
            f"{share(row, 'robust_worst')} behind {defence_name(row['defence'][: -len(KNOWN)])}"
            for row in rows
        ]
        if kept:
            lines.append(f"- {place}: an attacker who knows the noise leaves {listed(kept)}.")
    return Markdown("\n".join(lines))


def guided(records: Sequence[Record]) -> Answer:
    """Whether the robust process keeps more than DiffPure against an attacker who knows it."""
    return _against(records, [GUARDED], [PLAIN])


def without_training(records: Sequence[Record]) -> Answer:
    """Whether the best purifier keeps more than the best adversarially trained classifier."""
    return _against(records, [f"{USUAL}+{name}" for name in PURIFIERS], [*CLASSIFIERS])


def _against(records: Sequence[Record], ours: Sequence[str], theirs: Sequence[str]) -> Answer:
    """Whether the best of some defences beats the best of others, picture by picture."""
    verdicts, numbers, said = [], [], []
    for place, faced in by_place(records).items():
        names = most_kept(faced, ours), most_kept(faced, theirs)
        if None in names:
            continue
        pair = [faced[name] for name in names]
        test = paired(*pair)
        verdict = "Yes" if test["won"] > test["lost"] else "No"
        verdicts.append(verdict if test["p"] < SIGNIFICANT else "Not told apart")
        rows = defence_table(pair).to_dict("records")
        (mine, kept), (other, left) = zip(map(defence_name, names), rows, strict=True)
        gain = round(100 * (kept["robust_worst"] - left["robust_worst"]))
        more = f"{abs(gain)} {'fewer' if gain < 0 else 'more'} of 100 pictures right"
        numbers.append((more, place))
        said.append(
            f"{place}: {share(kept, 'robust_worst')} of pictures are right after all attacks with "
            f"{mine}, {share(left, 'robust_worst')} with {other}. The sign test has p "
            f"{test['p']:.2g}."
        )
    if not verdicts:
        return NOT_MEASURED
    verdict = verdicts[0] if len(set(verdicts)) == 1 else "In part"
    number, place = numbers[0]
    if len(numbers) > 1:
        number = f"{number} ({place})"
    right = "A picture counts as right if it is so in all purifications."
    return Answer(verdict, number, " ".join([right, *map(capitalised, said)]))


def _compared(place: str, own: dict, base: dict) -> str:
    """The robust process beside DiffPure in a sentence, with what the test can tell."""
    more = own["robust_worst"] > base["robust_worst"]
    told = "keeps more than" if more else "keeps no more than"
    if own["p"] >= SIGNIFICANT:
        told = "cannot be told from"
    return (
        f"- {place}: the robust process {told} DiffPure (won {own['won']:.0f}, lost "
        f"{own['lost']:.0f}, p {own['p']:.2g}). {_power(own['least_gain'])}. After all attacks "
        f"they have {share(own, 'robust_worst')} and {share(base, 'robust_worst')} right in all "
        f"purifications. Without attack they have {share(own, 'standard_worst')} and "
        f"{share(base, 'standard_worst')}."
    )


def _power(gain: float) -> str:
    """What the test would have found."""
    if gain != gain:
        return "So few pictures show no gain at all"
    return f"A gain of {gain:.0%} would have been found with power 0.8"
