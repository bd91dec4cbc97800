"""Input and output of the load generator, see :mod:`bench.openloop`, which :func:`run_apart` starts."""

import base64
import json
import math
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

REFUSALS = (429, 503, 504)


@dataclass(frozen=True)
class Plan:
    """``requests`` are whole HTTP requests by name, of which each moment takes one at random; times in seconds."""

    port: int
    requests: dict[str, bytes]
    seconds: float
    rate: float | None = None
    """Requests per second, or None for a closed loop of ``clients``."""
    clients: int = 0
    even: bool = False
    """Planned at equal distances, not at random."""
    deadline: float = 1.0
    patience: float = 5.0
    seed: int = 0

    def moments(self) -> list[tuple[float, str]]:
        """When to send what: the same for the same plan."""
        assert self.rate is not None
        draw, names, count = random.Random(self.seed), list(self.requests), round(self.rate * self.seconds)  # noqa: S311
        # The moments of a Poisson process, given how many there are, are independent and uniform; that they are as many
        # as the rate says removes one source of chance from the figures.
        at = [(k if self.even else draw.random() * count) / self.rate for k in range(count)]
        return [(moment, draw.choice(names)) for moment in sorted(at)]

    def to_json(self) -> str:
        encoded = {name: base64.b64encode(data).decode() for name, data in self.requests.items()}
        return json.dumps(asdict(self) | {"requests": encoded})

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        raw = json.loads(text)
        requests = {name: base64.b64decode(data) for name, data in raw["requests"].items()}
        return cls(**raw | {"requests": requests})


@dataclass
class Outcome:
    """What came of a plan. Rates are per second of the plan; latencies are of accepted requests, in ms, None for none.

    ``answers`` has for each request's name the checksums (CRC-32, in hex) of its answers 200: how many, and when the
    first was seen, in seconds from the start.
    """

    began: float = 0.0
    """On the clock of :func:`time.time`."""
    sent: int = 0
    offered_rate: float = 0.0
    goodput: float = 0.0
    answered_rate: float = 0.0
    """Answers 200 at any time."""
    refused: int = 0
    errors: int = 0
    """Other statuses, broken connections and answers that are no HTTP."""
    unanswered: int = 0
    late_answers: int = 0
    """Answers 200 after the deadline."""
    statuses: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    p50_ms: float | None = None
    p99_ms: float | None = None
    mean_refusal_ms: float | None = None
    answers: dict[str, dict[str, tuple[int, float]]] = field(default_factory=dict)
    retried: int = 0
    """Requests that met a kept connection just as the server closed it, and went out again on a new one."""
    connections: int = 0
    late_sends: int = 0
    worst_late_ms: float = 0.0
    cpu_ms_per_request: float = 0.0

    @property
    def kept_to_plan(self) -> bool:
        """Whether less than one request in a hundred went out more than 5 ms late."""
        return self.late_sends <= 0.01 * max(1, self.sent)


def percentile_ms(seconds: Sequence[float], percent: float) -> float | None:
    """The least value that so many percent do not exceed."""
    ordered = sorted(seconds)
    return 1e3 * ordered[max(1, math.ceil(len(ordered) * percent / 100)) - 1] if ordered else None


def run_apart(plan: Plan) -> Outcome:
    """Carry out a plan in a process of its own; one that outlives its time by far is an error."""
    limit = plan.seconds + plan.patience + 60
    command = [sys.executable, "-m", "bench.openloop"]
    done = subprocess.run(command, input=plan.to_json(), capture_output=True, text=True, timeout=limit, check=False)
    if done.returncode:
        raise RuntimeError(f"the load generator failed: {done.stderr[-2000:]}")
    return Outcome(**json.loads(done.stdout))
