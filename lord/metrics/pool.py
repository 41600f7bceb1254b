"""The images that the metric networks learn from, rendered once and kept as bytes.

What a latent diffusion model samples has always passed through a VAE decoder, and so has damage
that a fine-tuning picked up. Every image is therefore kept twice, as rendered and after a round
trip through the VAE; before it, every second image is degraded. Further degradations are drawn
afresh for every batch.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from lord.data.subjects import DOMAINS, sample_domain
from lord.metrics.degradations import degrade_at_random
from lord.models.pipeline import round_trip
from lord.progress import track
from lord.seeding import derive_seed
from lord.tensors import load_tensors, save_tensors

CHUNK = 64  # images rendered at once
FIRST = {"train": 0, "held-out": 10_000_000}
"""Number of the first identity of each part; the parts never meet."""


@dataclass(frozen=True)
class Pool:
    """Images (N, 3, size, size) as bytes, with what is known about them.

    Attributes:
        images: as rendered.
        decoded: the same, every second one degraded, after encoding and decoding.
        kinds: index in `degradations.KINDS` of what was done to ``decoded``, shape (N,).
        severities: how strongly, 0 where nothing was done, shape (N,).
        domains: index in ``DOMAINS``, shape (N,).
        attributes: value of every attribute of every domain, in the order of `attribute_names`,
            shape (N, A); -1 where the attribute belongs to another domain.
        captions: one per image.
    """

    images: Tensor
    decoded: Tensor
    kinds: Tensor
    severities: Tensor
    domains: Tensor
    attributes: Tensor
    captions: list[str]


def attribute_names() -> list[tuple[str, str]]:
    """(domain, attribute) for every categorical attribute, in a fixed order."""
    return [(domain, name) for domain, module in DOMAINS.items() for name in module.ATTRIBUTES]


def to_bytes(images: Tensor) -> Tensor:
    """Images in [0, 1] as uint8."""
    return (images.clamp(0, 1) * 255).round().byte()


def from_bytes(images: Tensor) -> Tensor:
    """Images as float32 in [0, 1]."""
    return images.float() / 255


def render_pool(
    pipeline: StableDiffusionPipeline, part: str, per_domain: int, size: int = 64
) -> Pool:
    """Render ``per_domain`` images of each domain; image i is the same in a larger pool.

    Args:
        pipeline: whose VAE makes the round trips.
        part: "train" or "held-out", both of identities that no subject of the study has.
        per_domain: images of each domain.
        size: height and width in pixels.
    """
    columns = attribute_names()
    collected: dict[str, list[Tensor]] = {
        name: [] for name in Pool.__dataclass_fields__ if name != "captions"
    }
    captions: list[str] = []
    chunks = [
        (index, domain, range(start, min(start + CHUNK, per_domain)))
        for index, domain in enumerate(DOMAINS)
        for start in range(0, per_domain, CHUNK)
    ]
    for index, domain, numbers in track(chunks, f"Rendering {part} images"):
        batch = sample_domain(domain, "train", [FIRST[part] + number for number in numbers], size)
        seeds = [derive_seed("metrics", part, domain, number) for number in numbers]
        images, kinds, severities = degrade_at_random(batch.images, seeds)
        untouched = torch.tensor(numbers) % 2 == 0
        images[untouched], kinds[untouched], severities[untouched] = batch.images[untouched], 0, 0
        answers = torch.full((len(seeds), len(columns)), -1)
        for column, (owner, name) in enumerate(columns):
            if owner == domain:
                answers[:, column] = batch.attributes[name]
        collected["images"].append(to_bytes(batch.images))
        collected["decoded"].append(to_bytes(round_trip(pipeline, images)))
        collected["kinds"].append(kinds)
        collected["severities"].append(severities)
        collected["domains"].append(torch.full((len(seeds),), index))
        collected["attributes"].append(answers)
        captions += batch.captions
    tensors = {name: torch.cat(values) for name, values in collected.items()}
    return Pool(**tensors, captions=captions)


def cached_pool(
    pipeline: StableDiffusionPipeline, part: str, per_domain: int, size: int, folder: Path
) -> Pool:
    """`render_pool`, kept in a file of ``folder`` so that an interrupted training need not redo it.

    The file is named after the VAE too; start in an empty folder after changing the renderer.
    """
    vae = hashlib.blake2b(digest_size=4)
    for weight in pipeline.vae.state_dict().values():
        vae.update(weight.cpu().contiguous().numpy())
    name = f"pool-{part}-{per_domain}-{size}-{vae.hexdigest()}.safetensors"
    path = Path(folder) / name
    if (found := load_tensors(path)) is not None:
        tensors, metadata = found
        return Pool(**tensors, captions=json.loads(metadata["captions"]))
    pool = render_pool(pipeline, part, per_domain, size)
    tensors = {name: value for name, value in vars(pool).items() if name != "captions"}
    save_tensors(tensors, path, {"captions": json.dumps(pool.captions)})
    return pool


@dataclass(frozen=True)
class View:
    """One training batch: images in [0, 1] with their degradation and their rows in the pool."""

    images: Tensor
    kinds: Tensor
    severities: Tensor
    rows: Tensor


def draw_view(pool: Pool, rows: Tensor, seeds: Sequence[int]) -> View:
    """A quarter as rendered, a quarter degraded now, half as decoded: half is clean on average.

    What is degraded now is the clean round trip of an image where the pool has one, else the
    image as rendered.

    Args:
        pool: where the images come from.
        rows: which ones, shape (N,).
        seeds: one per row, for what is drawn now.
    """
    first, second, third, fourth = rows.tensor_split(4)
    kept = torch.cat([third, fourth])
    passed = (pool.kinds[second] == 0).view(-1, 1, 1, 1)
    fresh = from_bytes(torch.where(passed, pool.decoded[second], pool.images[second]))
    fresh_seeds = seeds[len(first) : len(first) + len(second)]
    fresh, kinds, severities = degrade_at_random(fresh, fresh_seeds)
    clean = torch.zeros(len(first), dtype=torch.long)
    return View(
        torch.cat([from_bytes(pool.images[first]), fresh, from_bytes(pool.decoded[kept])]),
        torch.cat([clean, kinds, pool.kinds[kept]]),
        torch.cat([clean.float(), severities, pool.severities[kept]]),
        rows,
    )


def training_view(pool: Pool, seed: int, batch_size: int) -> View:
    """The batch that belongs to one seed: rows and degradations are drawn from it alone."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(pool.images), (batch_size,), generator=generator)
    return draw_view(pool, rows, [derive_seed(seed, number) for number in range(batch_size)])
