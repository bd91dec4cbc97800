"""Archives damaged in every way: items within their limits or a clear error, never anything else."""

import json
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.api.archives import Item, Limits, label, lines, untar, unzip
from cameo.errors import CameoError, TooManyItems
from tests.archives import tarred, zipped

LIMITS = Limits(items=4, bytes=1000)
FILES = {"a.jpg": b"first", "folder/b.jpg": bytes(range(256)) * 3, "c": b""}


def listed() -> bytes:
    return b"".join(json.dumps({"payload": "AAEC", "name": name}).encode() + b"\n" for name in FILES)


Opener = Callable[[bytes, Limits], list[Item]]
KINDS: dict[str, tuple[Opener, bytes]] = {
    "zip": (unzip, zipped(FILES)),
    "tar": (untar, tarred(FILES)),
    "lines": (lines, listed()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_whole_ones_give_their_files(kind: str) -> None:
    opener, body = KINDS[kind]
    items = opener(body, LIMITS)
    assert [item.name for item in items] == ["a.jpg", "b.jpg", "c"]
    expected = [b"\0\1\2"] * 3 if kind == "lines" else list(FILES.values())
    assert [item.read() for item in items] == expected
    with pytest.raises(TooManyItems):
        opener(body, Limits(items=2, bytes=1000))


def test_a_file_may_have_no_name() -> None:
    body = zipped({"a.jpg": b"first"}).replace(b"a.jpg", b"\0.jpg")  # names end at a zero
    (item,) = unzip(body, LIMITS)
    assert (item.name, item.read()) == ("0", b"first")


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=300, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8),
    keep=st.integers(0, 10**6),
    tail=st.binary(max_size=40),
)
def test_damaged_ones(kind: str, changes: list[tuple[int, int]], keep: int, tail: bytes) -> None:
    opener, whole = KINDS[kind]
    body = bytearray(whole)
    for place, value in changes:
        body[place % len(body)] = value
    holds(opener, bytes(body[: keep % (2 * len(body))]) + tail)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=2000))
@example(body=b"")
@example(body=b"\0" * 1024)
def test_any_bytes(kind: str, body: bytes) -> None:
    holds(KINDS[kind][0], body)


@settings(max_examples=300)
@given(name=st.text(max_size=300))
def test_labels_are_fit_to_be_shown(name: str) -> None:
    shown = label(name, 7)
    assert 0 < len(shown) <= 100
    assert shown.isprintable()
    assert not set(shown) & {"/", "\\"}
    assert shown not in {".", ".."}


def holds(opener: Opener, body: bytes) -> None:
    """Items within their limits, each readable or failing by itself, or a clear error for all."""
    try:
        items = opener(body, LIMITS)
    except CameoError:
        return
    assert len(items) <= LIMITS.items
    for item in items:
        try:
            data = item.read()
        except CameoError:
            continue
        assert len(data) <= LIMITS.bytes
