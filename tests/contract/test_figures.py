"""What README and the pictures show is what was measured, on the version that serves by default.

Nothing is measured here: ``python -m docs.figures --measure ...`` does that, and ``python -m docs.figures`` draws.
"""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from docs import figures

STALE = "run: python -m docs.figures"


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(figures.FIGURES.read_text(encoding="utf-8"))
    return found


def test_the_default_version_is_the_one_that_was_measured(stored: dict[str, Any]) -> None:
    assert (stored["version"], stored["manifest"]) == figures.default_version(), "run docs.figures with --measure"
    models = [row for row in stored["recognition"]["rows"] if row["kind"] == "model"]
    assert models
    assert {row["sha256"] for row in models} == {stored["manifest"]}


@pytest.mark.parametrize(("page", "make"), [(page, make) for page in figures.TABLES for make in figures.TABLES[page]])
def test_a_table_is_what_was_measured(stored: dict[str, Any], page: str, make: Callable[[dict[str, Any]], str]) -> None:
    made = make(stored)
    assert figures.place(made).findall((figures.ROOT / page).read_text(encoding="utf-8")) == [made], STALE


@pytest.mark.parametrize("name", ["docs/cameo.png", "docs/rates.png"])
def test_a_picture_is_the_one_that_was_drawn(stored: dict[str, Any], name: str) -> None:
    assert hashlib.sha256((figures.ROOT / name).read_bytes()).hexdigest() == stored["drawn"][name], STALE


def test_an_interval_is_around_its_figure(stored: dict[str, Any]) -> None:
    for row in stored["recognition"]["rows"]:
        for found in row["recognisers"].values():
            for figure in found.values():
                assert figure["low"] <= figure["mean"] <= figure["high"]
