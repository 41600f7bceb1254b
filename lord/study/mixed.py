"""Stage-1 pictures that several attacks have taken turns in.

`lord.study.defences` knows one attack. This makes the pictures before they are asked for there, so
that what defences of one attack have measured does not depend on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor

from lord.attacks.pgd import attack
from lord.data.subjects import sample_domain
from lord.seeding import derive_seed
from lord.study.bench import ATTACKING, Bench, made_once
from lord.study.profile import TRAINED, MixedData
from lord.training.lora import remove_adapters


@dataclass(frozen=True)
class MixedBench(Bench):
    """A bench where what comes of mixed attacks depends on this module as well."""

    def shared(
        self, name: str, asked: dict[str, Any], modules: Sequence[str], judged: bool = False
    ) -> Path:
        """As `Bench.shared`."""
        if "mixed_data" in asked or asked.get("attack", {}).get("method") == "mixed":
            modules = (*modules, __name__)
        return super().shared(name, asked, modules, judged)


def mix(bench: Bench, domain: str | None, defence: str | None) -> Bench:
    """The bench for a defence, with its stage-1 pictures made if they are from several attacks.

    Picture k is what the k-th of the methods, in turn, makes of the clean one.
    """
    profile = bench.profile
    if not profile.is_mixed(defence):
        return bench
    if profile.scenario.stage1_domain == "other":
        domain = next(other for other in profile.domains if other != domain)
    data: MixedData = getattr(profile, TRAINED[defence][1])
    bench = MixedBench(profile, bench.work)
    asked = {"attack": data.attack.model_dump(mode="json"), "count": data.identities}
    path = bench.shared(f"{domain}-stage1", asked, ATTACKING).with_suffix(".safetensors")
    with FileLock(path.with_suffix(".lock")):  # of several processes one works, the others wait
        made_once(path, lambda: _attacked(bench, domain, data))
    return bench


def _attacked(bench: Bench, domain: str, data: MixedData) -> dict[str, Tensor]:
    remove_adapters(bench.pipeline)
    clean = sample_domain(domain, "stage1", range(data.identities), bench.profile.size)
    attacked, turns = torch.empty_like(clean.images), len(data.attack.methods)
    for turn, settings in enumerate(data.attack.attacks()):
        rows = slice(turn, None, turns)
        seeds = [derive_seed("stage1", k) for k in range(data.identities)[rows]]
        attacked[rows] = attack(
            bench.pipeline, clean.images[rows], clean.captions[rows], settings, seeds
        )
    return {"images": (attacked * 255).round().to(torch.uint8)}
