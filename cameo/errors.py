"""Everything that can go wrong, as one tree. A class knows its HTTP status and its problem type.

    CameoError
    ├── ImageError                          the picture itself
    │   ├── NotAnImage            400
    │   ├── TruncatedImage        400
    │   ├── UnsupportedImage      415       a format, or a variant of one, that we do not decode
    │   ├── TooManyPixels         422
    │   ├── TooComplex            422       more segments, scans, tiles ... than any honest picture has
    │   ├── NoFace                422
    │   └── TooManyFaces          422       where only one is wanted
    ├── PayloadError                        the bytes that should be a payload
    │   ├── EmptyPayload          400
    │   ├── TruncatedPayload      400
    │   ├── OverlongPayload       400
    │   ├── DamagedPayload        400       wrong checksum, or bits that no coder writes
    │   ├── ForeignPayload        400       not a payload, or of a format from the future
    │   └── UnknownTag            422       a payload of a version that is not in the store
    ├── CardError                           a signed card
    │   ├── NoCard                422       a picture in which no QR code was found
    │   ├── NotACard              422       a QR code of something else
    │   ├── SeveralCards          422       more than one in a picture, where one is expected
    │   ├── CardWithoutFace       422       none, or none that is a payload of ours
    │   ├── DamagedCard           400       its text cannot be taken apart
    │   ├── CardTooLarge          422       what does not fit into its QR code, its print, or a tag
    │   ├── CannotDraw            422       letters that are in no font
    │   ├── InvalidKey            422       a file that is not the key, or the folder of keys, it should be
    │   └── NoSigningKey          404       a service that cannot sign cards
    ├── TokensError                         tokens given as numbers
    │   ├── WrongTokenShape       422
    │   └── TokenOutOfRange       422
    ├── StoreError
    │   ├── UnknownModel          404
    │   ├── UnknownVersion        404
    │   ├── RefusedVersion        503       in the store, but it failed verification
    │   ├── VersionExists         409       versions are immutable
    │   ├── StoreUnavailable      503       an object store that does not answer, or refuses the credentials
    │   └── NotCalibrated         422       no threshold to decide with, for a version and a recogniser
    ├── RequestError                        the HTTP request
    │   ├── BadRequest            400
    │   ├── Unauthorized          401       without an API key, where one is needed
    │   ├── NotFound              404
    │   ├── MethodNotAllowed      405
    │   ├── NotAcceptable         406
    │   ├── BodyTooLarge          413
    │   ├── UnsupportedMediaType  415
    │   ├── HeadTooLarge          431       of the request: its address and header fields
    │   ├── ImageFieldMissing     422
    │   ├── ImageFieldRepeated    422
    │   ├── PayloadFieldMissing   422
    │   ├── BrokenArchive         400       of a batch: a zip or tar, or a file in it
    │   ├── TooManyItems          422
    │   ├── InvalidParameter      422
    │   └── BudgetTooSmall        422
    ├── RateLimited               429       more requests than the API key may send
    ├── Overloaded                429
    ├── DeadlineExceeded          504
    ├── NotReady                  503
    ├── TooManyConnections        503
    ├── Unreachable               502       for clients: no service answers, or something else does
    └── InternalError             500

No module here knows HTTP beyond these numbers, so the codec and the store raise the same classes that
the API answers with.
"""

from typing import Any, ClassVar


class CameoError(Exception):
    """``detail`` is one sentence for a person; ``facts`` are the offending values and their limits."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, **facts: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts = facts


QUOTED_CHARACTERS = 200


def quoted(text: str) -> str:
    """What a client said, for the detail of an error: printable, and never more than 200 characters of it."""
    return repr(text) if len(text) <= QUOTED_CHARACTERS else f"{text[:QUOTED_CHARACTERS]!r}..."


class ClientLeft(Exception):
    """The client closed its connection: there is nobody to tell, so this is no CameoError."""


class ImageError(CameoError):
    status, type, title = 400, "image", "The picture cannot be used"


class NotAnImage(ImageError):
    status, type, title = 400, "not-an-image", "The bytes are not a picture"


class TruncatedImage(ImageError):
    status, type, title = 400, "truncated-image", "The picture is cut short or damaged"


class UnsupportedImage(ImageError):
    status, type, title = 415, "unsupported-image", "Pictures of this format are not decoded"


class TooManyPixels(ImageError):
    status, type, title = 422, "too-many-pixels", "The picture has too many pixels"


class TooComplex(ImageError):
    status, type, title = 422, "too-complex", "The picture would cost too much to decode"


class NoFace(ImageError):
    status, type, title = 422, "no-face", "No face was found"


class TooManyFaces(ImageError):
    status, type, title = 422, "too-many-faces", "Several faces were found where only one is wanted"


class PayloadError(CameoError):
    status, type, title = 400, "payload", "The payload cannot be used"


class EmptyPayload(PayloadError):
    status, type, title = 400, "empty-payload", "The payload is empty"


class TruncatedPayload(PayloadError):
    status, type, title = 400, "truncated-payload", "The payload is too short"


class OverlongPayload(PayloadError):
    status, type, title = 400, "overlong-payload", "The payload is too long"


class DamagedPayload(PayloadError):
    status, type, title = 400, "damaged-payload", "The payload is damaged"


class ForeignPayload(PayloadError):
    status, type, title = 400, "foreign-payload", "The bytes are not a payload that this service reads"


class UnknownTag(PayloadError):
    status, type, title = 422, "unknown-tag", "The payload's model version is not in the store"


class CardError(CameoError):
    status, type, title = 422, "card", "The card cannot be used"


class NoCard(CardError):
    status, type, title = 422, "no-card", "No QR code was found"


class NotACard(CardError):
    status, type, title = 422, "not-a-card", "The QR code is not that of a card"


class SeveralCards(CardError):
    status, type, title = 422, "several-cards", "The picture has several cards"


class CardWithoutFace(CardError):
    status, type, title = 422, "card-without-face", "The card has no face that is read here"


class DamagedCard(CardError):
    status, type, title = 400, "damaged-card", "The card is damaged"


class CardTooLarge(CardError):
    status, type, title = 422, "card-too-large", "This does not fit on the card"


class CannotDraw(CardError):
    status, type, title = 422, "cannot-draw", "No font has these characters"


class InvalidKey(CardError):
    status, type, title = 422, "invalid-key", "The key cannot be used"


class NoSigningKey(CardError):
    status, type, title = 404, "no-signing-key", "This service does not sign cards"


class TokensError(CameoError):
    status, type, title = 422, "tokens", "The tokens cannot be used"


class WrongTokenShape(TokensError):
    status, type, title = 422, "wrong-token-shape", "The tokens have the wrong shape"


class TokenOutOfRange(TokensError):
    status, type, title = 422, "token-out-of-range", "A token is outside its codebook"


class StoreError(CameoError):
    status, type, title = 500, "store", "The model store cannot be used"


class UnknownModel(StoreError):
    status, type, title = 404, "unknown-model", "There is no model of this name"


class UnknownVersion(StoreError):
    status, type, title = 404, "unknown-version", "The model has no such version"


class RefusedVersion(StoreError):
    status, type, title = 503, "refused-version", "This version failed verification and is not served"


class VersionExists(StoreError):
    status, type, title = 409, "version-exists", "A published version is never replaced"


class StoreUnavailable(StoreError):
    status, type, title = 503, "store-unavailable", "The model store does not answer"


class NotCalibrated(StoreError):
    status, type, title = 422, "not-calibrated", "There is no threshold to verify faces with"


class RequestError(CameoError):
    status, type, title = 400, "request", "The request cannot be served"


class BadRequest(RequestError):
    status, type, title = 400, "bad-request", "The request is malformed"


class Unauthorized(RequestError):
    status, type, title = 401, "unauthorized", "An API key is needed"


class NotFound(RequestError):
    status, type, title = 404, "not-found", "There is nothing at this address"


class MethodNotAllowed(RequestError):
    status, type, title = 405, "method-not-allowed", "This address does not take this method"


class NotAcceptable(RequestError):
    status, type, title = 406, "not-acceptable", "None of the accepted media types can be produced"


class BodyTooLarge(RequestError):
    status, type, title = 413, "body-too-large", "The request body is too large"


class UnsupportedMediaType(RequestError):
    status, type, title = 415, "unsupported-media-type", "This media type is not taken here"


class HeadTooLarge(RequestError):
    status, type, title = 431, "head-too-large", "The head of the request is too large"


class ImageFieldMissing(RequestError):
    status, type, title = 422, "image-field-missing", "The form has no field named image"


class ImageFieldRepeated(RequestError):
    status, type, title = 422, "image-field-repeated", "The form has several fields named image"


class PayloadFieldMissing(RequestError):
    status, type, title = 422, "payload-field-missing", "The form does not have one field with a payload"


class BrokenArchive(RequestError):
    status, type, title = 400, "broken-archive", "The archive, or a file in it, cannot be read"


class TooManyItems(RequestError):
    status, type, title = 422, "too-many-items", "The batch has too many items"


class InvalidParameter(RequestError):
    status, type, title = 422, "invalid-parameter", "A parameter or field has an invalid value"


class BudgetTooSmall(RequestError):
    status, type, title = 422, "budget-too-small", "No payload is that small"


class RateLimited(CameoError):
    status, type, title = 429, "rate-limited", "The API key has asked too often"


class Overloaded(CameoError):
    status, type, title = 429, "overloaded", "The service is busy"


class DeadlineExceeded(CameoError):
    status, type, title = 504, "deadline-exceeded", "The answer would come too late"


class NotReady(CameoError):
    status, type, title = 503, "not-ready", "The service is not ready"


class TooManyConnections(CameoError):
    status, type, title = 503, "too-many-connections", "The service has as many connections as it may have"


class Unreachable(CameoError):
    status, type, title = 502, "unreachable", "No service answers at this address"


class InternalError(CameoError):
    status, type, title = 500, "internal", "Internal error"

    def __init__(self) -> None:
        super().__init__("something went wrong; the log has it under this request id")
