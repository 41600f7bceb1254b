"""A cell of the results under circumstances other than the main table's (`profile.Scenario`)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from lord.attacks.pgd import attack
from lord.attacks.settings import AttackSettings
from lord.attacks.through_gate import attack_and_close
from lord.data.subjects import Batch, Subject
from lord.defences.saved import load_defence
from lord.seeding import derive_seed
from lord.study.bench import DEFENDING, Bench, Outcome, made_once
from lord.study.defences import defence_of
from lord.study.experiments.condition import measure_condition
from lord.study.photographs import photographs_of
from lord.study.profile import TRAINED
from lord.training.lora import remove_adapters


@dataclass(frozen=True, eq=False)
class Photographed(Subject):
    """A subject of whom exactly these photographs exist, shape (N, 3, H, W) in [0, 1]."""

    images: Tensor

    def photographs(self, count: int, size: int = 64) -> Batch:
        """The first of them."""
        return replace(super().photographs(count, size), images=self.images[:count])


def measure_scenario(
    bench: Bench,
    subject: Subject,
    seed: int,
    attack: AttackSettings | None,
    defence: str,
    treatments: Sequence[str],
) -> Iterable[tuple[str, Outcome]]:
    """As `measure_condition`, on the photographs that the profile's scenario makes.

    The outcomes also have the number of parameters of all adapters, in thousands.
    """
    clean = photographs_of(bench, subject, seed, None)
    images = scenario_photographs(bench, subject, seed, attack, defence)
    ssim = structural_similarity_index_measure(images, clean, data_range=1.0).item()
    photographed = Photographed(subject.domain, subject.split, subject.index, images)
    outcomes = measure_condition(bench, photographed, seed, None, defence, treatments)
    for treatment, outcome in outcomes:
        adapters = [w for name, w in bench.pipeline.unet.named_parameters() if ".lora_" in name]
        thousands = sum(weight.numel() for weight in adapters) / 1000
        # The SSIM there compares the photographs with themselves, as all that it knows of them.
        own = {"ssim": ssim, "adapter_thousands": thousands}
        yield treatment, replace(outcome, metrics=outcome.metrics | own)


def scenario_photographs(
    bench: Bench, subject: Subject, seed: int, settings: AttackSettings | None, defence: str
) -> Tensor:
    """The first of the photographs attacked, the share that the scenario says; the others clean."""
    scenario = bench.profile.scenario
    clean = photographs_of(bench, subject, seed, None)
    if settings is None:
        return clean
    if scenario.attacker == "base":
        attacked = photographs_of(bench, subject, seed, settings)
    else:
        attacked = attacked_knowingly(bench, subject, seed, settings, defence)
    count = round(scenario.attacked_share * len(clean))
    return torch.cat((attacked[:count], clean[count:]))


def attacked_knowingly(
    bench: Bench, subject: Subject, seed: int, settings: AttackSettings, defence: str
) -> Tensor:
    """The photographs after an attack on the defended model, its stage-1 adapter in place.

    The gradient goes through the gates; a surrogate is trained on top of the adapter, as stage 2
    trains the victim's LoRA.
    """
    profile, pipeline = bench.profile, bench.pipeline
    clean = photographs_of(bench, subject, seed, None)
    prompts = [subject.prompt] * len(clean)
    seeds = [derive_seed("attack", seed, k) for k in range(len(clean))]
    folder = defence_of(bench, subject.domain, defence)
    attacks = {"defended": attack, "closing": attack_and_close}

    def make() -> dict[str, Tensor]:
        remove_adapters(pipeline)
        load_defence(pipeline, folder)
        attacked = attacks[profile.scenario.attacker](pipeline, clean, prompts, settings, seeds)
        return {"images": (attacked * 255).round().to(torch.uint8)}

    name = f"{subject.domain}-{subject.index}-seed{seed}-{profile.scenario.attacker}"
    asked = profile.model_dump(mode="json", include={*TRAINED[defence], "photographs"})
    asked["attack"] = settings.model_dump(mode="json")
    path = bench.shared(name, asked, (*DEFENDING, "lord.attacks.through_gate", __name__))
    return made_once(path.with_suffix(".safetensors"), make)["images"].float() / 255
