"""What Ray Serve adds to the plain service: latency, throughput, memory and time to start, in one run.

    python -m bench.ray.serving --seconds 5 --rounds 3

Three services of the same settings are up at the same time, and asked in turn: the plain one, one replica behind Ray
Serve's HAProxy, and one behind its proxy in Python. A request is a payload that is reconstructed, a few milliseconds of
work, so that what lies between client and model shows.
"""

import argparse
import http.client
import os
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import yaml
from PIL import Image

import cameo
from bench.ray.kills import memory_mb
from bench.server import ROOT, Server, free_port, post

CONFIG = ROOT / "deploy" / "ray" / "serve.yaml"
STORE = ROOT / "model_store"
SETTINGS = {"CAMEO_DEVICE": "cpu", "CAMEO_WORKERS": "2", "CAMEO_OPEN": "true", "CAMEO_EFFORT": "fast"}
MEDIA_TYPE = "application/vnd.cameo"
CLIENTS = 8


def on_ray(folder: Path, *, haproxy: bool) -> Server:
    port = free_port()
    config = yaml.safe_load(CONFIG.read_text())
    config["http_options"]["port"] = port
    config["applications"][0]["args"]["metrics_port"] = free_port()
    path = folder / f"{port}.yaml"
    path.write_text(yaml.safe_dump(config))
    environment = {
        "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_worker_niceness": "0",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "app.serve.hold:middlewares",
    }  # fmt: skip
    if haproxy:
        environment |= {
            "RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()), "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        }  # fmt: skip
    command = [sys.executable, "-m", "ray.serve.scripts", "run", "--address", "local", str(path)]
    return Server(STORE, command, SETTINGS | environment, port)


def latencies(server: Server, payload: bytes, seconds: float) -> list[float]:
    """Milliseconds of requests, one after the other."""
    connection, took = server.connect(), []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        post(connection, "/reconstruct", MEDIA_TYPE, payload)
        took.append((time.perf_counter() - began) * 1e3)
    connection.close()
    return took


def throughput(server: Server, payload: bytes, seconds: float) -> float:
    """Requests a second of several clients."""
    done = [0] * CLIENTS
    end = time.perf_counter() + seconds

    def ask(index: int) -> None:
        connection: http.client.HTTPConnection = server.connect()
        while time.perf_counter() < end:
            post(connection, "/reconstruct", MEDIA_TYPE, payload)
            done[index] += 1
        connection.close()

    clients = [threading.Thread(target=ask, args=(index,)) for index in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return sum(done) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with cameo.open(STORE, device="cpu") as c:
        grey = Image.new("RGB", (128, 128), "grey")
        payload = c.compress(grey, model="vqvae-64", frame="asis", likeness=False).payload
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        servers: dict[str, Server] = {}
        for name, server in {
            "plain": Server(STORE, settings=SETTINGS),
            "Ray Serve, HAProxy": on_ray(Path(temporary), haproxy=True),
            "Ray Serve, Python proxy": on_ray(Path(temporary), haproxy=False),
        }.items():
            servers[name] = stack.enter_context(server)
            print(f"{name}: ready after {servers[name].start_seconds:.1f} s", flush=True)
        singles: dict[str, list[float]] = {name: [] for name in servers}
        rates: dict[str, list[float]] = {name: [] for name in servers}
        costs: dict[str, list[float]] = {name: [] for name in servers}
        for _ in range(arguments.rounds):
            for name, server in servers.items():
                singles[name].append(statistics.median(latencies(server, payload, arguments.seconds)))
                before = server.cpu_seconds()
                rates[name].append(throughput(server, payload, arguments.seconds))
                costs[name].append((server.cpu_seconds() - before) / (rates[name][-1] * arguments.seconds) * 1e3)
        for name, server in servers.items():
            print(
                f"{name}: median {statistics.median(singles[name]):.1f} ms, {statistics.median(rates[name]):.0f}/s of "
                f"{CLIENTS} clients, {statistics.median(costs[name]):.2f} ms CPU a request, "
                f"{memory_mb(server.pid):.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
