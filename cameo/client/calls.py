"""Every call of a service, as an exchange; many photos are in ``batches``."""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cameo import cards
from cameo.client import answers, requests
from cameo.client.exchange import Exchange, Read, Service
from cameo.pictures.read import Photo, bytes_of_no_picture
from cameo.results import Comparison, Compressed, ModelVersion, Verified

if TYPE_CHECKING:
    from cameo.cards import Card, Claims, ReadCard


class Settings(TypedDict, total=False):
    """How a photo is compressed, as in :meth:`cameo.Cameo.compress`."""

    model: str | None
    version: int | None
    max_bytes: int | None
    effort: Literal["fast", "good", "best"] | None
    frame: Literal["auto", "asis"]
    face: Literal["largest", "only"]
    likeness: bool | None


class CardSettings(TypedDict, total=False):
    """How a card is made, as in :meth:`cameo.Cameo.card`: its times, and how a photo is compressed for it."""

    expires: date | None
    not_before: date | None
    model: str | None
    version: int | None
    max_bytes: int | None
    effort: Literal["fast", "good", "best"] | None
    frame: Literal["auto", "asis"]


class Calls(Service):
    """The calls of :class:`cameo.Cameo`, as exchanges."""

    def models(self) -> Exchange[tuple[ModelVersion, ...]]:
        response = yield from self.succeed(requests.models())
        return answers.read(response, answers.models)

    def compress(self, photo: Photo, settings: Settings) -> Exchange[Compressed]:
        data = yield Read(photo)
        response = yield from self.succeed(requests.compress(data, **settings))
        return answers.read(response, answers.compressed)

    def reconstruct(self, payload: bytes) -> Exchange[Image.Image]:
        return answers.picture((yield from self.succeed(requests.reconstruct(payload))))

    def reconstruct_tokens(
        self, tokens: NDArray[np.int64], model: str | None, version: int | None
    ) -> Exchange[Image.Image]:
        if model is None:
            response = yield from self.succeed(requests.models())
            model = answers.read(response, answers.default_model)
        return answers.picture((yield from self.succeed(requests.reconstruct_tokens(tokens, model, version))))

    def shorten(self, payload: bytes, max_bytes: int) -> Exchange[bytes]:
        response = yield from self.succeed(requests.shorten(payload, max_bytes))
        return response.content

    def verify(
        self, photo: Photo, reference: "Photo | ReadCard", fmr: float, frame: str, face: str
    ) -> Exchange[Verified]:
        data = yield Read(photo)
        kind, other = "payload", bytes_of_no_picture(reference)
        if other is None:
            card: Photo = reference.text if isinstance(reference, cards.ReadCard) else reference
            kind, other = "card", _card_text(card) or (yield Read(card))
        request = requests.verify(data, kind, other, fmr=fmr, frame=frame, face=face)
        return answers.read((yield from self.succeed(request)), answers.verified)

    def card(self, face: Photo, claims: "Claims | Mapping[str, Any]", settings: CardSettings) -> Exchange["Card"]:
        given = cards.Claims.of(claims).given()
        payload = bytes_of_no_picture(face)
        if payload is None:
            request = requests.card_of_photo((yield Read(face)), given, settings)
        else:
            request = requests.card_of_payload(payload, given, settings)
        response = yield from self.succeed(request)
        token = answers.signed(response)
        drawn = yield from self.reconstruct(token.payload or b"")
        return cards.Card.of(token, drawn)

    def read_cards(self, card: Photo) -> Exchange[list["ReadCard"]]:
        request = requests.read_card(_card_text(card) or (yield Read(card)))
        return answers.read((yield from self.succeed(request)), answers.cards_read)

    def read_card(self, card: Photo) -> Exchange["ReadCard"]:
        return cards.only_card((yield from self.read_cards(card)))

    def interpolate(self, a: bytes, b: bytes, steps: int) -> Exchange[list[Image.Image]]:
        return answers.strip((yield from self.succeed(requests.interpolate(a, b, steps))))

    def sample(self, count: int, seed: int, model: str | None, version: int | None) -> Exchange[list[Image.Image]]:
        return answers.strip((yield from self.succeed(requests.sample(count, seed, model, version))))

    def compare(
        self, photo: Photo, models: Iterable[str] | None, codecs: Iterable[str] | None, max_bytes: int | Iterable[int],
        effort: str | None, frame: str, *, sheet: bool,
    ) -> Exchange[Comparison]:  # fmt: skip
        data = yield Read(photo)
        request = requests.compare(data, models, codecs, max_bytes, effort, frame)
        rows = yield from self.succeed(request)
        drawn = None
        if sheet:
            drawn = answers.picture((yield from self.succeed(request._replace(accept="image/png"))))
        return answers.read(rows, lambda document: answers.comparison(document, drawn))


def _card_text(card: Photo) -> bytes | None:
    """Of its QR code, where that is what was given."""
    return card.encode() if isinstance(card, str) and cards.is_text(card) else None
