import numpy as np
import pytest

from cameo.faces.framing import asis
from cameo.pictures.classical import CODECS, coded_size
from cameo.pictures.decode import decode
from cameo.pictures.quality import psnr
from tests.faces import astronaut
from training.evaluation.contenders import Classical, Pixels, Uncompressed, classical


@pytest.fixture(scope="module")
def portrait() -> Pixels:
    return asis(astronaut()[20:220, 120:320], 128).portrait


@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec != "jxl"])
def test_a_codec_fits_the_budget_with_and_without_container(codec: str, portrait: Pixels) -> None:
    whole, bare = classical(codec, [700])
    (of_whole,), (of_bare,) = whole.code([portrait]), bare.code([portrait])
    assert of_whole.size == len(of_whole.data) <= 700
    assert of_bare.size == coded_size(of_bare.data, codec) <= 700 < len(of_bare.data)
    # What the container does not take goes into the picture.
    pictures = [whole.show([of_whole.data])[0], bare.show([of_bare.data])[0]]
    quality = [psnr(portrait, np.asarray(asis(picture, 128).portrait)) for picture in pictures]
    assert quality[1] > quality[0]
    assert (whole.label, bare.label) == (f"{codec}, 700 bytes", f"{codec}, 700 bytes without container")


def test_jpeg_xl_is_a_naked_stream(portrait: Pixels) -> None:
    (whole,) = classical("jxl", [700])
    ((data, size),) = whole.code([portrait])
    assert size == len(data) <= 700
    assert whole.show([data])[0].shape[2] == 3


def test_a_codec_at_a_fixed_quality_and_side(portrait: Pixels) -> None:
    (small,) = classical("webp:1:48", [700])
    coded = small.code([portrait, portrait])
    assert coded[0] == coded[1]
    assert decode(coded[0].data, 128 * 128).shape == (48, 48, 3)
    assert small.label == "webp q1 at 48 px"
    assert classical("webp:40", []) == [Classical("webp", 40)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("png", "no codec 'png'; known: jpeg, webp, avif"),
        ("webp:a", "give CODEC, CODEC:QUALITY"),
        ("webp:1:2:3", "give CODEC, CODEC:QUALITY"),
        ("webp:0", "quality is 1 to 100"),
        ("webp:5:200", "side 8 to 128"),
    ],
)
def test_a_slip_of_the_pen(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classical(text, [])


def test_uncompressed_is_the_portrait_itself(portrait: Pixels) -> None:
    (coded,) = Uncompressed().code([portrait])
    assert coded.size == 128 * 128 * 3
    np.testing.assert_array_equal(Uncompressed().show([coded.data])[0], portrait)
