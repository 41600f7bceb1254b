"""What is wrong, in words."""

import os
import re
from errno import ENOSPC
from reprlib import Repr

from pydantic import ValidationError

LONGEST = 1000
"""Characters of a message; the beginning says what is wrong."""

SHORT = Repr()
"""How a wrong value is shown."""
SHORT.maxother = SHORT.maxstring = SHORT.maxlong = 60


def described(error: Exception) -> str:
    """What an error says in one line; of settings, each field with what is wrong with it."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return one_line(f"{os.fsdecode(error.filename)}: {error.strerror}")
    if isinstance(error, OSError) and error.errno == ENOSPC:  # files are written by their names
        return f"standard output: {error.strerror}"
    if not isinstance(error, ValidationError):
        return one_line(str(error)) or type(error).__name__
    problems = []
    for problem in error.errors():
        field = ".".join(map(str, problem["loc"]))
        message = problem["msg"].removeprefix("Value error, ")
        if field and problem["type"] != "missing":
            message += f", not {SHORT.repr(problem['input'])}"
        problems.append(f"{field}: {message}" if field else message)
    return one_line("; ".join(dict.fromkeys(problems)))


def pattern_problem(text: str) -> str:
    """Why a text is no regular expression; nothing of one that is."""
    try:
        re.compile(text)
    except re.error as error:
        return f"no regular expression ({error})"
    return ""


def one_line(text: str) -> str:
    """A text as one line that no terminal obeys and any encoding can write, not too long."""
    whole = "".join(c if c.isprintable() else _shown(c) for c in text[: LONGEST + 1].strip())
    return whole if len(text) <= LONGEST else f"{whole[:LONGEST]} …"


def _shown(character: str) -> str:
    """A character that is not to be printed: a blank for one that is blank, else its number."""
    return " " if character.isspace() else ascii(character)[1:-1]
