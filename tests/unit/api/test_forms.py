"""Forms as clients write them, well and badly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.forms import FIELDS, Part, parse
from cameo.errors import BadRequest, CameoError, UnsupportedMediaType

KIND = "multipart/form-data; boundary=B"


def form(*parts: tuple[str, bytes]) -> bytes:
    return b"".join(b"--B\r\n%s\r\n\r\n%s\r\n" % (head.encode(), data) for head, data in parts) + b"--B--\r\n"


def named(more: str = "", name: str = "image") -> str:
    return f'Content-Disposition: form-data; name="{name}"{more}'


def one(head: str, data: bytes = b"\xff\xd8data") -> Part:
    (part,) = parse(form((head, data)), KIND, FIELDS)
    return part


@pytest.mark.parametrize(
    ("more", "filename", "media_type"),
    [
        ('; filename="a.jpg"', "a.jpg", ""),
        ("; filename=a.jpg", "a.jpg", ""),
        ('; filename="a;b=\\"c\\".jpg"\r\nContent-Type: image/jpeg; x=y', 'a;b="c".jpg', "image/jpeg"),
        ("; filename*=UTF-8''na%C3%AFve.jpg", "naïve.jpg", ""),
        ("; filename=\"x\"; filename*=utf-8'en'%e2%82%ac.jpg", "€.jpg", ""),
        ('; filename="naïve.jpg"', "naïve.jpg", ""),
        ('; filename=""', "", ""),
        ("\r\nContent-Type: image/png", None, "image/png"),
        ("", None, ""),
    ],
)
def test_what_is_a_file(more: str, filename: str | None, media_type: str) -> None:
    part = one(named(more))
    assert (part.name, part.filename, part.media_type, part.data) == ("image", filename, media_type, b"\xff\xd8data")
    assert part.is_file


@pytest.mark.parametrize("head", [named(), named("\r\nContent-Type: text/plain; charset=utf-8")])
def test_what_is_text(head: str) -> None:
    assert not one(head, b"photo.jpg").is_file
    assert not one(head, b"").is_file
    assert one(head, b"\xff").is_file


def test_data_is_exact() -> None:
    data = b"\r\n--\r\n\r\n--A\r\n-" * 50_000
    first, second = parse(form((named(), data), (named(name="é"), b"")), KIND, FIELDS)
    assert (first.data, second.name, second.data) == (data, "é", b"")
    assert parse(b"preamble\r\n" + form((named(), b"x")) + b"epilogue", KIND, FIELDS)[0].data == b"x"
    assert parse(b"--B--", KIND, FIELDS) == []


@pytest.mark.parametrize("charset", ["punycode", "undefined", "idna", "utf-16", "latin-1", "base64", "x" * 500])
def test_other_charsets_are_refused(charset: str) -> None:
    with pytest.raises(UnsupportedMediaType) as caught:
        parse(form((named(), b"a-" + b"a" * 1000)), f"{KIND}; charset={charset}", FIELDS)
    assert len(caught.value.detail) < 300
    assert parse(form((named(), b"a")), f'{KIND}; charset="UTF-8"', FIELDS)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"--B", b"--B\r\n", b"--Bx\r\n", b"nothing", form((named(), b"x"))[:-8],
        form(("X: y", b"")), form(("", b"")), form((named(name='" '), b"")).replace(b"name=", b"n="),
        form((named() + "\r\nX: " + "y" * 10_000, b"")),
        form(*[(named(), b"")] * (FIELDS + 1)),
    ],
)  # fmt: skip
def test_what_is_no_form(body: bytes) -> None:
    with pytest.raises(BadRequest):
        parse(body, KIND, FIELDS)


@pytest.mark.parametrize("boundary", ["", ";boundary=", ";boundary=" + "b" * 71, ';boundary="'])
def test_what_is_no_boundary(boundary: str) -> None:
    with pytest.raises(BadRequest):
        parse(b"--B--", "multipart/form-data" + boundary, FIELDS)


@given(
    st.lists(st.sampled_from([b"--B", b"\r\n", b"--", b": ", named().encode(), b";", b'"', b"x", b"\xff"]), max_size=30)
)
def test_any_bytes_are_parts_or_a_clear_error(pieces: list[bytes]) -> None:
    try:
        parts = parse(b"".join(pieces), KIND, FIELDS)
    except CameoError:
        return
    assert all(isinstance(part.is_file, bool) for part in parts)
