"""A real S3 server in a process of its own: moto's, which keeps all in memory."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from bench.server import free_port
from cameo.store.bucket import Bucket

PATIENCE = 60  # seconds, on a busy machine
BUCKET = "cameo-tests"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}


class S3:
    """The server. It can be killed, loses all its objects by that, and comes back at the same address."""

    def __init__(self, log: Path) -> None:
        self._log, self._seen = log, 0
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.environment = {"AWS_ENDPOINT_URL": self.endpoint, **CREDENTIALS}
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while True:
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline
            try:
                httpx.put(f"{self.endpoint}/{BUCKET}").raise_for_status()
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def url(self, prefix: str) -> str:
        return f"s3://{BUCKET}/{prefix}"

    def refuse(self, wrong: bool) -> None:
        """Whether the credentials are good no more."""
        actions = "0" if wrong else "inf"
        httpx.post(f"{self.endpoint}/moto-api/reset-auth", content=actions).raise_for_status()

    def requests(self) -> list[str]:
        """Method and path of all requests since this was called last; ``GET /bucket`` is a listing."""
        log = self._log.read_text()
        new, self._seen = log[self._seen :], len(log)
        return re.findall(r'"([A-Z]+ [^ ?]+)', new)


@contextmanager
def s3_server(folder: Path) -> Iterator[S3]:
    server = S3(folder / "s3.log")
    try:
        yield server
    finally:
        server.kill()


def names(bucket: Bucket) -> list[str]:
    return sorted(one.path for one in bucket.list())
