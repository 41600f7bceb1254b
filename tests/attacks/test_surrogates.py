"""Models that an attack teaches while it attacks."""

import pytest
import torch
from helpers import PROMPTS, SEEDS, noise_images, quick_attack
from peft import LoraConfig

from lord.adapter import LordConfig, add_adapter
from lord.attacks import surrogates
from lord.attacks.objectives import advdm, make_draw
from lord.attacks.pgd import attack
from lord.models.pipeline import encode_prompts


@pytest.fixture(scope="module")
def images():
    return noise_images()


@pytest.mark.parametrize("state", ["none", "active", "scaled", "disabled", "merged", "lord"])
def test_fresh_surrogate_predicts_what_the_unet_predicts(own_pipeline, state):
    unet = own_pipeline.unet
    if state == "lord":
        add_adapter(unet, LordConfig(r=2, target_modules=["to_q"]), "lord")
        with torch.no_grad():
            for name, weight in unet.named_parameters():
                if "lora_" in name:
                    weight.normal_(std=0.5)
    elif state != "none":
        config = LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False)
        unet.add_adapter(config, "mine")
    if state == "scaled":
        unet.set_adapters("mine", 0.3)
    if state == "disabled":
        unet.disable_adapters()
    if state == "merged":
        unet.fuse_lora()
    surrogate = surrogates.make_surrogate(unet, rank=4)
    latents = torch.randn(2, 4, 16, 16)
    text = torch.randn(2, 7, unet.config.cross_attention_dim)
    t = torch.tensor([10, 700])
    with torch.no_grad():
        expected = unet(latents, t, text).sample
        torch.testing.assert_close(surrogate(latents, t, text).sample, expected)
        for name, weight in surrogate.named_parameters():
            if ".lora_B.surrogate." in name:
                weight.fill_(0.1)
        assert not torch.allclose(surrogate(latents, t, text).sample, expected, atol=1e-4)


def test_surrogate_learns_the_images_and_changes_the_attack(pipeline, images):
    settings = quick_attack(rounds=2, surrogate_steps=6, surrogate_learning_rate=2e-2)
    text = encode_prompts(pipeline, PROMPTS)
    surrogate = surrogates.make_surrogate(pipeline.unet, rank=4)

    def loss():
        with torch.no_grad():
            return advdm(make_draw(pipeline, images, text, SEEDS, surrogate)).mean()

    before = loss()
    surrogates.train_surrogate(pipeline, surrogate, images, text, settings, SEEDS, "test")
    assert loss() < before
    assert not any(weight.requires_grad for weight in surrogate.parameters())
    learned = dict(surrogate.named_parameters())
    assert all(
        torch.equal(learned[name], weight)
        for name, weight in pipeline.unet.named_parameters()
        if name in learned
    )
    two_rounds = attack(pipeline, images, PROMPTS, settings, SEEDS)
    one_round = attack(pipeline, images, PROMPTS, quick_attack(steps=6, rounds=1), SEEDS)
    assert not torch.equal(two_rounds, one_round)


def test_metacloak_attacks_clones_of_a_surrogate_on_its_way(pipeline, images, monkeypatch):
    """Round by round: the surrogate learns clean images, its clone the attacked ones."""
    lessons = []

    def note(pipeline, surrogate, seen, text, settings, seeds, purpose):
        lessons.append((id(surrogate), purpose, torch.equal(seen, images)))

    monkeypatch.setattr(surrogates, "train_surrogate", note)
    settings = quick_attack("metacloak", rounds=3)
    rounds = surrogates.victims(pipeline, images, images / 2, None, settings, SEEDS)
    attacked = [id(victim) for victim in rounds]
    assert [(purpose, clean) for _, purpose, clean in lessons] == [
        ("attacked 0", False),
        ("clean 1", True),
        ("attacked 1", False),
        ("clean 2", True),
        ("attacked 2", False),
    ]
    clones = [who for who, purpose, _ in lessons if "attacked" in purpose]
    assert attacked == clones
    (surrogate,) = {who for who, purpose, _ in lessons if "clean" in purpose}
    assert surrogate not in clones


def test_metacloak_is_bound_to_its_surrogate_and_transforms():
    settings = quick_attack("metacloak")
    assert settings.surrogate == "staggered" and settings.together
    assert settings.transformations == ("resize", "flip", "blur")
    with pytest.raises(ValueError, match="metacloak without 'staggered' would be AdvDM"):
        quick_attack("metacloak", surrogate="cloned")
