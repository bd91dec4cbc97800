"""uvicorn, with an end that drops nothing.

At the first SIGTERM or SIGINT the service says that it is not ready, answers with ``Connection: close``, and serves for
``drain_seconds``, so that whoever sends it requests notices. Then it stops listening, finishes what it has, for up to
``grace_seconds``, and ends. A second signal skips the first part.
"""

import threading
from types import FrameType

import uvicorn
from fastapi import FastAPI

from app.config import Settings
from app.engine.service import Service

CLOSE = (b"connection", b"close")


class Server(uvicorn.Server):
    def __init__(self, app: FastAPI, settings: Settings) -> None:
        self._service: Service = app.state.service
        self._drain_seconds = settings.drain_seconds
        # Requests are logged by the middleware, with their ids.
        super().__init__(
            uvicorn.Config(
                app, host=settings.host, port=settings.port, access_log=False, log_config=None, server_header=False,
                timeout_graceful_shutdown=settings.grace_seconds,
            )
        )  # fmt: skip

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._service.draining or not self._drain_seconds:
            self._service.drain()
            super().handle_exit(sig, frame)
            return
        self._service.drain()
        # Headers of all answers are put together once a second: those of this second, and of the following ones.
        self.server_state.default_headers = [*self.server_state.default_headers, CLOSE]
        self.config.encoded_headers.append(CLOSE)
        later = threading.Timer(self._drain_seconds, super().handle_exit, (sig, frame))
        later.daemon = True
        later.start()
