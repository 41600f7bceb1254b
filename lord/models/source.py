"""Where a model comes from: what is there is looked at before anything is downloaded or loaded."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from lord.models.card import EMBEDDED
from lord.models.layout import INDEX, check_layout, read_object

CLASSES = {"StableDiffusionPipeline": StableDiffusionPipeline} | {
    "StableDiffusionXLPipeline": StableDiffusionXLPipeline
}
"""The pipelines of diffusers that this package trains and attacks."""

NETWORKS = {
    "unet": "UNet2DConditionModel",
    "vae": "AutoencoderKL",
    "text_encoder": "CLIPTextModel",
}
"""The parts with weights, each with the class that is supported; SDXL has one more."""

SECOND = {"text_encoder_2": "CLIPTextModelWithProjection"}


UNLOADABLE = (ValueError, TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError)
UNLOADABLE += (SafetensorError,)
"""What diffusers and transformers raise for settings that fit no model, and for broken files."""


def unloadable(model: str | Path, error: Exception) -> ValueError:
    """The error to raise for one of `UNLOADABLE`, which names the model."""
    reason = " ".join(str(error).split())[:300]
    return ValueError(f"{model}: diffusers cannot load it ({type(error).__name__}: {reason})")


@dataclass(frozen=True)
class Source:
    """A model in the diffusers layout, before it is loaded.

    Attributes:
        name: as it was asked for, with the commit of a hub model: ``owner/name@commit``.
        location: a folder, or the id of a hub model.
        revision: the commit of a hub model; None of a folder.
        folder: where the files are, or will be once they are downloaded.
        index: what ``model_index.json`` says.
        files: the names of all files.
    """

    name: str
    location: str
    revision: str | None
    folder: Path
    index: dict[str, Any]
    files: tuple[str, ...]

    @property
    def pipeline_class(self) -> type[DiffusionPipeline]:
        """The class of diffusers.

        Raises:
            ValueError: it is not one of `CLASSES`.
        """
        name = self.index.get("_class_name")
        if not isinstance(name, str) or name not in CLASSES:
            raise ValueError(
                f"{self.name}: a {name}, which is not supported. Supported are "
                f"{' and '.join(CLASSES)}: text-to-image models of Stable Diffusion 1.x, 2.x and XL"
            )
        return CLASSES[name]

    @property
    def networks(self) -> dict[str, str]:
        """The parts with weights, each with its class."""
        return NETWORKS | (SECOND if self.pipeline_class is StableDiffusionXLPipeline else {})

    @property
    def variant(self) -> str | None:
        """``"fp16"`` where the weights of the U-Net are there in no other precision."""
        found = [name for name in self.files if _is_weight(name, "unet")]
        halves = [name for name in found if ".fp16." in name]
        return "fp16" if halves and len(halves) == len(found) else None

    def check(self) -> None:
        """Raise an error unless the model is supported, and nothing is missing in its folder.

        Raises:
            FileNotFoundError, ValueError: the message names what is wrong, and where.
        """
        parts = ["scheduler", "tokenizer", *self.networks]
        for part in [*parts, "tokenizer_2"] if "text_encoder_2" in parts else parts:
            listed = self.index.get(part)
            if not isinstance(listed, list) or len(listed) != 2 or None in listed:
                raise ValueError(f"{self.folder / INDEX}: lists no {part}")
            wanted = self.networks.get(part, listed[1])
            if listed[1] != wanted:
                raise ValueError(
                    f"{self.folder / INDEX}: {part} is a {listed[1]}; supported is {wanted}"
                )
            if not any(name.startswith(f"{part}/") for name in self.files):
                raise ValueError(f"{self.name}: the folder {part} is missing, or empty")
        for part in self.networks:
            if not any(_is_weight(name, part) for name in self.files):
                raise ValueError(f"{self.name}: {self._no_weights(part)}")
        self.check_settings()

    def check_settings(self) -> None:
        """Raise an error unless what the files of settings say can be, see `check_layout`."""
        check_layout(self.folder, self.index, whole=self.revision is None)

    def _no_weights(self, part: str) -> str:
        if any(name.startswith(f"{part}/") and name.endswith(".bin") for name in self.files):
            return (
                f"the weights in {part} are pickles (.bin), which may run code when they are read, "
                'so they are not. If you trust them, convert them once: python -c "from diffusers '
                f"import DiffusionPipeline as P; P.from_pretrained('{self.location}', "
                "use_safetensors=False).save_pretrained('./converted')\""
            )
        return f"no weights (.safetensors) in {part}"


def find_source(model: str | Path, revision: str | None = None) -> Source:
    """Look at the embedded model, a folder, or a hub model, of which only the index is downloaded.

    Args:
        revision: a commit, branch or tag of a hub model.

    Raises:
        FileNotFoundError: ``model`` is a path that does not exist or holds no pipeline.
        OSError: the hub model cannot be reached or does not exist.
        ValueError: ``model_index.json`` is broken, or a revision is asked of a folder.
    """
    location = source_of(model)
    if (folder := Path(location)).is_dir():
        if revision is not None:
            raise ValueError(f"--revision: {model} is no model on the hub, and has one only")
        files = tuple(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        return Source(str(model), location, None, folder, read_object(folder / INDEX), files)
    try:
        index = Path(hf_hub_download(location, INDEX, revision=revision))
    except (OSError, HfHubHTTPError) as error:
        at = f" at revision {revision}" if revision else ""
        raise OSError(f"{model}{at}: {INDEX} is not to be had ({_first_line(error)})") from error
    folder, commit = index.parent, index.parent.name
    try:
        files = tuple(HfApi().list_repo_files(location, revision=commit))
    except (OSError, HfHubHTTPError):  # without a network, what was downloaded before
        files = tuple(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return Source(f"{location}@{commit}", location, commit, folder, read_object(index), files)


def source_of(model: str | Path) -> str:
    """What diffusers loads a model from: ``"embedded"``, a folder, or the id of a hub model.

    Raises:
        FileNotFoundError: ``model`` is a path that does not exist or holds no pipeline.
    """
    source = EMBEDDED if str(model) == "embedded" else model
    looks_local = isinstance(source, Path) or str(source).startswith((".", "/", "~"))
    if looks_local or Path(source).exists():
        source = Path(source).expanduser()
        if not (source / INDEX).is_file():
            raise FileNotFoundError(
                f"{source}: no diffusers pipeline there (model_index.json is missing). Give a "
                "folder written by save_pretrained, a hub id such as "
                "'stable-diffusion-v1-5/stable-diffusion-v1-5', or 'embedded'."
            )
    return os.fspath(source)


def check_weights(folder: Path, network: nn.Module, variant: str | None = None) -> None:
    """Raise ValueError unless every weight of a loaded network was in its files, and is finite.

    Libraries fill what is missing with random numbers, and leave out layers that are too many.

    Args:
        folder: where the files are.
        variant: of them, see `Source.variant`.
    """
    there = {_today(name) for name in _weights_in(folder, variant)}
    wanted = {_today(name) for name, _ in network.named_parameters()}
    if lacking := sorted(wanted - there):
        raise ValueError(
            f"{folder}: {len(lacking)} weights are missing in the files, such as {lacking[0]}"
        )
    of_layers = {_any_layer(name) for name in wanted}
    if more := sorted(name for name in there - wanted if _any_layer(name) in of_layers):
        raise ValueError(
            f"{folder}: the files hold layers that its settings do not tell of, such as {more[0]}"
        )
    check_finite(network, str(folder))


LARGEST_WEIGHT = 65504
"""No number in a file of weights is larger: so are those that half precision can hold."""


def check_finite(network: nn.Module, where: str) -> None:
    """Raise ValueError for a network with a weight that is none, see `check_numbers`."""
    for name, weight in network.named_parameters():
        check_numbers(weight, f"{where}: {name}")


def check_numbers(tensor: Tensor, where: str) -> None:
    """Raise ValueError for a tensor with NaN, infinity or a number beyond `LARGEST_WEIGHT`."""
    if tensor.is_floating_point() and not (tensor.abs() <= LARGEST_WEIGHT).all():  # NaN is not
        finite = tensor.isfinite().all()
        problem = f"numbers beyond ±{LARGEST_WEIGHT}" if finite else "NaN or infinity"
        raise ValueError(f"{where} holds {problem}")


def _weights_in(folder: Path, variant: str | None) -> Iterator[str]:
    for path in sorted(folder.glob("*.safetensors")):
        if bool(variant) == (f".{variant}." in path.name):
            try:
                with safe_open(path, framework="pt") as file:
                    yield from file.keys()
            except SafetensorError as error:
                raise ValueError(f"{path}: broken ({error})") from None


OLD_NAMES = {
    ".query.": ".to_q.",
    ".key.": ".to_k.",
    ".value.": ".to_v.",
    ".proj_attn.": ".to_out.0.",
}
"""Of layers in files of earlier releases of diffusers, with those of today."""


def _today(name: str) -> str:
    for old, new in OLD_NAMES.items():
        name = name.replace(old, new)
    return name.removeprefix("text_model.")


def _any_layer(name: str) -> str:
    """The name of a weight without the numbers of its layers."""
    return re.sub(r"\d+", "0", name)


def _is_weight(name: str, part: str) -> bool:
    return name.startswith(f"{part}/") and name.endswith(".safetensors")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
