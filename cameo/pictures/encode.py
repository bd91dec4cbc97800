"""Encode portraits as picture files."""

import io
import zlib
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MEDIA_TYPES: Final[Mapping[str, Mapping[str, Any]]] = {
    # Filtered faces hardly repeat: with runs alone a file is a tenth smaller than by matches, and sooner done.
    "image/png": {"format": "PNG", "compress_type": zlib.Z_RLE},
    "image/webp": {"format": "WEBP", "quality": 90},
    "image/jpeg": {"format": "JPEG", "quality": 90, "subsampling": "4:4:4"},
}
"""What ``encode`` writes, best first: media type to Pillow's options."""


def encode(pixels: NDArray[np.uint8], media_type: str) -> bytes:
    """``pixels``, shape (height, width, 3), as a file of a type in ``MEDIA_TYPES``; equal pixels give equal bytes."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, **MEDIA_TYPES[media_type])
    return file.getvalue()
