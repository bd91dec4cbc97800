"""Turns that are kept for those who were told when to come back."""

import heapq

KEPT = 2.0  # seconds that a turn waits for whoever was told it


class Turns:
    """Moments at which somebody may come, in the clock of the caller.

    The service cannot tell clients apart, so a turn is for the first client that comes once it is due. A client that
    was told to wait comes just then; one that comes at a random moment rarely finds a free turn.
    """

    def __init__(self) -> None:
        self._due: list[float] = []  # a heap

    def add(self, due: float) -> None:
        heapq.heappush(self._due, due)

    def take(self, now: float) -> bool:
        """Take the first turn, if one is due."""
        if self.kept(now) and self._due[0] <= now:
            heapq.heappop(self._due)
            return True
        return False

    def kept(self, now: float) -> int:
        """How many there are, without those for which nobody came."""
        while self._due and self._due[0] + KEPT < now:
            heapq.heappop(self._due)
        return len(self._due)
