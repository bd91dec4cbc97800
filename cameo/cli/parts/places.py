"""Files, and objects of S3, Google Cloud or Azure, by their address: a path, or s3://bucket/name, gs:// or az://.

Credentials, endpoint and region come from the environment, as obstore reads it: AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL
and so on. Everything here raises OSError that names the address.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from cameo.cli.folder import photos
from cameo.pictures.junk import is_junk

if TYPE_CHECKING:
    from obstore.store import ObjectStore


def is_remote(address: str) -> bool:
    return "://" in address


def join(address: str, name: str) -> str:
    return f"{address.rstrip('/')}/{name}"


def find(address: str) -> list[str]:
    """Addresses of a file, or of all in a folder or under a prefix, at any depth and without hidden ones; sorted."""
    if not is_remote(address):
        return photos.find([address])
    with _errors(address):
        import obstore  # noqa: PLC0415 - an extra

        store, path = _split(address)
        found = [str(each["path"]) for page in obstore.list(store, path or None) for each in page]
        if not found and path:
            obstore.head(store, path)  # FileNotFoundError, where it is no object either
            found = [path]
    root = address.removesuffix(path)
    inside = (name for name in found if not any(part.startswith(".") for part in name[len(path) :].split("/")))
    return [root + name for name in sorted(inside) if not is_junk(name)]


def read(address: str) -> bytes:
    if not is_remote(address):
        return Path(address).read_bytes()
    with _errors(address):
        import obstore  # noqa: PLC0415

        return bytes(obstore.get(*_split(address)).bytes())


def reader(address: str) -> BinaryIO:
    """A file to read and seek in."""
    if not is_remote(address):
        return Path(address).open("rb")
    with _errors(address):
        import obstore  # noqa: PLC0415

        return cast("BinaryIO", obstore.open_reader(*_split(address)))


def create(address: str, data: bytes) -> None:
    """All of a new file, or nothing. FileExistsError where there is one, whoever else writes it at the same time."""
    if is_remote(address):
        with _errors(address):
            import obstore  # noqa: PLC0415

            store, path = _split(address)
            obstore.put(store, path, data, mode="create", use_multipart=False)
        return
    target = Path(address)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        target.hardlink_to(partial)  # unlike a rename, it never replaces a file
    finally:
        partial.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _split(address: str) -> "tuple[ObjectStore, str]":
    scheme, _, rest = address.partition("://")
    bucket, _, path = rest.partition("/")
    return _store(f"{scheme}://{bucket}"), path.rstrip("/")


@cache
def _store(url: str) -> "ObjectStore":
    from obstore.store import from_url  # noqa: PLC0415

    options: dict[str, Any] = {}
    if os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"):  # a server of one's own, without TLS
        options["client_options"] = {"allow_http": True}
    return from_url(url, **options)


@contextmanager
def _errors(address: str) -> Iterator[None]:
    try:
        yield
    except ImportError:
        raise OSError(None, "object stores need obstore: pip install obstore", address) from None
    except FileNotFoundError:
        raise FileNotFoundError(None, "there is no such object, nor any under this prefix", address) from None
    except Exception as error:
        import obstore.exceptions  # noqa: PLC0415

        if isinstance(error, obstore.exceptions.AlreadyExistsError):
            raise FileExistsError(None, "it is there already", address) from None
        if not isinstance(error, obstore.exceptions.BaseError | ValueError):
            raise
        raise OSError(None, str(error).partition("\n")[0], address) from error
