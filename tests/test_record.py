import math
import subprocess

import pytest
from pydantic import ValidationError

from lord import record
from lord.names import ATTACKS, version_of
from lord.record import PEAK_RESET, Record, make_record, measure, record_key


def make(**changes) -> Record:
    with measure() as measurement:
        pass
    given = {
        "name": "attack-portraits",
        "kind": "ace",
        "settings": {"eps": 8 / 255, "channels": (1, 2)},
        "seed": 3,
        "metrics": {"fid_embedded": 1.25, "steps": 60},
        "measurement": measurement,
        "components": ["attack:ace", "step:renderer"],
        "key": "0" * 12,
    }
    return make_record(**{**given, **changes})


def test_key_changes_with_kind_settings_seed_and_versions_alone():
    keys = {
        record_key(kind, {"eps": eps, "steps": 60}, seed, {"attack:ace": version})
        for kind in ("attack", "finetune")
        for eps in (4 / 255, 8 / 255)
        for seed in (0, 1)
        for version in (1, 2)
    }
    assert len(keys) == 16
    assert record_key("a", {"x": 1, "y": [2]}, 0, {}) == record_key("a", {"y": [2], "x": 1}, 0, {})


def test_a_raised_version_makes_a_record_stale(monkeypatch):
    made = make()
    assert made.components == {"attack:ace": 1, "step:renderer": 1} and not made.is_stale
    monkeypatch.setitem(ATTACKS, "ace", 2)
    assert made.is_stale
    monkeypatch.delitem(ATTACKS, "ace")
    assert made.is_stale


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "good"])
def test_metrics_and_series_are_finite_numbers(value):
    with pytest.raises(ValidationError, match="fid"):
        make(metrics={"fid": value})
    with pytest.raises(ValidationError, match="loss"):
        make(series={"loss": [0.5, value]})


def test_measure_even_when_the_block_fails():
    with pytest.raises(KeyError), measure() as measurement:
        sum(range(10**5))
        raise KeyError
    assert measurement.seconds > 0
    # An interpreter with torch takes some tens of MB, and no test a terabyte.
    assert 10 < measurement.peak_memory_mb < 1e6


@pytest.mark.skipif(not PEAK_RESET.exists(), reason="only Linux forgets a peak")
def test_peak_memory_is_that_of_the_block():
    with measure() as large:
        block = bytearray(300 * 10**6)
        block[::4096] = b"1" * len(block[::4096])
        del block
    with measure() as small:
        pass
    assert large.peak_memory_mb > small.peak_memory_mb + 250


def test_git_state(tmp_path, monkeypatch):
    def git(*arguments):
        author = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", tmp_path, *author, *arguments], check=True)

    source = tmp_path / "lord" / "record.py"
    source.parent.mkdir()
    source.write_text("")
    monkeypatch.setattr(record, "__file__", str(source))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert record.git_state() == ("unknown", False, "")
    git("init", "--quiet")
    # Installed inside a checkout, not part of it.
    assert record.git_state() == ("unknown", False, "")
    git("add", ".")
    git("commit", "--quiet", "--message", "one")
    commit, dirty, source_hash = record.git_state()
    assert len(commit) == 40
    assert not dirty and len(source_hash) == 12
    (tmp_path / "results.json").write_text("")
    assert not record.git_state()[1]
    source.write_text("WIDTH = 4")
    assert record.git_state() == (commit, True, source_hash)


def test_what_a_record_names_is_looked_up_and_never_imported(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "hostile.py").write_text("raise SystemExit('imported')\n")
    for name in ("hostile", "attack:hostile", "experiment:hostile", "experiment:../hostile", ""):
        assert version_of(name) is None
    hostile = {"experiment:hostile": 1, "hostile:hostile": 2}
    assert make().model_copy(update={"components": hostile}).outdated == list(hostile)
