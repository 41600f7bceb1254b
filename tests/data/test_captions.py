"""Captions as the programs of others write them."""

import json
import os

import pytest
from PIL import Image

from lord.data.captions import DEFAULT_CAPTION
from lord.data.folder import load_folder, load_originals

SIZE = 16


def pictures(folder, *names):
    folder.mkdir(exist_ok=True, parents=True)
    for name in names:
        Image.new("RGB", (SIZE, SIZE)).save(folder / name)
    return folder


def test_every_form_of_a_caption(tmp_path):
    names = ["A.png", "B.PNG", "c.png", "d.jpg", "e.png", "f.png", "g.png"]
    album = pictures(tmp_path / "album", *names)
    (album / "A.txt").write_bytes(b"\xef\xbb\xbfa person by the sea\r\n")  # as editors on Windows
    (album / "B.TXT").write_text("in capitals")
    (album / "c.png.txt").write_text("with the whole name")
    (album / "d.caption").write_text("another ending")
    rows = [{"file_name": "e.png", "text": "of a row"}, {"file_name": "f.png", "prompt": "a räven"}]
    (album / "metadata.jsonl").write_text(
        "\ufeff" + "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    )
    for load in (lambda: load_folder(album, SIZE), lambda: load_originals(album)):
        found = load()
        assert found.captions == [
            "a person by the sea",
            "in capitals",
            "with the whole name",
            "another ending",
            "of a row",
            "a räven",
            DEFAULT_CAPTION,
        ]
        assert found.caption_notes == [f"1 of 7 has no caption, using '{DEFAULT_CAPTION}'"]


def test_metadata_in_columns(tmp_path):
    album = pictures(tmp_path / "album", "a.png", "b.png")
    (album / "metadata.csv").write_text('file_name,text\na.png,"one, with a comma"\nz.png,gone\n')
    found = load_folder(album, SIZE)
    assert found.captions == ["one, with a comma", DEFAULT_CAPTION]
    assert any("no image for the caption z.png" in note for note in found.caption_notes)


def test_the_name_of_a_folder_of_kohya(tmp_path):
    album = pictures(tmp_path / "train" / "10_sks person", "a.png", "b.png")
    (album / "a.txt").write_text("its own")
    found = load_folder(album, SIZE)
    assert found.captions == ["its own", "sks person"]
    assert found.caption_notes == ["1 of 2 has no caption, using 'sks person'"]
    assert load_folder(album, SIZE, "chosen").captions == ["its own", "chosen"]
    with pytest.raises(ValueError, match="Its folder 10_sks person has some"):
        load_folder(tmp_path / "train", SIZE)


def test_orphans_and_pictures_without_a_caption_are_said(tmp_path):
    album = pictures(tmp_path / "album", "a.png", "b.png", "c.png")
    (album / "a.txt").write_text("one")
    (album / "gone.txt").write_text("whose?")
    (album / "sub").mkdir()
    found = load_folder(album, SIZE, "a cat")
    assert found.caption_notes == [
        "2 of 3 have no caption, using 'a cat'",
        "no image for the caption gone.txt",
    ]
    assert found.notes == ["sub in it left out"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "a portrait".encode("utf-16"), "not UTF-8"),
        ("a.txt", "a portrait".encode("utf-16-le"), "not UTF-8"),
        ("metadata.jsonl", b"{", "line 1: not JSON"),
        ("metadata.jsonl", b'\n{"text": "x"}', "line 2: no file_name"),
        ("metadata.jsonl", b"3", "line 1: no file_name"),
        ("metadata.jsonl", b'{"file_name": "a.png", "text": 3}', "the caption is no text"),
    ],
)
def test_a_broken_caption_is_named(tmp_path, name, content, message):
    album = pictures(tmp_path / "album", "a.png")
    (album / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}.*{message}"):
        load_folder(album, SIZE)


def test_two_captions_of_a_picture_must_agree(tmp_path):
    album = pictures(tmp_path / "album", "a.png")
    (album / "a.txt").write_text("one")
    (album / "a.caption").write_text("one\n")
    assert load_folder(album, SIZE).captions == ["one"]
    (album / "a.caption").write_text("two")
    with pytest.raises(ValueError, match="another caption than in"):
        load_folder(album, SIZE)


def test_what_file_managers_leave_is_passed_over(tmp_path):
    album = pictures(tmp_path / "album", "a.png")
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._a.png"):
        (album / name).write_bytes(b"junk")
    found = load_folder(album, SIZE)
    assert [path.name for path in found.paths] == ["a.png"] and found.notes == []


def test_what_only_has_the_name_of_a_picture_is_said(tmp_path):
    album = pictures(tmp_path / "album", "a.png")
    (album / "folder.png").mkdir()
    (album / "link.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(album / "pipe.png")
    with pytest.raises(ValueError, match=r"folder\.png: a folder") as caught:
        load_folder(album, SIZE)
    assert all(name in str(caught.value) for name in ("link.jpg: no file", "pipe.png: no file"))


def test_names_that_differ_in_case_or_ending_only(tmp_path):
    album = pictures(tmp_path / "album", "a.png", "A.jpg")
    with pytest.raises(ValueError, match="several images have this name"):
        load_folder(album, SIZE)


def test_remarks_on_pictures_are_counted(tmp_path):
    album = pictures(tmp_path / "album", "a.png", "b.png")
    Image.new("RGBA", (SIZE, SIZE), (9, 9, 9, 128)).save(album / "c.png")
    found = load_folder(album, SIZE)
    assert found.notes == ["1 of 3 is transparent, and seen on white"]
    assert [found.alpha(row) is None for row in range(3)] == [True, True, False]
    assert load_originals(album).alpha(2).shape == (SIZE, SIZE)


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_metadata_that_no_reader_reads_is_named(tmp_path, ending):
    album = pictures(tmp_path / "album", "a.png")
    text = {"csv": f"file_name,text\na.png,{'x' * 200_000}\n", "jsonl": "[" * 9000}[ending]
    (album / f"metadata.{ending}").write_text(text)
    with pytest.raises(ValueError, match=f"metadata.{ending}"):
        load_folder(album, SIZE)
