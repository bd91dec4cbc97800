"""The library in one process, on small models, and on the shipped ones where faces count."""

import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import cameo
from cameo.errors import BudgetTooSmall, DamagedPayload, InvalidParameter, NoFace, NotAnImage, UnknownModel, UnknownTag
from tests.faces import astronaut


@pytest.fixture(scope="module")
def tiny(tiny_store: Path) -> Iterator[cameo.Cameo]:
    with cameo.open(tiny_store, device="cpu") as opened:
        yield opened


@pytest.fixture(scope="module")
def shipped() -> Iterator[cameo.Cameo]:
    with cameo.open() as opened:
        yield opened


def test_a_photo_becomes_a_payload_and_a_face(shipped: cameo.Cameo) -> None:
    face = shipped.compress(astronaut(), max_bytes=96, effort="fast")
    assert (face.model, face.effort) == ("cameo-128", "fast")
    assert 90 <= len(face.payload) <= 96
    assert face.frame.method == "auto"
    assert face.frame.faces == 1
    drawn = shipped.reconstruct(face.payload)
    assert (drawn.size, drawn.mode) == ((128, 128), "RGB")
    assert shipped.reconstruct_tokens(face.tokens, model=face.model, version=face.version).tobytes() == drawn.tobytes()
    short = shipped.shorten(face.payload, 48)
    assert 42 <= len(short) <= 48
    assert shipped.shorten(short, 96) == short


def test_one_photo_is_searched_for_and_many_are_not(shipped: cameo.Cameo) -> None:
    assert shipped.compress(astronaut(), max_bytes=32).effort == "good"
    assert [face.effort for face in shipped.compress_many([astronaut()])] == ["fast"]


def test_every_form_of_a_photo_gives_the_same(tiny: cameo.Cameo, tmp_path: Path) -> None:
    picture = Image.fromarray(astronaut())
    file = tmp_path / "astronaut.png"
    picture.save(file)
    data = file.read_bytes()
    photos: list[Any] = [file, str(file), data, bytearray(data), io.BytesIO(data), picture, astronaut()]
    payloads = {tiny.compress(photo, frame="asis").payload for photo in photos}
    assert len(payloads) == 1


def test_where_a_large_jpeg_is_scaled_down_the_frame_has_coordinates_of_the_photo(tiny_store: Path) -> None:
    photo = io.BytesIO()
    Image.fromarray(astronaut()).save(photo, "JPEG", quality=95)
    height, width, _ = astronaut().shape
    with cameo.open(tiny_store, device="cpu") as all_of_it:
        whole = all_of_it.compress(photo.getvalue()).frame
    with cameo.open(tiny_store, device="cpu", max_pixels=height * width // 4) as half:
        scaled = half.compress(photo.getvalue()).frame
        assert half.compress(photo.getvalue(), frame="asis").frame.box == (0, 0, width, height)
    assert whole.landmarks is not None
    assert scaled.landmarks is not None
    np.testing.assert_allclose(scaled.landmarks, whole.landmarks, atol=3)
    np.testing.assert_allclose(scaled.box, whole.box, atol=12)


@pytest.mark.parametrize(
    ("photo", "error", "said"),
    [
        (b"no picture", NotAnImage, "do not begin like a picture; send one of JPEG"),
        (12, TypeError, "int is no photo: give a path"),
        (io.StringIO("text"), TypeError, "open it with mode 'rb'"),
        (np.zeros((4, 4, 3), np.float32), ValueError, "float32; a photo is uint8"),
        (np.zeros((4, 4, 4), np.uint8), ValueError, r"\(4, 4, 4\); a photo is"),
        ("there/is/no.jpg", FileNotFoundError, "no.jpg"),
        (np.zeros((200, 200, 3), np.uint8), NoFace, "No face was found"),
    ],
)
def test_what_is_no_photo_is_said(tiny: cameo.Cameo, photo: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        tiny.compress(photo)


def test_settings_that_cannot_be_met_are_said(tiny: cameo.Cameo, tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="no usable version; publish one there"):
        cameo.open(tmp_path)
    with pytest.raises(InvalidParameter, match="effort is 'most'; it may be fast, good, best"):
        tiny.compress(astronaut(), effort="most")  # type: ignore[arg-type]
    with pytest.raises(UnknownModel, match="no model 'nobody' in the store; there are tiny"):
        tiny.compress(astronaut(), model="nobody")
    with pytest.raises(BudgetTooSmall):
        tiny.compress(astronaut(), model="tiny-progressive", max_bytes=10)
    with pytest.raises(InvalidParameter, match="is not NAME or NAME/VERSION"):
        tiny.compare(astronaut(), models=["tiny-vae/first"])
    with pytest.raises(InvalidParameter, match="codecs"):
        tiny.compare(astronaut(), codecs=["gif"])


def test_payloads_that_cannot_be_read_are_said(tiny: cameo.Cameo, shipped: cameo.Cameo) -> None:
    payload = tiny.compress(astronaut(), frame="asis").payload
    with pytest.raises(DamagedPayload):
        tiny.reconstruct(payload[:-1] + bytes([payload[-1] ^ 1]))
    with pytest.raises(UnknownTag):
        shipped.reconstruct(payload)


def test_many_come_in_order_with_errors_in_their_places(tiny: cameo.Cameo) -> None:
    pictures = [np.full((80, 80, 3), level, np.uint8) for level in range(0, 250, 10)]
    alone = [tiny.compress(picture, frame="asis").payload for picture in pictures]
    photos: list[Any] = [*pictures[:5], b"broken", *pictures[5:]]
    found = list(tiny.compress_many(photos, frame="asis", threads=3, on_error="return"))
    assert isinstance(found.pop(5), NotAnImage)
    assert [face.payload for face in found if isinstance(face, cameo.Compressed)] == alone
    several = tiny.compress_many(photos, frame="asis", threads=3)
    assert [next(several).payload for _ in range(5)] == alone[:5]
    with pytest.raises(NotAnImage):
        next(several)


def test_many_are_taken_as_they_are_asked_for(tiny: cameo.Cameo) -> None:
    taken = 0

    def endless() -> Iterator[Any]:
        nonlocal taken
        for level in itertools.cycle(range(256)):
            taken += 1
            yield np.full((80, 80, 3), level, np.uint8)

    faces = tiny.compress_many(endless(), frame="asis", threads=2)
    for _ in range(10):
        next(faces)
    assert taken <= 10 + 2 * 2 + 1
    faces.close()  # type: ignore[attr-defined]


def test_models_are_loaded_when_they_are_asked_for(tiny_store: Path) -> None:
    with cameo.open(tiny_store) as opened:
        assert not any(entry.loaded for entry in opened._versions.entries)
        assert [(m.name, m.version, m.default) for m in opened.models][1:3] == [
            ("tiny-vae", 1, True), ("tiny-vae", 2, False),
        ]  # fmt: skip
        opened.compress(astronaut(), frame="asis")
        assert [entry.stored.key for entry in opened._versions.entries if entry.loaded] == [("tiny-vae", 1)]
    with pytest.raises(ValueError, match="closed"):
        opened.compress(astronaut())


def test_torch_keeps_the_threads_that_its_user_chose(tiny: cameo.Cameo) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        tiny.compress(astronaut(), frame="asis")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_comparison_has_rows_and_a_sheet(tiny: cameo.Cameo) -> None:
    done = tiny.compare(astronaut(), models=["tiny-vae/2", "tiny-progressive"], codecs=["webp"], max_bytes=[48, 96])
    assert [(row.name, row.version) for row in done.rows if row.kind == "model"] == [
        ("tiny-vae", 2), ("tiny-progressive", 1), ("tiny-progressive", 1),
    ]  # fmt: skip
    assert done.sheet().width > 500


def test_the_package_names_what_it_has() -> None:
    assert set(cameo.__all__) <= set(dir(cameo))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        cameo.nothing  # noqa: B018
