"""The versions that are served: verified, loaded, and found by name or by tag.

How a model is loaded is the caller's: the store knows files and digests, and no torch.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from app.errors import RefusedVersion, StoreError, UnknownModel, UnknownTag, UnknownVersion
from app.store.manifest import first_problem
from app.store.reader import StoredVersion, read_version, scan, stored_tag

CONFIG = "store.json"

log = logging.getLogger("cameo.store")

M = TypeVar("M")
Key = tuple[str, int]


class StoreConfig(BaseModel):
    """``store.json``: what is served where a request names no model, or no version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default_model: str | None = None
    default_versions: dict[str, PositiveInt] = {}


@dataclass(frozen=True)
class Entry(Generic[M]):
    """A version that is served."""

    stored: StoredVersion
    model: M


@dataclass(frozen=True)
class Refusal:
    """A version that is in the store and not served; ``reason`` is a sentence for a person."""

    name: str
    version: int
    reason: str


@dataclass(frozen=True)
class _Snapshot(Generic[M]):
    """The store at one moment. ``tags`` knows refused versions too, as far as their manifests are readable."""

    entries: Mapping[Key, Entry[M]] = field(default_factory=dict)
    refused: Mapping[Key, Refusal] = field(default_factory=dict)
    tags: Mapping[bytes, Key] = field(default_factory=dict)
    default_model: str | None = None
    default_versions: Mapping[str, int] = field(default_factory=dict)

    def names(self) -> tuple[str, ...]:
        return tuple(sorted({name for name, _ in self.entries}))

    def versions(self, name: str) -> tuple[int, ...]:
        return tuple(sorted(version for model, version in self.entries if model == name))

    def default(self, name: str) -> int:
        if name not in self.default_versions:
            raise UnknownModel(f"There is no model {name!r} in the store.", name=name, known=list(self.names()))
        return self.default_versions[name]

    def get(self, name: str | None, version: int | None) -> Entry[M]:
        if name is None:
            name = self.default_model
        if name is None:
            raise UnknownModel("The store has no model.", name=None, known=[])
        default = self.default(name)
        key = (name, default if version is None else version)
        if key in self.refused:
            reason = self.refused[key].reason
            raise RefusedVersion(
                f"Version {key[1]} of {name} is not served: {reason}", name=name, version=key[1], reason=reason
            )
        if key not in self.entries:
            known = list(self.versions(name))
            raise UnknownVersion(f"There is no version {key[1]} of {name}.", name=name, version=key[1], known=known)
        return self.entries[key]


class Registry(Generic[M]):
    """All versions in the store at ``root``, each loaded by ``load``. Empty until :meth:`open`.

    Look-ups may run in any thread, also while ``open`` runs: each sees one state of the store.
    """

    def __init__(self, root: Path, load: Callable[[StoredVersion], M]) -> None:
        self._root = root
        self._load = load
        self._snapshot: _Snapshot[M] = _Snapshot()

    def open(self) -> None:
        """Verify and load every version, then serve the good ones; the log names the refused ones.

        Raises StoreError, and leaves what is served as it was, if the store cannot be listed, or if
        ``store.json`` is broken or names what is not in the store. A store without a usable version is no
        error here: ``entries`` is empty.
        """
        try:
            folders = scan(self._root)
            config = _read_config(self._root / CONFIG)
        except OSError as error:
            raise StoreError(f"The model store cannot be read: {error}.", root=str(self._root)) from error
        self._snapshot = self._build(folders, config)

    @property
    def entries(self) -> tuple[Entry[M], ...]:
        """What is served, by name and version."""
        snapshot = self._snapshot
        return tuple(snapshot.entries[key] for key in sorted(snapshot.entries))

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """What is in the store but not served, by name and version."""
        snapshot = self._snapshot
        return tuple(snapshot.refused[key] for key in sorted(snapshot.refused))

    @property
    def default_model(self) -> str | None:
        """``store.json``'s, else the first name that is served; None in a store without models."""
        return self._snapshot.default_model

    def names(self) -> tuple[str, ...]:
        """The models with at least one version that is served."""
        return self._snapshot.names()

    def versions(self, name: str) -> tuple[int, ...]:
        """The versions of a model that are served, ascending. Raises UnknownModel."""
        snapshot = self._snapshot
        snapshot.default(name)
        return snapshot.versions(name)

    def default(self, name: str) -> int:
        """``store.json``'s version of a model, else its highest that is served. Raises UnknownModel.

        A version that ``store.json`` names stays the default even if it is refused: no request gets another
        model than the one that was chosen for it.
        """
        return self._snapshot.default(name)

    def get(self, name: str | None = None, version: int | None = None) -> Entry[M]:
        """A version, by default the default one. Raises UnknownModel, UnknownVersion or RefusedVersion."""
        return self._snapshot.get(name, version)

    def by_tag(self, tag: bytes) -> Entry[M]:
        """The version that a payload's tag names.

        Raises UnknownTag, or RefusedVersion if the version is in the store but not served.
        """
        snapshot = self._snapshot
        if tag not in snapshot.tags:
            raise UnknownTag(
                f"The payload is of a model version with the tag {tag.hex()}, which is not in the store.",
                tag=tag.hex(),
                known={known.hex(): f"{name}/{version}" for known, (name, version) in sorted(snapshot.tags.items())},
            )
        return snapshot.get(*snapshot.tags[tag])

    def _build(self, folders: list[Path], config: StoreConfig) -> _Snapshot[M]:
        present = [(folder.parent.name, int(folder.name)) for folder in folders]
        _check_names(config, present)
        entries: dict[Key, Entry[M]] = {}
        refused: dict[Key, Refusal] = {}
        tags: dict[bytes, Key] = {}

        def refuse(key: Key, reason: str, *, traceback: bool = False) -> None:
            refused[key] = Refusal(*key, reason)
            log.error("refused %s version %d: %s", *key, reason, exc_info=traceback)

        verified: list[StoredVersion] = []
        broken: list[Path] = []
        for key, folder in zip(present, folders, strict=True):
            try:
                verified.append(read_version(folder))
            except RefusedVersion as error:
                broken.append(folder)
                refuse(key, error.facts["reason"])
        # The oldest first: payloads of it may be about already, so it keeps a tag that two versions share.
        for stored in sorted(verified, key=lambda stored: (stored.manifest.created, stored.key)):
            owner = tags.setdefault(stored.tag, stored.key)
            if owner != stored.key:
                refuse(stored.key, f"Its tag {stored.tag.hex()} is that of {owner[0]}/{owner[1]}, which is older.")
                continue
            try:
                entries[stored.key] = Entry(stored, self._load(stored))
            except Exception as error:
                refuse(stored.key, f"It does not load: {type(error).__name__}: {error}", traceback=True)
        for folder in broken:
            tag = stored_tag(folder)
            if tag is not None:
                tags.setdefault(tag, (folder.parent.name, int(folder.name)))

        # Ascending, and those that are served last: the last of a name is its default.
        candidates = [*sorted(refused), *sorted(entries)]
        default_versions = dict(candidates) | config.default_versions
        default_model = config.default_model or min(entries or refused, default=(None,))[0]
        return _Snapshot(entries, refused, tags, default_model, default_versions)


def _read_config(path: Path) -> StoreConfig:
    if not path.exists():
        return StoreConfig()
    try:
        return StoreConfig.model_validate_json(path.read_bytes(), strict=True)
    except ValidationError as error:
        raise StoreError(f"{path.name} is broken: {first_problem(error)}.", file=path.name) from error


def _check_names(config: StoreConfig, present: list[Key]) -> None:
    known = {name for name, _ in present}
    if config.default_model is not None and config.default_model not in known:
        raise StoreError(f"{CONFIG} names the model {config.default_model!r}, which is not in the store.")
    for name, version in config.default_versions.items():
        if (name, version) not in present:
            raise StoreError(f"{CONFIG} names version {version} of {name!r}, which is not in the store.")
