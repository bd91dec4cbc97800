"""Behind a reverse proxy that shows the service under a path."""

import asyncio
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.service.pictures import PHOTO
from tests.service.server import Server, serve, until

PREFIX = "/faces/cameo"


@pytest.fixture(scope="module")
def server(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("prefix")
    with serve(folder / "log", store=tiny_store, workers=1, effort="fast", root_path=PREFIX) as server:
        yield server


@contextmanager
def proxy(port: int, strips: bool) -> Iterator[int]:
    """A proxy of one request a connection, which takes the prefix off or leaves it."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readline()).decode()
        if strips:
            line = line.replace(f" {PREFIX}", " ", 1).replace("  ", " / ")
        above_reader, above = await asyncio.open_connection("127.0.0.1", port)
        above.write(line.encode() + b"Connection: close\r\n")
        pumped = asyncio.create_task(pump(reader, above))
        await pump(above_reader, writer)
        pumped.cancel()
        above.close()

    loop = asyncio.new_event_loop()
    listener = loop.run_until_complete(asyncio.start_server(handle, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(listener.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
            loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        loop.close()


@contextmanager
def nginx(port: int, strips: bool, folder: Path) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        own = probe.getsockname()[1]
    above = f"http://127.0.0.1:{port}" + ("/" if strips else "")
    (folder / "nginx.conf").write_text(f"""
        daemon off; master_process off; pid {folder}/pid; error_log {folder}/errors; events {{}}
        http {{
            access_log off; client_max_body_size 16m; client_body_temp_path {folder}; proxy_temp_path {folder};
            fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
            server {{ listen 127.0.0.1:{own}; location {PREFIX}/ {{ proxy_pass {above}; }} }}
        }}
    """)
    process = subprocess.Popen(["nginx", "-e", folder / "errors", "-c", folder / "nginx.conf"])
    try:
        until(lambda: answers(own))
        yield own
    finally:
        process.terminate()
        process.wait()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}{PREFIX}/livez").is_success
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("strips", [True, False])
def test_everything_is_under_the_prefix(server: Server, strips: bool) -> None:
    with proxy(server.port, strips) as port:
        check(f"http://127.0.0.1:{port}{PREFIX}")


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
@pytest.mark.parametrize("strips", [True, False])
def test_everything_is_under_the_prefix_of_nginx(server: Server, strips: bool, tmp_path: Path) -> None:
    with nginx(server.port, strips, tmp_path) as port:
        check(f"http://127.0.0.1:{port}{PREFIX}")


def check(base: str) -> None:
    assert httpx.get(f"{base}/livez").is_success
    answer = httpx.post(f"{base}/compress", files={"image": PHOTO}, timeout=60)
    assert answer.is_success, answer.text
    late = httpx.post(f"{base}/compress", files={"image": PHOTO}, headers={"Cameo-Deadline-Ms": "1"}, timeout=60)
    assert late.status_code == 504, "work is admitted as without the prefix"
    assert f'src="{PREFIX}/page/main.js"' in httpx.get(f"{base}/").text
    assert httpx.get(f"{base}/page/main.js").is_success
    page = httpx.get(f"{base}/docs").text
    assert f"{PREFIX}/openapi.json" in page
    assert f'src="{PREFIX}/static-offline-docs/swagger-ui-bundle.js"' in page
    assert httpx.get(f"{base}/static-offline-docs/swagger-ui.css").is_success
    assert httpx.get(f"{base}/openapi.json").json()["servers"] == [{"url": PREFIX}]


def test_metrics_name_routes_without_the_prefix(server: Server) -> None:
    assert server.client.get(f"{PREFIX}/models").is_success
    assert server.metric("cameo_requests_total", route="/models") == 1
