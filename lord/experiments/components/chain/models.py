"""The models that edit, loaded or trained once in a process."""

from pathlib import Path

from diffusers import StableDiffusionPipeline

from lord.api import instruments_for
from lord.editing.adaptation import adapt, load_adapted
from lord.editing.editors import Editor, make_editor
from lord.experiments.components.protocol import learned_beside
from lord.metrics.measure import Instruments
from lord.models.pipeline import load_pipeline
from lord.models.pixel import load_ddpm
from lord.names import ADAPTED
from lord.study.context import Context
from lord.study.experiment import Settings


def pipeline_of(context: Context, settings: Settings) -> StableDiffusionPipeline:
    """The model under study."""
    return context.hold(load_pipeline, settings.model)


def instruments_of(context: Context, settings: Settings) -> Instruments:
    """The metric networks that fit the model."""
    return context.hold(instruments_for, pipeline_of(context, settings))


def editor_of(
    context: Context, settings: Settings, task: str = "variation", scheduler: str = "ddim"
) -> Editor:
    """The editor of a task; what the model has to learn for it is learned first if it is not."""
    pipeline = pipeline_of(context, settings)
    unet = None
    if task in ADAPTED:
        folder = _learned(context, settings, task)
        unet = context.hold(load_adapted, pipeline, folder, task)
    return context.hold(make_editor, task, pipeline, unet, scheduler)


def pixel_editor(context: Context, settings: Settings) -> Editor:
    """The model in pixel space as an editor."""
    return Editor("variation", context.hold(load_ddpm, settings.pixel_model))


def _learned(context: Context, settings: Settings, task: str) -> Path:
    """The folder of what a task takes: beside the model, or learned once and kept."""
    if "learned" in settings.values:
        return learned_beside(settings.model, task)
    asked = {"model": settings.model, "weights": settings.weights["model"], "task": task}
    asked["editing"] = settings.editing.model_dump(mode="json", exclude_defaults=True)
    learned = context.path("editing", asked, ["step:renderer", "step:adaptation"])
    with context.alone(learned):
        adapt(pipeline_of(context, settings), task, learned, settings.editing)
    return learned
