"""Pictures that would cost too much: each kind gets its answer, and meanwhile others get theirs."""

import json
import threading

import httpx
import pytest

from tests.archives import zipped
from tests.service.pictures import FACE, PHOTO, file
from tests.service.server import Server, problem, until
from tests.unit.pictures.test_scan import BOMBS, progressive


@pytest.fixture(scope="module")
def bombs() -> dict[str, bytes]:
    return {name: data for name, make in BOMBS.items() if len(data := make()) < 2**20}


def test_each_kind_is_refused(api: httpx.Client, bombs: dict[str, bytes]) -> None:
    assert len(bombs) > 20
    for name, data in bombs.items():
        answer = api.post("/compress", content=data, headers={"Content-Type": "application/octet-stream"})
        # Limits that follow from the size of a picture are larger here than in the tests of the scan.
        if answer.status_code == 422 and answer.json()["type"].endswith("too-complex"):
            assert answer.json()["value"] > answer.json()["limit"], name
        else:
            assert answer.status_code in (200, 400, 415, 422), (name, answer.text)


@pytest.mark.parametrize("name", ["JPEG, scans", "PNG, empty chunks", "TIFF, strips", "TIFF, a tile", "GIF, comments"])
def test_it_says_what_there_is_too_much_of(api: httpx.Client, bombs: dict[str, bytes], name: str) -> None:
    body = problem(api.post("/compress", content=bombs[name], headers={"Content-Type": "image/*"}), "too-complex", 422)
    assert body["what"] in body["detail"]
    assert str(body["limit"]) in body["detail"]


def test_in_a_batch_only_it_fails(api: httpx.Client, bombs: dict[str, bytes]) -> None:
    pictures = {"bomb.png": bombs["PNG, empty chunks"], "face.png": PHOTO}
    answer = api.post("/compress/batch", content=zipped(pictures), headers={"Content-Type": "application/zip"})
    assert answer.status_code == 200, answer.text
    bomb, face = map(json.loads, answer.text.splitlines()[:2])
    assert bomb["problem"]["type"] == "urn:cameo:problem:too-complex"
    assert "payload" in face


def test_while_they_come_others_are_served(server: Server, bombs: dict[str, bytes]) -> None:
    """The probe asks again and again on a connection of its own: it is never refused, and never waits for a decoder."""
    ended = threading.Event()
    answers: list[int] = []

    def flood() -> None:
        with httpx.Client(base_url=server.client.base_url, timeout=60) as client:
            for _ in range(3):
                for data in [*bombs.values(), progressive(2000, 60)]:
                    headers = {"Content-Type": "application/octet-stream"}
                    answers.append(client.post("/compress", content=data, headers=headers).status_code)
        ended.set()

    thread = threading.Thread(target=flood)
    thread.start()
    with httpx.Client(base_url=server.client.base_url, timeout=10) as probe:
        probed = 0
        while not ended.is_set():
            assert probe.get("/livez").status_code == 200
            probed += 1
    thread.join()
    assert len(answers) == 3 * (len(bombs) + 1)
    assert not [status for status in answers if status >= 500]
    assert probed > len(answers) / 10, "as many as there was time for"
    until(lambda: server.metric("cameo_backlog_seconds") == 0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_file_that_lacks_only_its_last_two_bytes(api: httpx.Client, kind: str) -> None:
    data = file(FACE, kind)
    answer = api.post("/compress", content=data[:-2], headers={"Content-Type": "application/octet-stream"})
    assert answer.status_code == 200
