"""What draws from finished records loads without the libraries that compute them."""

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "diffusers", "transformers", "peft", "torchmetrics", "scipy.stats"}
LIGHT = (
    "lord.experiments.purification.protocol",
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


@pytest.fixture(scope="module")
def loaded():
    """For each module, what is loaded of the heavy libraries once it and those before it are."""
    code = (
        "import json, sys\nfrom importlib import import_module\nfound = {}\n"
        f"for name in {LIGHT}:\n"
        "    import_module(name)\n"
        f"    found[name] = sorted({HEAVY} & set(sys.modules))\n"
        "print(json.dumps(found))"
    )
    command = [sys.executable, "-c", code]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_loads_nothing_heavy(loaded, module):
    assert loaded[module] == []
