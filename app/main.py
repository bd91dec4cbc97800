"""The application: :func:`create_app` puts the parts together, and nothing else does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app.api import compare, compress, health, models, problems, reconstruct
from app.api.middleware import LimitBody, Observe
from app.api.schemas import Problem
from app.config import Settings
from app.engine.service import Service
from app.metrics import Metrics

DESCRIPTION = """A face photo in a few hundred bytes, still the same person.

`POST /compress` takes a photo and gives tokens and a payload; `POST /reconstruct` takes them and draws the face.
Errors are `application/problem+json` with a stable `type`."""


def create_app(settings: Settings) -> FastAPI:
    """The ASGI application. ValueError where a setting cannot be met: a device, a detector, a judge."""
    metrics = Metrics()
    service = Service(settings, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.stop()

    # FastAPI's own /docs loads its scripts from elsewhere; this one brings them along.
    app = FastAPIOffline(title="Cameo", version=_version(), description=DESCRIPTION, lifespan=lifespan, redoc_url=None)
    app.state.service = service
    for resource in (compress, reconstruct, compare, models, health):
        app.include_router(resource.router)
    problems.install(app)
    app.add_middleware(LimitBody, limit=settings.max_body_bytes)
    app.add_middleware(Observe, metrics=metrics)
    _document_problem(app)
    return app


def _document_problem(app: FastAPI) -> None:
    """Add the schema that every documented error refers to."""
    original = app.openapi

    def openapi() -> dict[str, Any]:
        document = original()
        document["components"]["schemas"].setdefault("Problem", Problem.model_json_schema())
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _version() -> str:
    try:
        return version("cameo")
    except PackageNotFoundError:
        return "0+unknown"
