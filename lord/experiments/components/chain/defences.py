"""Edits behind a defence: other pictures, other prompts, or another model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from lord.defences.saved import load_defence
from lord.editing.editors import Editor, edit
from lord.editing.ensemble import mean_editor
from lord.editing.pixel import vary
from lord.editing.settings import EditSettings
from lord.experiments.components.chain.measuring import SHOWN, attacked_once, judged
from lord.experiments.components.chain.models import editor_of, pipeline_of, pixel_editor
from lord.experiments.components.chain.pictures import (
    Pictures,
    pictures_of,
    prompts_of,
    same_energy,
)
from lord.experiments.components.chain.siblings import sibling
from lord.experiments.components.component_defences import (
    FURTHER,
    MODELS,
    PIXEL_DIFFPURE,
    PROMPT,
)
from lord.experiments.lord.chain.defences import defence_of
from lord.experiments.lord.protocol import PROPOSED
from lord.experiments.sheet import rows
from lord.metrics.edits import similarities
from lord.purifiers.methods import purify
from lord.seeding import derive_seed
from lord.study.context import Context
from lord.study.experiment import Cell, Outcome
from lord.training.lora import remove_adapters

PIXEL_PURIFYING = EditSettings(steps=50, strength=0.2)
"""How far the model in pixels noises, and in how many steps it denoises: ten.

It sees pictures scaled to its own size, so that this defence is a smaller picture as well."""


def defended(context: Context, cell: Cell) -> Outcome:
    """What `lord.experiments.components.component_defences.measure` returns."""
    settings, domain, defence = cell.settings, cell["domain"], cell["defence"]
    pictures, plain = pictures_of(context, settings, domain), editor_of(context, settings)
    asked = {"task": "variation"}
    attacked = attacked_once(context, cell, [plain], pictures, settings.component, asked)
    noisy = same_energy(attacked, pictures.images, pictures.seeds)
    prompts = prompts_of(pictures, domain, "random") if defence == PROMPT else pictures.prompts
    inputs = {"attack": attacked, "noise": noisy, "defended": pictures.images}

    def edits(editor: Editor, images: Tensor, texts: Sequence[str]) -> Tensor:
        return edit(editor, images, texts, pictures.seeds, settings.edit)

    edited = {"clean": edits(plain, pictures.images, pictures.prompts)}
    with _editor_behind(context, cell, plain) as editor:
        for name, images in inputs.items():
            seen = _purified(context, cell, pictures, images)
            edited[name] = edits(editor, seen, prompts)
    compared = {name: edited[name] for name in ("clean", "attack", "noise")}
    metrics, series = judged(context, settings, domain, compared, pictures.prompts)
    for name, values in similarities(edited["defended"], edited["clean"]).items():
        metrics[f"defended/{name}"] = values.mean().item()
    return Outcome(metrics, series, rows(*(images[:SHOWN] for images in edited.values())))


def _purified(context: Context, cell: Cell, pictures: Pictures, images: Tensor) -> Tensor:
    """Pictures as a defence hands them on, in 8 bits."""
    defence, settings = cell["defence"], cell.settings
    seeds = [derive_seed(seed, "purify") for seed in pictures.seeds]
    if defence == PIXEL_DIFFPURE:
        model = pixel_editor(context, settings).pipeline
        with torch.no_grad():
            images = vary(model, images, seeds, PIXEL_PURIFYING)
    elif defence in FURTHER:
        images = purify(pipeline_of(context, settings), images, pictures.prompts, seeds, defence)
    return (images * 255).round() / 255


@contextmanager
def _editor_behind(context: Context, cell: Cell, plain: Editor) -> Iterator[Editor]:
    """The editor that a defence leaves, which is another one for few of them."""
    settings, defence, base = cell.settings, cell["defence"], pipeline_of(context, cell.settings)
    if defence == MODELS:
        yield mean_editor([base, sibling(context, settings, MODELS)])
    elif defence == PROPOSED:
        folder = defence_of(context, settings, cell["domain"])
        remove_adapters(base)
        load_defence(base, folder)
        try:
            yield plain
        finally:
            remove_adapters(base)
    else:
        yield plain
