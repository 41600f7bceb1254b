"""Every target of the Makefile, where paths and profiles have blanks and quotes in their names."""

import os
import re
import shutil
import subprocess

import pytest

from lord.study.notebooks import REPOSITORY

PROGRAMS = ("python", "lord", "ruff", "jupytext", "snakemake")
PROFILE = "my 'own' \"one\".yaml"
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
    called = make(checkout, target)
    if target in ("study", "book", "bench"):
        assert {PROFILE, f"profile={PROFILE}"} & set(called)
    if target in ("study", "book"):
        assert f"profile={PROFILE}" in called
    assert (called == []) == (target in ("clean", "help"))


def test_an_environment_is_made_by_a_python_wherever_it_lies(checkout):
    python = checkout / "my 'own' \"one\"" / "python"
    python.parent.mkdir()
    shutil.copy(checkout / ".venv/bin/python", python)
    (checkout / ".venv/installed").unlink()
    called = make(checkout, "lint", f"PYTHON={python}", "VENV=elsewhere of somebody")
    asked = called.index("venv")
    assert called[asked - 2 : asked + 2] == ["python", "-m", "venv", ".venv"]
    assert called.count("pip") == 2 and (checkout / ".venv/installed").is_file()


def make(checkout, *arguments):
    """What a target has called, one word each."""
    log = checkout / "log"
    environment = os.environ | {"LORD_RESULTS": str(checkout / "r 'x"), "LOG": str(log)}
    environment.pop("MAKEFLAGS", None)
    subprocess.run(
        ["make", *arguments, f"PROFILE={PROFILE}"],
        cwd=checkout,
        env=environment,
        check=True,
        capture_output=True,
    )
    assert all((checkout / k / "kept").is_file() for k in ("r", "x", "results", "book"))
    return log.read_text().splitlines() if log.is_file() else []
