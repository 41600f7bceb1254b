"""Stock pipelines that edit: the same pictures as stock calls, one noise for each seed."""

import pytest
import torch
from diffusers import DDIMScheduler
from helpers import PROMPTS, SEEDS, noise_images
from topologies import build

from lord.editing.adaptation import widened
from lord.editing.editors import edit, make_editor, make_request, run
from lord.editing.masks import shape_mask
from lord.editing.settings import EditSettings
from lord.models.pipeline import encode_images
from lord.names import SCHEDULERS, TASKS

HOW = EditSettings(steps=4, strength=0.5, guidance_scale=3.0)


def editor_of(pipeline, task, scheduler="ddim"):
    wide = task in ("inpainting", "super-resolution")
    return make_editor(task, pipeline, widened(pipeline.unet, task) if wide else None, scheduler)


def masks_for(images):
    return torch.stack([shape_mask(seed, *images.shape[2:]) for seed in SEEDS])


@pytest.mark.parametrize("task", TASKS)
def test_every_task_edits_and_an_edit_depends_on_its_seed_alone(pipeline, task):
    images = noise_images(16)
    small = task == "super-resolution"
    editor, masks = editor_of(pipeline, task), masks_for(images)
    edited = edit(editor, images, PROMPTS, SEEDS, HOW, masks)
    assert edited.shape == ((3, 3, 32, 32) if small else images.shape)
    assert torch.equal(edited, edited.clamp(0, 1))
    alone = edit(editor, images[1:2], PROMPTS[1:2], SEEDS[1:2], HOW, masks[1:2], batch_size=1)
    assert torch.allclose(alone, edited[1:2], atol=1e-4)
    other = edit(editor, images, PROMPTS, [seed + 1 for seed in SEEDS], HOW, masks)
    assert torch.equal(other, edited) == (task == "reconstruction")


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_gradients_flow_and_change_nothing(pipeline, scheduler):
    images = noise_images(16)
    editor = editor_of(pipeline, "variation", scheduler)
    request = make_request(editor, PROMPTS, SEEDS)
    seen = images.clone().requires_grad_()
    edited = run(editor, seen, request, HOW)
    gradient = torch.autograd.grad(edited.sum(), seen)[0]
    assert gradient.abs().amax(dim=(1, 2, 3)).min() > 0
    assert torch.allclose(edited, edit(editor, images, PROMPTS, SEEDS, HOW), atol=1e-5)


@pytest.mark.parametrize("topology", ["sd1", "sdxl"])
def test_variation_is_sdedit_written_out(topology):
    """Noise to strength, then DDIM with guidance, step by step."""
    pipeline, images = build(topology).to(torch.float64), noise_images(32).double()
    editor = make_editor("variation", pipeline)
    request = make_request(editor, PROMPTS, SEEDS)
    sampler = DDIMScheduler.from_config(pipeline.scheduler.config)
    sampler.set_timesteps(HOW.steps)
    times = sampler.timesteps[2:]
    with torch.no_grad():
        z = encode_images(pipeline, images)
        draws = [torch.Generator().manual_seed(seed) for seed in SEEDS]
        shape = (1, *z.shape[1:])
        noise = torch.cat([torch.randn(shape, generator=g, dtype=z.dtype) for g in draws])
        x = sampler.add_noise(z, noise, times[:1])
        for time in times:
            without, with_text = (
                pipeline.unet(x, time, told.text, **told.options(x)).sample
                for told in (request.empty.expand(len(x)), request.prompts)
            )
            guided = without + HOW.guidance_scale * (with_text - without)
            x = sampler.step(guided, time, x).prev_sample
        decoded = pipeline.vae.decode(x / pipeline.vae.config.scaling_factor).sample / 2 + 0.5
        found = run(editor, images, request, HOW)
    torch.testing.assert_close(found.float(), decoded.clamp(0, 1).float(), rtol=1e-4, atol=1e-5)
    seen = images.clone().requires_grad_()
    gradient = torch.autograd.grad(run(editor, seen, request, HOW).sum(), seen)[0]
    assert gradient.abs().amax(dim=(1, 2, 3)).min() > 0


def test_latents_are_taken_as_they_are(pipeline):
    images = noise_images(16)
    editor = make_editor("variation", pipeline)
    request = make_request(editor, PROMPTS, SEEDS)
    with torch.no_grad():
        latents = encode_images(pipeline, images)
        assert torch.equal(run(editor, latents, request, HOW), run(editor, images, request, HOW))
    found = [edit(editor, x, PROMPTS, SEEDS, HOW) for x in (latents, images)]
    assert torch.equal(*found)
    with pytest.raises(ValueError, match="expected floats of shape"):
        edit(editor, images[:, :1], PROMPTS, SEEDS, HOW)


def test_inpainting_sees_nothing_under_the_mask(pipeline):
    images = noise_images(16)
    editor, masks = editor_of(pipeline, "inpainting"), masks_for(images)
    other = images + masks * (noise_images(16, seed=9) - images)
    one, two = (edit(editor, x, PROMPTS, SEEDS, HOW, masks) for x in (images, other))
    assert torch.equal(one, two)


def test_the_autoencoder_keeps_its_scaling_factor(pipeline):
    before = pipeline.vae.config.scaling_factor
    editor = editor_of(pipeline, "super-resolution")
    assert pipeline.vae.config.scaling_factor == before
    assert editor.pipeline.vae is pipeline.vae


def test_bad_use_is_refused(pipeline):
    images = noise_images(16)
    with pytest.raises(ValueError, match="unknown task 'colour': choose one of variation"):
        make_editor("colour", pipeline)
    with pytest.raises(ValueError, match=r"inpainting: of Stable Diffusion 1\.x and"):
        make_editor("inpainting", build("sdxl"))
    with pytest.raises(ValueError, match="inpainting needs a U-Net of 9 channels, not 4"):
        make_editor("inpainting", pipeline)
    with pytest.raises(ValueError, match="needs masks"):
        edit(editor_of(pipeline, "inpainting"), images, PROMPTS, SEEDS, HOW)
    with pytest.raises(ValueError, match="one each"):
        edit(editor_of(pipeline, "variation"), images, PROMPTS[:2], SEEDS, HOW)
