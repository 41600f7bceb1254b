"""The settings files of a model folder, checked before a library builds anything from them.

Each class of diffusers and transformers declares the types of its settings. What a file says has to
be of that type, finite, and no larger than any model; every error names file and field.
"""

import inspect
import json
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import diffusers
import numpy as np
import transformers
from diffusers import DiffusionPipeline
from pydantic import Field, TypeAdapter, ValidationError

from lord.errors import SHORT

INDEX = "model_index.json"

LIBRARIES = {"diffusers": diffusers, "transformers": transformers}

LARGEST = 2**20
"""No size in the settings of a model is larger; the largest are those of vocabularies."""

DEEPEST = 256
"""So many layers at most, as each costs time before its weights are looked for."""

POSITIVE = {
    *("sample_size", "in_channels", "out_channels", "latent_channels", "block_out_channels"),
    *("layers_per_block", "transformer_layers_per_block", "norm_num_groups", "norm_eps"),
    *("attention_head_dim", "cross_attention_dim", "scaling_factor", "num_train_timesteps"),
    *("vocab_size", "hidden_size", "intermediate_size", "projection_dim", "layer_norm_eps"),
    *("num_hidden_layers", "num_attention_heads", "max_position_embeddings"),
}
"""Settings of which zero or less means nothing, and nor does an empty list."""

NOT_EMPTY = POSITIVE | {"down_block_types", "up_block_types", "trained_betas"}


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ValueError: the file is no JSON, or something else is in it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not a JSON object")
    return content


def check_layout(folder: Path, index: dict[str, Any], whole: bool = True) -> None:
    """Check what the files of settings in a model folder say, of the index and of each part.

    Args:
        index: what `INDEX` says.
        whole: the folder holds everything; the part of a hub model that is there already does not.

    Raises:
        FileNotFoundError: a part, or its settings, are missing in a whole folder.
        ValueError: some are not as the part's class declares them.
    """
    for part, listed in _parts(folder / INDEX, index).items():
        library, name = listed
        kind = getattr(LIBRARIES.get(library), name, None)
        if kind is None and library in LIBRARIES:
            raise ValueError(f"{folder / INDEX}: {part}: there is no {name} in {library}")
        path = _settings_file(folder / part, kind)
        if path is not None and (whole or path.is_file()):
            if not path.is_file():
                raise FileNotFoundError(f"{path}: no such file")
            _check_settings(path, read_object(path), kind)
        elif whole and not (folder / part).is_dir():
            raise FileNotFoundError(f"{folder / part}: no such folder")


def _parts(path: Path, index: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """The parts that an index lists, each with its library and class."""
    name = index.get("_class_name")
    kind = getattr(diffusers, name, None) if isinstance(name, str) else None
    if not (inspect.isclass(kind) and issubclass(kind, DiffusionPipeline)):
        raise ValueError(f"{path}: _class_name: diffusers has no pipeline {SHORT.repr(name)}")
    found = {}
    options = inspect.signature(kind.__init__).parameters
    for part, listed in index.items():
        if isinstance(listed, list) or (
            part in options and options[part].default is inspect.Parameter.empty
        ):
            if listed in ([None, None], None):
                continue
            pair = isinstance(listed, list) and len(listed) == 2
            if not pair or not all(isinstance(word, str) for word in listed):
                raise ValueError(
                    f"{path}: {part}: expected a library and a class, not {SHORT.repr(listed)}"
                )
            found[part] = tuple(listed)
    return found


def _settings_file(folder: Path, kind: Any) -> Path | None:
    """Where the settings of a part are, None of a part whose class declares none."""
    if hasattr(kind, "config_class"):
        return folder / "config.json"
    name = getattr(kind, "config_name", None)
    return folder / name if name else None


def _check_settings(path: Path, settings: dict[str, Any], kind: Any) -> None:
    if not settings:  # each setting would have its default
        raise ValueError(f"{path}: an empty JSON object, not the settings of a {kind.__name__}")
    for field, (declared, default) in _declared(kind).items():
        value = settings.get(field, default)
        if value == default:  # also where that is infinite, or not of the type declared
            continue
        try:
            checked = TypeAdapter(_allowed(field, declared, default))
            checked.validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            problems = dict.fromkeys(problem["msg"] for problem in error.errors())
            raise ValueError(
                f"{path}: {field}: {'; or '.join(problems)}, not {SHORT.repr(value)}"
            ) from None


def _declared(kind: Any) -> dict[str, tuple[Any, Any]]:
    """The settings of a class, each with its type and its default."""
    settings = getattr(kind, "config_class", None)
    if settings is not None:  # transformers: what all models share is not among them
        types = inspect.get_annotations(settings)
        return {name: (types[name], getattr(settings, name, None)) for name in types}
    parameters = inspect.signature(kind.__init__).parameters.values()
    return {p.name: (p.annotation, p.default) for p in parameters if p.name != "self"}


def _allowed(field: str, declared: Any, default: Any) -> Any:
    """The type that a value must have: what is declared, or like the default.

    Null stands for no in files of earlier releases.
    """
    if isinstance(default, bool) or declared is bool:
        return bool | None
    allowed = _bounded(field, declared)
    return allowed | None if default is None else allowed


def _bounded(field: str, declared: Any) -> Any:
    """A declared type with bounds on its numbers; of tuples and lists, without their length."""
    inside = [_bounded(field, part) for part in get_args(declared) if part is not ...]
    if get_origin(declared) in (Union, UnionType):
        return Union[tuple(inside)]  # noqa: UP007
    if declared in (tuple, list, np.ndarray) or get_origin(declared) in (tuple, list):
        entry = Union[tuple(inside)] if inside else Any  # noqa: UP007
        return Annotated[list[entry], Field(min_length=int(field in NOT_EMPTY))]
    if declared in (int, float):
        most = DEEPEST if "layers" in field else LARGEST if field in POSITIVE else None
        least = 0 if field in POSITIVE else None
        return Annotated[declared, Field(gt=least, le=most, allow_inf_nan=False)]
    known = declared in (str, bool, NoneType) or get_origin(declared) is Literal
    return declared if known else Any
