"""Ctrl-C ends a command with one line, also where Python can raise no error."""

import subprocess
import sys

import pytest

STOPPED = "Stopped. The same command, run again, goes on from what is finished.\n"

PROGRAM = """
import signal
import time
from lord.cli.interrupt import interruptible

signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore it

class Dying:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
        time.sleep(0)

{block}
"""

BLOCKS = {
    "in a command": "with interruptible():\n    Dying()\n    print('went on')",
    "before a command": "Dying()\nprint('went on')",
    "where errors are raised": "with interruptible():\n    signal.raise_signal(signal.SIGINT)",
}


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_ctrl_c_ends_with_one_line(block):
    command = [sys.executable, "-c", PROGRAM.format(block=block)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", STOPPED)
