"""The practice of ID cards, as rivals: classical codecs at few bytes and small sides, and templates.

Cards carry a portrait of 48 to 128 pixels in a few hundred bytes (MOSIP's Claim 169: WebP; passports: JPEG 2000), or a
recogniser's template, from which nobody can see a face, and which no other recogniser reads.
"""

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cameo.pictures.classical import CODECS, codec_pixels, highest_quality
from training.evaluation.contenders import Coded, Pixels

Floats = NDArray[np.floating[Any]]

JPEG2000 = "jpeg2000"
CARD_CODECS = (*(name for name in CODECS if name != "jpeg"), JPEG2000)
CARD_SIDES = (48, 64, 80, 96, 128)
_COMMENT = b"\xff\x64"  # the marker of a comment in a JPEG 2000 stream


@dataclass(frozen=True)
class OnCard:
    """A codec at a side, at the best quality that puts the whole file into ``budget`` bytes.

    Where even its lowest quality does not fit, that is what it codes.
    """

    codec: str
    budget: int
    side: int

    @property
    def label(self) -> str:
        return f"{self.codec}, {self.budget:,} bytes at {self.side} px"

    @property
    def suffix(self) -> str:
        return f".{self.codec}"

    def facts(self) -> dict[str, Any]:
        return {"kind": "codec", "name": self.codec, "budget": self.budget, "side": self.side}

    def code(self, portraits: list[Pixels]) -> list[Coded]:
        with ThreadPoolExecutor() as pool:
            files = list(pool.map(self._code, portraits))
        return [Coded(data, len(data)) for data in files]

    def _code(self, portrait: Pixels) -> bytes:
        if self.codec == JPEG2000:
            return jpeg2000(portrait, self.side, self.budget)
        return highest_quality(portrait, self.codec, self.side, self.budget, len).data

    def show(self, files: list[bytes]) -> list[Pixels]:
        return [codec_pixels(data) for data in files]


def jpeg2000(portrait: Pixels, side: int, budget: int) -> bytes:
    """The best JPEG 2000 stream of at most ``budget`` bytes: irreversible, bare of box and comment, RGB.

    Few resolutions have short headers, and large code blocks need few; three to five are tried, as is every rate that
    may fit, since the encoder's own control of rate leaves 20 bytes unused. When nothing fits, the least that it gives.
    """
    small = Image.fromarray(portrait).resize((side, side), Image.Resampling.LANCZOS)
    original = np.asarray(small, np.float64)

    def error(data: bytes) -> float:
        return float(np.square(codec_pixels(data) - original).mean())

    tried = [_fitting(small, resolutions, budget) for resolutions in (3, 4, 5)]
    return min(tried, key=lambda data: (max(0, len(data) - budget), error(data)))


def _fitting(small: Image.Image, resolutions: int, budget: int) -> bytes:
    data = b""
    for wanted in range(budget + 48, budget // 2, -4):
        file = io.BytesIO()
        small.save(
            file, "JPEG2000", no_jp2=True, irreversible=True, num_resolutions=resolutions, codeblock_size=(64, 64),
            quality_mode="rates", quality_layers=[3 * small.width * small.height / wanted],
        )  # fmt: skip
        data = _without_comment(file.getvalue())
        if len(data) <= budget:
            break
    return data


def _without_comment(stream: bytes) -> bytes:
    """A JPEG 2000 stream without the encoder's name, which takes 39 bytes."""
    at = stream.find(_COMMENT)
    return stream[:at] + stream[at + 2 + int.from_bytes(stream[at + 2 : at + 4]) :] if at >= 0 else stream


@dataclass(frozen=True, eq=False)
class Template:
    """A recogniser's embedding in ``size`` bytes: principal components, each a whole number of bits.

    K components carry bits; ``level_KL`` are the values that a component can take, the first 2**bits of its row.
    """

    mean_D: Floats
    component_KD: Floats
    bits_K: NDArray[np.int64]
    level_KL: Floats

    @classmethod
    def fit(cls, embedding_MD: Floats, size: int) -> Self:
        """On embeddings of people other than those to be told apart.

        Bits go where they take most off the squared error, as at high rates (reverse water-filling); the levels of a
        component are Lloyd's.
        """
        mean_D = embedding_MD.mean(0)
        _, spread_K, component_KD = np.linalg.svd(embedding_MD - mean_D, full_matrices=False)
        error_K = spread_K**2
        bits_K = np.zeros(len(error_K), np.int64)
        for _ in range(8 * size):
            k = int(error_K.argmax())
            bits_K[k] += 1
            error_K[k] /= 4
        used_K = bits_K > 0
        component_KD, bits_K = component_KD[used_K], bits_K[used_K]
        level_KL = np.zeros((len(bits_K), 2 ** int(bits_K.max())))
        for values_M, bits, level_L in zip(
            component_KD @ (embedding_MD - mean_D).T, bits_K.tolist(), level_KL, strict=True
        ):
            level_L[: 2**bits] = lloyd(values_M, 2**bits)
        return cls(mean_D, component_KD, bits_K, level_KL)

    def code(self, embedding_D: Floats) -> bytes:
        value_K = self.component_KD @ (embedding_D - self.mean_D)
        bits: list[int] = []
        for value, width, level_L in zip(value_K, self.bits_K.tolist(), self.level_KL, strict=True):
            nearest = int(np.abs(level_L[: 2**width] - value).argmin())
            bits += [nearest >> place & 1 for place in range(width)]
        return np.packbits(np.array(bits, np.uint8)).tobytes()

    def show(self, data: bytes) -> Floats:
        """A vector of length 1."""
        bits = np.unpackbits(np.frombuffer(data, np.uint8)).astype(np.int64)
        value_K, at = np.empty(len(self.bits_K)), 0
        for k, width in enumerate(self.bits_K.tolist()):
            value_K[k] = self.level_KL[k, int((bits[at : at + width] << np.arange(width)).sum())]
            at += width
        vector_D = self.mean_D + value_K @ self.component_KD
        return np.asarray(vector_D / np.linalg.norm(vector_D))


def lloyd(values_M: Floats, levels: int) -> Floats:
    """The levels with the least squared error (Lloyd 1982), from the quantiles on, ascending."""
    level_L = np.quantile(values_M, (np.arange(levels) + 0.5) / levels)
    for _ in range(20):
        nearest_M = np.searchsorted((level_L[1:] + level_L[:-1]) / 2, values_M)
        count_L = np.bincount(nearest_M, minlength=levels)
        mean_L = np.bincount(nearest_M, values_M, levels) / np.maximum(count_L, 1)
        level_L = np.where(count_L > 0, mean_L, level_L)
    return np.asarray(level_L)
