"""Decode pictures from untrusted sources.

A picture is a uint8 array of shape (height, width, 3), sRGB, opaque, upright. What it costs is known before a decoder
sees it, see :mod:`cameo.pictures.scan`; what goes into memory is the picture as Pillow keeps it, and the array.
"""

import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from cameo.errors import ImageError, TooComplex, TooManyPixels, TruncatedImage
from cameo.pictures.scan import FORMATS, Header, jpeg, read_header, strip
from cameo.pictures.scan.header import exif_orientation, unsupported
from cameo.pictures.sniff import sniff

# Readers are called directly, not through Image.open: it tries every plugin, and warns or raises by
# its own pixel limit, which is global to the process, before the size is known.
_READERS: Final[Mapping[str, type[ImageFile.ImageFile]]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
    "HEIC": pillow_heif.HeifImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
}
pillow_heif.options.DECODE_THREADS = 1  # one worker decodes a picture
pillow_heif.options.THUMBNAILS = pillow_heif.options.DEPTH_IMAGES = pillow_heif.options.AUX_IMAGES = False

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
_STRIP_PIXELS: Final = 2**19  # converted at a time: intermediate results fit into a CPU's cache
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # a tag of TIFF, and its value
_GARBAGE: Final = bytes(range(0x51, 0x71))  # appended after the last pixel, it must change nothing
_VARIANT: Final = re.compile(r"unsupported|unknown|cannot handle|not (yet )?supported|not available", re.IGNORECASE)


class Decoded(NamedTuple):
    """A picture, and by how much it is smaller than the one in the file: 1, or 2, 4, 8 for a JPEG of many pixels."""

    pixels: NDArray[np.uint8]
    scale: int


def decode(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """The first picture in ``data``, as (height, width, 3) sRGB, of at most ``max_pixels``.

    Upright by its EXIF orientation, through its colour profile to sRGB, on white where it is transparent. 16-bit
    grey is divided down; grey in 32-bit integers or floats, which has no agreed white, is stretched from its
    darkest to its brightest value. A broken profile or EXIF block is ignored. A JPEG of up to five times the pixels
    is decoded at a half, a quarter or an eighth of its size.

    Raises ``NotAnImage``, ``UnsupportedImage``, ``TooManyPixels`` or ``TooComplex`` (before a pixel is decoded)
    or ``TruncatedImage``, and nothing else.
    """
    return decode_scaled(data, max_pixels).pixels


def decode_scaled(data: bytes, max_pixels: int) -> Decoded:
    """As :func:`decode`, with the scale."""
    format_ = sniff(data)
    with _as_image_errors(format_):
        header = read_header(data, format_)
        scale = _scale(header, max_pixels)
        with _load(strip(data, header, max_pixels), header, scale) as picture:
            return Decoded(_to_srgb(picture, header), scale)


def upright_srgb(picture: Image.Image) -> NDArray[np.uint8]:
    """The pixels of a picture of Pillow's, as :func:`decode` gives them."""
    orientation = exif_orientation(picture.info.get("exif") or b"")
    return _to_srgb(picture, Header(picture.format or "", picture.width, picture.height, orientation))


def megapixels(data: bytes, max_pixels: int) -> float:
    """Millions of pixels of the picture in ``data``, by its header. Raises as :func:`decode` does.

    It takes about a millisecond at most, whatever the bytes are.
    """
    format_ = sniff(data)
    with _as_image_errors(format_):
        header = read_header(data, format_)
        _scale(header, max_pixels)
        return header.width * header.height / 1e6


def _scale(header: Header, max_pixels: int) -> int:
    if header.format == "JPEG":
        return jpeg.shrink(header, max_pixels)
    _require_size(header.width, header.height, max_pixels)
    return 1


def _require_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise TooManyPixels(
            f"The picture has {width} x {height} = {width * height} pixels; the limit is {max_pixels}.",
            width=width,
            height=height,
            limit=max_pixels,
        )


@contextmanager
def _as_image_errors(format_: str) -> Iterator[None]:
    """Turn every failure into an ImageError."""
    try:
        yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, MemoryError) as error:
        raise TooComplex(f"The {format_} picture takes more memory than there is for one.", format=format_) from error
    except (
        Exception
    ) as error:  # parsers raise anything for broken data: OSError, SyntaxError, struct.error, KeyError...
        if _VARIANT.search(str(error)):
            raise unsupported(format_, f"this variant ({error})") from error
        raise TruncatedImage(f"The {format_} picture is cut short or damaged.", format=format_) from error


def _load(stripped: bytes, header: Header, scale: int) -> Image.Image:
    if header.format != "JPEG" or not jpeg.lacks_end(stripped):
        return _load_whole(stripped, header, scale)
    # The picture is complete if bytes that follow it make no difference.
    stripped = stripped.rstrip(b"\xff")
    with _load_whole(stripped + _GARBAGE + jpeg.END, header, scale) as other:
        picture = _load_whole(stripped + jpeg.END, header, scale)
        for (part, _, _), (same, _, _) in zip(_strips(picture), _strips(other), strict=True):
            if part.tobytes() != same.tobytes():
                raise ValueError("cut short")
        return picture


def _load_whole(stripped: bytes, header: Header, scale: int) -> Image.Image:
    picture = _READERS[header.format](io.BytesIO(stripped))
    # AVIF and HEIC may be cropped or turned by their boxes; for all others the scan and the reader must agree.
    boxed = header.format in ("AVIF", "HEIC") and picture.width * picture.height <= header.width * header.height
    if not boxed and picture.size != (header.width, header.height):
        raise ValueError("two sizes")
    if header.format == "AVIF":  # Pillow reports its boxes as EXIF
        header.orientation = exif_orientation(picture.info.get("exif", b""))
    if scale > 1:
        picture.draft(picture.mode, (header.width // scale, header.height // scale))
    picture.load()
    return picture


def _strips(picture: Image.Image) -> Iterator[tuple[Image.Image, int, int]]:
    """Parts of the picture as wide as it is, and the rows where they begin and end."""
    rows = max(1, _STRIP_PIXELS // picture.width)
    if rows >= picture.height:
        yield picture, 0, picture.height
        return
    for top in range(0, picture.height, rows):
        bottom = min(top + rows, picture.height)
        yield picture.crop((0, top, picture.width, bottom)), top, bottom


def _to_srgb(picture: Image.Image, header: Header) -> NDArray[np.uint8]:
    height, width = picture.height, picture.width
    convert = _grey(picture) if picture.mode.startswith(("I", "F")) else _colour(picture, header.profile)
    turn = _TURNS.get(header.orientation)
    upright = np.empty((width, height, 3) if header.orientation >= 5 else (height, width, 3), np.uint8)
    for part, top, bottom in _strips(picture):
        pixels = convert(part)
        pixels = pixels if turn is None else np.asarray(Image.fromarray(pixels).transpose(turn))
        if header.orientation in (5, 8):
            upright[:, top:bottom] = pixels
        elif header.orientation in (6, 7):
            upright[:, height - bottom : height - top] = pixels
        elif header.orientation in (3, 4):
            upright[height - bottom : height - top] = pixels
        else:
            upright[top:bottom] = pixels
    return upright


Convert = Callable[[Image.Image], NDArray[np.uint8]]


def _colour(picture: Image.Image, profile: bytes | None) -> Convert:
    icc = profile or picture.info.get("icc_profile")
    see_through = picture.has_transparency_data

    def opaque(part: Image.Image) -> Image.Image:
        if see_through:
            layer = part.convert("RGBA")
            part = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        return part if part.mode in ("RGB", "L", "CMYK") else part.convert("RGB")

    transform = _transform(icc, opaque(picture.crop((0, 0, 1, 1))).mode)

    def convert(part: Image.Image) -> NDArray[np.uint8]:
        part = opaque(part)
        if transform:
            part = ImageCms.applyTransform(part, transform) or part
        return np.asarray(part if part.mode == "RGB" else part.convert("RGB"))

    return convert


def _transform(icc: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """To sRGB. None where there is no profile, or it is broken, for other colours than the picture's, or sRGB."""
    if not icc:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        if ImageCms.getProfileDescription(profile).startswith(_SRGB_NAMES):
            return None
        return ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (OSError, ImageCms.PyCMSError):
        return None


def _grey(picture: Image.Image) -> Convert:
    """For 16-bit and 32-bit grey, which Pillow keeps as it is, also where a TIFF says that 0 is white."""
    negative = isinstance(picture, TiffImagePlugin.TiffImageFile) and picture.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    if np.asarray(picture.crop((0, 0, 1, 1))).dtype.kind == "u":

        def to_unit(values: NDArray[Any]) -> NDArray[Any]:
            return values / np.float32(257)

    else:
        extremes: list[tuple[float, float]]
        extremes = [(values.min(), values.max()) for values in (_finite(part) for part, _, _ in _strips(picture))]
        low, high = min(low for low, _ in extremes), max(high for _, high in extremes)
        scale = 255 / (high - low) if high > low else 0.0

        def to_unit(values: NDArray[Any]) -> NDArray[Any]:
            return np.multiply(values - low, scale)

    def convert(part: Image.Image) -> NDArray[np.uint8]:
        values = np.asarray(part)
        grey = np.asarray(to_unit(values if values.dtype.kind == "u" else _finite(part)) + 0.5, np.uint8)
        return np.repeat((255 - grey if negative else grey)[..., None], 3, axis=2)

    return convert


def _finite(part: Image.Image) -> NDArray[np.float64]:
    values: NDArray[np.float64] = np.array(part, np.float64)
    values[~np.isfinite(values)] = 0.0
    return values


__all__ = ["FORMATS", "Decoded", "decode", "decode_scaled", "megapixels", "upright_srgb"]
