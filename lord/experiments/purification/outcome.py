"""What a record of attacks on a defence holds: shares after each attack, and every picture."""

from random import Random

from lord.experiments.sheet import made_up, rows
from lord.study.context import Context
from lord.study.experiment import Cell, Outcome, Settings

STANDINGS = ("worst", "majority")
"""Right after every one of several purifications, or by their vote."""


def attacked_outcome(context: Context, settings: Settings) -> Outcome:
    """Accuracies after each attack of a cell, and how many grey levels it moved pixels on average;
    which pictures hold to the end. The sheet shows pictures, the first attack on them, and what
    purification makes of that.
    """
    import torch

    from lord.experiments.purification.chain.gauntlet import run_gauntlet
    from lord.experiments.purification.chain.victims import tested, victim_of

    steps = run_gauntlet(context, settings)
    images, _, seeds = tested(context, settings)
    metrics = {"images": len(images), "right": steps[0].right}
    for step in steps:
        for name in STANDINGS:
            metrics[f"{step.attack}/{name}"] = getattr(step.standing, name).float().mean().item()
        metrics[f"{step.attack}/asked"] = step.asked
        metrics[f"{step.attack}/moved"] = (
            255 * (step.images.to(images) - images).abs().mean().item()
        )
    series = {
        f"{when}/{name}": getattr(step.standing, name).float().tolist()
        for when, step in (("standard", steps[0]), ("robust", steps[-1]))
        for name in STANDINGS
    }
    shown = steps[min(1, len(steps) - 1)].images[:8].to(images)
    sheets = [images[:8], shown]
    if settings.purifier is not None:
        victim = victim_of(context, settings)
        with torch.no_grad():
            sheets.append(victim.purify(shown, victim.seeds(seeds[: len(shown)], "trial", 0)))
    return Outcome(metrics, series, rows(*sheets))


def made_up_steps(cell: Cell) -> Outcome:
    """Made-up numbers: each attack takes a share of what the others have left."""
    number, count = Random(cell.name), 32
    metrics = {"images": count, "right": 0.95}
    left = {"worst": count - 3, "majority": count - 1}
    series = {f"standard/{name}": [float(k < n) for k in range(count)] for name, n in left.items()}
    for name in ("standard", *(attack.name for attack in cell.settings.attacks)):
        metrics[f"{name}/asked"] = count if name == "standard" else left["majority"]
        metrics[f"{name}/moved"] = 0.0 if name == "standard" else 5.0
        if name != "standard":
            left = {key: int(value * (0.5 + 0.4 * number.random())) for key, value in left.items()}
            left["worst"] = min(left.values())
        metrics |= {f"{name}/{key}": value / count for key, value in left.items()}
    series |= {f"robust/{name}": [float(k < n) for k in range(count)] for name, n in left.items()}
    return Outcome(metrics, series, made_up(cell.name, 3, 32))
