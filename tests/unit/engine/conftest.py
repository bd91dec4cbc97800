from collections.abc import Iterator

import pytest

from app.engine.scheduler import Scheduler
from app.observe.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def scheduler(metrics: Metrics) -> Iterator[Scheduler]:
    """One works at a time."""
    scheduler = Scheduler(1, 2.0, metrics)
    yield scheduler
    scheduler.close()
