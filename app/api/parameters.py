"""Unknown query parameters and form fields are refused, not ignored."""

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import BaseModel

from cameo.errors import InvalidParameter, quoted


async def refuse_unknown(request: Request) -> None:
    """A dependency of every route: InvalidParameter for a query parameter that the route does not have."""
    if not request.url.query:
        return
    allowed = query_names(request.scope["route"])
    for name in request.query_params:
        if name not in allowed:
            raise unknown("query parameter", name, allowed)


def refuse_unknown_fields(request: Request, names: list[str], *allowed: str) -> None:
    """The same for the fields of a form; one that is a query parameter comes with a hint."""
    for name in names:
        if name not in allowed:
            same = name.replace("-", "_")
            hint = f"; {same} is a query parameter: send it as ?{same}=..." if same in query_names(
                request.scope["route"]
            ) else ""  # fmt: skip
            raise unknown("form field", name, allowed, hint)


def unknown(kind: str, name: str, allowed: tuple[str, ...], hint: str = "") -> InvalidParameter:
    known = ", ".join(allowed) or "none"
    return InvalidParameter(
        f"{kind} {quoted(name)} is not known here; known: {known}{hint}", parameter=name[:200], allowed=list(allowed)
    )


def query_names(route: APIRoute) -> tuple[str, ...]:
    """The query parameters of a route; those of a model are the model's fields."""
    names: list[str] = []
    for field in route.dependant.query_params:
        kind = field.field_info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names += [each.alias or name for name, each in kind.model_fields.items()]
        else:
            names.append(field.alias)
    return tuple(names)
