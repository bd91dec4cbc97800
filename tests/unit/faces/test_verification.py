"""Thresholds by rate: which one counts, and whose they are."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cameo
from cameo.errors import DamagedPayload, InvalidParameter, NoFace, NotCalibrated
from cameo.faces.judge import IdentityJudge, installed_judge
from cameo.faces.verification import DEFAULT_FMR, FILE, FMRS, Calibration, calibrated, read_calibration
from cameo.store.reader import StoredVersion, read_version
from tests.faces import astronaut
from tests.tiny import made_up_calibration

THRESHOLDS = {32: (0.2, 0.3, 0.5), 96: (0.3, 0.4, 0.45), 320: (0.35, 0.42, 0.6)}


@pytest.fixture
def stored(tiny_store: Path, tmp_path: Path) -> StoredVersion:
    """A version of its own, to be changed."""
    return read_version(
        Path(shutil.copytree(tiny_store / "tiny-progressive" / "1", tmp_path / "tiny-progressive" / "1"))
    )


@pytest.fixture
def calibration(stored: StoredVersion) -> Calibration:
    return made_up_calibration(stored, THRESHOLDS)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (32, (0.2, 0.3, 0.5)),
        (96, (0.3, 0.4, 0.45)),
        (95, (0.3, 0.4, 0.5)),  # the higher of both neighbours, whichever it is
        (97, (0.35, 0.42, 0.6)),
        (20, (0.2, 0.3, 0.5)),
        (400, (0.35, 0.42, 0.6)),
    ],
)
def test_a_size_between_two_rates_has_the_higher_threshold(
    calibration: Calibration, size: int, expected: tuple[float, ...]
) -> None:
    assert tuple(calibration.threshold(size, fmr) for fmr in FMRS) == expected


def test_another_fmr_is_refused_with_those_there_are(calibration: Calibration) -> None:
    with pytest.raises(InvalidParameter, match=r"fmr is 0.05; it may be 0.01, 0.001, 0.0001") as caught:
        calibration.threshold(96, 0.05)
    assert caught.value.facts["allowed"] == list(FMRS)


def test_it_is_read_as_it_was_written(stored: StoredVersion, calibration: Calibration) -> None:
    (stored.folder / FILE).write_bytes(calibration.to_json())
    found = read_calibration(stored)
    assert found == calibration
    assert calibrated(found, calibration.recogniser) is found


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"manifest": "0" * 64}, "was measured for the manifest 000000"),
        ({"schema_version": 2}, "schema_version: Input should be 1"),
        ({"more": 1}, "more: there is no such name"),
        ({"rates": []}, "rates: "),
    ],
)
def test_a_wrong_file_decides_nothing(
    stored: StoredVersion, calibration: Calibration, change: dict[str, Any], reason: str
) -> None:
    (stored.folder / FILE).write_text(json.dumps(json.loads(calibration.to_json()) | change))
    with pytest.raises(NotCalibrated, match=reason):
        calibrated(read_calibration(stored), calibration.recogniser)


def test_a_threshold_never_falls_with_the_fmr(stored: StoredVersion) -> None:
    with pytest.raises(ValueError, match="do not fall where the FMR does"):
        made_up_calibration(stored, {96: (0.3, 0.4, 0.39)})
    with pytest.raises(ValueError, match="rates ascend"):
        made_up_calibration(stored, {96: (0.3, 0.4, 0.5), 48: (0.3, 0.4, 0.5)})


@pytest.mark.parametrize("data", [b"", b"{", b"no json"])
def test_a_broken_file_is_named(stored: StoredVersion, calibration: Calibration, data: bytes) -> None:
    (stored.folder / FILE).write_bytes(data)
    with pytest.raises(NotCalibrated, match=f"{FILE} is wrong"):
        calibrated(read_calibration(stored), calibration.recogniser)


def test_without_a_file_it_says_how_to_make_one(stored: StoredVersion, calibration: Calibration) -> None:
    with pytest.raises(NotCalibrated, match=r"has no verification\.json; python -m training calibrate-verification"):
        calibrated(read_calibration(stored), calibration.recogniser)


def test_a_recogniser_of_ones_own_has_no_thresholds(tiny_store: Path, tmp_path: Path) -> None:
    weights = installed_judge()
    assert weights is not None
    mine = tmp_path / "mine.onnx"
    mine.write_bytes(weights.read_bytes() + b"\x9a\x06\x01x")  # the same network, with a field that nobody reads
    with cameo.open(tiny_store, device="cpu", recogniser=mine) as c:
        payload = c.compress(astronaut()).payload
        with pytest.raises(
            NotCalibrated, match=r"thresholds are for the recogniser face_recognition_sface.*not for mine"
        ):
            c.verify(astronaut(), payload)


def test_the_library_decides(tiny_store: Path) -> None:
    weights = installed_judge()
    assert weights is not None
    with cameo.open(tiny_store, device="cpu") as c:
        face = c.compress(astronaut())
        found = {fmr: c.verify(astronaut(), face.payload, fmr=fmr) for fmr in FMRS}
        assert [done.threshold for done in found.values()] == [-0.9, 0.5, 0.9]
        assert {done.match for done in found.values()} == {True, False}
        done = c.verify(astronaut(), face.payload)
        assert done.fmr == DEFAULT_FMR
        assert done.match == (done.score >= done.threshold)
        assert (done.model, done.version, done.bytes) == ("tiny-vae", 1, len(face.payload))
        assert done.frame.faces == 1
        assert done.recogniser == IdentityJudge(weights).version
        assert done.recogniser.name == "face_recognition_sface_2021dec_int8bq"
        with pytest.raises(NoFace):
            c.verify(np.zeros((200, 200, 3), np.uint8), face.payload)
        with pytest.raises(DamagedPayload):
            c.verify(astronaut(), face.payload[:-1] + bytes([face.payload[-1] ^ 1]))
        with pytest.raises(InvalidParameter, match=r"fmr is 0\.5"):
            c.verify(astronaut(), face.payload, fmr=0.5)
        with pytest.raises(NotCalibrated, match="tiny-vae/2 has no"):
            c.verify(astronaut(), c.compress(astronaut(), version=2).payload)
