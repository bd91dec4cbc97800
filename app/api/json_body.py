"""JSON from a client to a schema, at a cost in proportion to its bytes."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from cameo.errors import QUOTED_CHARACTERS, BadRequest, InvalidParameter, quoted
from cameo.validation import first_problem

MEMBERS = 32  # of an object: more than any schema has
S = TypeVar("S", bound=BaseModel)


def parse(schema: type[S], data: bytes, what: str) -> S:
    """BadRequest where it is not JSON, InvalidParameter where it does not fit the schema. ``what``: as "the body"."""
    try:
        value = from_json(data, cache_strings=False)
    except ValueError as error:
        raise BadRequest(f"{what} is not JSON: {quoted(str(error))}") from error
    _require_few(value, what)
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        first = first_problem(error, schema.model_fields)
        place = first.place[:QUOTED_CHARACTERS]
        raise InvalidParameter(f"{place or what}: {first.message}", parameter=place) from error


def _require_few(value: Any, what: str) -> None:
    """Before a schema makes an error of each member that it does not know."""
    for name, inside in (("", value), *(value.items() if isinstance(value, dict) and len(value) <= MEMBERS else ())):
        if isinstance(inside, dict) and len(inside) > MEMBERS:
            raise InvalidParameter(
                f"{quoted(name) if name else what} has {len(inside)} members; none has more than {MEMBERS}",
                parameter=name[:QUOTED_CHARACTERS], members=len(inside), limit=MEMBERS,
            )  # fmt: skip
