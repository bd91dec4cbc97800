"""The versions that are served: verified, loaded, and kept as the store on disk is.

How a model is loaded is the caller's: the store knows files and digests, and no torch. How a version is found
is in :mod:`cameo.store.snapshot`.

A published version is never changed. So a folder that changes is read again, and as long as it does not hold,
byte for byte, what was served from it before, that version is refused, also where the old model is still in
memory: it would go on to make payloads that nobody could read after the next start. A folder that is copied
into the store slowly is refused until its last byte has come, and then served.
"""

import logging
import os
import threading
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from cameo.errors import RefusedVersion, StoreError, StoreUnavailable, UnknownTag, UnknownVersion
from cameo.store.base import Store, open_store
from cameo.store.manifest import TAG_BYTES
from cameo.store.reader import Fingerprint, Key, StoredVersion
from cameo.store.snapshot import CHANGED, CONFIG, Entry, Found, Refusal, Snapshot, StoreConfig, not_served

log = logging.getLogger("cameo.store")

M = TypeVar("M")


class Registry(Generic[M]):
    """All versions in ``store``, see :func:`open_store`, each loaded by ``load``. Empty until :meth:`open`.

    ``load`` proves the model, too; it may raise any exception where the version cannot be used. The models of
    default versions are always in memory. Others are as long as all together take at most ``budget_bytes``
    (None: no limit; see :attr:`Entry.memory_bytes`); beyond it the one that was asked for least recently goes, and
    comes back when it is asked for. A model that is asked for is loaded even if it alone is over the budget.
    A registry that is not ``eager`` loads each model when it is first asked for.

    ``problem`` says, in a sentence, why the store's present state could not be taken in; None if it could.

    Look-ups may run in any thread and never wait, also while :meth:`refresh` runs: they take no lock, and read the one
    snapshot, which is replaced as a whole. Only :attr:`Entry.model` may wait, for a load. The three locks are taken in
    this order: ``_refreshing``, held for a whole refresh; ``_loading``, for one load; ``_swapping``, for replacing the
    snapshot. Say that version 5 of a model appears while version 4 is served:

    1. The watch refreshes (``_refreshing``) and hashes the new files for a second. Requests for version 4 go on. A
       request for version 3, which is not in memory, takes ``_loading`` and loads it meanwhile.
    2. The refresh loads version 5 (``_loading``). A request for version 2, which is not in memory, waits until that is
       done. Requests for versions 3 and 4 go on.
    3. The refresh replaces the snapshot (``_swapping``, microseconds). From now on version 5 is the default. A request
       that took the earlier snapshot finishes with version 4.
    """

    def __init__(
        self, store: Store | str | os.PathLike[str], load: Callable[[StoredVersion], M],
        budget_bytes: int | None = None, *, eager: bool = True,
    ) -> None:  # fmt: skip
        self.problem: str | None = None
        self._store = open_store(store)
        self._load = load
        self._budget = budget_bytes
        self._eager = eager
        self._snapshot: Snapshot[M] = Snapshot()
        self._found: Mapping[Key, Found[M]] = {}
        self._config: StoreConfig | None = None
        self._digests: dict[Key, str] = {}  # of every version that was ever served
        self._seen: object = None  # the store's fingerprint when it was last taken in; None: look at all of it
        self._reported: Snapshot[M] | None = None  # as the last refresh left it
        # Three locks, always taken in this order, see the class.
        self._refreshing = threading.Lock()
        self._loading = threading.Lock()
        self._swapping = threading.Lock()

    def open(self) -> None:
        """The first :meth:`refresh`; a store without a usable version is no error here: ``entries`` is empty."""
        self.refresh()

    def refresh(self) -> bool:
        """Take in what has changed in the store, if anything has; whether something is served or refused differently.

        Where nothing has changed, no file is read. New and changed versions are verified, loaded as far as the
        memory goes, and then served all at once; what did not change keeps its model. The log names versions
        that are newly refused.

        Raises StoreError, and leaves what is served as it was, if the store does not answer, cannot be listed or has
        lost all its versions, or if ``store.json`` is broken or names what is not in the store. A changed
        ``store.json`` that chooses a refused version is not taken either, but everything else is, and ``problem``
        tells.
        """
        with self._refreshing:
            try:
                return self._refresh()
            except Exception as error:
                self.problem = error.detail if isinstance(error, StoreError) else f"{type(error).__name__}: {error}"
                self._seen = None
                raise

    @property
    def snapshot(self) -> Snapshot[M]:
        """The present state, for several look-ups that have to agree; it stays as it is when the store changes."""
        return self._snapshot

    @property
    def entries(self) -> tuple[Entry[M], ...]:
        """What is served, by name and version."""
        snapshot = self._snapshot
        return tuple(snapshot.entries[key] for key in sorted(snapshot.entries))

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """What is in the store and not served, by name and version."""
        snapshot = self._snapshot
        return tuple(snapshot.refused[key] for key in sorted(snapshot.refused))

    def names(self) -> tuple[str, ...]:
        """The models with a version that is served."""
        return self._snapshot.names()

    def get(self, name: str | None = None, version: int | None = None) -> Entry[M]:
        """A version, by default the default one. Raises UnknownModel, UnknownVersion or RefusedVersion."""
        return self._snapshot.get(name, version)

    def by_tag(self, tag: bytes) -> Entry[M]:
        """The version that a payload's tag names.

        Raises UnknownTag, or RefusedVersion if the version is in the store but not served.
        """
        return self._snapshot.by_tag(tag)

    def knows(self, tag: bytes) -> bool:
        """Whether a version with this tag is in the store, as far as it was looked at, served or not."""
        return tag in self._snapshot.tags

    def unknown_tag(self, tag: bytes) -> UnknownTag:
        """What :meth:`by_tag` raises; for where its version turns out to be withdrawn only once it is loaded."""
        return self._snapshot.unknown_tag(tag)

    def _refresh(self) -> bool:
        stamps, config_stamp = self._store.look()
        if self._seen == (stamps, config_stamp) and self._snapshot is self._reported:
            return False
        config = StoreConfig.parse(self._store.read_config()[0])
        config.check(set(stamps))
        if not stamps and self._snapshot.entries:  # probably a disk that is not mounted
            raise StoreError("The model store has lost all its versions.", root=str(self._store))

        found = {key: self._verify(key, stamp) for key, stamp in stamps.items()}
        snapshot = self._load_defaults(found, config)
        problem = None
        if self._config is not None and (chosen := _refused_choice(snapshot, config, self._config)):
            name, version = chosen
            problem = f"{CONFIG} chooses version {version} of {name}, which is refused; the defaults stay as they were."
            config = self._config
            config.check(set(stamps))
            snapshot = self._load_defaults(found, config)
        if self._eager:
            self._load_others(snapshot, found)

        before = self._reported
        self._reported = snapshot = self._swap(found, config)
        self._digests |= {key: entry.stored.digest for key, entry in snapshot.entries.items()}
        with self._loading:
            self._make_room()
        again = any(one.again for one in found.values()) or not self._store.settled(config_stamp)
        self._seen = None if again else (stamps, config_stamp)
        if problem not in (None, self.problem):
            log.error(problem)
        self.problem = problem
        return before is None or snapshot.outline() != before.outline()

    def _verify(self, key: Key, stamp: Fingerprint) -> Found[M]:
        """Verify a version, unless it has not changed since the last time."""
        before = self._found.get(key)
        if before is not None and before.stamp == stamp and not before.again:
            return before
        served = self._digests.get(key)
        try:
            stored = self._store.read(key, stamp)
            if served not in (None, stored.digest):
                raise not_served(key, CHANGED)
        except RefusedVersion as error:
            # The disk may recover without a trace, and a file that is being written may grow within one tick.
            again = isinstance(error.__cause__, OSError) or not self._store.settled(stamp)
            tags = [self._store.stored_tag(key), served and bytes.fromhex(served)[:TAG_BYTES]]
            return Found(None if again else stamp, error.facts["reason"], tuple(tag for tag in tags if tag))
        if before is not None and isinstance(before.verdict, Entry):
            entry = before.verdict
            if entry.failure is None and entry.stored == stored:
                return Found(stamp, entry, (stored.tag,))
        return Found(stamp, Entry(stored, self._load_on_demand), (stored.tag,))

    def _load_defaults(self, found: dict[Key, Found[M]], config: StoreConfig) -> Snapshot[M]:
        """Load until every default is in memory; where one fails, another version may become its model's default.

        One that is withdrawn meanwhile is taken out of ``found``.
        """
        while True:
            snapshot = Snapshot.of(found, config)
            missing = [entry for entry in snapshot.defaults() if not entry.loaded]
            if not missing or not self._eager:
                return snapshot
            for entry in missing:
                with self._loading:
                    model = self._load_verified(entry, found[entry.stored.key].stamp)
                if model is None and entry.failure is None:
                    del found[entry.stored.key]

    def _load_others(self, snapshot: Snapshot[M], found: Mapping[Key, Found[M]]) -> None:
        """Load what is new, the latest first, as long as there is room."""
        old = {one.verdict for one in self._found.values()}
        new = [entry for entry in snapshot.entries.values() if entry not in old and not entry.loaded]
        for entry in sorted(new, key=lambda entry: entry.stored.manifest.created, reverse=True):
            used = sum(other.memory_bytes for other in snapshot.entries.values() if other.loaded)
            if self._budget is None or used + entry.memory_bytes <= self._budget:
                with self._loading:
                    self._load_verified(entry, found[entry.stored.key].stamp)

    def _load_on_demand(self, entry: Entry[M]) -> M:
        """Verify and load a model that is not in memory; one at a time, and nothing twice.

        Raises RefusedVersion, UnknownVersion where it was withdrawn since the last look at the store, or
        StoreUnavailable.
        """
        key = name, version = entry.stored.key
        with self._loading:
            model = entry.peek()  # another thread may have been faster
            if model is None and entry.failure is None:
                model = self._load_verified(entry, None)
                if model is None and self._store.holds(key):
                    self._swap()
        if model is not None:
            return model
        if self._store.holds(key):
            raise not_served(entry.stored.key, entry.failure or "It was refused.")
        known = [other for other in self._snapshot.versions(name) if other != version]
        raise UnknownVersion(
            f"There is no version {version} of {name} any more.", name=name, version=version, known=known
        )

    def _load_verified(self, entry: Entry[M], stamp: Fingerprint | None) -> M | None:
        """Load a model and keep it; None where that fails, and ``entry.failure`` says why.

        It says nothing of a version that was withdrawn meanwhile: that is unknown from then on, not refused.
        ``stamp`` is the fingerprint from before the files were verified; None: verify them again.
        """
        if entry.loaded:
            return entry.peek()
        self._make_room(entry.memory_bytes)
        try:
            with self._store.local(entry.stored, stamp) as stored:
                model = self._load(stored)
        except StoreUnavailable:  # says nothing of the version, and may be over soon
            raise
        except Exception as error:
            if not self._store.holds(entry.stored.key):
                return None
            if isinstance(error, RefusedVersion):
                reason, cause = error.facts["reason"], error.__cause__
            else:
                log.exception("%s version %d does not load", *entry.stored.key)
                reason, cause = f"It does not load: {type(error).__name__}: {error}", error
            entry.fail(reason, again=isinstance(cause, OSError))
            return None
        entry.keep(model)
        return model

    def _make_room(self, wanted: int = 0) -> None:
        """Drop models until there is room for ``wanted`` bytes, the least recently used first, and no default."""
        if self._budget is None:
            return
        snapshot = self._snapshot
        loaded = {entry for entry in snapshot.entries.values() if entry.loaded}
        over = sum(entry.memory_bytes for entry in loaded) + wanted - self._budget
        for entry in sorted(loaded - set(snapshot.defaults()), key=lambda entry: entry.used):
            if over <= 0:
                break
            entry.drop()
            over -= entry.memory_bytes

    def _swap(self, found: Mapping[Key, Found[M]] | None = None, config: StoreConfig | None = None) -> Snapshot[M]:
        """Serve another state of the store; by default the one that is served, less what has failed since."""
        with self._swapping:
            self._found = self._found if found is None else found
            self._config = config or self._config or StoreConfig()
            before, snapshot = self._snapshot, Snapshot.of(self._found, self._config)
            self._snapshot = snapshot
        for key in sorted(snapshot.refused.keys() - before.refused.keys()):
            log.error("refused %s version %d: %s", *key, snapshot.refused[key].reason)
        return snapshot


def _refused_choice(snapshot: Snapshot[M], config: StoreConfig, before: StoreConfig) -> Key | None:
    """A refused version that ``config`` makes a default, and ``before`` did not."""
    chosen = dict(config.default_versions.items() - before.default_versions.items())
    if config.default_model not in (None, before.default_model):
        chosen.setdefault(config.default_model, snapshot.default_versions[config.default_model])
    return next((key for key in sorted(chosen.items()) if key in snapshot.refused), None)
