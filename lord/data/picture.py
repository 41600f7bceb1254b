"""One way to read a picture, and one to write it.

What anybody's camera, scanner or editor has written becomes RGB in sRGB: turned as its EXIF
orientation says, converted if it carries another colour profile, put on white where it is
transparent; of an animation the first picture is taken. Whatever of this happened is said in its
remarks.
"""

import io
import warnings
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps
from torch import Tensor

from lord.files import write_bytes

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF", "JPEG2000")
"""The formats that are read. Others, such as PostScript, would start other programs."""

SUFFIXES = frozenset(
    (
        *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".avif"),
        *(".bmp", ".dib", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k"),
    )
)
"""Endings, in lower case, of the names of files that are taken for pictures."""

TRANSPARENT = "transparent, and seen on white"
ANIMATED = "animated, and only the first picture taken"
CONVERTED = "converted to sRGB"
UNKNOWN_COLOURS = "of a colour profile that cannot be used, and taken for sRGB"
UNTOLD_COLOURS = "Adobe RGB by the camera's word, without a profile, and taken for sRGB"
UNTOLD_INKS = "in CMYK without a profile, so that the colours are a guess"
ENLARGED = "enlarged"


@dataclass(frozen=True)
class Picture:
    """A picture as numbers.

    Attributes:
        image: float32 of shape (3, H, W) in [0, 1], as seen on white.
        alpha: its opacity, float32 of shape (H, W) in [0, 1], if it is transparent anywhere.
        remarks: what happened to it that may surprise.
    """

    image: Tensor
    alpha: Tensor | None = None
    remarks: list[str] = field(default_factory=list)


def read_picture(
    path: str | Path, size: tuple[int, int] | None = None, upscale: bool = False
) -> Picture:
    """Read a picture from a file.

    With ``size`` (height, width) the largest centred part of that shape is cut out and resized; a
    picture that has this size already, or without ``size``, keeps its exact pixel values.

    Args:
        upscale: whether a picture that is smaller than ``size`` is enlarged.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no picture, is broken, or is smaller than ``size``.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file. Give the path of an image.")
    return decode_picture(Path(path), str(path), size, upscale)


def read_image(path: str | Path, size: tuple[int, int] | None) -> Tensor:
    """The image (3, H, W) of `read_picture`, for pictures of which nothing else matters."""
    return read_picture(path, size).image


def decode_picture(
    source: Path | bytes | None,
    name: str,
    size: tuple[int, int] | None = None,
    upscale: bool = False,
) -> Picture:
    """As `read_picture`, of a file or of its bytes; of None, which is no picture.

    Args:
        name: what it is called in errors.
    """
    try:
        if source is None:
            raise ValueError("there is none")
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        # What is half as large as what is refused as a bomb is a large picture.
        quiet = warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning)
        with quiet, Image.open(file, formats=FORMATS) as opened:
            opened.load()
            remarks = [ANIMATED] if _is_animated(opened) else []
            colours, opacity, remark = _in_srgb(ImageOps.exif_transpose(opened))
    # Decoders of the many formats raise whatever they like on bytes that make no sense.
    except Exception as error:
        raise ValueError(
            f"{name}: not a readable image ({error or type(error).__name__}). "
            "Remove it or save it anew as PNG or JPEG."
        ) from error
    remarks += [remark] if remark else []
    height, width = size or (colours.height, colours.width)
    if colours.height < height or colours.width < width:
        if not upscale:
            raise ValueError(
                f"{name}: {colours.width}×{colours.height} pixels are too few, at least "
                f"{width}×{height} are needed. Remove it, work at a smaller size, or --upscale."
            )
        remarks.append(ENLARGED)
    alpha = None
    if opacity is not None:
        remarks.append(TRANSPARENT)
        levels = np.asarray(opacity)
        colours = Image.fromarray(_on_white(np.asarray(colours), levels))
        alpha = _numbers(_fitted(opacity, width, height))
    seen = _numbers(_fitted(colours, width, height)).permute(2, 0, 1)
    return Picture(seen, alpha, remarks)


def _fitted(image: Image.Image, width: int, height: int) -> Image.Image:
    return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)


def _numbers(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).float() / 255


def _is_animated(image: Image.Image) -> bool:
    # A photograph in MPO has a preview or a second view as another frame.
    return image.format != "MPO" and getattr(image, "n_frames", 1) > 1


def _in_srgb(image: Image.Image) -> tuple[Image.Image, Image.Image | None, str]:
    """Its colours as RGB, its opacity (L) unless it is opaque, and a remark if one is due."""
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range")
    profile, opacity = image.info.get("icc_profile"), None
    grey = image.mode in ("1", "L", "LA", "La")
    if image.mode.startswith("I"):
        # Sixteen bits. Pillow's own conversion would clip them at 255.
        levels = np.asarray(image).astype(np.float64) / 257
        image = Image.fromarray(levels.round().clip(0, 255).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("LA" if grey else "RGBA")
        opacity = image.getchannel("A")
        opacity = None if opacity.getextrema() == (255, 255) else opacity
    if image.mode not in ("L", "CMYK"):
        image = image.convert("L" if grey else "RGB")
    if not profile:
        return image.convert("RGB"), opacity, _guess(image)
    try:
        conversion = _conversion(profile, image.mode)
    except (ImageCms.PyCMSError, OSError):
        return image.convert("RGB"), opacity, UNKNOWN_COLOURS
    converted = conversion.apply(image)
    changed = image.mode == "CMYK" or image.convert("RGB").tobytes() != converted.tobytes()
    return converted, opacity, CONVERTED if changed else ""


@lru_cache(maxsize=16)
def _conversion(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    """From a profile to sRGB, with the darkest black becoming black."""
    return ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _guess(image: Image.Image) -> str:
    """A remark on colours that the file does not define, where they may well be others than sRGB.

    Cameras set to Adobe RGB say so in EXIF, as the interoperability index ``R03``.
    """
    if image.mode == "CMYK":
        return UNTOLD_INKS
    return UNTOLD_COLOURS if image.getexif().get_ifd(0xA005).get(1) == "R03" else ""


def save_png(image: Tensor, path: str | Path, alpha: Tensor | None = None) -> None:
    """Write one image as a PNG, see `png_bytes`."""
    write_bytes(path, png_bytes(image, alpha, str(path)))


def png_bytes(image: Tensor, alpha: Tensor | None = None, name: str = "image") -> bytes:
    """One image, shape (3, H, W) in [0, 1], as an 8-bit RGB PNG, or RGBA with alpha (H, W).

    With alpha, ``image`` is what is seen of the picture on white, and that is what will be seen.

    Raises:
        FloatingPointError: a value of the image is not finite; the message begins with ``name``.
    """
    if not image.isfinite().all():
        raise FloatingPointError(
            f"{name}: has values that are no finite numbers, and is not written; weights may be "
            "broken, or the precision too low"
        )
    seen = _levels(image).transpose(1, 2, 0)
    picture = Image.fromarray(seen)
    if alpha is not None:
        opacity = _levels(alpha)
        picture = Image.fromarray(np.dstack((_off_white(seen, opacity), opacity)))
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return file.getvalue()


def _levels(values: Tensor) -> np.ndarray:
    return (values.detach().cpu().clamp(0, 1) * 255).round().numpy().astype(np.uint8)


def _on_white(colour: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """What is seen of bytes (H, W, 3) with an opacity (H, W) on white, rounded to the nearest."""
    share = opacity[..., None].astype(np.int64)
    return ((share * colour + (255 - share) * 255 + 127) // 255).astype(np.uint8)


def _off_white(seen: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """The colour of which this is seen on white; its own where nothing of it is seen."""
    share = opacity[..., None].astype(np.float64)
    colour = (seen * 255.0 - (255 - share) * 255) / np.maximum(share, 1)
    return np.where(share > 0, colour.round().clip(0, 255), seen).astype(np.uint8)
