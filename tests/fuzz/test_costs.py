"""What a byte of a request may cost, whatever the bytes are: so many seconds of a CPU, so many bytes of memory."""

import gzip
import io
import json
import tarfile
import time
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from app.api import forms, json_body
from app.api.archives import Limits, lines, untar, unzip
from app.api.payloads import decode_base64
from app.api.problems import document
from app.api.schemas import ReconstructRequest
from cameo.errors import CameoError
from tests.archives import tarred, zipped

LIMITS = Limits(items=1000, bytes=2**20)
KIND = "multipart/form-data; boundary=B"
SECONDS, SECONDS_A_BYTE = 0.5, 4e-6  # the machine may be busy, and is not a thousand times slower
BYTES, BYTES_A_BYTE = 4 * 2**20, 64

READERS: dict[str, tuple[Callable[[bytes], object], int]] = {
    "json": (lambda body: json_body.parse(ReconstructRequest, body, "the body"), 2**16),
    "form": (lambda body: [part.is_file for part in forms.parse(body, KIND, forms.FIELDS)], 2**20),
    "lines": (lambda body: lines(body, LIMITS), 2**20),
    "tar": (lambda body: untar(body, LIMITS), 2**20),
    "zip": (lambda body: unzip(body, LIMITS), 2**20),
    "base64": (lambda body: decode_base64(body.decode("latin-1")), 2**17),
}


def header(kind: bytes, data: bytes = b"") -> bytes:
    info = tarfile.TarInfo("a")
    info.type, info.size = kind, len(data)
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512)


def extra_fields() -> bytes:
    body = zipped({"a": b"a", "b": b"b"})
    entry = body.index(b"PK\1\2")
    return body[: entry + 30] + b"\xff\xff" + body[entry + 32 :]


PIECES = [
    b"", b"{", b"}", b"[", b"]", b'"', b'"a":', b'"a",', b"1,", b"[],", b"{},", b"9", b"1e9,", b"\\u0000", b"-",
    b"null,",
    b'{"model":"m","tokens":', b'{"shape":[', b'"indices":[', b'{"payload":"', b'{"payload":""}\n', b"\n", b"A", b"=",
    b"\r\n", b"--B", b"--", b"\r\n--", b"--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n", b'; a="', b"a=b;",
    b"PK\1\2", b"PK\3\4", b"PK\5\6" + bytes(18), zipped({"a": b"a"}), extra_fields(), zipped({"a": bytes(2**16)}),
    header(b"0", b"a"), header(b"5"), header(b"x", b"6 a=b\n" * 100), header(b"g", b"6 a=b\n" * 1000),
    header(b"L", b"a" * 600), header(b"S"), tarred({"a": b"a"}), bytes(512), gzip.compress(bytes(2**20)),
    zlib.compress(bytes(2**16)),
]  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=60, deadline=None)
@given(runs=st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from([1, 2, 100, 10**6])), min_size=1, max_size=5))
def test_a_byte_costs_little(reader: str, runs: list[tuple[bytes, int]]) -> None:
    read, most = READERS[reader]
    body = b"".join(piece * min(count, most // max(len(piece), 1)) for piece, count in runs)[:most]
    holds(read, body)


def holds(read: Callable[[bytes], object], body: bytes) -> None:
    def attempt() -> None:
        try:
            read(body)
        except CameoError as error:
            json.dumps(document(Request({"type": "http"}), error))

    began = time.thread_time()
    attempt()
    assert time.thread_time() - began < SECONDS + SECONDS_A_BYTE * len(body)
    tracemalloc.start()
    try:
        attempt()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < BYTES + BYTES_A_BYTE * len(body)


def test_a_zip_directory_of_extra_fields() -> None:
    """:mod:`zipfile` reads them in the square of their length."""
    body, extra = io.BytesIO(), (b"\x99\x99\0\0" * 16_000)[:65_000]
    plain = zipped({f"{i}.png": b"" for i in range(12)})
    start = plain.index(b"PK\1\2")
    body.write(plain[:start])
    directory, at = b"", start
    while plain[at : at + 4] == b"PK\1\2":
        size = int.from_bytes(plain[at + 28 : at + 30], "little")
        entry = bytearray(plain[at : at + 46 + size])
        entry[30:32] = len(extra).to_bytes(2, "little")
        directory += bytes(entry) + extra
        at += 46 + size
    end = bytearray(plain[at:])
    end[12:16] = len(directory).to_bytes(4, "little")
    holds(READERS["zip"][0], body.getvalue() + directory + bytes(end))
