"""What a profile takes on a card: memory at the peak, and floating-point operations in all.

Counted, not measured, as by `lord.models.counting`: one step of each kind runs with tensors that
have sizes and no contents, and is multiplied by how often the profile does it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lord.attacks.pgd import frozen, load_target, objective_values, pgd_step
from lord.attacks.settings import NOISE, PATTERN
from lord.defences.stage1 import train_defence
from lord.experiments.lord.budget import attack_at
from lord.experiments.lord.protocol import TRAINED, Protocol
from lord.models.counting import build_shape, counted_peak
from lord.models.diffusion import Pipeline
from lord.models.memory import spare_memory
from lord.models.pipeline import encode_prompts
from lord.models.sample import generate
from lord.study.experiment import Cell
from lord.training.lora import finetune

PROMPT = "a photograph"


@dataclass(frozen=True)
class Demand:
    """What a part of a study takes: bytes at its peak, and operations in all."""

    peak: int
    operations: float


def demands_of(protocol: Protocol, cells: Iterable[Cell], shape: str) -> dict[str, Demand]:
    """What the parts of a study take: attacks, stage 1, fine-tuning, sampling; not purifiers.

    Args:
        cells: those that fine-tune, see `lord.experiments.lord.conditions.cells_of`.
        shape: of the model, see `lord.models.counting.build_shape`.
    """
    cells = list(cells)
    defences = {(c["domain"], c["defence"]) for c in cells if c["defence"] in TRAINED}
    whom = ("domain", "split", "subject", "seed")
    loras = {
        (*(c[key] for key in (*whom, "attack_name", "defence")), c.coordinates.get("variant"))
        for c in cells
    }
    attacked = {
        (*(c[key] for key in whom), c.settings.attack)
        for c in cells
        if "attack" in c.settings.values
    }
    gradients = sum(protocol.photographs * steps_of(attack) for *_, attack in attacked)
    training = 0
    for _, defence in defences:
        settings, data = (getattr(protocol, name) for name in TRAINED[defence])
        gradients += data.identities * steps_of(data.attack)
        training += settings.steps
    samples = len(cells) * protocol.sampling.images * protocol.sampling.steps
    return {
        "attacks": _counted(protocol, shape, _attack, gradients / protocol.batch_size),
        "stage 1": _counted(protocol, shape, _stage1, training, trains=True),
        "fine-tuning": _counted(
            protocol, shape, _finetune, len(loras) * protocol.finetune.steps, trains=True
        ),
        "sampling": _counted(protocol, shape, _sample, samples / protocol.batch_size),
    }


def steps_of(attack: object) -> int:
    """The gradients of an attack for each image; of several that take turns, of one."""
    if attack.method == NOISE:
        return 0
    return attack.steps * attack.rounds * attack.draws


Step = Callable[[Protocol, Pipeline, int], None]


def _counted(
    protocol: Protocol, shape: str, step: Step, times: float, trains: bool = False
) -> Demand:
    """One step is what two of them take more than one: what comes before is done once."""
    operations, peak = [], 0
    for count in (1, 2):
        pipeline, counter = build_shape(shape), FlopCounterMode(display=False)

        def run(pipeline=pipeline, counter=counter, count=count) -> None:
            if protocol.memory == "low":
                spare_memory(pipeline)
            with counter:
                step(protocol, pipeline, count)

        peak = counted_peak(pipeline, run, trains)
        operations.append(counter.get_total_flops())
    return Demand(peak, (operations[1] - operations[0]) * times)


def _album(protocol: Protocol, count: int) -> tuple[Tensor, list[str]]:
    side = protocol.size
    return torch.full((count, 3, side, side), 0.5), [PROMPT] * count


def _attack(protocol: Protocol, pipeline: Pipeline, steps: int) -> None:
    images, prompts = _album(protocol, protocol.batch_size)
    attack, side = attack_at(protocol, "ace"), protocol.size
    text, target = encode_prompts(pipeline, prompts), load_target(pipeline, PATTERN, side, side)

    def loss(seen: Tensor) -> Tensor:
        return objective_values(pipeline, seen, text, attack, target, range(len(images)))

    with frozen(pipeline.vae, pipeline.unet):
        for _ in range(steps):
            pgd_step([loss], images, images, attack.eps, attack.step_size)


def _stage1(protocol: Protocol, pipeline: Pipeline, steps: int) -> None:
    settings = protocol.stage1.model_copy(update={"steps": steps})
    images, prompts = _album(protocol, settings.batch_size)
    train_defence(pipeline, images, images, prompts, settings)


def _finetune(protocol: Protocol, pipeline: Pipeline, steps: int) -> None:
    settings = protocol.finetune.model_copy(update={"steps": steps})
    finetune(pipeline, *_album(protocol, settings.batch_size), settings)


def _sample(protocol: Protocol, pipeline: Pipeline, steps: int) -> None:
    count, scale = protocol.batch_size, protocol.sampling.guidance_scale
    generate(pipeline, PROMPT, range(count), steps, scale, count, size=protocol.size)
