"""Files and groups of files that are whole or absent, folders that one process has."""

import os
import resource
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from lord import files
from lord.files import (
    COMMITTED,
    UNFINISHED,
    replacing,
    replacing_together,
    require_writable,
    reserved,
    settle,
    write_text,
)
from lord.tensors import save_tensors

NAMES = ("weights", "config", "audit.json")


def texts(folder):
    return {p.name: p.read_text() for p in folder.iterdir() if not p.name.startswith(".")}


def write_group(folder, version, names):
    with replacing_together(folder, NAMES) as new:
        for name in names:
            (new / name).write_text(version)


def test_a_group_changes_together_or_not_at_all(tmp_path):
    write_group(tmp_path, "old", NAMES)
    old = texts(tmp_path)
    with pytest.raises(RuntimeError), replacing_together(tmp_path, NAMES) as new:
        (new / "weights").write_text("new")
        raise RuntimeError
    assert texts(tmp_path) == old == dict.fromkeys(NAMES, "old")
    write_group(tmp_path, "new", NAMES[:2])
    assert texts(tmp_path) == dict.fromkeys(NAMES[:2], "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES[:2])


def test_a_group_may_have_folders(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "kept").write_text("kept")
    for version in ("old", "new"):
        with replacing_together(tmp_path) as new:
            write_text(new / "deep" / "er" / "weights", version)
            (new / "index").write_text(version)
            (new / "deep" / "er" / "weights").chmod(0o600)
    found = {str(p.relative_to(tmp_path)): p for p in tmp_path.rglob("*") if p.is_file()}
    texts = {name: path.read_text() for name, path in found.items()}
    assert texts == {"deep/kept": "kept", "deep/er/weights": "new", "index": "new"}
    assert found["deep/er/weights"].stat().st_mode == found["index"].stat().st_mode


def test_of_two_who_settle_none_fails(tmp_path, monkeypatch):
    (tmp_path / COMMITTED).mkdir()
    for name in NAMES:
        (tmp_path / COMMITTED / name).write_text("new")
    real = Path.replace

    def slower(self, target):  # the other one has moved it meanwhile
        real(self, target)
        return real(self, target)

    monkeypatch.setattr(Path, "replace", slower)
    settle(tmp_path)
    assert texts(tmp_path) == dict.fromkeys(NAMES, "new")


@pytest.mark.parametrize("moment", range(8))
def test_a_group_of_which_the_writer_was_killed(tmp_path, monkeypatch, moment):
    """At every call that changes a name on the disk: before one of them old, after it new."""
    write_group(tmp_path, "old", NAMES)
    calls, wrong = [], []

    class Killed(BaseException):
        pass

    def dying(real):
        def call(self, *args, **options):
            calls.append(self.name)
            if len(calls) > moment:
                raise Killed
            return real(self, *args, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dying(Path.replace))
        patch.setattr(Path, "unlink", dying(Path.unlink))
        patch.setattr(Path, "rmdir", dying(Path.rmdir))
        patch.setattr(files.shutil, "rmtree", lambda *_, **__: None)
        try:
            write_group(tmp_path, "new", NAMES[:2])
        except Killed:
            wrong.append(moment)
    settle(tmp_path)
    old, new = dict.fromkeys(NAMES, "old"), dict.fromkeys(NAMES[:2], "new")
    assert texts(tmp_path) == (old if moment == 0 else new)
    assert wrong or len(calls) <= moment
    assert not (tmp_path / COMMITTED).exists()


def test_what_a_killed_process_has_left_goes_on_the_next_run(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left, alive = (tmp_path / f"{UNFINISHED}-{pid}-abcd" for pid in (dead.pid, os.getppid()))
    foreign = tmp_path / ".o.work"
    for folder in (left, alive, foreign):
        folder.mkdir()
        (folder / "half.png").write_bytes(b"half")
    write_text(tmp_path / "a.txt", "whole")
    assert not left.exists() and alive.is_dir() and foreign.is_dir()


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    program = (
        "import os, signal, sys; from lord.files import replacing\n"
        "with replacing(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('new'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", program, path], check=False)
    assert killed.returncode == -signal.SIGKILL and path.read_text() == "old"
    files._sweep.cache_clear()
    write_text(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_the_umask_is_respected(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_text(tmp_path / "a.txt", "a")
        save_tensors({"a": torch.zeros(2)}, tmp_path / "a.safetensors")
    finally:
        os.umask(before)
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_a_full_disk_is_a_line_and_keeps_the_old_file(tmp_path):
    paths = [tmp_path / name for name in ("a.txt", "a.safetensors")]
    write_text(paths[0], "old")
    save_tensors({"a": torch.zeros(2)}, paths[1])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match=r"a\.txt: cannot be written \(.*kept"):
            write_text(paths[0], "x" * 100_000)
        with pytest.raises(OSError, match=r"a\.safetensors: cannot be written \(.*kept"):
            save_tensors({"a": torch.zeros(100_000)}, paths[1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert paths[0].read_text() == "old" and load_file(paths[1])["a"].shape == (2,)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_place_that_cannot_be_written_to_is_found_first(tmp_path):
    (tmp_path / "file").write_text("a file")
    places = [tmp_path / "file" / "x.png", Path("/proc/nowhere/x.png"), tmp_path / ("x" * 300)]
    for path in [*places, tmp_path]:
        with pytest.raises(OSError, match="cannot be written") as caught:
            require_writable(path)
        assert "\n" not in str(caught.value)
    for folder in [tmp_path / "file", Path("/proc/nowhere"), tmp_path / ("x" * 300)]:
        with pytest.raises(OSError, match="cannot be written"), reserved(folder):
            pytest.fail("reserved")
    require_writable(tmp_path / "new" / "deep" / "x.png")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_equal_tensors_and_metadata_make_equal_files(tmp_path):
    tensors = {"b": torch.arange(3.0), "a": torch.ones(2, dtype=torch.float16)}
    metadata = {"format": "pt", "über": 'a "quote"\n', "z": "1", "made": "here"}
    paths = [tmp_path / f"{k}.safetensors" for k in range(8)]
    for path in paths:
        save_tensors(tensors, path, metadata)
    assert len({path.read_bytes() for path in paths}) == 1
    with safe_open(paths[0], framework="pt") as file:
        assert file.metadata() == metadata
        assert torch.equal(file.get_tensor("b"), tensors["b"])
    save_tensors(tensors, paths[0])
    assert torch.equal(load_file(paths[0])["a"], tensors["a"])


def test_several_may_find_out_at_once_that_a_place_can_be_written_to(tmp_path):
    """Each removes the folders that it has made, and another may be about to use them."""
    with ThreadPoolExecutor(4) as pool:
        tries = [pool.submit(require_writable, tmp_path / "new" / "x.png") for _ in range(400)]
    assert [one.exception() for one in tries] == [None] * 400


def test_a_folder_is_one_process_s(tmp_path):
    program = "import sys, time; from lord.files import reserved\nwith reserved(sys.argv[1]): "
    folder = tmp_path / "out"
    waiting = program + "print('in', flush=True); time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", waiting, folder], stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"in\n"
    with pytest.raises(ValueError, match="another command is writing there"), reserved(folder):
        pytest.fail("reserved twice")
    other.kill()
    other.wait()
    other.stdout.close()
    with reserved(folder):
        (folder / "a.txt").write_text("mine")
    assert [path.name for path in folder.iterdir()] == ["a.txt"]
    with reserved(tmp_path / "empty" / "one"):
        pass
    assert not (tmp_path / "empty").exists()


def test_an_error_within_is_not_lost(tmp_path):
    with pytest.raises(KeyError), replacing(tmp_path / "a"):
        raise KeyError
    assert not list(tmp_path.iterdir())
