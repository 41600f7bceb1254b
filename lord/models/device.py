"""Where models run."""

import os

import torch


def best_device() -> torch.device:
    """The fastest device present: cuda, then mps, then cpu.

    Of several processes that were launched together, each has a card of its own.
    """
    if torch.cuda.is_available():
        rank = os.environ.get("LOCAL_RANK")
        return torch.device("cuda") if rank is None else torch.device("cuda", int(rank))
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")
