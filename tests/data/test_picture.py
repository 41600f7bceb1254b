"""What cameras, phones and print shops write, and what is read of it."""

import io
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from lord.data.picture import (
    ANIMATED,
    CONVERTED,
    FORMATS,
    TRANSPARENT,
    png_bytes,
    read_picture,
    save_png,
)

SIZE = 8

# The primaries and the white of colour spaces, as chromaticities (x, y) of their standards.
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
ADOBE_RGB = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
DISPLAY_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
D65, D50 = (0.3127, 0.3290), (0.34567, 0.35850)

BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def xyz(x, y):
    return np.array([x / y, 1, (1 - x - y) / y])


def to_xyz(primaries):
    """The matrix from linear RGB to XYZ whose white is D65."""
    columns = np.stack([xyz(*primary) for primary in primaries], axis=1)
    return columns * np.linalg.solve(columns, xyz(*D65))


def adapted_to_d50(matrix):
    """What an ICC profile holds, whose white is D50."""
    response = (BRADFORD @ xyz(*D50)) / (BRADFORD @ xyz(*D65))
    return np.linalg.inv(BRADFORD) @ np.diag(response) @ BRADFORD @ matrix


def srgb_decode(v):
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def srgb_encode(v):
    return np.where(v <= 0.0031308, v * 12.92, 1.055 * np.maximum(v, 0) ** (1 / 2.4) - 0.055)


def adobe_decode(v):
    return v ** (563 / 256)


def expected_in_srgb(colour, primaries, decode):
    """The bytes in sRGB of a colour in another space, by the formulas of the standards."""
    linear = decode(np.array(colour) / 255)
    in_srgb = np.linalg.solve(to_xyz(SRGB), to_xyz(primaries) @ linear)
    return (srgb_encode(in_srgb).clip(0, 1) * 255).round().tolist()


def icc(space, kind, tags):
    """The bytes of an ICC profile of version 2."""
    offset, table, content = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += struct.pack(">4sII", name, offset + len(content), len(data))
        content += data
    pcs = b"Lab " if kind == b"prtr" else b"XYZ "
    white = struct.pack(">iii", *(round(v * 65536) for v in (0.9642, 1.0, 0.8249)))
    total = offset + len(content)
    head = struct.pack(">I4sI4s4s4s", total, b"none", 0x02400000, kind, space, pcs)
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + white
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + content


def described():
    text = b"a test\0"
    words = b"desc" + bytes(4) + struct.pack(">I", len(text)) + text
    white = b"XYZ " + bytes(4) + struct.pack(">iii", 63190, 65536, 54061)
    return {b"desc": words + bytes(78), b"cprt": b"text" + bytes(4) + b"none\0", b"wtpt": white}


def rgb_profile(primaries, decode):
    """A display profile of three primaries and a tone curve."""
    matrix = adapted_to_d50(to_xyz(primaries))
    samples = (decode(np.linspace(0, 1, 1024)) * 65535).round().astype(int).tolist()
    curve = b"curv" + bytes(4) + struct.pack(">I1024H", 1024, *samples)
    tags = described()
    for k, letter in enumerate((b"r", b"g", b"b")):
        column = struct.pack(">iii", *(matrix[:, k] * 65536).round().astype(int))
        tags[letter + b"XYZ"] = b"XYZ " + bytes(4) + column
        tags[letter + b"TRC"] = curve
    return icc(b"RGB ", b"mntr", tags)


def values(image):
    """The colour of a uniform image, 0 to 255."""
    assert torch.equal(image, image[:, :1, :1].expand_as(image))
    return (image[:, 0, 0] * 255).round().int().tolist()


@pytest.mark.parametrize(
    ("primaries", "decode", "colours"),
    [
        (ADOBE_RGB, adobe_decode, [(173, 62, 62), (200, 60, 60), (120, 130, 40)]),
        (DISPLAY_P3, srgb_decode, [(184, 72, 66), (100, 90, 200)]),
        (SRGB, srgb_decode, [(200, 60, 60)]),
    ],
    ids=["Adobe RGB", "Display P3", "sRGB"],
)
@pytest.mark.parametrize("suffix", ["png", "tiff", "jpg"])
def test_a_profile_is_converted_to_srgb(tmp_path, primaries, decode, colours, suffix):
    profile = rgb_profile(primaries, decode)
    for colour in colours:
        path = tmp_path / f"tagged.{suffix}"
        options = {"quality": 100, "subsampling": 0} if suffix == "jpg" else {}
        Image.new("RGB", (SIZE, SIZE), colour).save(path, icc_profile=profile, **options)
        picture = read_picture(path)
        expected = expected_in_srgb(colour, primaries, decode)
        assert values(picture.image) == pytest.approx(expected, abs=1 if suffix != "jpg" else 2)
        if primaries is not SRGB:
            assert picture.remarks == [CONVERTED]
            assert expected != pytest.approx(list(colour), abs=3)


def test_the_red_of_the_two_spaces():
    """Written out once, by hand: Adobe RGB (173, 62, 62) is about sRGB (200, 60, 60)."""
    assert expected_in_srgb((173, 62, 62), ADOBE_RGB, adobe_decode) == pytest.approx(
        [200, 60, 60], abs=1
    )


def test_inks_with_a_profile(tmp_path):
    """A press whose cyan is L*a*b* (60, -30, -20), and whose every other ink is black."""
    lab = {0: (255, 128, 128), 8: (round(60 * 2.55), 98, 108)}
    grid = b"".join(bytes(lab.get(corner, (0, 128, 128))) for corner in range(16))
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    ramp = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + 4 * ramp + grid + 3 * ramp
    profile = icc(b"CMYK", b"prtr", {**described(), b"A2B0": table, b"A2B1": table})

    def expected(lightness, a, b):
        y = (lightness + 16) / 116
        shares = [
            t**3 if t > 6 / 29 else 3 * (6 / 29) ** 2 * (t - 4 / 29)
            for t in (y + a / 500, y, y - b / 200)
        ]
        in_d50 = np.array(shares) * np.array([0.9642, 1.0, 0.8249])
        linear = np.linalg.solve(adapted_to_d50(to_xyz(SRGB)), in_d50)
        return (srgb_encode(linear).clip(0, 1) * 255).round().tolist()

    inks = {(0, 0, 0, 0): (100, 0, 0), (255, 0, 0, 0): (60, -30, -20), (0, 0, 0, 255): (0, 0, 0)}
    for ink, of_lab in inks.items():
        path = tmp_path / "press.tiff"
        Image.new("CMYK", (SIZE, SIZE), ink).save(path, icc_profile=profile)
        picture = read_picture(path)
        assert values(picture.image) == pytest.approx(expected(*of_lab), abs=2)
        assert picture.remarks == [CONVERTED]
    Image.new("CMYK", (SIZE, SIZE), (255, 0, 0, 0)).save(tmp_path / "untold.tiff")
    assert ["guess" in remark for remark in read_picture(tmp_path / "untold.tiff").remarks] == [
        True
    ]


def test_colours_that_are_not_what_they_seem_are_said(tmp_path):
    image = Image.new("RGB", (SIZE, SIZE), (200, 60, 60))
    image.save(tmp_path / "broken.png", icc_profile=b"no profile")
    exif = Image.Exif()
    exif[0x8769] = {0xA001: 65535, 0xA005: {1: "R03"}}
    image.save(tmp_path / "camera.jpg", exif=exif)
    for name, words in {"broken.png": "cannot be used", "camera.jpg": "Adobe RGB"}.items():
        picture = read_picture(tmp_path / name)
        assert values(picture.image) == pytest.approx([200, 60, 60], abs=3)
        assert len(picture.remarks) == 1 and words in picture.remarks[0]


def test_an_animation_gives_its_first_picture(tmp_path):
    frames = [Image.new("RGB", (SIZE, SIZE), (50 * k, 0, 0)) for k in range(3)]
    for suffix in ("gif", "png", "webp"):
        path = tmp_path / f"moving.{suffix}"
        options = {"lossless": True} if suffix == "webp" else {}
        frames[0].save(path, save_all=True, append_images=frames[1:], **options)
        picture = read_picture(path)
        assert values(picture.image) == [0, 0, 0] and picture.remarks == [ANIMATED]


def test_only_formats_of_pictures_are_opened(tmp_path, monkeypatch):
    """A PostScript file would start Ghostscript."""
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_: pytest.fail("was started"))
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n"
    (tmp_path / "photo.png").write_bytes(program)
    with pytest.raises(ValueError, match=r"photo\.png: not a readable image"):
        read_picture(tmp_path / "photo.png")
    assert "EPS" not in FORMATS


@pytest.mark.parametrize("seed", range(3))
def test_transparency_is_kept_when_a_picture_is_written_back(tmp_path, seed):
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (31, 20, 4), dtype=np.uint8)
    pixels[:4, :, 3], pixels[4:8, :, 3] = 0, 255
    Image.fromarray(pixels).save(tmp_path / "in.png")
    before = read_picture(tmp_path / "in.png")
    assert before.remarks == [TRANSPARENT]
    assert np.array_equal((before.alpha.numpy() * 255).round(), pixels[..., 3])
    share = pixels[..., 3:] / 255
    on_white = (share * pixels[..., :3] + (1 - share) * 255).round()
    seen = (before.image.permute(1, 2, 0).numpy() * 255).round()
    assert np.abs(on_white - seen).max() <= 1

    # Written back unchanged, it looks the same; changed within a bound, it stays within it.
    save_png(before.image, tmp_path / "same.png", before.alpha)
    again = read_picture(tmp_path / "same.png")
    assert torch.equal(again.image, before.image) and torch.equal(again.alpha, before.alpha)
    sign = torch.from_numpy(random.choice([-8, 8], before.image.shape)) / 255
    changed = (before.image + sign).clamp(0, 1).float()
    save_png(changed, tmp_path / "out.png", before.alpha)
    after = read_picture(tmp_path / "out.png")
    assert torch.equal(after.alpha, before.alpha)
    assert (after.image - before.image).abs().max() <= 8 / 255 + 1e-6
    opaque = before.alpha == 1
    assert torch.allclose(after.image[:, opaque], changed[:, opaque], atol=1e-6)
    with Image.open(tmp_path / "out.png") as written:
        assert np.array_equal(np.asarray(written)[..., 3], pixels[..., 3])


def test_opaque_alpha_is_none(tmp_path):
    Image.new("RGBA", (SIZE, SIZE), (1, 2, 3, 255)).save(tmp_path / "solid.png")
    picture = read_picture(tmp_path / "solid.png")
    assert picture.alpha is None and picture.remarks == []


def test_small_pictures_are_enlarged_on_request(tmp_path):
    Image.new("RGB", (6, 4), (10, 20, 30)).save(tmp_path / "small.png")
    with pytest.raises(ValueError, match="--upscale"):
        read_picture(tmp_path / "small.png", (SIZE, SIZE))
    picture = read_picture(tmp_path / "small.png", (SIZE, SIZE), upscale=True)
    assert picture.image.shape == (3, SIZE, SIZE) and picture.remarks == ["enlarged"]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_not_written(tmp_path, number):
    image = torch.zeros(3, SIZE, SIZE)
    image[1, 2, 3] = number
    with pytest.raises(FloatingPointError, match=r"black\.png.*no finite numbers"):
        save_png(image, tmp_path / "black.png")
    assert not list(tmp_path.iterdir())
    with pytest.raises(FloatingPointError):
        png_bytes(image)
    assert Image.open(io.BytesIO(png_bytes(torch.zeros(3, SIZE, SIZE)))).size == (SIZE, SIZE)


def test_a_large_picture_is_read_without_a_word_and_a_bomb_is_refused(
    tmp_path, monkeypatch, recwarn
):
    path = tmp_path / "large.png"
    Image.new("RGB", (12, 12)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read_picture(path).image.shape == (3, 12, 12) and not recwarn.list
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(ValueError, match=r"large\.png: not a readable image .*bomb"):
        read_picture(path)
