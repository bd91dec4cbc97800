"""The web page, the API's page, and security headers."""

import base64
import hashlib
import re

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException

from app import page

router = APIRouter(include_in_schema=False)

STATIC = "/static-offline-docs"  # where fastapi-offline puts Swagger UI's files

# Of any page. Those that have scripts have a policy of their own.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}

PAGE = "/page"  # where the page's own files are
TRUSTED_TYPES = "require-trusted-types-for 'script'; trusted-types 'none'"  # no script and no HTML from strings
PERMISSIONS = "camera=(self), microphone=(), geolocation=(), payment=(), usb=()"
OPEN = frozenset({"/", *(f"{PAGE}/{name}" for name in page.load(""))})  # paths that need no API key

INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


@router.get("/")
async def index(request: Request) -> Response:
    """The page for people. It needs no API key: it asks for one where the service wants one."""
    answer = _file(request, page.INDEX)
    answer.headers["Content-Security-Policy"] = f"{_policy('')}; {TRUSTED_TYPES}"
    answer.headers["Permissions-Policy"] = PERMISSIONS
    return answer


@router.get(f"{PAGE}/{{name}}")
async def page_file(request: Request, name: str) -> Response:
    """Its scripts and styles."""
    return _file(request, name)


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """Swagger UI, with nothing loaded from elsewhere; its one inline script is named by its hash."""
    at = request.scope["root_path"]
    page = get_swagger_ui_html(
        openapi_url=f"{at}/openapi.json",
        title=request.app.title,
        swagger_js_url=f"{at}{STATIC}/swagger-ui-bundle.js",
        swagger_css_url=f"{at}{STATIC}/swagger-ui.css",
        swagger_favicon_url=f"{at}{STATIC}/favicon.png",
    )
    page.headers["Content-Security-Policy"] = _policy(bytes(page.body).decode())
    return page


def protect(headers: MutableHeaders) -> None:
    """Add the security headers of any answer, and of a page those that it does not set itself."""
    headers["X-Content-Type-Options"] = "nosniff"
    if headers.get("Content-Type", "").startswith("text/html"):
        for name, value in HEADERS.items():
            headers.setdefault(name, value)


def _file(request: Request, name: str) -> Response:
    """A file, or 304 where the browser has it: it asks each time, so that no two versions mix."""
    files: dict[str, page.File] = request.app.state.page
    if (file := files.get(name)) is None:
        raise HTTPException(404, "there is no such file")
    headers = {"ETag": file.etag, "Cache-Control": "no-cache"}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.body, headers=headers, media_type=file.media_type)


def _policy(html: str) -> str:
    """What this page may do: run these scripts, ask this service, show pictures that it answered."""
    hashes = (base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in INLINE_SCRIPT.findall(html))
    return "; ".join([
        "default-src 'none'",
        " ".join(["script-src 'self'", *(f"'sha256-{digest}'" for digest in hashes)]),
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ])  # fmt: skip
