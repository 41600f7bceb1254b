"""Made-up numbers and pictures for each cell, in the shape of true ones, to test what is shown."""

from itertools import product
from random import Random

import numpy as np

from lord.experiments.lord.cost import STAGE1
from lord.experiments.lord.protocol import UNCHANGED, is_lord
from lord.study.experiment import Cell, Outcome

LEVELS = {
    ("none", "none"): (2.0, 0.85, 0.9),
    ("none", "lord"): (2.2, 0.84, 0.9),
    ("ace", "none"): (12.0, 0.4, 0.7),
    ("ace", "jpeg"): (9.0, 0.5, 0.7),
    ("ace", "adversarial"): (6.0, 0.6, 0.8),
    ("ace", "diffpure"): (5.0, 0.6, 0.8),
    ("ace", "lord"): (3.0, 0.8, 0.85),
}
"""FID, CLIP-IQA and identity match that the results of a condition scatter around."""

OTHER = (4.0, 0.7, 0.85)
"""The same for conditions that are not among them."""

WORSE = {"lambda=1": -0.5, "lambda=0": 0, "none": 0, "dropped": 0.5}
"""What a test-time treatment adds to the FID; the best of all is one that is no candidate."""


def example(experiment: str, cell: Cell) -> Outcome:
    """What a cell of an experiment might have found; noise for the picture, if it has one."""
    metrics, series, rows = MADE_UP.get(experiment, condition)(cell)
    shape = (rows * cell.settings.size, 8 * cell.settings.size, 3)
    noise = np.random.default_rng(len(cell.name)).integers(0, 256, shape, dtype=np.uint8)
    return Outcome(metrics, series, noise if rows else None)


def condition(cell):
    """A cell of the results; on other domains or at other doses it is as far from clean."""
    number = Random(cell.name)
    attacked = "none" if cell["attack_name"] in ("none", "noise") else "ace"
    fid, quality, identity = LEVELS.get((attacked, cell["defence"]), OTHER)
    worse = WORSE.get(cell["treatment"], 1)
    if attacked != "none" and cell.coordinates.get("variant"):
        scenario = cell.settings.values["scenario"]
        fid *= cell.settings.attack.eps * 255 / 8 * scenario.attacked_share
    metrics = {
        "fid_embedded": fid + 1 + worse,
        "fid_embedded_round_trip": fid + worse + 0.1 * number.random(),
        "clip_iqa_embedded": quality + 0.01 * number.random(),
        "identity": identity + 0.01 * number.random(),
        "ssim": 1.0 if cell["attack_name"] == "none" else 0.9,
    }
    return metrics, {}, 2


def ace(cell):
    losses = {"loss_clean": 0.1, "loss_noise": 0.11, "loss_attacked": 0.4}
    return {"eps_levels": 8.0} | losses, {}, 3


def audit(cell):
    metrics = {"probability/clean/0": 0.1, "auc/jpeg/0": 0.5}
    for name, level in product(cell.settings.attacks, cell.settings.eps_levels):
        metrics[f"auc/{name}/{level:g}"] = 0.9
    series = {"said/ace": [0.1, 0.9], "true/ace": [0.0, 1.0], "count/ace": [4.0, 4.0]}
    layers = ("up_blocks.0.to_q", "mid_block.to_q", "down_blocks.0.to_q")
    return metrics, series | {f"auc/{layer}": [0.9, 0.5] for layer in layers}, 0


def cost(cell):
    metrics = {"stage 1, LoRD/times": 1.1}
    for place, name in enumerate((*STAGE1.values(), *cell.settings.purifiers), start=1):
        metrics |= {f"{name}/seconds": place / 10, f"{name}/peak_memory_mb": 1000 + 100 * place}
    return metrics, {}, 0


def data(cell):
    return {f"{domain}_per_second": 512.5 for domain in cell.settings.domains}, {}, 2


def masking(cell):
    levels, methods = {"clean": 0.1, "noise": 0.1, "unaware": 0.2}, cell.settings.attacks
    metrics = {f"{m}/{name}": value for m in methods for name, value in levels.items()}
    return metrics, {"steps": [1.0, 4.0, 16.0]} | {m: [0.2, 0.3, 0.35] for m in methods}, 0


def metrics(cell):
    number, found = Random(cell.name), {}
    series = {"severity": [0.0, 0.25, 0.5, 0.75, 1.0]}
    names = ("fid_embedded", "fid_embedded_round_trip", "clip_iqa_embedded", "identity")
    for level, name in enumerate(names):
        found[f"floor/{name}"] = 0.5 + level
        for kind in ("blur", "noise", "jpeg", "swirl", "tiles"):
            found[f"spearman/{name}/{kind}"] = -1.0 if name == "fid_embedded" else 0.95
            series[f"{name}/{kind}"] = [number.random() for _ in series["severity"]]
    return found, series, 0


def model(cell):
    metrics = {"parameters_millions": 4.2, "psnr": 30.0, "attribute_accuracy": 0.9}
    for domain, names in (("portraits", ("skin", "hair_style")), ("landscapes", ("terrain",))):
        metrics |= {f"accuracy/{domain}/{name}": 0.8 for name in names}
    return metrics, {}, 6


def performance(cell):
    columns = ("seconds_per_image", "times_the_floor")
    attacks = {"floor": 1.4, "naive": 1.5, "ace": 1.7, "advdm": 1.9, "ace_plus": 1.5}
    steps = {f"{name}/{c}": value for name, value in attacks.items() for c in columns}
    return steps | {"ace_plus/faster_than_naive": 2.5}, {}, 0


def rank_cost(cell):
    variants = (UNCHANGED, *cell.settings.variants)
    names = [f"{variant}/{defence}" for variant in variants for defence in ("none", "lord")]
    metrics = {f"{name}/adapter_thousands": 12.5 for name in names}
    return metrics | {f"{name}/step_seconds": 0.25 for name in names}, {}, 0


def sampled_gates(cell):
    kinds = ("samples", "photographs")
    series = {f"{kind}/timestep": [900.0, 500.0] for kind in kinds}
    for kind, name, end in product(kinds, ("clean", "attacked"), ("low", "mean", "high")):
        series[f"{kind}/{name}_{end}"] = [0.5, 0.2]
    return {"clean": 0.3, "attacked": 0.8}, series, 0


def stage1(cell):
    number, parts = Random(cell.name), ("clean", "attacked", "gate")
    series = {name: [number.random() for _ in range(40)] for name in parts}
    if not is_lord(cell.settings, cell["defence"]):
        return {"images": 512.0}, {name: series[name] for name in parts[:2]}, 2
    series["timestep"] = [100.0, 500.0, 900.0]
    for name in ("clean", "attacked"):
        series |= {f"{name}_{end}": [0.1] * 3 for end in ("low", "mean", "high")}
    accuracy = 0.7 if cell["domain"] == "portraits" else 0.8
    return {"images": 512.0, "gate_accuracy": accuracy}, series, 2


MADE_UP = {
    "ace": ace,
    "audit": audit,
    "cost": cost,
    "data": data,
    "masking": masking,
    "masking_diffpure": masking,
    "metrics": metrics,
    "model": model,
    "performance": performance,
    "rank_cost": rank_cost,
    "sampled_gates": sampled_gates,
    "stage1": stage1,
}
"""For experiments other than those of a condition: metrics, series and rows of the picture."""
