import torch

from lord.data.pattern import target_pattern


def test_target_pattern():
    pattern = target_pattern(64)
    assert pattern.shape == (3, 64, 64)
    assert pattern.unique().tolist() == [0, 1]
    assert 0.4 < pattern.mean() < 0.6
    # Two tiles are one period.
    assert torch.equal(pattern[:, :32, :32], pattern[:, 32:, 32:])
    assert target_pattern(24, 40).shape == (3, 24, 40)
