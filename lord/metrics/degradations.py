"""Image degradations with a severity in [0, 1], to teach the metric networks and to test them.

Severity 0 leaves an image (nearly) untouched, severity 1 is obvious at a glance. Three families:
what cameras and files do (`blur`, `noise`, `jpeg`, `posterise`), what poisoned fine-tuning leaves
behind (`pattern`, the tiles of ACE; `texture`, the swirls of AdvDM), and `blotches`, smooth
coloured noise in between. The tiles and swirls are drawn at random per image, so that a network
learns the kind of damage and not one particular picture of it.

Every function maps images (N, 3, H, W) in [0, 1], severities (N,) and one seed per image to images
of the same shape and range; a row never depends on the other rows. Lengths in pixels refer to an
image 64 pixels high and grow with the image.
"""

import io
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from lord.seeding import derive_seed, generators, noise

Degradation = Callable[[Tensor, Tensor, Sequence[int]], Tensor]


def _uniform(seeds: Sequence[int], name: str, low: float = 0.0, high: float = 1.0) -> Tensor:
    """One number in [low, high) per image, from a stream of its own, shape (N,)."""
    streams = generators([derive_seed(seed, name) for seed in seeds])
    values = torch.stack([torch.rand((), generator=stream) for stream in streams])
    return low + (high - low) * values


def _smooth_noise(
    seeds: Sequence[int], name: str, channels: int, cells: int, images: Tensor
) -> Tensor:
    """Noise in ``cells`` blobs across, shape (N, channels, H, W), about unit variance."""
    seeds = [derive_seed(seed, name) for seed in seeds]
    coarse = noise(seeds, (channels, cells, cells), images.device)
    smooth = F.interpolate(coarse, images.shape[-2:], mode="bicubic", align_corners=False)
    return smooth * 1.4  # interpolating between independent values lowers their variance


def _grid(images: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel coordinates x and y, shape (H, W), in units of 1/64 of the height."""
    height, width = images.shape[-2:]
    unit = 64 / height
    y = (torch.arange(height, device=images.device) + 0.5) * unit
    x = (torch.arange(width, device=images.device) + 0.5) * unit
    return x.expand(height, width), y[:, None].expand(height, width)


def _column(values: Tensor, images: Tensor) -> Tensor:
    return values.to(images).view(-1, 1, 1, 1)


def blur(images: Tensor, severity: Tensor, seeds: Sequence[int]) -> Tensor:
    """Gaussian blur with a standard deviation of up to 2.5 pixels."""
    batch, channels, height, width = images.shape
    sigma = (severity.to(images) * 2.5 * height / 64).clamp(min=1e-3)
    radius = min(math.ceil(3 * 2.5 * height / 64), min(height, width) - 1)
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / sigma[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    # Every image has its own kernel: fold the batch into the channels of one grouped convolution.
    folded = images.reshape(1, batch * channels, height, width)
    groups = batch * channels
    folded = F.pad(folded, (radius, radius, 0, 0), mode="reflect")
    folded = F.conv2d(folded, kernel[:, None, None, :], groups=groups)
    folded = F.pad(folded, (0, 0, radius, radius), mode="reflect")
    folded = F.conv2d(folded, kernel[:, None, :, None], groups=groups)
    return folded.reshape(images.shape).clamp(0, 1)


def white_noise(images: Tensor, severity: Tensor, seeds: Sequence[int]) -> Tensor:
    """Independent Gaussian noise with a standard deviation of up to 0.2."""
    grain = noise([derive_seed(seed, "noise") for seed in seeds], images.shape[1:], images.device)
    return (images + 0.2 * _column(severity, images) * grain).clamp(0, 1)


def jpeg(images: Tensor, severity: Tensor, seeds: Sequence[int]) -> Tensor:
    """A real JPEG file written and read back; quality falls geometrically from 95 to 5."""
    result = images.clone()
    pixels = (images.detach().cpu().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    for row, strength in enumerate(severity.tolist()):
        quality = round(95 * (5 / 95) ** strength)
        file = io.BytesIO()
        Image.fromarray(pixels[row]).save(file, format="JPEG", quality=quality)
        decoded = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)
        result[row] = decoded.to(images) / 255
    return result


def posterise(images: Tensor, severity: Tensor, seeds: Sequence[int]) -> Tensor:
    """Few grey levels per channel: from 16 down to 2, each image with its own offset."""
    steps = _column(15 * (1 / 15) ** severity, images).round()
    return ((images * steps).round() / steps).clamp(0, 1)


def _motifs(u: Tensor, v: Tensor, seeds: Sequence[int]) -> Tensor:
    """Six high-contrast motifs over tile coordinates u, v in [0, 1), shape (N, 6, H, W), ±1."""
    du, dv = (u - 0.5).abs(), (v - 0.5).abs()
    rings = _uniform(seeds, "rings", 1.0, 4.0).to(u).view(-1, 1, 1)
    fields = [
        torch.sin(2 * torch.pi * u) * torch.sin(2 * torch.pi * v) * 3,  # checks
        torch.sin(2 * torch.pi * rings * (du + dv)) * 2,  # nested diamonds
        torch.sin(2 * torch.pi * rings * torch.maximum(du, dv) * 2) * 2,  # nested squares
        torch.sin(2 * torch.pi * rings * (du**2 + dv**2).sqrt() * 2) * 2,  # nested circles
        torch.sin(2 * torch.pi * (u + v)) * 3,  # stripes
    ]
    glyphs = noise([derive_seed(seed, "glyph") for seed in seeds], (1, 4, 4), u.device).sign()
    position = torch.stack([u, v], -1) * 2 - 1
    fields.append(F.grid_sample(glyphs, position, mode="nearest", align_corners=False)[:, 0])
    return torch.tanh(2 * torch.stack(fields, 1))


def pattern(images: Tensor, severity: Tensor, seeds: Sequence[int]) -> Tensor:
    """A tiled, high-contrast motif laid over the image with an amplitude of up to 0.2.

    ACE pulls a poisoned model towards the latent of such a tiling, and the tiles shine through in
    its samples. Motif, period, phase, angle, colour and local strength are drawn per image.
    """
    x, y = _grid(images)
    angle = (_uniform(seeds, "turned") < 0.5) * _uniform(seeds, "angle", 0, torch.pi)
    cosine, sine = angle.cos().view(-1, 1, 1).to(x), angle.sin().view(-1, 1, 1).to(x)
    period = (6 * 5 ** _uniform(seeds, "period")).view(-1, 1, 1).to(x)  # 6 to 30 pixels
    u = ((x * cosine + y * sine) / period + _uniform(seeds, "u").view(-1, 1, 1).to(x)) % 1
    v = ((y * cosine - x * sine) / period + _uniform(seeds, "v").view(-1, 1, 1).to(x)) % 1
    motifs = _motifs(u, v, seeds)
    choice = (_uniform(seeds, "motif") * motifs.shape[1]).long().to(x.device)
    motif = motifs[torch.arange(len(motifs), device=x.device), choice][:, None]
    tint = noise([derive_seed(seed, "tint") for seed in seeds], (3, 1, 1), images.device)
    grey = _column(_uniform(seeds, "grey"), images)
    tint = grey + (1 - grey) * tint
    tint = tint / tint.abs().amax(1, keepdim=True)
    local = 0.65 + 0.35 * torch.tanh(_smooth_noise(seeds, "local", 1, 3, images))
    overlay = 0.2 * _column(severity, images) * tint * local * motif
    return (images + overlay).clamp(0, 1)


def texture(images: Tensor, severity: Tensor, seeds: Sequence[int]) -> Tensor:
    """Swirling fringes with an amplitude of up to 0.2, as models poisoned by AdvDM paint them.

    A plane wave per channel, 4 to 10 pixels long, bent by a smooth displacement of about its own
    length so that the fringes curl.
    """
    x, y = _grid(images)
    wavelength = _uniform(seeds, "wavelength", 4, 10).view(-1, 1, 1, 1).to(x)
    bend = _smooth_noise(seeds, "bend", 4, 6, images) * wavelength * 0.8
    angle = _uniform(seeds, "direction", 0, torch.pi).view(-1, 1, 1, 1).to(x)
    along = (x + bend[:, :1]) * angle.cos() + (y + bend[:, 1:2]) * angle.sin()
    shift = torch.tensor([0.0, 1.0, 2.0], device=x.device).view(1, 3, 1, 1)
    shift = shift * _uniform(seeds, "dispersion", 0, 2).view(-1, 1, 1, 1).to(x)
    fringes = torch.sin(2 * torch.pi * along / wavelength + shift)
    local = 0.65 + 0.35 * torch.tanh(bend[:, 2:3])
    return (images + 0.2 * _column(severity, images) * local * fringes).clamp(0, 1)


def blotches(images: Tensor, severity: Tensor, seeds: Sequence[int]) -> Tensor:
    """Smooth coloured noise, blobs of 4 to 8 pixels, with a standard deviation of up to 0.15."""
    fine = _smooth_noise(seeds, "fine", 3, 16, images)
    coarse = _smooth_noise(seeds, "coarse", 3, 8, images)
    share = _column(_uniform(seeds, "share"), images)
    clouds = share.sqrt() * fine + (1 - share).sqrt() * coarse
    return (images + 0.15 * _column(severity, images) * clouds).clamp(0, 1)


DEGRADATIONS: dict[str, Degradation] = {
    "blur": blur,
    "noise": white_noise,
    "jpeg": jpeg,
    "posterise": posterise,
    "pattern": pattern,
    "texture": texture,
    "blotches": blotches,
}
"""Every degradation by name. The networks also know class 0, "clean"; see `KINDS`."""

KINDS: tuple[str, ...] = ("clean", *DEGRADATIONS)

LOWEST_SEVERITY = 0.2  # of random degradations: weaker ones can hardly be told apart


def degrade(images: Tensor, kind: str, severity: Tensor | float, seeds: Sequence[int]) -> Tensor:
    """Apply one kind of degradation.

    Args:
        images: shape (N, 3, H, W), in [0, 1].
        kind: a name in `KINDS`; "clean" returns the images as they are.
        severity: in [0, 1], one number for all or one per image, shape (N,).
        seeds: one per image.

    Raises:
        ValueError: unknown kind, a severity outside [0, 1], or not one seed per image.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown degradation {kind!r}; choose one of {', '.join(KINDS)}")
    severity = torch.as_tensor(severity, dtype=torch.float32).expand(len(images))
    if not ((severity >= 0) & (severity <= 1)).all():
        raise ValueError(f"severity must lie in [0, 1], got {severity.tolist()}")
    if len(seeds) != len(images):
        raise ValueError(f"{len(images)} images need one seed each, got {len(seeds)} seeds")
    if kind == "clean" or len(images) == 0:
        return images
    return DEGRADATIONS[kind](images, severity, seeds)


def degrade_at_random(images: Tensor, seeds: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Give each image one kind at one severity of at least 0.2, both drawn from its seed.

    Args:
        images: shape (N, 3, H, W), in [0, 1].
        seeds: one per image.

    Returns:
        The degraded images, the index of each kind in `KINDS` (never 0), shape (N,), and the
        severities, shape (N,).
    """
    kinds = 1 + (_uniform(seeds, "kind") * len(DEGRADATIONS)).long()
    severities = _uniform(seeds, "severity", LOWEST_SEVERITY, 1)
    result = images.clone()
    for index in kinds.unique().tolist():
        rows = (kinds == index).nonzero()[:, 0]
        row_seeds = [seeds[row] for row in rows.tolist()]
        result[rows] = degrade(images[rows], KINDS[index], severities[rows], row_seeds)
    return result, kinds, severities
