"""Tiny pipelines of every supported topology, with random weights.

Each is built in a second and saved as the hub has it.
"""

import json
from pathlib import Path

import torch
from diffusers import (
    DDIMScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from lord.models.embedded import TINY, build_pipeline

VELOCITY = {"prediction_type": "v_prediction"}
ZERO_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}

TOPOLOGIES = ("sd1", "sd1-v", "sd1-zero-snr", "sd2", "sdxl")


def build(topology: str) -> StableDiffusionPipeline | StableDiffusionXLPipeline:
    """A pipeline for pictures of 32 x 32 pixels, the same at every call."""
    torch.manual_seed(0)
    pipeline = build_pipeline(TINY)
    schedule = dict(pipeline.scheduler.config)
    if topology == "sd1":
        pipeline.scheduler = PNDMScheduler.from_config(schedule, skip_prk_steps=True)
    elif topology == "sd1-v":
        pipeline.scheduler = DDIMScheduler.from_config(schedule, **VELOCITY)
    elif topology == "sd1-zero-snr":
        pipeline.scheduler = DDIMScheduler.from_config(schedule, **VELOCITY, **ZERO_SNR)
    elif topology == "sd2":
        pipeline.scheduler = DDIMScheduler.from_config(schedule, **VELOCITY)
        unet = {"use_linear_projection": True, "attention_head_dim": (1, 2)}
        pipeline.unet = build_unet(pipeline.unet, **unet)
    else:
        return build_xl(pipeline)
    return pipeline


def build_unet(unet: UNet2DConditionModel, **changes: object) -> UNet2DConditionModel:
    """A U-Net with new weights and the settings of another, but for some."""
    settings = {name: value for name, value in unet.config.items() if not name.startswith("_")}
    return UNet2DConditionModel(**settings | changes)


def build_xl(pipeline: StableDiffusionPipeline) -> StableDiffusionXLPipeline:
    """SDXL: a second, wider text encoder with a pooled embedding, and a U-Net told of sizes."""
    width, pooled, sizes = TINY.text_width, 48, 8
    second = CLIPTextConfig(
        vocab_size=len(pipeline.tokenizer),
        hidden_size=2 * width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TINY.text_length,
        projection_dim=pooled,
        bos_token_id=pipeline.tokenizer.bos_token_id,
        eos_token_id=pipeline.tokenizer.eos_token_id,
        pad_token_id=pipeline.tokenizer.pad_token_id,
    )
    unet = build_unet(
        pipeline.unet,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        cross_attention_dim=3 * width,
        addition_embed_type="text_time",
        addition_time_embed_dim=sizes,
        projection_class_embeddings_input_dim=pooled + 6 * sizes,
    )
    pipeline.vae.register_to_config(force_upcast=True)
    return StableDiffusionXLPipeline(
        vae=pipeline.vae,
        text_encoder=pipeline.text_encoder,
        text_encoder_2=CLIPTextModelWithProjection(second),
        tokenizer=pipeline.tokenizer,
        tokenizer_2=pipeline.tokenizer,
        unet=unet,
        scheduler=pipeline.scheduler,
        add_watermarker=False,
    )


def change_json(path: Path, **changes: object) -> None:
    """Change some entries of a file of settings."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
