"""The model store, in a folder or an object store: verified files. No torch; nothing here knows HTTP."""

from cameo.store.base import Store, open_store
from cameo.store.cache import Cache
from cameo.store.defaults import set_default, withdraw
from cameo.store.manifest import DataSet, Draft, Manifest, Tokens, Training, Weights
from cameo.store.publish import next_version, publish
from cameo.store.reader import StoredVersion, read_version, scan
from cameo.store.registry import Registry
from cameo.store.snapshot import Entry, Refusal, Snapshot

__all__ = [
    "Cache",
    "DataSet",
    "Draft",
    "Entry",
    "Manifest",
    "Refusal",
    "Registry",
    "Snapshot",
    "Store",
    "StoredVersion",
    "Tokens",
    "Training",
    "Weights",
    "next_version",
    "open_store",
    "publish",
    "read_version",
    "scan",
    "set_default",
    "withdraw",
]
