import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cameo.faces.framing import asis
from cameo.pictures.classical import CODECS, CodecResult, at_nearest_rate, codec_bytes, coded_size
from tests.faces import astronaut

SIZE = 128
CONTAINED = [codec for codec in CODECS if codec != "jxl"]  # that is a naked stream
FORMATS = {"jpeg": "JPEG", "webp": "WEBP", "avif": "AVIF", "jxl": "JXL"}


@pytest.fixture(scope="module")
def portrait() -> NDArray[np.uint8]:
    return asis(astronaut()[20:220, 120:320], SIZE).portrait


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("codec", CODECS)
def test_files_are_of_the_codec_and_grow_with_quality(codec: str, portrait: NDArray[np.uint8]) -> None:
    low, high = codec_bytes(portrait, codec, 10), codec_bytes(portrait, codec, 80)
    assert opened(low).format == FORMATS[codec]
    assert opened(low).size == (SIZE, SIZE)
    assert len(low) < len(high)
    assert psnr(portrait, np.array(opened(high).convert("RGB"))) > 30


@pytest.mark.parametrize("codec", CODECS)
def test_the_same_pixels_give_the_same_bytes(codec: str, portrait: NDArray[np.uint8]) -> None:
    assert codec_bytes(portrait, codec, 40) == codec_bytes(portrait, codec, 40)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("target", [450, 1000, 4000])
def test_the_file_fits_and_the_facts_are_those_of_the_file(
    codec: str, target: int, portrait: NDArray[np.uint8]
) -> None:
    result = at_nearest_rate(portrait, codec, target)
    assert 0.75 * target < len(result.data) <= target
    assert result.codec == codec
    assert opened(result.data).size == (result.size_px, result.size_px)
    small = Image.fromarray(portrait).resize((result.size_px,) * 2, Image.Resampling.LANCZOS)
    assert result.data == codec_bytes(np.array(small), codec, result.quality)
    back = opened(result.data).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(result.pixels, np.array(back))


@pytest.mark.parametrize("codec", CODECS)
def test_more_bytes_give_a_better_picture(codec: str, portrait: NDArray[np.uint8]) -> None:
    results = [at_nearest_rate(portrait, codec, target) for target in (450, 900, 1800, 10**6)]
    quality = [psnr(portrait, result.pixels) for result in results]
    assert quality == sorted(quality)
    assert quality[-1] > quality[0] + 5
    assert (results[-1].size_px, results[-1].quality) == (SIZE, 100)


def test_shrinking_first_beats_the_lowest_quality_at_full_size(portrait: NDArray[np.uint8]) -> None:
    full = codec_bytes(portrait, "webp", 1)
    result = at_nearest_rate(portrait, "webp", len(full))
    assert result.size_px < SIZE
    assert psnr(portrait, result.pixels) > psnr(portrait, np.array(opened(full).convert("RGB")))


@pytest.mark.parametrize("codec", CODECS)
def test_where_nothing_fits_the_smallest_file_is_returned(codec: str, portrait: NDArray[np.uint8]) -> None:
    result = at_nearest_rate(portrait, codec, 50)
    assert isinstance(result, CodecResult)
    assert (result.size_px, result.quality) == (SIZE // 4, 1)
    assert len(result.data) > 50
    assert result.pixels.shape == portrait.shape


def test_avif_spends_hundreds_of_bytes_on_its_container_and_they_count() -> None:
    assert len(codec_bytes(np.zeros((1, 1, 3), np.uint8), "avif", 1)) > 250


def test_the_bytes_that_only_a_container_needs_do_not_count() -> None:
    tiny = {codec: codec_bytes(np.zeros((16, 16, 3), np.uint8), codec, 1) for codec in CONTAINED}
    sizes = {codec: coded_size(data, codec) for codec, data in tiny.items()}
    assert all(0 < sizes[codec] < 40 < len(data) for codec, data in tiny.items())


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("quality", [1, 30, 90])
def test_coded_size_is_that_of_the_coded_part(codec: str, quality: int, portrait: NDArray[np.uint8]) -> None:
    data = codec_bytes(portrait, codec, quality)
    if codec == "webp":
        expected = len(data.partition(b"\x9d\x01\x2a")[2]) - 4
        assert coded_size(data, codec) in (expected, expected - 1)  # a chunk is padded to an even size
    elif codec == "avif":
        at = data.index(b"mdat")
        assert coded_size(data, codec) == int.from_bytes(data[at - 4 : at]) - 8 == len(data) - at - 4
    elif codec == "jxl":
        assert data[:2] == b"\xff\x0a"  # a naked codestream
        assert coded_size(data, codec) == len(data)
    else:
        header = data.index(b"\xff\xda")  # a baseline file has one scan, whose header has 12 bytes for three colours
        assert coded_size(data, codec) == len(data) - header - 2 - 12 - 2


@pytest.mark.parametrize("codec", CONTAINED)
def test_what_counts_fits_the_target(codec: str, portrait: NDArray[np.uint8]) -> None:
    whole = at_nearest_rate(portrait, codec, 600)
    bare = at_nearest_rate(portrait, codec, 600, lambda data: coded_size(data, codec))
    assert 0.75 * 600 < coded_size(bare.data, codec) <= 600
    assert psnr(portrait, bare.pixels) > psnr(portrait, whole.pixels)
