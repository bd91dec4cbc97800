"""Request ids, trace context, timings, metrics: what operators see."""

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.service.conftest import TAKE_PAYLOAD
from tests.service.pictures import PHOTO, landscape, png
from tests.service.server import Server, problem

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_request_id_is_echoed(server: Server) -> None:
    answer = server.client.get("/nothing", headers={"X-Request-Id": "badge-17:a/b+c=="})
    assert problem(answer, "not-found", 404)["request_id"] == "badge-17:a/b+c=="
    # The line is written after the answer is sent.
    deadline = time.monotonic() + 10
    while "id=badge-17:a/b+c==" not in server.log:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_request_id_is_made(api: httpx.Client) -> None:
    made = [api.get("/livez").headers["X-Request-Id"] for _ in range(2)]
    assert made[0] != made[1]
    assert all(re.fullmatch("[0-9a-f]{32}", id_) for id_ in made)


@pytest.mark.parametrize("hostile", ["x" * 10_000, "two words", "%0d%0aSet-Cookie: a=b", "<script>", "", "né"])
def test_a_hostile_request_id_is_replaced(api: httpx.Client, hostile: str) -> None:
    answer = api.get("/nothing", headers=[(b"X-Request-Id", hostile.encode())])
    assert re.fullmatch("[0-9a-f]{32}", problem(answer, "not-found", 404)["request_id"])


def test_a_line_break_in_a_request_id_adds_no_header(server: Server) -> None:
    answer = server.raw(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\rSet-Cookie: a=b\r\n\r\n")
    assert b"a=b" not in answer


def test_trace_context_is_echoed(api: httpx.Client) -> None:
    assert api.get("/livez", headers={"traceparent": TRACE}).headers["traceparent"] == TRACE


@pytest.mark.parametrize(
    "trace", ["", "nonsense", TRACE.upper(), TRACE[:-1], "ff" + TRACE[2:], f"00-{'0' * 32}-b7ad6b7169203331-01"]
)
def test_trace_context_is_made(api: httpx.Client, trace: str) -> None:
    made = api.get("/livez", headers={"traceparent": trace}).headers["traceparent"]
    assert made != trace
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", made)


def test_timings_name_the_stages(api: httpx.Client) -> None:
    timing = api.post("/compress", content=PHOTO, headers=TAKE_PAYLOAD).headers["Server-Timing"]
    stages = dict(re.findall(r"(\w+);dur=([0-9.]+)", timing))
    assert stages.keys() == {"upload", "decode", "frame", "queue", "infer", "encode", "judge"}
    assert all(float(duration) >= 0 for duration in stages.values())


def test_metrics_follow_what_happens(server: Server, payload: bytes) -> None:
    compressed = {"route": "/compress"}
    by_stage = {f"cameo_stage_seconds_count of {s}": ("cameo_stage_seconds_count", compressed | {"stage": s})
                for s in ("decode", "frame", "queue", "infer", "encode")}  # fmt: skip
    watched = {
        "ok": ("cameo_requests_total", compressed | {"method": "POST", "status": "200"}),
        "no face": ("cameo_requests_total", compressed | {"method": "POST", "status": "422"}),
        "duration": ("cameo_request_seconds_count", compressed),
        "in": ("cameo_received_bytes_total", compressed),
        "out": ("cameo_sent_bytes_total", {"route": "/reconstruct"}),
        "payloads": ("cameo_payload_bytes_count", {"model": "tiny-vae", "version": "1"}),
        "bytes of payloads": ("cameo_payload_bytes_sum", {"model": "tiny-vae", "version": "1"}),
        "ratios": ("cameo_compression_ratio_sum", {"model": "tiny-vae", "version": "1"}),
        **by_stage,
    }
    empty = png(landscape())
    before = {name: server.metric(series, **labels) for name, (series, labels) in watched.items()}
    server.client.post("/compress", content=PHOTO, headers=TAKE_PAYLOAD)
    server.client.post("/compress", content=empty, headers=TAKE_PAYLOAD)
    picture = server.client.post("/reconstruct", content=payload, headers={"Content-Type": "application/vnd.cameo"})
    moved = {name: server.metric(series, **labels) - before[name] for name, (series, labels) in watched.items()}
    stages = {name: moved.pop(name) for name in by_stage}
    assert moved == {
        "ok": 1, "no face": 1, "duration": 2, "in": len(PHOTO) + len(empty), "out": len(picture.content),
        "payloads": 1, "bytes of payloads": 16, "ratios": 768,
    }  # fmt: skip
    assert list(stages.values()) == [2, 2, 2, 1, 1], "where no face is found, nothing is inferred"


def test_metrics_say_what_is_served(server: Server) -> None:
    digest = server.client.get("/models/tiny-vae/2").json()["digest"]
    assert server.metric("cameo_model_info", model="tiny-vae", version="2", digest=digest) == 1
    assert server.metric("cameo_model_info") == 4
    assert server.metric("cameo_refused_version_info") == 0
    assert server.metric("cameo_ready") == 1
    assert server.metric("cameo_device_info", device="cpu", workers="2") == 1
    assert server.metric("cameo_refused_total") == 0


def test_labels_do_not_grow_with_what_clients_invent(server: Server) -> None:
    for i, method in enumerate(["PROPFIND", "PURGE", "REPORT"]):  # ones that every HTTP parser lets through
        server.client.request(method, "/compress")
        server.client.get(f"/nothing/{i}")
        server.client.get(f"/models/nobody{i}")
    text = server.client.get("/metrics").text
    assert "PURGE" not in text
    assert "nobody" not in text
    assert "nothing" not in text
    assert server.metric("cameo_requests_total", route="/compress", method="other", status="405") >= 3


def test_live_and_ready(server: Server) -> None:
    assert server.client.get("/livez").json() == {"live": True}
    ready = server.client.get("/readyz").json()
    assert ready["ready"] is True
    assert ready["models"] == ["tiny-progressive/1", "tiny-vae/1", "tiny-vae/2", "tiny-vqvae/1"]
    assert (ready["device"], ready["workers"], ready["refused"]) == ("cpu", 2, [])
    assert ready["reason"]
    assert ready["device_reason"]
    assert (ready["effort"], ready["effort_reason"]) == ("fast", "asked for, and for batches, too")
    assert "default effort fast: asked for" in server.log


def test_many_at_once_get_what_each_gets_alone(api: httpx.Client, payload: bytes) -> None:
    asks: list[Callable[[], httpx.Response]] = [
        lambda: api.post("/compress", content=PHOTO, headers=TAKE_PAYLOAD),
        lambda: api.post("/compress", files={"image": PHOTO}, params={"model": "tiny-vqvae"}),
        lambda: api.post("/compress", content=PHOTO, params={"frame": "asis", "version": 2}, headers=TAKE_PAYLOAD),
        lambda: api.post("/compress", content=png(landscape()), headers=TAKE_PAYLOAD),
        lambda: api.post("/reconstruct", content=payload, headers={"Content-Type": "application/vnd.cameo"}),
        lambda: api.post("/reconstruct", content=payload[:-1], headers={"Content-Type": "application/vnd.cameo"}),
        lambda: api.post("/shorten?max_bytes=16", content=payload, headers={"Content-Type": "application/vnd.cameo"}),
        lambda: api.post("/compress", files={"image": PHOTO}, params={"model": "tiny-progressive", "max_bytes": 64}),
        lambda: api.get("/models"),
    ]

    def gist(answer: httpx.Response) -> tuple[int, object]:
        if answer.headers["Content-Type"].endswith("json"):
            return answer.status_code, answer.json() | {"request_id": None}
        return answer.status_code, answer.content

    alone = [gist(ask()) for ask in asks]
    assert [status for status, _ in alone] == [200, 200, 200, 422, 200, 400, 200, 200, 200]
    with ThreadPoolExecutor(8) as clients:
        together = list(clients.map(lambda i: gist(asks[i % len(asks)]()), range(45)))
    assert together == [alone[i % len(asks)] for i in range(45)]
