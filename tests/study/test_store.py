"""The store: nothing is lost by a kill or by a second writer, and damage is named."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from lord.record import make_record, measure
from lord.study.store import Store

# Has no need of torch, which takes seconds to load.
WRITER = """
import sys
from pathlib import Path
from lord.record import Record
from lord.study.store import Store
store, name, count = Store(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
record = Record.model_validate_json(sys.argv[4])
for k in range(count):
    store.write(record.model_copy(update={"name": f"{name}-{k}", "metrics": {"m": k}}))
    print(k, flush=True)
"""


def made(name: str, **changes):
    with measure() as measurement:
        pass
    given = {"settings": {"eps": 0.5}, "metrics": {"fid": 1 / 3}, "series": {"loss": [0.1, 0.2]}}
    given |= changes
    known = {"name": name, "kind": "ace", "seed": 0, "key": "k"}
    return make_record(measurement=measurement, components=["attack:ace"], **known, **given)


def start(folder, name: str, count: int) -> subprocess.Popen:
    record = made(name).model_dump_json()
    command = [sys.executable, "-c", WRITER, str(folder), name, str(count), record]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_records_survive_the_disk(tmp_path):
    store = Store(tmp_path)
    records = [made(name, settings={"eps": 0.5, "name": name}) for name in ("b", "a")]
    for record in records:
        store.write(record)
    assert store.records("ace") == {"a": records[1], "b": records[0]}
    lines = store.path("ace").read_text().splitlines()
    assert len(lines) == 3 and lines[1].startswith('{"name": "a"')
    assert '"eps"' in lines[0] and not any('"eps"' in line for line in lines[1:])
    replaced = made("a", metrics={"fid": 2.0})
    store.write(replaced)
    assert store.records("ace")["a"] == replaced and len(store.records("ace")) == 2
    assert store.records("main") == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-20], "line 2"),
        (lambda text: text.replace('"name"', '"nmae"'), "line 2"),
        (lambda text: text.replace('"shared"', '"shard"'), "line 1"),
        (lambda text: text.replace("0.333", '"a third', 1), "line 2"),
        (lambda text: re.sub('"shared": {.*', '"shared": []}\n{}\n', text), "line 2"),
        (lambda text: text.splitlines()[0] + "\n" + "[" * 9000, "line 2"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, change, message):
    store = Store(tmp_path)
    store.write_all("ace", [made("one"), made("two", metrics={"fid": 3})])
    text = store.path("ace").read_text()
    first = "\n".join(text.splitlines()[:2]) + "\n"
    store.path("ace").write_text(change(first))
    with pytest.raises(ValueError, match=rf"lord\.jsonl, {message}: not a valid record"):
        store.records("ace")


@pytest.mark.parametrize("content", [b"", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"RIFF\x00\x00"])
def test_a_picture_that_is_none_is_named(tmp_path, content):
    store = Store(tmp_path)
    store.write(made("one"), np.zeros((2, 2, 3), np.uint8))
    for path in (store.work / "sheets" / "one.webp", tmp_path / "sheets" / "lord.webp"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{path.name}: not a picture of records"):
            store.sheet(made("one"))
        path.unlink()


def test_a_file_that_is_no_text_is_named(tmp_path):
    store = Store(tmp_path)
    store.path("ace").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"lord\.jsonl: not UTF-8"):
        store.records("ace")


def test_experiments_of_a_paper_share_a_file_and_leave_each_other_alone(tmp_path):
    store = Store(tmp_path)
    others = [made(name).model_copy(update={"kind": "main"}) for name in ("one", "two")]
    store.write_all("main", others)
    before = store.path("main").read_text()
    store.write(made("one", metrics={"fid": 3}))
    assert store.path("ace") == store.path("main") != store.path("triggers")
    assert store.path("main").read_text().endswith(before)
    assert store.records("main") == {record.name: record for record in others}
    assert store.records("ace")["one"].metrics == {"fid": 3}
    store.path("main").write_text("\n" + store.path("main").read_text())
    with pytest.raises(ValueError, match=r"lord\.jsonl, line 1: names no experiment"):
        store.write(made("two"))


def test_two_writers_at_once_lose_nothing(tmp_path):
    writers = [start(tmp_path, name, 40) for name in ("left", "right")]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    assert len(Store(tmp_path).records("ace")) == 80


def test_a_killed_writer_loses_nothing(tmp_path):
    """Killed at moments that differ, it leaves all that it has said to have written."""
    for turn in range(3):
        writer = start(tmp_path, f"turn{turn}", 10_000)
        said = [writer.stdout.readline() for _ in range(5)]
        time.sleep(0.013 * turn)
        os.kill(writer.pid, signal.SIGKILL)
        said += writer.stdout.readlines()
        kept = Store(tmp_path).records("ace")
        whole = [line for line in said if re.fullmatch(r"\d+\n", line)]
        assert len(whole) >= 5 and all(f"turn{turn}-{int(k)}" in kept for k in whole)
    store = Store(tmp_path)
    store.write(made("after"))
    assert "after" in store.records("ace")


def test_pictures_that_are_kept_and_others(tmp_path):
    store, random = Store(tmp_path), np.random.default_rng(0)
    sheets = {
        name: random.integers(0, 256, (4, 6 + n, 3), np.uint8) for n, name in enumerate("abc")
    }
    records = {name: made(name) for name in sheets}
    for name, sheet in sheets.items():
        store.write(records[name], sheet)
        assert np.array_equal(store.sheet(records[name]), sheet)
    store.pack("ace", [records["a"], records["c"]])
    for path in (store.work / "sheets").iterdir():
        path.unlink()
    assert np.array_equal(store.sheet(records["c"]), sheets["c"])
    assert np.array_equal(store.sheet(records["a"]), sheets["a"])
    assert not store.has_sheet(records["b"])
    store.write_sheet("a", 255 - sheets["a"])  # packed again, the new one is found at once
    store.pack("ace", [records["a"]])
    (store.work / "sheets" / "a.webp").unlink()
    assert np.array_equal(store.sheet(records["a"]), 255 - sheets["a"])
    assert not store.has_sheet(records["c"])
    with pytest.raises(FileNotFoundError, match="lord study sheet b --profile"):
        store.sheet(records["b"])
