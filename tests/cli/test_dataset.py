"""Commands that make data sets for editing: layout, resumption, what is refused."""

import json

import pytest
from helpers import error, run
from PIL import Image

SIZES = {"wide": (60, 40), "tall": (33, 70), "square": (48, 48)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of three sizes, one with a caption."""
    folder = tmp_path_factory.mktemp("own") / "album"
    folder.mkdir()
    for k, (name, size) in enumerate(SIZES.items()):
        image = Image.new("RGB", size, (200, 60 * k, 30))
        image.paste((20, 90, 200), (0, 0, size[0] // 2, size[1] // 2))
        image.save(folder / f"{name}.png")
    (folder / "wide.txt").write_text("a wide picture")
    return folder


def rows_of(out):
    lines = (out / "train" / "metadata.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("command", "columns"),
    [
        ("inpainting", {"mask_file_name", "corrupted_file_name", "prompt", "painted"}),
        ("super-resolution", {"low_resolution_file_name", "prompt", "kernel", "factor"}),
        ("variation", {"prompt", "prompts", "scores"}),
    ],
)
def test_a_row_for_every_picture_of_any_size(folder, tmp_path, command, columns):
    out = tmp_path / "data"
    run("dataset", command, folder, out)
    rows = rows_of(out)
    assert [row["file_name"] for row in rows] == sorted(f"image/{name}.png" for name in SIZES)
    for row in rows:
        assert set(row) == {"file_name", *columns}
        name = row["file_name"].removeprefix("image/").removesuffix(".png")
        for key in (key for key in row if key.endswith("file_name")):
            with Image.open(out / "train" / row[key]) as image:
                expected = SIZES[name]
                if key == "low_resolution_file_name":
                    expected = tuple(-(-side // 4) for side in expected)
                assert image.size == expected
    assert (out / "contact_sheet.png").is_file()
    if command != "variation":
        assert {row["prompt"] for row in rows} == {"a wide picture", "a photograph"}


def test_the_same_twice_and_only_what_is_missing(folder, tmp_path):
    out, again = tmp_path / "data", tmp_path / "again"
    for target in (out, again):
        run("dataset", "inpainting", folder, target)
    files = sorted(p.relative_to(out) for p in out.rglob("*") if p.suffix in (".png", ".jsonl"))
    assert len(files) == 3 * 3 + 2
    assert all((out / path).read_bytes() == (again / path).read_bytes() for path in files)
    kept, lost = out / "train/image/tall.png", out / "train/image/wide.png"
    before = kept.stat().st_mtime_ns
    lost.unlink()
    run("dataset", "inpainting", folder, out)
    assert lost.is_file() and kept.stat().st_mtime_ns == before
    run("dataset", "inpainting", folder, out, "--seed", 1)
    assert kept.stat().st_mtime_ns != before
    assert any(
        (out / path).read_bytes() != (again / path).read_bytes()
        for path in files
        if "mask" in str(path)
    )


def test_own_prompts_are_ranked(folder, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a portrait of a person\n\na landscape\na portrait of a person\n")
    run("dataset", "variation", folder, tmp_path / "data", "--prompts", prompts, "--kept", 2)
    for row in rows_of(tmp_path / "data"):
        assert sorted(row["prompts"]) == ["a landscape", "a portrait of a person"]
        assert row["scores"] == sorted(row["scores"], reverse=True)


def test_mistakes_are_found_first(folder, tmp_path):
    out = tmp_path / "data"
    assert "no such folder" in error("dataset", "inpainting", tmp_path / "none", out)
    missing = error("dataset", "variation", folder, out, "--prompts", tmp_path / "none.txt")
    assert "no such file" in missing
    (tmp_path / "empty.txt").write_text("\n")
    empty = error("dataset", "variation", folder, out, "--prompts", tmp_path / "empty.txt")
    assert "no prompt in it" in empty
    assert "another folder" in error("dataset", "super-resolution", folder, folder)
    assert not out.exists()
