"""Where models run."""

import torch


def best_device() -> torch.device:
    """The fastest device present: cuda, then mps, then cpu."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")
