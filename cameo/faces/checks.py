"""Warnings about a portrait and its payload: a short code and a sentence each.

All measures are taken at 128 x 128 px, on the face only. The limits separate 700 clean portraits, which get hardly any
warning, from degraded copies of them; docs/log.md has the figures.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cameo.faces.framing import Framed
from cameo.results import Doubt

_SIDE: Final = 128
_FACE: Final = np.s_[24:112, 24:104]
_EYES: Final = np.s_[48:60, 40:54], np.s_[48:60, 74:88]
_SKIN: Final = np.s_[64:76, 36:50], np.s_[64:76, 78:92], np.s_[24:36, 52:76]  # cheeks and forehead
_CHEEKS: Final = np.s_[64:76, 36:92]
_ROUNDING: Final = 20 / 12  # variance that rounding to whole levels gives the Laplacian

LEAST_DETAIL: Final = 0.12  # of the standard deviation of luma: what the Laplacian has
LEAST_LUMA: Final = 25.0  # of 255
LEAST_POSITIVE: Final = -0.5
LEAST_LIKENESS: Final = 0.363  # SFace: from here on two faces count as one person (OpenCV's model zoo)


_SENTENCES: Final = {
    "blurred": "The face is blurred: send a sharper photo, in which it is at least 128 pixels wide.",
    "dark": "The face is nearly black: send a photo with more light.",
    "negative": "The picture seems to be a negative: invert its colours.",
    "turned": "The photo was turned by {turned} degrees to read the face: check that it is the right way up.",
    "unlike": "A face recogniser does not take the reconstruction for the same person (cosine {likeness:.2f}, at least "
    "{least} is wanted): allow more bytes or effort, or send a better photo.",
}


def check(framed: Framed, likeness: float | None) -> tuple[Doubt, ...]:
    """The warnings, at most one of each code. ``likeness``: cosine of portrait and reconstruction, if known."""
    found = _doubts(framed.portrait)
    if framed.turned:
        found.append("turned")
    if likeness is not None and likeness < LEAST_LIKENESS:
        found.append("unlike")
    facts = {"turned": framed.turned, "likeness": likeness, "least": LEAST_LIKENESS}
    return tuple(Doubt(code, _SENTENCES[code].format(**facts)) for code in found)


def _doubts(portrait: NDArray[np.uint8]) -> list[str]:
    if len(portrait) != _SIDE:
        portrait = np.asarray(cv2.resize(portrait, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC), np.uint8)
    luma = cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY).astype(np.float32)
    face = luma[_FACE]
    spread = float(face.std()) + 1e-3
    if face.mean() < LEAST_LUMA:
        return ["dark"]  # too dark to measure anything else
    found = []
    if np.sqrt(max(0.0, float(cv2.Laplacian(face, cv2.CV_32F).var()) - _ROUNDING)) < LEAST_DETAIL * spread:
        found.append("blurred")
    # In a negative, eyes are lighter than skin, and skin is bluish.
    eyes, skin = (float(np.mean([luma[at].mean() for at in places])) for places in (_EYES, _SKIN))
    red, blue = cv2.cvtColor(portrait, cv2.COLOR_RGB2YCrCb)[_CHEEKS].reshape(-1, 3).mean(0)[1:]
    if (skin - eyes) / spread + (red - blue) / 40 < LEAST_POSITIVE:
        found.append("negative")
    return found
