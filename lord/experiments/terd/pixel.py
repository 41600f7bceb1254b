"""How good the unconditional model in pixels is."""

from collections.abc import Iterator

from lord.experiments.sheet import made_up, rows
from lord.experiments.terd.protocol import checksums
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome, Settings
from lord.study.profile import Profile


def cells(profile: Profile) -> Iterator[Cell]:
    """A single cell."""
    protocol = profile["terd"]
    settings = Settings.of(protocol, "model", "judging")
    components = ("step:renderer", "step:pixel_sampler", "metric:fid")
    coordinates = {"domain": protocol.domain}
    yield Cell("pixel", coordinates, settings.also(**checksums(protocol, judged=True)), components)


def measure(context: Context, cell: Cell) -> Outcome:
    """FID of samples by two samplers, and of as many renders, which is the least that it can be."""
    from lord.data.subjects import sample_domain
    from lord.experiments.terd.chain import judging, suspects
    from lord.metrics.fid import fid
    from lord.models.pixel import sample
    from lord.seeding import derive_seed

    how, model = cell.settings.judging, suspects.clean_model(context, cell.settings)
    size, count = model.unet.config.sample_size, how.clean
    noises = suspects.plain_noises("plain", count, model)
    seeds = [derive_seed("plain", "steps", k) for k in range(count)]
    held_out = range(how.references, how.references + count)
    pictures = {
        "renders": sample_domain(cell["domain"], "evaluation", held_out, size).images,
        "ddim": sample(model, noises, how.clean_steps),
        "ddpm": sample(model, noises, how.triggered_steps, seeds),
    }
    reference = judging.reference_features(context, cell.settings, cell["domain"], size)
    metrics = {
        f"fid_pixel/{name}": fid(reference, judging.features_of(context, images))
        for name, images in pictures.items()
    }
    metrics["parameters_millions"] = model.unet.num_parameters() / 1e6
    return Outcome(metrics, sheet=rows(*(images[:8] for images in pictures.values())))


def example(cell: Cell) -> Outcome:
    """Made-up numbers."""
    fids = {"fid_pixel/renders": 1.0, "fid_pixel/ddim": 8.0, "fid_pixel/ddpm": 5.0}
    return Outcome(fids | {"parameters_millions": 2.5}, sheet=made_up(cell.name, 3, 32))


EXPERIMENT = Experiment(
    name="pixel",
    title="how good the unconditional model in pixels is",
    cells=cells,
    measure=measure,
    example=example,
    kept=lambda records: [record for record in records if record.kind == "pixel"],
)
