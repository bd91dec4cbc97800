"""API keys, limits, CORS, pages and JSON logs, on real services."""

import gzip
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.__main__ import main
from app.api.access import make
from app.config import Settings
from app.main import create_app
from tests.archives import zipped
from tests.service.conftest import TAKE_PAYLOAD
from tests.service.pictures import PHOTO
from tests.service.server import START_SECONDS, Server, problem, serve, start

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PAGE = "https://badges.example"


class Guarded:
    """A service that asks for keys, its keys file, and the secret of the key ``desk``."""

    def __init__(self, server: Server, file: Path, secret: str) -> None:
        self.server, self.file, self.secret = server, file, secret
        server.client.headers["X-Api-Key"] = secret

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Without the client's own key."""
        return httpx.get(f"http://127.0.0.1:{self.server.port}{path}", headers=headers, timeout=60)


@pytest.fixture(scope="module")
def guarded(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    secret, line = make("desk")
    (folder / "keys").write_text(line + "\n")
    with serve(
        folder / "log", store=tiny_store, keys=folder / "keys", cors_origins=f"{PAGE}, https://b.example",
        log_format="json", log_level="debug",
    ) as server:  # fmt: skip
        yield Guarded(server, folder / "keys", secret)


def entries(server: Server, **fields: Any) -> list[dict[str, Any]]:
    """What was logged with these fields, once it is there: lines are written after answers are sent."""
    deadline = time.monotonic() + 10
    while True:
        lines = [json.loads(line) for line in server.log.splitlines(keepends=True) if line.endswith("\n")]
        if found := [line for line in lines if fields.items() <= line.items()]:
            return found
        assert time.monotonic() < deadline, (fields, lines)
        time.sleep(0.01)


NEED_A_KEY = (
    "/docs", "/openapi.json", "/models", "/metrics", "/nothing", "/page/nothing", "/static-offline-docs/favicon.png",
)  # fmt: skip


def test_everything_but_the_page_and_the_probes_needs_a_key(guarded: Guarded) -> None:
    for path in NEED_A_KEY:
        answer = guarded.get(path)
        problem(answer, "unauthorized", 401)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert guarded.get(path, Authorization=f"Bearer {guarded.secret}").status_code != 401
    for path in ("/livez", "/readyz", "/", "/page/main.js"):
        assert guarded.get(path).status_code == 200


def test_an_upload_without_a_key_is_not_read(guarded: Guarded) -> None:
    head = b"POST /compress HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000000\r\n\r\n"
    assert guarded.server.raw(head).startswith(b"HTTP/1.1 401 ")


def test_keys_change_without_a_restart(guarded: Guarded) -> None:
    before = guarded.file.read_text()
    secret, line = make("newcomer")

    def until(status: int) -> None:
        deadline = time.monotonic() + 30
        while guarded.get("/models", Authorization=f"Bearer {secret}").status_code != status:
            assert time.monotonic() < deadline
            time.sleep(0.1)

    assert guarded.get("/models", Authorization=f"Bearer {secret}").status_code == 401
    guarded.file.write_text(before + line + "\n")
    until(200)
    assert guarded.get("/models", Authorization=f"Bearer {guarded.secret}").status_code == 200
    guarded.file.write_text("not a keys file\n")
    deadline = time.monotonic() + 30
    while guarded.server.metric("cameo_keys_file_broken") != 1:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert guarded.get("/models", Authorization=f"Bearer {secret}").status_code == 200
    assert len(entries(guarded.server, logger="cameo.keys", level="error")) == 1
    guarded.file.write_text(before)
    until(401)
    assert guarded.server.metric("cameo_keys_file_broken") == 0
    assert guarded.server.metric("cameo_key_requests_total", key="newcomer", outcome="accepted") >= 2


def test_a_batch_counts_as_its_items(guarded: Guarded) -> None:
    before = guarded.file.read_text()
    secret, line = make("batches", 9)
    guarded.file.write_text(before + line + "\n")
    headers = {"X-Api-Key": secret, "Content-Type": "application/zip"}
    address = f"http://127.0.0.1:{guarded.server.port}/compress/batch"

    def send(count: int) -> httpx.Response:
        body = zipped({f"{i}.png": PHOTO for i in range(count)})
        return httpx.post(address, content=body, headers=headers, timeout=60)

    deadline = time.monotonic() + 30
    while guarded.get("/livez").is_success and send(5).status_code == 401:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert problem(send(5), "rate-limited", 429)["count"] == 5
    assert problem(send(10), "rate-limited", 429)["count"] == 10
    guarded.file.write_text(before)


def test_a_key_has_its_limit(guarded: Guarded) -> None:
    before = guarded.file.read_text()
    secret, line = make("slow", 1)
    guarded.file.write_text(before + line + "\n")
    deadline = time.monotonic() + 30
    while guarded.get("/models", Authorization=f"Bearer {secret}").status_code == 401:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    answer = guarded.get("/models", Authorization=f"Bearer {secret}")
    body = problem(answer, "rate-limited", 429)
    assert (body["limit"], body["key"]) == (1, "slow")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert guarded.server.metric("cameo_key_requests_total", key="slow", outcome="rate-limited") == 1
    guarded.file.write_text(before)


def test_logs_are_json(guarded: Guarded) -> None:
    headers = TAKE_PAYLOAD | {"X-Request-Id": "badge-17", "traceparent": TRACE}
    answer = guarded.server.client.post("/compress", content=PHOTO, headers=headers)
    (entry,) = entries(guarded.server, request_id="badge-17")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", entry.pop("time"))
    assert entry.pop("message").startswith("POST /compress 200 ")
    assert entry.pop("stages_ms").keys() == {"upload", "decode", "frame", "queue", "infer", "encode", "judge"}
    assert entry.pop("ms") > 0
    assert entry == {
        "level": "info", "logger": "cameo.access", "request_id": "badge-17", "trace_id": TRACE.split("-")[1],
        "method": "POST", "route": "/compress", "status": 200, "bytes_in": len(PHOTO),
        "bytes_out": len(answer.content), "key": "desk", "model": "tiny-vae/1",
    }  # fmt: skip


def test_a_refusal_is_logged_and_counted_like_any_answer(guarded: Guarded) -> None:
    guarded.get("/models", **{"X-Request-Id": "nobody-1"})
    (entry,) = entries(guarded.server, request_id="nobody-1")
    assert (entry["status"], entry["route"]) == (401, "unmatched")
    assert "key" not in entry
    assert guarded.server.metric("cameo_requests_total", status="401") >= 1


def test_secrets_are_nowhere(guarded: Guarded) -> None:
    wrong = "cameo_hunter2"
    for secret in (guarded.secret, wrong):
        guarded.get("/models", Authorization=f"Bearer {secret}")
        guarded.get("/models", **{"X-Api-Key": secret})
        guarded.get("/nothing", Authorization=f"Basic {secret}", **{"X-Request-Id": f"last-{len(secret)}"})
        entries(guarded.server, request_id=f"last-{len(secret)}")
        told = guarded.server.log + guarded.server.client.get("/metrics").text
        assert secret not in told
    assert wrong not in guarded.get("/models", Authorization=f"Bearer {wrong}").text


def test_pages_of_named_origins_may_ask(guarded: Guarded) -> None:
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    client = httpx.Client(base_url=f"http://127.0.0.1:{guarded.server.port}")
    with client:
        allowed = client.options("/compress", headers={"Origin": PAGE} | ask)
        assert allowed.status_code == 200, "browsers send no key with it"
        assert allowed.headers["Access-Control-Allow-Origin"] == PAGE
        refused = client.options("/compress", headers={"Origin": "https://evil.example"} | ask)
        assert "Access-Control-Allow-Origin" not in refused.headers
        answer = client.get("/models", headers={"Origin": PAGE})
    assert answer.status_code == 401
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE, "the page may read why"
    exposed = answer.headers["Access-Control-Expose-Headers"]
    assert {"Cameo-Model", "Server-Timing", "X-Request-Id", "Retry-After"} <= set(exposed.split(", "))


def test_no_other_page_may_ask_by_default(api: httpx.Client) -> None:
    answer = api.get("/models", headers={"Origin": PAGE})
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_the_page_is_kept_to_itself(api: httpx.Client) -> None:
    page = api.get("/docs")
    policy = dict(part.split(" ", 1) for part in page.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    assert policy["script-src"].count("'sha256-") == page.text.count("<script>") == 1
    assert page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) == 3
    for address in loaded:
        assert address.startswith("/"), "nothing from elsewhere"
        assert api.get(address).status_code == 200
    assert "Content-Security-Policy" not in api.get("/models").headers


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Settings]:
    return lambda **more: Settings(store=tmp_path, device="cpu", **more)


def test_keys_are_documented_where_they_are_needed(settings: Callable[..., Settings], tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(make("desk")[1])
    app = create_app(settings(keys=keys))
    document = app.openapi()
    assert document is app.openapi()
    assert {scheme["type"] for scheme in document["components"]["securitySchemes"].values()} == {"http", "apiKey"}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            needed = path not in {"/livez", "/readyz"}
            assert ("security" in operation) == ("401" in operation["responses"]) == needed
    (refusals,) = document["paths"]["/compress"]["post"]["responses"]["429"]["content"].values()
    assert refusals["examples"].keys() == {"overloaded", "rate-limited"}
    assert "securitySchemes" not in create_app(settings()).openapi()["components"]


BAD_SETTINGS = {
    "HOST": ("0.0.0.0", r"CAMEO_HOST=0\.0\.0\.0 lets other machines in: .*CAMEO_KEYS.*CAMEO_OPEN=true.*"),  # noqa: S104
    "KEYS": ("/nowhere/keys", r"CAMEO_KEYS=/nowhere/keys cannot be read: No such file or directory"),
    "CORS_ORIGINS": ("https://a.example/page", r"CAMEO_CORS_ORIGINS=\S+: https://a\.example/page is not an origin.*"),
    "OTLP": ("collector:4317", r"CAMEO_OTLP=collector:4317: .*pattern.*"),
    "LOG_FORMAT": ("xml", r"CAMEO_LOG_FORMAT=xml: .*pattern.*"),
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_a_setting_that_cannot_be_met_is_one_clear_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    value, said = BAD_SETTINGS[name]
    monkeypatch.setenv(f"CAMEO_{name}", value)
    assert main() == 2
    assert re.fullmatch(f"cameo: {said}\n", capsys.readouterr().err)


def test_a_public_address_without_keys_ends_the_process(tmp_path: Path) -> None:
    process = start(tmp_path / "log", host="0.0.0.0")  # noqa: S104
    assert process.wait(START_SECONDS) == 2
    assert re.fullmatch(r"cameo: CAMEO_HOST=0\.0\.0\.0 .*\n", (tmp_path / "log").read_text())


def test_the_command_that_makes_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "printer", "--per-minute", "60"]) == 0
    told = capsys.readouterr()
    assert re.fullmatch(r"printer [0-9a-f]{64} 60\n", told.out)
    assert re.search(r"^cameo_[\w-]{43}$", told.err, re.MULTILINE)
    assert main(["key", "no name"]) == 2
    assert capsys.readouterr().err.startswith("cameo: 'no name' is not a valid name")


def test_spans_go_to_a_collector(tiny_store: Path, tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="needs the extra otel")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: PLC0415

    spans: list[Any] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            body = gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                spans.extend(span for scope in resource.scope_spans for span in scope.spans)
            assert self.path == "/v1/traces"
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    collector = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    with serve(tmp_path / "log", store=tiny_store, otlp=f"http://127.0.0.1:{collector.server_port}") as server:
        headers = TAKE_PAYLOAD | {"X-Request-Id": "badge-17", "traceparent": TRACE}
        assert server.client.post("/compress", content=PHOTO, headers=headers).headers["traceparent"] == TRACE
        made = server.client.get("/models").headers["traceparent"]
    collector.shutdown()
    collector.server_close()

    (request,) = [span for span in spans if span.name == "POST /compress"]
    assert f"00-{request.trace_id.hex()}-{request.parent_span_id.hex()}-01" == TRACE
    attributes = {a.key: a.value.string_value or a.value.int_value for a in request.attributes}
    assert attributes["cameo.request_id"] == "badge-17"
    assert attributes["cameo.model"] == "tiny-vae/1"
    assert (attributes["http.route"], attributes["http.response.status_code"]) == ("/compress", 200)
    stages = [span for span in spans if span.parent_span_id == request.span_id]
    assert {span.name for span in stages} == {"upload", "decode", "frame", "queue", "infer", "encode", "judge"}
    (models,) = [span for span in spans if span.name == "GET /models"]
    assert made.startswith(f"00-{models.trace_id.hex()}-{models.span_id.hex()}-0"), "what the client is told is sent"
