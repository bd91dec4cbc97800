import pytest
from fastapi import Request

from app.api.facts import dictionary
from app.api.negotiate import content_type, negotiate
from cameo.errors import NotAcceptable

OFFERED = ("image/png", "image/webp", "image/jpeg")


def request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw})


@pytest.mark.parametrize(
    ("accept", "best"),
    [
        ("*/*", "image/png"),
        ("image/*", "image/png"),
        ("image/webp, image/png", "image/png"),
        ("image/webp, image/png;q=0.9", "image/webp"),
        ("IMAGE/JPEG", "image/jpeg"),
        ("image/*;q=0.2, image/jpeg;q=0.3", "image/jpeg"),
        ("text/html, */*;q=0.01", "image/png"),
    ],
)
def test_the_best_that_is_accepted(accept: str, best: str) -> None:
    assert negotiate(request(accept=accept), *OFFERED) == best


def test_without_a_wish_the_first_is_taken() -> None:
    assert negotiate(request(), *OFFERED) == "image/png"
    assert negotiate(request(accept=""), *OFFERED) == "image/png"


def test_several_headers_are_one_list() -> None:
    headers = [(b"accept", b"text/html"), (b"accept", b"image/webp")]
    assert negotiate(Request({"type": "http", "headers": headers}), *OFFERED) == "image/webp"


@pytest.mark.parametrize(
    "accept", ["text/html", "image/png;q=0", "nonsense", "/", ";;;", "image/", "\xe9/*", "x" * 9999]
)
def test_nothing_that_is_accepted(accept: str) -> None:
    with pytest.raises(NotAcceptable) as caught:
        negotiate(request(accept=accept), *OFFERED)
    assert caught.value.facts == {"accept": accept[:100], "offered": OFFERED}


@pytest.mark.parametrize(
    ("header", "kind"),
    [("image/PNG", "image/png"), (" Multipart/Form-Data ; boundary=X", "multipart/form-data"), ("", "")],
)
def test_content_type(header: str, kind: str) -> None:
    assert content_type(request(content_type=header)) == kind


def test_a_dictionary_of_facts() -> None:
    facts = {"name": "vqvae-64", "bits_per_pixel": 0.5, "shape": [2, 3], "points": [[1.5, 2], [3, 4]], "roll": None}
    assert dictionary(facts) == 'name="vqvae-64", bits-per-pixel=0.5, shape=(2 3), points=(1.5 2.0 3.0 4.0)'
