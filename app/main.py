"""The application: :func:`create_app` puts the parts together, and nothing else does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from app import page
from app.api import (
    access,
    batch,
    card,
    compare,
    compress,
    health,
    latent,
    models,
    pages,
    problems,
    reconstruct,
    verify,
)  # fmt: skip
from app.api.bodies import Budget, LimitBodies
from app.api.description import describe
from app.api.middleware import Head, Observe
from app.api.prefix import Prefix
from app.api.run import Admission
from app.config import Settings
from app.engine.service import Service
from app.observe import tracing
from app.observe.metrics import Metrics
from app.observe.tracing import Tracing

DESCRIPTION = """A photo of a face in about a hundred bytes, and back.

`POST /compress` takes a photo and gives tokens and a payload; `POST /reconstruct` takes them and draws the face.
Errors are `application/problem+json` with a stable `type`."""

# What pages of other origins may send and read beside what browsers let them anyway.
TAKEN_HEADERS = (
    "Accept", "Authorization", "Content-Type", "X-Api-Key", "X-Request-Id", "traceparent", "Cameo-Deadline-Ms",
)  # fmt: skip
AT_WORK = (compress, reconstruct, batch, compare, card, verify, latent)
UNPACKED = 4  # items of all batches that are in memory, for each worker
SAMPLE_SECONDS = 1.0
GIVEN_HEADERS = (
    "Cameo-Model", "Cameo-Sizes", "Cameo-Tokens", "Cameo-Effort", "Cameo-Frame", "Cameo-Likeness", "Cameo-Warnings",
    "Cameo-Card", "Server-Timing", "X-Request-Id", "traceparent", "Retry-After", "WWW-Authenticate",
)  # fmt: skip


def create_app(settings: Settings) -> FastAPI:
    """The ASGI application. ValueError where a setting cannot be met: a device, a detector, a judge, a key."""
    access.require_keys(settings)
    metrics = Metrics()
    keys = access.Keys(settings.keys, settings.key_per_minute, metrics) if settings.keys else None
    traces = tracing.connect(settings.otlp, _version()) if settings.otlp else None
    service = Service(settings, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        if settings.processes > 1:  # others serve meanwhile, so nobody should be sent here yet
            await asyncio.to_thread(service.watch.looked.wait)
        sampling = asyncio.create_task(_sample(metrics))
        yield
        sampling.cancel()
        service.stop()
        if traces:
            await asyncio.to_thread(traces.close)

    # FastAPI's own /docs loads its scripts from elsewhere; this one brings them along.
    # The page itself is ours, for its security headers.
    app = FastAPIOffline(
        title="Cameo", version=_version(), description=DESCRIPTION, lifespan=lifespan, docs_url=None, redoc_url=None,
        root_path=settings.root_path, telemetry=tracing.telemetry(traces),
        middleware=_middleware(settings, service, keys, metrics, traces),
    )  # fmt: skip
    app.state.service = service
    app.state.page = page.load(settings.root_path)
    app.state.unpacked = asyncio.Semaphore(UNPACKED * service.scheduler.workers)
    for resource in (*AT_WORK, models, health):
        app.include_router(resource.router)
    app.include_router(pages.router)
    problems.install(app)
    describe(app, keys is not None, settings.max_deadline_ms)
    return app


def _middleware(
    settings: Settings, service: Service, keys: access.Keys | None, metrics: Metrics, traces: Tracing | None
) -> list[Middleware]:
    """In the order in which a request meets them."""
    layers = [
        Middleware(Prefix, root_path=settings.root_path),
        Middleware(Observe, metrics=metrics, traces=traces),
    ]
    if settings.cors_origins:  # before the keys: browsers ask without one whether they may ask, and read refusals
        layers.append(
            Middleware(
                CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=("GET", "POST"),
                allow_headers=TAKEN_HEADERS, expose_headers=GIVEN_HEADERS,
            )
        )  # fmt: skip
    if keys:
        layers.append(Middleware(access.Access, keys=keys, metrics=metrics))
    budget = Budget.of(settings)
    return [
        *layers,
        Middleware(Admission, service=service, routers=[resource.router for resource in AT_WORK]),
        Middleware(LimitBodies, limit=settings.max_body_bytes, json_limit=service.json_bytes, budget=budget),
        Middleware(Head),
    ]


async def _sample(metrics: Metrics) -> None:
    while True:
        metrics.sample()
        await asyncio.sleep(SAMPLE_SECONDS)


def _version() -> str:
    try:
        return version("cameo-faces")
    except PackageNotFoundError:
        return "0+unknown"
