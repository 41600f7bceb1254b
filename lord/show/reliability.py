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

INTERRUPTED = "Ctrl-C"


def reliability(path: Path) -> str:
    """The counts of a campaign as Markdown, with every fault that it has found.

    Args:
        path: what ``make campaign`` has written, which may be missing.
    """
    if not path.is_file():
        return NOT_RUN
    found = json.loads(path.read_text(encoding="utf-8"))
    kills = dict(found["kills"])
    stopped = kills.pop(INTERRUPTED, dict.fromkeys(ENDS, 0))
    minutes = {name: round(seconds / 60) for name, seconds in found["seconds"].items()}
    text = [
        f"Run on {found['started']}, commit `{found['commit'][:12]}`"
        f"{' with local changes' if found['dirty'] else ''}, {found['device']}.",
        f"\n## Bad inputs\n\nTried in {minutes['inputs']} minutes:\n",
        _table("Kind", OUTCOMES, found["inputs"]),
        f"\n## Kills\n\nDone in {minutes['kills']} minutes:\n",
        _table("Command", ENDS, kills),
        f"\nCtrl-C stopped {stopped['kills']} commands; {stopped['equal']} of them ended within "
        "two seconds, with one line that says how to go on.",
        "\n## What was at fault\n",
        _faults(found["faults"]),
    ]
    return "\n".join(text) + "\n"


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
