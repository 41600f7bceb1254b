"""Variation in pixel space, and attacks on a model that has no encoder."""

import torch
from diffusers import DDIMScheduler
from helpers import PROMPTS, SEEDS, noise_images

from lord.attacks.components import attack_component
from lord.attacks.settings import AttackSettings
from lord.editing.editors import Editor, edit
from lord.editing.pixel import vary
from lord.editing.settings import EditSettings
from lord.models.pixel import load_ddpm
from lord.seeding import noise

HOW = EditSettings(steps=6, strength=0.5)


def test_it_is_sdedit_written_out(pixel_model):
    pipeline, images = load_ddpm(pixel_model, "cpu"), noise_images(8)
    sampler = DDIMScheduler.from_config(pipeline.scheduler.config)
    sampler.set_timesteps(6)
    alphas = sampler.alphas_cumprod
    times = sampler.timesteps[3:].tolist()
    eps = noise(SEEDS, (3, 8, 8))
    x = alphas[times[0]].sqrt() * (images * 2 - 1) + (1 - alphas[times[0]]).sqrt() * eps
    with torch.no_grad():
        for t in times:
            e = pipeline.unet(x, t).sample
            clean = (x - (1 - alphas[t]).sqrt() * e) / alphas[t].sqrt()
            before = t - 1000 // 6
            ahead = alphas[before] if before >= 0 else sampler.final_alpha_cumprod
            x = ahead.sqrt() * clean + (1 - ahead).sqrt() * e
        found = vary(pipeline, images, SEEDS, HOW)
    torch.testing.assert_close(found, (x / 2 + 0.5).clamp(0, 1), rtol=1e-4, atol=1e-4)


def test_pictures_of_any_size_are_attacked_through_the_resizing(pixel_model):
    editor, images = Editor("variation", load_ddpm(pixel_model, "cpu")), noise_images(16)
    settings = AttackSettings(component="*.residual", eps=8 / 255, step_size=2 / 255, steps=2)
    attacked = attack_component([editor], images, PROMPTS, settings, SEEDS, HOW)
    assert attacked.shape == images.shape
    assert 0 < (attacked - images).abs().max() <= 8 / 255 + 1e-6
    assert edit(editor, attacked, PROMPTS, SEEDS, HOW).shape == images.shape
