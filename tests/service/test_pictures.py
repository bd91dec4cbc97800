"""What ``/compress`` makes of pictures, good and bad."""

import io
import json
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.service.pictures import FACE, PHOTO, bomb, file, group, landscape, png
from tests.service.server import problem


def upload(api: httpx.Client, data: bytes, **query: Any) -> httpx.Response:
    return api.post("/compress", content=data, params=query, headers={"Content-Type": "application/octet-stream"})


def payload(api: httpx.Client, data: bytes, **query: Any) -> str:
    answer = upload(api, data, **query)
    assert answer.status_code == 200, answer.text
    found: str = answer.json()["payload"]
    return found


@pytest.mark.parametrize("data", [b"", b"no picture at all", bytes(1000), b"<html></html>"])
def test_not_an_image(api: httpx.Client, data: bytes) -> None:
    problem(upload(api, data), "not-an-image", 400)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_cut_picture(api: httpx.Client, kind: str, share: float) -> None:
    data = file(FACE, kind)
    body = problem(upload(api, data[: int(share * len(data))]), "truncated-image", 400)
    assert body["format"] == kind


def test_a_format_that_is_not_decoded(api: httpx.Client) -> None:
    body = problem(upload(api, file(FACE, "PPM")), "unsupported-image", 415)
    assert "JPEG" in body["allowed"]


def test_a_bomb_is_refused_from_its_header(api: httpx.Client) -> None:
    data = bomb(60_000)
    assert len(data) < 100
    body = problem(upload(api, data), "too-many-pixels", 422)
    assert (body["width"], body["height"], body["limit"]) == (60_000, 60_000, 50_000_000)


def test_the_bomb_would_go_through_if_it_were_small(api: httpx.Client) -> None:
    """So it is the size that is refused, not a mistake in the bytes: this one ends early, as its data do."""
    problem(upload(api, bomb(100)), "truncated-image", 400)


@pytest.mark.parametrize("scene", ["landscape", "noise", "black"])
def test_nobody_there(api: httpx.Client, scene: str) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (200, 200, 3), dtype=np.uint8))
    image = {"landscape": landscape(), "noise": noise, "black": Image.new("RGB", (200, 100))}[scene]
    body = problem(upload(api, png(image)), "no-face", 422)
    assert "frame=asis" in body["detail"]
    assert (body["width"], body["height"]) == image.size
    assert upload(api, png(image), frame="asis").json()["frame"]["faces"] is None


def test_several_faces_are_counted_and_the_main_one_is_taken(api: httpx.Client) -> None:
    frame = upload(api, png(group())).json()["frame"]
    assert frame["faces"] == 2
    assert frame["box"][0] + frame["box"][2] < 256, "the larger face is on the left"
    assert upload(api, PHOTO).json()["frame"]["faces"] == 1


def test_several_faces_are_refused_where_one_is_wanted(api: httpx.Client) -> None:
    body = problem(upload(api, png(group()), face="only"), "too-many-faces", 422)
    assert (body["faces"], body["limit"]) == (2, 1)
    assert "face=largest" in body["detail"]
    assert payload(api, png(group()), face="largest") == payload(api, png(group()))
    assert payload(api, PHOTO, face="only") == payload(api, PHOTO)


def test_one_face_cannot_be_wanted_of_a_picture_as_it_is(api: httpx.Client) -> None:
    body = problem(upload(api, PHOTO, face="only", frame="asis"), "invalid-parameter", 422)
    assert body["parameter"] == "face"
    problem(upload(api, PHOTO, face="any"), "invalid-parameter", 422)


def test_a_batch_refuses_only_the_picture_with_several_faces(api: httpx.Client) -> None:
    files = [("image", png(group())), ("image", PHOTO)]
    lines = api.post("/compress/batch", files=files, params={"face": "only"}).text.splitlines()
    first, second = (json.loads(line) for line in lines[:2])
    assert first["problem"]["type"] == "urn:cameo:problem:too-many-faces"
    assert second["payload"] == payload(api, PHOTO)


def test_cmyk(api: httpx.Client) -> None:
    assert payload(api, file(FACE.convert("CMYK"), "TIFF")) == payload(api, PHOTO)
    assert upload(api, file(FACE.convert("CMYK"), "JPEG")).status_code == 200


def test_sixteen_bits(api: httpx.Client) -> None:
    grey = FACE.convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    assert deep.mode == "I;16"
    assert payload(api, png(deep)) == payload(api, png(grey))


def test_a_palette(api: httpx.Client) -> None:
    palette = FACE.quantize(64)
    assert payload(api, png(palette)) == payload(api, png(palette.convert("RGB")))


def test_alpha(api: httpx.Client) -> None:
    whole = FACE.copy()
    whole.putalpha(255)
    assert payload(api, png(whole)) == payload(api, PHOTO)
    half = FACE.copy()
    half.putalpha(128)
    white = Image.alpha_composite(Image.new("RGBA", FACE.size, "white"), half).convert("RGB")
    assert payload(api, png(half)) == payload(api, png(white))


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_an_animation_stands_for_its_first_picture(api: httpx.Client, kind: str) -> None:
    lossless = {"lossless": True} if kind == "WEBP" else {}
    data = file(FACE, kind, save_all=True, append_images=[landscape().resize(FACE.size)], **lossless)
    with Image.open(io.BytesIO(data)) as animation:
        assert animation.n_frames == 2  # type: ignore[attr-defined]
        first = animation.convert("RGB")
    assert payload(api, data) == payload(api, png(first))


@pytest.mark.parametrize(
    ("orientation", "undone_by"),
    [
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (6, Image.Transpose.ROTATE_90),
        (8, Image.Transpose.ROTATE_270),
    ],
)
def test_a_turned_picture_equals_the_upright_one(
    api: httpx.Client, orientation: int, undone_by: Image.Transpose
) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    turned = png(FACE.transpose(undone_by), exif=exif)
    assert payload(api, turned) == payload(api, PHOTO)
    assert payload(api, png(FACE.transpose(undone_by)), frame="asis") != payload(api, PHOTO, frame="asis")


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_picture_that_says_nothing_of_it(api: httpx.Client, degrees: int) -> None:
    upright = upload(api, PHOTO).json()
    turned = upload(api, png(FACE.rotate(degrees))).json()  # anticlockwise
    assert upright["frame"]["turned"] == 0
    assert turned["frame"]["turned"] == degrees
    assert (turned["frame"]["roll"] + degrees + 180) % 360 - 180 == pytest.approx(upright["frame"]["roll"], abs=2)
    assert turned["frame"]["score"] > 0.9


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF", "BMP", "TIFF", "GIF"])
def test_every_format(api: httpx.Client, kind: str) -> None:
    assert upload(api, file(FACE, kind)).status_code == 200


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (64, 64)])
def test_any_shape_passes_as_it_is(api: httpx.Client, size: tuple[int, int]) -> None:
    answer = upload(api, png(FACE.resize(size)), frame="asis").json()
    side = min(size)
    assert answer["frame"]["box"][2:] == [side, side]
