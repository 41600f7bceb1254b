"""A folder with one good thing of every kind, and the commands that use them without a fault."""

import json
import os
import shutil
from contextlib import chdir
from pathlib import Path

import torch
import yaml
from helpers import SIZE, noise_images, run
from safetensors.torch import save_file

from lord.cli.manifest import FILE
from lord.models.pixel import TINY_PIXEL, build_ddpm
from lord.study.profile import PROFILES

MODEL = ("--model", "model/embedded", "--device", "cpu")
FEW = ("--steps=1", "--batch-size=2", "--rank=2")
ATTACK = ("--eps=8/255", "--step-size=4/255", "--steps=1", "--rounds=1")
SCAN = ("--steps=1", "--refine-steps=1", "--batch-size=1", "--sampler-steps=1")
CLEAN = tuple(part for k in range(1, 5) for part in ("--clean", f"pixel{k}"))

COMMANDS: dict[str, tuple[str, ...]] = {
    "render": ("render", "out/render", "--count=2", f"--size={SIZE}"),
    "attack": ("attack", "album", "out/attack", *ATTACK, *MODEL),
    "purify": ("purify", "album", "out/purify", "--method=blur", *MODEL),
    "purify pixel": (
        *("purify", "album", "out/pixels", "--method=pixel_diffpure", "--pixel-model", "pixel0"),
        "--device=cpu",
    ),
    "audit": ("audit", "album", "--defence", "defence", *MODEL),
    "defend": ("defend", "out/defend", "--images", "album", "--attack-steps=1", *FEW, *MODEL),
    "finetune": (
        *("finetune", "album", "out/finetune.safetensors", "--defence", "defence"),
        *FEW,
        *MODEL,
    ),
    "generate": (
        *("generate", "a portrait", "out/generate", "--lora", "lora.safetensors"),
        *("--defence", "defence", "--treatment=learned", "--count=2", "--steps=1", *MODEL),
    ),
    "finetune class": (
        *("finetune", "album", "out/class.safetensors", "--class-prompt=a person"),
        *("--class-count=2", "--prior-weight=1", "--samples-every=1", "--losses", "out/class.csv"),
        *FEW,
        *MODEL,
    ),
    "generate shard": (
        *("generate", "a portrait", "out/shard", "--count=4", "--batch-size=1", "--steps=1"),
        *("--shard=2/2", *MODEL),
    ),
    "evaluate": ("evaluate", "album", "--reference", "other", *MODEL),
    "components": ("components", "model/embedded"),
    "components pixel": ("components", "pixel0"),
    "memory": ("memory", "--csv", "out/memory.csv"),
    "dataset inpainting": ("dataset", "inpainting", "album", "out/inpainting"),
    "dataset super-resolution": ("dataset", "super-resolution", "album", "out/super-resolution"),
    "dataset variation": ("dataset", "variation", "album", "out/variation"),
    "pretrain": ("pretrain", "out/pretrain", "--settings", "training.yaml"),
    "pretrain pixel": ("pretrain", "out/pixel", "--kind", "pixel", "--settings", "pixel.yaml"),
    "pretrain editing": (
        *("pretrain", "out/editing", "--kind=inpainting", "--settings", "editing.yaml"),
        *("--model", "model/embedded"),
    ),
    "backdoor scan": ("backdoor", "scan", "pixel0", *CLEAN, "--out", "out/scan", *SCAN),
    "backdoor inputs": (
        *("backdoor", "inputs", "noises.safetensors"),
        *("--trigger", "trigger.safetensors"),
    ),
    "study status": ("study", "status", "--profile", "mine.yaml"),
    "study run": ("study", "run", "--profile", "mine.yaml", "--experiment", "triggers"),
    "study tables": ("study", "tables", "--profile", "mine.yaml"),
    "study sheet": ("study", "sheet", "triggers-baddiffusion-box", "--profile", "mine.yaml"),
    "study notebook": ("study", "notebook", "01_data", "--profile", "mine.yaml"),
    "study book": ("study", "book", "--profile", "mine.yaml"),
    "study profiles": ("study", "profiles"),
    "study experiments": ("study", "experiments"),
}
"""Each is right where `build` has been; trials break one thing of one of them."""

PIXEL = {"pool": 8, "steps": 4, "batch_size": 2, "checkpoint_every": 1}
PIXEL |= {"architecture": TINY_PIXEL.model_dump(mode="json")}
EDITING = {"pool": 2, "steps": 2, "batch_size": 1, "rank": 1, "checkpoint_every": 1}


def build(folder: Path, pretrained: Path, settings: dict) -> None:
    """Fill a folder with what the commands take.

    Args:
        pretrained: what `lord pretrain` has made of these settings.
    """
    shutil.copytree(pretrained, folder / "model", ignore=shutil.ignore_patterns(".work"))
    (folder / "training.yaml").write_text(yaml.safe_dump(settings))
    (folder / "pixel.yaml").write_text(yaml.safe_dump({"pixel": PIXEL}))
    (folder / "editing.yaml").write_text(yaml.safe_dump({"editing": EDITING}))
    with chdir(folder):
        for name, seed in (("album", 0), ("other", 1)):
            run("render", name, "--subject", seed, "--count", 3, "--size", SIZE)
            Path(name, FILE).rename(f"{name}.json")  # as if they were somebody's photographs
        run("defend", "defence", *COMMANDS["defend"][2:])
        Path("defence/audit.json").write_text(json.dumps({"slope": 1.0, "intercept": 0.0}))
        run("finetune", "album", "lora.safetensors", *COMMANDS["finetune"][3:])
        for k in range(5):
            torch.manual_seed(k)
            build_ddpm(TINY_PIXEL).save_pretrained(f"pixel{k}")
        side = TINY_PIXEL.image_size
        save_file({"noises": noise_images(side) - 0.5}, "noises.safetensors")
        trigger = {"mu": torch.zeros(3, side, side), "gamma": torch.ones(())}
        save_file(trigger, "trigger.safetensors")
        shutil.copy(PROFILES / "smoke.yaml", "mine.yaml")


def copy_to(world: Path, folder: Path) -> Path:
    """A world of one's own, whose files are shared until they are replaced."""
    shutil.copytree(world, folder, copy_function=os.link)
    return folder


def replace_text(path: Path, text: str | bytes) -> None:
    """Give a file of a copied world other content, which the world itself does not get."""
    path.unlink()
    path.write_bytes(text.encode() if isinstance(text, str) else text)
