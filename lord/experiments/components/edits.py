"""How well clean pictures are edited, for each task."""

from collections.abc import Iterator

from lord.experiments.components.protocol import edit_cell
from lord.experiments.sheet import made_up
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome
from lord.study.profile import Profile


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell for each domain and task."""
    protocol = profile["components"]
    for domain in protocol.domains:
        for task in protocol.tasks:
            yield edit_cell("edits", protocol, {"domain": domain, "task": task})


def measure(context: Context, cell: Cell) -> Outcome:
    """Likeness of edits to the pictures as they were rendered, their FID and their CLIP score.

    ``plain/…`` is what needs no model: the masked picture, or the small one scaled up.
    """
    from lord.experiments.components.chain.quality import quality

    return quality(context, cell)


def example(cell: Cell) -> Outcome:
    """Made-up numbers."""
    names = ("psnr", "ssim", "ms_ssim", "fid", "clip_score", "inception_score")
    metrics = {f"{kind}/{name}": 2.0 for kind in ("edit", "plain") for name in names}
    return Outcome(metrics, {"edit/psnr": [20.0, 21.0]}, made_up(cell.name, 3, 8))


EXPERIMENT = Experiment(
    name="edits",
    title="how well the model edits clean pictures",
    cells=cells,
    measure=measure,
    example=example,
    kept=lambda records: [record for record in records if record.kind == "edits"],
)
