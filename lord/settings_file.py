"""Settings in YAML files; one that is a trap, or says one thing twice, is refused."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from lord.errors import described

Settings = TypeVar("Settings", bound=BaseModel)

LARGEST = 20_000
"""So many values a file may have, aliases written out; those here have some hundreds."""


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in a YAML file, by name; none in an empty one.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: it is no YAML, no mapping of names, says one thing twice, or is too large.
    """
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, yaml.SafeLoader)
        if node is None:
            return {}
        _count(node, {})
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or error
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{path}: not a YAML file of settings ({problem}{place})") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file ({error.reason})") from error
    except RecursionError as error:
        raise ValueError(f"{path}: its values are nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ValueError(f"{path}: expected a mapping of names to settings")
    return values


def settings_of(model: type[Settings], given: Mapping[str, Any], place: str) -> Settings:
    """A section of such a file, validated.

    Raises:
        ValueError: a field or value is wrong; the message names it.
    """
    try:
        taken = model.model_validate(given)
    except ValidationError as error:
        raise ValueError(f"{place}.{described(error)}") from error
    require_numbers(given, taken, place)
    return taken


def require_numbers(given: Any, taken: Any, place: str) -> None:
    """Refuse true and false where numbers are meant, for which pydantic takes them.

    Args:
        given: settings as a file has them.
        taken: what a model has made of them.

    Raises:
        ValueError: there is such a value; the message names it.
    """
    if isinstance(given, bool) and not isinstance(taken, bool):
        raise ValueError(f"{place}: expected a number, not {str(given).lower()}")
    if isinstance(given, list | tuple) and isinstance(taken, list | tuple):
        given, taken = dict(enumerate(given)), dict(enumerate(taken))
    if isinstance(given, Mapping):
        parts = taken if isinstance(taken, Mapping) else getattr(taken, "__dict__", {})
        for name in given.keys() & parts.keys():
            require_numbers(given[name], parts[name], f"{place}.{name}")


def _count(node: yaml.Node, counted: dict[int, int]) -> int:
    """How many values a node stands for, its aliases written out.

    Args:
        counted: by identity what is known already; a node that is being counted counts as too many.

    Raises:
        ValueError: there are more than `LARGEST`, or a mapping has a key twice.
    """
    if id(node) in counted:
        return counted[id(node)]
    counted[id(node)] = LARGEST + 1
    parts: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        parts = node.value
    elif isinstance(node, yaml.MappingNode):
        parts = [part for pair in node.value for part in pair]
        keys: list[Hashable] = [key.value for key, _ in node.value if isinstance(key.value, str)]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise ValueError(f"{twice[0]!r} is there twice, line {node.start_mark.line + 1}")
    total = 1 + sum(_count(part, counted) for part in parts)
    if total > LARGEST:
        raise ValueError(f"it stands for more than {LARGEST} values, aliases written out")
    counted[id(node)] = total
    return total
