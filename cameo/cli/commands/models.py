"""``cameo models``."""

from typing import Any

import click

from cameo.cli import show
from cameo.cli.options import as_json, open_source, source_options


@click.command(
    epilog="""\b
Examples:
  cameo models
  cameo models --url http://127.0.0.1:8000 --json
"""
)
@as_json
@source_options
def command(as_json: bool, **source: Any) -> None:
    """List the models that can be used, with their rates in bytes."""
    with open_source(**source) as c:
        models = c.models
    if as_json:
        show.emit([show.model_facts(model) for model in models])
        return
    lines = [
        [
            f"{model.name}/{model.version}" + (" *" if model.default else ""),
            f"{model.portrait} px",
            " ".join(map(str, model.rates)),
            str(model.default_rate or model.rates[0]),
        ]
        for model in models
    ]
    show.table(["model (* default version)", "portrait", "rates", "default"], lines)
