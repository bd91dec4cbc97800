"""Results of the library's calls: plain values."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

    from cameo.cards import ReadCard

Pixels = NDArray[np.uint8]
Decision = Literal["match", "no-match", "card-not-valid"]


@dataclass(frozen=True, eq=False)
class Frame:
    """Where in the photo the portrait comes from. Coordinates are the photo's, in px from its top left."""

    method: Literal["auto", "asis"]
    box: tuple[float, float, float, float]
    """x, y, width, height of the face, or of the square that was cut out as it is."""
    landmarks: NDArray[np.float64] | None = None
    """Shape (5, 2), in the order of :data:`cameo.faces.template.TEMPLATE`."""
    roll: float | None = None
    """Degrees by which the face leans in the photo, clockwise as seen, from -180 to 180."""
    score: float | None = None
    """The detector's confidence, at most 1."""
    faces: int | None = None
    """How many faces the detector found in the photo, where it found this one."""
    turned: int | None = None
    """Degrees by which the photo was turned clockwise before the face was found: 0, 90, 180 or 270."""

    def rounded(self) -> dict[str, Any]:
        """As values for JSON, rounded to what means something."""
        return {
            "method": self.method,
            "box": [round(float(v), 1) for v in self.box],
            "landmarks": None if self.landmarks is None else np.round(self.landmarks, 1).tolist(),
            "roll": None if self.roll is None else round(self.roll, 1),
            "turned": self.turned,
            "score": None if self.score is None else round(self.score, 3),
            "faces": self.faces,
        }


class Doubt(NamedTuple):
    """A warning about a portrait or its payload: ``code`` is stable, ``detail`` one sentence."""

    code: str
    detail: str


@dataclass(frozen=True, eq=False)
class Compressed:
    """A portrait as tokens, and as the payload that holds them."""

    model: str
    version: int
    effort: str
    payload: bytes
    tokens: NDArray[np.int64]
    """Those that the payload holds: the model's shape, or a list of the first so many."""
    frame: Frame
    likeness: float | None = None
    """The recogniser's cosine of the portrait and of what the payload decodes to; None where it was not computed."""
    warnings: tuple[Doubt, ...] = ()


@dataclass(frozen=True)
class RecogniserVersion:
    """Which face recogniser compared."""

    name: str
    """Of its file, without the ending."""
    sha256: str
    """Of its file."""


@dataclass(frozen=True, eq=False)
class Verified:
    """Whether a photo shows the person of a payload or card, as a recogniser sees it.

    A match says that two pictures are alike. It does not say that a living person was in front of the camera.
    """

    match: bool
    """Whether the score reaches the threshold, and the card, if it was one, is valid."""
    score: float
    """The recogniser's cosine of the photo's portrait and of the face that the payload stands for, -1 to 1."""
    threshold: float
    """The least score that is a match, for a payload of this version and size."""
    fmr: float
    """The false match rate that the threshold was measured for: the share of other people who would match."""
    recogniser: RecogniserVersion
    model: str
    version: int
    bytes: int
    """Size of the payload."""
    frame: Frame
    warnings: tuple[Doubt, ...] = ()
    """What is doubtful about the photo."""
    card: "ReadCard | None" = None
    """The card that the payload was on, with the state of its signature; None where a payload was given."""

    @property
    def decision(self) -> Decision:
        """Of a card that is not valid the face is compared, too, but whoever it shows: that is no match."""
        if self.card is not None and not self.card.is_valid:
            return "card-not-valid"
        return "match" if self.match else "no-match"


@dataclass(frozen=True, eq=False)
class ModelVersion:
    """A version in a model store."""

    name: str
    version: int
    default: bool
    """Whether it is the default version of its name."""
    portrait: int
    """Width and height of its portraits, px."""
    rates: tuple[int, ...]
    """Bytes of its payloads: the only one, or those that were measured, from the least to the most."""
    default_rate: int | None
    """The budget by default, in bytes; None for a model with one rate."""
    manifest: dict[str, Any] = field(repr=False)
    """All that its ``manifest.json`` says."""


@dataclass(frozen=True, eq=False)
class Row:
    """One reconstruction in a comparison."""

    kind: Literal["model", "codec"]
    name: str
    version: int | None
    quality: int | None
    """The codec's own quality setting."""
    side: int
    """px, of the picture that was coded; other sizes are scaled to that of the comparison."""
    beside: str | None
    """For a codec: the model whose bytes it was to match."""
    max_bytes: int | None
    """The budget: what was asked for, None for a model with one rate; for a codec the bytes of the model's payload."""
    bytes: int
    """Of the whole payload or file."""
    pixels: Pixels | None
    """Shape (128, 128, 3), RGB; None from a service, which sends figures only."""
    psnr: float
    """dB; infinite where the picture is exact."""
    ms_ssim: float
    identity: float | None
    """The recogniser's cosine of the original and this; None without a recogniser."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """An original portrait, and a group of rows for each model and budget: the model, then codecs within its bytes."""

    frame: Frame
    groups: list[list[Row]]
    portrait: Pixels | None
    """The original, shape (128, 128, 3), RGB; None from a service."""
    drawn: "Image | None" = None
    """The sheet, where a service has drawn it."""

    @property
    def rows(self) -> list[Row]:
        return [row for group in self.groups for row in group]

    def sheet(self) -> "Image":
        """A picture of it: each group a line, beside the original. ValueError where a service was not asked for it."""
        if self.drawn is not None:
            return self.drawn
        if self.portrait is None:
            raise ValueError("this comparison came from a service without its sheet; call compare(..., sheet=True)")
        from cameo.pictures.sheet import draw  # noqa: PLC0415 - results load no Pillow

        return draw(self.portrait, self.groups)
