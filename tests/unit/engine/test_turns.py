"""Turns for those who come back, and the pace of workers on a machine that others have, too."""

import pytest

from app.engine.pace import LATELY, Pace
from app.engine.turns import KEPT, Turns


def test_a_turn_is_taken_once_and_not_before_it_is_due() -> None:
    turns = Turns()
    turns.add(20.0)
    turns.add(10.0)
    assert not turns.take(9.9)
    assert turns.take(10.1)
    assert not turns.take(10.1)
    assert turns.kept(10.1) == 1


def test_a_turn_for_which_nobody_comes_is_given_up() -> None:
    turns = Turns()
    turns.add(10.0)
    assert turns.kept(10.0 + KEPT) == 1
    assert turns.kept(10.1 + KEPT) == 0
    assert not turns.take(10.1 + KEPT)


def test_a_pace_is_that_of_the_last_seconds() -> None:
    pace = Pace()
    assert pace(0.0) == 1.0
    for second in range(60):
        pace.add(1.0, 0.25, float(second))
    assert pace(59.0) == pytest.approx(4.0, rel=0.2)
    for second in range(60, 120):
        pace.add(1.0, 1.0, float(second))
    assert pace(119.0) == pytest.approx(1.0, rel=0.05)


def test_a_pause_is_forgotten() -> None:
    pace = Pace()
    pace.add(3600.0, 0.1, 0.0)
    assert pace(0.0) < 25
    assert pace(5 * LATELY) == pytest.approx(1.0, rel=0.2)
