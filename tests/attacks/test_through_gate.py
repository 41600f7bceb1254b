"""The attack that keeps the gates shut, on a tiny defended pipeline."""

import pytest
import torch
from helpers import randomise

from lord.adapter import LordConfig, add_adapter, remove_adapters
from lord.attacks.pgd import attack
from lord.attacks.settings import AttackSettings
from lord.attacks.through_gate import attack_and_close
from lord.defences.audit import gate_scores

SEEDS, PROMPTS = [1, 2], ["a portrait", "a landscape"]
SETTINGS = AttackSettings(eps=8 / 255, step_size=2 / 255, steps=6, rounds=1, surrogate="none")


@pytest.fixture
def pipeline(own_pipeline):
    add_adapter(own_pipeline.unet, LordConfig(r=2, target_modules=["to_q", "to_v"]), "lord")
    randomise(own_pipeline.unet, scale=0.5)
    return own_pipeline


@pytest.fixture(scope="module")
def images():
    smooth = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    images = torch.nn.functional.interpolate(smooth, 32, mode="bilinear")
    return (images * 255).round() / 255


def test_it_shuts_the_gates_within_its_budget(pipeline, images):
    flags = [weight.requires_grad for weight in pipeline.unet.parameters()]
    closing = attack_and_close(pipeline, images, PROMPTS, SETTINGS, SEEDS, weight=100.0)
    plain = attack(pipeline, images, PROMPTS, SETTINGS, SEEDS)
    assert flags == [weight.requires_grad for weight in pipeline.unet.parameters()]
    assert 0 < (closing - images).abs().max() <= 8 / 255 + 1e-6
    assert torch.equal((closing * 255).round() / 255, closing)
    shut, open_ = (gate_scores(pipeline, x, PROMPTS, levels=4) for x in (closing, plain))
    before = gate_scores(pipeline, images, PROMPTS, levels=4)
    assert (shut < open_).all() and (shut < before).all()


def test_without_the_second_term_it_is_the_attack(pipeline, images):
    closing = attack_and_close(pipeline, images, PROMPTS, SETTINGS, SEEDS, weight=0.0)
    assert torch.equal(closing, attack(pipeline, images, PROMPTS, SETTINGS, SEEDS))


def test_an_image_may_have_any_size(pipeline):
    """The target is as large as the image that is continued to what the VAE takes."""
    images = torch.rand(1, 3, 33, 35, generator=torch.Generator().manual_seed(3))
    attacked = attack_and_close(pipeline, images, PROMPTS[:1], SETTINGS, SEEDS[:1])
    assert attacked.shape == images.shape and not torch.equal(attacked, images)


@pytest.mark.parametrize("change", [{"step_decay": True}, {"draws": 2}])
def test_every_setting_of_the_attack_counts(pipeline, images, change):
    changed = SETTINGS.model_copy(update=change)
    results = [attack_and_close(pipeline, images, PROMPTS, s, SEEDS) for s in (SETTINGS, changed)]
    assert not torch.equal(*results)


def test_bad_use_is_refused(pipeline, images):
    rounds = AttackSettings(method="ace")
    with pytest.raises(ValueError, match="surrogate"):
        attack_and_close(pipeline, images, PROMPTS, rounds, SEEDS)
    remove_adapters(pipeline.unet)
    with pytest.raises(ValueError, match="no LoRD adapter"):
        attack_and_close(pipeline, images, PROMPTS, SETTINGS, SEEDS)
