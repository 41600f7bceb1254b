"""Timing side by side: what is compared takes turns, and the fastest turn of each counts."""

import time
from collections.abc import Callable, Mapping
from functools import partial

import torch


def fastest_turns(
    steps: Mapping[str, Callable[[], None]], device: torch.device, turns: int
) -> dict[str, float]:
    """Seconds of the fastest of several turns of each; a turn before warms up."""
    _fastest(steps, device, 1)
    return _fastest(steps, device, turns)


def seconds_of_one(
    steps: Mapping[str, Callable[[int], None]], device: torch.device, turns: int, many: int
) -> dict[str, float]:
    """Seconds of one step of each kind, given what takes any number of them; side by side.

    It is the difference between many steps and one, shared by the others: what is done once
    cancels. One step of each before warms up for many as well.
    """
    one, all_of_them = (
        {f"{name} × {count}": partial(step, count) for name, step in steps.items()}
        for count in (1, many)
    )
    _fastest(one, device, 1)
    seconds = _fastest(one | all_of_them, device, turns)
    return {
        name: (seconds[f"{name} × {many}"] - seconds[f"{name} × 1"]) / (many - 1) for name in steps
    }


def _fastest(
    steps: Mapping[str, Callable[[], None]], device: torch.device, turns: int
) -> dict[str, float]:
    """They take turns, so that a slow moment of the machine does not hit one alone."""
    taken = [{name: _seconds(step, device) for name, step in steps.items()} for _ in range(turns)]
    return {name: min(turn[name] for turn in taken) for name in steps}


def _seconds(step: Callable[[], None], device: torch.device) -> float:
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start
