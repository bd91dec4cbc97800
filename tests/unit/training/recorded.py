"""``python -m training`` that writes down which portraits each process takes at each step: a line of JSON a part."""

import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from training.__main__ import main
from training.data.portraits import Portraits

LOG = Path(sys.argv.pop(1))
Path(os.environ["TMPDIR"], f"{os.getpid()}.pid").touch()  # torchrun's workers are in sessions of their own
batches, rows = Portraits.batches, Portraits.rows


def recorded_batches(self: Portraits, *given: Any, **named: Any) -> Iterator[Tensor]:
    rank, world = named["shard"]
    step = named["first_step"]
    lines = (LOG / f"{world}-{rank}-{step}.jsonl").open("a", buffering=1)
    taken: list[np.ndarray[Any, Any]] = []

    def recorded_rows(self: Portraits, indices: Any = slice(None)) -> Any:
        if threading.current_thread() is not threading.main_thread():  # prefetch, which alone asks for batches
            taken.append(indices)
        return rows(self, indices)

    Portraits.rows = recorded_rows  # type: ignore[method-assign]
    for batch in batches(self, *given, **named):
        lines.write(json.dumps({"step": step, "rank": rank, "world": world, "rows": taken.pop().tolist()}) + "\n")
        step += 1
        yield batch


Portraits.batches = recorded_batches  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
