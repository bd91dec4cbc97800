"""uvicorn with a shutdown that drops no request, and with a time limit for silent clients.

At the first SIGTERM or SIGINT the service reports that it is not ready, answers with ``Connection: close``, and serves
for ``drain_seconds``, so that load balancers notice. Then it stops listening, finishes the requests that it has, for up
to ``grace_seconds``, and ends. A second signal skips the first part.
"""

import asyncio
import ctypes
import logging
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from socket import IPPROTO_TCP, SOL_SOCKET, socket
from types import FrameType
from typing import Any

import cv2
import uvicorn
from fastapi import FastAPI

from app.config import Settings
from app.engine import memory
from app.engine.service import Service
from app.main import create_app
from app.observe import logs
from app.serve.protocol import Protocol
from app.serve.sockets import ENDING

if sys.platform == "linux":
    import resource
    from socket import TCP_USER_TIMEOUT

log = logging.getLogger("cameo.service")

SWITCH_SECONDS = 2e-4
ACCEPT_SECONDS = 0.1  # for the loop to take the connections that wait
POLL_SECONDS = 0.02
REQUEST_POLLS = 50  # for the request on a connection that is there: a second
TICKS_PER_SECOND = 10  # of uvicorn
SO_ATTACH_FILTER = 26  # of Linux; Python does not name it
CLOSE = (b"connection", b"close")


def serve(settings: Settings, listener: socket | None = None, listening: Callable[[], None] = lambda: None) -> int:
    """Until a signal ends it: the exit status. At ``listener``, if given; ``listening`` is called when it listens."""
    prepare(settings)
    try:
        app = create_app(settings)
    except ValueError as error:
        print(f"cameo: {error}", file=sys.stderr)
        return 2
    for number in ENDING:
        signal.signal(number, _end)
    server = Server(app, settings, listening)
    server.run(None if listener is None else [listener])
    return 0 if server.started else 1


def prepare(settings: Settings) -> None:
    """What a process needs before it makes the application."""
    logs.configure(settings.log_level, settings.log_format)
    # Without this, OpenCV logs a warning about its DNN engine at every start.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    memory.bound()
    _allow_connections()
    # Workers pack and unpack in Python. With the default of 5 ms the event loop would wait that long for each of its
    # several turns in a request.
    sys.setswitchinterval(SWITCH_SECONDS)


def _allow_connections() -> None:
    """Raise the limit of open files to the most allowed: each connection is one, and Linux starts with 1,024."""
    if sys.platform == "linux":
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _end(*_: object) -> None:
    """uvicorn finishes what it serves, then raises the signal again, whose default would report a death by signal."""
    for number in ENDING:  # one more, while the loop is closed, would leave it half open
        signal.signal(number, signal.SIG_IGN)
    sys.exit(0)


class Server(uvicorn.Server):
    def __init__(self, app: FastAPI, settings: Settings, listening: Callable[[], None]) -> None:
        self._service: Service = app.state.service
        self._drain_seconds, self._client_seconds = settings.drain_seconds, settings.client_seconds
        self._silent: dict[Any, tuple[Any, float]] = {}  # since when connections wait, and after which request
        self._listening = listening
        # Requests are logged by the middleware, with their ids.
        super().__init__(
            uvicorn.Config(
                app, host=settings.host, port=settings.port, access_log=False, log_config=None, server_header=False,
                http=partial(Protocol, most_connections=settings.connections, metrics=self._service.metrics),  # type: ignore[arg-type]
                timeout_keep_alive=settings.client_seconds, timeout_graceful_shutdown=settings.grace_seconds,
            )
        )  # fmt: skip

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        if sys.platform == "linux":  # elsewhere an answer that nobody takes keeps its connection
            for listener in self._listeners():  # connections inherit it
                listener.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, self._client_seconds * 1000)
        if hasattr(signal, "SIGHUP") and signal.SIGHUP in ENDING:  # uvicorn takes care of the others
            signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
        self._say_where()
        self._listening()

    def _say_where(self) -> None:
        """uvicorn says it only of sockets that it has made itself."""
        for listener in self._listeners():
            host, port = listener.getsockname()[:2]
            address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            log.info("listens on %s, and loads models until it is ready; the API is described at /docs", address)

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_PER_SECOND == 0:
            self._close_silent()
        return await super().on_tick(counter)

    def _close_silent(self) -> None:
        """Close connections without a request for too long; after a first byte uvicorn would wait for ever."""
        now, silent = time.monotonic(), {}
        for connection in self.server_state.connections:
            cycle = getattr(connection, "cycle", None)  # the last request and its answer
            if cycle is None or cycle.response_complete:
                last, since = self._silent.get(connection, (cycle, now))
                silent[connection] = cycle, since if last is cycle else now
                if now - silent[connection][1] > self._client_seconds:
                    connection.transport.close()
        self._silent = silent

    def _listeners(self) -> list[socket]:
        return [listener for server in self.servers for listener in server.sockets]

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """uvicorn's, after listening has ended in a way that loses no connection."""
        for listener in self._listeners():
            _deafen(listener)
        await asyncio.sleep(ACCEPT_SECONDS)
        for server in self.servers:
            server.close()
        # uvicorn closes at once what has no request yet, though one may be on its way.
        for _ in range(REQUEST_POLLS):
            if all(getattr(connection, "cycle", True) for connection in self.server_state.connections):
                break
            await asyncio.sleep(POLL_SECONDS)
        await super().shutdown(sockets)

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


def _deafen(listener: socket) -> None:
    """Stop new connections to a listening socket, and keep those that wait to be accepted.

    Closing the socket would reset them: the kernel completes a connection before the process accepts it. So first a
    filter goes on the socket, a single BPF instruction that returns 0, "accept 0 bytes of this packet" (see Linux'
    Documentation/networking/filter.rst). For example, with one process of two:

    - Client A has connected, but is not accepted yet. Its connection stays in the queue, is accepted within
      ``ACCEPT_SECONDS``, and its request is answered.
    - Client B sends its SYN now. The kernel drops it, so B gets neither an answer nor a refusal. After one second TCP
      sends the SYN again. By then this socket is closed, and the other process takes the connection. Where there is no
      other, B gets "connection refused", which is true.
    """
    if sys.platform != "linux":
        return
    instruction = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0), 8)
    with suppress(OSError):  # a sandbox may not have it
        listener.setsockopt(SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(instruction)))
