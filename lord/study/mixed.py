"""Stage-1 pictures that several attacks have taken turns in.

`lord.study.defences` knows one attack. This makes the pictures before they are asked for there, so
that what defences of one attack have measured does not depend on it.
"""

from functools import partial

import torch
from filelock import FileLock
from torch import Tensor

from lord.attacks import AttackSettings, attack
from lord.data.subjects import sample_domain
from lord.finetune import remove_adapters
from lord.seeding import derive_seed
from lord.study.bench import ATTACKING, Bench, made_once
from lord.study.profile import TRAINED, MixedData


def mix(bench: Bench, domain: str, defence: str) -> None:
    """Make what `lord.study.defences.stage1_images` looks for under the mixed attack of a defence.

    Picture k is what the k-th of the methods, in turn, makes of the clean one.
    """
    profile = bench.profile
    data: MixedData = getattr(profile, TRAINED[defence][1])
    asked = {"attack": data.attack.model_dump(mode="json"), "count": data.identities}
    for place in profile.domains if profile.scenario.stage1_domain == "other" else [domain]:
        path = bench.shared(f"{place}-stage1", asked, ATTACKING).with_suffix(".safetensors")
        with FileLock(path.with_suffix(".lock")):  # of several processes one works, the others wait
            made_once(path, partial(_attacked, bench, place, data))


def _attacked(bench: Bench, domain: str, data: MixedData) -> dict[str, Tensor]:
    remove_adapters(bench.pipeline)
    clean = sample_domain(domain, "stage1", range(data.identities), bench.profile.size)
    attacked, turns = torch.empty_like(clean.images), len(data.attack.methods)
    common = data.attack.model_dump(exclude={"method", "methods"})
    for first, method in enumerate(data.attack.methods):
        rows = slice(first, None, turns)
        attacked[rows] = attack(
            bench.pipeline,
            clean.images[rows],
            clean.captions[rows],
            AttackSettings(method=method, **common),
            [derive_seed("stage1", k) for k in range(data.identities)[rows]],
        )
    return {"images": (attacked * 255).round().to(torch.uint8)}
