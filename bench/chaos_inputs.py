"""What :mod:`bench.chaos` sends: requests whose answers are known, and requests that must be refused."""

import contextlib
import io
import struct
import zlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.server import BenchError, Server, post
from bench.stores import retag
from cameo import codec
from cameo.faces.framing import asis
from cameo.pictures.encode import encode
from cameo.store.reader import StoredVersion
from tests.unit.pictures.test_scan import BOMBS

PAYLOAD = "application/vnd.cameo"
TIMES_ALONE = 2
SPARE = 8  # bytes below the highest rate, of which a few may be left out


@dataclass(frozen=True)
class Known:
    """``right`` is the answer by the version that the store began with, which is ``base``.

    ``finest`` is the payload for the highest rate, of a model with several: any other is a prefix of it, under a tag.
    ``pinned``: the path asks for ``base``, since another version with the same weights may find something else.
    """

    path: str
    media_type: str
    accept: str
    body: bytes
    base: StoredVersion
    right: bytes
    budget: int | None = None
    finest: bytes = b""
    pinned: bool = False

    def right_of(self, version: StoredVersion) -> bytes:
        """The answer by a version with the same weights."""
        if self.draws or self.pinned:
            return self.right
        if self.budget is None:
            return retag(self.right, version)
        # Not from ``right``: a coder leaves out a byte or two where a cut payload would look whole under its tag.
        return codec.shorten(replace(codec.unwrap(self.finest), tag=version.tag), self.budget)

    @property
    def draws(self) -> bool:
        """Whether a payload goes in and a picture comes out, not the other way round."""
        return self.accept.startswith("image/")


@dataclass(frozen=True)
class Bad:
    """``statuses`` are those that it may get; 0 stands for a connection that the service closes without an answer."""

    what: str
    request: bytes
    statuses: tuple[int, ...]


def request(
    path: str, media_type: str, accept: str, body: bytes, *, more: str = "", length: int | None = None
) -> bytes:
    """A whole HTTP/1.1 request on a connection of its own."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: {media_type}\r\n"
        f"Accept: {accept}\r\nContent-Length: {len(body) if length is None else length}\r\n{more}\r\n"
    )
    return head.encode() + body


def known_requests(server: Server, bases: list[StoredVersion], photo: NDArray[np.uint8]) -> list[Known]:
    """Pictures in several formats, framings, budgets and models, and what comes of them; each asked for alone."""
    mirrored = photo[:, ::-1]
    uploads = [
        ("image/jpeg", "auto", encode(photo, "image/jpeg")),
        ("image/webp", "auto", encode(mirrored, "image/webp")),
    ]
    uploads += [
        ("image/png", "asis", encode(asis(part, 128).portrait, "image/png"))
        for part in (photo[40:180, 150:290], mirrored[40:180, 210:350])
    ]
    found = []
    with contextlib.closing(server.connect()) as connection:

        def alone(path: str, media_type: str, accept: str, body: bytes) -> bytes:
            answers = {post(connection, path, media_type, body, accept) for _ in range(TIMES_ALONE)}
            if len(answers) > 1:
                raise BenchError(f"POST {path} answers the same request differently, alone")
            return answers.pop()

        for base in bases:
            name, rates = base.manifest.name, base.manifest.rates
            if rates[1:]:  # what most clients get: a search
                for media_type, frame, body in uploads[::2]:
                    path = f"/compress?model={name}&version={base.manifest.version}&frame={frame}&effort=good"
                    payload = alone(path, media_type, PAYLOAD, body)
                    found.append(Known(path, media_type, PAYLOAD, body, base, payload, pinned=True))
            budgets = [rates[0], base.manifest.default_rate or rates[1], rates[-1] - SPARE] if rates[1:] else [None]
            for media_type, frame, body in uploads:
                for budget in budgets:
                    # A search is for one budget.
                    path = f"/compress?model={name}&frame={frame}&effort=fast&likeness=false"
                    finest = alone(f"{path}&max_bytes={rates[-1]}", media_type, PAYLOAD, body) if budget else b""
                    path += f"&max_bytes={budget}" if budget else ""
                    payload = alone(path, media_type, PAYLOAD, body)
                    known = Known(path, media_type, PAYLOAD, body, base, payload, budget, finest)
                    if known.right_of(base) != payload:
                        raise BenchError(f"POST {path} gives no prefix of what the highest rate gives")
                    found.append(known)
                    picture = alone("/reconstruct", PAYLOAD, "image/png", payload)
                    found.append(Known("/reconstruct", PAYLOAD, "image/png", payload, base, picture))
    return found


def bad_requests(known: list[Known]) -> list[Bad]:
    """Each with all statuses that are right for it."""
    photo = next(k for k in known if k.media_type == "image/jpeg")
    payload = next(k for k in known if k.draws).body
    grey = encode(np.full((256, 256, 3), 128, np.uint8), "image/png")
    model = photo.base.manifest.name

    def picture(what: str, body: bytes, *statuses: int, kind: str = "image/png", query: str = "") -> Bad:
        return Bad(what, request(f"/compress?frame=auto{query}", kind, PAYLOAD, body), statuses)

    def code(what: str, body: bytes, *statuses: int, kind: str = PAYLOAD) -> Bad:
        return Bad(what, request("/reconstruct", kind, "image/png", body), statuses)

    damaged = payload[:5] + bytes([payload[5] ^ 4]) + payload[6:]
    return [
        picture("truncated JPEG", photo.body[: len(photo.body) // 2], 400),
        picture("truncated PNG", grey[:60], 400),
        picture("no picture", b"no picture at all", 400),
        picture("empty", b"", 400),
        picture("bomb", bomb(), 422),
        picture("SVG", b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, kind="image/svg+xml"),
        picture("text", b"a face", 415, kind="text/plain"),
        picture("broken form", b"--x\r\nnonsense", 400, 422, kind="multipart/form-data; boundary=x"),
        picture("no face", grey, 422),
        picture("unknown model", grey, 404, query="&model=nobody"),
        picture("unknown version", grey, 404, query=f"&model={model}&version=99999"),
        picture("no budget", grey, 422, query=f"&model={model}&max_bytes=1"),
        picture("no number", grey, 422, query="&max_bytes=few"),
        code("foreign payload", b"PK\x03\x04 something else entirely", 400, 422),
        code("damaged payload", damaged, 400, 422),
        code("truncated payload", payload[:-3], 400, 422),
        code("overlong payload", payload * 900, 400, 413, 422),
        code("no JSON", b'{"payload": ', 400, kind="application/json"),
        code("wrong JSON", b'{"model": "x"}', 404, 422, kind="application/json"),
        *costly_requests(),
        Bad("too long", request("/compress", "image/png", PAYLOAD, b"", length=10**9), (413,)),
        Bad("wrong method", b"DELETE /compress HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", (405,)),
        Bad("no such page", b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", (404,)),
        Bad("no HTTP", b"\x16\x03\x01\x02\x00 hello?\r\n\r\n", (400, 0)),
    ]


def costly_requests() -> list[Bad]:
    """Small requests that would take seconds and gigabytes, were it not for limits."""
    pictures = [(name, make()) for name, make in BOMBS.items()]
    shape = b'{"model": "x", "tokens": {"shape": [' + b'"a",' * 10**6 + b"1]}}"
    keys = b"{" + b",".join(b'"%x":1' % i for i in range(10**5)) + b"}"
    form = b"--B\r\nContent-Disposition: form-data; name=image\r\n\r\na-" + b"a" * 10**6 + b"\r\n--B--\r\n"
    punycode, never = "multipart/form-data; boundary=B; charset=punycode", "Cameo-Deadline-Ms: " + "9" * 400 + "\r\n"
    line = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    return [
        *(Bad(name, request("/compress", "image/*", PAYLOAD, data), (200, 400, 415, 422)) for name, data in pictures),
        Bad("long shape", request("/reconstruct", "application/json", "image/png", shape), (413,)),
        Bad("many keys", request("/reconstruct", "application/json", "image/png", keys), (413, 422)),
        Bad("form in punycode", request("/compress", punycode, PAYLOAD, form), (415,)),
        Bad("many fields", line + b"a: b\r\n" * 5000 + b"\r\n", (431,)),
        Bad("long field", line + b"X-A: " + b"a" * 100_000 + b"\r\n\r\n", (431,)),
        Bad("late for ever", request("/compress", "image/png", PAYLOAD, b"", more=never), (422,)),
    ]  # fmt: skip


def bomb() -> bytes:
    """A small PNG that says it has 40,000 pixels a side."""
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "PNG")
    data = bytearray(file.getvalue())
    data[16:24] = struct.pack(">II", 40_000, 40_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)
