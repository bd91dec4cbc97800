"""How much longer work takes than its CPU time, because other processes use the machine, too."""

import math

LATELY = 10.0  # seconds after which a measurement has a third of its weight
QUIET = 0.5  # seconds of undisturbed work, added to the measurements


class Pace:
    """Seconds that a worker needs for one second of CPU time: 1 on a quiet machine, and again soon after the last news.

    ``now`` is of one clock, in seconds. One thread at a time adds; any may ask.
    """

    def __init__(self) -> None:
        self._news = 0.0, 0.0, 0.0  # seconds passed, of CPU time, and the moment at which they counted fully

    def add(self, passed: float, cpu: float, now: float) -> None:
        """A piece of work took a worker so many seconds; a long pause of the whole process counts as a short one."""
        before, spent = self._faded(now)
        self._news = before + min(passed, LATELY), spent + min(passed, cpu, LATELY), now

    def __call__(self, now: float) -> float:
        passed, cpu = self._faded(now)
        return (passed + QUIET) / (cpu + QUIET)

    def _faded(self, now: float) -> tuple[float, float]:
        passed, cpu, at = self._news
        weight = math.exp((at - now) / LATELY)
        return weight * passed, weight * cpu
