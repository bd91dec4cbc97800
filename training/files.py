"""Files that nobody ever sees half of."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def replace(path: Path, data: bytes | memoryview) -> None:
    """Write beside the old file, onto the disk, then put it in its place.

    OSError, with the old file untouched, when the disk is full.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    with writing(path):
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Errors of the disk with the name of the file and what to do."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{path} cannot be written: {error.strerror}. Put that right, then give the same command again"
        ) from error
