"""From a recogniser's cosine to a decision: thresholds for each rate, as ``verification.json`` beside a model has them.

A coarse face scores differently from a fine one, so one cosine means another false match rate (FMR, ISO/IEC 19795-1)
at each rate. ``python -m training calibrate-verification`` measures the thresholds, for one version and one
recogniser, and the file names both by their SHA-256: neither another version nor another recogniser is decided with it.
"""

import json
from typing import Annotated, Final, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator

from cameo.errors import InvalidParameter, NotCalibrated
from cameo.results import RecogniserVersion
from cameo.store.manifest import DataSet, Sha256, Text, Utc
from cameo.store.reader import THRESHOLDS, StoredVersion, read_json
from cameo.validation import first_problem

FILE: Final = THRESHOLDS
FMRS: Final = (0.01, 0.001, 0.0001)
DEFAULT_FMR: Final = 0.001
HOW: Final = "python -m training calibrate-verification makes one, see docs/verification.md"

Rate = Annotated[float, Field(gt=0, lt=1)]
Cosine = Annotated[float, Field(ge=-1, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Threshold(_Section):
    """The least cosine that counts as a match at this FMR; ``low`` and ``high`` bound its 95% interval over people."""

    fmr: Rate
    threshold: Cosine
    low: Cosine
    high: Cosine


class AtRate(_Section):
    """What was measured on payloads of at most ``bytes``: no fewer than ``comparisons`` with other people's photos.

    A payload does not say how hard its tokens were searched for: of the ``efforts``, each threshold is the highest one.
    """

    bytes: PositiveInt
    efforts: tuple[Text, ...]
    comparisons: PositiveInt
    thresholds: tuple[Threshold, ...] = Field(min_length=1)

    @field_validator("thresholds")
    @classmethod
    def _thresholds_rise(cls, thresholds: tuple[Threshold, ...]) -> tuple[Threshold, ...]:
        fmrs, cosines = [each.fmr for each in thresholds], [each.threshold for each in thresholds]
        if fmrs != sorted(set(fmrs), reverse=True):
            raise ValueError("the FMRs of a rate descend and differ from each other")
        if cosines != sorted(cosines):
            raise ValueError("the thresholds of a rate do not fall where the FMR does")
        return thresholds

    def cosine(self, fmr: float) -> float:
        return next(each.threshold for each in self.thresholds if each.fmr == fmr)


class Calibration(_Section):
    """The whole of ``verification.json``. ``manifest`` is the digest of the version that it belongs to."""

    schema_version: Literal[1] = 1
    manifest: Sha256
    recogniser: RecogniserVersion
    created: Utc
    data: tuple[DataSet, ...]
    rates: tuple[AtRate, ...] = Field(min_length=1)

    @field_validator("rates")
    @classmethod
    def _rates_ascend(cls, rates: tuple[AtRate, ...]) -> tuple[AtRate, ...]:
        if [each.bytes for each in rates] != sorted({each.bytes for each in rates}):
            raise ValueError("rates ascend and differ from each other")
        if len({tuple(threshold.fmr for threshold in each.thresholds) for each in rates}) > 1:
            raise ValueError("all rates have thresholds for the same FMRs")
        return rates

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """ValueError, with one sentence that says what is wrong."""
        try:
            return cls.model_validate_json(data, strict=True)
        except ValidationError as error:
            raise ValueError(f"{FILE} is wrong: {first_problem(error)}") from error

    def to_json(self) -> bytes:
        """The text to store."""
        return (json.dumps(self.model_dump(mode="json"), indent=1, allow_nan=False) + "\n").encode()

    @property
    def fmrs(self) -> list[float]:
        """Those that there are thresholds for, from the largest to the least."""
        return [each.fmr for each in self.rates[0].thresholds]

    def threshold(self, size: int, fmr: float) -> float:
        """The least cosine that is a match, for a payload of ``size`` bytes. InvalidParameter for another FMR.

        Between two rates it is the higher one of theirs; below the least and above the most it is that of the nearest.
        """
        if fmr not in self.fmrs:
            raise InvalidParameter(
                f"fmr is {fmr:g}; it may be {', '.join(f'{each:g}' for each in self.fmrs)}",
                parameter="fmr", value=fmr, allowed=self.fmrs,
            )  # fmt: skip
        below = [each for each in self.rates if each.bytes <= size][-1:]
        above = [each for each in self.rates if each.bytes >= size][:1]
        return max(each.cosine(fmr) for each in below + above)


class Uncalibrated(NamedTuple):
    """A version without thresholds, and why: a sentence."""

    reason: str


def read_calibration(stored: StoredVersion) -> Calibration | Uncalibrated:
    """What lies beside a version's manifest, if it is this version's."""
    name = "/".join(map(str, stored.key))
    try:
        calibration = Calibration.parse(read_json(stored.folder / FILE))
    except FileNotFoundError:
        return Uncalibrated(f"{name} has no {FILE}")
    except OSError as error:
        return Uncalibrated(f"{FILE} of {name} cannot be read: {error.strerror}")
    except ValueError as error:
        return Uncalibrated(f"{error} (of {name})")
    if calibration.manifest != stored.digest:
        return Uncalibrated(
            f"{FILE} beside {name} was measured for the manifest {calibration.manifest}, not for {stored.digest}"
        )
    return calibration


def calibrated(found: Calibration | Uncalibrated, recogniser: RecogniserVersion) -> Calibration:
    """The thresholds for a recogniser; NotCalibrated where there are none for it."""
    if isinstance(found, Uncalibrated):
        raise NotCalibrated(f"No threshold is known: {found.reason}; {HOW}.")
    if found.recogniser.sha256 != recogniser.sha256:
        raise NotCalibrated(
            f"The thresholds are for the recogniser {found.recogniser.name} ({found.recogniser.sha256[:12]}...), "
            f"not for {recogniser.name} ({recogniser.sha256[:12]}...): give the version a {FILE} for this one; {HOW}.",
            calibrated=found.recogniser.sha256, recogniser=recogniser.sha256,
        )  # fmt: skip
    return found
