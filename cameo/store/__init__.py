"""The model store: files on disk, verified. No torch; nothing here knows HTTP."""

from cameo.store.manifest import DataSet, Draft, Manifest, Tokens, Training, Weights
from cameo.store.publish import next_version, publish
from cameo.store.reader import StoredVersion, read_version, scan
from cameo.store.registry import Registry
from cameo.store.snapshot import Entry, Refusal, Snapshot

__all__ = [
    "DataSet",
    "Draft",
    "Entry",
    "Manifest",
    "Refusal",
    "Registry",
    "Snapshot",
    "StoredVersion",
    "Tokens",
    "Training",
    "Weights",
    "next_version",
    "publish",
    "read_version",
    "scan",
]
