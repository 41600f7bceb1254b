"""Commands that list the components of a model, and attack one of them."""

import pytest
import torch
from helpers import error, run

from lord.data.folder import load_originals
from lord.models.components import components


@pytest.fixture(scope="module")
def few(model):
    return ["--eps", "8/255", "--step-size", "4/255", "--steps", 1, *model]


def test_components_of_any_pipeline_are_listed(pretrained, pixel_model, pipeline):
    text = run("components", pretrained / "embedded").stdout
    names = [line.split()[1] for line in text.splitlines() if line.startswith("│")]
    assert set(names) <= set(components(pipeline)) and "mid.attention.cross" in names
    assert "up.0.residual" in run("components", pixel_model).stdout
    assert "no diffusers pipeline" in error("components", pretrained)


@pytest.mark.usefixtures("few_draws")
def test_a_component_is_attacked(album, tmp_path, few):
    run("attack", album, tmp_path, "--component", "up.0.attention", *few)
    before, after = (list(load_originals(folder).images) for folder in (album, tmp_path))
    for one, other in zip(before, after, strict=True):
        assert 0 < (one - other).abs().max() <= 8 / 255 + 1e-6
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.png")}
    run("attack", album, tmp_path, "--component", "up.0.attention", *few)
    assert kept == {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.png")}
    run("attack", album, tmp_path, "--component", "encoder", *few)
    again = list(load_originals(tmp_path).images)
    assert not all(torch.equal(a, b) for a, b in zip(after, again, strict=True))


def test_a_mistake_is_one_line(album, tmp_path, few):
    out = tmp_path / "out"
    missing = error("attack", album, out, "--component", "up.7", *few)
    assert "component 'up.7': there is none; choose of encoder, quant_conv, conv_in" in missing
    assert not out.exists()
    assert "component" in error("attack", album, out, "--method", "component", *few)
    both = error("attack", album, out, "--method", "ace", "--component", "up", *few)
    assert "it goes with the method 'component'" in both
