"""What draws from finished records loads without the libraries that compute them."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "diffusers", "transformers", "peft", "torchmetrics", "scipy.stats"}
LIGHT = (
    "lord.files",
    "lord.metrics.interval",
    "lord.models.card",
    "lord.names",
    "lord.record",
    "lord.seeding",
    "lord.show",
    "lord.study",
    "lord.study.tables",
)


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_loads_nothing_heavy(module):
    code = f"import sys, {module}; print(*sorted({HEAVY} & set(sys.modules)))"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert not loaded.split()
