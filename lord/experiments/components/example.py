"""Made-up numbers in the shape of true ones, for tests of what is shown."""

from random import Random

from lord.experiments.components.protocol import COMPARED, SIMILARITIES
from lord.experiments.sheet import made_up as made_up_sheet
from lord.study.experiment import Cell, Outcome

LEVELS = {"psnr": 25.0, "ssim": 0.9, "ms_ssim": 0.95, "clip_score": 30.0}


def made_up(cell: Cell, damage: float) -> Outcome:
    """Made-up numbers and curves of a cell.

    Args:
        damage: how many dB the attack is worth beyond noise.
    """
    number, count = Random(cell.name), cell.settings.pictures
    metrics, series = {}, {}
    for name in ("clean", *COMPARED):
        lost = damage if name == "attack" else 0.0
        for measure, level in LEVELS.items():
            if name == "clean" and measure in SIMILARITIES:
                continue
            scale = level / 25.0
            values = [level - scale * (lost + number.random()) for _ in range(count)]
            series[f"{name}/{measure}"] = values
            metrics[f"{name}/{measure}"] = sum(values) / count
        metrics |= {f"{name}/fid": 5 + lost, f"{name}/inception_score": 2.0}
    metrics |= {f"known/{measure}": LEVELS[measure] for measure in SIMILARITIES}
    sheet = made_up_sheet(cell.name, 3, 8)
    return Outcome(metrics | {"change_levels": 6.0}, series, sheet)
