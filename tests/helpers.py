"""What the tests of several folders share beside the fixtures of `conftest.py`."""

import copy
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn
from transformers import BitImageProcessor, Dinov2Config, Dinov2Model
from typer.testing import CliRunner

from lord.attacks.settings import AttackSettings
from lord.cli import app
from lord.models.embedded import TINY, build_pipeline
from lord.names import version_of
from lord.record import make_record, measure
from lord.study.profile import Profile
from lord.study.run import store_of


def build_tiny(dtype: torch.dtype = torch.float32, **sizes: object) -> StableDiffusionPipeline:
    """The tiny pipeline with the same random weights every time, frozen as one that is loaded."""
    torch.manual_seed(0)
    pipeline = build_pipeline(TINY.model_copy(update=sizes)).to("cpu", dtype)
    for module in parts(pipeline):
        module.requires_grad_(False).eval()
    return pipeline


def save_encoder(folder: Path) -> str:
    """An image encoder with the same random weights every time, as the hub has them."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    Dinov2Model(Dinov2Config(**sizes, image_size=28, patch_size=14)).save_pretrained(folder)
    sides = {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}}
    BitImageProcessor(**sides).save_pretrained(folder)
    return str(folder)


class Shared:
    """A pipeline that many tests use, and what it was before the first of them."""

    def __init__(self, pipeline: StableDiffusionPipeline) -> None:
        self.pipeline = pipeline
        self.weights = [
            {name: weight.clone() for name, weight in part.state_dict().items()}
            for part in parts(pipeline)
        ]
        self.settings = [_settings(part) for part in parts(pipeline)]

    def assert_unchanged(self) -> None:
        for part, weights, settings in zip(
            parts(self.pipeline), self.weights, self.settings, strict=True
        ):
            assert _settings(part) == settings
            assert all(torch.equal(weights[name], now) for name, now in part.state_dict().items())


def _settings(part: nn.Module) -> list[tuple]:
    """What each module is, whether it trains, and who listens to it."""
    return [
        (
            name,
            type(module),
            module.training,
            len(module._forward_hooks),
            len(module._forward_pre_hooks),
            [(key, w is not None and w.requires_grad) for key, w in module._parameters.items()],
        )
        for name, module in part.named_modules()
    ]


def parts(pipeline: StableDiffusionPipeline) -> list[nn.Module]:
    return [pipeline.vae, pipeline.unet, pipeline.text_encoder]


def copy_of(pipeline: StableDiffusionPipeline) -> StableDiffusionPipeline:
    """A pipeline with a U-Net of its own, which trains unless someone freezes it."""
    unet = copy.deepcopy(pipeline.unet).requires_grad_(True)
    own = StableDiffusionPipeline(
        **pipeline.components | {"unet": unet}, requires_safety_checker=False
    )
    own.set_progress_bar_config(disable=True)
    return own


# One side of the tiny pipeline's images.
SIZE = TINY.image_size

# Attacks on three images of noise.
SEEDS = [11, 12, 13]
PROMPTS = ["a portrait", "a landscape", "a portrait"]


def quick_attack(method: str = "ace", **changes: object) -> AttackSettings:
    """Settings that are as those published but quick."""
    few = {"rounds": min(AttackSettings(method=method).rounds, 2), "surrogate_steps": 1, "draws": 1}
    sizes = {"eps": 8 / 255, "step_size": 2 / 255, "steps": 3}
    return AttackSettings(method=method, **sizes | few | changes)


def noise_images(size: int = 16, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (len(SEEDS), 3, size, size), generator=generator) / 255


def levels(images: Tensor) -> Tensor:
    return (images * 255).round().long()


def random_signs(images: Tensor) -> Tensor:
    return torch.randint(0, 2, images.shape, generator=torch.Generator().manual_seed(2)) * 2 - 1


def randomise(unet: nn.Module, name: str = "lord", only: str = "", scale: float = 0.1) -> None:
    """Give the adapter weights that no initialisation would give."""
    generator = torch.Generator().manual_seed(2)
    for key, parameter in unet.named_parameters():
        if f".{name}." in key and only in key:
            parameter.data = torch.randn(parameter.shape, generator=generator).to(parameter) * scale


def run(*arguments: object, code: int = 0):
    """Run a command and return its result; ``code`` is the exit code it must have."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def error(*arguments: object) -> str:
    """The one line that a command prints which fails."""
    result = run(*arguments, code=1)
    assert result.stderr.startswith("Error: ") and "Traceback" not in result.output
    assert result.stderr.count("\n") == 1
    return result.stderr


def fill(profile: Profile, results: Path) -> None:
    """Make up the records of all experiments of a profile, each from its example."""
    with measure() as measurement:
        pass
    blank = make_record({}, measurement, [], name="", kind="", seed=0, metrics={}, key="")
    store = store_of(profile, results)
    for experiment in profile.experiments:
        made = []
        for cell in profile.cells(experiment.name):
            outcome = experiment.example(cell)
            components = (*experiment.components(cell), *cell.measured)
            versions = {name: version_of(name) for name in components}
            changes = {
                "name": cell.name,
                "kind": experiment.name,
                "key": experiment.key(cell, versions),
                "components": versions,
                "seed": cell.seed,
                "settings": cell.settings.resolved() | dict(cell.coordinates),
                "evidence": profile.evidence,
                "metrics": outcome.metrics,
                "series": outcome.series,
            }
            made.append(blank.model_copy(update=changes))
            if outcome.sheet is not None:
                store.write_sheet(cell.name, outcome.sheet)
        if made:
            store.write_all(experiment.name, made)


# The sections of a profile that the main table needs.
NEEDED = ("evidence", "lord", "main", "damage", "steps")
