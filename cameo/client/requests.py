"""What a service is asked, as plain values: nothing here sends anything."""

import io
import json
import sys
import tarfile
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cameo.pictures.read import Photo, read

JSON, PAYLOAD, TAR, NDJSON = "application/json", "application/vnd.cameo", "application/x-tar", "application/x-ndjson"
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
    return Request("POST", "/reconstruct", {}, "image/png", PAYLOAD, bytes(payload))


def reconstruct_tokens(tokens: NDArray[np.int64], model: str, version: int | None) -> Request:
    asked = {"model": model, "version": version, "tokens": np.asarray(tokens).tolist()}
    return Request("POST", "/reconstruct", {}, "image/png", JSON, json.dumps(asked).encode())


def shorten(payload: bytes, max_bytes: int) -> Request:
    return Request("POST", "/shorten", {"max_bytes": str(max_bytes)}, PAYLOAD, PAYLOAD, bytes(payload))


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


def query(settings: dict[str, Any]) -> dict[str, str]:
    """Those that are not None, as they stand in an address."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in settings.items()
        if value is not None
    }


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
