"""The defences of the study: each adapter is trained once, photographs are purified as needed."""

import json
import shutil
from pathlib import Path

from torch import Tensor

from lord.defences.saved import CONFIG_FILE, WEIGHTS_FILE, save_defence
from lord.defences.stage1 import train_defence
from lord.experiments.lord.cells import defence_components
from lord.experiments.lord.chain.model import base_pipeline, weights
from lord.experiments.lord.chain.photographs import attacked_once
from lord.experiments.lord.chain.subjects import Shown, stage1_pictures
from lord.experiments.lord.protocol import TRAINED
from lord.files import write_text
from lord.models.pixel import load_ddpm
from lord.names import DOMAINS, IN_PIXELS
from lord.purifiers.methods import purify
from lord.seeding import derive_seed
from lord.study.context import Context
from lord.study.experiment import Settings

HISTORY = "history.json"
"""The losses of stage 1, beside its adapter."""


def protect(
    context: Context, settings: Settings, subject: Shown, images: Tensor, defence: str
) -> tuple[Tensor, Path | None]:
    """What a LoRA learns behind a defence: from which images, and on top of which adapter."""
    if defence in TRAINED:
        scenario, domain = settings.scenario, subject.domain
        if scenario.stage1_domain == "other":
            domain = next(other for other in DOMAINS if other != domain)
        folder = defence_of(context, settings, domain, defence)
        return images, with_gate(folder, scenario.stage2_gate)
    return purified(context, settings, subject, images, defence), None


def purified(
    context: Context, settings: Settings, subject: Shown, images: Tensor, method: str
) -> Tensor:
    """A subject's photographs (N, 3, H, W) in [0, 1], purified and rounded to 8 bits."""
    seeds = [derive_seed("purify", k) for k in range(len(images))]
    prompts = [subject.prompt] * len(images)
    if method in IN_PIXELS:
        pipeline = context.hold(load_ddpm, settings.pixel_model)
    else:
        pipeline = base_pipeline(context, settings)
    clean = purify(pipeline, images, prompts, seeds, method, settings.batch_size)
    return (clean * 255).round() / 255


def with_gate(folder: Path, gate: float | str) -> Path:
    """The folder of a defence, or of a copy whose λ is fixed to a number in stage 2."""
    if gate == "learned":
        return folder
    fixed = folder.with_name(f"{folder.name}-lambda{gate:g}")
    if not (fixed / CONFIG_FILE).exists():
        fixed.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / WEIGHTS_FILE, fixed / WEIGHTS_FILE)
        settings = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        write_text(fixed / CONFIG_FILE, json.dumps(settings | {"fixed_gate": gate}))
    return fixed


def stage1_images(
    context: Context, settings: Settings, domain: str, defence: str = "lord"
) -> tuple[Tensor, Tensor, list[str]]:
    """Clean and attacked pictures of many stage-1 identities, with their captions."""
    data = getattr(settings, TRAINED[defence][1])
    batch = stage1_pictures(settings, domain, data.identities)
    seeds = [derive_seed("stage1", k) for k in range(data.identities)]
    images, captions = batch.images, batch.captions
    attacked = attacked_once(
        context, settings, f"{domain}-stage1", images, captions, data.attack, seeds
    )
    return images, attacked, captions


def defence_of(context: Context, settings: Settings, domain: str, defence: str = "lord") -> Path:
    """The folder of a domain's adapter, trained once, with the history of its losses."""
    training, data = (getattr(settings, name) for name in TRAINED[defence])
    asked = weights(settings)
    asked |= {"training": training.model_dump(mode="json"), "data": data.model_dump(mode="json")}
    components = ["step:renderer", *defence_components(settings, defence)]
    folder = context.path(f"{domain}-{defence}", asked, components)
    with context.alone(folder):
        if not (folder / HISTORY).exists():
            folder.mkdir(exist_ok=True)
            images = stage1_images(context, settings, domain, defence)
            checkpoint = folder / "checkpoint.safetensors"
            pipeline = base_pipeline(context, settings)
            history = train_defence(pipeline, *images, training, checkpoint=checkpoint)
            save_defence(pipeline, folder)
            write_text(folder / HISTORY, json.dumps(history))  # the last file says: all are there
            for path in folder.glob("checkpoint-*"):
                path.unlink()
    return folder
