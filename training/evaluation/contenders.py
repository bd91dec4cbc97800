"""What can be evaluated, and the rivals without a network.

A contender turns portraits into what is stored on disk, and that into pictures again. Between the two there is
nothing but the bytes.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from cameo.faces.framing import asis
from cameo.pictures.classical import CODECS, at_nearest_rate, codec_bytes, codec_pixels, coded_size
from cameo.pictures.quality import SIDE

Pixels = NDArray[np.uint8]


class Coded(NamedTuple):
    """What is stored for one portrait, and how many bytes count: for a payload all."""

    data: bytes
    size: int


class Contender(Protocol):
    """Something that codes portraits."""

    @property
    def label(self) -> str:
        """Its name for people."""
        ...

    @property
    def suffix(self) -> str:
        """Of its files, with the dot."""
        ...

    def facts(self) -> dict[str, Any]:
        """What an evaluation says of it besides figures; ``kind`` is always there."""
        ...

    def code(self, portraits: list[Pixels]) -> list[Coded]:
        """Portraits of 128 pixels -> what is stored."""
        ...

    def show(self, files: list[bytes]) -> list[Pixels]:
        """What was stored -> square pictures of the contender's own size."""
        ...


@dataclass(frozen=True)
class Classical:
    """A codec at a quality and side, or as good as ``budget`` bytes allow, which count the container or not."""

    codec: str
    quality: int = 0
    side: int = SIDE
    budget: int | None = None
    container: bool = True

    @property
    def label(self) -> str:
        if self.budget is None:
            return f"{self.codec} q{self.quality}" + (f" at {self.side} px" if self.side != SIDE else "")
        return f"{self.codec}, {self.budget:,} bytes" + ("" if self.container else " without container")

    @property
    def suffix(self) -> str:
        return f".{self.codec}"

    def facts(self) -> dict[str, Any]:
        return {"kind": "codec", "name": self.codec, "budget": self.budget, "container": self.container}

    def code(self, portraits: list[Pixels]) -> list[Coded]:
        with ThreadPoolExecutor() as pool:
            return list(pool.map(self._code, portraits))

    def _code(self, portrait: Pixels) -> Coded:
        if self.budget is None:
            data = codec_bytes(asis(portrait, self.side).portrait, self.codec, self.quality)
        else:
            data = at_nearest_rate(portrait, self.codec, self.budget, self._size).data
        return Coded(data, self._size(data))

    def _size(self, data: bytes) -> int:
        return len(data) if self.container else coded_size(data, self.codec)

    def show(self, files: list[bytes]) -> list[Pixels]:
        return [codec_pixels(data) for data in files]


class Uncompressed:
    """The portraits as they are: the limit for every other."""

    label = "uncompressed"
    suffix = ".rgb"

    def facts(self) -> dict[str, Any]:
        return {"kind": "uncompressed"}

    def code(self, portraits: list[Pixels]) -> list[Coded]:
        return [Coded(portrait.tobytes(), portrait.size) for portrait in portraits]

    def show(self, files: list[bytes]) -> list[Pixels]:
        return [np.frombuffer(data, np.uint8).reshape(SIDE, SIDE, 3) for data in files]


def classical(text: str, budgets: list[int]) -> list[Classical]:
    """CODEC for all budgets, with and without container; or CODEC:QUALITY, or CODEC:QUALITY:SIDE."""
    name, *numbers = text.split(":")
    if name not in CODECS:
        raise ValueError(f"there is no codec {name!r}; known: {', '.join(CODECS)}")
    if not numbers:
        ways = (True,) if name == "jxl" else (True, False)  # a JPEG XL file is a naked stream
        return [Classical(name, budget=budget, container=counts) for budget in budgets for counts in ways]
    if len(numbers) > 2 or not all(number.isdecimal() for number in numbers):
        raise ValueError(f"{text!r} is no codec: give CODEC, CODEC:QUALITY or CODEC:QUALITY:SIDE, e.g. webp:1:48")
    quality, side = int(numbers[0]), int(numbers[1]) if len(numbers) == 2 else SIDE
    if not (1 <= quality <= 100 and 8 <= side <= SIDE):
        raise ValueError(f"{text!r} is out of range: the quality is 1 to 100, the side 8 to {SIDE}")
    return [Classical(name, quality, side)]
