"""The attack through DiffPure."""

import pytest
import torch

from lord.attacks.pgd import attack, load_target, objective_values
from lord.attacks.settings import AttackSettings
from lord.attacks.through_purifier import attack_purified
from lord.data.subjects import Subject
from lord.models.pipeline import encode_prompts
from lord.purifiers.methods import purify

SEEDS = [1, 2]
SETTINGS = AttackSettings(eps=8 / 255, step_size=2 / 255, steps=8, rounds=1, surrogate="none")
DRAWS = 4


@pytest.fixture(scope="module")
def album():
    return Subject("portraits", "evaluation", 0).photographs(2, 32)


def purified_objectives(pipeline, sets, prompts):
    """The mean of L(P(x)), P in its usual number of steps, on draws that no attack has seen.

    All sets of pictures meet the same draws, and all of it is one batch.
    """
    images = torch.cat([*sets] * DRAWS)
    prompts = [*prompts] * (len(images) // len(prompts))
    purifying, drawing = (
        [start + draw + 100 * row for draw in range(DRAWS) for _ in sets for row in (0, 1)]
        for start in (100, 300)
    )
    purified = purify(pipeline, images, prompts, purifying, "diffpure", batch_size=len(images))
    target = load_target(pipeline, SETTINGS.target, *images.shape[2:])
    text = encode_prompts(pipeline, prompts)
    with torch.no_grad():
        values = objective_values(pipeline, purified, text, SETTINGS, target, drawing)
    return values.view(DRAWS, len(sets), -1).mean(dim=(0, 2))


def test_it_outlives_purification_within_its_budget(embedded, album):
    images, prompts = album.images, album.captions
    flags = [weight.requires_grad for weight in embedded.unet.parameters()]
    knowing = attack_purified(embedded, images, prompts, SETTINGS, SEEDS)
    assert flags == [weight.requires_grad for weight in embedded.unet.parameters()]
    assert 0 < (knowing - images).abs().max() <= 8 / 255 + 1e-6
    assert torch.equal((knowing * 255).round() / 255, knowing)
    plain = attack(embedded, images, prompts, SETTINGS, SEEDS)
    clean, unaware, aware = purified_objectives(embedded, (images, plain, knowing), prompts)
    assert clean < unaware < aware


def test_through_nothing_it_is_the_attack(pipeline, album, monkeypatch):
    monkeypatch.setattr(
        "lord.attacks.through_purifier.noise_and_denoise", lambda pipeline, x, *_, **__: x
    )
    knowing = attack_purified(pipeline, album.images, album.captions, SETTINGS, SEEDS)
    plain = attack(pipeline, album.images, album.captions, SETTINGS, SEEDS)
    assert torch.equal(knowing, plain)


def test_any_size_will_do(pipeline):
    images = torch.rand(1, 3, 31, 33, generator=torch.Generator().manual_seed(2))
    short = SETTINGS.model_copy(update={"steps": 1})
    attacked = attack_purified(pipeline, images, ["a portrait"], short, [1])
    assert attacked.shape == images.shape and not torch.equal(attacked, images)


def test_what_it_cannot_do_is_refused(pipeline, album):
    images, prompts = album.images, album.captions
    with pytest.raises(ValueError, match="surrogate"):
        attack_purified(pipeline, images, prompts, AttackSettings(), SEEDS)
    seen_small = SETTINGS.model_copy(update={"transformations": ("resize",)})
    with pytest.raises(ValueError, match="transformations"):
        attack_purified(pipeline, images, prompts, seen_small, SEEDS)
    with pytest.raises(ValueError, match="seeds"):
        attack_purified(pipeline, images, prompts, SETTINGS, SEEDS[:1])
