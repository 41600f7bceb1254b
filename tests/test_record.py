import math
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from lord import record
from lord.record import (
    PEAK_RESET,
    Record,
    code_hash,
    is_stale,
    make_record,
    measure,
    read_record,
    record_key,
    strip_comments,
    write_record,
)


class Settings(BaseModel):
    eps: float = 8 / 255
    folder: Path = Path("photographs")


def make(**changes) -> Record:
    with measure() as measurement:
        pass
    given = {
        "name": "attack-portraits",
        "kind": "attack",
        "settings": {"eps": 8 / 255, "channels": (1, 2)},
        "seed": 3,
        "metrics": {"fid_embedded": 1.25, "steps": 60},
        "measurement": measurement,
        "modules": ["lord.seeding"],
    }
    return make_record(**{**given, **changes})


def test_a_record_survives_the_disk(tmp_path):
    written = make(series={"loss": [0.5, 0.25]}, evidence=False)
    write_record(written, tmp_path / "cells" / "one.json")
    read = read_record(tmp_path / "cells" / "one.json")
    assert read == written
    assert read.key == written.key
    assert not is_stale(read)
    assert read.versions["torch"]
    assert [path.name for path in (tmp_path / "cells").iterdir()] == ["one.json"]


def test_key_changes_with_kind_settings_and_seed_alone():
    keys = {
        record_key(kind, {"eps": eps, "steps": 60}, seed)
        for kind in ("attack", "finetune")
        for eps in (4 / 255, 8 / 255)
        for seed in (0, 1)
    }
    assert len(keys) == 8
    assert record_key("a", {"x": 1, "y": (2,)}, 0) == record_key("a", {"y": [2], "x": 1}, 0)
    assert record_key("a", Settings(), 0) == make(kind="a", settings=Settings(), seed=0).key
    assert make(metrics={}).key == make().key


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "good"])
def test_metrics_and_series_are_finite_numbers(value):
    with pytest.raises(ValidationError, match="fid"):
        make(metrics={"fid": value})
    with pytest.raises(ValidationError, match="loss"):
        make(series={"loss": [0.5, value]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "EOF"),
        (lambda text: text[: len(text) // 2], "EOF"),
        (lambda text: text.replace('"kind"', '"knid"'), "kind"),
        (lambda text: text.replace('"seed": 3', '"seed": "three"'), "seed"),
        (lambda text: text.replace('"seed": 3', '"seed": 3, "comment": ""'), "comment"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, change, message):
    path = tmp_path / "broken.json"
    write_record(make(), path)
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=rf"broken\.json.*{message}"):
        read_record(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.json"):
        read_record(tmp_path / "gone.json")


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "some_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "model.py").write_text('"""About."""\n\nWIDTH = 3  # pixels\n')
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith("some_package")]:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["some_package", "some_package.model"])
def test_changed_code_makes_a_record_stale_and_changed_comments_do_not(package, name):
    old = make(modules=[name])
    (package / "model.py").write_text('"""About\nwidth."""\nWIDTH = 3\n\n# The end.\n')
    assert not is_stale(old)
    (package / "model.py").write_text("WIDTH = 4\n")
    assert is_stale(old)
    (package / "model.py").unlink()
    assert is_stale(old)


def test_hash_does_not_depend_on_the_order_of_modules():
    assert code_hash(["lord.files", "lord.seeding"]) == code_hash(["lord.seeding", "lord.files"])
    with pytest.raises(ModuleNotFoundError, match=r"lord\.nothing"):
        code_hash(["lord.nothing"])


def test_strip_comments_keeps_what_only_looks_like_one():
    source = '''def f(x):
    """Says # nothing."""
    y = "# kept"  # dropped

    return f"{x:#x}{y}"
class Empty: "Nothing."
def todo(): ...
'''
    assert strip_comments(source).splitlines() == [
        "def f(x):",
        '    y = "# kept"',
        '    return f"{x:#x}{y}"',
        'class Empty: "Nothing."',
        "def todo(): ...",
    ]


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
    assert record.git_state() == ("unknown", False)
    git("init", "--quiet")
    # Installed inside a checkout, not part of it.
    assert record.git_state() == ("unknown", False)
    git("add", ".")
    git("commit", "--quiet", "--message", "one")
    commit, dirty = record.git_state()
    assert len(commit) == 40
    assert not dirty
    (tmp_path / "results.json").write_text("")
    assert not record.git_state()[1]
    source.write_text("WIDTH = 4")
    assert record.git_state() == (commit, True)
