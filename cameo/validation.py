"""pydantic's findings about an input, one line each."""

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol


class Problem(NamedTuple):
    """``place`` is the name of the value, dotted, and empty for the whole; ``kind`` is pydantic's ``type``."""

    place: str
    message: str
    kind: str
    value: Any

    def __str__(self) -> str:
        return self.described("")

    def described(self, whole: str) -> str:
        """With the place before it, or ``whole`` where it is about the whole."""
        place = self.place or whole
        return f"{place}: {self.message}" if place else self.message


class Errors(Protocol):
    """pydantic's ValidationError, FastAPI's RequestValidationError."""

    def errors(self) -> Any: ...


def problems(error: Errors) -> list[Problem]:
    """Everything that is wrong."""
    return [
        Problem(".".join(map(str, e["loc"])), _said(e["type"], str(e["msg"])), str(e["type"]), e.get("input"))
        for e in error.errors()
    ]


def first_problem(error: Errors, names: Iterable[str] = ()) -> Problem:
    """The first of them, for an error message. For an unknown name it lists the ``names`` that the whole may have."""
    first = problems(error)[0]
    known = ", ".join(names)
    if first.kind == _UNKNOWN and "." not in first.place and known:
        return first._replace(message=f"{first.message}; there are {known}")
    return first


_UNKNOWN = "extra_forbidden"


def _said(kind: str, message: str) -> str:
    """pydantic's words, where they are for people."""
    return "there is no such name" if kind == _UNKNOWN else message.removeprefix("Value error, ")
