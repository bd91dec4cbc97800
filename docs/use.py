"""The picture of the README, ``use.png``: photo, card, check. ``python -m docs.use`` draws it with the shipped models.

The photo is ``astronaut.png`` of scikit-image: Eileen Collins, by NASA, in the public domain. There is one such photo,
so it plays the one at the desk, too. All figures in the picture are measured while it is made.
"""

import io
import json
import tempfile
import zlib
from datetime import date
from pathlib import Path
from typing import Any, Final

import base45
import cv2
import numpy as np
import typst
from PIL import Image
from skimage import data

import cameo
from cameo.cards import Card, make_keys
from cameo.cards.fonts import fonts

DOCS = Path(__file__).parent
CLAIMS: Final = {
    "full_name": "Eileen Collins", "date_of_birth": "1956-11-19", "gender": "female", "nationality": "US",
    "id": "1234567",
}  # fmt: skip
EXPIRES: Final = date(2031, 12, 31)
CORNERS: Final = ((74, 92), (1082, 44), (1150, 690), (38, 724))  # of the card in the picture of the phone, px
PHONE: Final = (1180, 773)


def main() -> None:
    with cameo.open() as c:
        (DOCS / "use.png").write_bytes(draw(facts(c)))


def facts(c: cameo.Cameo, effort: Any = "good") -> dict[str, Any]:
    """What the picture shows: pictures as PNG, as lists of numbers, and what checks said."""
    photo = Image.fromarray(data.astronaut())  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory() as keys:
        card = c.card(photo, CLAIMS, make_keys("https://office.example", keys)[0], expires=EXPIRES, max_bytes=96,
                      effort=effort)  # fmt: skip
        phone, desk = by_phone(card), at_the_desk(photo)
        nobody = c.sample(1, seed=1, model="vae-64")[0]
        checks = {
            "same": c.verify(desk, phone, issuers=keys),
            "other": c.verify(nobody, phone, issuers=keys, frame="asis"),
            "changed": c.verify(desk, changed(card), issuers=keys),
        }
    return {
        "photo": _png(photo), "phone": _png(phone), "face": _png(card.face), "desk": _png(desk),
        "bytes": len(card.payload), "characters": len(card.text),
        "checks": {name: _check(done) for name, done in checks.items()},
    }  # fmt: skip


def draw(facts: dict[str, Any]) -> bytes:
    """A PNG of ``facts``."""
    template = (DOCS / "use.typ").read_bytes()
    drawn = typst.compile(
        template, font_paths=fonts(), ignore_system_fonts=True, format="png", ppi=144,
        sys_inputs={"facts": json.dumps(facts)},
    )  # fmt: skip
    smaller = io.BytesIO()
    Image.open(io.BytesIO(drawn)).convert("RGB").save(smaller, "PNG", optimize=True)
    return smaller.getvalue()


def by_phone(card: Card) -> Image.Image:
    """The printed card, seen at an angle, in uneven light, on a table."""
    print_ = np.asarray(Image.open(io.BytesIO(card.encode("image/png", 600))).convert("RGB"))
    height, width, _ = print_.shape
    edges = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    seen = cv2.getPerspectiveTransform(edges, 2 * np.array(CORNERS, np.float32))
    size = (2 * PHONE[0], 2 * PHONE[1])
    photo = cv2.warpPerspective(print_, seen, size, flags=cv2.INTER_AREA, borderValue=(112, 96, 82))
    photo = cv2.GaussianBlur(cv2.resize(photo, PHONE, interpolation=cv2.INTER_AREA), (0, 0), 0.7)
    light = np.linspace(1.0, 0.78, PHONE[0])[:, None] * np.linspace(1.0, 0.9, PHONE[1])[:, None, None]
    noise = np.random.default_rng(0).normal(0, 2, photo.shape)
    return Image.fromarray(np.clip(photo * light + noise, 0, 255).astype(np.uint8))


def at_the_desk(photo: Image.Image) -> Image.Image:
    """Leaning, smaller, in poor light."""
    small = photo.rotate(10, Image.Resampling.BICUBIC, center=(224, 120)).crop((104, 28, 344, 268)).resize((208, 208))
    return small.point(lambda level: round(0.7 * level + 6))


def changed(card: Card) -> str:
    """The text with one bit of its signature flipped."""
    token = bytearray(zlib.decompress(base45.b45decode(card.text)))
    token[-1] ^= 1
    return str(base45.b45encode(zlib.compress(bytes(token), 9)).decode())


def _check(done: cameo.Verified) -> dict[str, Any]:
    assert done.card is not None
    return {
        "decision": done.decision, "score": f"{done.score:.2f}", "threshold": f"{done.threshold:.2f}",
        "state": done.card.state, "fmr": f"{100 * done.fmr:g}%",
    }  # fmt: skip


def _png(image: Image.Image) -> list[int]:
    file = io.BytesIO()
    image.save(file, "PNG")
    return list(file.getvalue())


if __name__ == "__main__":
    main()
