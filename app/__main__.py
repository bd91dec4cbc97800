"""``python -m app`` serves; settings come from ``CAMEO_*`` environment variables, see app/config.py.

``python -m app key NAME`` makes an API key.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from app.api import access
from app.config import Settings, unknown_variables
from app.observe import logs
from app.serve import processes
from app.serve.sockets import bind
from cameo.validation import problems


def main(arguments: Sequence[str] = ()) -> int:
    parser = argparse.ArgumentParser(prog="python -m app", description="Serve, or make an API key.")
    key = parser.add_subparsers(dest="command", metavar="key").add_parser("key", help="make an API key")
    key.add_argument("name", help="who it is for; logs and metrics name it")
    key.add_argument("--per-minute", type=int, metavar="N", help="requests a minute; default: CAMEO_KEY_PER_MINUTE")
    options = parser.parse_args(arguments)
    return serve() if options.command is None else make_key(options.name, options.per_minute)


def make_key(name: str, per_minute: int | None) -> int:
    """The line for the keys file on stdout and the secret on stderr: ``>> FILE`` adds the one and shows the other."""
    try:
        secret, line = access.make(name, per_minute)
    except ValueError as error:
        print(f"cameo: {error}", file=sys.stderr)
        return 2
    print(f"The key. It is not stored anywhere and cannot be shown again:\n{secret}", file=sys.stderr)
    print(line)
    return 0


def serve() -> int:
    if wrong := unknown_variables(os.environ):
        print(*(f"cameo: {each}" for each in wrong), sep="\n", file=sys.stderr)
        return 2
    try:
        settings = Settings()
    except ValidationError as error:
        for problem in problems(error):
            name = "CAMEO_" + problem.place.replace(".", "_").upper()
            print(f"cameo: {name}={problem.value}: {problem.message}", file=sys.stderr)
        return 2
    if settings.processes > 1:
        logs.configure(settings.log_level, settings.log_format)
        return processes.run(settings)
    try:
        listener = bind(settings.host, settings.port)  # before models are loaded, which takes seconds
    except OSError as error:
        print(f"cameo: CAMEO_HOST={settings.host} CAMEO_PORT={settings.port}: {error}", file=sys.stderr)
        return 1
    from app.serve.server import serve as serve_here  # noqa: PLC0415 - loads torch, which the parent of several processes does not need

    with listener:
        return serve_here(settings, listener)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
