"""The resumable training loop."""

import pytest
import torch
from safetensors import safe_open
from torch import nn

from lord.tensors import save_tensors
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


def noted(checkpoint, stop_at=None):
    """Fit with a history, as the training of adapters does."""
    torch.manual_seed(0)
    model, history = nn.Linear(3, 1), {}

    def loss(model, step):
        if step == stop_at:
            raise Interrupted
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        value = (model(x) - x.sum(1, keepdim=True)).square().mean()
        history.setdefault("loss", []).append(value.item())
        return value

    options = {"steps": 8, "learning_rate": 0.1, "checkpoint_every": 3}
    train(model, loss, checkpoint=checkpoint, history=history, **options)
    return model.weight.detach(), history


def test_the_history_lies_in_the_checkpoint(tmp_path):
    weight, history = noted(tmp_path / "whole.safetensors")
    with pytest.raises(Interrupted):
        noted(tmp_path / "part.safetensors", 5)
    assert [path.name for path in tmp_path.glob("part*")] == ["part.safetensors"]
    again, resumed = noted(tmp_path / "part.safetensors")
    assert torch.equal(weight, again) and resumed == history and len(history["loss"]) == 8


@pytest.mark.parametrize("damage", ["cut", "other", "nan", "missing", "text", "short"])
def test_a_checkpoint_that_cannot_be_used_counts_as_none(tmp_path, damage, capsys):
    weight, history = noted(tmp_path / "whole.safetensors")
    path = tmp_path / "part.safetensors"
    with pytest.raises(Interrupted):
        noted(path, 5)
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-10])
    elif damage == "text":
        path.write_text("no tensors")
    else:
        if damage == "other":
            tensors["parameter.0"] = torch.zeros(2, 2)
        elif damage == "nan":
            tensors["optimizer.0.exp_avg"].fill_(float("nan"))
        elif damage == "missing":
            del tensors["parameter.1"]
        else:
            tensors["history.loss"] = tensors["history.loss"][:1].clone()
        save_tensors(tensors, path, metadata)
    again, second = noted(path)
    assert torch.equal(weight, again) and second == history
    assert "cannot be used" in " ".join(capsys.readouterr().err.split())


def test_weights_that_are_no_numbers_at_the_end_are_an_error():
    """The loss is taken before the last step, and knows nothing of what it does."""
    with pytest.raises(FloatingPointError, match="weights are not finite"):
        train(
            nn.Linear(1, 1),
            lambda model, _: model(torch.ones(1, 1)).sum(),
            steps=1,
            learning_rate=float("inf"),
            warmup=0,
        )
