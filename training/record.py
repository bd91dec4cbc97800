"""What a run leaves for people to look at: two CSV files, curves, a sheet of samples, and events for TensorBoard."""

import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import Tensor
from torch.utils.tensorboard.summary import image, scalar

from cameo.pictures.encode import encode
from training.files import replace, writing
from training.plots import curves, png, read_table

FACES = 10  # pairs on the sheet of samples


class Record(AbstractContextManager["Record"]):
    """The files of a run folder, from the ``step`` on that it was resumed at: whatever is later is cut off.

    ======================  ===========================================================================
    ``log.csv``             the means of what :meth:`add` was given, a row after every EVERY steps
    ``validation.csv``      the figures that :meth:`validate` was given
    ``curves.png``          both, drawn
    ``sample.png``          validation portraits over their reconstructions
    ``tensorboard/``        all of it: ``tensorboard --logdir runs``
    ======================  ===========================================================================

    ``partial`` holds the sums since the last row and belongs into the checkpoint. With ``writes=False`` nothing is
    recorded: in a run of several processes one writes. OSError, when a file cannot be written, says which and why.
    """

    EVERY = 20

    def __init__(self, run: Path, step: int, partial: dict[str, float], writes: bool = True) -> None:
        self._run, self._partial, self._writes = run, partial, writes
        if writes:
            self._log = _Rows(run / "log.csv", step)
            self._validation = _Rows(run / "validation.csv", step)
            self._events = _Events(run / "tensorboard", step)

    def add(self, step: int, values: dict[str, float]) -> dict[str, float] | None:
        """Take note of the step with this index, counted from 0. The means, whenever they make a row."""
        if not self._writes:
            return None
        for name, value in values.items():
            self._partial[name] = self._partial.get(name, 0.0) + value
        if (step + 1) % self.EVERY:
            return None
        means = {name: total / self.EVERY for name, total in self._partial.items()}
        self._log.append(step + 1, means)
        self._events.scalars(step + 1, "training", means)
        self._partial.clear()
        return means

    def validate(self, step: int, figures: dict[str, float], original_BCHW: Tensor, out_BCHW: Tensor) -> None:
        """Take note of figures after ``step`` steps, and show the first pictures, uint8, over what became of them.

        Call it before the checkpoint of that step is saved: then no kill in between leaves a gap in the files.
        """
        if not self._writes:
            return
        self._validation.cut(step - 1)  # where a run was killed after this row and before its checkpoint
        self._validation.append(step, figures)
        sheet = sample_sheet(original_BCHW, out_BCHW)
        replace(self._run / "sample.png", encode(sheet, "image/png"))
        self._events.scalars(step, "validation", figures)
        self._events.picture(step, "validation", sheet)
        log, validation = read_table(self._run / "log.csv"), read_table(self._run / "validation.csv")
        replace(self._run / "curves.png", png(curves(log, validation)))

    def __exit__(self, *_: object) -> None:
        if self._writes:
            self._events.close()


def sample_sheet(original_BCHW: Tensor, out_BCHW: Tensor) -> NDArray[np.uint8]:
    """Originals in the upper row, reconstructions in the lower one: pixels of shape (2 H, columns W, 3)."""
    rows_RBCHW = torch.stack([original_BCHW[:FACES].cpu(), out_BCHW[:FACES].cpu()])
    size = original_BCHW.shape[-1]
    return np.asarray(rows_RBCHW.permute(0, 3, 1, 4, 2).reshape(2 * size, -1, 3))


class _Rows:
    """A CSV file whose first column is the step. The first row decides on the others; every row has them all."""

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        self.cut(step)

    def cut(self, step: int) -> None:
        """Keep the rows up to ``step``. A line that a kill or a full disk has cut short goes, too.

        Rows ascend, so that the file is only shortened: that takes no room, and there is no half of it.
        """
        self._columns: list[str] = []
        if not self._path.exists():
            return
        with writing(self._path), self._path.open("rb+") as file:
            header = file.readline()
            end = len(header)
            for line in file:
                if not line.endswith(b"\n") or int(line.partition(b",")[0]) > step:
                    break
                end += len(line)
            if end == len(header):
                end = 0
            else:
                self._columns = header.decode().rstrip().split(",")[1:]
            file.truncate(end)

    def append(self, step: int, values: dict[str, float]) -> None:
        """Raises ValueError for other columns than the file has."""
        lines = [] if self._columns else [",".join(["step", *values])]
        self._columns = self._columns or list(values)
        if set(values) != set(self._columns):
            raise ValueError(f"{self._path} has the columns {', '.join(self._columns)}, not {', '.join(values)}")
        lines.append(",".join([str(step), *(f"{values[name]:.6g}" for name in self._columns)]))
        with writing(self._path), self._path.open("a") as file:
            file.write("\n".join(lines) + "\n")


class _Events:
    """A file of TensorBoard's events, written at once: its own writer leaves that to a thread, whose errors come late.

    The first events tell TensorBoard to forget what earlier files have of steps after the one resumed at.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / f"events.out.tfevents.{time.time_ns()}"
        with writing(self._path):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("xb")
            self._records = RecordWriter(self._file)
            self._write(Event(file_version="brain.Event:2"))
            self._write(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def scalars(self, step: int, group: str, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._write(Event(step=step, summary=scalar(f"{group}/{name}", value)))

    def picture(self, step: int, name: str, pixels_HWC: NDArray[np.uint8]) -> None:
        self._write(Event(step=step, summary=image(name, pixels_HWC, dataformats="HWC")))

    def close(self) -> None:
        with suppress(OSError):  # everything was flushed, and what could not be was reported then
            self._file.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        with writing(self._path):
            self._records.write(event.SerializeToString())
            self._file.flush()
