"""Timing one step of an attack on a component, and its passes alone."""

from collections.abc import Callable

import torch

from lord.attacks.components import edit_seeds, make_reference
from lord.attacks.pgd import ascend, frozen
from lord.editing.editors import make_request, runner
from lord.experiments.components.chain.models import editor_of
from lord.experiments.components.chain.pictures import pictures_of
from lord.experiments.components.protocol import ENTRANCE, EXIT, attack_settings
from lord.experiments.timing import fastest_turns
from lord.models.components import modules_of
from lord.models.pipeline import decode_latents, encode_images
from lord.study.context import Context
from lord.study.experiment import Cell


def costs(context: Context, cell: Cell) -> dict[str, float]:
    """Seconds of a step on each component, of its passes, and their ratio."""
    own, editor = cell.settings, editor_of(context, cell.settings)
    pipeline, how = editor.pipeline, own.attack_edit
    pictures = pictures_of(context, own, "portraits")
    images = pictures.images[: own.images].to(pipeline.device)
    count = len(images)
    prompts, seeds = pictures.prompts[:count], edit_seeds(pictures.seeds[:count])
    request = make_request(editor, prompts, seeds)
    text = torch.cat((request.empty.expand(count).text, request.prompts.text))
    steps = min(int(how.steps * how.strength), how.steps)

    def attack_step(component: str) -> Callable[[], None]:
        edits = runner(editor, prompts, seeds, how)
        reference = make_reference(modules_of(pipeline, component), edits, images)
        settings = attack_settings(own.budget, component)
        noisy = (images + 0.01).clamp(0, 1)

        def step() -> None:
            ascend([reference.distances], noisy, images, settings, 0)

        return step

    def passes(component: str) -> Callable[[], None]:
        def step() -> None:
            seen = images.clone().requires_grad_()
            latents = encode_images(pipeline, seen)
            if component not in ENTRANCE:
                for _ in range(steps):
                    pair = latents.repeat(2, 1, 1, 1)
                    both = pipeline.unet(pair, 500, text).sample.chunk(2)
                    latents = latents + both[0] + both[1]
            if component in EXIT:
                latents = decode_latents(pipeline, latents)
            torch.autograd.grad(latents.sum(), seen)

        return step

    turns = {}
    with frozen(pipeline.vae, pipeline.unet):
        for component in own.components:
            turns[f"{component}/seconds"] = attack_step(component)
            turns[f"{component}/passes"] = passes(component)
        seconds = fastest_turns(turns, pipeline.device, own.turns)
    for component in own.components:
        ratio = seconds[f"{component}/seconds"] / seconds[f"{component}/passes"]
        seconds[f"{component}/times_its_passes"] = ratio
    return seconds
