"""The application as a deployment of Ray Serve; ``python -m app`` does without this module.

Each replica is the whole service of one process, with its settings from ``CAMEO_*`` variables, its own models, workers
and queue. Ray Serve starts replicas, asks each whether it is ready, ends it when its requests are answered, and listens
to the world. So CAMEO_HOST, CAMEO_PORT and all that concerns connections mean nothing here; see docs/ray.md.
"""

import asyncio
import logging
from typing import Any

import ray
from fastapi import FastAPI
from prometheus_client import start_http_server
from pydantic import BaseModel, ConfigDict
from ray import serve

from app.config import Settings
from app.engine.service import Service
from app.main import create_app
from app.serve.server import prepare

PORTS = 64  # replicas on one node, at most, of which metrics are shown

log = logging.getLogger("cameo.replica")


class Options(BaseModel):
    """``args`` of the application in the Serve config."""

    model_config = ConfigDict(extra="forbid")

    metrics_host: str = "127.0.0.1"
    """Where each replica shows its own metrics: for Prometheus on other machines, 0.0.0.0."""
    metrics_port: int = 9464
    """Of the first replica on a node; the next one takes the next port that is free."""


@serve.ingress()
class Replica:
    """``create_app(Settings())`` and no more."""

    _service: Service

    def __init__(self, options: Options) -> None:
        self._options = options

    def __serve_build_asgi_app__(self) -> FastAPI:
        settings = Settings()
        # Ray Serve listens, and a replica does not know where: it takes the worst, and wants keys or CAMEO_OPEN.
        own: dict[str, Any] = {"host": "0.0.0.0"}  # noqa: S104
        if not settings.workers:
            own["workers"] = max(1, int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1)))
        settings = settings.model_copy(update=own)
        prepare(settings)
        app = create_app(settings)
        self._service = app.state.service
        self._show_metrics()
        return app

    async def check_health(self) -> None:
        """As ``/readyz``: the first call waits until the store was read. A replica that fails is replaced."""
        await asyncio.to_thread(self._service.watch.looked.wait)
        self._service.require_ready()

    def _show_metrics(self) -> None:
        first = self._options.metrics_port
        for port in range(first, first + PORTS):
            try:
                start_http_server(port, self._options.metrics_host, self._service.metrics.registry)
            except OSError:  # another replica has it
                continue
            log.info("metrics at http://%s:%d/metrics", self._options.metrics_host, port)
            return
        log.error("no port from %d to %d is free: no metrics of this replica", first, first + PORTS - 1)


def build(options: Options) -> serve.Application:
    """What ``import_path`` names."""
    return serve.deployment(name="Cameo")(Replica).bind(options)
