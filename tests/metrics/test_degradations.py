"""Degradations: ranges, determinism, and damage that grows with severity."""

import pytest
import torch

from lord.data.subjects import sample_domain
from lord.metrics.degradations import DEGRADATIONS, KINDS, degrade, degrade_at_random

SEEDS = [11, 12, 13, 14]


@pytest.fixture(scope="module")
def images():
    return torch.cat(
        [
            sample_domain(domain, "train", range(2), 32).images
            for domain in ("portraits", "landscapes")
        ]
    )


@pytest.mark.parametrize("kind", DEGRADATIONS)
def test_damage_grows_with_severity(images, kind):
    errors = [
        (degrade(images, kind, severity, SEEDS) - images).square().mean().item()
        for severity in (0.2, 0.6, 1.0)
    ]
    assert 0 < errors[0] < errors[1] < errors[2]


@pytest.mark.parametrize("kind", DEGRADATIONS)
def test_rows_do_not_depend_on_the_batch(images, kind):
    severity = torch.tensor([0.3, 0.5, 0.7, 0.9])
    together = degrade(images, kind, severity, SEEDS)
    alone = degrade(images[2:3], kind, severity[2:3], SEEDS[2:3])
    assert together.shape == images.shape
    assert together.min() >= 0 and together.max() <= 1
    torch.testing.assert_close(together[2:3], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["blur", "noise", "pattern", "texture", "blotches", "clean"])
def test_no_severity_is_no_damage(images, kind):
    torch.testing.assert_close(degrade(images, kind, 0.0, SEEDS), images, rtol=0, atol=1e-5)


def test_random_degradations_belong_to_the_seed(images):
    seeds = list(range(40, 44))
    first, kinds, severities = degrade_at_random(images, seeds)
    again, _, _ = degrade_at_random(images, seeds)
    assert torch.equal(first, again)
    assert ((kinds >= 1) & (kinds < len(KINDS))).all()
    assert ((severities >= 0.2) & (severities <= 1)).all()
    flipped, flipped_kinds, _ = degrade_at_random(images.flip(0), seeds[::-1])
    assert torch.equal(kinds, flipped_kinds.flip(0))
    torch.testing.assert_close(first, flipped.flip(0), rtol=0, atol=1e-5)


def test_bad_arguments_are_named(images):
    with pytest.raises(ValueError, match="unknown degradation 'fog'"):
        degrade(images, "fog", 0.5, SEEDS)
    with pytest.raises(ValueError, match="severity"):
        degrade(images, "blur", 1.5, SEEDS)
    with pytest.raises(ValueError, match="one seed each"):
        degrade(images, "blur", 0.5, [1])
