"""The defences of the study, each trained once."""

import json
import shutil
from pathlib import Path

from filelock import FileLock
from torch import Tensor

from lord.data.subjects import Subject, sample_domain
from lord.defences.saved import CONFIG_FILE, WEIGHTS_FILE, save_defence
from lord.defences.stage1 import train_defence
from lord.files import write_text
from lord.seeding import derive_seed
from lord.study.bench import Bench
from lord.study.photographs import attacked_once
from lord.study.profile import TRAINED, defence_components
from lord.study.purified import purified
from lord.training.lora import remove_adapters

# Identities of the stage-1 split beyond any that stage 1 trains on.
SELECTION_START = 1_000_000

# The losses of stage 1, beside its adapter.
HISTORY = "history.json"


def protect(
    bench: Bench, subject: Subject, images: Tensor, defence: str
) -> tuple[Tensor, Path | None]:
    """What a LoRA learns behind a defence: from which images, and on top of which adapter."""
    if defence in TRAINED:
        scenario, domain = bench.profile.scenario, subject.domain
        if scenario.stage1_domain == "other":
            domain = next(other for other in bench.profile.domains if other != domain)
        return images, with_gate(defence_of(bench, domain, defence), scenario.stage2_gate)
    return purified(bench, subject, images, defence), None


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
    bench: Bench, domain: str, defence: str = "lord"
) -> tuple[Tensor, Tensor, list[str]]:
    """Clean and attacked pictures of many stage-1 identities, with their captions."""
    data = getattr(bench.profile, TRAINED[defence][1])
    batch = sample_domain(domain, "stage1", range(data.identities), bench.profile.size)
    seeds = [derive_seed("stage1", k) for k in range(data.identities)]
    attacked = attacked_once(
        bench, f"{domain}-stage1", batch.images, batch.captions, data.attack, seeds
    )
    return batch.images, attacked, batch.captions


def defence_of(bench: Bench, domain: str, defence: str = "lord") -> Path:
    """The folder of a domain's adapter, trained once, with the history of its losses."""
    settings = bench.profile.model_dump(mode="json", include=set(TRAINED[defence]))
    components = ["step:renderer", *defence_components(bench.profile, defence)]
    folder = bench.shared(f"{domain}-{defence}", settings, components)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):  # of several processes one trains, the others wait
        if not (folder / HISTORY).exists():
            _train(bench, domain, defence, folder)
    return folder


def _train(bench: Bench, domain: str, defence: str, folder: Path) -> None:
    clean, attacked, captions = stage1_images(bench, domain, defence)
    remove_adapters(bench.pipeline)
    history = train_defence(
        bench.pipeline,
        clean,
        attacked,
        captions,
        getattr(bench.profile, TRAINED[defence][0]),
        checkpoint=folder / "checkpoint.safetensors",
    )
    save_defence(bench.pipeline, folder)
    write_text(folder / HISTORY, json.dumps(history))  # the last file says that all are there
    for path in folder.glob("checkpoint-*"):
        path.unlink()
