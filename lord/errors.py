"""What is wrong, in words."""

from pydantic import ValidationError


def described(error: Exception) -> str:
    """What an error says in one line; of settings, each field with what is wrong with it."""
    if not isinstance(error, ValidationError):
        return str(error) or type(error).__name__
    problems = []
    for problem in error.errors():
        field = ".".join(map(str, problem["loc"]))
        message = problem["msg"].removeprefix("Value error, ")
        if field and problem["type"] != "missing":
            message += f", not {problem['input']!r}"
        problems.append(f"{field}: {message}" if field else message)
    return "; ".join(dict.fromkeys(problems))
