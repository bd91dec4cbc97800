"""Portraits for training and evaluation: folders of pictures in, uint8 batches out.

A picture is one of three things, told by its size alone: 144 x 144, a canonical portrait of 128 pixels with a
margin of 8 for jitter; 128 x 128, a canonical portrait; anything else, a photo, which is framed with the
service's own code. In memory all are 144 x 144.
"""

import hashlib
import itertools
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from app.errors import ImageError
from app.images import decode
from app.portrait import Framer

log = logging.getLogger("cameo.training")

PORTRAIT = 128
MARGIN = 8
STORED = PORTRAIT + 2 * MARGIN
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".avif", ".bmp", ".tif", ".tiff"}
MAX_PIXELS = 100_000_000


@dataclass(frozen=True)
class Portraits:
    """``pixels_NHWC`` uint8, 144 x 144; ``sources`` says where they came from, with a digest of the bytes read."""

    pixels_NHWC: NDArray[np.uint8]
    sources: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.pixels_NHWC)

    def centres(self, size: int, indices: slice | NDArray[np.int64] = slice(None)) -> Tensor:
        """Canonical portraits pixels_BCHW, uint8, as the service would see them."""
        x_BHWC = torch.from_numpy(self.pixels_NHWC[indices][:, MARGIN:-MARGIN, MARGIN:-MARGIN])
        return _resize(x_BHWC.permute(0, 3, 1, 2).float(), size).round().to(torch.uint8)

    def sample(self, size: int, count: int, seed: int) -> Tensor:
        """``count`` canonical portraits (or all, if there are fewer) drawn by the seed."""
        return self.centres(size, np.random.default_rng(seed).permutation(len(self))[:count])

    def batches(
        self, size: int, batch: int, *, flip: bool, shift: int, seed: int, first_step: int = 0
    ) -> Iterator[Tensor]:
        """Endless jittered batches, floats in [0, 255]; the batch of a step depends on nothing but seed and step.

        Raises ValueError where there are fewer portraits than a batch has.
        """
        if len(self) < batch:
            raise ValueError(f"{len(self)} portraits do not fill a batch of {batch}: give more, or a smaller batch")
        per_epoch = len(self) // batch
        order, shuffled = np.empty(0, np.int64), -1
        for step in itertools.count(first_step):
            epoch, position = divmod(step, per_epoch)
            if epoch != shuffled:
                order, shuffled = np.random.default_rng([seed, 0, epoch]).permutation(len(self)), epoch
            chosen = order[position * batch : (position + 1) * batch]
            yield self._jittered(chosen, size, flip, shift, np.random.default_rng([seed, 1, step]))

    def _jittered(
        self, indices: NDArray[np.int64], size: int, flip: bool, shift: int, rng: np.random.Generator
    ) -> Tensor:
        out = np.empty((len(indices), PORTRAIT, PORTRAIT, 3), np.uint8)
        for row, (index, (dy, dx)) in enumerate(
            zip(indices, rng.integers(MARGIN - shift, MARGIN + shift + 1, (len(indices), 2)), strict=True)
        ):
            portrait = self.pixels_NHWC[index, dy : dy + PORTRAIT, dx : dx + PORTRAIT]
            out[row] = portrait[:, ::-1] if flip and rng.random() < 0.5 else portrait
        return _resize(torch.from_numpy(out).permute(0, 3, 1, 2).float(), size)


def _resize(x_BCHW: Tensor, size: int) -> Tensor:
    return x_BCHW if size == PORTRAIT else F.avg_pool2d(x_BCHW, PORTRAIT // size)


def load_portraits(folders: list[Path], detector: Path | None = None) -> Portraits:
    """Read every picture below the folders. Unusable ones are named in the log and left out.

    Raises FileNotFoundError for a folder that is not there, ValueError when no picture is left.
    """
    framer = Framer(detector)
    pixels: list[NDArray[np.uint8]] = []
    sources: list[dict[str, Any]] = []
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is not a folder")
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        digest, kept = hashlib.sha256(), 0
        with ThreadPoolExecutor() as pool:
            read = pool.map(lambda path: _read(path, framer), files)
            for path, (data, portrait) in zip(files, tqdm(read, desc=folder.name, total=len(files)), strict=True):
                if portrait is None:
                    continue
                digest.update(str(path.relative_to(folder)).encode() + b"\0" + hashlib.sha256(data).digest())
                pixels.append(portrait)
                kept += 1
        sources.append({
            "name": folder.name, "pictures": kept, "people": None, "sha256": digest.hexdigest(),
            "licence": _licence(folder),
        })  # fmt: skip
    if not pixels:
        raise ValueError(f"no usable picture below {', '.join(map(str, folders))}")
    return Portraits(np.stack(pixels), sources)


def _read(path: Path, framer: Framer) -> tuple[bytes, NDArray[np.uint8] | None]:
    data = path.read_bytes()
    try:
        image = decode(data, MAX_PIXELS)
        if image.shape[:2] == (STORED, STORED):
            return data, image
        if image.shape[:2] != (PORTRAIT, PORTRAIT):
            image = framer.auto(image, PORTRAIT).portrait
    except ImageError as error:
        log.warning("left out %s: %s", path, error.detail)
        return data, None
    return data, np.pad(image, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), mode="edge")


def _licence(folder: Path) -> str:
    """The first line of a file LICENCE or LICENSE in the folder, if there is one."""
    for name in ("LICENCE", "LICENSE"):
        if (folder / name).is_file():
            return (folder / name).read_text().strip().partition("\n")[0]
    return "not stated"
