"""Timing side by side: what is compared takes turns, and the fastest turn of each counts."""

import time
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from lord.data.subjects import Subject
from lord.study.experiment import Cell


def album(cell: Cell) -> tuple[Tensor, list[str]]:
    """The photographs of a subject of the first domain, with their captions."""
    subject = Subject(cell.settings.domains[0], "evaluation", cell["subject"])
    images = subject.photographs(cell.settings.photographs, cell.settings.size).images
    return images, [subject.prompt] * len(images)


def fastest_turns(
    steps: Mapping[str, Callable[[], None]], device: torch.device, turns: int
) -> dict[str, float]:
    """Seconds of the fastest of several turns of each.

    They take turns, so that a slow moment of the machine does not hit one alone; the first turn
    warms up and does not count.
    """
    seconds = dict.fromkeys(steps, float("inf"))
    for turn in range(turns + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:
                seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds


def seconds_of_one(
    steps: Mapping[str, Callable[[int], None]], device: torch.device, turns: int, many: int
) -> dict[str, float]:
    """Seconds of one step of each kind, given what takes any number of them; side by side.

    It is the difference between many steps and one, shared by the others: what is done once
    cancels.
    """
    one, all_of_them = (
        {f"{name} × {count}": partial(step, count) for name, step in steps.items()}
        for count in (1, many)
    )
    seconds = fastest_turns(one | all_of_them, device, turns)
    return {
        name: (seconds[f"{name} × {many}"] - seconds[f"{name} × 1"]) / (many - 1) for name in steps
    }
