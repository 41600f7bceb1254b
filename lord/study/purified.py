"""The photographs of the study after purification, as whoever trains on them would keep them."""

from torch import Tensor

from lord.data.subjects import Subject
from lord.purifiers import purify
from lord.seeding import derive_seed
from lord.study.bench import Bench


def purified(bench: Bench, subject: Subject, images: Tensor, method: str) -> Tensor:
    """A subject's photographs (N, 3, H, W) in [0, 1], purified and rounded to 8 bits."""
    seeds = [derive_seed("purify", k) for k in range(len(images))]
    prompts = [subject.prompt] * len(images)
    return (purify(bench.pipeline, images, prompts, seeds, method) * 255).round() / 255
