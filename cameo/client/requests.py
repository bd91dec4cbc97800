"""What a service is asked, as plain values: nothing here sends anything."""

import base64
import io
import json
import sys
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cameo import cards
from cameo.pictures.read import Photo, read

JSON, PAYLOAD, TAR, NDJSON = "application/json", "application/vnd.cameo", "application/x-tar", "application/x-ndjson"
TEXT, PNG = "text/plain", "image/png"
ANY_PICTURE = "application/octet-stream"  # the service finds out which format it is


class Request(NamedTuple):
    """``kind`` is the media type of ``content``, ``accept`` that of the answer."""

    method: str
    path: str
    query: dict[str, str]
    accept: str
    kind: str | None = None
    content: bytes | None = None


def compress(photo: bytes, **settings: Any) -> Request:
    """``settings`` are the query parameters of ``POST /compress``; None leaves one to the service."""
    return Request("POST", "/compress", query(settings), JSON, ANY_PICTURE, photo)


def compress_batch(photos: Sequence[bytes], **settings: Any) -> Request:
    return Request("POST", "/compress/batch", query(settings), NDJSON, TAR, _tar(photos))


def reconstruct(payload: bytes) -> Request:
    return Request("POST", "/reconstruct", {}, PNG, PAYLOAD, bytes(payload))


def reconstruct_tokens(tokens: NDArray[np.int64], model: str, version: int | None) -> Request:
    asked = {"model": model, "version": version, "tokens": np.asarray(tokens).tolist()}
    return Request("POST", "/reconstruct", {}, PNG, JSON, json.dumps(asked).encode())


def shorten(payload: bytes, max_bytes: int) -> Request:
    return Request("POST", "/shorten", {"max_bytes": str(max_bytes)}, PAYLOAD, PAYLOAD, bytes(payload))


def verify(photo: bytes, kind: str, reference: bytes, **settings: Any) -> Request:
    """``kind`` of reference: payload or card, which is a picture or its text."""
    return _form("/verify", settings, JSON, {"image": photo, kind: reference})


def card_of_photo(photo: bytes, claims: dict[str, str], settings: Mapping[str, Any]) -> Request:
    return _form("/card", settings, TEXT, {"image": photo, "claims": json.dumps(claims).encode()})


def card_of_payload(payload: bytes, claims: dict[str, str], settings: Mapping[str, Any]) -> Request:
    asked = {"payload": base64.b64encode(payload).decode(), "claims": claims}
    return Request("POST", "/card", query(settings), TEXT, JSON, json.dumps(asked).encode())


def read_card(card: bytes) -> Request:
    """A picture, or the text."""
    return Request("POST", "/card/read", {}, JSON, TEXT if cards.is_text(card) else ANY_PICTURE, card)


def interpolate(a: bytes, b: bytes, steps: int) -> Request:
    ends = {name: base64.b64encode(payload).decode() for name, payload in (("a", a), ("b", b))}
    return Request("POST", "/interpolate", {"steps": str(steps)}, PNG, JSON, json.dumps(ends).encode())


def sample(count: int, seed: int, model: str | None, version: int | None) -> Request:
    asked = {"count": count, "seed": seed, "model": model, "version": version}
    return Request("GET", "/sample", query(asked), PNG)


def compare(
    photo: bytes, models: Iterable[str] | None, codecs: Iterable[str] | None, max_bytes: int | Iterable[int],
    effort: str | None, frame: str,
) -> Request:  # fmt: skip
    budgets = [max_bytes] if isinstance(max_bytes, int) else max_bytes
    settings = {
        "models": ",".join(models or ()) or None,
        "codecs": None if codecs is None else ",".join(codecs),
        "max_bytes": ",".join(map(str, budgets)) or None,
        "effort": effort,
        "frame": frame,
    }
    return Request("POST", "/compare", query(settings), JSON, ANY_PICTURE, photo)


def models() -> Request:
    return Request("GET", "/models", {}, JSON)


def query(settings: Mapping[str, Any]) -> dict[str, str]:
    """Those that are not None, as they stand in an address."""
    return {name: _written(value) for name, value in settings.items() if value is not None}


def _written(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    return str(value).lower() if isinstance(value, bool) else str(value)


def _form(path: str, settings: Mapping[str, Any], accept: str, files: Mapping[str, bytes]) -> Request:
    form = httpx.Request("POST", path, files=files)
    return Request("POST", path, query(settings), accept, form.headers["Content-Type"], form.read())


def photo_bytes(photo: Photo) -> bytes:
    """The file of a photo; of a picture or an array a PNG, which has the same pixels.

    OSError for a path that cannot be read, TypeError or ValueError for what is no photo.
    """
    if isinstance(photo, str | PathLike):
        return Path(photo).read_bytes()
    if isinstance(photo, bytes | bytearray | memoryview):
        return bytes(photo)
    if isinstance(photo, np.ndarray | Image.Image):
        return _png(photo)
    data = photo.read()
    if not isinstance(data, bytes):
        raise TypeError(f"the file object gives {type(data).__name__}, not bytes: open it with mode 'rb'")
    return data


def _png(photo: NDArray[np.uint8] | Image.Image) -> bytes:
    file = io.BytesIO()
    pixels, _ = read(photo, sys.maxsize)  # the limit is for files, and the service has its own
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _tar(photos: Sequence[bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for index, photo in enumerate(photos):
            member = tarfile.TarInfo(str(index))
            member.size = len(photo)
            archive.addfile(member, io.BytesIO(photo))
    return file.getvalue()
