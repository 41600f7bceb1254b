"""What a step of an attack on a component costs, beside the passes that it must make."""

from collections.abc import Iterator, Sequence

import pandas as pd
from pydantic import Field, PositiveInt

from lord.experiments.components.protocol import SHARED
from lord.models.card import weights_of
from lord.record import Record
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome, Section, Settings, Table
from lord.study.profile import Profile


class ComponentTiming(Section):
    """What is timed, and how often."""

    components: tuple[str, ...] = ("encoder", "mid.residual", "decoder")
    turns: PositiveInt = Field(5, description="of each step; the fastest counts")
    images: PositiveInt = Field(8, description="of one step")


def cells(profile: Profile) -> Iterator[Cell]:
    """A single cell."""
    protocol = profile["components"]
    settings = Settings.of(protocol, *(name for name in SHARED if name != "references"))
    settings = settings.also(weights=weights_of(protocol.model, judged=False))
    cell = Cell("component_cost", {}, settings, ("attacker:component", "step:edit"))
    yield cell.with_settings(profile["component_cost"], *ComponentTiming.model_fields)


def measure(context: Context, cell: Cell) -> Outcome:
    """Seconds of one step, and of its bare passes.

    The passes are, forward and backward, those through the encoder, through the denoiser for every
    sampler step (with guidance of two batches) as far as the component needs them, and through the
    decoder.
    """
    from lord.experiments.components.chain.cost import costs

    return Outcome(costs(context, cell))


def example(cell: Cell) -> Outcome:
    """Made-up numbers."""
    names = cell.settings.components
    metrics = {f"{name}/seconds": 1.1 for name in names}
    metrics |= {f"{name}/passes": 1.0 for name in names}
    return Outcome(metrics | {f"{name}/times_its_passes": 1.1 for name in names})


def table(records: Sequence[Record]) -> pd.DataFrame:
    """A row for each component."""
    metrics, columns = records[0].metrics, ("seconds", "passes", "times_its_passes")
    names = dict.fromkeys(key.rpartition("/")[0] for key in metrics)
    return pd.DataFrame(
        [{"component": name} | {c: metrics[f"{name}/{c}"] for c in columns} for name in names]
    )


EXPERIMENT = Experiment(
    name="component_cost",
    title="what an attack on a component costs beside the passes it has to make",
    section=ComponentTiming,
    cells=cells,
    measure=measure,
    example=example,
    timed=True,
    tables={"component_cost": Table(("component_cost",), table)},
)
