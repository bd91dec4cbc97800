"""The page about scale has the tables that its figures give."""

import json
from pathlib import Path

import pytest

from bench import scale, scale_report

ROOT = Path(__file__).parents[3]


def test_the_tables_of_the_page_are_those_of_the_figures() -> None:
    costs, found = (json.loads((ROOT / scale.FOLDER / name).read_bytes()) for name in ("costs.json", "fleet.json"))
    page = (ROOT / scale.PAGE).read_text(encoding="utf-8")
    made = scale_report.tables(costs, found)
    assert all(f"<!-- bench.scale: {name} -->" in page for name in made)
    assert scale_report.fill(page, made) == page, "python -m bench.scale --redraw"


def test_a_day_of_the_profile_has_its_faces() -> None:
    assert sum(scale.profile(second) for second in range(0, 86400, 10)) * 10 == pytest.approx(scale.FACES_A_DAY)
    assert max(map(scale.profile, range(0, 86400, 600))) == scale.profile(10 * 3600)
