"""Read a photo from any form that the library accepts."""

from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cameo.errors import NotAnImage, UnsupportedImage
from cameo.pictures.decode import Decoded, decode_scaled, upright_srgb
from cameo.pictures.sniff import sniff

Photo = str | PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | NDArray[np.uint8]
"""A path, the bytes of a file, a file object, a picture of Pillow, or pixels (height, width, 3) or (height, width)."""


def read(photo: Photo, max_pixels: int) -> Decoded:
    """The pixels of a photo, shape (height, width, 3), sRGB, upright, and by how much they were scaled down.

    Raises ImageError, OSError for a path that cannot be read, and TypeError or ValueError for what is no photo.
    """
    if isinstance(photo, np.ndarray):
        return Decoded(_from_array(photo), 1)
    if isinstance(photo, Image.Image):
        return Decoded(upright_srgb(photo), 1)
    if isinstance(photo, str | PathLike):
        return decode_scaled(Path(photo).read_bytes(), max_pixels)
    if isinstance(photo, bytes | bytearray | memoryview):
        return decode_scaled(bytes(photo), max_pixels)
    if hasattr(photo, "read"):
        data: Any = photo.read()
        if isinstance(data, bytes):
            return decode_scaled(data, max_pixels)
        raise TypeError(f"the file object gives {type(data).__name__}, not bytes: open it with mode 'rb'")
    raise TypeError(
        f"{type(photo).__name__} is no photo: give a path, bytes, a file object, a PIL.Image or a numpy array"
    )


def bytes_of_no_picture(photo: object) -> bytes | None:
    """What was given, where it is bytes that do not begin like a picture of any format: those of a payload."""
    if not isinstance(photo, bytes | bytearray | memoryview):
        return None
    data = bytes(photo)
    try:
        sniff(data)
    except NotAnImage:
        return data
    except UnsupportedImage:
        pass
    return None


def _from_array(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.dtype != np.uint8:
        raise ValueError(f"the array holds {pixels.dtype}; a photo is uint8, from 0 to 255")
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"the array has the shape {pixels.shape}; a photo is (height, width, 3), RGB")
    return np.ascontiguousarray(pixels)
