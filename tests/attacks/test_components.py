"""Attacks on components of the tiny pipeline: hooks, references, both halves, gradients."""

from functools import partial

import pytest
import torch
from helpers import PROMPTS, SEEDS, levels, noise_images

from lord.attacks.ball import start
from lord.attacks.components import (
    Reference,
    attack_component,
    attack_features,
    edit_seeds,
    make_reference,
)
from lord.attacks.pgd import attack
from lord.attacks.settings import NOISE, AttackSettings
from lord.editing.editors import make_editor, make_request, run
from lord.editing.settings import EditSettings
from lord.models.components import catch, modules_of, select

HOW = EditSettings(steps=4, strength=0.5, guidance_scale=3.0)


def settings(component="up.0.residual", **changes):
    few = {"eps": 8 / 255, "step_size": 2 / 255, "steps": 2}
    return AttackSettings(component=component, **few | changes)


def distance(pipeline, clean, attacked, component, seeds=SEEDS, prompts=PROMPTS):
    """The objective of the attack, by two whole runs."""
    editor = make_editor("variation", pipeline)
    wanted = make_request(editor, prompts, edit_seeds(seeds))
    modules = modules_of(pipeline, component)
    with torch.no_grad():
        one, other = (
            catch(modules, partial(run, editor, images, wanted, HOW))
            for images in (clean, attacked)
        )
    count = len(clean)
    rows = [(a - b).square().flatten(1).mean(1) for a, b in zip(one, other, strict=True)]
    return sum(row.view(-1, count).mean(0) for row in rows)


@pytest.mark.parametrize("component", ["encoder", "up.0.residual", "mid.attention", "decoder"])
def test_it_beats_noise_of_the_same_size_in_its_component(pipeline, component):
    images, how = noise_images(16), settings(component)
    editor = make_editor("variation", pipeline)
    attacked = attack_component([editor], images, PROMPTS, how, SEEDS, HOW)
    # As many grey levels as the attack uses, with other signs: noise of equal energy.
    signs = torch.randint(0, 2, images.shape, generator=torch.Generator().manual_seed(5)) * 2 - 1
    noisy = (images + signs * (attacked - images).abs()).clamp(0, 1)
    reached, control = (distance(pipeline, images, x, component) for x in (attacked, noisy))
    assert (reached > control).all()
    assert levels(attacked).float().sub(images * 255).abs().max() <= 8.001
    assert torch.equal(levels(attacked) / 255, attacked)


def test_the_reference_is_that_of_the_picture_at_hand(pipeline):
    """In batches of any size, in any order and company, a picture is attacked in the same way."""
    editor, images = make_editor("variation", pipeline), noise_images(16)
    together = attack_component([editor], images, PROMPTS, settings(), SEEDS, HOW)
    for order, size in (([2, 0, 1], 2), ([1], 1), ([0, 1, 2], 1)):
        alone = attack_component(
            [editor],
            images[order],
            [PROMPTS[k] for k in order],
            settings(),
            [SEEDS[k] for k in order],
            HOW,
            batch_size=size,
        )
        assert (alone != together[order]).float().mean() < 0.01  # but for signs of nothing


def test_both_halves_of_a_guidance_batch_count(pipeline):
    editor, images = make_editor("variation", pipeline), noise_images(16)
    wanted = make_request(editor, PROMPTS, SEEDS)
    edits = partial(run, editor, request=wanted, settings=HOW)
    (module,) = select(pipeline, "conv_out")["conv_out"]
    one = make_reference([module], edits, images)
    assert [len(f) for f in one.features] == [6, 6]  # two steps, three pictures, twice each
    for half in (slice(0, 3), slice(3, 6)):
        moved = [f.clone() for f in one.features]
        for feature in moved:
            feature[half] += 2
        apart = Reference([module], edits, moved, 0).distances(images)
        assert torch.allclose(apart, torch.full((3,), 2 * 4 / 2.0), atol=1e-4)


def test_the_gradient_is_that_of_finite_differences(double_pipeline):
    """Through the encoder and two steps of the stock pipeline, both halves included."""
    editor, images = make_editor("variation", double_pipeline), noise_images(16).double()[:1]
    wanted = make_request(editor, PROMPTS[:1], SEEDS[:1])
    edits = partial(run, editor, request=wanted, settings=HOW)
    modules = modules_of(double_pipeline, "up.0")
    one = make_reference(modules, edits, images)
    generator = torch.Generator().manual_seed(1)
    x = images + 0.05 * torch.randn(images.shape, generator=generator).double()
    x.requires_grad_()
    gradient = torch.autograd.grad(one.distances(x).sum(), x)[0]
    for _ in range(2):
        direction = torch.randn(images.shape, generator=generator).double()
        with torch.no_grad():
            up, down = (one.distances(x + h * direction).sum() for h in (1e-5, -1e-5))
        expected = (up - down) / 2e-5
        torch.testing.assert_close((gradient * direction).sum(), expected, rtol=1e-5, atol=1e-9)


def test_a_window_counts_only_its_steps(pipeline):
    editor, images = make_editor("variation", pipeline), noise_images(16)
    wanted = make_request(editor, PROMPTS, SEEDS)
    edits = partial(run, editor, request=wanted, settings=HOW)
    modules = select(pipeline, "conv_in")["conv_in"]
    whole, early, late = (
        make_reference(modules, edits, images, window) for window in ((0, 1), (0, 0.5), (0.5, 1))
    )
    assert torch.equal(early.features[0], whole.features[0])
    assert torch.equal(late.features[0], whole.features[1]) and late.first == 1
    other = noise_images(16, seed=3)
    sums = early.distances(other) + late.distances(other)
    assert torch.allclose(sums, whole.distances(other), rtol=1e-4)
    with pytest.raises(ValueError, match=r"none lies between 0 and 0\.1"):
        make_reference(modules, edits, images, (0.0, 0.1))


def test_a_window_cuts_no_step_in_two(pipeline):
    """Of a component of several modules either all calls of a step count or none."""
    editor, images = make_editor("variation", pipeline), noise_images(16)
    edits = partial(run, editor, request=make_request(editor, PROMPTS, SEEDS), settings=HOW)
    modules = modules_of(pipeline, "*.residual")
    early, late = (
        make_reference(modules, edits, images, window) for window in ((0, 0.34), (0.34, 1))
    )
    assert len(early.features) == len(late.features) == late.first == len(modules) > 1


def test_nothing_runs_after_the_last_call_that_counts(pipeline, monkeypatch):
    editor, images = make_editor("variation", pipeline), noise_images(16)
    wanted = make_request(editor, PROMPTS, SEEDS)
    edits = partial(run, editor, request=wanted, settings=HOW)
    one = make_reference(select(pipeline, "encoder")["encoder"], edits, images)

    def refuse(*_, **__):
        raise AssertionError("the denoiser ran")

    monkeypatch.setattr(pipeline.unet, "forward", refuse)
    assert one.distances(noise_images(16, seed=4)).shape == (3,)


def test_an_ensemble_weighs_models_alike(pipeline):
    """A model whose features are a hundred times larger drowns no other."""
    images = noise_images(16)
    scaled = [Reference([one], one, [one(images)], 0) for one in (Scale(1.0), Scale(100.0))]
    energies = [one.energy for one in scaled]
    assert energies[1] == pytest.approx(1e4 * energies[0], rel=1e-4)
    attacked = attack_features(images, settings(), SEEDS, lambda rows: scaled, batch_size=3)
    relative = [one.distances(attacked) / one.energy for one in scaled]
    assert torch.allclose(*relative, rtol=1e-3)


class Scale(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


def test_bad_use_is_refused(pipeline):
    editor, images = make_editor("variation", pipeline), noise_images(16)
    with pytest.raises(ValueError, match=r"component 'up.9': there is none; choose of encoder, "):
        attack_component([editor], images, PROMPTS, settings("up.9"), SEEDS, HOW)
    with pytest.raises(ValueError, match="expected 'component'"):
        noise = AttackSettings(method=NOISE)
        attack_component([editor], images, PROMPTS, noise, SEEDS, HOW)
    with pytest.raises(ValueError, match="one per image"):
        attack_component([editor], images, PROMPTS[:1], settings(), SEEDS, HOW)
    with pytest.raises(ValueError, match=r"for lord\.attacks\.components\.attack_component"):
        attack(pipeline, images, PROMPTS, settings(), SEEDS)
    for wrong in ({"draws": 2}, {"transformations": ("jpeg",)}, {"surrogate": "fixed"}):
        with pytest.raises(ValueError, match="surrogate, transformations, draws"):
            settings(**wrong)
    for wrong in ({"method": "component"}, {"method": "ace", "component": "up"}):
        with pytest.raises(ValueError, match="component"):
            AttackSettings(**wrong)
    with pytest.raises(ValueError, match="random_start"):
        settings(random_start=False)


def test_no_step_is_the_random_start_of_the_control(pipeline):
    """The control is noise of the budget; the attack begins there."""
    images, how = noise_images(16), settings()
    control = AttackSettings(method=NOISE, eps=how.eps)
    assert torch.equal(start(images, how, SEEDS), start(images, control, SEEDS))
