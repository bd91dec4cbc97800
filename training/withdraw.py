"""``python -m training withdraw``: take a version out of a store."""

import argparse

from cameo.store import withdraw
from training.default import parse_key


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    c = commands.add_parser(
        "withdraw",
        help="take a version out of a store, for ever",
        description="Delete a version, its manifest first, so that no reader sees half of it. Payloads that were made "
        "with it can be read no more: do this only where none is left.",
        epilog="Example: python -m training withdraw vqvae-64/2 --store s3://bucket/store",
    )
    c.add_argument("version", help="NAME/VERSION")
    c.add_argument("--store", default="model_store", help="model store, a folder or s3://...; default: model_store")
    c.set_defaults(act=_withdraw)


def _withdraw(options: argparse.Namespace) -> int:
    withdraw(options.store, parse_key(options.version))
    print(f"{options.version} is gone from {options.store}")
    return 0
