"""What the chapter on components says of costs, from made-up numbers."""

from lord.experiments.components.component_cost import EXPERIMENT
from lord.record import Record
from lord.show import components
from lord.study.profile import load_profile


def test_what_a_step_costs_beside_its_passes():
    (cell,) = load_profile("smoke").cells("component_cost")
    record = Record.model_construct(
        evidence=True,
        components={},
        settings=cell.settings.values,
        metrics=EXPERIMENT.example(cell).metrics,
    )
    text = components.cost_findings([record]).data
    images, parts = cell.settings.images, cell.settings.components
    assert text.startswith(f"A step with {images} picture")
    assert text.count("1.10 seconds, 1.10 times its passes") == len(parts)
    assert all(f"- on {part}, " in text for part in parts)


def test_a_profile_that_leaves_costs_out_says_so():
    assert "leaves these experiments out" in components.cost_findings([]).data
