"""What became of a trial, and the counts of all."""

import json
import resource
import signal
import traceback
from collections import Counter
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from campaign.trials import Trial
from typer.testing import CliRunner

from lord.cli import app
from lord.files import reserved

OUTCOMES = ("clear", "unclear", "tracebacks", "accepted", "lost")
"""Of a bad input: one line that names what is wrong, another line, a traceback, none at all; and
files that were there before and are not, or are not the same."""

SECONDS = 10
"""Of computing; a bad input that has not been refused by then has been accepted."""

OWN = ("out", "r/")
"""Where commands write; whatever is new elsewhere, nobody has asked for."""

MEMORY = 6 * 2**30
"""Bytes that a trial may take beyond what the process has."""


class TooLong(BaseException):
    """A trial has not come to an end."""


class Tally:
    """Counts by kind and category, and what was at fault."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {}
        self.faults: list[dict[str, str]] = []

    def add(self, category: str, outcome: str, fault: dict[str, str]) -> None:
        """Count the outcome of a trial."""
        self.counts.setdefault(category, Counter())["tried"] += 1
        self.counts[category][outcome] += 1
        if outcome != "clear":
            self.faults.append({"category": category, "outcome": outcome, **fault})

    def table(self) -> dict[str, dict[str, int]]:
        """For each category how many were tried, and how many had each outcome."""
        return {
            category: {name: counts[name] for name in ("tried", *OUTCOMES)}
            for category, counts in self.counts.items()
        }

    def __str__(self) -> str:
        return json.dumps({"counts": self.table(), "faults": self.faults}, indent=1)


def judge(trial: Trial, folder: Path) -> tuple[str, str]:
    """Make a trial in a copied world; return its outcome and what was said."""
    trial.prepare(folder)
    before = contents(folder)
    with ExitStack() as stack:
        stack.enter_context(chdir(folder))
        stack.enter_context(mock.patch.dict("os.environ", {"LORD_RESULTS": str(folder / "r")}))
        asked = stack.enter_context(mock.patch("socket.getaddrinfo", side_effect=OSError("none")))
        stack.enter_context(mock.patch("time.sleep"))  # before one asks the network again
        if trial.held:
            stack.enter_context(reserved(folder / trial.held))
        stack.enter_context(limits(trial.file_size))
        try:
            result = CliRunner().invoke(app, list(trial.arguments))
        except TooLong:
            return "accepted", f"no end after {SECONDS} s of computing"
    said = result.output
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        where = traceback.extract_tb(result.exception.__traceback__)
        inside = [f"{Path(f.filename).name}:{f.lineno}" for f in where][-3:]
        return "tracebacks", f"{type(result.exception).__name__}: {result.exception} at {inside}"
    if "Traceback" in said:
        return "tracebacks", said
    after = contents(folder)
    if lost := [name for name in before if after.get(name) != before[name]]:
        return "lost", f"{lost}: {said}"
    strange = {name for name in after.keys() - before.keys() if not name.startswith(OWN)}
    if new := [name for name in strange if not any(p[0] == "." for p in Path(name).parts)]:
        return "lost", f"written elsewhere: {new}"
    around = {path for base in (folder.parent, folder.parents[1]) for path in base.iterdir()}
    if outside := around - {folder, folder.parent}:
        return "lost", f"written outside: {outside}"
    if asked.called and "model/embedded" in trial.arguments:
        return "unclear", f"asked the network: {said}"
    named = any(_squeezed(word) in _squeezed(said) for word in trial.says)
    if trial.works:
        whole = result.exit_code == 0 and (named or not trial.says)
        return ("clear" if whole else "unclear"), said
    if result.exit_code == 0:
        return "accepted", said
    errors = [k for k, line in enumerate(result.stderr.splitlines()) if line.startswith("Error: ")]
    one = result.exit_code == 2 or errors == [len(result.stderr.splitlines()) - 1]
    return ("clear" if one and named else "unclear"), said


def _squeezed(text: str) -> str:
    """A text without what breaks its lines, frames it and quotes names in it."""
    return "".join(c for c in text if c.isprintable() and c not in " │\\'\"")


def contents(folder: Path) -> dict[str, Any]:
    """The files in a folder, by name."""
    paths = [path for path in sorted(folder.rglob("*")) if not path.is_dir()]
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in paths}


@contextmanager
def limits(file_size: int | None):
    """Let a block end after some time, and have files no longer than a full disk would let them."""

    def stop(*_):
        raise TooLong

    status = Path("/proc/self/status").read_text()
    used = int(status.split("VmSize:")[1].split()[0]) * 1024
    changes = {resource.RLIMIT_AS: used + MEMORY}
    if file_size is not None:
        changes[resource.RLIMIT_FSIZE] = file_size
    before = {name: resource.getrlimit(name) for name in changes}
    handlers = {name: signal.signal(name, stop) for name in (signal.SIGPROF, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(20 * SECONDS)  # of one that waits for something
    try:
        for name, soft in changes.items():
            resource.setrlimit(name, (soft, before[name][1]))
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        for name, handler in handlers.items():
            signal.signal(name, handler)
        for name, limit in before.items():
            resource.setrlimit(name, limit)
