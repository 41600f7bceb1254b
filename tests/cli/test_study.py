"""The study's commands hand over what they are given."""

import importlib
import re

from helpers import run

from lord.names import EXPERIMENTS
from lord.study import notebooks
from lord.study.plan import jobs
from lord.study.profile import load_profile


def test_study_lists_profiles():
    assert "smoke" in run("study", "profiles").output


def test_help_names_every_stage():
    shown = re.split(r"[\s│,.]+", run("study", "run", "--help").output)
    assert set(EXPERIMENTS) <= set(shown)


def test_study_run_and_notebook_pass_their_options(monkeypatch):
    # The package exports a function of the module's name.
    module = importlib.import_module("lord.study.run")
    seen = {}
    monkeypatch.setattr(
        module, "run", lambda *args, **options: seen.update(options, args=args) or []
    )
    run("study", "run", "--profile", "smoke", "--domain", "landscapes", "--subject", 2, "--seed", 1)
    assert seen == {
        "args": ("smoke", None),
        "domain": "landscapes",
        "subject": 2,
        "seed": 1,
        "attack": None,
        "defence": None,
    }
    monkeypatch.setattr(notebooks, "execute_notebook", lambda *args: seen.update(args=args))
    run("study", "notebook", "01_data", "--profile", "smoke", "-p", "compute=False")
    assert seen["args"] == ("01_data", "smoke", {"compute": False})
    monkeypatch.setattr(notebooks, "build_book", lambda *args: seen.update(args=args))
    run("study", "book", "--profile", "smoke", "--strict")
    assert seen["args"] == ("smoke", True)


def test_study_status_counts_states(monkeypatch, tmp_path):
    monkeypatch.setenv("LORD_RESULTS", str(tmp_path))
    last = run("study", "status", "--profile", "smoke").output.splitlines()[-1]
    count = sum(len(job.outputs) for job in jobs(load_profile("smoke")))
    assert f"0 finished, 0 stale, {count} missing" in last
