"""Pictures in: decode what a stranger uploaded.

A picture is a uint8 array of shape (height, width, 3), sRGB, opaque, upright.
"""

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageCms,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from cameo.errors import ImageError, NotAnImage, TooManyPixels, TruncatedImage, UnsupportedImage

# Readers are called directly, not through Image.open: that one tries every plugin it knows, and warns or raises
# by a pixel limit of its own, which is global to the process, before it has told anyone the size.
_READERS: Final[Mapping[str, type[ImageFile.ImageFile]]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
}

FORMATS: Final = tuple(_READERS)
"""The formats that ``decode`` reads."""

# The first match wins. AVIF and HEIC share a container, whose brands come four bytes each after "ftyp".
_SIGNATURES: Final = tuple(
    (format_, re.compile(pattern, re.DOTALL))
    for format_, pattern in (
        ("JPEG", rb"\xff\xd8\xff"),
        ("PNG", rb"\x89PNG\r\n\x1a\n"),
        ("WebP", rb"RIFF.{4}WEBP"),
        ("AVIF", rb".{4}ftyp(.{4}){0,9}?avi[fs]"),
        ("GIF", rb"GIF8[79]a"),
        ("BMP", rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
        ("TIFF", rb"II\*\0|MM\0\*|II\+\0|MM\0\+"),
        ("HEIC", rb".{4}ftyp(.{4}){0,9}?(hei[cmsx]|hev[cmsx]|mif1|msf1)"),
        ("JPEG XL", rb"\xff\x0a|\0\0\0\x0cJXL "),
        ("JPEG 2000", rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
        ("ICO", rb"\0\0[\1\2]\0[^\0]\0"),
        ("PSD", rb"8BPS"),
        ("Netpbm", rb"P[1-7]\s"),
        ("PDF", rb"%PDF-"),
        ("EPS", rb"%!PS|\xc5\xd0\xd3\xc6"),
        ("SVG", rb"(\xef\xbb\xbf)?\s*<([?!].{0,900}<)?svg\b"),
    )
)

_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_SRGB_NAMES: Final = ("sRGB IEC61966", "sRGB built-in")


def decode(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """The first picture in ``data``, as (height, width, 3) sRGB.

    Upright by its EXIF orientation, through its colour profile to sRGB, on white where it is transparent. 16-bit
    grey is divided down; grey in 32-bit integers or floats, which has no agreed white, is stretched from its
    darkest to its brightest value. A broken profile or EXIF block is ignored.

    Raises ``NotAnImage``, ``UnsupportedImage``, ``TooManyPixels`` (from the header, before a pixel is decoded)
    or ``TruncatedImage``, and nothing else.
    """
    with _opened(data, max_pixels) as picture:
        picture.load()
        return upright_srgb(picture)


def upright_srgb(picture: Image.Image) -> NDArray[np.uint8]:
    """The pixels of a loaded picture, as :func:`decode` gives them."""
    return _to_srgb(_upright(picture))


def megapixels(data: bytes, max_pixels: int) -> float:
    """Millions of pixels of the picture in ``data``, by its header. Raises as :func:`decode` does."""
    with _opened(data, max_pixels) as picture:
        return picture.width * picture.height / 1e6


@contextmanager
def _opened(data: bytes, max_pixels: int) -> Iterator[Image.Image]:
    """The picture with its header read; whatever goes wrong meanwhile becomes an ImageError."""
    format_ = _sniff(data)
    try:
        with _READERS[format_](io.BytesIO(data)) as picture:
            width, height = picture.size
            if width * height > max_pixels:
                raise TooManyPixels(
                    f"The picture has {width} x {height} = {width * height} pixels; the limit is {max_pixels}.",
                    width=width,
                    height=height,
                    limit=max_pixels,
                )
            yield picture
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        # Pillow's own limit stands before a few allocations that the header's size does not bound.
        raise TooManyPixels(
            f"The picture has more pixels than any decoder here takes; the limit is {max_pixels}.", limit=max_pixels
        ) from error
    except Exception as error:  # parsers answer garbage with anything: OSError, SyntaxError, struct.error, KeyError...
        raise TruncatedImage(f"The {format_} picture is cut short or damaged.", format=format_) from error


def _sniff(data: bytes) -> str:
    for format_, signature in _SIGNATURES:
        if signature.match(data):
            if format_ in _READERS:
                return format_
            allowed = list(FORMATS)
            detail = f"{format_} is not decoded here; send one of {', '.join(allowed)}."
            raise UnsupportedImage(detail, format=format_, allowed=allowed)
    if not data:
        raise NotAnImage("The picture is empty: 0 bytes.", bytes=0)
    raise NotAnImage("The bytes do not begin like a picture of any known format.", bytes=len(data))


def _upright(picture: Image.Image) -> Image.Image:
    """After ``load``: only then are trailing EXIF chunks read, and TIFF and AVIF turned by their readers."""
    try:
        turn = _TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # as for the picture itself, but here the pixels are good
        return picture
    return picture if turn is None else picture.transpose(turn)


def _to_srgb(picture: Image.Image) -> NDArray[np.uint8]:
    if picture.mode.startswith(("I", "F")):
        return np.repeat(_to_8_bit(np.asarray(picture))[..., None], 3, axis=2)
    icc = picture.info.get("icc_profile")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    if picture.mode not in ("RGB", "L", "CMYK"):
        picture = picture.convert("RGB")
    return np.array(_through_profile(picture, icc) or picture.convert("RGB"))


def _through_profile(picture: Image.Image, icc: bytes | None) -> Image.Image | None:
    """None where there is no profile, or it is broken, for other colours than the picture's, or sRGB already."""
    if not icc:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        if ImageCms.getProfileDescription(profile).startswith(_SRGB_NAMES):
            return None
        return ImageCms.profileToProfile(picture, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (OSError, ImageCms.PyCMSError):
        return None


def _to_8_bit(grey: NDArray[Any]) -> NDArray[np.uint8]:
    if grey.dtype.kind == "u":
        return np.asarray(grey / np.float32(257) + np.float32(0.5), np.uint8)
    values = np.nan_to_num(grey.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = values.min(), values.max()
    scale = 255 / (high - low) if high > low else 0.0
    return np.asarray((values - low) * scale + 0.5, np.uint8)
