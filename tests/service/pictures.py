"""The pictures that the tests upload."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.faces import astronaut

FACE = Image.fromarray(astronaut()[0:256, 96:352])


def png(image: Image.Image, **options: Any) -> bytes:
    return file(image, "PNG", **options)


def file(image: Image.Image, kind: str, **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def pixels(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))


def bomb(side: int) -> bytes:
    """A PNG of a few dozen bytes, correct to its last checksum, that claims ``side`` x ``side`` pixels."""
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def landscape() -> Image.Image:
    """Sky above, noise below, nobody in it."""
    rows = np.linspace(120, 250, 240, dtype=np.uint8)[:, None, None]
    scene = np.broadcast_to(rows, (240, 320, 3)).copy()
    scene[140:] = np.random.default_rng(0).integers(40, 120, (100, 320, 3))
    return Image.fromarray(scene)


def group() -> Image.Image:
    """The same face twice, the one on the right smaller."""
    page = Image.new("RGB", (420, 256), (200, 200, 200))
    page.paste(FACE, (0, 0))
    page.paste(FACE.resize((160, 160), Image.Resampling.LANCZOS), (258, 60))
    return page


PHOTO = png(FACE)
