"""What the metrics say of clean pictures of the subjects of the confirmation, and of others."""

from collections.abc import Iterator

from lord.experiments.lord.confirmation import judged
from lord.experiments.lord.scale import example, measure, scale_cells
from lord.study.experiment import Cell, Experiment
from lord.study.profile import Profile


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell for each rendered domain and subject, where there is a confirmation."""
    if "confirmation" in profile:
        subjects = profile["confirmation"].subjects
        yield from scale_cells("confirmation_scale", judged(profile["lord"]), subjects)


EXPERIMENT = Experiment(
    name="confirmation_scale",
    title="what the metrics say of clean pictures of new subjects, and of others",
    cells=cells,
    measure=measure,
    example=example,
)
