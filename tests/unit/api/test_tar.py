"""Tars as :mod:`tarfile` and others write them, and as nobody does."""

import gzip
import io
import tarfile
import time

import pytest

from app.api.archives import Limits, untar
from app.api.tar import EXTENDED_BYTES, RECORDS, members
from cameo.errors import BodyTooLarge, BrokenArchive
from tests.archives import tarred

LIMITS = Limits(items=1000, bytes=10**6)
FILES = {"a.jpg": b"first", "x" * 140 + "/" + "é" * 120 + ".jpg": bytes(1500), "folder/b.jpg": b""}


def written(files: dict[str, bytes], form: int, **pax: str) -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w", format=form, pax_headers=pax) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1.5 if form == tarfile.PAX_FORMAT else 1
            archive.addfile(info, io.BytesIO(data))
        folder = tarfile.TarInfo("folder")
        folder.type, folder.size = tarfile.DIRTYPE, 0
        archive.addfile(folder)
    return body.getvalue()


def raw(name: str, kind: bytes, data: bytes = b"", size: int | None = None) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data) if size is None else size
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512)


def record(key: str, value: str) -> bytes:
    text = f" {key}={value}\n".encode()
    size = len(text) + 1
    while len(str(size)) + len(text) != size:
        size = len(str(size)) + len(text)
    return str(size).encode() + text


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_both_formats_are_read(form: int) -> None:
    body = written(FILES, form, **({"comment": "x" * 1000} if form == tarfile.PAX_FORMAT else {}))
    found = list(members(body, 100))
    assert [member.name for member in found] == [*FILES, "folder"]
    assert [body[m.start : m.start + m.size] for m in found if m.is_file] == list(FILES.values())
    assert [item.read() for item in untar(body, LIMITS)] == list(FILES.values())


def test_a_size_may_stand_in_an_extended_header() -> None:
    body = raw("x", tarfile.XHDTYPE, record("size", "5")) + raw("a", tarfile.REGTYPE, b"hello", 0) + bytes(1024)
    (item,) = untar(body, LIMITS)
    assert item.read() == b"hello"


def test_sparse_files_are_no_items() -> None:
    mapped = bytearray(raw("s", tarfile.GNUTYPE_SPARSE, b"", 512))
    mapped[482] = 1
    mapped[148:156] = b"        "
    mapped[148:156] = b"%06o\0 " % sum(mapped[:512])
    more = bytearray(512)
    more[504] = 1
    named = raw("x", tarfile.XHDTYPE, record("GNU.sparse.major", "1")) + raw("t", tarfile.REGTYPE, b"map")
    body = bytes(mapped) + bytes(more) + bytes(512) + b"data".ljust(512) + named + raw("a", tarfile.REGTYPE, b"a")
    assert [item.name for item in untar(body + bytes(1024), LIMITS)] == ["a"]


@pytest.mark.parametrize(
    "body",
    [
        raw("x", tarfile.XHDTYPE, bytes(EXTENDED_BYTES + 1)),
        raw("L", tarfile.GNUTYPE_LONGNAME, b"a" * (EXTENDED_BYTES + 1)),
        raw("x", tarfile.XHDTYPE, record("a", "b") * (RECORDS + 1)),
        raw("x", tarfile.XHDTYPE, record("size", "9" * 400)) + raw("a", tarfile.REGTYPE),
        raw("x", tarfile.XHDTYPE, record("size", "-1")) + raw("a", tarfile.REGTYPE),
        raw("g", tarfile.XGLTYPE) * 6000,
        raw("a", tarfile.REGTYPE) + b"no header".ljust(512),
        b"",
        b"short",
    ],
)
def test_what_is_refused(body: bytes) -> None:
    with pytest.raises(BrokenArchive):
        untar(body, LIMITS)


def test_headers_before_many_members_cost_no_more_than_their_bytes() -> None:
    """:mod:`tarfile` copies 20,000 records into each of 2,990 members."""
    records = b"".join(record(f"{i:x}", "1") for i in range(20_000))
    body = raw("g", tarfile.XGLTYPE, records) + raw("a", tarfile.DIRTYPE) * 2990 + bytes(1024)
    began = time.process_time()
    assert untar(body, LIMITS) == []
    assert time.process_time() - began < 5


def test_a_compressed_tar() -> None:
    body = tarred(FILES)
    assert [item.read() for item in untar(gzip.compress(body), LIMITS)] == list(FILES.values())
    with pytest.raises(BodyTooLarge):
        untar(gzip.compress(bytes(10**9 // 50)), LIMITS)
    for broken in (gzip.compress(body)[:-3], b"\x1f\x8b\x08nothing", gzip.compress(body) + b"more"):
        with pytest.raises(BrokenArchive):
            untar(broken, LIMITS)
