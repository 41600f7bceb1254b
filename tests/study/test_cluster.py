"""The workflow on a cluster: what its jobs ask for, and that they run wherever they are sent."""

import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from lord.settings_file import read_settings
from lord.study.notebooks import BOOK, REPOSITORY
from lord.study.profile import PROFILES, load_profile
from lord.study.registry import experiments
from lord.study.run import status

# A cluster that runs each job at once, and notes what it asked for.
SUBMIT = """#!/bin/sh
echo "$1 $2 $3" >> {log}
exec sh "$4" > /dev/null
"""


def command_of_the_book(executor):
    """The words of the command that the book gives for an executor, but for profile and target."""
    text = (BOOK / "reproduce.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^snakemake (.*--executor {executor} .*) --config", text, re.MULTILINE)
    return shlex.split(found)


def snakemake(words, profile, target, results):
    """What the workflow says, for a profile in a file."""
    folder = Path(sys.executable).parent
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", *words, "--nolock"),
            *("--config", f"profile={profile}", "--", str(target)),
        ],
        cwd=REPOSITORY,
        env=os.environ | {"LORD_RESULTS": str(results), "PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def profile(tmp_path):
    """The smallest study: one experiment of the smoke profile, with some model."""

    def write(model):
        values = read_settings(PROFILES / "smoke.yaml") | dict.fromkeys(experiments())
        path = tmp_path / "smallest.yaml"
        lord = values["lord"] | {"model": model}
        path.write_text(yaml.safe_dump(values | {"lord": lord, "split": [], "data": {}}))
        return path

    return write


def test_the_command_for_slurm_plans_jobs_that_say_what_they_take(profile, tmp_path):
    words = [*command_of_the_book("slurm"), "--dry-run"]
    planned = snakemake(words, profile("someone/stable-diffusion"), "book", tmp_path / "results")
    jobs = {
        name: set(re.split(r", |\n", takes))
        for name, takes in re.findall(r"rule (\w+):\n(?:    .*\n)*?    resources: (.*)\n", planned)
    }
    assert {"mem_mb=24000", "runtime=480", "gpu=1"} <= jobs["unit"]
    assert {"mem_mb=4000", "runtime=60"} <= jobs["chapters"]


def test_jobs_run_where_the_generic_executor_sends_them(profile, tmp_path):
    log, submit, results = tmp_path / "log", tmp_path / "submit", tmp_path / "results"
    submit.write_text(SUBMIT.format(log=shlex.quote(str(log))))
    submit.chmod(0o755)
    words = [*command_of_the_book("cluster-generic"), "--seconds-between-status-checks", "1"]
    place = words.index("--cluster-generic-submit-cmd") + 1
    takes = "{resources.mem_mb} {resources.runtime} {resources.gpu}"
    words[place] = f"{shlex.quote(str(submit))} {takes}"
    mine = profile("embedded")
    stamp = results / "smallest" / ".done" / "all"
    snakemake(words, mine, stamp, results)
    assert log.read_text().split("\n") == ["4000 480 0", ""]
    own = load_profile(str(mine))
    assert stamp.is_file() and {e.state for e in status(own, results)} == {"finished"}


def test_jobs_of_the_published_study_take_less_than_is_asked_for():
    published, seconds = load_profile("full"), Counter()
    split = [name for name in published.split if name != "experiment"]
    entries = list(status(published))
    for entry in entries:
        job = (entry.experiment.name, *map(entry.cell.coordinates.get, split))
        seconds[job] += entry.record.seconds
    assert max(seconds.values()) < 480 * 60 / 2
    assert max(entry.record.peak_memory_mb for entry in entries) < 3000
