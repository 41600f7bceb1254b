"""What is wrong with settings, in words."""

from pydantic import ValidationError


def described(error: ValidationError) -> str:
    """Each field with what is wrong with it, in one line."""
    problems = []
    for problem in error.errors():
        field = ".".join(map(str, problem["loc"]))
        message = problem["msg"].removeprefix("Value error, ")
        if field and problem["type"] != "missing":
            message += f", not {problem['input']!r}"
        problems.append(f"{field}: {message}" if field else message)
    return "; ".join(dict.fromkeys(problems))
