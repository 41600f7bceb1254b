"""How fast the renderers draw, and what they draw."""

from collections.abc import Iterator

from lord.experiments.lord.cells import single
from lord.experiments.lord.protocol import of_renders
from lord.experiments.sheet import made_up, rows
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome
from lord.study.profile import Profile


def cells(profile: Profile) -> Iterator[Cell]:
    if protocol := of_renders(profile["lord"]):
        yield single("data", protocol, ["domains"], ["step:renderer"], weighed=False)


def measure(context: Context, cell: Cell) -> Outcome:
    """Renders a second, and one row of pictures of each domain."""
    import time

    from lord.data.subjects import sample_domain

    size, count = cell.settings.size, 256
    metrics, pictures = {}, []
    for domain in cell.settings.domains:
        sample_domain(domain, "train", range(64), size)  # the first call pays for set-up
        start = time.perf_counter()
        batch = sample_domain(domain, "train", range(count), size)
        metrics[f"{domain}_per_second"] = count / (time.perf_counter() - start)
        pictures.append(batch.images[:8])
    return Outcome(metrics, sheet=rows(*pictures))


def example(cell: Cell) -> Outcome:
    """Made-up numbers."""
    metrics = {f"{domain}_per_second": 512.5 for domain in cell.settings.domains}
    return Outcome(metrics, sheet=made_up(cell.name, 2, cell.settings.size))


EXPERIMENT = Experiment(
    name="data",
    title="how fast the renderers draw",
    cells=cells,
    measure=measure,
    example=example,
)
