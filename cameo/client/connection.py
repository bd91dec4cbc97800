"""A step of an exchange as an HTTP request: address, headers, timeouts."""

import re

import httpx

from cameo.client.exchange import Send

GRACE_SECONDS = 2.0  # after the deadline, in which the service's own word on it may arrive
CONNECT_SECONDS = 10.0


def require_key(key: str | None) -> str | None:
    """The key. ValueError, which does not say it, where no header can have it."""
    if key is not None and not re.fullmatch(r"[!-~]+", key):
        raise ValueError("the API key has characters that no key has: spaces, line breaks or letters beyond ASCII")
    return key


def build(http: httpx.Client | httpx.AsyncClient, url: str, key: str | None, step: Send) -> httpx.Request:
    """ValueError where ``http`` is closed."""
    if http.is_closed:
        raise ValueError("this client is closed")
    asked, seconds = step.request, step.seconds
    headers = {"Accept": asked.accept}
    if asked.kind is not None:
        headers["Content-Type"] = asked.kind
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    if seconds is not None and asked.method == "POST":
        headers["Cameo-Deadline-Ms"] = str(max(1, round(1e3 * seconds)))
    wait = None if seconds is None else seconds + GRACE_SECONDS
    timeout = httpx.Timeout(wait, connect=CONNECT_SECONDS if wait is None else min(CONNECT_SECONDS, wait))
    return http.build_request(
        asked.method, url + asked.path, params=asked.query, headers=headers, content=asked.content, timeout=timeout
    )
