"""The same attack with the encoder, without it, and without its part of the gradient."""

from contextlib import nullcontext

import torch
from torch import Tensor

from lord.attacks.components import Reference, attack_features, edit_seeds, make_reference
from lord.attacks.encoder_cut import encoder_cut
from lord.attacks.pgd import frozen
from lord.editing.editors import Editor, edit, make_request, run
from lord.experiments.components.chain.measuring import SHOWN, attacked_once, judged
from lord.experiments.components.chain.models import editor_of, pixel_editor
from lord.experiments.components.chain.pictures import Pictures, pictures_of, same_energy
from lord.experiments.components.protocol import attack_settings
from lord.experiments.sheet import rows
from lord.models.components import modules_of
from lord.models.pipeline import encode_images
from lord.study.context import Context
from lord.study.experiment import Cell, Outcome

BATCH = 16


def variant_outcome(context: Context, cell: Cell) -> Outcome:
    """What `lord.experiments.components.encoder_or_denoiser.measure` returns."""
    settings, variant = cell.settings, cell["variant"]
    pictures = pictures_of(context, settings, cell["domain"])
    pixels = variant == "pixels"
    editor = pixel_editor(context, settings) if pixels else editor_of(context, settings)
    if variant == "latents":
        inputs = _attacked_latents(editor, pictures, cell)
    else:
        component = "quant_conv" if variant == "encoder" else settings.component
        asked = {"task": "variation"}
        if variant not in ("encoder", "both"):  # those are attacks of other experiments as well
            asked |= {"variant": variant, "pixel_weights": settings.asked.get("pixel_weights")}
        with encoder_cut(editor.pipeline.vae) if variant == "denoiser" else nullcontext():
            attacked = attacked_once(context, cell, [editor], pictures, component, asked)
        noisy = same_energy(attacked, pictures.images, pictures.seeds)
        inputs = {"clean": pictures.images, "attack": attacked, "noise": noisy}
    edited = {
        name: edit(editor, x, pictures.prompts, pictures.seeds, settings.edit, batch_size=BATCH)
        for name, x in inputs.items()
    }
    metrics, series = judged(context, settings, cell["domain"], edited, pictures.prompts)
    with torch.no_grad():
        worked_on = inputs
        if variant not in ("latents", "pixels"):
            worked_on = {name: encode_images(editor.pipeline, x) for name, x in inputs.items()}
        clean = worked_on["clean"]
        for name in ("attack", "noise"):
            change = (worked_on[name] - clean).square().mean().sqrt()
            metrics[f"moved/{name}"] = (change / clean.std()).item()
    shown = [edited[name][:SHOWN] for name in ("clean", "attack", "noise")]
    return Outcome(metrics, series, rows(*shown))


def _attacked_latents(editor: Editor, pictures: Pictures, cell: Cell) -> dict[str, Tensor]:
    """Latents, attacked ones and noisy ones, at the budget of pixels in units of their deviation.

    Latents are attacked as numbers u about ½ with z′ = z + (u − ½) · std z / std x, so that the
    ball of pixels is theirs.
    """
    pipeline, settings = editor.pipeline, cell.settings
    how = attack_settings(settings.budget, settings.component)
    with torch.no_grad():
        batches = [encode_images(pipeline, batch) for batch in pictures.images.split(BATCH)]
    latents = torch.cat(batches).float().cpu()  # as pictures are, wherever the model is
    scale, half = latents.std() / pictures.images.std(), torch.full_like(latents, 0.5)
    modules, noises = modules_of(pipeline, settings.component), edit_seeds(pictures.seeds)

    def references(chosen: slice) -> list[Reference]:
        request = make_request(editor, pictures.prompts[chosen], noises[chosen])

        def edits(u: Tensor) -> Tensor:
            moved = latents[chosen] + (u - 0.5) * scale
            return run(editor, moved, request, settings.attack_edit)

        return [make_reference(modules, edits, half[chosen])]

    with frozen(pipeline.vae, pipeline.unet):
        found = attack_features(half, how, pictures.seeds, references, BATCH)
    noisy = same_energy(found, half, pictures.seeds)
    moved = {"attack": found, "noise": noisy}
    return {"clean": latents} | {k: latents + (u - 0.5) * scale for k, u in moved.items()}
