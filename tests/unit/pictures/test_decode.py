import io
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from cameo.errors import ImageError, NotAnImage, TooManyPixels, TruncatedImage, UnsupportedImage
from cameo.pictures.decode import FORMATS, decode
from cameo.pictures.encode import MEDIA_TYPES, encode
from tests.faces import astronaut
from tests.icc import rgb_profile

PILLOW_NAMES = {"WebP": "WEBP", "HEIC": "HEIF"}
PLENTY = 1_000_000
pillow_heif.register_heif_opener()  # so that Pillow writes it


def file(picture: Image.Image, format_: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, PILLOW_NAMES.get(format_, format_), **options)
    return buffer.getvalue()


def face(width: int = 96, height: int = 64) -> Image.Image:
    return Image.fromarray(astronaut()).resize((width, height))


def rgb(picture: Image.Image) -> NDArray[np.uint8]:
    return np.array(picture.convert("RGB"))


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    assert a.shape == b.shape
    return float(10 * np.log10(255**2 / (np.mean((a.astype(float) - b) ** 2) + 1e-9)))


class TestFormats:
    @pytest.mark.parametrize("format_", ["PNG", "WebP", "GIF", "BMP", "TIFF"])
    def test_lossless_formats_come_back_bit_exactly(self, format_: str) -> None:
        picture = face().quantize(200) if format_ == "GIF" else face()
        options = {"lossless": True} if format_ == "WebP" else {}
        np.testing.assert_array_equal(decode(file(picture, format_, **options), PLENTY), rgb(picture))

    @pytest.mark.parametrize("format_", ["JPEG", "AVIF", "HEIC"])
    def test_lossy_formats_come_back_nearly(self, format_: str) -> None:
        assert psnr(decode(file(face(), format_, quality=95), PLENTY), rgb(face())) > 30

    def test_every_format_is_tested(self) -> None:
        assert set(FORMATS) == {"JPEG", "PNG", "WebP", "AVIF", "HEIC", "GIF", "BMP", "TIFF"}

    def test_the_result_is_contiguous_writable_rgb(self) -> None:
        pixels = decode(file(face(), "PNG"), PLENTY)
        assert pixels.shape == (64, 96, 3)
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous
        assert pixels.flags.writeable

    @pytest.mark.parametrize("format_", ["GIF", "PNG", "WebP", "AVIF", "TIFF"])
    def test_of_an_animation_it_takes_the_first_frame(self, format_: str) -> None:
        frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
        data = file(frames[0], format_, save_all=True, append_images=frames[1:], quality=95)
        np.testing.assert_allclose(decode(data, PLENTY)[16, 16], (255, 0, 0), atol=8)

    def test_of_a_multi_picture_jpeg_it_takes_the_first(self) -> None:
        data = file(Image.new("RGB", (32, 32), "red"), "MPO", save_all=True, append_images=[face(32, 32)])
        np.testing.assert_allclose(decode(data, PLENTY)[16, 16], (255, 0, 0), atol=3)

    def test_avif_by_a_general_major_brand(self) -> None:
        data = file(face(), "AVIF")
        assert decode(data[:8] + b"mif1" + data[12:], PLENTY).shape == (64, 96, 3)


class TestModes:
    @pytest.mark.parametrize("format_", ["JPEG", "TIFF"])
    def test_cmyk(self, format_: str) -> None:
        data = file(face().convert("CMYK"), format_)
        assert psnr(decode(data, PLENTY), rgb(face())) > 28

    @pytest.mark.parametrize("mode", ["1", "L", "P"])
    def test_grey_bits_and_palettes(self, mode: str) -> None:
        picture = face().convert(mode)
        np.testing.assert_array_equal(decode(file(picture, "PNG"), PLENTY), rgb(picture))

    @pytest.mark.parametrize("format_", ["PNG", "TIFF"])
    def test_16_bit_grey_is_scaled_not_clipped(self, format_: str) -> None:
        ramp = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
        pixels = decode(file(Image.fromarray(ramp), format_), PLENTY)
        np.testing.assert_array_equal(pixels, np.repeat(np.round(ramp / 257)[..., None], 3, axis=2))

    @pytest.mark.parametrize(("dtype", "low", "high"), [(np.int32, -70_000, 9_000_000), (np.float32, -0.5, 3e38)])
    def test_grey_without_a_known_white_is_stretched(self, dtype: type, low: float, high: float) -> None:
        ramp: NDArray[Any] = np.linspace(low, high, 256).astype(dtype).reshape(16, 16)
        pixels = decode(file(Image.fromarray(ramp), "TIFF"), PLENTY)
        np.testing.assert_allclose(pixels[..., 1].ravel(), np.arange(256), atol=1)

    def test_a_float_picture_may_be_flat_or_hold_nonsense(self) -> None:
        flat = Image.fromarray(np.full((4, 4), 7, np.float32))
        assert not decode(file(flat, "TIFF"), PLENTY).any()
        odd = Image.fromarray(np.array([[0, 1, np.nan, np.inf]], np.float32))
        assert decode(file(odd, "TIFF"), PLENTY)[0, :, 0].tolist() == [0, 255, 0, 0]

    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    def test_what_is_transparent_turns_white(self, mode: str) -> None:
        picture = Image.new("RGBA", (3, 1))
        for x, alpha in enumerate((0, 102, 255)):
            picture.putpixel((x, 0), (50, 50, 50, alpha))
        pixels = decode(file(picture.convert(mode), "PNG"), PLENTY)
        np.testing.assert_array_equal(pixels[0], [[255] * 3, [173] * 3, [50] * 3])

    @pytest.mark.parametrize("format_", ["PNG", "GIF"])
    def test_a_transparent_palette_colour_turns_white(self, format_: str) -> None:
        picture = Image.new("P", (2, 1))
        picture.putpalette([10, 20, 30, 200, 0, 0])
        picture.putpixel((1, 0), 1)
        pixels = decode(file(picture, format_, transparency=0), PLENTY)
        np.testing.assert_array_equal(pixels[0], [[255, 255, 255], [200, 0, 0]])

    def test_a_half_transparent_palette_is_blended(self) -> None:
        picture = Image.new("P", (2, 1))
        picture.putpalette([0, 0, 0, 200, 0, 0])
        picture.putpixel((1, 0), 1)
        pixels = decode(file(picture, "PNG", transparency=bytes((51, 255))), PLENTY)
        np.testing.assert_array_equal(pixels[0], [[204, 204, 204], [200, 0, 0]])

    def test_a_transparent_rgb_colour_turns_white(self) -> None:
        picture = Image.new("RGB", (2, 1), (9, 8, 7))
        picture.putpixel((1, 0), (1, 2, 3))
        pixels = decode(file(picture, "PNG", transparency=(9, 8, 7)), PLENTY)
        np.testing.assert_array_equal(pixels[0], [[255, 255, 255], [1, 2, 3]])

    def test_lab(self) -> None:
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        picture = ImageCms.profileToProfile(face(), srgb, lab, outputMode="LAB")
        assert picture is not None
        assert psnr(decode(file(picture, "TIFF"), PLENTY), rgb(face())) > 35


class TestOrientation:
    @pytest.mark.parametrize("format_", ["JPEG", "PNG", "WebP", "TIFF", "AVIF", "HEIC"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_pictures_are_turned_upright(self, format_: str, orientation: int) -> None:
        upright = rgb(face())
        stored = {
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: upright.transpose(1, 0, 2),
            6: np.rot90(upright),
            7: np.rot90(upright.transpose(1, 0, 2), 2),
            8: np.rot90(upright, -1),
        }[orientation]
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = file(Image.fromarray(np.ascontiguousarray(stored)), format_, exif=exif.tobytes(), quality=95)
        assert psnr(decode(data, PLENTY), upright) > 28

    @pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
    @pytest.mark.parametrize(
        "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0"]
    )
    def test_a_broken_exif_block_is_ignored(self, exif: bytes) -> None:
        assert psnr(decode(file(face(), "JPEG", quality=95, exif=exif), PLENTY), rgb(face())) > 30


def png_bomb(width: int, height: int) -> bytes:
    """A PNG that promises any size in a few bytes."""
    data = file(Image.new("L", (1, 1)), "PNG")
    head = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]


class TestLimits:
    def test_the_limit_itself_is_allowed(self) -> None:
        data = file(face(), "PNG")
        assert decode(data, 96 * 64).shape == (64, 96, 3)
        with pytest.raises(TooManyPixels, match="96 x 64 = 6144 pixels; the limit is 6143") as caught:
            decode(data, 96 * 64 - 1)
        assert caught.value.facts == {"width": 96, "height": 64, "limit": 6143}

    @pytest.mark.parametrize("format_", FORMATS)
    def test_it_holds_for_every_format(self, format_: str) -> None:
        shrinks = 5 if format_ == "JPEG" else 1  # see TestScaledDecoding
        with pytest.raises(TooManyPixels):
            decode(file(face(), format_), 6143 // shrinks)

    @pytest.mark.parametrize("side", [10_000, 50_000])
    def test_the_size_is_judged_before_any_pixel_is_read(self, side: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(TooManyPixels) as caught:
                decode(png_bomb(side, side), PLENTY)
        assert caught.value.facts == {"width": side, "height": side, "limit": PLENTY}

    def test_a_webp_that_promises_a_giant_canvas(self) -> None:
        see_through = face()
        see_through.putalpha(77)
        data = bytearray(file(see_through, "WebP"))
        assert data[12:16] == b"VP8X"
        data[24:30] = b"\xff\x3f\0" * 2
        with pytest.raises(TooManyPixels):
            decode(bytes(data), PLENTY)


class TestRefusals:
    @pytest.mark.parametrize(
        "data", [b"", b"\0", b"hello", b"BM, a car maker, no bitmap", b"<html><svgs>", b"RIFF1234WAVE"]
    )
    def test_what_is_no_picture(self, data: bytes) -> None:
        with pytest.raises(NotAnImage) as caught:
            decode(data, PLENTY)
        assert caught.value.facts == {"bytes": len(data)}

    @pytest.mark.parametrize(
        ("format_", "data"),
        [
            ("SVG", b'<?xml version="1.0"?>\n<!-- a circle -->\n<svg xmlns="http://www.w3.org/2000/svg"/>'),
            ("SVG", b"\n<svg width='1'>"),
            ("PDF", b"%PDF-1.7\n"),
            ("EPS", b"%!PS-Adobe-3.0 EPSF-3.0\n"),
            ("JPEG XL", b"\xff\x0a\0\0"),
            ("ICO", file(face(32, 32), "ICO")),
            ("JPEG 2000", file(face(), "JPEG2000")),
            ("Netpbm", file(face(), "PPM")),
            ("PSD", b"8BPS\0\1"),
        ],
    )
    def test_formats_that_are_known_but_not_read(self, format_: str, data: bytes) -> None:
        with pytest.raises(UnsupportedImage, match=f"^{format_} is not decoded here; send one of JPEG, PNG") as caught:
            decode(data, PLENTY)
        assert caught.value.facts == {"format": format_, "allowed": list(FORMATS)}

    @pytest.mark.parametrize("format_", FORMATS)
    @pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
    def test_cut_files(self, format_: str, share: float) -> None:
        data = file(face(), format_)
        with pytest.raises(TruncatedImage, match=f"The {format_} picture is cut short or damaged"):
            decode(data[: max(26, int(len(data) * share))], PLENTY)

    def test_a_header_that_promises_more_pixels_than_there_are(self) -> None:
        with pytest.raises(TruncatedImage):
            decode(png_bomb(100, 100), PLENTY)


SOURCES = {
    "JPEG": file(face(40, 30), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0", icc_profile=rgb_profile("P3")),
    "progressive JPEG": file(face(40, 30), "JPEG", progressive=True),
    "PNG": file(face(40, 30), "PNG", icc_profile=rgb_profile("P3")),
    "palette PNG": file(face(40, 30).quantize(16), "PNG", transparency=bytes(range(16))),
    "WebP": file(face(40, 30).convert("RGBA"), "WebP", exif=b"Exif\0\0"),
    "GIF": file(face(40, 30), "GIF", save_all=True, append_images=[face(40, 30)]),
    "BMP": file(face(20, 15), "BMP"),
    "TIFF": file(face(40, 30), "TIFF", compression="tiff_lzw"),
    "AVIF": file(face(40, 30), "AVIF"),
    "HEIC": file(face(64, 64), "HEIC"),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
@given(random=st.data())
def test_damage_gives_a_picture_or_an_image_error(source: bytes, random: st.DataObject) -> None:
    data = bytearray(source)
    position = st.integers(0, len(source) - 1)
    for where, value in random.draw(st.lists(st.tuples(position, st.integers(0, 255)), max_size=8)):
        data[where] = value
    end = random.draw(st.just(len(source)) | position)
    try:
        pixels = decode(bytes(data[:end]), PLENTY)
    except ImageError:
        return
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert 0 < pixels.shape[0] * pixels.shape[1] <= PLENTY


class TestEncode:
    def test_png_comes_first_and_is_lossless(self) -> None:
        assert list(MEDIA_TYPES) == ["image/png", "image/webp", "image/jpeg"]
        np.testing.assert_array_equal(decode(encode(rgb(face()), "image/png"), PLENTY), rgb(face()))

    @pytest.mark.parametrize("media_type", MEDIA_TYPES)
    def test_the_file_is_of_the_type_asked_for_and_the_same_each_time(self, media_type: str) -> None:
        data = encode(rgb(face()), media_type)
        assert data == encode(rgb(face()), media_type)
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.get_format_mimetype() == media_type
        assert psnr(decode(data, PLENTY), rgb(face())) > 30

    def test_jpeg_keeps_the_resolution_of_colour(self) -> None:
        stripes = np.zeros((32, 32, 3), np.uint8)
        stripes[:, ::2] = (255, 0, 0)
        stripes[:, 1::2] = (0, 0, 255)
        assert psnr(decode(encode(stripes, "image/jpeg"), PLENTY), stripes) > 25
