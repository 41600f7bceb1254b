"""Ctrl-C ends every command with one line and within two seconds, wherever it meets it.

Once this module is imported, that is so while the others are loaded, too.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

EXIT_CODE = 130
"""Of what Ctrl-C has ended, by the custom of shells."""

PATIENCE = 1.0
"""Seconds that a command has to come to its end, before the system ends it."""


class Interrupt:
    """Whether Ctrl-C was pressed, which a library may have taken for an error of its own."""

    def __init__(self) -> None:
        self.came = self.pressed = False

    def say(self) -> None:
        """Say how to go on, once."""
        if not self.came:
            self.came = True
            print(
                "Stopped. The same command, run again, goes on from what is finished.",
                file=sys.stderr,
            )

    def _stop(self, *_: object) -> None:
        self.say()
        self.pressed = True
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the process
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
        raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """A block that Ctrl-C leaves by a `KeyboardInterrupt`, or not at all alive."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = signal.signal(signal.SIGINT, interrupt._stop)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
        if interrupt.pressed:  # all that is to be tidied up has been; the libraries take their time
            sys.stdout.flush()
            os._exit(EXIT_CODE)


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        Interrupt().say()
    else:
        sys.__excepthook__(kind, error, trace)


def _ignored(problem: "sys.UnraisableHookArgs") -> None:
    """End what Ctrl-C has met where no error can be raised, as while an object is given back."""
    if not issubclass(problem.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(problem)
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        Interrupt().say()  # no command is under way that has said it
    sys.stdout.flush()
    os._exit(EXIT_CODE)


sys.excepthook, sys.unraisablehook = _report, _ignored
