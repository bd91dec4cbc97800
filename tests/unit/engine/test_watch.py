import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.engine.watch import Watch
from cameo.errors import StoreError
from cameo.store import Registry
from tests.tiny import publish_tiny


class Script(Registry[str]):
    """A registry whose refreshes do what they are told, one after the other, and then nothing."""

    def __init__(self, *steps: bool | Exception) -> None:
        super().__init__(Path("nowhere"), lambda stored: "model")
        self.steps = list(steps)
        self.done = threading.Event()

    def refresh(self) -> bool:
        if not self.steps:
            self.done.set()
            return False
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            self.problem = str(step)
            raise step
        self.problem = None
        return step


@contextmanager
def watching(registry: Registry[str], seconds: float, told: list[str | None]) -> Iterator[Watch]:
    watch = Watch(registry, seconds, lambda: told.append(registry.problem))
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()


def test_changes_and_problems_are_told_once_and_nothing_ends_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    full, bug = StoreError("It is full."), ValueError("a bug")
    script = Script(True, False, full, full, bug, full, False, full, True)
    told: list[str | None] = []
    with watching(script, 0.001, told):
        assert script.done.wait(30)
    assert told == [None, "It is full.", "a bug", "It is full.", None, "It is full.", None]
    assert [record.getMessage() for record in caplog.records] == [
        "the model store was not taken in: It is full.",
        "the model store was not taken in: ValueError: a bug",
        "the model store was not taken in: It is full.",
    ]
    assert [bool(record.exc_info) for record in caplog.records] == [False, True, False]


def test_a_listener_that_fails_does_not_end_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    script = Script(True, True)
    watch = Watch(script, 0.001, [].pop)
    with caplog.at_level(logging.CRITICAL):
        watch.start()
        assert script.done.wait(30)
        watch.stop()


def test_without_an_interval_it_looks_once(tmp_path: Path) -> None:
    told = threading.Event()
    publish_tiny(tmp_path, "tiny-vae")
    registry = Registry(tmp_path, lambda stored: "model")
    watch = Watch(registry, 0, told.set)
    watch.start()
    assert told.wait(30)
    watch.stop()
    assert [entry.stored.key for entry in registry.entries] == [("tiny-vae", 1)]
    for thread in threading.enumerate():
        if thread.name == "cameo-watch":
            thread.join(30)
            assert not thread.is_alive()


def test_a_round_out_of_turn_takes_in_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_tiny(tmp_path, "tiny-vae")
    registry = Registry(tmp_path, lambda stored: "model")
    with watching(registry, 3600, []) as watch:
        assert watch.looked.wait(30)
        tag = publish_tiny(tmp_path, "tiny-vae").tag
        assert not registry.knows(tag)
        monkeypatch.setattr("app.engine.watch.LEAST_SECONDS", 3600)
        watch.look_again()
        assert not registry.knows(tag), "there was a round just now"
        monkeypatch.setattr("app.engine.watch.LEAST_SECONDS", 0)
        watch.look_again()
        assert registry.knows(tag)


def test_after_stop_nobody_is_told() -> None:
    told: list[str | None] = []
    script = Script(True)
    watch = Watch(script, 0.001, lambda: told.append(script.problem))
    watch.stop()
    watch.poll()
    assert told == []
