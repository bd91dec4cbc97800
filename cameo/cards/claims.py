"""What a card says of a person: the attributes of MOSIP's Claim 169, version 1.2.2."""

import re
import unicodedata
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from cameo.errors import InvalidParameter
from cameo.validation import first_problem

JOINERS: Final = "\u200c\u200d"  # characters without a shape of their own that names in some scripts need
_DATE: Final = re.compile(r"(\d{4})(?:-?(\d\d)(?:-?(\d\d))?)?", re.ASCII)


def _printable(text: str) -> str:
    """Controls, marks that change the direction of text, and breaks of lines let a card show what it does not say."""
    for character in text:
        category = unicodedata.category(character)
        if (category[0] == "C" or category in {"Zl", "Zp"}) and character not in JOINERS:
            raise ValueError(f"the character U+{ord(character):04X} cannot be on a card")
    return text


def _lines(text: str) -> str:
    _printable(text.replace("\n", ""))
    return text


def _calendar(value: Any) -> Any:
    """A day, a month or a year in the form of ISO 8601 with hyphens: birthdays are not always known."""
    if isinstance(value, date):
        return value.isoformat()
    found = _DATE.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError("write it as 1990-04-18, or 1990-04 or 1990 where no more is known")
    year, month, day = found.groups()
    date(int(year), int(month or 1), int(day or 1))
    return "-".join(part for part in (year, month, day) if part)


Text = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_printable)]
Lines = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_lines)]
Calendar = Annotated[str, BeforeValidator(_calendar)]
Code = Annotated[str, Field(min_length=2, max_length=3, pattern="^[A-Za-z]+$")]
Gender = Literal["male", "female", "other"]
MaritalStatus = Literal["unmarried", "married", "divorced"]

NUMBERS: Final[Mapping[str, int]] = {
    "id": 1, "version": 2, "language": 3, "full_name": 4, "first_name": 5, "middle_name": 6, "last_name": 7,
    "date_of_birth": 8, "gender": 9, "address": 10, "email": 11, "phone": 12, "nationality": 13, "marital_status": 14,
    "guardian": 15, "secondary_full_name": 19, "secondary_language": 20, "location_code": 21, "legal_status": 22,
    "country_of_issuance": 23,
}  # fmt: skip
"""The key of each attribute in the map of the claim."""

_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {"gender": get_args(Gender), "marital_status": get_args(MaritalStatus)}


class Claims(BaseModel):
    """All are optional. Names are those of the specification, in snake case."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: Text | None = Field(default=None, description="number of the person, or of the card")
    version: Text | None = Field(default=None, description="version of the data")
    language: Code | None = Field(default=None, description="language of the other attributes, ISO 639-3, as eng")
    full_name: Text | None = None
    first_name: Text | None = None
    middle_name: Text | None = None
    last_name: Text | None = None
    date_of_birth: Calendar | None = Field(default=None, description="ISO 8601: 1990-04-18, or 1990-04, or 1990")
    gender: Gender | None = None
    address: Lines | None = Field(default=None, description="lines with a line feed between")
    email: Text | None = None
    phone: Text | None = Field(default=None, description="E.123 international notation, as +22 607 123 4567")
    nationality: Code | None = Field(default=None, description="ISO 3166 code of two or three letters")
    marital_status: MaritalStatus | None = None
    guardian: Text | None = None
    secondary_full_name: Text | None = Field(default=None, description="the full name in another language")
    secondary_language: Code | None = None
    location_code: Text | None = None
    legal_status: Text | None = None
    country_of_issuance: Text | None = None

    @classmethod
    def of(cls, values: "Claims | Mapping[str, Any]") -> Self:
        """Claims from a mapping of their names. InvalidParameter."""
        if isinstance(values, cls):
            return values
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = first_problem(error, NUMBERS)
            place = first.place[:200]
            raise InvalidParameter(first.described("claims")[:1000], parameter=f"claims.{place}" if place else "claims",
                                   allowed=list(NUMBERS)) from error  # fmt: skip

    @property
    def name(self) -> str | None:
        """The full name, or its parts in order."""
        parts = [part for part in (self.first_name, self.middle_name, self.last_name) if part]
        return self.full_name or " ".join(parts) or None

    def given(self) -> dict[str, str]:
        """Those that are there, by name."""
        return self.model_dump(exclude_none=True)

    def to_map(self) -> dict[int, Any]:
        """As the claim's CBOR has them."""
        return {NUMBERS[name]: _coded(name, value) for name, value in self.given().items()}

    @classmethod
    def from_map(cls, values: Mapping[Any, Any]) -> Self:
        """The inverse; numbers that are no attribute of ours, as fingerprints, are left out. InvalidParameter."""
        return cls.of({name: _decoded(name, values[number]) for name, number in NUMBERS.items() if number in values})


def _coded(name: str, value: str) -> Any:
    if name in _CHOICES:
        return 1 + _CHOICES[name].index(value)
    return value.replace("-", "") if name == "date_of_birth" else value


def _decoded(name: str, value: Any) -> Any:
    if name not in _CHOICES:
        return value
    choices = _CHOICES[name]
    return choices[value - 1] if type(value) is int and 0 < value <= len(choices) else value
