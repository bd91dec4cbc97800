"""The requests for every server, and the same work done by the library."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch

import cameo
from cameo.faces.framing import Framer
from cameo.pictures.decode import decode
from cameo.pictures.encode import encode

PAYLOAD = "application/vnd.cameo"
MAX_PIXELS = 50_000_000
DEADLINE_MS = 1000


@dataclass(frozen=True)
class Workload:
    """A request, and the work that it asks for, in this process and in one thread: its result is the answer's body."""

    name: str
    path: str
    media_type: str
    accept: str
    body: bytes
    bare: Callable[[], bytes]
    peers: bool = True
    """Whether other servers do it, too."""

    def request(self, deadline_ms: int | None = DEADLINE_MS) -> bytes:
        """The whole HTTP/1.1 request."""
        lines = [
            f"POST {self.path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {self.media_type}",
            f"Accept: {self.accept}", f"Content-Length: {len(self.body)}",
        ]  # fmt: skip
        if deadline_ms is not None:
            lines.append(f"Cameo-Deadline-Ms: {deadline_ms}")
        return "\r\n".join([*lines, "", ""]).encode() + self.body


def workloads(store: Path, photo: bytes) -> list[Workload]:
    """Those of a store's default version.

    ``photo``: find the face in a photo and compress it. ``portrait``: compress a PNG that is a portrait already.
    ``reconstruct``: draw a payload as a PNG. ``search``: a photo at the default effort, where that is a search. One
    thread a core is the process's own, as in the service.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    here = cameo.open(store, device="cpu")

    def compress(upload: bytes, frame: Literal["auto", "asis"], effort: Literal["fast", "good"] = "fast") -> bytes:
        return here.compress(upload, frame=frame, effort=effort, likeness=effort != "fast").payload

    first = here.compress(photo, effort="fast")
    size = here.reconstruct(first.payload).width
    portrait = encode(Framer().auto(decode(photo, MAX_PIXELS), size).portrait, "image/png")
    fast = "effort=fast&likeness=false"  # which takes as long as the rest together

    def reconstruct() -> bytes:
        return encode(np.asarray(here.reconstruct(first.payload)), "image/png")

    works = [
        Workload(
            "photo", f"/compress?frame=auto&{fast}", "image/jpeg", PAYLOAD, photo, lambda: compress(photo, "auto")
        ),
        Workload(
            "portrait", f"/compress?frame=asis&{fast}", "image/png", PAYLOAD, portrait,
            lambda: compress(portrait, "asis"),
        ),
        Workload("reconstruct", "/reconstruct", PAYLOAD, "image/png", first.payload, reconstruct),
    ]  # fmt: skip
    if here.compress(portrait, frame="asis").effort == "good":

        def search() -> bytes:
            return compress(photo, "auto", "good")

        works.append(Workload("search", "/compress?frame=auto", "image/jpeg", PAYLOAD, photo, search, peers=False))
    return works
