"""The study's commands hand over what they are given."""

import importlib
from unittest import mock

import pytest
from helpers import error, run
from papermill.exceptions import PapermillExecutionError

from lord.study import book, notebooks
from lord.study.profile import load_profile
from lord.study.registry import experiments


def test_results_that_are_a_file_are_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("LORD_RESULTS", str(tmp_path / "file"))
    for command in ("status", "tables", "run"):
        assert "file is a file; name a folder" in error("study", command, "--profile", "smoke")
    assert (tmp_path / "file").read_text() == "mine"


def test_study_lists_profiles():
    assert "smoke" in run("study", "profiles").output


def test_study_lists_experiments_with_what_they_ask():
    shown = run("study", "experiments").output
    assert all(name in shown for name in experiments())


def test_study_run_and_notebook_pass_their_options(monkeypatch):
    # The package exports a function of the module's name.
    module = importlib.import_module("lord.study.run")
    seen = {}
    monkeypatch.setattr(
        module, "run", lambda *args, **options: seen.update(options, args=args) or []
    )
    options = ["--experiment", "main", "-w", "domain=landscapes", "--where", "seed=1"]
    run("study", "run", "--profile", "smoke", *options)
    place = {"domain": "landscapes", "seed": 1}
    assert seen == {"args": ("smoke", ["main"]), "again": False, **place}
    monkeypatch.setattr(notebooks, "execute_notebooks", lambda *args: seen.update(args=args) or [])
    run("study", "notebook", "01_data", "03_metrics", "--profile", "smoke", "-p", "compute=False")
    assert seen["args"] == (["01_data", "03_metrics"], "smoke", {"compute": False})
    monkeypatch.setattr(book, "build_book", lambda *args: seen.update(args=args))
    run("study", "book", "--profile", "smoke", "--strict")
    assert seen["args"] == ("smoke", True)


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (PapermillExecutionError(4, 2, "…", "FileNotFoundError", "no records", []), "no records"),
        (OSError(28, "No space left on device"), "01_data.failed.ipynb: No space left"),
    ],
)
def test_a_notebook_that_fails_is_a_line(monkeypatch, tmp_path, failure, message):
    monkeypatch.setattr(notebooks, "BOOK", tmp_path / "book")
    monkeypatch.setattr("papermill.execute_notebook", mock.Mock(side_effect=failure))
    said = error("study", "notebook", "01_data", "--profile", "smoke")
    assert message in said and "01_data.failed.ipynb" in said


def test_a_notebook_that_cannot_be_kept_is_not_executed(monkeypatch, tmp_path):
    (tmp_path / "book").write_text("a file")
    monkeypatch.setattr(notebooks, "BOOK", tmp_path / "book")
    monkeypatch.delattr("papermill.execute_notebook")
    said = error("study", "notebook", "01_data", "--profile", "smoke")
    assert "01_data.ipynb: cannot be written" in said


def test_study_status_counts_states(monkeypatch, tmp_path):
    monkeypatch.setenv("LORD_RESULTS", str(tmp_path))
    last = run("study", "status", "--profile", "smoke").output.splitlines()[-1]
    smoke = load_profile("smoke")
    count = sum(len(smoke.cells(experiment.name)) for experiment in smoke.experiments)
    assert f"0 finished, 0 stale, {count} missing" in last
