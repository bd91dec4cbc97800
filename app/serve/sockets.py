"""The listening socket, and the signals that end a process: needed before anything else is loaded."""

import signal
import socket
from typing import Final

ENDING: Final = tuple(
    number
    for number in (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
    if signal.getsignal(number) is not signal.SIG_IGN  # nohup ignores SIGHUP, and means it
)
"""Signals after which a service finishes what it has, and ends. SIGHUP: its terminal was closed."""


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that does not listen yet, at an address that may be ``shared`` with all that are made so. OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
    try:
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound
