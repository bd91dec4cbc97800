"""What a service answers, as the library's results and errors. Nothing here receives anything.

Whatever is not what the service sends gives :class:`cameo.errors.Unreachable`: something else is at its address.
"""

import base64
import io
import json
import math
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import numpy as np
from PIL import Image

from cameo import cards, errors
from cameo.errors import CameoError, CardError, UnknownModel, Unreachable, quoted
from cameo.results import Comparison, Compressed, Doubt, Frame, ModelVersion, RecogniserVersion, Row, Verified

if TYPE_CHECKING:
    from cameo.cards import ReadCard
    from cameo.cards.token import Token

T = TypeVar("T")

PROBLEM = "application/problem+json"
TYPE_PREFIX = "urn:cameo:problem:"
_WAIT_DIGITS = 6  # of Retry-After: eleven days; who asks for more does not mean it
_ENVELOPE = {"type", "title", "status", "detail"}


def _subclasses(kind: type[CameoError]) -> Iterator[type[CameoError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _subclasses(each)


_KINDS = {kind.type: kind for kind in _subclasses(CameoError)}


def read(response: httpx.Response, parse: Callable[[Any], T]) -> T:
    """What ``parse`` makes of the answer's JSON."""
    return _understood(response.url, lambda: parse(response.json()))


def picture(response: httpx.Response) -> Image.Image:
    """RGB, decoded."""

    def decode() -> Image.Image:
        image = Image.open(io.BytesIO(response.content))
        image.load()
        return image

    return _understood(response.url, decode)


def strip(response: httpx.Response) -> list[Image.Image]:
    """The faces of a strip, which are square."""
    whole = picture(response)
    side = whole.height
    return [whole.crop((left, 0, left + side, side)) for left in range(0, whole.width, side)]


def signed(response: httpx.Response) -> "Token":
    """The text of a card, taken apart."""
    return _understood(response.url, lambda: cards.unpack(response.text))


def failure(response: httpx.Response) -> CameoError:
    """The error that an answer stands for; ``retry_after``, seconds, is among its facts where the service says so."""
    kind = response.headers.get("Content-Type", "").partition(";")[0]
    if kind != PROBLEM:
        return Unreachable(
            f"{response.url} answers {response.status_code} {response.reason_phrase} and not as Cameo does; "
            "check the address, and what is between", status=response.status_code,
        )  # fmt: skip
    error = _understood(response.url, lambda: problem(response.json()))
    wait = response.headers.get("Retry-After", "")
    if wait.isascii() and wait.isdecimal() and len(wait) <= _WAIT_DIGITS:
        error.facts["retry_after"] = int(wait)
    return error


def problem(document: dict[str, Any]) -> CameoError:
    """A problem (RFC 9457) as the class of its type, with its members as facts."""
    kind = _KINDS.get(document["type"].removeprefix(TYPE_PREFIX), CameoError)
    error = kind.__new__(kind)
    facts = {name: value for name, value in document.items() if name not in _ENVELOPE}
    CameoError.__init__(error, document["detail"], **facts)
    return error


def compressed(document: dict[str, Any]) -> Compressed:
    """Of ``POST /compress``, or a line of a batch with tokens."""
    return Compressed(
        document["model"], document["version"], document["effort"], base64.b64decode(document["payload"]),
        np.array(document["tokens"]["indices"], np.int64), frame(document["frame"]), document["likeness"],
        doubts(document),
    )  # fmt: skip


def verified(document: dict[str, Any]) -> Verified:
    return Verified(
        document["match"], document["score"], document["threshold"], document["fmr"],
        RecogniserVersion(**document["recogniser"]), document["model"], document["version"], document["bytes"],
        frame(document["frame"]), doubts(document), document["card"] and card(document["card"]),
    )  # fmt: skip


def cards_read(document: dict[str, Any]) -> list["ReadCard"]:
    return [card(each) for each in document["cards"]]


def card(facts: dict[str, Any]) -> "ReadCard":
    issued, not_before, expires = (
        facts[name] and datetime.fromisoformat(facts[name]) for name in ("issued", "not_before", "expires")
    )
    payload = facts["payload"] and base64.b64decode(facts["payload"])
    return cards.ReadCard(
        facts["state"], facts["detail"], facts["issuer"], issued, not_before, expires, cards.Claims.of(facts["claims"]),
        payload, facts["text"],
    )  # fmt: skip


def doubts(document: dict[str, Any]) -> tuple[Doubt, ...]:
    return tuple(Doubt(each["code"], each["detail"]) for each in document["warnings"])


def line(text: str, url: httpx.URL) -> Compressed | CameoError | None:
    """A line of a batch; None for the last one, which counts the others."""

    def parse() -> Compressed | CameoError | None:
        document = json.loads(text)
        if "items" in document:
            return None
        return problem(document["problem"]) if "problem" in document else compressed(document)

    return _understood(url, parse)


def frame(facts: dict[str, Any]) -> Frame:
    x, y, width, height = facts["box"]
    points = facts["landmarks"]
    return Frame(
        facts["method"], (x, y, width, height), None if points is None else np.array(points, np.float64),
        facts["roll"], facts["score"], facts["faces"], facts["turned"],
    )  # fmt: skip


def comparison(document: dict[str, Any], sheet: Image.Image | None) -> Comparison:
    groups: list[list[Row]] = []
    for figures in document["rows"]:
        facts = {name: value for name, value in figures.items() if name != "ratio"}
        if facts["psnr"] is None:
            facts["psnr"] = math.inf
        row = Row(pixels=None, **facts)
        if row.kind == "model":
            groups.append([])
        groups[-1].append(row)
    return Comparison(frame(document["frame"]), groups, None, sheet)


def models(document: dict[str, Any]) -> tuple[ModelVersion, ...]:
    return tuple(
        ModelVersion(
            each["name"], each["version"], each["default"], each["manifest"]["portrait"],
            tuple(each["manifest"]["rates"]), each["manifest"].get("default_rate"), each["manifest"],
        )
        for model in document["models"]
        for each in model["versions"]
    )  # fmt: skip


def default_model(document: dict[str, Any]) -> str:
    name = document["default_model"]
    if name is None:
        raise UnknownModel("the service has no default model; name one", name=None, known=[])
    return str(name)


def lost(error: httpx.RequestError, url: str) -> CameoError:
    """What became of a connection, in a sentence."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return Unreachable(f"{url} cannot be reached ({_reason(error)}); is the service running there?", url=url)
    if isinstance(error, httpx.ReadTimeout):
        return errors.DeadlineExceeded(f"{url} gave no answer in time", url=url)
    return Unreachable(f"{url} broke the connection off ({_reason(error)}); the service may have ended", url=url)


def _reason(error: Exception) -> str:
    return quoted(str(error) or type(error).__name__)


# What parsers raise for an answer that is not Cameo's, a hostile one among them.
_FOREIGN = (
    ValueError, KeyError, IndexError, TypeError, AttributeError, OSError, ArithmeticError, RecursionError,
    Image.DecompressionBombError, CardError,
)  # fmt: skip


def _understood(url: httpx.URL, parse: Callable[[], T]) -> T:
    try:
        return parse()
    except _FOREIGN as error:
        raise Unreachable(
            f"{url} answers, but not as Cameo does ({_reason(error)}); check the address, and that service and client "
            "have the same version", url=str(url),
        ) from error  # fmt: skip
