"""Change what a store serves by default, and take versions away. Several people may do so at the same time."""

import json
import os
from collections.abc import Callable

from cameo.errors import StoreError
from cameo.store.base import Store, open_store
from cameo.store.reader import Key
from cameo.store.snapshot import CONFIG, StoreConfig


def set_default(store: Store | str | os.PathLike[str], name: str, version: int | None = None) -> StoreConfig:
    """Serve ``version`` where a request names the model ``name`` alone; without one, serve this model where none is.

    Returns what ``store.json`` says then. It is changed by compare-and-swap and again from what is there, so that
    nobody's change is lost. StoreError if it would name what is not in the store.
    """

    def change(config: StoreConfig) -> StoreConfig:
        if version is None:
            return config.model_copy(update={"default_model": name})
        return config.model_copy(update={"default_versions": config.default_versions | {name: version}})

    return change_config(open_store(store), change)


def change_config(store: Store, change: Callable[[StoreConfig], StoreConfig]) -> StoreConfig:
    """Replace ``store.json`` by what ``change`` makes of it, as often as somebody else was faster."""
    while True:
        data, before = store.read_config()
        config = change(StoreConfig.parse(data))
        config.check(set(store.look()[0]))
        text = json.dumps(config.model_dump(exclude_defaults=True), indent=2) + "\n"
        if store.write_config(text.encode(), before):
            return config


def withdraw(store: Store | str | os.PathLike[str], key: Key) -> None:
    """Take a version out of the store; payloads of it then have an unknown tag. UnknownVersion.

    StoreError for one that ``store.json`` names, for a service would not start with what is left, and for one that is
    listed in the store's FOREVER.
    """
    store = open_store(store)
    name, version = key
    config, present = StoreConfig.parse(store.read_config()[0]), set(store.look()[0])
    left = {other for other in present if other != key}
    if key in present:
        try:
            config.check(left)
        except StoreError as error:
            raise StoreError(
                f"{name}/{version} is a default in {CONFIG}: make another one the default first.", root=str(store)
            ) from error
    store.withdraw(key)
