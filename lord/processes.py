"""Processes that were launched together, as by ``accelerate launch``: one works on each card.

All of them run the same command. The first one alone, the main one, writes and says something.
"""

import os
from datetime import timedelta

PATIENCE = timedelta(days=7)
"""So long processes wait for one of them."""


def rank() -> int:
    """The number of this process, 0 of the main one."""
    return int(os.environ.get("RANK", "0"))


def processes() -> int:
    """How many were launched together; 1 is a command as usual."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this is the process that writes and says something."""
    return rank() == 0


def wait() -> None:
    """Go on once all processes have come here."""
    if processes() > 1:
        from accelerate import PartialState

        PartialState(timeout=PATIENCE).wait_for_everyone()
