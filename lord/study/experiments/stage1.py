"""Stage 1 of LoRD, and what its gate can tell."""

import json

from lord.data.subjects import Subject
from lord.defence import gate_profile, load_defence
from lord.finetune import remove_adapters
from lord.study.bench import Bench, Outcome, rows
from lord.study.defences import HISTORY, SELECTION_START, defence_of, stage1_images
from lord.study.photographs import photographs_of


def run_stage1(bench: Bench, domain: str) -> Outcome:
    """Train the defence of a domain on stage-1 identities, and see what its gate can tell."""
    profile, pipeline = bench.profile, bench.pipeline
    folder = defence_of(bench, domain)
    history = json.loads((folder / HISTORY).read_text(encoding="utf-8"))
    clean, attacked, _ = stage1_images(bench, domain)
    subject = Subject(domain, "stage1", SELECTION_START)
    photographs = photographs_of(bench, subject, profile.seeds[0], None)
    perturbed = photographs_of(bench, subject, profile.seeds[0], profile.attack_of("ace"))
    remove_adapters(pipeline)
    load_defence(pipeline, folder)
    gates = gate_profile(pipeline, photographs, perturbed, [subject.prompt] * len(photographs))
    return Outcome(
        {"images": len(clean), "gate_accuracy": gates.accuracy},
        history | gates.series,
        rows(clean[:8], attacked[:8]),
    )
