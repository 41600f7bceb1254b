"""The resumable training loop."""

import pytest
import torch
from torch import nn

from lord.training.loop import train


class Interrupted(Exception):
    """Stands in for a kill."""


def fit(checkpoint, stop_at=None, ema_decay=0.9):
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def loss(model, step):
        if step == stop_at:
            raise Interrupted
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        return (model(x) - x.sum(1, keepdim=True)).square().mean()

    run = train(
        model,
        loss,
        steps=12,
        learning_rate=0.1,
        warmup=2,
        ema_decay=ema_decay,
        checkpoint=checkpoint,
        checkpoint_every=3,
    )
    return model.state_dict(), run


@pytest.mark.parametrize("stop_at", [1, 7, 11])
@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_a_killed_run_ends_like_an_uninterrupted_one(tmp_path, stop_at, ema_decay):
    whole, run = fit(tmp_path / "whole.safetensors", ema_decay=ema_decay)
    assert run.losses[-1] < run.losses[0]
    with pytest.raises(Interrupted):
        fit(tmp_path / "part.safetensors", stop_at, ema_decay)
    resumed, _ = fit(tmp_path / "part.safetensors", ema_decay=ema_decay)
    for name, value in whole.items():
        assert torch.equal(value, resumed[name])


def test_a_broken_loss_is_an_error():
    with pytest.raises(FloatingPointError, match="nan at step 0"):
        train(nn.Linear(1, 1), lambda m, _: m.weight.sum() * float("nan"), steps=2, learning_rate=1)


def test_precisions_can_follow_each_other_in_one_process():
    for precision, dtype in (("bf16", torch.bfloat16), ("no", torch.float32)):
        model, seen = nn.Sequential(nn.Linear(1, 1)), set()
        model[0].register_forward_hook(lambda _, __, output, seen=seen: seen.add(output.dtype))
        train(
            model,
            lambda model, _: model(torch.ones(1, 1)).sum(),
            steps=1,
            learning_rate=0.1,
            mixed_precision=precision,
        )
        assert seen == {dtype}
