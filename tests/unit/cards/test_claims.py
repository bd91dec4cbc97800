"""The attributes of Claim 169, in and out."""

from datetime import date
from typing import Any

import pytest

from cameo.cards import Claims
from cameo.errors import InvalidParameter

ALL = {
    "id": "1234", "version": "1", "language": "eng", "full_name": "Ada King", "first_name": "Ada", "middle_name": "A.",
    "last_name": "King", "date_of_birth": "1815-12-10", "gender": "female", "address": "1 High Street\nLondon",
    "email": "ada@example.org", "phone": "+44 20 7946 0000", "nationality": "GB", "marital_status": "married",
    "guardian": "Anne", "secondary_full_name": "エイダ", "secondary_language": "jpn", "location_code": "9C3X",
    "legal_status": "resident", "country_of_issuance": "GB",
}  # fmt: skip


def test_every_attribute_goes_there_and_back() -> None:
    claims = Claims.of(ALL)
    assert claims.given() == ALL
    assert Claims.from_map(claims.to_map()) == claims
    assert claims.to_map()[8] == "18151210"
    assert (claims.to_map()[9], claims.to_map()[14]) == (2, 2)


def test_no_attribute_is_needed() -> None:
    assert Claims.of({}).to_map() == {}
    assert Claims.of({}).name is None
    assert Claims.of({"first_name": "Ada", "last_name": "King"}).name == "Ada King"


@pytest.mark.parametrize(
    ("given", "kept"),
    [("1815", "1815"), ("1815-12", "1815-12"), ("18151210", "1815-12-10"), (date(1815, 12, 10), "1815-12-10")],
)
def test_birthdays_that_are_known_in_part(given: Any, kept: str) -> None:
    claims = Claims.of({"date_of_birth": given})
    assert claims.date_of_birth == kept
    assert Claims.from_map(claims.to_map()).date_of_birth == kept


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("date_of_birth", "10.12.1815"), ("date_of_birth", "1815-13-01"), ("date_of_birth", 18151210),
        ("gender", "f"), ("gender", 2), ("nationality", "Britain"), ("full_name", ""), ("full_name", "x" * 101),
        ("full_name", "Ada\nKing"), ("full_name", "Ada\x00"), ("full_name", "\u202eadA"),
        ("full_name", "Ada\u2028King"), ("address", "x" * 201),
        ("height", "1.62 m"), ("full_name", 7),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidParameter) as caught:
        Claims.of({name: value})
    assert caught.value.facts["parameter"] == f"claims.{name}"
    assert name in caught.value.detail


def test_joiners_are_part_of_names() -> None:
    assert Claims.of({"full_name": "علی\u200cرضا"}).full_name == "علی\u200cرضا"  # noqa: RUF001


@pytest.mark.parametrize("values", [{9: True}, {9: 0}, {9: 4}, {9: "2"}, {4: b"Ada"}, {8: 1815}])
def test_a_card_of_others_with_wrong_types_is_refused(values: dict[int, Any]) -> None:
    with pytest.raises(InvalidParameter):
        Claims.from_map(values)


def test_numbers_that_are_no_attribute_are_left_out() -> None:
    assert Claims.from_map({4: "Ada", 18: [1, 2], 50: [{0: b""}], 99: "x"}) == Claims(full_name="Ada")
