"""Commands that are killed at random moments and run again, until they have come to their end."""

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from campaign.trials import read
from campaign.world import ATTACK, COMMANDS, MODEL, copy_to
from helpers import SIZE
from torch import uint8

from lord.cli import app, interrupt
from lord.show.campaign import INTERRUPTED, TOGETHER

TRAINING = ("--steps=8", "--batch-size=2", "--rank=2", "--checkpoint-every=1")

KILLED: dict[str, tuple[str, ...]] = {
    name: COMMANDS[name]
    for name in (
        *("purify", "dataset inpainting", "dataset super-resolution", "dataset variation"),
        *("pretrain", "pretrain pixel", "pretrain editing", "backdoor scan", "study tables"),
        *("finetune class", "generate shard"),
    )
} | {
    "render": ("render", "out/render", "--count=40", f"--size={SIZE}"),
    "attack": ("attack", "album", "out/attack", *ATTACK, "--batch-size=1", *MODEL),
    "defend": (
        *("defend", "out/defend", "--images", "album", "--attack-steps=1"),
        *TRAINING,
        *MODEL,
    ),
    "finetune": (
        *("finetune", "album", "out/finetune.safetensors", "--defence", "defence"),
        *TRAINING,
        *MODEL,
    ),
    "generate": (
        *("generate", "a portrait", "out/generate", "--lora", "lora.safetensors", "--steps=1"),
        *("--count=8", "--batch-size=2", *MODEL),
    ),
    "study run": (
        *("study", "run", "--profile", "mine.yaml"),
        *("--experiment", "triggers", "--experiment", "damage", "-w", "domain=portraits"),
    ),
}
"""What is killed: what takes a moment, and writes more than once."""

MEASURED = {"started", "seconds", "peak_memory_mb", "dirty", "commit", "source", "lost"}
"""What two runs of one thing do not share."""


@dataclass
class Ended:
    """How a process came to its end: its exit code, None if it was killed, and its last words.

    Attributes:
        renames: how many files it has renamed, if nobody has killed it.
    """

    code: int | None
    seconds: float
    said: str
    renames: int = 0


class Apart:
    """A command in a process of its own.

    Args:
        at_rename: it kills itself before it renames a file for the so many-th time.
        number: tells several in one folder apart.
    """

    def __init__(
        self,
        arguments: tuple[str, ...],
        folder: Path,
        at_rename: int | None = None,
        number: int = 0,
    ) -> None:
        self.log = folder.with_name(f"{folder.name}.{number}.log")
        self.began = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(arguments, folder, at_rename)

    def _run(self, arguments: tuple[str, ...], folder: Path, at_rename: int | None) -> None:
        code, renames = 1, counted_renames(at_rename)
        try:
            signal.signal(signal.SIGINT, end_at_once)
            sys.unraisablehook = interrupt._ignored  # in the place of that of pytest
            handle = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, 1), os.dup2(handle, 2)
            sys.stdout, sys.stderr = (os.fdopen(k, "w", buffering=1) for k in (1, 2))  # a terminal
            os.chdir(folder)
            os.environ["LORD_RESULTS"] = str(folder / "r")
            app(list(arguments))
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        except BaseException as error:
            os.write(2, f"Traceback: {error!r}\n".encode())
        finally:
            sys.stdout.flush()
            self.log.with_suffix(".renames").write_text(str(len(renames)))
            os._exit(code)

    def end(self, after: float | None = None, by: int = signal.SIGKILL) -> Ended:
        """Wait for its end, and send it a signal after some seconds.

        The seconds are those from the signal on, or of the whole run where none was sent.
        """
        began, done, status = self.began, 0, 0
        while after is not None and not done and time.monotonic() < began + after:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            time.sleep(0.002)
        if after is not None and not done:
            began = time.monotonic()
            os.kill(self.pid, by)
        if not done:
            done, status = os.waitpid(self.pid, 0)
        code = None if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)
        said = self.log.read_text(errors="replace")[-600:] if self.log.is_file() else ""
        counted = self.log.with_suffix(".renames")
        renames = 0 if code is None or not counted.is_file() else int(counted.read_text())
        return Ended(code, time.monotonic() - began, said, renames)


def counted_renames(last: int | None) -> list[int]:
    """A list that grows with every rename in this process, which dies before the last one."""
    done: list[int] = []
    for name in ("replace", "rename"):
        real = getattr(os, name)

        def call(*args: Any, real: Any = real, **options: Any) -> None:
            done.append(1)
            if len(done) == last:
                os.kill(os.getpid(), signal.SIGKILL)
            real(*args, **options)

        setattr(os, name, call)
    return done


def end_at_once(*_: object) -> None:
    """Do what Python's hook does where `lord` is the program, before its command and after it."""
    interrupt._report(KeyboardInterrupt, KeyboardInterrupt(), None)
    os._exit(interrupt.EXIT_CODE)


class Chains:
    """Kills commands, and compares their ends with those of runs that nobody has killed."""

    def __init__(self, world: Path, base: Path, seed: int = 0) -> None:
        self.world, self.base, self.random = world, base, random.Random(seed)
        self.counts: dict[str, Counter[str]] = {}
        self.faults: list[dict[str, str]] = []
        self.whole: dict[str, tuple[Ended, dict[str, Any]]] = {}

    def chain(self, command: str, kills: int) -> int:
        """Kill a command so often at most, then let it end; return how often it was killed.

        Half of the kills come at random moments, the others right before a file is renamed.
        """
        whole, _ = self._whole(command)
        folder, killed, moments = self._start(command, str(time.monotonic_ns())), 0, []
        for _ in range(kills):
            if self.random.random() < 0.5:
                after = self.random.uniform(0, whole.seconds)
                moments.append(f"after {after:.2f} s")
                ended = Apart(KILLED[command], folder).end(after)
            else:
                rename = self.random.randint(1, whole.renames)
                moments.append(f"at rename {rename}")
                ended = Apart(KILLED[command], folder, rename).end()
            if ended.code is not None:  # it was faster than the kill
                break
            killed += 1
        what = f"{', '.join(moments)} of {whole.seconds:.2f} s and {whole.renames} renames"
        self._compare(command, command, folder, what, {"kills": killed, "chains": 1})
        return killed

    def _whole(self, command: str) -> tuple[Ended, dict[str, Any]]:
        """A run that nobody has killed, and what it has made."""
        if command not in self.whole:
            folder = self._start(command, "whole")
            ended = Apart(KILLED[command], folder).end()
            assert ended.code == 0, (command, ended)
            self.whole[command] = (ended, outputs(folder))
        return self.whole[command]

    def _compare(
        self, command: str, category: str, folder: Path, what: str, counts: dict[str, int]
    ) -> None:
        """Let a command end, and compare what it has made with that of a whole run."""
        ended = Apart(KILLED[command], folder).end()
        expected, found = self._whole(command)[1], outputs(folder)
        different = sorted(k for k, v in expected.items() if found.get(k) != v)
        further = sorted(found.keys() - expected.keys())
        outcome = "lost" if ended.code or different else "leftovers" if further else "equal"
        self.counts.setdefault(category, Counter()).update({**counts, outcome: 1})
        if outcome != "equal":
            said = f"{ended.said.strip()[-300:]} {different or further}"
            self._fault(category, outcome, command, what, said)

    def _fault(self, category: str, outcome: str, command: str, what: str, said: str) -> None:
        self.faults.append(
            {"category": category, "outcome": outcome, "command": command}
            | {"what": what, "said": said}
        )

    def at_once(self, command: str) -> None:
        """Begin a command twice at the same moment: one is done, the other done or refused."""
        self._whole(command)
        folder = self._start(command, str(time.monotonic_ns()))
        both = [Apart(KILLED[command], folder, number=number) for number in (0, 1)]
        ends = [one.end() for one in both]
        refused = [end for end in ends if end.code == 1 and "another command" in end.said]
        if {end.code for end in ends} - {0, 1} or len(refused) != sum(e.code == 1 for e in ends):
            said = " / ".join(f"{end.code} {end.said[-150:]}" for end in ends)
            self.counts.setdefault(TOGETHER, Counter()).update(["chains", "lost"])
            self._fault(TOGETHER, "lost", command, "two at once", said)
            return
        self._compare(command, TOGETHER, folder, "two at once", {"chains": 1})

    def interrupt(self, command: str) -> None:
        """Stop a command by Ctrl-C; it must end within two seconds, with one line."""
        whole, _ = self._whole(command)
        folder = self._start(command, str(time.monotonic_ns()))
        after = self.random.uniform(0.2, 0.9) * whole.seconds
        ended = Apart(KILLED[command], folder).end(after, signal.SIGINT)
        if ended.code == 0:  # it was faster
            return
        counts = self.counts.setdefault(INTERRUPTED, Counter())
        words = ended.said.replace("\r", "\n").splitlines()
        clear = ended.code == 130 and ended.seconds < 2 and words[-1:] and "Stopped" in words[-1]
        clear = clear and "Traceback" not in ended.said
        counts.update(["kills", "chains", "equal" if clear else "lost"])
        if not clear:
            what = f"code {ended.code}, {ended.seconds:.1f} s"
            self._fault(INTERRUPTED, "lost", command, what, ended.said[-300:])

    def _start(self, command: str, name: str) -> Path:
        world = self.with_records if command == "study tables" else self.world
        return copy_to(world, self.base / f"{command} {name}")

    @cached_property
    def with_records(self) -> Path:
        """A world in which a study has run."""
        folder = copy_to(self.world, self.base / "with records")
        assert Apart(COMMANDS["study run"], folder).end().code == 0
        return folder

    def table(self) -> dict[str, dict[str, int]]:
        """For each command the kills, the chains of them, and how these have ended."""
        names = ("kills", "chains", "equal", "leftovers", "lost")
        return {c: {name: counts[name] for name in names} for c, counts in self.counts.items()}


def outputs(folder: Path) -> dict[str, Any]:
    """What a command has made, without what differs from run to run; hidden files included."""
    found: dict[str, Any] = {}
    for place in ("out", "r"):
        for path in sorted((folder / place).rglob("*")):
            if path.is_file() and path.suffix != ".lock" and path.name != "README.md":
                working = ".work" in path.parts  # whose files tell of time, and count for nothing
                found[str(path.relative_to(folder))] = None if working else content(path)
    return found


def content(path: Path) -> Any:
    """A file's content, without times and places in it; of tensors, whatever their order."""
    if path.suffix == ".safetensors":
        tensors, metadata = read(path)
        return {
            k: (v.dtype, tuple(v.shape), v.flatten().view(uint8).numpy().tobytes())
            for k, v in tensors.items()
        }, plain(metadata)
    if path.suffix in (".json", ".jsonl") or path.name == ".lord.json":
        return [plain(json.loads(line)) for line in _documents(path)]
    return path.read_bytes()


def _documents(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return text.splitlines() if path.suffix == ".jsonl" else [text]


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k not in MEASURED}
    return [plain(v) for v in value] if isinstance(value, list) else value
