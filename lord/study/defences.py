"""The defences of the study, each trained once."""

import json
from pathlib import Path

from torch import Tensor

from lord.data.subjects import Subject, sample_domain
from lord.defence import save_defence, train_defence
from lord.files import write_text
from lord.finetune import remove_adapters
from lord.seeding import derive_seed
from lord.study.bench import DEFENDING, Bench
from lord.study.photographs import attacked_once

# Identities of the stage-1 split beyond any that stage 1 trains on.
SELECTION_START = 1_000_000

# The losses of stage 1, beside its adapter.
HISTORY = "history.json"


def protect(
    bench: Bench, subject: Subject, images: Tensor, defence: str
) -> tuple[Tensor, Path | None]:
    """What a LoRA learns behind a defence: from which images, and on top of which adapter."""
    if defence != "lord":
        raise ValueError(f"unknown defence {defence!r}")
    return images, defence_of(bench, subject.domain)


def stage1_images(bench: Bench, domain: str) -> tuple[Tensor, Tensor, list[str]]:
    """Clean and attacked pictures of many stage-1 identities, with their captions."""
    data = bench.profile.stage1_data
    batch = sample_domain(domain, "stage1", range(data.identities), bench.profile.size)
    seeds = [derive_seed("stage1", k) for k in range(data.identities)]
    attacked = attacked_once(
        bench, f"{domain}-stage1", batch.images, batch.captions, data.attack, seeds
    )
    return batch.images, attacked, batch.captions


def defence_of(bench: Bench, domain: str) -> Path:
    """The folder of the domain's stage-1 adapter, trained once, with the history of its losses."""
    settings = bench.profile.model_dump(mode="json", include={"stage1", "stage1_data"})
    folder = bench.shared(f"{domain}-defence", settings, DEFENDING)
    if not (folder / HISTORY).exists():
        clean, attacked, captions = stage1_images(bench, domain)
        remove_adapters(bench.pipeline)
        history = train_defence(
            bench.pipeline,
            clean,
            attacked,
            captions,
            bench.profile.stage1,
            checkpoint=folder / "checkpoint.safetensors",
        )
        save_defence(bench.pipeline, folder)
        write_text(folder / HISTORY, json.dumps(history))  # the last file says that all are there
        for path in folder.glob("checkpoint-*"):
            path.unlink()
    return folder
