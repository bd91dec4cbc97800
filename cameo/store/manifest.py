"""What a published version says about itself: ``manifest.json``, schema 1.

A :class:`Draft` is all that is known before the weights are written; a :class:`Manifest` is the whole. The
bytes of the file as stored are what counts: their SHA-256 is the version's digest, and its first two bytes
are the tag that names the version inside a payload.
"""

import hashlib
import json
import math
from datetime import UTC
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import from_json

from cameo.validation import first_problem

SCHEMA_VERSION: Final = 1
NAME_PATTERN = "[a-z0-9]+(-[a-z0-9]+)*"
TAG_BYTES = 2

Name = Annotated[str, StringConstraints(pattern=f"^{NAME_PATTERN}$")]
Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*\.safetensors$")]
Text = Annotated[str, StringConstraints(min_length=1)]
Utc = Annotated[AwareDatetime, AfterValidator(lambda time: time.astimezone(UTC))]
Dtype = Literal["float32", "float16", "bfloat16"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Tokens(_Section):
    """The tokens of one portrait.

    ``codebook_size`` is None where the alphabets differ between positions. ``bits`` is what all tokens of a
    portrait take together in fixed-width coding.
    """

    shape: tuple[PositiveInt, ...] = Field(min_length=1)
    codebook_size: PositiveInt | None
    bits: PositiveInt

    @model_validator(mode="after")
    def _bits_follow_from_the_codebook(self) -> Self:
        if self.codebook_size is not None:
            bits = math.prod(self.shape) * (self.codebook_size - 1).bit_length()
            if self.bits != bits:
                raise ValueError(f"tokens of this shape and codebook take {bits} bits, not {self.bits}")
        return self


class Weights(_Section):
    """The weights file, beside the manifest; ``bytes`` is its size."""

    file: FileName
    sha256: Sha256
    bytes: PositiveInt
    dtype: Dtype


class KnownAnswer(_Section):
    """What the model gave at its publication for a picture that code makes, see :mod:`cameo.coder.answer`.

    ``body``: the payload's body, ``picture``: the means of 8 x 8 blocks of what it draws, RGB; both in hex.
    """

    body: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2})+$")]
    picture: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{384}$")]


class DataSet(_Section):
    """Pictures trained on. ``people`` is None where nobody counted them."""

    name: Text
    pictures: PositiveInt
    people: PositiveInt | None
    sha256: Sha256
    licence: Text


class Training(_Section):
    """How the weights came about. ``seconds`` is time spent training, ``torch`` the library's version."""

    recipe: dict[str, JsonValue]
    commit: Text
    seed: NonNegativeInt
    data: tuple[DataSet, ...]
    steps: NonNegativeInt
    images_seen: NonNegativeInt
    seconds: NonNegativeFloat
    machine: Text
    torch: Text
    started: Utc
    finished: Utc


class Draft(_Section):
    """A manifest before its weights are written.

    ``model`` is the configuration that builds the module, its ``kind`` included; ``portrait`` the side in
    pixels; ``rates`` the whole-payload sizes in bytes that the model offers, ascending. A model with several
    takes any budget from the first on; ``default_rate`` is the one of them where a request names none, and
    None stands for the largest.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    name: Name
    version: PositiveInt
    created: Utc
    description: str
    model: dict[str, JsonValue]
    portrait: Literal[64, 128]
    tokens: Tokens
    rates: tuple[PositiveInt, ...] = Field(min_length=1)
    default_rate: PositiveInt | None = None
    known_answer: KnownAnswer | None = None  # of versions from before there was one
    training: Training
    quality: dict[str, JsonValue]
    licence: Text

    @field_validator("model")
    @classmethod
    def _model_has_a_kind(cls, model: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if not isinstance(model.get("kind"), str):
            raise ValueError("the model configuration needs a kind, which is a string")
        return model

    @field_validator("rates")
    @classmethod
    def _rates_ascend(cls, rates: tuple[int, ...]) -> tuple[int, ...]:
        if list(rates) != sorted(set(rates)):
            raise ValueError("rates are ascending and differ from each other")
        return rates

    @field_validator("default_rate")
    @classmethod
    def _default_rate_is_one_of_the_rates(cls, rate: int | None, info: ValidationInfo) -> int | None:
        rates = info.data.get("rates", ())  # missing where they are wrong themselves
        if rate is not None and rates and rate not in rates:
            raise ValueError(f"{rate} is none of the rates, which are {list(rates)}")
        return rate


class Manifest(Draft):
    """The whole of ``manifest.json``."""

    weights: Weights

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read the bytes of a manifest file. Types are strict: ``"1"`` is not a number.

        Raises ValueError, with one sentence that says what is wrong.
        """
        try:
            raw = from_json(data, allow_inf_nan=False)
        except ValueError as error:
            raise ValueError(f"The manifest is not JSON: {error}.") from error
        if not isinstance(raw, dict):
            raise ValueError("The manifest is not a JSON object.")
        schema = raw.get("schema_version")
        if schema != SCHEMA_VERSION:
            raise ValueError(f"The manifest has schema version {schema!r}; this reader knows {SCHEMA_VERSION} only.")
        try:
            return cls.model_validate_json(data, strict=True)
        except ValidationError as error:
            raise ValueError(f"The manifest is wrong: {first_problem(error)}.") from error

    @classmethod
    def complete(cls, draft: Draft, weights: Weights) -> Self:
        return cls(**dict(draft), weights=weights)

    def to_json(self) -> bytes:
        """The text to store. Raises ValueError if a figure is not finite, which JSON cannot say."""
        return (json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def digest(data: bytes) -> str:
    """The SHA-256, in hex, of a manifest file as stored."""
    return hashlib.sha256(data).hexdigest()


def tag(data: bytes) -> bytes:
    """The two bytes that name this manifest's version inside a payload."""
    return hashlib.sha256(data).digest()[:TAG_BYTES]
