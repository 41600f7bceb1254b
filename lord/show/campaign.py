"""The page on reliability: what became of bad inputs and killed commands in the last campaign."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lord.errors import one_line

NOT_RUN = "The campaign has not been run here: `make campaign` writes its counts.\n"

OUTCOMES = {
    "tried": "Tried",
    "clear": "One clear line",
    "unclear": "Another line",
    "tracebacks": "Traceback",
    "accepted": "Accepted",
    "lost": "Files lost",
}
"""What may become of a bad input, by the name of its count."""

ENDS = {
    "kills": "Kills",
    "chains": "Chains",
    "equal": "Bit-equal",
    "leftovers": "With leftovers",
    "lost": "Different",
}
"""How killed commands may end that are run again, by the name of the count."""

INTERRUPTED, TOGETHER = "Ctrl-C", "at once"
"""Counts of something else than kills: commands that Ctrl-C has stopped, and pairs of commands."""


def reliability(path: Path) -> str:
    """The counts of the last campaign as Markdown, with every fault that it has found.

    Args:
        path: what ``make campaign`` has written, which may be missing; so may be one of its parts.
    """
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if not found:
        return NOT_RUN
    text = []
    if inputs := found.get("inputs"):
        text += ["## Bad inputs", _about(inputs), _table("Kind", OUTCOMES, inputs["counts"])]
    if kills := found.get("kills"):
        counts = dict(kills["counts"])
        none = dict.fromkeys(ENDS, 0)
        stopped, pairs = counts.pop(INTERRUPTED, none), counts.pop(TOGETHER, none)
        text += ["## Kills", _about(kills), _table("Command", ENDS, counts)]
        text += [
            f"Ctrl-C stopped {stopped['kills']} commands; {stopped['equal']} of them ended within "
            "two seconds, with one line that says how to go on."
        ]
        if pairs["chains"]:
            text += [
                f"{pairs['chains']} commands were begun twice at the same moment. "
                f"Of {pairs['equal']} the second was refused or made the same, and the end was "
                "that of one."
            ]
    faults = [fault for part in found.values() for fault in part["faults"]]
    return "\n\n".join([*text, "## What was at fault", _faults(faults)]) + "\n"


def _about(part: Mapping[str, Any]) -> str:
    """When and of what a part of the campaign was run."""
    changed = " with local changes" if part["dirty"] else ""
    return (
        f"Run on {part['started']} at commit `{part['commit'][:12]}`{changed}, on "
        f"{part['device']}, in {round(part['seconds'] / 60)} minutes."
    )


def _table(first: str, columns: Mapping[str, str], rows: Mapping[str, Mapping[str, int]]) -> str:
    total = {name: sum(counts[name] for counts in rows.values()) for name in columns}
    lines = [f"| {first} | {' | '.join(columns.values())} |", "| --- |" + " --: |" * len(columns)]
    for name, counts in {**rows, "**All**": total}.items():
        lines.append(f"| {name} | {' | '.join(str(counts[column]) for column in columns)} |")
    return "\n".join(lines)


def _faults(faults: Iterable[Mapping[str, Any]]) -> str:
    """Each fault in a line, in a block that nothing in it can end."""
    lines = [
        one_line(f"{f['category']}, {f['outcome']}: {f['command']}, {f['what']}: {f['said']}")
        for f in faults
    ]
    if not lines:
        return "Nothing."
    return "\n".join(["```text", *(line.replace("`", "'")[:300] for line in lines), "```"])
