"""A Ray cluster of two nodes on this machine, which share nothing but the network: 127.0.0.1."""

import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",  # nothing listens to other machines
    "RAY_worker_niceness": "0",  # other tests run beside these
    "RAY_memory_monitor_refresh_ms": "0",  # it would kill workers while other tests fill the memory
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # its clients believe then that 127.0.0.1 is what they are told
    "OMP_NUM_THREADS": "1",
}
NODE: dict[str, Any] = {
    "num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 80 * 2**20, "include_dashboard": False,
    "include_log_monitor": False, "no_monitor": True,
}  # fmt: skip


PATIENCE = 300  # seconds: Ray starts a dozen processes, and others may use the cores


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@contextmanager
def two_nodes(**environment: str) -> Iterator[Any]:
    """A ``ray.cluster_utils.Cluster``; its ``address`` is what clients connect to."""
    before = dict(os.environ)
    os.environ |= ENVIRONMENT | environment
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from ray.cluster_utils import Cluster  # noqa: PLC0415 - reads the environment
        cluster = Cluster(shutdown_at_exit=True)
        try:
            _add(cluster, temp_dir=folder)
            _add(cluster)
            yield cluster
        finally:
            cluster.shutdown()
    finally:
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(folder, ignore_errors=True)


def _add(cluster: Any, **options: Any) -> None:
    """Ray gives a node half a minute to start, which on a busy machine is not enough."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            cluster.add_node(**NODE, **options)
        except Exception as error:
            if "timed out during startup" not in str(error) or time.monotonic() > deadline:
                raise
        else:
            return
