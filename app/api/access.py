"""API keys and their rate limits: plain ASGI middleware around everything but the page and the probes of
orchestrators.

The keys file has a line for each key, ``NAME SHA256HEX [requests-per-minute]``, and comments after #. It holds hashes
only: who reads it learns no key. ``python -m app key NAME`` makes both. Several lines may have one name: these keys
share its limit, and while clients change from the old key to the new one, both are valid.
"""

import hashlib
import ipaddress
import logging
import math
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import pages
from app.api.prefix import route_path
from app.api.problems import problem
from app.config import Settings
from app.observe.metrics import Metrics
from cameo.errors import RateLimited, Unauthorized

log = logging.getLogger("cameo.keys")

OPEN = frozenset({"/livez", "/readyz"}) | pages.OPEN
ERRORS = (Unauthorized, RateLimited)
SCHEMES = {  # as OpenAPI has them
    "bearer": {"type": "http", "scheme": "bearer", "description": "The API key"},
    "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key", "description": "The API key"},
}
REFUSALS = {429, 503, 504}  # of the service, which has no room or no time
BEFORE_WORK = {"upload", "queue"}  # stages of a request
LOOK_SECONDS = 1.0  # between two looks at the file

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LINE = re.compile(rf"({NAME.pattern})\s+([0-9a-fA-F]{{64}})(?:\s+([0-9]{{1,6}}))?")


class Key(NamedTuple):
    name: str
    per_minute: int  # 0: no limit


def make(name: str, per_minute: int | None = None) -> tuple[str, str]:
    """A new key: the secret for the client, and the line for the keys file; ValueError for a malformed name."""
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a valid name: up to 64 letters, digits, dots, dashes and underscores")
    secret = "cameo_" + secrets.token_urlsafe(32)
    return secret, " ".join([name, _hash(secret)] + ([] if per_minute is None else [str(per_minute)]))


def parse(text: str, per_minute: int) -> dict[str, Key]:
    """From hashes to keys. ``per_minute`` is for lines without a number.

    ValueError names the line, and never what is in it: somebody may have put the secret there.
    """
    keys: dict[str, Key] = {}
    limits: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not (bare := line.partition("#")[0].strip()):
            continue
        if not (match := LINE.fullmatch(bare)):
            raise ValueError(f"line {number} is not NAME SHA256HEX [requests-per-minute]")
        name, digest, limit = match[1], match[2].lower(), int(match[3] or per_minute)
        if digest in keys:
            raise ValueError(f"line {number} has the key of an earlier line")
        if limits.setdefault(name, limit) != limit:
            raise ValueError(f"line {number} gives {name} another number of requests than an earlier line")
        keys[digest] = Key(name, limit)
    if not keys:
        raise ValueError("it has no keys")  # as while somebody is writing it
    return keys


class Bucket:
    """A token bucket: a minute's requests may come at once, then one every 60 / ``per_minute`` seconds."""

    def __init__(self, per_minute: int, now: float) -> None:
        self.per_minute, self._tokens, self._at = per_minute, float(per_minute), now

    def take(self, now: float, count: int = 1) -> float:
        """Take ``count`` requests: 0, or the seconds until that is possible; never for more than a minute's."""
        rate = self.per_minute / 60
        self._tokens = min(self.per_minute, self._tokens + (now - self._at) * rate)
        self._at = now
        if self._tokens < count:
            return (count - self._tokens) / rate
        self._tokens -= count
        return 0.0

    def give_back(self, count: int) -> None:
        self._tokens += count


class Keys:
    """The keys of a file, read anew when it changes; a broken one leaves the keys that were read before.

    ValueError where the file is broken at the start. ``clock`` gives seconds that never go back.
    """

    def __init__(
        self, path: Path, per_minute: int, metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._per_minute, self._metrics, self._clock = path, per_minute, metrics, clock
        self._looked, self._seen = clock(), self._stat()
        self._buckets: dict[str, Bucket] = {}  # at most one for each name in the file
        self._keys = self._read()

    def find(self, secret: str) -> Key | None:
        """The key of this secret. Its hash is looked up: how long that takes says nothing about other keys."""
        self._reload_if_changed()
        return self._keys.get(_hash(secret))

    def wait(self, key: Key, count: int = 1) -> float:
        """0 if so much more work of this key is allowed now, else the seconds until it is."""
        return self._bucket(key).take(self._clock(), count) if key.per_minute else 0.0

    def give_back(self, key: Key, count: int) -> None:
        """Return the allowance for work that was accepted but not done."""
        if key.per_minute:
            self._bucket(key).give_back(count)

    def _bucket(self, key: Key) -> Bucket:
        bucket = self._buckets.get(key.name)
        if bucket is None or bucket.per_minute != key.per_minute:
            bucket = self._buckets[key.name] = Bucket(key.per_minute, self._clock())
        return bucket

    def _reload_if_changed(self) -> None:
        if self._clock() - self._looked < LOOK_SECONDS:
            return
        self._looked, seen = self._clock(), self._stat()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._keys = self._read()
        except ValueError as error:
            log.error("%s; the keys that were read before stay valid", error)  # noqa: TRY400 - the line says it all
        else:
            names = {key.name for key in self._keys.values()}
            self._buckets = {name: bucket for name, bucket in self._buckets.items() if name in names}
            log.info("%s has changed: %d keys of %s", self._path, len(self._keys), ", ".join(sorted(names)))

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_size, stat.st_mtime_ns

    def _read(self) -> dict[str, Key]:
        self._metrics.keys_broken.set(1)
        try:
            keys = parse(self._path.read_text("utf-8"), self._per_minute)
        except OSError as error:
            raise ValueError(f"CAMEO_KEYS={self._path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ValueError(f"CAMEO_KEYS={self._path} is not text") from None
        except ValueError as error:
            raise ValueError(f"CAMEO_KEYS={self._path}: {error}") from None
        self._metrics.keys_broken.set(0)
        return keys


class Charge:
    """What one request uses of its key's limit: one, or for a batch one for each item."""

    def __init__(self, keys: Keys, key: Key, metrics: Metrics) -> None:
        self._keys, self._key, self._metrics = keys, key, metrics
        self._count = 0
        self._limited = False

    def raise_to(self, count: int) -> None:
        """Use ``count`` in all; RateLimited where that is too much."""
        more, (name, most) = count - self._count, self._key
        if more <= 0:
            return
        if wait := math.inf if 0 < most < count else self._keys.wait(self._key, more):
            self._limited = True
            self._metrics.key_requests.labels(name, "rate-limited").inc()
            if math.isinf(wait):
                raise RateLimited(
                    f"the request counts as {count}, and {name} may ask {most} times a minute; send fewer at once",
                    limit=most, key=name, count=count,
                )  # fmt: skip
            retry = max(1, math.ceil(wait))
            raise RateLimited(
                f"{name} may ask {most} times a minute; try again in {retry} s",
                limit=most, key=name, count=count, retry_after=retry,
            )  # fmt: skip
        self._count = count

    def give_back(self) -> None:
        """Nothing was done, so it does not count; a request that was over the limit does."""
        if not self._limited:
            self._keys.give_back(self._key, self._count)
            self._count = 0


def charge(request: Request, count: int) -> None:
    """Count a request as ``count`` requests of its key; RateLimited."""
    if (charged := request.scope["state"].get("charge")) is not None:
        charged.raise_to(count)


class Access:
    """Lets requests with a valid key pass, as often as the key may ask, before a byte of their bodies is read.

    What the service then refuses before any work on it does not count.
    """

    def __init__(self, app: ASGIApp, keys: Keys, metrics: Metrics) -> None:
        self._app, self._keys, self._metrics = app, keys, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or route_path(scope) in OPEN:
            await self._app(scope, receive, send)
            return
        secret = _secret(Headers(scope=scope))
        key = None if secret is None else self._keys.find(secret)
        if key is None:
            self._metrics.key_requests.labels("", "unauthorized").inc()
            said = "the request has no API key" if secret is None else "the API key is not known here"
            error = Unauthorized(f"{said}; send it as Authorization: Bearer KEY or as X-Api-Key: KEY")
            answer = problem(Request(scope), error)
            answer.headers["WWW-Authenticate"] = "Bearer"
            await answer(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["key"], state["charge"] = key.name, Charge(self._keys, key, self._metrics)
        try:
            state["charge"].raise_to(1)
        except RateLimited as error:
            await problem(Request(scope), error)(scope, receive, send)
            return
        self._metrics.key_requests.labels(key.name, "accepted").inc()

        async def watched_send(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in REFUSALS and not _worked(state):
                state["charge"].give_back()
            await send(message)

        await self._app(scope, receive, watched_send)


def _worked(state: dict[str, Any]) -> bool:
    timings = state.get("timings")
    return timings is not None and not timings.seconds.keys() <= BEFORE_WORK


def require_keys(settings: Settings) -> None:
    """ValueError where other machines could reach a service without keys, and CAMEO_OPEN does not allow it."""
    if settings.keys is None and not settings.open and not _loopback(settings.host):
        raise ValueError(
            f"CAMEO_HOST={settings.host} lets other machines in: name a file of API keys in CAMEO_KEYS, "
            "or set CAMEO_OPEN=true to serve everybody"
        )


def _secret(headers: Headers) -> str | None:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    return headers.get("x-api-key")


def _hash(secret: str) -> str:
    # Keys are random and long: nobody can try them all, so a slow hash would only slow the service.
    return hashlib.sha256(secret.encode()).hexdigest()


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
