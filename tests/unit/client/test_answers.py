import struct
import zlib

import httpx
import pytest

from cameo.client import answers
from cameo.errors import Unreachable

REQUEST = httpx.Request("POST", "http://127.0.0.1/compress")


def huge_png() -> bytes:
    """A picture that says to have 10^9 pixels."""
    parts = (b"IHDR" + struct.pack(">IIBBBBB", 100_000, 10_000, 8, 0, 0, 0, 0), b"IDAT", b"IEND")
    chunks = (struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.filterwarnings("ignore:.*decompression bomb:PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("content", [b"", b"no picture", huge_png()])
def test_a_picture_that_is_none_is_an_answer_of_somebody_else(content: bytes) -> None:
    with pytest.raises(Unreachable, match="not as Cameo does"):
        answers.picture(httpx.Response(200, content=content, request=REQUEST))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"problem": 1e999}', "NaN", "{}", "[]", '"'])
def test_a_line_that_is_none_is_an_answer_of_somebody_else(text: str) -> None:
    with pytest.raises(Unreachable, match="not as Cameo does"):
        answers.line(text, REQUEST.url)
