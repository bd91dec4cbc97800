"""The service on Ray Serve, behind its HAProxy, on a cluster of two nodes; beside it the plain service."""

import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import yaml

import cameo
from bench.server import free_port
from tests.ray.cluster import PATIENCE, two_nodes, until
from tests.service.conftest import BODY_LIMIT, TAKE_PAYLOAD
from tests.service.pictures import PHOTO
from tests.service.server import ROOT, Server, serve
from tests.tiny import publish_tiny

CONFIG = ROOT / "deploy" / "ray" / "serve.yaml"
OWN = {"date", "traceparent", "server-timing", "connection", "server", "transfer-encoding"}


class OnRay(NamedTuple):
    cluster: Any
    client: httpx.Client
    store: Path
    metrics_port: int
    log: Path

    @property
    def url(self) -> str:
        return str(self.client.base_url)


@pytest.fixture(scope="module")
def store(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that may be changed."""
    copy = tmp_path_factory.mktemp("store") / "store"
    shutil.copytree(tiny_store, copy)
    (copy / "store.json").write_text('{"default_model": "tiny-vae"}')
    return copy


@pytest.fixture(scope="module")
def on_ray(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnRay]:
    """As ``deploy/ray/serve.yaml`` has it, with a replica on each node."""
    folder = tmp_path_factory.mktemp("serve")
    port, metrics_port = free_port(), free_port()
    config = yaml.safe_load(CONFIG.read_text())
    config["http_options"]["port"] = port
    application = config["applications"][0]
    application["args"]["metrics_port"] = metrics_port
    deployment = application["deployments"][0]
    del deployment["autoscaling_config"]
    deployment |= {"num_replicas": 2, "max_replicas_per_node": 1, "ray_actor_options": {"num_cpus": 1}}
    (folder / "serve.yaml").write_text(yaml.safe_dump(config))
    log = folder / "log"
    with (
        two_nodes(
            PYTHONPATH=str(ROOT),
            RAY_SERVE_ENABLE_HA_PROXY="1", RAY_SERVE_THROUGHPUT_OPTIMIZED="1",
            RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH="app.serve.hold:middlewares",
            RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S="1", RAY_SERVE_HAPROXY_METRICS_PORT=str(free_port()),
            RAY_SERVE_HAPROXY_STATS_PORT=str(free_port()), RAY_SERVE_HAPROXY_NBTHREAD="1",
            RAY_SERVE_HAPROXY_CONFIG_FILE_LOC=str(folder / "haproxy.cfg"),
            RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S="50", RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S="50",
            CAMEO_STORE=str(store), CAMEO_STORE_POLL_SECONDS="0.5", CAMEO_DEVICE="cpu", CAMEO_OPEN="true",
            CAMEO_EFFORT="fast", CAMEO_MAX_BODY_BYTES=str(BODY_LIMIT),
        ) as cluster,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):  # fmt: skip
        on_ray = OnRay(cluster, client, store, metrics_port, log)
        run = start(on_ray, folder / "serve.yaml")
        try:
            while True:
                until(lambda: run.poll() is not None or len(replicas(on_ray)) == 2)  # noqa: B023
                if run.poll() is None:
                    break
                assert b"killed by `ray.kill`" in log.read_bytes(), log.read_text()
                run = start(on_ray, folder / "serve.yaml")  # a busy machine, and Ray Serve waits for a minute only
            yield on_ray
        finally:
            run.send_signal(signal.SIGINT)
            try:
                run.wait(PATIENCE)
            finally:
                run.kill()


def start(on_ray: OnRay, config: Path) -> subprocess.Popen[bytes]:
    with on_ray.log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "ray.serve.scripts", "run", "-a", on_ray.cluster.address, str(config)],
            cwd=ROOT, stdout=file, stderr=file,
        )  # fmt: skip


@pytest.fixture(scope="module")
def plain(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("plain") / "log"
    with serve(log, store=store, workers=1, effort="fast", max_body_bytes=BODY_LIMIT) as server:
        yield server


def replicas(on_ray: OnRay) -> list[str]:
    """The metrics of each replica that is there."""
    found = []
    for port in range(on_ray.metrics_port, on_ray.metrics_port + 4):
        try:
            answer = httpx.get(f"http://127.0.0.1:{port}/metrics")
        except httpx.TransportError:
            continue
        if "cameo_ready 1.0" in answer.text:
            found.append(answer.text)
    try:
        return found if on_ray.client.get("/readyz").is_success else []
    except httpx.TransportError:
        return []


REQUESTS: list[dict[str, Any]] = [
    {"method": "GET", "url": "/models"},
    {"method": "GET", "url": "/readyz"},
    {"method": "GET", "url": "/models/tiny-vae"},
    {"method": "POST", "url": "/compress", "content": PHOTO, "headers": {"Content-Type": "image/png"}},
    {"method": "POST", "url": "/compress", "content": PHOTO, "headers": TAKE_PAYLOAD},
    {
        "method": "POST",
        "url": "/compress?effort=good&model=tiny-progressive",
        "content": PHOTO,
        "headers": TAKE_PAYLOAD,
    },
    {"method": "POST", "url": "/compress", "files": {"image": PHOTO}},
    {"method": "POST", "url": "/compress?nonsense=1", "content": PHOTO, "headers": TAKE_PAYLOAD},
    {"method": "POST", "url": "/compress", "content": b"no photo", "headers": TAKE_PAYLOAD},
    {"method": "POST", "url": "/compress", "content": bytes(BODY_LIMIT + 1), "headers": TAKE_PAYLOAD},
    {"method": "POST", "url": "/reconstruct", "content": b"x", "headers": {"Content-Type": "application/vnd.cameo"}},
    {"method": "GET", "url": "/sample?seed=3"},
    {"method": "POST", "url": "/compress/batch", "files": [("image", PHOTO), ("image", b"x")]},
    {"method": "GET", "url": "/nothing"},
    {"method": "DELETE", "url": "/models"},
    {"method": "HEAD", "url": "/readyz"},
]


def told(client: httpx.Client, request: dict[str, Any]) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers, without what differs from answer to answer."""
    answer = client.request(**request | {"headers": request.get("headers", {}) | {"X-Request-Id": "0123456789"}})
    assert answer.headers.get_list("X-Request-Id") == ["0123456789"]
    return (
        answer.status_code, answer.content, {name: value for name, value in answer.headers.items() if name not in OWN}
    )  # fmt: skip


@pytest.mark.parametrize("request_", REQUESTS, ids=range(len(REQUESTS)))
def test_answers_are_those_of_the_plain_service(on_ray: OnRay, plain: Server, request_: dict[str, Any]) -> None:
    assert told(on_ray.client, request_) == told(plain.client, request_)


def test_a_body_without_an_end_is_refused(on_ray: OnRay) -> None:
    endless = (bytes(2**16) for _ in range(8 * BODY_LIMIT // 2**16))
    answer = on_ray.client.post("/compress", content=endless, headers={"Content-Type": "image/png"})
    assert answer.status_code == 413
    assert on_ray.client.get("/readyz").is_success


def test_a_node_that_dies_and_a_version_that_comes_fail_no_request(on_ray: OnRay) -> None:
    wrong: list[Exception] = []
    versions: set[int] = set()
    done = 0
    over = threading.Event()

    def work() -> None:
        nonlocal done
        with cameo.Client(on_ray.url) as client:
            while not over.is_set():
                try:
                    face = client.compress(PHOTO)
                    client.reconstruct(face.payload)
                except Exception as error:
                    wrong.append(error)
                    return
                versions.add(face.version)
                done += 1

    def more() -> None:
        before = done
        until(lambda: done > before + 10 or bool(wrong))

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    try:
        more()
        published = publish_tiny(on_ray.store, "tiny-vae", seed=3).manifest.version
        until(lambda: published in versions or bool(wrong))
        [other] = [node for node in on_ray.cluster.list_all_nodes() if not node.head]
        on_ray.cluster.remove_node(other, allow_graceful=False)
        more()
    finally:
        over.set()
        for worker in workers:
            worker.join()
    assert wrong == []
    assert published in versions
    assert on_ray.client.get("/readyz").is_success
