from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.service.pictures import PHOTO
from tests.service.server import Server, serve

BODY_LIMIT = 2 * 2**20


@pytest.fixture(scope="session")
def server(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One service for all tests. Whatever they do to it, it works at the end as it did at the start.

    Searches, which take their time and are for one budget each, are for the tests that ask for them.
    """
    log = tmp_path_factory.mktemp("service") / "log"
    with serve(log, store=tiny_store, workers=2, max_body_bytes=BODY_LIMIT, effort="fast") as server:
        before = compress(server.client)
        yield server
        assert compress(server.client) == before
        assert server.metric("cameo_queue_length") == 0
        # Before it was ready it said so; that is no failure.
        failed = [labels for labels in server.labels("cameo_requests_total") if labels["status"] >= "500"]
        assert [labels for labels in failed if labels["route"] != "/readyz"] == [], server.log


@pytest.fixture
def api(server: Server) -> httpx.Client:
    return server.client


def compress(client: httpx.Client) -> object:
    answer = client.post("/compress", content=PHOTO, headers={"Content-Type": "image/png"})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="session")
def payload(server: Server) -> bytes:
    """The photo's, in the default model."""
    answer = server.client.post("/compress", content=PHOTO, headers=TAKE_PAYLOAD)
    assert answer.status_code == 200, answer.text
    return answer.content


TAKE_PAYLOAD = {"Content-Type": "image/png", "Accept": "application/vnd.cameo"}
