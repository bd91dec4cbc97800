"""What a store holds at one moment, and how a version in it is found: all of it in memory, nothing reads the disk."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from cameo.errors import RefusedVersion, StoreError, UnknownModel, UnknownTag, UnknownVersion
from cameo.store.reader import Fingerprint, Key, StoredVersion
from cameo.validation import first_problem

CONFIG = "store.json"
CHANGED = (
    "Its manifest is not the one that was served before, and a published version is never changed: put the old "
    "files back or publish the new ones under the next number. A restart takes the folder as it is."
)

M = TypeVar("M")


class StoreConfig(BaseModel):
    """``store.json``: what is served where a request names no model, or no version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default_model: str | None = None
    default_versions: dict[str, PositiveInt] = {}

    @classmethod
    def parse(cls, data: bytes | None) -> Self:
        """Read the bytes of the file, None where there is none. Raises StoreError."""
        if data is None:
            return cls()
        try:
            return cls.model_validate_json(data, strict=True)
        except ValidationError as error:
            raise StoreError(f"{CONFIG} is broken: {first_problem(error)}.", file=CONFIG) from error

    def check(self, present: set[Key]) -> None:
        """StoreError if it names what is not in the store."""
        known = {name for name, _ in present}
        if self.default_model is not None and self.default_model not in known:
            raise StoreError(f"store.json names the model {self.default_model!r}, which is not in the store.")
        for name, version in self.default_versions.items():
            if (name, version) not in present:
                raise StoreError(f"store.json names version {version} of {name!r}, which is not in the store.")


class Entry(Generic[M]):
    """A version that is served. Its model is in memory, or comes there when it is asked for.

    ``failure`` is None until loading fails, then why; ``again`` then says whether it may be tried again although
    no file has changed. ``used`` is when the model was last asked for, in ns of the monotonic clock.
    :meth:`keep`, :meth:`drop` and :meth:`fail` are the registry's, which counts the memory.
    """

    def __init__(self, stored: StoredVersion, load: "Callable[[Entry[M]], M]") -> None:
        self.stored = stored
        self.failure: str | None = None
        self.again = False
        self.used = 0
        self._load = load
        self._model: M | None = None

    @property
    def model(self) -> M:
        """The loaded model. Where it is not in memory this verifies and loads it first, and blocks meanwhile.

        Raises RefusedVersion if the version no longer verifies or does not load; it is not served from then on.
        """
        model = self.peek()
        return self._load(self) if model is None else model

    def peek(self) -> M | None:
        """The model if it is in memory, else None; never blocks."""
        self.used = time.monotonic_ns()
        return self._model

    @property
    def loaded(self) -> bool:
        return self._model is not None

    @property
    def memory_bytes(self) -> int:
        """What the model counts in memory: the size of its weights file.

        An approximation: weights in half precision double when loaded as float32, and what a model computes
        with comes on top.
        """
        return self.stored.manifest.weights.bytes

    def keep(self, model: M) -> None:
        self._model, self.used = model, time.monotonic_ns()

    def drop(self) -> None:
        """Forget the model. Whoever computes with it has a reference of its own."""
        self._model = None

    def fail(self, reason: str, *, again: bool) -> None:
        self.failure, self.again = reason, again


@dataclass(frozen=True)
class Refusal:
    """A version that is in the store and not served; ``reason`` is a sentence for a person."""

    name: str
    version: int
    reason: str


@dataclass(frozen=True)
class Found(Generic[M]):
    """What a look at one folder gave: an entry, or the reason against it.

    ``stamp`` is the fingerprint from before the files were read, and None where they have to be read again next
    time. ``tags`` are those in payloads of the version, as far as they are known.
    """

    stamp: Fingerprint | None
    verdict: Entry[M] | str
    tags: tuple[bytes, ...]

    @property
    def again(self) -> bool:
        """Whether the next look has to read the files although they have not changed."""
        return self.stamp is None or (isinstance(self.verdict, Entry) and self.verdict.again)


@dataclass(frozen=True)
class Snapshot(Generic[M]):
    """The store at one moment. ``tags`` knows refused versions too, as far as their manifests are readable."""

    entries: Mapping[Key, Entry[M]] = field(default_factory=dict)
    refused: Mapping[Key, Refusal] = field(default_factory=dict)
    tags: Mapping[bytes, Key] = field(default_factory=dict)
    default_model: str | None = None
    default_versions: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, found: Mapping[Key, Found[M]], config: StoreConfig) -> "Snapshot[M]":
        """Decide what is served, which tag is whose, and the defaults."""
        entries: dict[Key, Entry[M]] = {}
        refused: dict[Key, Refusal] = {}
        tags: dict[bytes, Key] = {}
        verified = [one.verdict for one in found.values() if isinstance(one.verdict, Entry)]
        # The oldest first: payloads of it may be about already, so it keeps a tag that two versions share.
        for entry in sorted(verified, key=lambda entry: (entry.stored.manifest.created, entry.stored.key)):
            key, tag = entry.stored.key, entry.stored.tag
            owner = tags.setdefault(tag, key)
            if owner != key:
                refused[key] = Refusal(*key, f"Its tag {tag.hex()} is that of {owner[0]}/{owner[1]}, which is older.")
            elif entry.failure is not None:
                refused[key] = Refusal(*key, entry.failure)
            else:
                entries[key] = entry
        for key, one in found.items():
            if not isinstance(one.verdict, Entry):
                refused[key] = Refusal(*key, one.verdict)
                for tag in one.tags:
                    tags.setdefault(tag, key)
        # Ascending, and those that are served last: the last of a name is its default.
        candidates = [*sorted(refused), *sorted(entries)]
        default_versions = dict(candidates) | config.default_versions
        default_model = config.default_model or min(entries or refused, default=(None,))[0]
        return cls(entries, refused, tags, default_model, default_versions)

    def outline(self) -> object:
        """Equal for two snapshots that serve and refuse the same, if not for the same reasons."""
        return self.entries, self.refused.keys(), self.default_model, self.default_versions

    def defaults(self) -> list[Entry[M]]:
        """The default versions of all models, as far as they are served."""
        return [self.entries[key] for key in self.default_versions.items() if key in self.entries]

    def names(self) -> tuple[str, ...]:
        return tuple(sorted({name for name, _ in self.entries}))

    def versions(self, name: str) -> tuple[int, ...]:
        return tuple(sorted(version for model, version in self.entries if model == name))

    def default(self, name: str) -> int:
        if name not in self.default_versions:
            known = self.names()
            there = f"; there are {', '.join(known)}" if known else ""
            raise UnknownModel(f"There is no model {name!r} in the store{there}.", name=name, known=list(known))
        return self.default_versions[name]

    def get(self, name: str | None, version: int | None) -> Entry[M]:
        if name is None:
            name = self.default_model
        if name is None:
            raise UnknownModel("The store has no model.", name=None, known=[])
        default = self.default(name)
        key = (name, default if version is None else version)
        if key in self.refused:
            raise not_served(key, self.refused[key].reason)
        if key not in self.entries:
            known = list(self.versions(name))
            raise UnknownVersion(f"There is no version {key[1]} of {name}.", name=name, version=key[1], known=known)
        return self.entries[key]

    def by_tag(self, tag: bytes) -> Entry[M]:
        if tag not in self.tags:
            raise self.unknown_tag(tag)
        return self.get(*self.tags[tag])

    def unknown_tag(self, tag: bytes) -> UnknownTag:
        known = {other.hex(): f"{name}/{version}" for other, (name, version) in sorted(self.tags.items())}
        known.pop(tag.hex(), None)  # a version that was withdrawn a moment ago
        return UnknownTag(
            f"The payload is of a model version with the tag {tag.hex()}, which is not in the store.",
            tag=tag.hex(),
            known=known,
        )


def not_served(key: Key, reason: str) -> RefusedVersion:
    name, version = key
    return RefusedVersion(
        f"Version {version} of {name} is not served: {reason}", name=name, version=version, reason=reason
    )
