"""What the metrics say of clean pictures: of the same subject, and of another one."""

from collections.abc import Iterator, Sequence
from itertools import product
from random import Random

from lord.experiments.lord.conditions import INDEPENDENT, MEASURED
from lord.experiments.lord.protocol import COMMON, Protocol
from lord.models.card import weights_of
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome, Settings
from lord.study.profile import Profile


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell for each rendered domain and subject."""
    yield from scale_cells("scale", profile["lord"], profile["lord"].subjects)


def scale_cells(name: str, protocol: Protocol, subjects: Sequence[int]) -> Iterator[Cell]:
    """The same of some subjects, of an experiment of that name."""
    settings = Settings.of(protocol, *COMMON, "references", "sampling", "independent")
    settings = settings.also(weights=weights_of(protocol.model, True))
    for domain, subject in product(protocol.rendered, subjects):
        where = {"domain": domain, "subject": subject}
        components = ("step:renderer", *MEASURED[:3])
        measured = INDEPENDENT if protocol.independent else ()
        yield Cell(f"{domain}-{name}-s{subject}", where, settings, components, measured)


def measure(context: Context, cell: Cell) -> Outcome:
    """All metrics of as many clean pictures as a condition has samples.

    The pictures pass the VAE, as samples do. Those of the same subject give the best value that
    samples can reach; those of the next subject are as good and show somebody else.
    """
    from lord.data.subjects import Subject
    from lord.experiments.lord.chain.model import (
        base_pipeline,
        independently,
        instruments_of,
        reference_of,
    )
    from lord.metrics import measure as metrics
    from lord.metrics.validation import identity_of
    from lord.models.pipeline import round_trip

    settings, pipeline = cell.settings, base_pipeline(context, cell.settings)
    judges = instruments_of(context, settings)
    own = Subject(cell["domain"], "evaluation", cell["subject"])
    reference = reference_of(context, settings, own)
    identity = identity_of(own, own.photographs(1, settings.size))
    found = {}
    for name, index in (("same", own.index), ("other", own.index + 1)):
        subject = Subject(own.domain, own.split, index)
        pictures = subject.photographs(settings.sampling.images, settings.size).images
        samples = round_trip(pipeline, pictures)
        values = metrics.measure(judges, samples, reference, own.domain, identity)
        values |= independently(context, settings, own, samples)
        found |= {f"{name}/{metric}": value for metric, value in values.items()}
    return Outcome(found)


def example(cell: Cell) -> Outcome:
    """Made-up numbers."""
    number, found = Random(cell.name), {}
    for name, fid in (("same", 2.0), ("other", 60.0)):
        found |= {
            f"{name}/fid_embedded": fid + 1 + number.random(),
            f"{name}/fid_embedded_round_trip": fid + number.random(),
            f"{name}/clip_iqa_embedded": 0.9,
            f"{name}/identity": 0.9 if name == "same" else 0.3,
        }
        if cell.settings.independent:
            found |= {f"{name}/fid_imagenet": 10 * fid, f"{name}/kid_imagenet": fid / 200}
            found |= {f"{name}/ms_ssim_distance": 0.3}
            found |= {f"{name}/imagenet_identity": 0.9 if name == "same" else 0.3}
    return Outcome(found)


EXPERIMENT = Experiment(
    name="scale",
    title="what the metrics say of clean pictures of the same subject, and of another one",
    cells=cells,
    measure=measure,
    example=example,
)
