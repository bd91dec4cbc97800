"""What a service signs cards with, and whose cards it trusts."""

import logging
from pathlib import Path

from cameo.cards import Issuers, SigningKey, load_issuers
from cameo.errors import InvalidKey, NoSigningKey

log = logging.getLogger("cameo.cards")


class Issuing:
    """ValueError where a key, or the folder of issuers, is not what it should be."""

    def __init__(self, key: Path | None, issuers: Path | None) -> None:
        self._folder = issuers
        self._problem = ""  # of the folder, when it was last read
        try:
            self._key = SigningKey.load(key) if key else None
        except InvalidKey as error:
            raise ValueError(f"CAMEO_CARD_KEY: {error.detail}") from error
        try:
            self._issuers: Issuers = load_issuers(issuers) if issuers else {}
        except InvalidKey as error:
            raise ValueError(f"CAMEO_CARD_ISSUERS: {error.detail}") from error

    @property
    def issuer(self) -> str | None:
        """In whose name cards are signed; None without a key."""
        return self._key.issuer if self._key else None

    def require_key(self) -> SigningKey:
        if self._key is None:
            raise NoSigningKey(
                "this service has no key to sign cards with: make one with `cameo key`, and set CAMEO_CARD_KEY to its "
                "private file", setting="CAMEO_CARD_KEY",
            )  # fmt: skip
        return self._key

    def trusted(self) -> Issuers:
        """Those of the folder as it is now, and this service; of a folder that has become broken, as it was before."""
        if self._folder:
            try:
                self._issuers, self._problem = load_issuers(self._folder), ""
            except InvalidKey as error:
                if error.detail != self._problem:
                    self._problem = error.detail
                    log.error("CAMEO_CARD_ISSUERS: %s; issuers stay as they were read before", error.detail)  # noqa: TRY400 - the line says it all
        trusted = dict(self._issuers)
        if self._key:
            trusted[self._key.issuer] = (*trusted.get(self._key.issuer, ()), self._key.cose)
        return trusted
