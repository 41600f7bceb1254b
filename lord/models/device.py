"""Where models run, and in which precision."""

import torch


def best_device() -> torch.device:
    """The fastest device present: cuda, then mps, then cpu."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def default_dtype(device: torch.device | str) -> torch.dtype:
    """Half precision where it pays (cuda), single precision elsewhere."""
    return torch.float16 if torch.device(device).type == "cuda" else torch.float32
