"""Options of a command that are the fields of a settings model.

The field's description is the option's help, its default the option's default, and its validator
says what is wrong with a value.
"""

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lord.cli.opening import Loading, is_ours
from lord.cli.options import FINER, LARGEST_SEED, MODEL_PANEL, parse_number

KEYWORD = inspect.Parameter.KEYWORD_ONLY

LARGEST = 1_000_000
"""Settings are smaller, but for seeds; a larger one is a slip, and would run for ever."""


def options_from(
    model: type[BaseModel],
    parameter: str,
    *,
    fields: Collection[str] = (),
    names: Mapping[str, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    open_fields: Mapping[str, str] | None = None,
    finer: Collection[str] = (),
    panel: str | None = None,
    others: Mapping[str, Any] | None = None,
) -> Callable[[Callable], Callable]:
    """Give a command the fields of a settings model as options, and the settings as one parameter.

    Args:
        parameter: the command's parameter that receives the settings, validated.
        fields: those that become options; without, all.
        names: options whose names are not those of their fields.
        defaults: other defaults than the model's; of fields that are no options, what they are.
        open_fields: fields that the model completes itself if their options are not given, each
            with what the help says its default is.
        finer: fields whose options are in the panel of finer settings.
        panel: that of the other ones, if not the usual.
        others: defaults where ``--model`` is not one of this package, see `is_ours`.

    The command raises ValueError for what the model refuses, and for a number that none is meant
    to be.
    """
    names, defaults, open_fields = names or {}, defaults or {}, open_fields or {}
    others = others or {}
    for name, value in others.items():
        own = defaults.get(name, model.model_fields[name].default)
        open_fields = {**open_fields, name: f"{own}, and {value} for Stable Diffusion"}
    field_of = {names.get(field, field): field for field in fields or model.model_fields}

    def decorate(command: Callable) -> Callable:
        @functools.wraps(command)
        def run(**given: Any) -> Any:
            asked = {field: given.pop(option) for option, field in field_of.items()}
            asked = {field: value for field, value in asked.items() if value is not None}
            for option, field in field_of.items():
                value = asked.get(field)
                most = LARGEST_SEED if field == "seed" else LARGEST
                if isinstance(value, int | float) and abs(value) > most:
                    raise ValueError(f"{option}: expected a number up to {most:,}")
            usual = defaults if not others or is_ours(given["model"]) else {**defaults, **others}
            return command(**given, **{parameter: model(**{**usual, **asked})})

        parameters = []
        for known in inspect.signature(command).parameters.values():
            if known.name != parameter:
                parameters.append(known.replace(kind=KEYWORD))
                continue
            for option, name in field_of.items():
                field = model.model_fields[name]
                default = None if name in open_fields else defaults.get(name, field.default)
                where = FINER if name in finer else panel
                kind = annotation_of(option, field, where, open_fields.get(name))
                parameters.append(
                    inspect.Parameter(option, KEYWORD, default=default, annotation=kind)
                )
        run.__signature__ = inspect.Signature(parameters)  # what typer reads
        return run

    return decorate


def annotation_of(name: str, field: FieldInfo, panel: str | None, shown: str | None) -> Any:
    """Describe a field to typer.

    Numbers may be fractions. The option of a list is repeated, and has a name in the singular, too.

    Args:
        shown: what the help shows as the default, instead of the default itself.
    """
    text = field.description or ""
    settings: dict[str, Any] = {"rich_help_panel": panel, "show_default": shown or True}
    declarations: list[str] = []
    kind = field.annotation
    if any(get_origin(part) is tuple for part in (kind, *get_args(kind))):
        kind = list[str]
        text += "; may be repeated"
        flag = f"--{name}".replace("_", "-")
        declarations = [flag.removesuffix("s"), flag]
    elif kind is float:
        settings |= {"parser": parse_number, "metavar": "NUMBER"}
    if shown:
        kind = kind | None
    settings["help"] = text[:1].upper() + text[1:] + "."
    return Annotated[kind, typer.Option(*declarations, **settings)]


loads_model = options_from(
    Loading,
    "loading",
    panel=MODEL_PANEL,
    open_fields={
        "revision": "the newest",
        "device": "the fastest",
        "dtype": "float16 on cuda, else float32",
        "memory": "low for Stable Diffusion where little is free",
    },
)
"""The options of a command that loads a model; those that depend on it are given above these."""
