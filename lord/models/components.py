"""The components of a latent diffusion model by name, and their features, caught by hooks.

Names follow the data: ``encoder``, ``quant_conv``, the denoiser from ``conv_in`` over ``down.0.…``,
``mid.…`` and ``up.0.…`` to ``conv_out``, ``post_quant_conv``, ``decoder``. Within a block of the
denoiser there are ``residual``, ``attention.self``, ``attention.cross`` and ``feed_forward``. A
beginning of names stands for all of them, such as ``up.2.attention`` or ``up``, and so does a
pattern, such as ``*.residual``.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from diffusers import DiffusionPipeline
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from lord.models.source import (
    NETWORKS,
    SECOND,
    UNLOADABLE,
    check_finite,
    check_weights,
    find_source,
    unloadable,
)

DENOISERS = ("unet", "transformer", "prior")
AUTOENCODERS = ("vae", "vqvae", "movq")

KINDS = ("residual", "attention.self", "attention.cross", "feed_forward")
"""What the blocks of a denoiser are made of, in the order of the data."""

WHOLE = {*NETWORKS.values(), *SECOND.values(), "UNet2DModel"}
"""Parts of which every weight has a name of its own, so that a missing one is noticed."""


def components(pipeline: DiffusionPipeline) -> dict[str, list[nn.Module]]:
    """The components of a pipeline by name, in the order of the data, each with its modules.

    Models in pixel space have no autoencoder, and so fewer components.

    Raises:
        ValueError: the pipeline has no denoiser among its parts.
    """
    denoiser, autoencoder = part_of(pipeline, DENOISERS), part_of(pipeline, AUTOENCODERS)
    if denoiser is None:
        raise ValueError(f"{type(pipeline).__name__}: none of its parts is a denoiser")
    found: dict[str, list[nn.Module]] = {}
    for name in ("encoder", "quant_conv"):
        _add(found, name, getattr(autoencoder, name, None))
    _add(found, "conv_in", getattr(denoiser, "conv_in", None))
    for stage, block in _stages(denoiser):
        inside = sorted(_inside(block), key=lambda pair: KINDS.index(pair[0]))
        for kind, module in inside:
            _add(found, f"{stage}.{kind}", module)
    _add(found, "conv_out", getattr(denoiser, "conv_out", None))
    for name in ("post_quant_conv", "decoder"):
        _add(found, name, getattr(autoencoder, name, None))
    return found


def load_any(model: str | Path) -> DiffusionPipeline:
    """Load a pipeline of any kind, on the CPU: ``"embedded"``, a diffusers folder, or a hub model.

    Raises:
        FileNotFoundError: ``model`` is a path without a pipeline.
        OSError: the hub model cannot be reached or does not exist.
        ValueError: it is no pipeline that diffusers knows, or a part of it is broken.
    """
    source = find_source(model)
    source.check_settings()
    try:
        pipeline = DiffusionPipeline.from_pretrained(
            source.location,
            use_safetensors=True,
            revision=source.revision,
            variant=source.variant,
        )
    except UNLOADABLE as error:
        raise unloadable(source.name, error) from error
    for part, network in pipeline.components.items():
        if type(network).__name__ in WHOLE:
            check_weights(source.folder / part, network, source.variant)
        elif isinstance(network, nn.Module):
            check_finite(network, str(source.folder / part))
    return pipeline


def part_of(pipeline: DiffusionPipeline, names: Sequence[str]) -> nn.Module | None:
    """The first of the named parts that a pipeline has."""
    parts = (getattr(pipeline, name, None) for name in names)
    return next((part for part in parts if isinstance(part, nn.Module)), None)


def select(pipeline: DiffusionPipeline, asked: str) -> dict[str, list[nn.Module]]:
    """The components that a name, a beginning of names or a pattern stands for.

    Raises:
        ValueError: it stands for none; the message lists what there is.
    """
    there = components(pipeline)
    found = {name: there[name] for name in matching(there, asked)}
    if not found:
        raise ValueError(f"component {asked!r}: there is none; choose of {', '.join(there)}")
    return found


def modules_of(pipeline: DiffusionPipeline, asked: str) -> list[nn.Module]:
    """The modules of all components that `select` finds.

    Raises:
        ValueError: as `select`.
    """
    return [module for modules in select(pipeline, asked).values() for module in modules]


def matching(names: Iterable[str], asked: str) -> list[str]:
    """Those of the names that ``asked`` stands for."""
    return [name for name in names if name.startswith(f"{asked}.") or fnmatchcase(name, asked)]


def catch(
    modules: Sequence[nn.Module], run: Callable[[], object], calls: int | None = None
) -> list[Tensor]:
    """What modules put out while something runs, one tensor for every call, in the order of calls.

    The hooks are gone afterwards, whatever happens.

    Args:
        calls: the run is broken off after so many calls, as nothing later is wanted.
    """
    found: list[Tensor] = []

    def keep(module: nn.Module, inputs: object, output: object) -> None:
        found.append(_tensor(output))
        if len(found) == calls:
            raise _Enough

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        run()
    except _Enough:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return found


class _Enough(Exception):
    """All that was wanted of a run is there."""


def _tensor(output: object) -> Tensor:
    """The tensor that a module puts out, which some wrap."""
    while not isinstance(output, Tensor):
        output = output[0]
    return output


def _add(found: dict[str, list[nn.Module]], name: str, module: nn.Module | None) -> None:
    if isinstance(module, nn.Module):
        found.setdefault(name, []).append(module)


def _stages(denoiser: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The blocks of a U-Net or of a transformer, with names."""
    for stage, name in (
        ("down", "down_blocks"),
        ("mid", "mid_block"),
        ("up", "up_blocks"),
        ("block", "transformer_blocks"),
        ("single", "single_transformer_blocks"),
    ):
        blocks = getattr(denoiser, name, None)
        if isinstance(blocks, nn.ModuleList):
            yield from ((f"{stage}.{k}", block) for k, block in enumerate(blocks))
        elif isinstance(blocks, nn.Module):
            yield stage, blocks


def _inside(block: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """What a block of the denoiser is made of, each part with what it is."""
    for name, module in block.named_modules():
        if isinstance(module, ResnetBlock2D):
            yield "residual", module
        elif isinstance(module, Attention):
            yield f"attention.{'cross' if module.is_cross_attention else 'self'}", module
        elif name.rpartition(".")[2] in ("ff", "mlp"):
            yield "feed_forward", module


def parameters_of(modules: Sequence[nn.Module]) -> int:
    """The number of weights of some modules."""
    return sum(weight.numel() for module in modules for weight in module.parameters())
