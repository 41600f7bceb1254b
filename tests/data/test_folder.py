import io

import numpy as np
import pytest
import torch
from PIL import Image

from lord.data.captions import DEFAULT_CAPTION
from lord.data.dataset import load_dataset
from lord.data.folder import load_folder, save_images
from lord.data.picture import read_image

SIZE = 8


def picture(width=12, height=10, colour=(200, 100, 50), mode="RGB"):
    return Image.new("RGB", (width, height), colour).convert(mode)


def values(image):
    """The colour of a uniform image, 0 to 255."""
    assert torch.equal(image, image[:, :1, :1].expand_as(image))
    return (image[:, 0, 0] * 255).round().int().tolist()


def test_images_captions_and_paths_in_the_order_of_names(tmp_path):
    picture(colour=(1, 2, 3)).save(tmp_path / "b.png")
    picture(colour=(4, 5, 6)).save(tmp_path / "a.bmp")
    picture(colour=(7, 8, 9)).save(tmp_path / "c.png")
    (tmp_path / "a.txt").write_text("a räven\n", encoding="utf-8")
    (tmp_path / "c.txt").write_text("\n")
    (tmp_path / ".DS_Store").write_text("junk")
    (tmp_path / "sub").mkdir()
    found = load_folder(tmp_path, SIZE)
    assert len(found) == 3
    assert found.images.shape == (3, 3, SIZE, SIZE)
    assert found.images.dtype == torch.float32
    assert [values(image) for image in found.images] == [[4, 5, 6], [1, 2, 3], [7, 8, 9]]
    assert found.captions == ["a räven", DEFAULT_CAPTION, DEFAULT_CAPTION]
    assert found.paths == [tmp_path / name for name in ("a.bmp", "b.png", "c.png")]


@pytest.mark.parametrize(
    ("mode", "suffix", "colour", "expected"),
    [
        ("RGB", "png", (200, 100, 50), [200, 100, 50]),
        ("L", "png", (90, 90, 90), [90, 90, 90]),
        ("L", "jpg", (90, 90, 90), [90, 90, 90]),
        ("1", "png", (255, 255, 255), [255, 255, 255]),
        ("P", "png", (204, 102, 51), [204, 102, 51]),
        ("P", "gif", (204, 102, 51), [204, 102, 51]),
        ("CMYK", "tiff", (200, 100, 50), [200, 100, 50]),
        ("RGB", "webp", (128, 128, 128), [128, 128, 128]),
    ],
)
def test_every_mode_becomes_rgb(tmp_path, mode, suffix, colour, expected):
    path = tmp_path / f"image.{suffix}"
    picture(colour=colour, mode=mode).save(path)
    assert values(read_image(path, (SIZE, SIZE))) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, suffix):
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(np.full((SIZE, SIZE), 100 * 257, np.uint16)).save(path)
    assert values(read_image(path, (SIZE, SIZE))) == [100, 100, 100]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_lies_on_white(tmp_path, mode):
    path = tmp_path / "clear.png"
    if mode == "P":
        palette = picture(colour=(204, 102, 51), mode="P")
        palette.save(path, transparency=palette.getpixel((0, 0)))
    else:
        Image.new(mode, (SIZE, SIZE), (0,) * len(mode)).save(path)
    assert values(read_image(path, (SIZE, SIZE))) == [255, 255, 255]


def test_orientation_is_honoured(tmp_path):
    # Orientation 6: the camera lay on its side; what is stored at the left belongs at the top.
    stored = Image.new("RGB", (16, 16), "black")
    stored.paste("white", (0, 0, 8, 16))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored.save(tmp_path / "turned.png", exif=exif)
    image = read_image(tmp_path / "turned.png", (16, 16))
    assert (image[:, :8] == 1).all()
    assert (image[:, 8:] == 0).all()


def test_the_centre_is_cut_out_not_squashed(tmp_path):
    wide = Image.new("RGB", (32, 8), "black")
    wide.paste("white", (12, 0, 20, 8))
    wide.save(tmp_path / "wide.png")
    assert (read_image(tmp_path / "wide.png", (8, 8)) == 1).all()
    assert read_image(tmp_path / "wide.png", (8, 16)).shape == (3, 8, 16)


def test_an_image_of_the_right_size_keeps_its_values(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / "exact.png")
    image = read_image(tmp_path / "exact.png", (SIZE, SIZE))
    assert torch.equal((image * 255).round().byte(), torch.from_numpy(array).permute(2, 0, 1))


def jpeg_bytes():
    buffer = io.BytesIO()
    picture(64, 64).save(buffer, "JPEG")
    return buffer.getvalue()


BAD_FILES = {
    "empty.png": b"",
    "notes.pdf": b"%PDF-1.4 not an image",
    "cut.jpg": jpeg_bytes()[:-200],
    "zeros.png": b"\x89PNG\r\n\x1a\n" + bytes(100),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_named(tmp_path, name):
    picture().save(tmp_path / "good.png")
    (tmp_path / name).write_bytes(BAD_FILES[name])
    with pytest.raises(ValueError, match=f"{name}.*not a readable image.*Remove it") as caught:
        load_folder(tmp_path, SIZE)
    assert "good.png" not in str(caught.value)


def test_all_bad_files_are_named_at_once(tmp_path):
    for name, content in BAD_FILES.items():
        (tmp_path / name).write_bytes(content)
    picture(12, 7).save(tmp_path / "small.png")
    Image.fromarray(np.zeros((SIZE, SIZE), np.float32)).save(tmp_path / "float.tiff")
    picture().save(tmp_path / "captioned.png")
    (tmp_path / "captioned.txt").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(ValueError, match=r"12×7 pixels are too few") as caught:
        load_folder(tmp_path, SIZE)
    for name in [*BAD_FILES, "small.png", "float.tiff", "captioned.txt"]:
        assert name in str(caught.value)


def test_missing_and_empty_folders_and_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.*no such folder"):
        load_folder(tmp_path / "nowhere", SIZE)
    (tmp_path / "only.txt").write_text("a caption")
    with pytest.raises(ValueError, match="no images"):
        load_folder(tmp_path, SIZE)
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        read_image(tmp_path / "gone.png", (SIZE, SIZE))


def test_saved_images_read_back(tmp_path):
    images = torch.randint(0, 256, (2, 3, SIZE, SIZE)) / 255
    paths = save_images(images, tmp_path / "out", ["x/one.jpg", "two"], ["a cat", "a dog"])
    assert [path.name for path in paths] == ["one.png", "two.png"]
    found = load_folder(tmp_path / "out", SIZE)
    assert torch.equal(found.images, images)
    assert found.captions == ["a cat", "a dog"]
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_names_that_cannot_be_saved(tmp_path):
    images = torch.zeros(2, 3, SIZE, SIZE)
    with pytest.raises(ValueError, match="one would be written twice"):
        save_images(images, tmp_path / "out", ["one.jpg", "one.png"])
    with pytest.raises(ValueError, match="one per image"):
        save_images(images, tmp_path / "out", ["one"])
    with pytest.raises(ValueError, match="one per image"):
        save_images(images, tmp_path / "out", ["one", "two"], ["a cat"])
    assert not (tmp_path / "out").exists()


@pytest.fixture(autouse=True)
def dataset_cache(tmp_path_factory, monkeypatch):
    import datasets

    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)


def table(**columns):
    import datasets

    rows = {"image": [picture(colour=(1, 2, 3)), picture(mode="L")], "text": ["a", "b"]}
    return datasets.Dataset.from_dict({**rows, **columns}).cast_column("image", datasets.Image())


def test_data_set_on_disk(tmp_path):
    table().save_to_disk(tmp_path / "saved")
    found = load_dataset(tmp_path / "saved", SIZE, caption_column="text")
    assert found.images.shape == (2, 3, SIZE, SIZE)
    assert values(found.images[0]) == [1, 2, 3]
    assert found.captions == ["a", "b"]
    assert [path.name for path in found.paths] == ["train-000000.png", "train-000001.png"]
    assert load_dataset(tmp_path / "saved", SIZE).captions == [DEFAULT_CAPTION] * 2


def test_data_set_with_splits(tmp_path):
    import datasets

    datasets.DatasetDict({"test": table()}).save_to_disk(tmp_path / "saved")
    assert len(load_dataset(tmp_path / "saved", SIZE, split="test")) == 2
    with pytest.raises(ValueError, match="no split 'train'; it has test"):
        load_dataset(tmp_path / "saved", SIZE)


def test_image_folder(tmp_path):
    picture(colour=(1, 2, 3)).save(tmp_path / "one.png")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "one.png", "text": "a wall"}\n')
    found = load_dataset(tmp_path, SIZE, caption_column="text")
    assert found.captions == ["a wall"]
    assert values(found.images[0]) == [1, 2, 3]


def test_bad_data_sets_are_explained(tmp_path):
    table().save_to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match="no column 'picture'; it has image, text"):
        load_dataset(tmp_path / "saved", SIZE, image_column="picture")
    with pytest.raises(ValueError, match="no column 'caption'; it has image, text"):
        load_dataset(tmp_path / "saved", SIZE, caption_column="caption")
    with pytest.raises(ValueError, match="row 0: 12×10 pixels are too few"):
        load_dataset(tmp_path / "saved", 11)
    table(image=[None, {"bytes": jpeg_bytes()[:-200], "path": None}]).save_to_disk(tmp_path / "bad")
    with pytest.raises(ValueError, match=r"row 0: not a readable(.|\n)*row 1: not a readable"):
        load_dataset(tmp_path / "bad", SIZE)
    with pytest.raises(ValueError, match="no column 'image'"):
        table().remove_columns("image").save_to_disk(tmp_path / "words")
        load_dataset(tmp_path / "words", SIZE)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_dataset(tmp_path / "nowhere", SIZE)
