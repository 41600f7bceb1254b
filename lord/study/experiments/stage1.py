"""Stage 1 of LoRD, and what its gate can tell."""

import json

from lord.data.subjects import Subject
from lord.defence import gate_profile, load_defence
from lord.finetune import remove_adapters
from lord.study.bench import (
    HISTORY,
    SELECTION_START,
    Bench,
    Outcome,
    attacked_photographs,
    defence_of,
    rows,
    stage1_images,
)


def run_stage1(bench: Bench, domain: str) -> Outcome:
    """Train the defence of a domain on stage-1 identities, and see what its gate can tell."""
    profile, pipeline = bench.profile, bench.pipeline
    folder = defence_of(bench, domain)
    history = json.loads((folder / HISTORY).read_text(encoding="utf-8"))
    clean, attacked, _ = stage1_images(bench, domain)
    subject = Subject(domain, "stage1", SELECTION_START)
    photographs = subject.photographs(profile.photographs, profile.size).images
    perturbed = attacked_photographs(bench, subject, profile.seeds[0])
    remove_adapters(pipeline)
    load_defence(pipeline, folder)
    gates = gate_profile(pipeline, photographs, perturbed, [subject.prompt] * len(photographs))
    remove_adapters(pipeline)
    return Outcome(
        {"images": len(clean), "gate_accuracy": gates.accuracy},
        history | gates.series,
        rows(clean[:8], attacked[:8]),
    )
