"""The whole way from attack to samples on pipelines of the shapes people download.

Random weights, so nothing here says how good a defence is: only that it fits, acts and comes back
from disk.
"""

import pytest
import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from lord.api import fine_tune
from lord.attacks.pgd import attack
from lord.attacks.settings import AttackSettings
from lord.data.subjects import Subject
from lord.defences.saved import load_defence, save_defence
from lord.defences.settings import Stage1Settings
from lord.defences.stage1 import train_defence
from lord.defences.treatments import apply_treatment
from lord.models.embedded import build_tokenizer
from lord.models.pipeline import load_pipeline
from lord.models.sample import generate
from lord.study.profile import load_profile
from lord.training.lora import remove_adapters
from lord.training.lora_file import load_lora, save_lora
from lord.training.settings import FinetuneSettings

SIZE = 64
# What tells the U-Nets of these versions of Stable Diffusion apart, beside their widths.
SHAPES = {
    "1.5": {"attention_head_dim": 8},
    "2.1-base": {"attention_head_dim": (2, 4, 4, 4), "use_linear_projection": True},
}
# Their schedule; the sampler of this package, another one, takes over what it knows of it.
SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
}


@pytest.fixture(scope="module", params=SHAPES)
def folder(request, tmp_path_factory):
    """A pipeline in the shape of Stable Diffusion, with narrow layers, saved as the hub has it."""
    torch.manual_seed(0)
    attention, plain = ["CrossAttnDownBlock2D"] * 3, ["UpBlock2D"]
    unet = UNet2DConditionModel(
        sample_size=SIZE // 8,
        block_out_channels=(32, 64, 64, 64),
        layers_per_block=2,
        down_block_types=(*attention, "DownBlock2D"),
        up_block_types=(*plain, *["CrossAttnUpBlock2D"] * 3),
        cross_attention_dim=32,
        norm_num_groups=8,
        **SHAPES[request.param],
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=SIZE,
    )
    tokenizer = build_tokenizer(77)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=PNDMScheduler.from_config(SCHEDULER),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    path = tmp_path_factory.mktemp("hub") / "model"
    pipeline.save_pretrained(path, safe_serialization=True)
    return path


def test_attack_defend_fine_tune_and_sample(folder, tmp_path):
    pipeline = load_pipeline(folder)
    subject = Subject("portraits", "evaluation", 0)
    photographs = subject.photographs(2, SIZE).images
    captions, seeds = [subject.prompt] * 2, [0, 1]
    settings = AttackSettings(method="ace", steps=1, rounds=1, surrogate="none")
    attacked = attack(pipeline, photographs, captions, settings, seeds)
    assert attacked.shape == photographs.shape and not torch.equal(attacked, photographs)

    targets = load_profile("sd15")["lord"].wide.target_modules  # attention is among them
    stage1 = Stage1Settings(steps=1, batch_size=2, target_modules=targets)
    train_defence(pipeline, photographs, attacked, captions, stage1)
    defence = save_defence(pipeline, tmp_path)
    fine_tune(
        pipeline, attacked, captions, FinetuneSettings(steps=1, batch_size=2), defence=defence
    )
    lora = save_lora(pipeline, tmp_path)
    samples = {}
    for treatment in ("learned", "lambda=1", "merged", "dropped"):
        apply_treatment(pipeline, treatment)
        samples[treatment] = generate(pipeline, captions, seeds, steps=2)
    remove_adapters(pipeline)
    samples["base"] = generate(pipeline, captions, seeds, steps=2)
    assert all(s.shape == photographs.shape and s.isfinite().all() for s in samples.values())
    torch.testing.assert_close(samples["merged"], samples["lambda=1"], rtol=0, atol=1e-4)
    names = ("learned", "lambda=1", "dropped", "base")
    distinct = torch.stack([samples[name] for name in names]).flatten(1).unique(dim=0)
    assert len(distinct) == len(names)

    again = load_pipeline(folder)
    load_defence(again, defence)
    load_lora(again, lora)
    assert torch.equal(generate(again, captions, seeds, steps=2), samples["learned"])
