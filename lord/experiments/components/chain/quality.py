"""How well clean pictures are edited."""

import torch.nn.functional as F
from torch import Tensor

from lord.editing.editors import edit
from lord.editing.masks import covered
from lord.experiments.components.chain.measuring import SHOWN, judged
from lord.experiments.components.chain.models import editor_of
from lord.experiments.components.chain.pictures import Pictures, pictures_of
from lord.experiments.sheet import rows
from lord.study.context import Context
from lord.study.experiment import Cell, Outcome


def quality(context: Context, cell: Cell) -> Outcome:
    """What `lord.experiments.components.edits.measure` returns."""
    settings, task = cell.settings, cell["task"]
    editor = editor_of(context, settings, task, settings.edit.scheduler)
    pictures = pictures_of(
        context, settings, cell["domain"], task, editor.pipeline.vae_scale_factor
    )
    edited = edit(
        editor, pictures.images, pictures.prompts, pictures.seeds, settings.edit, pictures.masks
    )
    plain = _without_a_model(pictures)
    named = {"clean": pictures.originals, "edit": edited, "plain": plain}
    metrics, series = judged(context, settings, cell["domain"], named, pictures.prompts)
    return Outcome(metrics, series, rows(*(images[:SHOWN] for images in named.values())))


def _without_a_model(pictures: Pictures) -> Tensor:
    """What needs no model: grey in the mask, or a small picture scaled up."""
    if pictures.masks is not None:
        return covered(pictures.images, pictures.masks)
    size = pictures.originals.shape[2:]
    return F.interpolate(pictures.images, size, mode="bicubic", antialias=True).clamp(0, 1)
