"""As many photos as wanted, made from those in a folder: cropped, brightened, compressed anew, and all different."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

SIDE = 256  # px; faces are found as well, and decoding takes less of the time
SHARD = 250  # photos in a tar


def vary(folder: Path, count: int) -> Iterator[bytes]:
    """JPEGs, the same for the same folder."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    pictures: list[Image.Image] = []
    for path in files:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        picture.thumbnail((SIDE, SIDE))
        pictures.append(picture)
    random = np.random.default_rng(0)
    for index in range(count):
        picture = pictures[index % len(pictures)]
        left, top, right, bottom = random.integers(0, SIDE // 16, 4)
        cropped = picture.crop((left, top, picture.width - right, picture.height - bottom))
        file = io.BytesIO()
        ImageEnhance.Brightness(cropped).enhance(random.uniform(0.8, 1.2)).save(file, "JPEG", quality=85)
        yield file.getvalue()


def write_shards(folder: Path, count: int, target: Path) -> None:
    """WebDataset tars of ``count`` photos."""
    target.mkdir(parents=True, exist_ok=True)
    photos = vary(folder, count)
    for first in range(0, count, SHARD):
        with tarfile.open(target / f"{first // SHARD:04}.tar", "w") as archive:
            for index in range(first, min(first + SHARD, count)):
                data = next(photos)
                info = tarfile.TarInfo(f"{index:07}.jpg")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
