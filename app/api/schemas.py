"""What goes over the wire as JSON."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field

from app.config import Effort
from cameo.cards import Claims, State
from cameo.results import Decision

Nested = list[Any]


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Problem(BaseModel):
    """RFC 9457; further members give the offending value and its limit."""

    model_config = ConfigDict(extra="allow")
    type: str = Field(description="stable name of the problem, a URN", examples=["urn:cameo:problem:no-face"])
    title: str
    status: int
    detail: str
    request_id: str | None


class Tokens(_Schema):
    shape: Annotated[list[int], Field(max_length=8), FailFast()]
    codebook_size: int | None = Field(description="codes to choose from for every token; null where they differ")
    indices: Nested = Field(description="whole numbers nested as the shape says; those that the payload holds")


class Sizes(_Schema):
    upload: int = Field(description="bytes of the uploaded picture")
    portrait: int = Field(description="bytes of the raw portrait: three a pixel")
    payload: int = Field(description="bytes of the payload, everything counted")
    ratio: float = Field(description="portrait bytes over payload bytes")
    bits_per_pixel: float = Field(description="payload bits over pixels of the portrait")


class Frame(_Schema):
    method: Literal["auto", "asis"]
    box: list[float] = Field(description="x, y, width and height in pixels of the upload")
    landmarks: list[list[float]] | None = Field(description="eyes, nose and mouth corners, pixels of the upload")
    roll: float | None = Field(description="degrees that the head leans clockwise in the upload, -180 to 180")
    turned: int | None = Field(
        description="degrees by which the photo was turned clockwise before the face was found: 0, 90, 180 or 270"
    )
    score: float | None = Field(description="the detector's confidence, up to 1")
    faces: int | None = Field(description="faces in the picture; the largest central one was taken")


class Doubt(_Schema):
    code: Literal["blurred", "dark", "negative", "turned", "unlike"]
    detail: str = Field(description="one sentence: what is doubtful, and what to do")


class Doubts(_Schema):
    likeness: float | None = Field(
        description="the recogniser's cosine of the portrait and of the face that the payload gives, -1 to 1; "
        "from .363 on they count as one person; null without a recogniser, or where it was not asked for"
    )
    warnings: list[Doubt] = Field(description="what is doubtful about the photo or the payload; empty if nothing is")


class CompressAnswer(Doubts):
    model: str
    version: int
    digest: str = Field(description="SHA-256 of the version's manifest; its first two bytes are the payload's tag")
    effort: Effort = Field(description="how hard the tokens were searched for")
    tokens: Tokens
    payload: str = Field(description="the payload in base64")
    sizes: Sizes
    frame: Frame


class CardFacts(_Schema):
    state: State = Field(description="only of a card that is valid did a trusted issuer say what it says, for now")
    detail: str = Field(description="one sentence on the state")
    issuer: str | None = Field(description="whom the card names as its issuer")
    issued: datetime | None
    not_before: datetime | None
    expires: datetime | None
    claims: dict[str, str] = Field(description="the attributes of Claim 169, as /card takes them")
    payload: str | None = Field(description="the face in base64; null where the card has none of ours")
    text: str = Field(description="what the card's QR code holds")


class RecogniserVersion(_Schema):
    name: str = Field(description="of its file: face_recognition_sface_2021dec_int8bq is SFace as OpenCV published it")
    sha256: str = Field(description="of its file")


class VerifyAnswer(_Schema):
    match: bool = Field(description="whether the score reaches the threshold, and the card, if it was one, is valid")
    decision: Decision = Field(description="`card-not-valid` whatever the score is: see `card`, and show no match")
    score: float = Field(description="the recogniser's cosine of the photo's portrait and of the payload's face")
    threshold: float = Field(description="calibrated for this version, recogniser, size of payload and FMR")
    fmr: float = Field(description="false match rate, ISO/IEC 19795-1: the share of other people who would match")
    recogniser: RecogniserVersion
    model: str
    version: int
    digest: str = Field(description="SHA-256 of the version's manifest")
    bytes: int = Field(description="of the payload")
    frame: Frame
    warnings: list[Doubt] = Field(description="what is doubtful about the photo; empty if nothing is")
    card: CardFacts | None = Field(description="the card, with the state of its signature; null for a payload")


class ReconstructRequest(_Schema):
    """Either a payload, or a model with tokens."""

    payload: str | None = Field(default=None, description="a payload in base64")
    model: str | None = Field(default=None, max_length=100)
    version: int | None = Field(default=None, ge=1)
    tokens: Nested | Tokens | None = Field(
        default=None,
        description="nested indices, or the tokens object of /compress; of a model with several rates any number of "
        "first tokens",
    )


class InterpolateRequest(_Schema):
    """Two payloads of one version of a VAE."""

    a: str = Field(description="the payload of the first face, in base64")
    b: str = Field(description="the payload of the last face, in base64")


class ShortenRequest(_Schema):
    payload: str = Field(description="a payload in base64")


class ShortenAnswer(_Schema):
    model: str
    version: int
    payload: str
    bytes: int


class CardRequest(_Schema):
    """A card of a face that was compressed before."""

    payload: str = Field(description="a payload in base64")
    claims: Claims = Claims()


class CardText(_Schema):
    text: str = Field(description="what the card's QR code holds")


class CardsAnswer(_Schema):
    cards: list[CardFacts] = Field(description="each card in the picture, once; at least one")


class ComparisonRow(_Schema):
    kind: Literal["model", "codec"]
    name: str
    version: int | None
    quality: int | None = Field(description="the codec's quality setting")
    side: int = Field(description="pixels of the picture that was coded; others are scaled back to 128")
    beside: str | None = Field(description="for a codec: the model whose payload it was to match in bytes")
    max_bytes: int | None = Field(
        description="for a model with several rates: the budget; for a codec: the bytes of the payload it was to match"
    )
    bytes: int = Field(description="whole payload, or whole file")
    ratio: float = Field(description="raw 128-pixel portrait over bytes")
    psnr: float | None = Field(description="decibels; null where the picture is exact")
    ms_ssim: float
    identity: float | None = Field(description="cosine similarity of SFace embeddings; null without the judge")


class CompareAnswer(_Schema):
    frame: Frame
    upload: int
    rows: list[ComparisonRow]


class VersionInfo(_Schema):
    name: str
    version: int
    digest: str
    tag: str = Field(description="the two bytes, in hex, that name this version inside a payload")
    default: bool
    loaded: bool
    manifest: dict[str, Any]


class RefusedInfo(_Schema):
    name: str
    version: int
    reason: str


class ModelInfo(_Schema):
    name: str
    default: bool
    default_version: int
    versions: list[VersionInfo]


class ModelsAnswer(_Schema):
    default_model: str | None
    models: list[ModelInfo]
    refused: list[RefusedInfo]
    store_problem: str | None = Field(description="why the present state of the store is not served; null if it is")


class ReadyAnswer(_Schema):
    ready: bool
    reason: str
    device: str
    device_reason: str
    workers: int
    effort: str = Field(description="how hard tokens are searched for where a request does not say")
    effort_reason: str
    card_issuer: str | None = Field(
        description="in whose name /card signs; null: the service has no key, CAMEO_CARD_KEY"
    )
    models: list[str]
    refused: list[RefusedInfo]
    store_problem: str | None = Field(description="why the present state of the store is not served; null if it is")


class LiveAnswer(_Schema):
    live: bool = True
