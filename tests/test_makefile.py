"""Every target of the Makefile, where paths and profiles have blanks and quotes in their names."""

import os
import re
import shutil
import subprocess

import pytest

from lord.study.notebooks import REPOSITORY

PROGRAMS = ("python", "lord", "ruff", "jupytext", "snakemake")
TARGETS = re.findall(
    r"^([a-z-]+):.*##", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
)

# Each stands for a program, and notes what it is called with, one argument a line.
STUB = """#!/bin/sh
for word in "${0##*/}" "$@"; do printf '%s\\n' "$word" >> "$LOG"; done
echo "1 finished, 0 stale, 0 missing"
"""


@pytest.fixture
def checkout(tmp_path):
    """A checkout in a folder with blanks and quotes, whose environment is of stubs."""
    folder = tmp_path / "a b'c \"d"
    (folder / ".venv" / "bin").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, folder)
    for name in PROGRAMS:
        program = folder / ".venv" / "bin" / name
        program.write_text(STUB)
        program.chmod(0o755)
    (folder / ".venv" / "installed").touch()
    for kept in ("r", "x", "results", "book", "notebooks"):
        (folder / kept).mkdir()
        (folder / kept / "kept").write_text("kept")
    return folder


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_takes_paths_and_profiles_as_they_are(checkout, target):
    profile = "my 'own' \"one\".yaml"
    log = checkout / "log"
    environment = os.environ | {"LORD_RESULTS": str(checkout / "r 'x"), "LOG": str(log)}
    environment.pop("MAKEFLAGS", None)
    subprocess.run(
        ["make", target, f"PROFILE={profile}"],
        cwd=checkout,
        env=environment,
        check=True,
        capture_output=True,
    )
    assert all((checkout / k / "kept").is_file() for k in ("r", "x", "results", "book"))
    called = log.read_text().splitlines() if log.is_file() else []
    if target in ("study", "book", "bench"):
        assert {profile, f"profile={profile}"} & set(called)
    if target in ("study", "book"):
        assert f"profile={profile}" in called
    assert (called == []) == (target in ("clean", "help"))
