"""The model store: files on disk, verified. No torch; nothing here knows HTTP."""

from app.store.manifest import DataSet, Draft, Manifest, Tokens, Training, Weights
from app.store.publish import next_version, publish
from app.store.reader import StoredVersion, read_version, scan
from app.store.registry import Registry
from app.store.snapshot import Entry, Refusal, Snapshot

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
