"""Attacks made on one model or with one prompt, and edits by another."""

from lord.experiments.components.chain.measuring import attacked_once, judge_attack
from lord.experiments.components.chain.models import editor_of
from lord.experiments.components.chain.pictures import pictures_of, prompts_of
from lord.experiments.components.chain.siblings import model_editor
from lord.experiments.components.siblings import BASE, ENSEMBLE, PIXEL
from lord.study.context import Context
from lord.study.experiment import Cell, Outcome


def transferred(context: Context, cell: Cell) -> Outcome:
    """What `lord.experiments.components.component_transfer.measure` returns."""
    if cell["kind"] == "prompt":
        return _over_prompts(context, cell)
    return _over_models(context, cell)


def _over_prompts(context: Context, cell: Cell) -> Outcome:
    settings, domain = cell.settings, cell["domain"]
    pictures = pictures_of(context, settings, domain)
    source, victim = (prompts_of(pictures, domain, cell[name]) for name in ("source", "victim"))
    editor = editor_of(context, settings)
    asked = {"task": "variation"}
    if cell["source"] != "caption":
        asked["prompts"] = cell["source"]
    attacked = attacked_once(
        context, cell, [editor], pictures, settings.component, asked, prompts=source
    )
    return judge_attack(context, cell, editor, pictures, attacked, victim)


def _over_models(context: Context, cell: Cell) -> Outcome:
    settings, source, victim = cell.settings, cell["source"], cell["victim"]
    pictures = pictures_of(context, settings, cell["domain"])
    names = [source]
    if source == ENSEMBLE:
        names = [name for name in (BASE, *settings.siblings) if name != victim]
    editors = [model_editor(context, settings, name) for name in names]
    asked = {"task": "variation"}
    if names != [BASE]:
        # The attack does not depend on a victim that is no source.
        siblings = settings.asked.get("siblings", {})
        asked |= {"models": names, "siblings": {k: v for k, v in siblings.items() if k in names}}
        also = ("training", "pixel_weights") if PIXEL in names else ("training",)
        asked |= {name: settings.asked[name] for name in also if name in settings.asked}
    attacked = attacked_once(context, cell, editors, pictures, settings.component, asked)
    return judge_attack(context, cell, model_editor(context, settings, victim), pictures, attacked)
