"""Scores of the gates, and the probabilities made of them."""

import pytest
import torch
from helpers import randomise

from lord.adapter import LordConfig, add_adapter, set_gate
from lord.defences.audit import (
    AUDIT_FILE,
    Calibration,
    calibrate,
    gate_scores,
    load_calibration,
    save_calibration,
)

CAPTIONS = ["a portrait", "a landscape", "a portrait"]


@pytest.fixture
def defended(own_pipeline):
    add_adapter(own_pipeline.unet, LordConfig(r=2, target_modules=["to_q"]), "lord")
    randomise(own_pipeline.unet, scale=0.25)
    return own_pipeline


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def test_an_image_has_its_own_score(defended, images):
    scores = gate_scores(defended, images, CAPTIONS, levels=3)
    assert scores.shape == (3,) and scores.unique().numel() == 3
    alone = gate_scores(defended, images[1:2], CAPTIONS[1:2], levels=3)
    assert torch.allclose(scores[1:2], alone, atol=1e-5)
    set_gate(defended.unet, 0.5)  # as some treatment left it
    assert torch.allclose(gate_scores(defended, images, CAPTIONS, levels=3), scores)


def test_without_gates_there_is_no_score(pipeline, images):
    with pytest.raises(ValueError, match="no LoRD adapter"):
        gate_scores(pipeline, images, CAPTIONS)


def test_calibration_finds_the_curve_that_made_the_labels():
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(20000, generator=generator) - 1
    attacked = torch.randn(20000, generator=generator) + 1
    found = calibrate(clean, attacked)  # two normals, 2 apart: the log-odds are 2 s
    assert found.slope == pytest.approx(2, abs=0.06)
    assert found.intercept == pytest.approx(0, abs=0.06)


def test_scores_apart_leave_a_doubt_that_shrinks_with_their_number():
    doubts = []
    for count in (4, 64):
        apart = torch.linspace(1, 2, count)
        found = calibrate(-apart, apart)
        doubts.append(1 - found.probability(torch.tensor([1.5])).item())
    assert 0 < doubts[1] < doubts[0] < 0.5


def test_the_prior_shifts_the_odds():
    curve = Calibration(slope=1.0, intercept=0.0)
    assert curve.probability(torch.zeros(1), prior=0.01).item() == pytest.approx(0.01)
    with pytest.raises(ValueError, match="prior"):
        curve.probability(torch.zeros(1), prior=1.0)


def test_bad_scores_are_refused():
    with pytest.raises(ValueError, match="as many clean as attacked"):
        calibrate(torch.zeros(2), torch.zeros(3))
    with pytest.raises(ValueError, match="at least of one"):
        calibrate(torch.zeros(0), torch.zeros(0))


def test_a_calibration_is_kept_with_the_defence(tmp_path):
    curve = Calibration(1.5, -0.25)
    save_calibration(curve, tmp_path)
    assert load_calibration(tmp_path) == curve
    for wrong in ("[1]", '{"slope": NaN, "intercept": 0}', '{"slope": 1e9, "intercept": 0}'):
        (tmp_path / AUDIT_FILE).write_text(wrong)
        with pytest.raises(ValueError, match="not a calibration"):
            load_calibration(tmp_path)
    (tmp_path / AUDIT_FILE).unlink()
    with pytest.raises(FileNotFoundError, match="lord defend"):
        load_calibration(tmp_path)
