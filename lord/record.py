"""One record for each experiment: what was asked, what came out, and what it came out of.

A record's key is a hash of what was asked (the settings that differ from their defaults, the
weights) and of the versions of the components that took part (`lord.names`). Changed settings are
another experiment; a raised version makes a record stale. Commit and source are kept as provenance
and decide nothing, so that code may be moved, renamed and added to.

Torch is loaded by what measures, not by what reads: the book reads thousands of records at once.
"""

import hashlib
import json
import os
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, FiniteFloat, NonNegativeFloat

from lord.names import version_of

if TYPE_CHECKING:
    import torch

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
    key: str
    """`record_key` of what was asked, with the components' versions."""
    settings: dict[str, Any]
    """As resolved, defaults included."""
    seed: int
    components: dict[str, int]
    """What took part, such as ``"attack:ace"``, each with the version of its numbers."""
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
    dirty: bool = False
    """Whether the package had uncommitted changes."""
    lost: bool = False
    """Whether the commit is not in the history of the repository."""
    source: str = ""
    """Hash of the package's source."""

    @property
    def is_stale(self) -> bool:
        """Whether a component has another version now, or is no longer there."""
        return bool(self.outdated)

    @property
    def outdated(self) -> list[str]:
        """The components of which that is so."""
        return [name for name, version in self.components.items() if version_of(name) != version]


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
    import torch

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
    settings: Mapping[str, Any],
    measurement: Measurement,
    components: Iterable[str],
    device: "torch.device | str" = "cpu",
    evidence: bool = True,
    **found: Any,
) -> Record:
    """A record of an experiment that just ended.

    Args:
        settings: fully resolved, JSON values only.
        components: what took part.
        device: where it ran.
        found: the other fields of `Record`, but for those that say out of what it came.

    Raises:
        pydantic.ValidationError: a metric, or a point of a series, is not a finite number.
    """
    commit, dirty, source = _code()
    return Record(
        settings=json.loads(json.dumps(dict(settings))),
        components={name: version_of(name) for name in sorted(components)},
        device=describe_device(device),
        versions=dict(_versions()),
        commit=commit,
        dirty=dirty,
        source=source,
        evidence=evidence,
        **vars(measurement),
        **found,
    )


@cache
def _code() -> tuple[str, bool, str]:
    """The git state that this process' code was loaded from, as of its first record."""
    return git_state()


@cache
def _versions() -> dict[str, str]:
    """The version of Python, and those of the packages that numbers depend on."""
    versions = {package: metadata.version(package) for package in PACKAGES}
    return {"python": platform.python_version()} | versions


def record_key(kind: str, asked: Mapping[str, Any], seed: int, versions: Mapping[str, int]) -> str:
    """Twelve hexadecimal digits that change with the kind, any setting, the seed or a version.

    Args:
        asked: the settings that differ from their defaults, and the checksums of weights.
        versions: of the components that take part.
    """
    content = {"kind": kind, "asked": asked, "seed": seed, "versions": versions}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def git_state() -> tuple[str, bool, str]:
    """The git revision of this package's code, whether that has uncommitted changes, and its hash.

    ``("unknown", False, "")`` where the package is not part of a checkout.
    """
    here = Path(__file__)

    def git(*arguments: str) -> str:
        # Killed, or with no room on the disk, git would leave a lock in the repository.
        command = ["git", "--no-optional-locks", "-C", os.fspath(here.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # A package installed below some other project's checkout is not part of that one.
        git("ls-files", "--error-unmatch", here.name)
        dirty = bool(git("status", "--porcelain", "--", "."))
        return git("rev-parse", "HEAD"), dirty, git("rev-parse", "HEAD:./")[:12]
    except (OSError, subprocess.CalledProcessError):
        return "unknown", False, ""


def describe_device(device: "torch.device | str") -> str:
    """A device in words, such as ``"cuda (NVIDIA H100)"`` or ``"cpu (x86_64, 2 threads)"``."""
    import torch

    device = torch.device(device)
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        return f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"
    return f"{device.type} ({platform.machine()})"
