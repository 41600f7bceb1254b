"""The list of what was written to a folder, whenever its writer is killed."""

import pytest

from lord import files
from lord.cli.manifest import Manifest, Shard, image_files, request_of

NAMES = ["a", "b"]


class Killed(BaseException):
    pass


def contents(version):
    return [{f"{name}.txt": version, f"{name}.png": version + b"!"} for name in NAMES]


def write(folder, version, asked):
    manifest = Manifest(folder, asked)
    manifest.require_own(image_files(NAMES))
    manifest.require_alone(NAMES)
    requests = [request_of(asked | {"name": name}) for name in NAMES]
    done = []
    for rows in manifest.missing(NAMES, requests, 1):
        done += NAMES[rows]
        manifest.put(NAMES[rows], requests[rows], contents(version)[rows])
    return done


def on_disk(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name[0] != "."}


def expected(version):
    return {name: content for each in contents(version) for name, content in each.items()}


@pytest.mark.parametrize("next_version", [b"new", b"old"])
@pytest.mark.parametrize("moment", range(8))
def test_whenever_a_writer_is_killed_the_next_one_ends_as_if_it_had_not_been(
    tmp_path, monkeypatch, moment, next_version
):
    asked = {b"old": {"v": 1}, b"new": {"v": 2}}
    write(tmp_path, b"old", asked[b"old"])
    real, calls = files.write_bytes, []

    def killed(path, content):
        calls.append(path)
        if len(calls) > moment:
            raise Killed
        real(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_bytes", killed)
        with pytest.raises(Killed):
            write(tmp_path, b"new", asked[b"new"])
    left = on_disk(tmp_path)
    assert left.keys() == expected(b"old").keys()
    assert all(content in (expected(b"old")[n], expected(b"new")[n]) for n, content in left.items())
    write(tmp_path, next_version, asked[next_version])
    assert on_disk(tmp_path) == expected(next_version)
    assert write(tmp_path, next_version, asked[next_version]) == []  # all is there


def test_only_what_is_missing_is_made(tmp_path):
    assert write(tmp_path, b"old", {"v": 1}) == NAMES
    (tmp_path / "b.txt").unlink()
    assert write(tmp_path, b"old", {"v": 1}) == ["b"]
    assert write(tmp_path, b"new", {"v": 2}) == NAMES


def test_a_name_in_the_manifest_is_no_licence(tmp_path):
    """What is listed with other contents is somebody else's."""
    write(tmp_path, b"old", {"v": 1})
    (tmp_path / "a.png").write_bytes(b"a photograph")
    for asked in ({"v": 1}, {"v": 2}):
        with pytest.raises(ValueError, match=r"not written here .* a\.png\. Give another"):
            write(tmp_path, b"new", asked)
    assert (tmp_path / "a.png").read_bytes() == b"a photograph"


def test_shards_at_the_same_time_lose_nothing(tmp_path):
    """Two writers who both have read the list before either writes."""
    names = [f"{k}" for k in range(5)]
    requests = [request_of({"name": name}) for name in names]
    shards = [Manifest(tmp_path, {}, Shard(number, 2)) for number in (1, 2)]
    for manifest in shards:
        manifest.require_own(image_files(names))
        manifest.require_alone(names)
    work = [list(manifest.missing(names, requests, 2)) for manifest in shards]
    assert [[rows.start for rows in batches] for batches in work] == [[0, 4], [2]]
    for turn in range(2):
        for manifest, batches in zip(shards, work, strict=True):
            for rows in batches[turn : turn + 1]:
                files = [{f"{name}.png": name.encode()} for name in names[rows]]
                manifest.put(names[rows], requests[rows], files)
    whole = Manifest(tmp_path, {})
    assert not list(whole.missing(names, requests, 2)) and sorted(whole.entries) == names
    late = Manifest(tmp_path, {}, Shard(1, 2))
    shards[1].put(["0"], ["other"], [{"0.png": b"again"}])
    late.require_own(image_files(names))  # what another shard wrote since is known


def test_shares_of_a_folder_shut_out_the_whole_and_their_likes(tmp_path):
    refused = pytest.raises(ValueError, match="another command is writing there")
    with files.reserved(tmp_path, "1-2"):
        with files.reserved(tmp_path, "2-2"), files.turn(tmp_path):
            pass
        with refused, files.reserved(tmp_path, "1-2"):
            pass
        with refused, files.reserved(tmp_path):
            pass
    with files.reserved(tmp_path):
        pass
    assert not list(tmp_path.iterdir())
