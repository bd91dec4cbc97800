"""``cameo serve``."""

import os
import sys
from pathlib import Path

import click

import cameo
from cameo.cli.group import Failure

ROOT = Path(cameo.__file__).parents[1]


@click.command(
    epilog="""\b
Examples:
  cameo serve
  cameo serve --port 9000
  CAMEO_WORKERS=4 cameo serve        docs/settings.md has every setting
"""
)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="TCP port.  [default: 8000]")
def command(host: str | None, port: int | None) -> None:
    """Serve all this over HTTP, where the service is installed."""
    if not (ROOT / "app" / "serve" / "server.py").is_file():
        raise Failure(
            "the service is not part of the package: run it from the repository (make run), or from its image "
            "(docker run -p 8000:8000 cameo)"
        )
    environment = {"CAMEO_STORE": str(ROOT / "model_store")} | dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), environment.get("PYTHONPATH"))))
    if host is not None:
        environment["CAMEO_HOST"] = host
    if port is not None:
        environment["CAMEO_PORT"] = str(port)
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", "app"], environment)  # noqa: S606 - signals are the service's
