"""``python -m training default``: what a store serves where a request does not say."""

import argparse

from cameo.store import set_default
from cameo.store.reader import Key, is_name, is_number


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    c = commands.add_parser(
        "default",
        help="choose the model or version that a store serves by default",
        description="Change store.json of a model store, by compare-and-swap: of several people who do so at the same "
        "time, nobody's choice is lost. Services follow within seconds.",
        epilog="Example: python -m training default vqvae-64/2 --store s3://bucket/store. And the model for requests "
        "that name none: python -m training default vqvae-64 --store s3://bucket/store",
    )
    c.add_argument("what", help="NAME/VERSION: the version of that model; NAME: the model where none is named")
    c.add_argument("--store", default="model_store", help="model store, a folder or s3://...; default: model_store")
    c.set_defaults(act=_default)


def _default(options: argparse.Namespace) -> int:
    name, version = (options.what, None) if "/" not in options.what else parse_key(options.what)
    config = set_default(options.store, name, version)
    print(config.model_dump_json(exclude_defaults=True))
    return 0


def parse_key(text: str) -> Key:
    """``NAME/VERSION``. ValueError for anything else."""
    name, _, number = text.partition("/")
    if not is_name(name) or not is_number(number):
        raise ValueError(f"{text!r} is no version: give NAME/VERSION, e.g. vqvae-64/2")
    return name, int(number)
