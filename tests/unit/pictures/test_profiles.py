"""Colour profiles: pictures come out in sRGB."""

import numpy as np
import pytest
from PIL import Image, ImageCms

from cameo.pictures.decode import decode
from tests.icc import DISPLAY_P3, SRGB, cmyk_profile, rgb_profile
from tests.unit.pictures.test_decode import PLENTY, face, file, rgb


class TestProfiles:
    def test_wide_rgb_is_brought_to_srgb(self) -> None:
        colour = np.array([180, 110, 100])
        linear = np.linalg.inv(SRGB) @ DISPLAY_P3 @ (colour / 255) ** 2.2
        expected = 255 * (1.055 * linear ** (1 / 2.4) - 0.055)
        assert np.abs(expected - colour).max() > 5
        picture = Image.new("RGB", (4, 4), tuple(colour.tolist()))
        for format_, options in {"PNG": {}, "WebP": {"lossless": True}, "TIFF": {}}.items():
            pixels = decode(file(picture, format_, icc_profile=rgb_profile("P3"), **options), PLENTY)
            np.testing.assert_allclose(pixels[0, 0], expected, atol=2, err_msg=format_)

    def test_the_profile_also_holds_under_transparency(self) -> None:
        picture = Image.new("RGBA", (2, 1), (180, 110, 100, 255))
        picture.putpixel((1, 0), (0, 0, 0, 0))
        pixels = decode(file(picture, "PNG", icc_profile=rgb_profile("P3")), PLENTY)
        assert pixels[0, 0, 0] > 182
        np.testing.assert_allclose(pixels[0, 1], 255, atol=1)

    @pytest.mark.parametrize("format_", ["JPEG", "TIFF"])
    def test_cmyk_goes_through_its_profile(self, format_: str) -> None:
        picture = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
        assert decode(file(picture, format_), PLENTY)[8, 8, 0] < 10
        red, green, blue = decode(file(picture, format_, icc_profile=cmyk_profile()), PLENTY)[8, 8].astype(int)
        assert red > green + 100
        assert red > blue + 100

    def test_srgb_is_left_as_it_is(self) -> None:
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        for icc in (srgb, rgb_profile("sRGB IEC61966-2.1")):
            np.testing.assert_array_equal(decode(file(face(), "PNG", icc_profile=icc), PLENTY), rgb(face()))

    @pytest.mark.parametrize("icc", [b"nonsense", rgb_profile("P3")[:300], cmyk_profile()])
    def test_a_broken_or_foreign_profile_is_ignored(self, icc: bytes) -> None:
        np.testing.assert_array_equal(decode(file(face(), "PNG", icc_profile=icc), PLENTY), rgb(face()))
