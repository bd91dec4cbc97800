"""Query parameters that several resources have; those that a route does not have are refused by name."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal

from fastapi import Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

from app.config import Effort
from cameo.errors import InvalidParameter, quoted

FrameMethod = Annotated[
    Literal["auto", "asis"],
    Query(description="auto: find the face and warp it to the canonical portrait; asis: centre square, resized"),
]

FaceChoice = Annotated[
    Literal["largest", "only"],
    Query(description="of several faces: largest takes the most prominent one, only refuses the picture"),
]

WantedEffort = Annotated[
    Effort | None,
    Query(
        description="good and best search for the tokens of which the decoder makes the most similar face, for some "
        ".3 and .8 seconds of a CPU; fast takes what the encoder says. Only models with several rates have such a "
        "search. Default: what CAMEO_EFFORT says, or else good, and fast for batches"
    ),
]


class WantedFace(BaseModel):
    """The query of a request that makes a payload of a photo."""

    model: Annotated[str | None, Query(description="name of the model; default: the store's", max_length=100)] = None
    version: Annotated[int | None, Query(description="default: the model's default version", ge=1)] = None
    max_bytes: Annotated[
        int | None, Query(description="largest payload wanted, bytes; default: the version's default rate", ge=1)
    ] = None
    frame: FrameMethod = "auto"
    face: FaceChoice = "largest"
    effort: WantedEffort = None


class Wanted(WantedFace):
    """The query of a request to compress."""

    likeness: Annotated[
        bool | None,
        Query(
            description="whether to say how like the face is, which takes some 40 milliseconds of a CPU; default: yes, "
            "but for batches only where tokens are searched for"
        ),
    ] = None


class Route(APIRoute):
    """Refuses query parameters that it does not have, by name: InvalidParameter.

    Not by a dependency, which FastAPI would resolve anew for each request.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle, allowed = super().get_route_handler(), query_names(self)

        async def refuse_or_handle(request: Request) -> Response:
            if request.scope["query_string"]:
                for name in request.query_params:
                    if name not in allowed:
                        raise unknown("query parameter", name, allowed)
            return await handle(request)

        return refuse_or_handle


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
