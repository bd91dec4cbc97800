"""Cards as cameras see them: printed, photographed badly, read again. ``python -m bench.cards [--cards 500]``.

Each card has another payload and other claims. A photo is tilted, unevenly lit, blurred, noisy and a JPEG, each as
strong as a generator draws between the limits below.
"""

import argparse
import io
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cameo.cards import Card, Claims, SigningKey, load_issuers, make_card, make_keys, read_picture
from cameo.errors import CardError

TILT: Final = 0.18  # of the card's height, over which each corner moves: seen from some 25 degrees aside
TURN: Final = 180  # degrees
SCALE: Final = 0.9, 1.3  # px of the photo for a px of the print at 300 dpi
BLUR: Final = 0.3, 1.2  # standard deviation, px
SHADE: Final = 0.1, 0.6  # of the light, that is missing in the darkest corner
NOISE: Final = 2, 18  # standard deviation, of 255
QUALITY: Final = 35, 85  # of the JPEG
NAMES: Final = ("Eileen Collins", "María José Carreño Quiñones", "山田 太郎", "محمد عبد الله", "Nguyễn Thị Minh Khai")


def some_card(key: SigningKey, random_: random.Random, face: Image.Image, payload_bytes: int = 96) -> Card:
    """A card with a payload of random bytes, which to a QR code is as good as a face."""
    claims = Claims(
        full_name=random_.choice(NAMES),
        date_of_birth=f"{random_.randrange(1930, 2020)}-{random_.randrange(1, 13):02}-{random_.randrange(1, 29):02}",
        gender=random_.choice(("male", "female", "other")),
        nationality=random_.choice(("US", "ES", "JP", "EG", "VN")),
    )
    return make_card(face, random_.randbytes(payload_bytes), claims, key)


def photograph(print_: Image.Image, random_: random.Random) -> NDArray[np.uint8]:
    """A bad photo of a print at 300 dpi, on a grey table; pixels (height, width, 3)."""
    card = np.asarray(print_.convert("RGB"))
    height, width, _ = card.shape
    side = int(1.5 * max(width, height) * SCALE[1])
    scale, turn = random_.uniform(*SCALE), random_.uniform(-TURN, TURN)
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    off = [[random_.uniform(-1, 1) * TILT * height / 2 for _ in range(2)] for _ in corners]
    turned = np.array(cv2.getRotationMatrix2D((width / 2, height / 2), turn, scale), float)
    turned[:, 2] += side / 2 - np.array([width, height]) / 2
    seen = cv2.transform(np.array([corners + np.array(off, np.float32)]), turned)[0].astype(np.float32)
    photo: Any = cv2.warpPerspective(
        card,
        cv2.getPerspectiveTransform(corners, seen),
        (side, side),
        flags=cv2.INTER_AREA,
        borderValue=(120, 115, 110),
    ).astype(np.float32)
    photo = cv2.GaussianBlur(photo, (0, 0), random_.uniform(*BLUR))
    angle = random_.uniform(0, 2 * np.pi)
    across = np.linspace(-1, 1, side)
    ramp = (across * np.cos(angle) + across[:, None] * np.sin(angle) + 1.4) / 2.8
    photo = photo * (1 - random_.uniform(*SHADE) * ramp)[..., None]
    noise = np.random.default_rng(random_.getrandbits(32)).normal(0, random_.uniform(*NOISE), photo.shape)
    file = io.BytesIO()
    Image.fromarray(np.clip(photo + noise, 0, 255).astype(np.uint8)).save(
        file, "JPEG", quality=random_.randint(*QUALITY)
    )
    return np.asarray(Image.open(file))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cards", type=int, default=500)
    parser.add_argument("--bytes", type=int, default=96, help="of a payload")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random_ = random.Random(options.seed)  # noqa: S311 - reproducible, not secret
    face = Image.fromarray(np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8))
    with tempfile.TemporaryDirectory() as folder:
        key, issuers = SigningKey.load(make_keys("https://office.example", folder)[0]), load_issuers(folder)
    read, characters, versions = 0, [], []
    spent = dict.fromkeys(("sign", "print PNG", "print PDF", "print SVG", "read"), 0.0)

    @contextmanager
    def timed(what: str) -> Iterator[None]:
        began = time.process_time()
        yield
        spent[what] += time.process_time() - began

    some_card(key, random.Random(0), face).encode("image/png")  # noqa: S311 - what is loaded once is no card's cost
    for _ in range(options.cards):
        with timed("sign"):
            card = some_card(key, random_, face, options.bytes)
        characters.append(len(card.text))
        versions.append(card.qr_version)
        for kind, media_type in (("PDF", "application/pdf"), ("SVG", "image/svg+xml"), ("PNG", "image/png")):
            with timed(f"print {kind}"):
                file = card.encode(media_type)
        photo = photograph(Image.open(io.BytesIO(file)), random_)
        with timed("read"), suppress(CardError):
            [found] = read_picture(photo, issuers)
            read += found.is_valid and found.payload == card.payload and found.claims == card.claims
    print(f"{options.cards} cards of {options.bytes} bytes: {min(characters)} to {max(characters)} characters, ")
    print(f"QR version {min(versions)} to {max(versions)}; read {read}, {read / options.cards:.1%}")
    print("CPU time, ms:", ", ".join(f"{what} {1000 * total / options.cards:.1f}" for what, total in spent.items()))


if __name__ == "__main__":
    main()
