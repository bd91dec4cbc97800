"""Photos become a data set: what goes in, what is left out, and that a stop at any moment changes nothing."""

import argparse
import csv
import hashlib
import json
import os
import shutil
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cameo.faces.framing import Framer
from tests.faces import astronaut
from tests.unit.training.conftest import picture
from training.data import prepare as module
from training.data.journal import read_rows
from training.data.portraits import MARGIN, open_portraits
from training.data.prepare import Settings, add_command, find, prepare

FILES = ("portraits.bin", "index.csv", "refused.csv", "dataset.json", "report.md", "contact.png")
TRAIN = Settings("faces", "for tests", split="train")


def command(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    add_command(parser.add_subparsers())
    options = parser.parse_args(["prepare", *map(str, arguments)])
    code: int = options.act(options)
    return code


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def rows(out: Path) -> dict[str, dict[str, str]]:
    return {row["source"]: row for row in read_rows(out / "index.csv")}


def refused(out: Path) -> dict[str, tuple[str, str]]:
    return {row["source"]: (row["reason"], row["detail"]) for row in read_rows(out / "refused.csv")}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A person of whom there is a photo and its copies, portraits, and what cannot be used."""
    folder = tmp_path / "photos"
    (folder / "eileen").mkdir(parents=True)
    eileen = Image.fromarray(astronaut())
    eileen.save(folder / "eileen" / "1.png")
    eileen.resize((300, 300)).save(folder / "eileen" / "2.jpg", quality=70)
    eileen.convert("L").convert("RGB").save(folder / "eileen" / "3.webp")
    picture(1).save(folder / "margin.png")
    picture(2, 128).save(folder / "portrait, framed.PNG")
    shutil.copy(folder / "margin.png", folder / "same bytes.png")
    picture(1).save(folder / "saved again.jpg", quality=60)
    picture(5, 200).save(folder / "wall.png")
    (folder / "cut.png").write_bytes((folder / "margin.png").read_bytes()[:300])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (folder / "photo.jxl").write_bytes(b"\xff\x0a")
    (folder / "gone.jpg").symlink_to("nowhere")
    Image.new("RGB", (1, 1)).save(folder / "huge.bmp")
    with (folder / "huge.bmp").open("r+b") as bitmap:
        bitmap.seek(18)
        bitmap.write(struct.pack("<ii", 10_001, 10_000))
    (folder / "notes.txt").write_text("not a picture")
    os.mkfifo(folder / "pipe.png")
    return folder


class TestWhatComesOut:
    def test_pictures_are_framed_or_refused_with_a_reason(self, photos: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        made = prepare(photos, out, TRAIN)
        assert {source: row["framing"] for source, row in rows(out).items()} == {
            "eileen/1.png": "found", "margin.png": "whole", "portrait, framed.PNG": "padded",
        }  # fmt: skip
        assert refused(out) == {
            "cut.png": ("truncated image", "The PNG picture is cut short or damaged."),
            "eileen/2.jpg": ("duplicate", "the same picture as eileen/1.png"),
            "eileen/3.webp": ("grey", "all its colours are shades of one"),
            "empty.jpg": ("not an image", "The picture is empty"),
            "gone.jpg": ("unreadable file", "No such file or directory"),
            "huge.bmp": (
                "too many pixels",
                "The picture has 10001 x 10000 = 100010000 pixels; the limit is 100000000.",
            ),
            "phone.heic": ("truncated image", "The HEIC picture is cut short or damaged."),
            "photo.jxl": (
                "unsupported image",
                "JPEG XL is not decoded here; send one of JPEG, PNG, WebP, AVIF, HEIC, GIF, BMP, TIFF.",
            ),
            "same bytes.png": ("duplicate", "the same file as margin.png"),
            "saved again.jpg": ("duplicate", "the same picture as margin.png"),
            "wall.png": ("no face", "No face was found in the 200 x 200 picture"),
        }
        assert made["refused"] == dict(Counter(reason for reason, _ in refused(out).values()).most_common())
        assert made == json.loads((out / "dataset.json").read_text())
        assert sorted(contents(out)) == sorted(FILES)

    def test_records_are_what_the_service_would_frame_with_more_around_it(self, photos: Path, tmp_path: Path) -> None:
        prepare(photos, tmp_path / "out", TRAIN)
        found, whole, padded = open_portraits([tmp_path / "out"], "train").rows()
        portrait = Framer().auto(astronaut(), 128).portrait
        assert np.abs(found[MARGIN:-MARGIN, MARGIN:-MARGIN].astype(int) - portrait).max() <= 1
        assert np.ptp(found[:MARGIN].astype(int), axis=0).max() > 50  # a photo goes on, it does not repeat
        np.testing.assert_array_equal(whole, np.array(picture(1)))
        edge = ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0))
        np.testing.assert_array_equal(padded, np.pad(np.array(picture(2, 128)), edge, mode="edge"))

    def test_people_are_folders_or_pictures(self, photos: Path, tmp_path: Path) -> None:
        prepare(photos, tmp_path / "out", TRAIN)
        assert {row["source"]: row["person"] for row in rows(tmp_path / "out").values()} == {
            "eileen/1.png": "eileen",
            "margin.png": "margin.png",
            "portrait, framed.PNG": "portrait, framed.PNG",
        }
        report = (tmp_path / "out" / "report.md").read_text()
        assert "2 pictures stand for themselves: nobody vouches" in report
        for line in ("Licence: for tests", "| train | 3 | 3 |", "| duplicate | 3 |", "| 1 | 3 |", "- split: train"):
            assert line in report.splitlines()

    def test_the_index_has_digests_of_the_sources(self, photos: Path, tmp_path: Path) -> None:
        prepare(photos, tmp_path / "out", TRAIN)
        for source, row in rows(tmp_path / "out").items():
            assert row["sha256"] == hashlib.sha256((photos / source).read_bytes()).hexdigest()

    def test_the_contact_sheet_shows_portraits_from_first_to_last(self, prepared: Path) -> None:
        sheet = np.array(Image.open(prepared / "contact.png"))
        assert sheet.shape == (6 * 128, 6 * 128, 3)
        np.testing.assert_array_equal(sheet[:128, 128:256], np.array(picture(1))[8:-8, 8:-8])
        np.testing.assert_array_equal(sheet[-128:, -128:], np.array(picture(35))[8:-8, 8:-8])

    def test_pictures_of_other_data_sets_are_refused_where_asked(
        self, pictures: Path, prepared: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "photos").mkdir()
        picture(3).save(tmp_path / "photos" / "again.jpg", quality=80)
        shutil.copy(pictures / "04.png", tmp_path / "photos" / "copied.png")
        picture(99).save(tmp_path / "photos" / "new.png")
        prepare(tmp_path / "photos", tmp_path / "out", TRAIN, apart_from=[prepared])
        assert list(rows(tmp_path / "out")) == ["new.png"]
        assert refused(tmp_path / "out") == {
            "again.jpg": ("duplicate", "the same picture as 03.png in blobs"),
            "copied.png": ("duplicate", "the same file as 04.png in blobs"),
        }


class TestGrey:
    @pytest.mark.parametrize("tint", [(1, 1, 1), (1.0, 0.82, 0.6), (0.75, 0.95, 1.0)])
    @pytest.mark.parametrize("light", [1.0, 0.2])
    def test_shades_of_one_colour_are_grey(self, tint: tuple[float, ...], light: float) -> None:
        grey = np.array(Image.fromarray(astronaut()).convert("L"))[..., None] * np.array(tint) * light
        assert module.is_grey(grey.astype(np.uint8))
        assert module.is_grey(np.full((144, 144, 3), 77, np.uint8))

    @pytest.mark.parametrize("light", [1.0, 0.2])
    def test_a_colour_photo_is_not_however_dark(self, light: float) -> None:
        assert not module.is_grey((astronaut() * light).astype(np.uint8))


class TestPeopleAndSplits:
    def test_a_person_is_in_one_split_whoever_else_is_there(self, tmp_path: Path) -> None:
        for number in range(40):
            (tmp_path / "all" / f"p{number % 20}").mkdir(parents=True, exist_ok=True)
            picture(number).save(tmp_path / "all" / f"p{number % 20}" / f"{number}.png")
        shutil.copytree(tmp_path / "all", tmp_path / "fewer")
        for number in range(0, 20, 2):
            shutil.rmtree(tmp_path / "fewer" / f"p{number}")
        settings = Settings("people", "x", val=0.3, test=0.3)
        made = prepare(tmp_path / "all", tmp_path / "a", settings)
        prepare(tmp_path / "fewer", tmp_path / "b", settings)
        split = {row["person"]: row["split"] for row in rows(tmp_path / "a").values()}
        assert all(row["split"] == split[row["person"]] for row in rows(tmp_path / "a").values())
        assert {row["person"]: row["split"] for row in rows(tmp_path / "b").values()}.items() < split.items()
        assert set(split.values()) == {"train", "val", "test"}
        assert made["people"] == Counter(split.values())
        assert "stand for themselves" not in (tmp_path / "a" / "report.md").read_text()

    def test_shares_are_kept_in_the_long_run(self) -> None:
        settings = Settings("x", "x", val=0.2, test=0.1)
        share = Counter(settings.split_of(f"person {i}") for i in range(10_000))
        assert share["val"] == pytest.approx(2000, abs=150)
        assert share["test"] == pytest.approx(1000, abs=120)

    @pytest.mark.parametrize(
        ("pattern", "source", "person"),
        [
            (r"(.*)_\d+", "Aaron_Sorkin_0002.webp", "Aaron_Sorkin"),
            (r"(\d+)A\d+", "set/00924A16.webp", "00924"),
            (None, "a/b/c.jpg", "a/b"),
            (None, "c.jpg", "c.jpg"),
        ],
    )
    def test_names(self, pattern: str | None, source: str, person: str) -> None:
        assert Settings("x", "x", person=pattern).person_of(source) == person

    def test_a_picture_that_the_expression_does_not_name(self, pictures: Path, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"--person '\(x\?\)0' finds no name in 00\.png"):
            prepare(pictures, tmp_path / "out", Settings("x", "x", person="(x?)0"))
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"person": "(a"}, "--person '\\(a' is not a regular expression: missing \\)"),
            ({"person": ".*"}, "needs a group, in parentheses"),
            ({"val": -0.1}, "--val -0.1 and --test 0.05 must be shares"),
            ({"val": 0.6, "test": 0.6}, "together at most 1"),
            ({"test": float("nan")}, "must be shares"),
            ({"split": "dev"}, "--split must be auto, train, val, test, not 'dev'"),
            ({"licence": " "}, "must not be empty"),
        ],
    )
    def test_impossible_settings(self, wrong: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Settings(**{"name": "x", "licence": "x"} | wrong)


class TestFolders:
    def test_what_file_managers_leave_is_no_picture(self, tmp_path: Path) -> None:
        photos = tmp_path / "photos"
        for name in ("a.jpg", "._a.jpg", "__MACOSX/b.jpg", "c/._d.png"):
            (photos / name).parent.mkdir(parents=True, exist_ok=True)
            (photos / name).write_bytes(b"anything")
        assert find(photos, tmp_path / "out") == {"a.jpg": 8}

    def test_nothing_to_prepare(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
            prepare(tmp_path / "nowhere", tmp_path / "out", TRAIN)
        (tmp_path / "empty").mkdir()
        (tmp_path / "empty" / "notes.txt").touch()
        with pytest.raises(ValueError, match=r"no picture in .*empty; pictures are files that end in \.avif"):
            prepare(tmp_path / "empty", tmp_path / "out", TRAIN)

    def test_nothing_usable(self, tmp_path: Path) -> None:
        (tmp_path / "photos").mkdir()
        picture(0, 200).save(tmp_path / "photos" / "a.png")
        picture(1, 200).save(tmp_path / "photos" / "b.png")
        with pytest.raises(ValueError, match=r"none of 2 pictures can be used \(2 no face\): .*refused\.csv says why"):
            prepare(tmp_path / "photos", tmp_path / "out", TRAIN)
        assert not (tmp_path / "out" / "dataset.json").exists()

    @pytest.mark.parametrize("inside", [".", "out", "a/b"])
    def test_output_among_the_pictures(self, pictures: Path, inside: str) -> None:
        with pytest.raises(ValueError, match=r"lies within .*: choose another --out"):
            prepare(pictures, pictures / inside, TRAIN)

    def test_output_where_something_else_is(self, pictures: Path, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").touch()
        with pytest.raises(ValueError, match="is not empty, and no data set"):
            prepare(pictures, tmp_path, TRAIN)
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]

    @pytest.mark.parametrize(
        ("name", "shown"), [("two\nlines.png", r"two\nlines.png"), ("no\udcfftext.png", r"no\xfftext.png")]
    )
    def test_a_name_that_no_table_holds_is_escaped(self, tmp_path: Path, name: str, shown: str) -> None:
        (tmp_path / "photos" / "ann").mkdir(parents=True)
        picture(0).save(tmp_path / "photos" / "ann" / name)
        picture(1).save(tmp_path / "photos" / "ann" / "plain.png")
        made = prepare(tmp_path / "photos", tmp_path / "out", TRAIN)
        assert rows(tmp_path / "out").keys() == {f"ann/{shown}", "ann/plain.png"}
        assert prepare(tmp_path / "photos", tmp_path / "out", TRAIN) == made

    def test_a_folder_whose_name_is_no_text(self, tmp_path: Path) -> None:
        (tmp_path / "photos" / "\udce9lise").mkdir(parents=True)
        picture(0).save(tmp_path / "photos" / "\udce9lise" / "1.png")
        prepare(tmp_path / "photos", tmp_path / "out", TRAIN)
        assert [row["person"] for row in rows(tmp_path / "out").values()] == [r"\xe9lise"]

    def test_pictures_without_a_suffix_are_found_by_their_content(self, tmp_path: Path) -> None:
        photos = tmp_path / "photos"
        photos.mkdir()
        picture(0).save(photos / "scan", "PNG")
        (photos / "damaged").write_bytes(b"\x89PNG\r\n\x1a\n")
        (photos / "README").write_text("not a picture")
        (photos / "gone").symlink_to("nowhere")
        os.mkfifo(photos / "pipe")
        prepare(photos, tmp_path / "out", TRAIN)
        assert rows(tmp_path / "out").keys() == {"scan"}
        assert {name: reason for name, (reason, _) in refused(tmp_path / "out").items()} == {
            "damaged": "truncated image", "gone": "unreadable file",
        }  # fmt: skip

    def test_apart_from_what_is_no_data_set(self, pictures: Path, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="is not a finished data set"):
            prepare(pictures, tmp_path / "out", TRAIN, apart_from=[pictures])
        assert not (tmp_path / "out").exists()


def test_a_comma_in_a_name_stays_in_its_column(photos: Path, tmp_path: Path) -> None:
    prepare(photos, tmp_path / "out", TRAIN)
    with (tmp_path / "out" / "index.csv").open(newline="") as file:
        assert {len(row) for row in csv.reader(file)} == {6}


@pytest.mark.parametrize("person", [None, "(.*)/"])
def test_names_that_differ_in_composition_are_one_person(tmp_path: Path, person: str | None) -> None:
    composed, decomposed = "Zo\u00e9 Beyonc\u00e9", "Zoe\u0301 Beyonce\u0301"
    for number, name in enumerate((composed, decomposed)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        picture(number).save(tmp_path / "photos" / name / f"{number}.png")
    made = prepare(tmp_path / "photos", tmp_path / "out", Settings("faces", "for tests", val=0.5, person=person))
    found = rows(tmp_path / "out").values()
    assert {row["person"] for row in found} == {composed}
    assert len({row["split"] for row in found}) == 1
    assert sum(made["people"].values()) == 1


def test_a_picture_in_no_folder_stands_for_itself_in_either_composition(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    picture(0).save(tmp_path / "photos" / "Zoe\u0301.png")
    prepare(tmp_path / "photos", tmp_path / "out", TRAIN)
    assert "1 pictures stand for themselves" in (tmp_path / "out" / "report.md").read_text()
