"""How long records live: what leaves them finished, what makes them stale, where they are from."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lord import names
from lord.experiments.lord import conditions
from lord.study.book import provenance
from lord.study.profile import PROFILES, load_profile, read_profile
from lord.study.run import load_records, results_root, status, store_of
from lord.study.tables import write_tables

REPOSITORY = Path(names.__file__).parents[1]


# The published records.


def test_the_store_is_small():
    folder = results_root() / "full"
    files = [path for path in folder.rglob("*") if path.is_file() and ".work" not in path.parts]
    files = [path for path in files if ".done" not in path.parts]
    assert len(files) <= 60 and sum(path.stat().st_size for path in files) <= 20e6


# Components whose numbers have been corrected since; their records wait for the next full run.
CORRECTED = {
    "attack:diffusion",
    "attack:mist_v2_fused",
    "purifier:total_variation",
    "experiment:performance",
}


def states():
    """The state of every published record, by name."""
    return {entry.cell.name: entry.state for entry in status(load_profile("full"))}


@pytest.fixture(scope="module")
def before():
    return states()


def test_no_committed_record_is_missing_and_stale_ones_are_of_what_was_corrected(before):
    assert set(before.values()) <= {"finished", "stale"}
    records = load_records(load_profile("full"))
    assert {part for record in records for part in record.outdated} <= CORRECTED


def test_every_record_cites_a_commit_of_the_history_or_says_that_it_does_not():
    def git(*arguments):
        command = ["git", "-C", str(REPOSITORY), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    if git("rev-parse", "--is-shallow-repository").strip() == "true":
        pytest.skip("a shallow clone has no history")
    history = set(git("rev-list", "HEAD").split())
    for record in load_records(load_profile("full")):
        assert record.lost == (record.commit not in history), record.name


def test_the_status_page_counts_records_of_code_that_is_gone():
    records = load_records(load_profile("full"))
    lost = sum(record.lost for record in records)
    assert 0 < lost < len(records) and f"{lost} at commits" in provenance(records)


def test_the_committed_tables_are_those_of_the_records(tmp_path):
    full = load_profile("full")
    folder = store_of(full).folder
    shutil.copytree(folder, tmp_path / "full", ignore=shutil.ignore_patterns(".*", "*.csv"))
    written = write_tables(full, tmp_path)
    assert {path.name for path in written} == {p.name for p in folder.glob("*.[cp][sn][vg]")}
    for path in written:
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


# What leaves records finished, and what does not.


@pytest.mark.parametrize(
    "catalogue", [names.ATTACKS, names.PURIFIERS, names.DEFENCES, names.METRICS]
)
def test_a_new_component_leaves_every_record_finished(catalogue, before, monkeypatch):
    monkeypatch.setitem(catalogue, "new", 1)
    assert states() == before


def test_a_further_metric_in_every_cell_leaves_every_record_finished(before, monkeypatch):
    monkeypatch.setitem(names.METRICS, "new", 1)
    monkeypatch.setattr(conditions, "MEASURED", (*conditions.MEASURED, "metric:new"))
    assert states() == before


# Where the settings are that get a further one.
SETTINGS = {
    "SamplingSettings": "experiments/lord/protocol.py",
    "Scenario": "experiments/lord/protocol.py",
    "Budget": "experiments/lord/budget.py",
    "Stage1Settings": "defences/settings.py",
    "AttackSettings": "attacks/settings.py",
}


def test_an_optional_setting_with_a_default_leaves_every_record_finished(before, tmp_path):
    """In a copy of the package, which knows a setting more of each kind."""

    def further(text: str) -> str:
        lines = text.splitlines(keepends=True)
        found = [n for n in ast.parse(text).body if getattr(n, "name", "") in SETTINGS]
        for node in reversed(found):
            lines.insert(node.body[0].end_lineno, "    more: int = 7\n")  # below the docstring
        return "".join(lines)

    homes = set(SETTINGS.values())
    added = "".join(further((REPOSITORY / "lord" / home).read_text()) for home in homes)
    assert added.count("    more: int = 7\n") == len(SETTINGS)
    assert states_of_a_copy(tmp_path, dict.fromkeys(homes, further)) == before


def states_of_a_copy(folder: Path, changes: dict) -> dict[str, str]:
    """The states of the published records in a copy of the package with changed files."""
    copy = folder / "copy"
    shutil.copytree(REPOSITORY / "lord", copy / "lord", ignore=shutil.ignore_patterns("assets"))
    (copy / "lord" / "assets").symlink_to(REPOSITORY / "lord" / "assets")
    for name, change in changes.items():
        path = copy / "lord" / name
        before = path.read_text() if path.exists() else ""
        path.write_text(change(before))
        assert path.read_text() != before, name
    code = "import json; from lord.study.profile import load_profile; "
    code += "from lord.study.run import status; full = status(load_profile('full')); "
    code += "print(json.dumps({entry.cell.name: entry.state for entry in full}))"
    environment = os.environ | {"LORD_RESULTS": str(results_root()), "PYTHONPATH": str(copy)}
    shown = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=copy
    )
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)


def test_code_may_be_renamed_reformatted_moved_and_added_to(before, tmp_path):
    def renamed(text: str) -> str:
        return text.replace("decay", "shrinking_of_the_step")

    def reformatted(text: str) -> str:
        return ast.unparse(ast.parse(text))

    def with_a_domain(text: str) -> str:
        known = '"landscapes": landscapes}'
        return text.replace(known, '"landscapes": landscapes, "places": landscapes}')

    ball = (REPOSITORY / "lord" / "attacks" / "ball.py").read_text()
    moved = "from lord.attacks.sphere import project, quantise, start, unit  # noqa: F401"
    changes = {
        "attacks/pgd.py": renamed,
        "training/loop.py": reformatted,
        "attacks/sphere.py": lambda _: ball,
        "attacks/ball.py": lambda _: moved,
        "data/subjects.py": with_a_domain,
    }
    assert states_of_a_copy(tmp_path, changes) == before


@pytest.mark.parametrize(
    ("catalogue", "name", "experiments"),
    [
        (
            names.STEPS,
            "finetune",
            {"main", "cost", "rank_cost", "sampled_gates", "rank", "adaptive"},
        ),
        (names.ATTACKS, "ace", {"ace", "stage1", "main", "audit", "masking", "parts"}),
        (names.PURIFIERS, "jpeg", {"main", "cost", "audit"}),
        (names.METRICS, "fid", {"metrics", "main", "damage", "steps"}),
        (names.DEFENCES, "lord", {"stage1", "main", "cost", "rank_cost", "masking", "audit"}),
        (names.ATTACKERS, "closing", {"adaptive"}),
    ],
)
def test_a_raised_version_makes_stale_what_took_part(catalogue, name, experiments, monkeypatch):
    monkeypatch.setitem(catalogue, name, catalogue[name] + 1)
    found = list(status(load_profile("full")))
    stale = {entry.experiment.name for entry in found if entry.state == "stale"}
    assert experiments <= stale and {entry.state for entry in found} <= {"finished", "stale"}
    assert "data" not in stale


def test_masking_is_computed_again_when_the_attackers_grow():
    values = yaml.safe_load((PROFILES / "full.yaml").read_text()) | {"name": "full"}
    values["adaptive"]["conditions"]["mist"] = ["lord"]
    grown = status(read_profile(values))
    lacking = {entry.experiment.name for entry in grown if entry.state == "missing"}
    assert {"masking", "adaptive"} <= lacking
