"""The shipped model and its thresholds: the person of a payload is told from somebody else."""

from collections.abc import Iterator

import httpx
import pytest

import cameo
from cameo.faces.verification import FMRS, Calibration, read_calibration
from cameo.local import shipped_store
from cameo.store.reader import StoredVersion, read_version, scan
from tests.service.pictures import FACE, PHOTO, png
from tests.service.server import serve

BRIGHTER = png(FACE.point(lambda level: min(255, round(1.2 * level + 10))).rotate(8).resize((400, 400)))
"""Another photo of the same person, as far as one picture allows: leaning, brighter, of another size."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    log = tmp_path_factory.mktemp("shipped") / "log"
    with serve(log, store=shipped_store(), workers=1, effort="fast") as server:
        yield server.client


@pytest.fixture(scope="module")
def somebody_else(api: httpx.Client) -> bytes:
    """A face of nobody."""
    answer = api.get("/sample", params={"model": "vae-64", "seed": 1, "count": 1})
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.mark.parametrize("max_bytes", [48, 96])
def test_the_same_person_matches_and_another_does_not(api: httpx.Client, somebody_else: bytes, max_bytes: int) -> None:
    take = {"Content-Type": "image/png", "Accept": "application/vnd.cameo"}
    payload = api.post("/compress", content=PHOTO, params={"max_bytes": max_bytes}, headers=take).content
    same = api.post("/verify", files={"image": BRIGHTER, "payload": payload}).json()
    assert same["match"], same
    assert same["score"] > same["threshold"] + 0.05
    other = api.post("/verify", files={"image": somebody_else, "payload": payload}, params={"frame": "asis"}).json()
    assert not other["match"], other
    assert (same["model"], same["threshold"]) == (other["model"], other["threshold"])
    strict, loose = (
        api.post("/verify", files={"image": BRIGHTER, "payload": payload}, params={"fmr": fmr}).json()["threshold"]
        for fmr in (0.0001, 0.01)
    )
    assert loose < same["threshold"] < strict


@pytest.mark.parametrize(
    "stored", [*map(read_version, scan(shipped_store()))], ids=lambda stored: "-".join(map(str, stored.key))
)
def test_each_shipped_version_has_thresholds_of_its_own(stored: StoredVersion) -> None:
    found = read_calibration(stored)
    assert isinstance(found, Calibration), found
    assert found.fmrs == list(FMRS)
    assert set(found.rates[0].efforts) >= {"fast"}
    assert {rate.bytes for rate in found.rates} >= set(stored.manifest.rates)
    between = range(min(stored.manifest.rates), max(stored.manifest.rates) + 1)
    assert all(found.threshold(size, 0.01) < found.threshold(size, 0.0001) for size in between)
    for rate in found.rates:
        assert rate.comparisons > 30_000
        assert all(each.low <= each.threshold <= each.high for each in rate.thresholds)
    assert all(source.name.startswith("aaf-val") for source in found.data)


def test_the_library_and_the_service_agree(api: httpx.Client) -> None:
    with cameo.open() as c:
        payload = c.compress(PHOTO, effort="fast").payload
        done = c.verify(BRIGHTER, payload)
    body = api.post("/verify", files={"image": BRIGHTER, "payload": payload}).json()
    assert (body["match"], body["threshold"], body["score"]) == (done.match, done.threshold, round(done.score, 4))
