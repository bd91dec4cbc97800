"""Portraits in classical codecs at the same number of bytes, for comparison.

Sizes are those of whole files, container and headers included, because that is what somebody would have to store
or send: an AVIF spends about 290 bytes before the first pixel, a JPEG up to 300 with its tables. Whoever built a
decoder for portraits alone could leave some of that out; :func:`coded_size` counts what would be left.
"""

import functools
import io
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pillow_jxl  # noqa: F401, registers JPEG XL with Pillow
from numpy.typing import NDArray
from PIL import Image

CODECS: Final[Mapping[str, Mapping[str, Any]]] = {
    "jpeg": {"format": "JPEG", "optimize": True, "progressive": False, "subsampling": "4:2:0"},
    "webp": {"format": "WEBP", "method": 6},
    "avif": {"format": "AVIF", "speed": 6, "subsampling": "4:2:0", "max_threads": 1},
    "jxl": {"format": "JXL", "effort": 7, "num_threads": 1},
}
"""Name to Pillow's options."""

_QUALITIES: Final = range(1, 101)
_SHRINK: Final = (1, 3 / 4, 1 / 2, 3 / 8, 1 / 4)


@dataclass(frozen=True, eq=False)
class CodecResult:
    codec: str
    quality: int
    """From 1 to 100, in the codec's own terms."""
    size_px: int
    """The side of the picture inside the file, at most that of the original."""
    data: bytes
    """The whole file."""
    pixels: NDArray[np.uint8]
    """Decoded and scaled back to the original's shape."""


def codec_bytes(pixels: NDArray[np.uint8], codec: str, quality: int) -> bytes:
    """``pixels``, shape (height, width, 3), as a file of one of ``CODECS``; ``quality`` is from 1 to 100."""
    if codec == "jxl":
        quality = min(quality, 99)  # 100 is another mode, without loss
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, quality=quality, **CODECS[codec])
    return file.getvalue()


def coded_size(data: bytes, codec: str) -> int:
    """The bytes of a file of :func:`codec_bytes` without the parts that are the same for every portrait.

    - webp: without the RIFF and chunk headers (20 bytes), the frame header (10) and the padding;
    - avif: what is in the box ``mdat``, that is the AV1 stream;
    - jxl: all of it, since the file is a naked codestream;
    - jpeg: the entropy-coded scan. Its Huffman tables were made for the picture, so this favours JPEG.
    """
    if codec == "webp":
        return int.from_bytes(data[16:20], "little") - 10
    if codec == "avif":
        return sum(size - 8 for kind, size in _boxes(data) if kind == b"mdat")
    if codec == "jxl":
        return len(data)
    at = 2
    while data[at : at + 2] != b"\xff\xda":  # segments before the scan, each with its length
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return len(data) - 2 - (at + 2 + int.from_bytes(data[at + 2 : at + 4]))


def codec_pixels(data: bytes) -> NDArray[np.uint8]:
    """A file of :func:`codec_bytes` -> pixels, shape (height, width, 3)."""
    return np.array(Image.open(io.BytesIO(data)).convert("RGB"))


def _boxes(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Kind and size of every box at the top level of an ISO media file."""
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4]) or len(data) - at  # 0: up to the end
        yield data[at + 4 : at + 8], size
        at += size


def at_nearest_rate(
    pixels: NDArray[np.uint8], codec: str, target_bytes: int, count: Callable[[bytes], int] = len
) -> CodecResult:
    """The best picture of ``pixels``, shape (W, W, 3), that ``codec`` puts into a file of at most ``target_bytes``.

    Shrinking first is how one gets a portrait into a few hundred bytes, so this tries the full side, 3/4, 1/2, 3/8
    and 1/4 of it, each at the highest quality that fits, and takes the one with the best PSNR after scaling back.
    The search ends at the first side that does worse than the one before; on faces that misses 0.1 dB at most.
    When not even the smallest file fits, that one is returned: compare ``len(result.data)`` with the target.

    ``count`` says which bytes of a file count; by default all.
    """

    def merit(result: CodecResult) -> tuple[bool, float]:
        size = count(result.data)
        fits = size <= target_bytes
        return fits, -_squared_error(pixels, result.pixels) if fits else -size

    full, *smaller = (max(1, round(len(pixels) * shrink)) for shrink in _SHRINK)
    result = highest_quality(pixels, codec, full, target_bytes, count)
    for side in smaller:
        rival = highest_quality(pixels, codec, side, target_bytes, count)
        if merit(rival) <= merit(result):
            break  # as the side grows, quality rises and then falls
        result = rival
    return result


def highest_quality(
    pixels: NDArray[np.uint8], codec: str, side: int, target_bytes: int, count: Callable[[bytes], int]
) -> CodecResult:
    """``pixels`` at a side and at the highest quality that fits, or at the lowest when none does."""
    small = np.array(Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS))
    encoded = functools.cache(functools.partial(codec_bytes, small, codec))
    quality = _QUALITIES[0]
    if count(encoded(quality)) <= target_bytes:
        # Size rises with quality, with small dips: after the bisection a step or two further may still fit.
        quality = _QUALITIES[bisect_right(_QUALITIES, target_bytes, key=lambda quality: count(encoded(quality))) - 1]
    data = encoded(quality)
    decoded = Image.fromarray(codec_pixels(data)).resize(pixels.shape[1::-1], Image.Resampling.BICUBIC)
    return CodecResult(codec, quality, side, data, np.array(decoded))


def _squared_error(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(np.mean((a.astype(np.float32) - b) ** 2))
