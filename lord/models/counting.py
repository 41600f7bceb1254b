"""The memory that a model would take on a card, counted without a card and without its weights.

Tensors of torch's ``meta`` device have a shape and no contents. A pipeline of such tensors runs
through the very functions that a real one does, and every tensor's bytes are counted from its
birth to its end. What is counted is the tensors of the model: the CUDA context, the work space of
kernels, and what the allocator holds in reserve come on top, about a gigabyte together.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from unittest import mock

import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lord.models.diffusion import Pipeline
from lord.models.embedded import build_pipeline, build_tokenizer
from lord.models.pipeline import networks

CARD = torch.device("meta")

SD15 = {
    "unet": {
        "sample_size": 64,
        "block_out_channels": (320, 640, 1280, 1280),
        "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
        "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
        "layers_per_block": 2,
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
    },
    "vae": {
        "sample_size": 512,
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
        "latent_channels": 4,
    },
    "text_encoder": {
        "vocab_size": 49408,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 77,
    },
}
"""The sizes of Stable Diffusion 1.5: a U-Net of 860 million weights."""

SDXL = {
    "unet": {
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", *("CrossAttnDownBlock2D",) * 2),
        "up_block_types": (*("CrossAttnUpBlock2D",) * 2, "UpBlock2D"),
        "layers_per_block": 2,
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
    "vae": SD15["vae"] | {"sample_size": 1024, "force_upcast": True},
    "text_encoder": SD15["text_encoder"],
    "text_encoder_2": SD15["text_encoder"]
    | {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 20,
        "projection_dim": 1280,
    },
}
"""The sizes of Stable Diffusion XL: a U-Net of 2567 million weights."""

SIZES = {"sd15": SD15, "sdxl": SDXL}


def build_shape(shape: str) -> Pipeline:
    """A pipeline of a shape on the card, frozen, in half precision.

    The autoencoder of SDXL is in single precision, as it overflows in half.

    Args:
        shape: "embedded", or one of `lord.names.SHAPES`.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    try:
        with CARD:
            pipeline = build_pipeline() if shape == "embedded" else _build(SIZES[shape])
    finally:
        torch.set_default_dtype(before)
    if pipeline.vae.config.force_upcast and shape == "sdxl":
        pipeline.vae.float()
    for network in networks(pipeline):
        network.requires_grad_(False).eval()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _build(sizes: dict[str, dict[str, Any]]) -> Pipeline:
    with torch.device("cpu"):
        schedule = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
        scheduler = DDIMScheduler(
            **schedule, steps_offset=1, set_alpha_to_one=False, clip_sample=False
        )
    tokenizer = build_tokenizer(sizes["text_encoder"]["max_position_embeddings"])
    parts = {
        "vae": AutoencoderKL(**sizes["vae"]),
        "text_encoder": CLIPTextModel(CLIPTextConfig(**sizes["text_encoder"])),
        "tokenizer": tokenizer,
        "unet": UNet2DConditionModel(**sizes["unet"]),
        "scheduler": scheduler,
    }
    if "text_encoder_2" in sizes:
        second = CLIPTextModelWithProjection(CLIPTextConfig(**sizes["text_encoder_2"]))
        return StableDiffusionXLPipeline(
            **parts, text_encoder_2=second, tokenizer_2=tokenizer, add_watermarker=False
        )
    return StableDiffusionPipeline(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )


def counted_peak(
    pipeline: Pipeline, run: Callable[[], object], mixed_precision: bool = False
) -> int:
    """The most bytes on the card at a time while something runs, the weights among them.

    Args:
        pipeline: from `build_shape`, which ``run`` uses.
        mixed_precision: whether it trains, which on a card is done in mixed precision.
    """
    with _as_on_a_card(mixed_precision), Counter() as counter:
        for network in networks(pipeline):
            for tensor in network.state_dict(keep_vars=True).values():
                counter.note(tensor)
        run()
    return counter.peak


class Counter(TorchDispatchMode):
    """Counts the bytes of the tensors on a device, those alive and the most there were.

    On the ``meta`` device, where no tensor has contents, it answers for them: every number that is
    asked for is 1 and every truth True, as if all were well; what is copied to the CPU has shape
    and type, and is 0.

    Attributes:
        live, peak: bytes.
    """

    _made: ClassVar[dict[Any, tuple[bool, list[Any]]]] = {}  # of all counters together

    def __init__(self, device: torch.device = CARD) -> None:
        super().__init__()
        self.device = device
        self.live = self.peak = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def note(self, tensor: Tensor) -> None:
        """Count a tensor until it is gone, unless it shares its memory with one that is known."""
        storage = tensor.untyped_storage()
        if tensor.device.type != self.device.type or storage in self._known:
            return
        self._known.add(storage)
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, storage.nbytes())

    def _forget(self, size: int) -> None:
        self.live -= size

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Run an operation and count what is new in its result."""
        kwargs = kwargs or {}
        if torch.is_inference_mode_enabled():  # where operations of several parts come as one
            with self:
                result = function.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        first = args[0] if args else None
        if isinstance(first, Tensor) and first.is_meta:
            if function is torch.ops.aten._local_scalar_dense.default:
                return torch.ones((), dtype=first.dtype, device="cpu").item()
            if function is torch.ops.aten.equal.default:
                return False
            if function is torch.ops.aten._to_copy.default and _goes_to_cpu(kwargs):
                kept = {name: kwargs[name] for name in ("dtype", "device") if name in kwargs}
                return torch.zeros(first.shape, **{"dtype": first.dtype} | kept)
        result = self._result(function, args, kwargs)
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.note(leaf)
        return result

    def _result(self, function: Any, args: tuple, kwargs: dict) -> Any:
        """What an operation gives; what it has given to the like before is made without it.

        On the ``meta`` device torch works shapes out in Python, again and again the same ones.
        """
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        plain = given and all(tensor.is_meta for tensor in given)
        if not plain or any(argument.alias_info for argument in function._schema.arguments):
            return function(*args, **kwargs)
        key = (function, *map(_described, tree_leaves((args, kwargs))))
        if key not in self._made:
            result = function(*args, **kwargs)
            storages = [tensor.untyped_storage() for tensor in given]
            made = result if isinstance(result, tuple) else (result,)
            if all(_is_new(one, storages) for one in made):
                self._made[key] = isinstance(result, tuple), [_described(one) for one in made]
            return result
        several, made = self._made[key]
        again = [
            torch.empty_strided(shape, stride, dtype=dtype, device="meta")
            for shape, stride, dtype in made
        ]
        return tuple(again) if several else again[0]


def _described(value: Any) -> Any:
    """All that the shape of a result depends on."""
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype
    return type(value), value


def _is_new(value: Any, others: list[torch.UntypedStorage]) -> bool:
    """Whether it is a tensor of this device that shares its memory with none of the others."""
    return isinstance(value, Tensor) and value.is_meta and value.untyped_storage() not in others


def _goes_to_cpu(options: dict[str, Any]) -> bool:
    device = options.get("device")
    return device is not None and torch.device(device).type == "cpu"


@contextmanager
def _as_on_a_card(mixed_precision: bool) -> Iterator[None]:
    """Let attention and, on request, mixed precision take the memory that they take with CUDA.

    There a kernel of its own computes attention without holding its matrix. Of mixed precision,
    norms are computed in single precision and products in half.
    """
    attention, halves = F.scaled_dot_product_attention, torch.float16

    def fused(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, **_):
        if not query.is_meta:
            return attention(query, key, value, attn_mask, dropout_p, is_causal, scale=scale)
        if mixed_precision:
            query, key, value = (tensor.to(halves) for tensor in (query, key, value))
        if attn_mask is not None:
            shape = (*query.shape[:3], key.shape[2])
            attn_mask = torch.empty(shape, dtype=query.dtype, device=query.device)
        kernel = torch.ops.aten._scaled_dot_product_efficient_attention
        return kernel(query, key, value, attn_mask, True, dropout_p, is_causal, scale=scale)[0]

    changed = {"scaled_dot_product_attention": fused}
    if mixed_precision:
        for name in ("linear", "conv2d"):
            changed[name] = _in(halves, getattr(F, name))
        for name in ("group_norm", "layer_norm"):
            changed[name] = _in(torch.float32, getattr(F, name))
    with mock.patch.multiple(F, **changed):
        yield


def _in(dtype: torch.dtype, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function in another precision, as autocast computes it."""

    def cast(value: Any) -> Any:
        floating = isinstance(value, Tensor) and value.is_floating_point()
        return value.to(dtype) if floating else value

    def computed(*args: Any, **kwargs: Any) -> Tensor:
        return function(*map(cast, args), **{name: cast(v) for name, v in kwargs.items()})

    return computed
