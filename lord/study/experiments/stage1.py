"""Stage 1 of LoRD, and what its gate can tell."""

import json

from lord.data.subjects import Subject
from lord.defences.gates import gate_profile
from lord.defences.saved import load_defence
from lord.study.bench import Bench, Outcome, rows
from lord.study.defences import HISTORY, SELECTION_START, defence_of, stage1_images
from lord.study.photographs import photographs_of
from lord.training.lora import remove_adapters


def run_stage1(bench: Bench, domain: str, defence: str) -> Outcome:
    """Train a defence of a domain on stage-1 identities, and see what its gate, if any, can tell.

    The gate is shown an identity that it was not trained on.
    """
    profile, pipeline = bench.profile, bench.pipeline
    folder = defence_of(bench, domain, defence)
    history = json.loads((folder / HISTORY).read_text(encoding="utf-8"))
    clean, attacked, _ = stage1_images(bench, domain, defence)
    sheet = rows(clean[:8], attacked[:8])
    if not profile.is_lord(defence):
        return Outcome({"images": len(clean)}, history, sheet)
    subject = Subject(domain, "stage1", SELECTION_START)
    photographs = photographs_of(bench, subject, profile.seeds[0], None)
    perturbed = photographs_of(bench, subject, profile.seeds[0], profile.attack_of("ace"))
    remove_adapters(pipeline)
    load_defence(pipeline, folder)
    gates = gate_profile(pipeline, photographs, perturbed, [subject.prompt] * len(photographs))
    return Outcome(
        {"images": len(clean), "gate_accuracy": gates.accuracy},
        history | gates.series,
        sheet,
    )
