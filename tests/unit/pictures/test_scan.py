"""What a picture may cost: each kind of attack, small, and what honest pictures of many parts look like."""

import contextlib
import io
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cameo.errors import ImageError, TooComplex, TooManyPixels, TruncatedImage, UnsupportedImage
from cameo.pictures.decode import decode, decode_scaled, megapixels
from cameo.pictures.scan.header import MAX_PARTS, MAX_PIXEL_PARTS, MAX_PROFILE_BYTES, exif_orientation
from cameo.pictures.scan.jpeg import MAX_SCANS
from tests.unit.pictures.test_decode import PLENTY, SOURCES, face, file, psnr, rgb

LE_EXIF = b"Exif\0\0II*\0\x08\0\0\0"


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + kind + body


JPEG, PNG, GIF = file(face(), "JPEG"), file(face(), "PNG"), file(face(), "GIF")
PROFILE = chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**20 - 1), 9))


def progressive(side: int, scans: int) -> bytes:
    """Grey; empty scans of all AC coefficients follow the one of DC."""
    blocks = (side // 8) ** 2
    frame = segment(0xDB, b"\0" + b"\1" * 64) + segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + b"\1\x11\0")
    tables = segment(0xC4, b"\0\1" + bytes(16)) + segment(0xC4, b"\x10\1\1" + bytes(14) + b"\xe0\0")
    bits = "0" * 15 * -(-blocks // 16384)
    bits += "1" * (-len(bits) % 8)
    rest = (segment(0xDA, b"\1\1\0\1\x3f\0") + int(bits, 2).to_bytes(len(bits) // 8)) * (scans - 1)
    return b"\xff\xd8" + frame + tables + segment(0xDA, b"\1\1\0\0\0\0") + bytes(-(-blocks // 8)) + rest + b"\xff\xd9"


def tiff(tags: dict[int, tuple[int, int, int | bytes]], end: bytes = b"") -> bytes:
    """``tags``: kind, count and value, or bytes that are put behind the directory."""
    behind, entries = end, b""
    at = 8 + 2 + 12 * len(tags) + 4
    for tag, (kind, count, value) in sorted(tags.items()):
        number = at + len(behind) if isinstance(value, bytes) else value
        entries += struct.pack("<HHII", tag, kind, count, number)
        behind += value if isinstance(value, bytes) else b""
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + behind


GREY: dict[int, tuple[int, int, int | bytes]] = {
    256: (4, 1, 64), 257: (4, 1, 64), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 277: (3, 1, 1),
}  # fmt: skip


def heif(meta: bytes) -> bytes:
    brand = box(b"ftyp", b"heic\0\0\0\0mif1heic")
    size = box(b"iprp", box(b"ipco", box(b"ispe", struct.pack(">III", 0, 64, 64))))
    return brand + box(b"meta", bytes(4) + meta + size)


def iloc(extents: int, length: int) -> bytes:
    return box(
        b"iloc",
        struct.pack(">IHHHHH", 0, 0x4400, 1, 1, 0, extents) + struct.pack(">II", 0, length) * extents,
    )


BOMBS: dict[str, Callable[[], bytes]] = {
    "JPEG, empty comments": lambda: JPEG[:2] + b"\xff\xfe\0\2" * MAX_PARTS + JPEG[2:],
    "JPEG, application segments": lambda: JPEG[:2] + segment(0xE5, b"x") * MAX_PARTS + JPEG[2:],
    "JPEG, EXIF segments": lambda: JPEG[:2] + segment(0xE1, LE_EXIF + bytes(6)) * MAX_PARTS + JPEG[2:],
    "JPEG, restart markers before its pixels": lambda: JPEG[:2] + b"\xff\xd0" * MAX_PARTS + JPEG[2:],
    "JPEG, fill bytes": lambda: JPEG[:2] + b"\xff" * 10_000 + JPEG[2:],
    "JPEG, nothing between segments": lambda: JPEG[:20] + bytes(10_000) + JPEG[20:],
    "JPEG, a long profile": lambda: JPEG[:2] + segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(65_000)) * 70 + JPEG[2:],
    "JPEG, scans": lambda: progressive(64, MAX_SCANS + 1),
    "JPEG, scans of many pixels": lambda: progressive(960, 30),
    "JPEG, segments between scans": lambda: (
        progressive(64, 2).replace(b"\xff\xda", b"\xff\xfe\0\2" * MAX_PARTS + b"\xff\xda")
    ),
    "PNG, profiles": lambda: PNG[:33] + PROFILE * MAX_PARTS + PNG[33:],
    "PNG, a packed profile": lambda: PNG[:33] + chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(5 << 20))) + PNG[33:],
    "PNG, empty chunks": lambda: PNG[:33] + chunk(b"tEXt", b"") * MAX_PARTS + PNG[33:],
    "PNG, empty pixel chunks": lambda: PNG[:33] + chunk(b"IDAT", b"") * MAX_PIXEL_PARTS + PNG[33:],
    "GIF, comments": lambda: GIF[:781] + b"!\xfe\0" * MAX_PARTS + GIF[781:],
    "GIF, a long comment": lambda: GIF[:781] + b"!\xfe" + b"\1x" * 20_000 + b"\0" + GIF[781:],
    "WebP, chunks": lambda: file(face(), "WebP") + b"ABCD\0\0\0\0" * MAX_PIXEL_PARTS,
    "WebP, pixels": lambda: file(Image.new("L", (900, 700)), "WebP", lossless=True),
    "PNG, bytes of pixels": lambda: (
        PNG[:16] + struct.pack(">IIBBBBB", 800, 800, 16, 6, 0, 0, 0) + bytes(4) + chunk(b"IDAT", b"")
    ),
    "BMP, run lengths": lambda: b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 64, 64, 1, 8, 1) + bytes(2**20),
    "TIFF, strips": lambda: tiff(GREY | {278: (3, 1, 1), 273: (3, 70_000, b"\x08\0" * 70_000), 279: (3, 1, 64)}),
    "TIFF, values": lambda: tiff(GREY | {273: (4, 1, 8), 279: (4, 1, 64), 320: (3, 200_000, bytes(400_000))}),
    "TIFF, rows of strips": lambda: tiff(GREY | {257: (4, 1, 40_000), 256: (4, 1, 1), 278: (3, 1, 1), 273: (4, 1, 8)}),
    "TIFF, a tile": lambda: tiff(
        GREY | {259: (3, 1, 8), 322: (4, 1, 46_320), 323: (4, 1, 46_320), 324: (4, 1, 8), 325: (4, 1, 8)}
    ),
    "TIFF, tiles": lambda: tiff(GREY | {256: (4, 1, 999), 322: (4, 1, 1), 323: (4, 1, 1), 324: (4, 1, 8)}),
    "TIFF, a strip of deep pixels": lambda: tiff(
        GREY | {256: (4, 1, 990), 257: (4, 1, 990), 258: (3, 1, 64), 259: (3, 1, 8), 273: (4, 1, 8)}
    ),
    "TIFF, scans": lambda: tiff(GREY | {259: (3, 1, 7), 273: (4, 1, 8), 279: (4, 1, 64)}, b"\xff\xda" * 100),
    "TIFF, tags": lambda: tiff(dict.fromkeys(range(1000, 2001 + MAX_PARTS), (3, 1, 1))),
    "HEIC, boxes": lambda: heif(box(b"free", b"") * 3000),
    "HEIC, pieces of items": lambda: heif(iloc(3000, 1)),
    "HEIC, the same bytes again and again": lambda: heif(iloc(1000, 2**31)),
    "HEIC, frames": lambda: heif(box(b"stsz", struct.pack(">III", 0, 0, 2**31))),
    "HEIC, metadata": lambda: heif(bytes(MAX_PROFILE_BYTES + 2**20)),
}  # fmt: skip


@pytest.mark.parametrize("make", BOMBS.values(), ids=BOMBS)
def test_what_exceeds_a_limit_is_refused_with_value_and_limit(make: Callable[[], bytes]) -> None:
    with pytest.raises(TooComplex, match="the limit is") as caught:
        decode(make(), PLENTY)
    facts = caught.value.facts
    assert facts["value"] > facts["limit"]
    assert str(facts["limit"]) in caught.value.detail
    assert facts["what"] in caught.value.detail


@pytest.mark.parametrize("make", BOMBS.values(), ids=BOMBS)
def test_the_header_alone_is_cheap(make: Callable[[], bytes]) -> None:
    """So that the event loop may ask for it: 50 ms are a hundred times what it takes here."""
    data = make() + bytes(2**22)
    began = time.thread_time()
    with contextlib.suppress(ImageError):
        assert megapixels(data, PLENTY) > 0
    assert time.thread_time() - began < 0.05


@pytest.mark.parametrize("options", [{}, {"save_all": True, "append_images": [face(2000, 1500)]}])
def test_an_avif_whose_boxes_promise_less_than_its_stream(options: dict[str, Any]) -> None:
    data = bytearray(file(face(2000, 1500), "AVIF", speed=10, **options))
    assert decode(bytes(data), 3_000_000).shape == (1500, 2000, 3)
    size = struct.pack(">II", 2000, 1500)
    while (at := data.find(size)) >= 0:
        data[at : at + 8] = struct.pack(">II", 64, 64)
    while (at := data.find(struct.pack(">II", 2000 << 16, 1500 << 16))) >= 0:
        data[at : at + 8] = struct.pack(">II", 64 << 16, 64 << 16)
    assert megapixels(bytes(data), PLENTY) == pytest.approx(64 * 64 / 1e6)
    with pytest.raises(TooComplex, match="3000000 pixels in a stream, or more; the limit is 1048576"):
        decode(bytes(data), PLENTY)


HONEST: dict[str, Callable[[], bytes]] = {
    "JPEG with ten scans": lambda: file(face(), "JPEG", progressive=True),
    "JPEG with many comments": lambda: JPEG[:2] + segment(0xFE, b"made by hand") * 500 + JPEG[2:],
    "JPEG with megabytes of maker's notes": lambda: JPEG[:2] + segment(0xE4, bytes(65_000)) * 200 + JPEG[2:],
    "JPEG with another behind it": lambda: JPEG + file(face(), "JPEG", progressive=True) + b"\xff\xda" * 99,
    "PNG in pieces": lambda: PNG[:33] + chunk(b"IDAT", b"") * 9000 + PNG[33:],
    "PNG with a long text": lambda: PNG[:33] + chunk(b"iTXt", bytes(6 << 20)) + PNG[33:],
    "TIFF of one-row strips": lambda: file(face(), "TIFF", compression="tiff_lzw", strip_size=1),
    "animated GIF": lambda: file(face(), "GIF", save_all=True, append_images=[face()] * 30),
}


@pytest.mark.parametrize("make", HONEST.values(), ids=HONEST)
def test_honest_pictures_stay_within_the_limits(make: Callable[[], bytes]) -> None:
    assert psnr(decode(make(), PLENTY), rgb(face())) > 20


@pytest.mark.parametrize(
    ("change", "variant"),
    [
        (lambda data: data.replace(b"\xff\xc0", b"\xff\xc3"), "lossless coding"),
        (lambda data: data.replace(b"\xff\xc0", b"\xff\xc9"), "arithmetic coding"),
        (lambda data: data.replace(b"\xff\xc0", b"\xff\xc5"), "hierarchical coding"),
        (lambda data: data.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"), "samples of 12 bits"),
        (lambda data: data.replace(b"\xff\xc0\0\x11\x08\0\x40", b"\xff\xc0\0\x11\x08\0\0"), "DNL"),
    ],
)
def test_jpegs_that_nobody_here_decodes(change: Callable[[bytes], bytes], variant: str) -> None:
    assert b"\xff\xc0\0\x11\x08\0\x40" in JPEG
    with pytest.raises(UnsupportedImage, match=variant) as caught:
        decode(change(JPEG), PLENTY)
    assert variant in caught.value.facts["variant"]


@pytest.mark.parametrize(
    "data",
    [
        tiff(GREY | {259: (3, 1, 34712), 273: (4, 1, 8), 279: (4, 1, 64)}, bytes(4096)),
        tiff(GREY | {258: (3, 1, 24), 273: (4, 1, 8), 279: (4, 1, 64)}, bytes(4096 * 3)),
        b"BM" + bytes(8) + struct.pack("<IIiiHHI", 54, 40, 64, 64, 1, 24, 4) + bytes(20_000),
        b"BM" + bytes(8) + struct.pack("<IIiiHHI", 54, 40, 64, 64, 1, 7, 0) + bytes(20_000),
    ],
    ids=["TIFF by JPEG 2000", "TIFF of 24-bit grey", "BMP by JPEG", "BMP of 7 bits"],
)
def test_other_variants_are_unsupported_not_damaged(data: bytes) -> None:
    with pytest.raises(UnsupportedImage):
        decode(data, PLENTY)


class TestScaledDecoding:
    def test_a_jpeg_of_too_many_pixels_comes_smaller(self) -> None:
        data = file(face(800, 600), "JPEG", quality=95)
        for max_pixels, scale in ((480_000, 1), (479_999, 2), (120_000, 2), (119_999, 4), (96_000, 4)):
            pixels, found = decode_scaled(data, max_pixels)
            assert (found, pixels.shape) == (scale, (600 // scale, 800 // scale, 3))
            assert psnr(pixels, rgb(face(800, 600).reduce(scale))) > 30
        with pytest.raises(TooManyPixels, match="480000 pixels; the limit is 479995 for a JPEG"):
            decode(data, 95_999)

    def test_it_is_turned_as_the_whole_would_be(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        pixels, scale = decode_scaled(file(face(802, 600), "JPEG", exif=exif, quality=95), 200_000)
        assert (scale, pixels.shape) == (2, (401, 300, 3))

    def test_other_formats_are_not_scaled(self) -> None:
        with pytest.raises(TooManyPixels):
            decode(file(face(800, 600), "PNG"), 479_999)

    def test_what_a_progressive_one_keeps_is_bounded(self) -> None:
        data = file(face(800, 600), "JPEG", progressive=True)
        assert decode_scaled(data, 400_000).scale == 2
        with pytest.raises(TooComplex, match="coefficients"):
            decode(data, 200_000)


class TestMissingEnd:
    @pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 100, "subsampling": 0}])
    @pytest.mark.parametrize("missing", [1, 2])
    def test_a_jpeg_whose_pixels_are_all_there_is_whole(self, options: dict[str, Any], missing: int) -> None:
        data = file(face(), "JPEG", **options)
        np.testing.assert_array_equal(decode(data[:-missing], PLENTY), decode(data, PLENTY))

    @pytest.mark.parametrize("options", [{}, {"progressive": True}])
    @pytest.mark.parametrize("share", [0.7, 0.9, 0.97])
    def test_one_whose_pixels_are_not_is_cut(self, options: dict[str, Any], share: float) -> None:
        data = file(face(300, 200), "JPEG", **options)
        with pytest.raises(TruncatedImage):
            decode(data[: int(share * len(data))], PLENTY)


class TestOrientation:
    @pytest.mark.parametrize("format_", ["JPEG", "WebP", "AVIF", "PNG", "TIFF"])
    def test_xmp_turns_nothing(self, format_: str) -> None:
        xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
        if format_ == "JPEG":
            data = JPEG[:2] + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp) + JPEG[2:]
        elif format_ == "PNG":
            data = PNG[:33] + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp) + PNG[33:]
        elif format_ == "TIFF":
            data = file(face(), format_, tiffinfo={700: xmp})
        else:
            data = file(face(), format_, xmp=xmp, quality=95)
        assert b"tiff:Orientation" in data
        assert psnr(decode(data, PLENTY), rgb(face())) > 25

    def test_exif_in_a_heic_turns_nothing(self) -> None:
        """Its boxes say how it is turned."""
        exif = Image.Exif()
        exif[0x0112] = 6
        data = file(face(), "HEIC", exif=exif, quality=95)
        assert b"irot" not in data
        assert decode(data, PLENTY).shape == (64, 96, 3)

    @pytest.mark.parametrize(
        ("block", "orientation"),
        [
            (LE_EXIF + struct.pack("<HHHIHH", 1, 0x112, 3, 1, 6, 0), 6),
            (b"MM\0*" + struct.pack(">IHHHIHH", 8, 1, 0x112, 3, 1, 8, 0), 8),
            (LE_EXIF + struct.pack("<HHHIHH", 1, 0x112, 3, 1, 9, 0), 1),
            (LE_EXIF + struct.pack("<HHHII", 1, 0x112, 4, 1, 6), 1),
            (LE_EXIF + struct.pack("<H", 0xFFFF), 1),
            (LE_EXIF[:-4] + b"\xff\xff\xff\xff", 1),
            (b"", 1),
        ],
    )
    def test_of_exif(self, block: bytes, orientation: int) -> None:
        assert exif_orientation(block) == orientation


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_grey_of_16_bits_where_white_is_0(compression: str) -> None:
    ramp = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    options = {} if compression == "raw" else {"compression": compression}
    data = bytearray(file(Image.fromarray(65535 - ramp), "TIFF", **options))
    at = data.index(struct.pack("<HHI", 262, 3, 1))
    data[at + 8] = 0
    np.testing.assert_array_equal(decode(bytes(data), PLENTY)[..., 0], np.round(ramp / 257))


CORPUS = {**SOURCES, **{name: make() for name, make in (BOMBS | HONEST).items() if len(make()) < 2**17}}
SECONDS_PER_BYTE, SECONDS = 2e-6, 0.5  # a hundred times what honest pictures take, and what 1 MP may take at most
BYTES_PER_BYTE, BYTES = 16, 40 * PLENTY


@settings(max_examples=40)
@pytest.mark.parametrize("source", CORPUS.values(), ids=CORPUS)
@given(random=st.data())
def test_cost_is_bounded_for_each_byte(source: bytes, random: st.DataObject) -> None:
    """Pieces of hostile and honest files, repeated, moved and overwritten: CPU seconds and bytes of memory."""
    data = source
    position = st.integers(0, len(source))
    for _ in range(random.draw(st.integers(0, 3))):
        start, end = sorted((random.draw(position), random.draw(position)))
        times = random.draw(st.sampled_from([0, 1, 2, 50])) if end - start > 2000 else random.draw(st.integers(0, 2000))
        data = data[:start] + data[start:end] * times + data[end:]
        data = data[: 2**20]
    if data and random.draw(st.booleans()):
        at = random.draw(st.integers(0, len(data) - 1))
        data = data[:at] + random.draw(st.binary(min_size=1, max_size=8)) + data[at + 8 :]
    tracemalloc.start()
    began = time.thread_time()
    try:
        megapixels(data, PLENTY)
        decode(data, PLENTY)
    except ImageError:
        pass
    finally:
        seconds, (_, peak) = time.thread_time() - began, tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert seconds < SECONDS + SECONDS_PER_BYTE * len(data)
    assert peak < BYTES + BYTES_PER_BYTE * len(data)


def test_of_a_file_only_what_pixels_need_reaches_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    whole = io.BytesIO

    def spy(data: bytes) -> io.BytesIO:
        seen.append(len(data))
        return whole(data)

    monkeypatch.setattr("cameo.pictures.decode.io.BytesIO", spy)
    decode(JPEG[:2] + segment(0xE1, bytes(60_000)) * 100 + JPEG[2:], PLENTY)
    decode(PNG[:33] + chunk(b"zTXt", bytes(60_000)) * 100 + PNG[33:], PLENTY)
    assert max(seen) < 60_000
