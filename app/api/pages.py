"""The API's page for browsers, and security headers."""

import base64
import hashlib
import re

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.datastructures import MutableHeaders

router = APIRouter(include_in_schema=False)

STATIC = "/static-offline-docs"  # where fastapi-offline puts Swagger UI's files

# Of any page. /docs has a policy of its own, for it has scripts.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}

INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


@router.get("/")
async def root(request: Request) -> RedirectResponse:
    """Whoever opens the address in a browser sees the API's page."""
    return RedirectResponse(request.scope["root_path"] + "/docs")


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
