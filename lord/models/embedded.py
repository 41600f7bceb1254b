"""The architecture of the embedded model: a Stable Diffusion pipeline, only smaller."""

from collections import Counter
from itertools import pairwise

from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from pydantic import BaseModel, ConfigDict
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from lord.data.subjects import DOMAINS

# Words beyond the captions: the rare subject token, and the quality words of CLIP-IQA.
END_OF_WORD = "</w>"
EXTRA_WORDS = "sks place person good bad photo noisy clean blurry sharp natural artificial . ,"


class EmbeddedConfig(BaseModel):
    """Sizes of the embedded pipeline; the defaults are the shipped model."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    image_size: int = 64
    latent_channels: int = 4
    vae_channels: tuple[int, ...] = (32, 64, 96)
    unet_channels: tuple[int, ...] = (64, 96, 128)
    layers_per_block: int = 1
    attention_head_dim: int = 32
    norm_groups: int = 16
    text_width: int = 128
    text_layers: int = 2
    text_length: int = 40


# Random weights in a second and a sampling step in milliseconds: for tests.
TINY = EmbeddedConfig(
    image_size=32,
    vae_channels=(8, 16),
    unet_channels=(16, 32),
    attention_head_dim=8,
    norm_groups=8,
    text_width=32,
    text_layers=1,
)


def vocabulary() -> list[str]:
    """Every word that captions, prompts and quality phrases use."""
    words = set(EXTRA_WORDS.split()) | {"a", "of", "with", "in", "at", "skin", "hair", "sky"}
    for module in DOMAINS.values():
        for options in module.ATTRIBUTES.values():
            words.update(word for option in options for word in option.split())
        words.update(f"{module.CLASS_PROMPT} {module.SUBJECT_PROMPT}".split())
    return sorted(words | {"shirt", "wall", "light"})


def build_tokenizer(text_length: int = 40) -> CLIPTokenizer:
    """A CLIP tokenizer whose byte-pair merges make every word of the vocabulary one token.

    Other words still encode, letter by letter.
    """
    symbols = "abcdefghijklmnopqrstuvwxyz0123456789,.'-"
    merges = _byte_pair_merges(vocabulary())
    tokens = ["<|startoftext|>", "<|endoftext|>", *symbols]
    tokens += [f"{symbol}{END_OF_WORD}" for symbol in symbols]
    tokens += ["".join(pair) for pair in merges]
    vocab = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=text_length)


def forget_lengths(tokenizer: CLIPTokenizer) -> None:
    """Make a tokenizer as it was built, or its file would tell to what length it padded last.

    After a training that went on where it was killed, that may be none.
    """
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()


def _byte_pair_merges(words: list[str]) -> list[tuple[str, str]]:
    """Merge the commonest pair, ties in alphabetical order, until every word is one token.

    The trainer of the tokenizers library breaks ties differently in every process, and then no
    trained model could be trained again.
    """
    pieces = [[*word[:-1], word[-1] + END_OF_WORD] for word in words]
    merges = []
    while any(len(word) > 1 for word in pieces):
        counts = Counter(pair for word in pieces for pair in pairwise(word))
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        pieces = [_merge(word, best) for word in pieces]
    return merges


def _merge(word: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for piece in word:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged


def build_pipeline(config: EmbeddedConfig | None = None) -> StableDiffusionPipeline:
    """A pipeline of the given sizes with random weights (seed torch first), as stock parts."""
    config = config or EmbeddedConfig()
    tokenizer = build_tokenizer(config.text_length)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.text_width,
            intermediate_size=4 * config.text_width,
            num_hidden_layers=config.text_layers,
            num_attention_heads=config.text_width // 32,
            max_position_embeddings=config.text_length,
            projection_dim=config.text_width,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    vae_levels, unet_levels = len(config.vae_channels), len(config.unet_channels)
    vae = AutoencoderKL(
        latent_channels=config.latent_channels,
        block_out_channels=config.vae_channels,
        layers_per_block=config.layers_per_block,
        down_block_types=("DownEncoderBlock2D",) * vae_levels,
        up_block_types=("UpDecoderBlock2D",) * vae_levels,
        norm_num_groups=config.norm_groups,
        sample_size=config.image_size,
        mid_block_add_attention=False,
    )
    unet = UNet2DConditionModel(
        sample_size=config.image_size // 2 ** (vae_levels - 1),
        in_channels=config.latent_channels,
        out_channels=config.latent_channels,
        block_out_channels=config.unet_channels,
        layers_per_block=config.layers_per_block,
        down_block_types=("CrossAttnDownBlock2D",) * unet_levels,
        up_block_types=("CrossAttnUpBlock2D",) * unet_levels,
        cross_attention_dim=config.text_width,
        attention_head_dim=tuple(c // config.attention_head_dim for c in config.unet_channels),
        norm_num_groups=config.norm_groups,
    )
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
