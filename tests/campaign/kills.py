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
from lord.models.pixel import TINY_PIXEL

TRAINING = ("--steps=8", "--batch-size=2", "--rank=2", "--checkpoint-every=1")

KILLED: dict[str, tuple[str, ...]] = {
    name: COMMANDS[name]
    for name in (
        *("purify", "dataset inpainting", "dataset super-resolution", "dataset variation"),
        *("pretrain", "backdoor scan", "study tables"),
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
    "pretrain pixel": ("pretrain", "out/pixel", "--kind", "pixel", "--settings", "pixel.yaml"),
    "study run": (
        *("study", "run", "--profile", "mine.yaml"),
        *("--experiment", "triggers", "--experiment", "damage", "-w", "domain=portraits"),
    ),
}
"""What is killed: what takes a moment, and writes more than once."""

PIXEL = {"pool": 8, "steps": 4, "batch_size": 2, "checkpoint_every": 1}

MEASURED = {"started", "seconds", "peak_memory_mb", "dirty", "commit", "source", "lost"}
"""What two runs of one thing do not share."""


@dataclass
class Ended:
    """How a process came to its end: its exit code, None if it was killed, and its last words."""

    code: int | None
    seconds: float
    said: str


def run_apart(
    arguments: tuple[str, ...], folder: Path, after: float | None = None, by: int = signal.SIGKILL
) -> Ended:
    """Run a command in a process of its own, which gets a signal after some seconds.

    The seconds are those from the signal on, or of the whole run where none was sent.
    """
    log = folder.with_name(f"{folder.name}.log")
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.signal(signal.SIGINT, end_at_once)
            handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
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
            os._exit(code)
    done, status = (0, 0)
    while after is not None and not done and time.monotonic() < began + after:
        done, status = os.waitpid(pid, os.WNOHANG)
        time.sleep(0.002)
    if after is not None and not done:
        began = time.monotonic()
        os.kill(pid, by)
    if not done:
        done, status = os.waitpid(pid, 0)
    code = None if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)
    said = log.read_text(errors="replace")[-600:] if log.is_file() else ""
    return Ended(code, time.monotonic() - began, said)


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
        self.whole: dict[str, tuple[float, dict[str, Any]]] = {}

    def chain(self, command: str, kills: int) -> int:
        """Kill a command so often at most, then let it end; return how often it was killed."""
        if command not in self.whole:
            folder = self._start(command, "whole")
            ended = run_apart(KILLED[command], folder)
            assert ended.code == 0, (command, ended)
            self.whole[command] = (ended.seconds, outputs(folder))
        seconds, expected = self.whole[command]
        folder, killed, moments = self._start(command, str(time.monotonic_ns())), 0, []
        for _ in range(kills):
            moments.append(self.random.uniform(0, seconds))
            ended = run_apart(KILLED[command], folder, moments[-1])
            if ended.code is not None:  # it was faster than the kill
                break
            killed += 1
        ended = run_apart(KILLED[command], folder)
        found = outputs(folder)
        counts = self.counts.setdefault(command, Counter())
        counts.update({"kills": killed, "chains": 1})
        different = sorted(k for k, v in expected.items() if found.get(k) != v)
        further = sorted(found.keys() - expected.keys())
        outcome = "lost" if ended.code or different else "leftovers" if further else "equal"
        counts[outcome] += 1
        if outcome != "equal":
            what = f"killed after {', '.join(f'{m:.2f}' for m in moments)} s of {seconds:.2f}"
            said = f"{ended.said.strip()[-300:]} {different or further}"
            self.faults.append(
                {"category": "kills", "outcome": outcome, "command": command, "what": what}
                | {"said": said}
            )
        return killed

    def interrupt(self, command: str) -> None:
        """Stop a command by Ctrl-C; it must end within two seconds, with one line."""
        if command not in self.whole:
            self.chain(command, 0)
        folder = self._start(command, str(time.monotonic_ns()))
        after = self.random.uniform(0.2, 0.9) * self.whole[command][0]
        ended = run_apart(KILLED[command], folder, after, signal.SIGINT)
        if ended.code == 0:  # it was faster
            return
        counts = self.counts.setdefault("Ctrl-C", Counter())
        words = ended.said.replace("\r", "\n").splitlines()
        clear = ended.code == 130 and ended.seconds < 2 and words[-1:] and "Stopped" in words[-1]
        clear = clear and "Traceback" not in ended.said
        counts.update(["kills", "chains", "equal" if clear else "lost"])
        if not clear:
            self.faults.append(
                {"category": "Ctrl-C", "outcome": "lost", "command": command}
                | {"what": f"code {ended.code}, {ended.seconds:.1f} s", "said": ended.said[-300:]}
            )

    def _start(self, command: str, name: str) -> Path:
        world = self.with_records if command == "study tables" else self.world
        folder = copy_to(world, self.base / f"{command} {name}")
        pixel = PIXEL | {"architecture": TINY_PIXEL.model_dump(mode="json")}
        (folder / "pixel.yaml").write_text(json.dumps({"pixel": pixel}))
        return folder

    @cached_property
    def with_records(self) -> Path:
        """A world in which a study has run."""
        folder = copy_to(self.world, self.base / "with records")
        assert run_apart(COMMANDS["study run"], folder).code == 0
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
        }, metadata
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
