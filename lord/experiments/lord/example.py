"""Made-up numbers and pictures in the shape of true ones, for tests of what is shown."""

from random import Random

from lord.experiments.sheet import made_up
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


def condition(cell: Cell) -> Outcome:
    """A cell of the results; on other domains or at other doses it is as far from clean."""
    number = Random(cell.name)
    attacked = "none" if cell["attack_name"] in ("none", "noise") else "ace"
    levels = LEVELS.get((attacked, cell["defence"]), OTHER)
    fid, quality, identity = levels
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
    if cell.settings.independent:
        metrics |= {
            "fid_imagenet": 15 * fid,
            "kid_imagenet": fid / 100,
            "ms_ssim_distance": fid / 20,
            "imagenet_identity": identity,
        }
    return Outcome(metrics, sheet=made_up(cell.name, 2, cell.settings.size))
