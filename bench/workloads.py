"""What is asked of every server, and the same work without one."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import torch

from app import codec
from app.engine.models import Coder
from app.images import decode, encode
from app.nn.recogniser import SFace
from app.portrait import Framer, asis
from app.quality import installed_judge
from app.store.reader import StoredVersion
from bench.stores import default_version

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


def workloads(stored: StoredVersion, photo: bytes) -> list[Workload]:
    """``photo``: find the face in a photo and compress it. ``portrait``: compress a PNG that is a portrait already.

    ``reconstruct``: draw a payload as a PNG. ``search``: a photo at the default effort, where that is a search. One
    thread a core is the process's own, as in the service.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    coder, framer = Coder(stored, torch.device("cpu")), Framer()

    def compress(upload: bytes, frame: str) -> bytes:
        image = decode(upload, MAX_PIXELS)
        framed = framer.auto(image, coder.size) if frame == "auto" else asis(image, coder.size)
        return coder.pack(coder.tokens(framed.portrait))

    def reconstruct() -> bytes:
        return encode(coder.reconstruct(coder.unpack(codec.unwrap(payload))), "image/png")

    portrait = encode(framer.auto(decode(photo, MAX_PIXELS), coder.size).portrait, "image/png")
    payload = compress(photo, "auto")
    works = [
        Workload(
            "photo", "/compress?frame=auto&effort=fast", "image/jpeg", PAYLOAD, photo, lambda: compress(photo, "auto")
        ),
        Workload(
            "portrait",
            "/compress?frame=asis&effort=fast",
            "image/png",
            PAYLOAD,
            portrait,
            lambda: compress(portrait, "asis"),
        ),
        Workload("reconstruct", "/reconstruct", PAYLOAD, "image/png", payload, reconstruct),
    ]
    if coder.prior is not None and (judge := installed_judge()) and find_spec("onnx"):
        recogniser = SFace(judge)

        def search() -> bytes:
            portrait = framer.auto(decode(photo, MAX_PIXELS), coder.size).portrait
            return coder.pack(coder.search(recogniser, portrait, None, "good").finish().numpy())

        works.append(Workload("search", "/compress?frame=auto", "image/jpeg", PAYLOAD, photo, search, peers=False))
    return works


def of_store(store: Path, photo: bytes) -> list[Workload]:
    """Those of the store's default version, for a process that has nothing but paths."""
    return workloads(default_version(store), photo)
