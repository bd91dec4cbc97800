"""The path prefix of a reverse proxy, whether the proxy removes it from requests or not."""

from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send


class Prefix:
    """Lets ``path`` begin with ``root_path``, as ASGI has it: around everything else."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app, self._root_path = app, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path, root = scope["path"], self._root_path
            bare = path.removeprefix(root) if path == root or path.startswith(root + "/") else path
            scope = {**scope, "root_path": root, "path": root + (bare or "/")}
        await self._app(scope, receive, send)


def route_path(scope: Scope) -> str:
    """The path as routes know it."""
    path: Any = scope["path"]
    return str(path).removeprefix(scope.get("root_path", "")) or "/"
