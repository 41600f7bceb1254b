"""How much memory the commands take on a card, counted for the sizes of Stable Diffusion.

Of each command the inner step runs, by `lord.models.counting`, with the batch that the command
takes by itself. That is all it ever holds at once: what it repeats takes no more.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from lord.adapter import LordConfig, add_adapter
from lord.attacks.pgd import frozen, load_target, objective_values, pgd_step
from lord.attacks.settings import PATTERN, AttackSettings
from lord.attacks.surrogates import make_surrogate, train_surrogate
from lord.defences.audit import gate_scores
from lord.defences.settings import Stage1Settings
from lord.defences.stage1 import ADAPTER, train_defence
from lord.models.counting import build_shape, counted_peak
from lord.models.diffusion import Pipeline
from lord.models.memory import BATCH, spare_memory
from lord.models.pipeline import encode_prompts, round_trip
from lord.models.sample import generate
from lord.purifiers.autoencoder import cat, impress
from lord.purifiers.latent_diffusion import diffpure
from lord.training.lora import finetune
from lord.training.settings import FinetuneSettings

PROMPT = "a portrait of sks person"

ACE = AttackSettings(surrogate_steps=1)

Step = Callable[[Pipeline, int, int], object]


def peak_of(command: str, side: int, low: bool, shape: str = "sd15") -> int:
    """Bytes at the peak of a command, the weights among them.

    Args:
        command: one of `COMMANDS`.
        side: of the pictures, in pixels.
        low: whether memory is spared, as with ``--memory low``.
        shape: of the model, one of `lord.names.SHAPES`.
    """
    pipeline = build_shape(shape)
    step, mixed_precision = COMMANDS[command]

    def run() -> None:
        if low:
            spare_memory(pipeline)
        step(pipeline, side, 1 if low else 2)  # what commands take for Stable Diffusion

    return counted_peak(pipeline, run, mixed_precision)


def _album(count: int, side: int) -> tuple[Tensor, list[str]]:
    return torch.full((count, 3, side, side), 0.5), [PROMPT] * count


def _attack(pipeline: Pipeline, side: int, batch_size: int) -> None:
    """A step of the surrogate's training, then one of ACE on the surrogate."""
    images, prompts = _album(ACE.surrogate_batch_size, side)
    text, target = encode_prompts(pipeline, prompts), load_target(pipeline, PATTERN, side, side)
    surrogate = make_surrogate(pipeline.unet, ACE.surrogate_rank)
    train_surrogate(pipeline, surrogate, images, text, ACE, range(len(images)), "counted")
    few = slice(batch_size)

    def loss(seen: Tensor) -> Tensor:
        seeds = range(batch_size)
        return objective_values(pipeline, seen, text[few], ACE, target, seeds, surrogate)

    pgd_step([loss], images[few], images[few], ACE.eps, ACE.step_size)


def _attack_edits(pipeline: Pipeline, side: int, batch_size: int) -> None:
    """A step of the attack through a few steps of an edit."""
    images, prompts = _album(batch_size, side)
    settings = AttackSettings(method="diffusion", draws=1)
    text, target = encode_prompts(pipeline, prompts), load_target(pipeline, PATTERN, side, side)

    def loss(seen: Tensor) -> Tensor:
        return objective_values(pipeline, seen, text, settings, target, range(batch_size))

    with frozen(pipeline.vae, pipeline.unet):
        pgd_step([loss], images, images, settings.eps, settings.step_size)


def _impress(pipeline: Pipeline, side: int, batch_size: int) -> None:
    images, prompts = _album(batch_size, side)
    impress(pipeline, images.to(pipeline.unet.device), prompts, range(batch_size), steps=1)


def _cat(pipeline: Pipeline, side: int, batch_size: int) -> None:
    images, prompts = _album(8, side)
    cat(pipeline, images.to(pipeline.unet.device), prompts, range(8), steps=1, at_once=batch_size)


def _purify(pipeline: Pipeline, side: int, batch_size: int) -> None:
    diffpure(pipeline, *_album(batch_size, side), range(batch_size), steps=1)


def _defend(pipeline: Pipeline, side: int, batch_size: int) -> None:
    images, prompts = _album(4, side)
    train_defence(pipeline, images, images, prompts, Stage1Settings(steps=1, batch_size=4))


def _finetune(pipeline: Pipeline, side: int, batch_size: int) -> None:
    finetune(pipeline, *_album(8, side), FinetuneSettings(steps=1, batch_size=8))


def _audit(pipeline: Pipeline, side: int, batch_size: int) -> None:
    add_adapter(pipeline.unet, LordConfig(**Stage1Settings().low_rank()), ADAPTER)
    gate_scores(pipeline, *_album(batch_size, side), levels=1)


def _generate(pipeline: Pipeline, side: int, batch_size: int) -> None:
    generate(pipeline, PROMPT, range(batch_size), steps=1, batch_size=batch_size, size=side)


def _evaluate(pipeline: Pipeline, side: int, batch_size: int) -> None:
    round_trip(pipeline, _album(BATCH, side)[0])


COMMANDS: dict[str, tuple[Step, bool]] = {
    "attack": (_attack, False),
    "attack --method diffusion": (_attack_edits, False),
    "purify": (_purify, False),
    "purify --method impress": (_impress, False),
    "purify --method cat": (_cat, False),
    "defend": (_defend, True),
    "finetune --batch-size 8": (_finetune, True),
    "audit": (_audit, False),
    "generate": (_generate, False),
    "evaluate": (_evaluate, False),
}
"""What the commands do, each with whether that is a training, which is in mixed precision.

The attack of ``defend`` is that of ``attack`` without a surrogate, and takes no more. Of
``evaluate`` the model's part is counted, without the networks that judge.
"""
