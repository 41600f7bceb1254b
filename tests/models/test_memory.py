"""Sparing memory changes numbers by rounding at most."""

import copy

import pytest
import torch
from diffusers import StableDiffusionPipeline
from helpers import PROMPTS, SEEDS, noise_images, quick_attack

from lord.adapter import adapter_tensors
from lord.attacks.components import attack_component
from lord.attacks.pgd import attack
from lord.attacks.settings import AttackSettings
from lord.attacks.surrogates import copy_of, make_surrogate
from lord.defences.audit import gate_scores
from lord.defences.settings import Stage1Settings
from lord.defences.stage1 import train_defence
from lord.editing.editors import make_editor
from lord.models.memory import spare_memory, spares_memory
from lord.models.sample import generate
from lord.purifiers.methods import purify
from lord.training.lora import finetune
from lord.training.settings import FinetuneSettings


@pytest.fixture
def two(pipeline):
    """A pipeline that does not spare memory, and one of the same weights that does."""
    found = []
    for spare in (False, True):
        parts = {name: copy.deepcopy(pipeline.components[name]) for name in ("unet", "vae")}
        own = StableDiffusionPipeline(**pipeline.components | parts, requires_safety_checker=False)
        own.set_progress_bar_config(disable=True)
        if spare:
            spare_memory(own)
        assert spares_memory(own) == spare
        found.append(own)
    return found


def close(values):
    torch.testing.assert_close(*values, atol=2e-5, rtol=2e-3)


@pytest.mark.parametrize("method", ["ace", "diffusion"])
def test_the_gradient_of_an_attack_is_the_same(two, method):
    images, settings = noise_images(), quick_attack(method, steps=1, rounds=1)
    attacked = [attack(own, images, PROMPTS, settings, SEEDS) for own in two]
    assert (attacked[0] == attacked[1]).float().mean() > 0.999  # the sign of nearly no gradient


def test_a_component_is_attacked_alike(two):
    settings = AttackSettings(component="mid", steps=1)
    images = noise_images()
    attacked = [
        attack_component([make_editor("variation", own)], images, PROMPTS, settings, SEEDS)
        for own in two
    ]
    assert (attacked[0] == attacked[1]).float().mean() > 0.999


@pytest.mark.parametrize("gate", ["sample", "timestep"])
def test_adapters_learn_the_same(two, gate):
    images = noise_images()
    few = {"steps": 2, "batch_size": 2, "learning_rate": 1e-3}
    learned, scores, lora = [], [], []
    for own in two:
        train_defence(own, images, images.flip(3), PROMPTS, Stage1Settings(gate=gate, **few))
        learned.append(torch.cat([t.flatten() for t in adapter_tensors(own.unet, "lord").values()]))
        scores.append(gate_scores(own, images, PROMPTS, levels=2))
        lora.append(finetune(own, images, PROMPTS, FinetuneSettings(**few))["loss"])
    close(learned)
    close(scores)
    close([torch.tensor(losses) for losses in lora])


def test_pictures_are_drawn_and_purified_alike(two):
    close([generate(own, "a portrait", [1, 2], steps=2) for own in two])
    close([purify(own, noise_images(), PROMPTS, SEEDS, "diffpure") for own in two])


def test_a_surrogate_takes_the_memory_of_its_lora_alone(own_pipeline):
    def places(unet):
        return {weight.data_ptr() for weight in unet.parameters()}

    unet = own_pipeline.unet
    surrogate = make_surrogate(unet, rank=2)
    clone = copy_of(surrogate)
    lora = [n for n, _ in surrogate.named_parameters() if ".surrogate." in n]
    assert len(places(surrogate) - places(unet)) == len(lora)
    assert len(places(clone) - places(surrogate)) == len(lora)
    assert all(weight.requires_grad for weight in unet.parameters())  # as before


def test_a_gradient_is_not_kept_for_later(two):
    """What checkpointing promises: fewer numbers lie in the graph."""
    kept = []
    for own in two:
        latents = torch.randn(1, 4, 16, 16, requires_grad=True)
        text = torch.randn(1, 7, own.unet.config.cross_attention_dim)
        sizes = []

        def pack(tensor, sizes=sizes):
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            own.unet(latents, 5, text).sample.sum()
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 2
