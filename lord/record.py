"""One JSON record for each experiment: what was asked, what came out, and what it came out of.

A record's key is a hash of what was asked (kind, settings, seed), so changed settings are another
experiment. It also keeps a hash of the code it ran, so a result from older code is known as stale.
"""

import ast
import hashlib
import importlib.util
import io
import json
import os
import platform
import re
import resource
import subprocess
import sys
import time
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, FiniteFloat, NonNegativeFloat, ValidationError

from lord.files import write_text

PACKAGES = (
    "torch",
    "diffusers",
    "peft",
    "transformers",
    "accelerate",
    "torchmetrics",
    "numpy",
    "pydantic",
)


# Linux forgets the peak of a process's memory when 5 is written there.
PEAK_RESET = Path("/proc/self/clear_refs")


class Record(BaseModel):
    """The outcome of one experiment, with all that is needed to repeat and to judge it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: str
    settings: dict[str, Any]
    seed: int
    evidence: bool
    """False for runs at a scale that shows only that the code works."""
    metrics: dict[str, FiniteFloat]
    series: dict[str, list[FiniteFloat]] = {}
    """Curves for figures, each a list of numbers."""
    started: datetime
    seconds: NonNegativeFloat
    peak_memory_mb: NonNegativeFloat
    device: str
    versions: dict[str, str]
    commit: str
    """Git revision of the code, ``"unknown"`` outside a checkout."""
    dirty: bool
    """Whether the package had uncommitted changes."""
    modules: tuple[str, ...]
    code_hash: str
    """`code_hash` of ``modules`` when the experiment ran."""

    @property
    def key(self) -> str:
        """The `record_key` of what was asked."""
        return record_key(self.kind, self.settings, self.seed)


@dataclass
class Measurement:
    """What `measure` fills in: UTC start, wall-clock seconds, peak memory in MB (10⁶ bytes)."""

    started: datetime
    seconds: float = 0.0
    peak_memory_mb: float = 0.0


@contextmanager
def measure() -> Iterator[Measurement]:
    """Time a block and find its peak memory, both known once the block has ended.

    The peak is that of the GPU's tensors within the block where there is a CUDA device. Elsewhere
    it is that of the whole process: within the block on Linux, since its start on other systems,
    which keep no other.
    """
    measurement = Measurement(datetime.now(UTC))
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    elif PEAK_RESET.exists():
        PEAK_RESET.write_text("5")
    start = time.perf_counter()
    try:
        yield measurement
    finally:
        if cuda:
            torch.cuda.synchronize()
        measurement.seconds = time.perf_counter() - start
        peak = torch.cuda.max_memory_allocated() if cuda else peak_of_process()
        measurement.peak_memory_mb = peak / 1e6


def peak_of_process() -> int:
    """The most memory the process has had, in bytes; on Linux since `PEAK_RESET` was written to."""
    if PEAK_RESET.exists():
        status = PEAK_RESET.with_name("status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024
    # Other systems than macOS count in kibibytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def make_record(
    name: str,
    kind: str,
    settings: BaseModel | Mapping[str, Any],
    seed: int,
    metrics: Mapping[str, float],
    measurement: Measurement,
    modules: Sequence[str],
    series: Mapping[str, Sequence[float]] | None = None,
    evidence: bool = True,
    device: torch.device | str = "cpu",
) -> Record:
    """A record of an experiment that just ended.

    Args:
        name: what people call the experiment; two records may share a kind, not a name.
        settings: fully resolved, JSON values only; a pydantic model is dumped to them.
        modules: names of the ``lord`` modules and packages the outcome depends on.
        series: curves for figures.
        evidence: False for runs at a scale that shows only that the code works.
        device: where it ran.

    Raises:
        pydantic.ValidationError: a metric, or a point of a series, is not a finite number.
    """
    commit, dirty = git_state()
    return Record(
        name=name,
        kind=kind,
        settings=_plain(settings),
        seed=seed,
        evidence=evidence,
        metrics=dict(metrics),
        series={key: list(values) for key, values in (series or {}).items()},
        started=measurement.started,
        seconds=measurement.seconds,
        peak_memory_mb=measurement.peak_memory_mb,
        device=describe_device(device),
        versions={"python": platform.python_version()}
        | {package: metadata.version(package) for package in PACKAGES},
        commit=commit,
        dirty=dirty,
        modules=tuple(sorted(modules)),
        code_hash=code_hash(modules),
    )


def record_key(kind: str, settings: BaseModel | Mapping[str, Any], seed: int) -> str:
    """Twelve hexadecimal digits that change with the kind, any setting or the seed."""
    asked = {"kind": kind, "settings": _plain(settings), "seed": seed}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]


def write_record(record: Record, path: str | Path) -> None:
    """Write a record as JSON, whole or not at all."""
    write_text(path, record.model_dump_json(indent=2) + "\n")


def read_record(path: str | Path) -> Record:
    """Read and validate a record.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no record, or a damaged one.
    """
    try:
        return Record.model_validate_json(Path(path).read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise ValueError(
            f"{path}: not a valid record ({field + ': ' if field else ''}{first['msg']}). Delete "
            "the file and run its experiment again."
        ) from error


def is_stale(record: Record) -> bool:
    """Whether the code a record depends on is another one now (or is no longer there)."""
    try:
        return code_hash(record.modules) != record.code_hash
    except ModuleNotFoundError:
        return True


def code_hash(modules: Sequence[str]) -> str:
    """Twelve hexadecimal digits of the source of modules; of a package, all modules in it.

    Comments, docstrings and blank lines do not count: they cannot change a result.

    Raises:
        ModuleNotFoundError: a module does not exist.
    """
    digest = hashlib.sha256()
    for name in sorted(set(modules)):
        for path in _sources(name):
            code = strip_comments(path.read_text(encoding="utf-8"))
            digest.update(f"{name}\n{path.name}\n{code}\n".encode())
    return digest.hexdigest()[:12]


def strip_comments(source: str) -> str:
    """Python source without comments, docstrings, blank lines and trailing spaces."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        # A string that is a statement of its own is a docstring, or does nothing either.
        if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
            continue
        first, last = node.lineno - 1, node.end_lineno
        alone = not lines[first][: node.col_offset].strip()
        if isinstance(node.value.value, str) and alone:
            lines[first:last] = [""] * (last - first)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def git_state() -> tuple[str, bool]:
    """The git revision this package's code is at, and whether the code has uncommitted changes.

    ``("unknown", False)`` where the package is not part of a checkout.
    """
    here = Path(__file__)

    def git(*arguments: str) -> str:
        command = ["git", "-C", os.fspath(here.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # A package installed below some other project's checkout is not part of that one.
        git("ls-files", "--error-unmatch", here.name)
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--", "."))
    except (OSError, subprocess.CalledProcessError):
        return "unknown", False


def describe_device(device: torch.device | str) -> str:
    """A device in words, such as ``"cuda (NVIDIA H100)"`` or ``"cpu (x86_64, 2 threads)"``."""
    device = torch.device(device)
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        return f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"
    return f"{device.type} ({platform.machine()})"


def _plain(settings: BaseModel | Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they come back from JSON, so that a key does not change on the way."""
    if isinstance(settings, BaseModel):
        return settings.model_dump(mode="json")
    return json.loads(json.dumps(dict(settings)))


def _sources(name: str) -> list[Path]:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{name}: no such module.", name=name)
    if spec.submodule_search_locations:
        return sorted(Path(spec.origin).parent.rglob("*.py"))
    return [Path(spec.origin)]
