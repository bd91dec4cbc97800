"""A bare payload for an NFC tag."""

import random

import pytest

from cameo.cards import ndef_message
from cameo.errors import CardTooLarge


def test_a_message_is_one_record_of_our_media_type() -> None:
    payload = random.Random(0).randbytes(96)  # noqa: S311
    message = ndef_message(payload)
    head, type_length, length = message[:3]
    assert head & 0b11111000 == 0b11010000, "first, last, not chunked, short, no id"
    assert head & 0b111 == 2, "a media type, RFC 2046"
    assert message[3 : 3 + type_length] == b"application/vnd.cameo"
    assert (message[3 + type_length :], length) == (payload, 96)
    assert len(message) + 3 <= 144, "with the tag's frame into an NTAG213"


def test_what_does_not_fit_is_said_with_the_limit() -> None:
    assert len(ndef_message(bytes(117))) == 141
    with pytest.raises(CardTooLarge, match="max_bytes=117") as caught:
        ndef_message(bytes(118))
    assert caught.value.facts == {"bytes": 118, "limit": 117}
    assert len(ndef_message(bytes(230), 504)) == 254
    with pytest.raises(CardTooLarge, match="max_bytes=230"):
        ndef_message(bytes(320), 504)
