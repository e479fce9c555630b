"""The log of a training run: JSON lines in its folder, the same for TensorBoard, and a word on how long it takes."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dpm_lib.core.files import load_lines, write_atomically

WARM, TIMED = 3, 10  # steps


class Course:
    """metrics.jsonl in ``folder``, or nowhere; with ``tensorboard``, also the files that TensorBoard reads.

    Lines after ``step``, which a resumed run will write again, are dropped.
    """

    def __init__(self, folder: Path | None, step: int = 0, tensorboard: bool = False) -> None:
        self.path = folder / "metrics.jsonl" if folder is not None else None
        self.board: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(folder), purge_step=step + 1)
        if self.path is not None:
            kept = [record for record in load_lines(self.path) if record["step"] <= step]
            write_atomically(self.path, "".join(json.dumps(record) + "\n" for record in kept).encode())

    def add(self, step: int, **record: float) -> None:
        """Write one line; OSError, naming the file, where there is no room for it."""
        if self.path is not None:
            try:
                with open(self.path, "a", encoding="utf-8") as file:
                    file.write(json.dumps({"step": step, **record}) + "\n")
            except OSError as error:
                raise OSError(error.errno, f"{self.path}: cannot be written: {error.strerror}") from None
        if self.board is not None:
            for name, value in record.items():
                self.board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush what TensorBoard has not written yet."""
        if self.board is not None:
            self.board.close()


def check_tensorboard(folder: Path | None) -> None:
    """ValueError where TensorBoard's package is missing, or there is no folder for its files."""
    if folder is None:
        raise ValueError("tensorboard: needs a folder for the run")
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        raise ValueError("tensorboard: the package is not installed; try: pip install tensorboard") from None


class Estimate:
    """How long is left of ``steps``: known after a few steps to warm up (and compile) and a few that count.

    ``wait`` returns when the device has done all that it was given.
    """

    def __init__(self, first: int, steps: int, wait: Callable[[], None]) -> None:
        self.first, self.steps, self.wait = first, steps, wait
        self.start = 0.0

    def words(self, step: int) -> str:
        """The estimate, once, when WARM + TIMED steps are done; nothing after any other."""
        done = step - self.first
        if done not in (WARM, WARM + TIMED):
            return ""
        self.wait()
        if done == WARM:
            self.start = time.perf_counter()
            return ""
        each, left = (time.perf_counter() - self.start) / TIMED, self.steps - step
        return f"{1000 * each:.3g} ms a step; the {left} steps that are left take about {clock(each * left)}"


def clock(seconds: float) -> str:
    """A time in words: "8 s", "2 min 30 s", "1 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
