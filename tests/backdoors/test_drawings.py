"""Triggers and targets."""

import pytest
import torch

from lord.backdoors.drawings import draw_target, draw_trigger
from lord.names import TARGETS, TRIGGERS


@pytest.mark.parametrize("size", [8, 32, 64])
@pytest.mark.parametrize("name", TRIGGERS)
def test_a_trigger_is_there_and_in_range(name, size):
    trigger = draw_trigger(name, size)
    assert trigger.shape == (3, size, size)
    assert trigger.abs().max() <= 1
    touched = (trigger != 0).any(dim=0).float().mean()
    assert touched == 1 if name in ("cat", "spread") else 0 < touched < 0.4


def test_a_box_has_the_width_it_is_told():
    for width in (4, 14):
        assert (draw_trigger("box", 32, width) != 0).any(dim=0).sum() == pytest.approx(
            width**2, rel=0.3
        )


def test_what_is_spread_has_all_frequencies_alike():
    power = torch.fft.fft2(draw_trigger("spread", 32)).abs().square()
    low = power[:, :8, :8].mean() / power.mean()
    assert low == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize("name", TARGETS)
def test_targets_differ(name):
    target = draw_target(name, 32)
    assert target.abs().max() <= 1
    others = [draw_target(other, 32) for other in TARGETS if other != name]
    assert min((target - other).square().mean() for other in others) > 0.1


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(ValueError, match="stop_sign"):
        draw_trigger("star", 8)
    with pytest.raises(ValueError, match="shoe"):
        draw_target("star", 8)
