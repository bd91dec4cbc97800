"""An object store behind a URL: what :mod:`obstore` does, with this project's errors and limits."""

import errno
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from cameo.errors import StoreError, StoreUnavailable
from cameo.store.base import require_scheme

try:
    import obstore
    from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
    from obstore.store import from_url
except ImportError:  # it is an extra
    INSTALLED = False
else:
    INSTALLED = True

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

CHUNK = 4 * 2**20  # bytes of a download that are asked for at once; each has to come within the time below
CLIENT: "ClientConfig" = {"connect_timeout": timedelta(seconds=5), "timeout": timedelta(seconds=15)}
RETRY: "RetryConfig" = {"max_retries": 2, "retry_timeout": timedelta(seconds=15)}
PART = 5 * 2**20  # bytes of a part of an upload, the least that S3 takes
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
REFUSALS = ("401 Unauthorized", "403 Forbidden")


class Object(NamedTuple):
    """An object as a listing has it. ``etag`` changes with the contents."""

    path: str
    size: int
    etag: str


class Conflict(Exception):
    """The condition of a write does not hold: the object is there already, or is no longer the one that was read."""


class Bucket:
    """The objects under ``url``, named by paths relative to it.

    Credentials, region and endpoint come from the environment or the machine, as each cloud's own tools take them.
    Every method raises StoreUnavailable where the store does not answer or refuses the credentials, FileNotFoundError
    for an object that is not there, and StoreError where there is no such bucket.
    """

    def __init__(self, url: str) -> None:
        require_scheme(url)
        if not INSTALLED:
            raise StoreError(
                f"{url} needs the extra objects: pip install 'cameo-faces[objects]'", root=url, missing="obstore"
            )
        self.url = url.rstrip("/")
        # http is for a server of one's own, which somebody has to name.
        plain = any(os.environ.get(name, "").startswith("http://") for name in ENDPOINTS)
        try:
            self._store: Any = from_url(self.url, client_options={**CLIENT, "allow_http": plain}, retry_config=RETRY)
        except (BaseError, ValueError, OSError) as error:
            raise StoreError(f"{url} cannot be opened: {_first_line(error)}", root=url) from error

    def __str__(self) -> str:
        return self.url

    def list(self, prefix: str | None = None) -> list[Object]:
        """All objects, or those in the "folder" ``prefix``; one request for a thousand."""
        with self._errors("list"):
            return [
                Object(one["path"], one["size"], one["e_tag"] or str(one["last_modified"]))
                for one in obstore.list(self._store, prefix).collect()
            ]

    def get(self, path: str, limit: int) -> tuple[bytes, dict[str, str]]:
        """A whole object, and what :meth:`put` takes to replace just this one. ValueError above ``limit`` bytes."""
        with self._errors(path):
            found = obstore.get(self._store, path)
            meta = found.meta
            if meta["size"] > limit:
                raise ValueError(f"{path.rpartition('/')[2]} has more than {limit} bytes.")
            version = {"e_tag": meta["e_tag"], "version": meta["version"]}
            return bytes(found.bytes()), {name: value for name, value in version.items() if value}

    def chunks(self, path: str, size: int) -> Iterator[bytes]:
        """The first ``size`` bytes of an object, a few at a time. FileNotFoundError, also for one with fewer."""
        for start in range(0, size, CHUNK):
            length = min(CHUNK, size - start)
            data = self.range(path, start, length)
            if len(data) < length:
                raise FileNotFoundError(errno.ENOENT, f"it ends before its {size} bytes", path)
            yield data

    def reader(self, path: str) -> BinaryIO:
        """An object as a file to read and seek in, of which some bytes are asked for at a time."""
        with self._errors(path):
            size = obstore.head(self._store, path)["size"]
        return cast("BinaryIO", io.BufferedReader(_Ranges(self, path, size), CHUNK))

    def range(self, path: str, start: int, length: int) -> bytes:
        with self._errors(path):
            return bytes(obstore.get_range(self._store, path, start=start, length=length))

    def put(
        self, path: str, data: bytes | Path, *, replaces: dict[str, str] | None = None, create: bool = False
    ) -> None:
        """Write an object, at once; with ``create`` only where there is none, with ``replaces`` only in its place.

        Conflict, where the condition does not hold. After StoreUnavailable it may have been written nevertheless.
        """
        mode: Any = "create" if create else replaces or "overwrite"
        with self._errors(path):
            # Conditions are for whole objects: parts of an upload know none.
            whole = False if mode != "overwrite" else None
            obstore.put(
                self._store, path, data, mode=mode, use_multipart=whole, chunk_size=PART, max_concurrency=1
            )  # fmt: skip

    def holds(self, path: str) -> bool:
        try:
            with self._errors(path):
                obstore.head(self._store, path)
        except FileNotFoundError:
            return False
        return True

    def delete(self, *paths: str) -> None:
        """Objects that are not there are no error."""
        for path in paths:
            with suppress(FileNotFoundError), self._errors(path):
                obstore.delete(self._store, path)

    @contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        try:
            yield
        except (AlreadyExistsError, PreconditionError) as error:
            raise Conflict(path) from error
        except (BaseError, OSError) as error:
            said = str(error)
            if "NoSuchBucket" in said or "ContainerNotFound" in said or (path == "list" and "404 Not Found" in said):
                raise StoreError(
                    f"There is no bucket for {self.url}; correct the name, or make the bucket.", root=self.url
                ) from error
            if isinstance(error, FileNotFoundError):
                raise FileNotFoundError(errno.ENOENT, "there is no such object", path) from error
            if any(refusal in said for refusal in REFUSALS):
                code = re.search("<Code>(.{1,100}?)</Code>", said)
                raise StoreUnavailable(
                    f"The object store refuses the credentials for {self.url}{f' ({code[1]})' if code else ''}.",
                    root=self.url, retry_after=5,
                ) from error  # fmt: skip
            raise StoreUnavailable(
                f"The object store does not answer for {self.url}: {_first_line(error)}", root=self.url, retry_after=5
            ) from error


class _Ranges(io.RawIOBase):
    def __init__(self, bucket: Bucket, path: str, size: int) -> None:
        super().__init__()
        self._bucket, self._path, self._size = bucket, path, size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        length = max(0, min(len(buffer), self._size - self._at))
        if length:
            buffer[:length] = self._bucket.range(self._path, self._at, length)
            self._at += length
        return length


def _first_line(error: Exception) -> str:
    """Of an error that goes on for a page; without queries, in which some clouds carry signatures."""
    return re.sub(r"\?\S*", "", str(error).strip().partition("\n")[0])[:300]
