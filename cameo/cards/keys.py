"""Keys of issuers: files in PEM, with a line ``Issuer: NAME`` before the key (RFC 7468 allows text there).

A private key signs in the name of its issuer. Trusted issuers are a folder of public keys: each is trusted for the
issuer that its file names and for no other, and an issuer may have several.
"""

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cwt import COSEKey
from cwt.cose_key_interface import COSEKeyInterface

from cameo.errors import InvalidKey, InvalidParameter, quoted

PRIVATE, PUBLIC = ".key.pem", ".pem"
MOST_BYTES: Final = 10_000  # of a file
MOST_CHARACTERS: Final = 100  # of an issuer's name
_ISSUER = re.compile(r"^Issuer:[ \t]*(.+?)[ \t]*\r?$", re.MULTILINE)


@dataclass(frozen=True)
class SigningKey:
    """The private key of an issuer."""

    issuer: str
    cose: COSEKeyInterface = field(repr=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """InvalidKey where it is no private Ed25519 key, or others than its owner and group may read it."""
        file = Path(path)
        issuer, key = _load(file)
        if not isinstance(key.key, Ed25519PrivateKey):
            raise InvalidKey(f"{file} holds a public key; a card is signed with the private one, *{PRIVATE}")
        if os.name == "posix" and file.stat().st_mode & stat.S_IRWXO:
            raise InvalidKey(f"everybody on this machine may read the private key {file}; run: chmod 600 {file}")
        return cls(issuer, key)


def make_keys(issuer: str, folder: str | os.PathLike[str]) -> tuple[Path, Path]:
    """A new pair for an issuer, in files that only their owner, or everybody, may read: the private, the public.

    InvalidParameter for a name that cannot be one; FileExistsError, for a key is never replaced.
    """
    if not (0 < len(issuer) <= MOST_CHARACTERS and issuer.isprintable() and issuer == issuer.strip()):
        raise InvalidParameter(
            f"an issuer has a name of 1 to {MOST_CHARACTERS} printable characters, as https://office.example; "
            f"this is {quoted(issuer)}", parameter="issuer",
        )  # fmt: skip
    stem = re.sub(r"[^\w.-]+", "-", issuer.removeprefix("https://")).strip("-.")
    stem = re.sub(r"(\.key)+$", "", stem) or "issuer"  # what ends so is taken for a private key
    private, public = Path(folder, stem + PRIVATE), Path(folder, stem + PUBLIC)
    if public.exists():
        raise FileExistsError(f"{public} is there already")
    key = Ed25519PrivateKey.generate()
    head = f"Issuer: {issuer}\n".encode()
    Path(folder).mkdir(parents=True, exist_ok=True)
    _create(private, head + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    _create(public, head + key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
    return private, public


Issuers = Mapping[str, tuple[COSEKeyInterface, ...]]
"""The public keys that are trusted, by the name of their issuer."""


def load_issuers(folder: str | os.PathLike[str]) -> Issuers:
    """The public keys in a folder, ``*.pem``; private keys beside them are passed over. InvalidKey."""
    if not Path(folder).is_dir():
        raise InvalidKey(f"{folder} is not a folder; trusted issuers are a folder of public keys, *{PUBLIC}")
    trusted: dict[str, tuple[COSEKeyInterface, ...]] = {}
    for file in sorted(Path(folder).glob(f"*{PUBLIC}")):
        if not file.name.endswith(PRIVATE):
            issuer, key = _load(file)
            trusted[issuer] = (*trusted.get(issuer, ()), key)
    return trusted


def _load(file: Path) -> tuple[str, COSEKeyInterface]:
    try:
        with file.open("rb") as opened:
            text = opened.read(MOST_BYTES).decode()
        issuer = _ISSUER.search(text)
        key = COSEKey.from_pem(text[text.find("-----BEGIN") :])
    except (OSError, ValueError, TypeError) as error:  # what cryptography and cwt raise for bytes that are no key
        raise InvalidKey(f"{file} cannot be read as a key in PEM: {error}") from error
    if not isinstance(key.key, Ed25519PrivateKey | Ed25519PublicKey):
        raise InvalidKey(f"{file} is not an Ed25519 key; make a pair with: cameo key")
    if not issuer:
        raise InvalidKey(f"{file} does not name its issuer; put a line before the key: Issuer: https://office.example")
    return issuer[1], key


def _create(file: Path, data: bytes, mode: int) -> None:
    """With this mode from its first moment on; FileExistsError."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(data)
