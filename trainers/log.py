"""What a run tells while it trains: metrics.csv, TensorBoard events, and progress on stderr."""

import csv
import io
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from tensorflow.core.framework.summary_pb2 import DATA_CLASS_SCALAR, SummaryMetadata

from trainers.run import EVENTS, LOG
from yt8m_data.errors import DataError
from yt8m_data.shards import atomic_write

COLUMNS = ("step", "split", "loss", "gap", "map", "map_starter", "perr", "hit_at_1")
_PLAIN_SECONDS = 10.0  # between lines where stderr is no terminal


class Log:
    """A context manager around the steps of a run.

    Args:
      folder: of the run.
      first_step: steps done before, in a run that is taken up again; the rows that it will write again are dropped.
      total_steps: of the whole run.
      batch_size: examples of a step.
      columns: of metrics.csv: step, split, loss, and the metrics that are logged, first that by which evaluations are ranked.

    Attributes:
      rank_by: the metric by which evaluations are ranked.
    """

    def __init__(self, folder: Path, first_step: int, total_steps: int, batch_size: int, columns: Sequence[str] = COLUMNS) -> None:
        self._columns, self.rank_by = tuple(columns), columns[3]
        self._path, self._step, self._total, self._batch_size = folder / LOG, first_step, total_steps, batch_size
        self._keep_rows(first_step)
        self._events = tf.summary.create_file_writer(str(folder / EVENTS))
        self._console = Console(stderr=True)
        self._last = time.monotonic()
        self._printed = 0.0

    def __enter__(self) -> "Log":
        columns = (TextColumn("step {task.completed}/{task.total}"), BarColumn(), TextColumn("{task.fields[told]}"), TimeRemainingColumn())
        self._progress = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task = self._progress.add_task("fit", total=self._total, completed=self._step, told="")
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()
        self._events.close()

    def train(self, step: int, loss: float) -> None:
        """Log the mean loss of the steps since the last call."""
        now = time.monotonic()
        rate = (step - self._step) * self._batch_size / max(now - self._last, 1e-9)
        self._step, self._last = step, now
        self._write(step, "train", {"loss": loss})
        told = f"loss {loss:.3f}, {rate:,.0f} examples/s"
        self._progress.update(self._task, completed=step, told=told)
        if not self._console.is_terminal and (now - self._printed >= _PLAIN_SECONDS or step == self._total):
            left = (self._total - step) * self._batch_size / rate
            print(f"step {step}/{self._total}: {told}, {left:.0f} s left", file=sys.stderr, flush=True)
            self._printed = now

    def evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of the evaluation set."""
        values = {key: metrics[key] for key in self._columns if key in metrics}
        self._write(step, "eval", values)
        figures = ", ".join(f"{key} {value:.4f}" for key, value in values.items())
        self.tell(f"step {step}: {figures}")
        self._last = time.monotonic()

    def ranks(self) -> dict[int, float]:
        """The metric `rank_by` of each evaluation so far, by its step."""
        return {int(row["step"]): float(row[self.rank_by]) for row in self._rows() if row["split"] == "eval"}

    def tell(self, sentence: str) -> None:
        """Print a sentence on stderr."""
        self._console.print(sentence, highlight=False, soft_wrap=True)

    def _write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        with self._path.open("a", newline="") as stream:
            csv.DictWriter(stream, self._columns).writerow({"step": step, "split": split, **values})
        # tf.summary.scalar would need the TensorBoard package; this is the record that it writes.
        metadata = SummaryMetadata(plugin_data={"plugin_name": "scalars"}, data_class=DATA_CLASS_SCALAR)
        with self._events.as_default():
            for key, value in values.items():
                tf.summary.write(f"{split}/{key}", tf.constant(value, tf.float32), step, metadata)

    def _rows(self) -> list[dict[str, str]]:
        try:
            with self._path.open(newline="") as stream:
                rows = list(csv.DictReader(stream))
            known = all(row["step"].isdecimal() and row["split"] for row in rows)
        except (UnicodeDecodeError, csv.Error, KeyError, AttributeError):
            known = False
        if not known:
            raise DataError(f"{self._path} is no table of a run's steps: put back the one that was there, or remove it to lose those rows")
        return rows

    def _keep_rows(self, last_step: int) -> None:
        rows = self._rows() if self._path.is_file() else []
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns)
        writer.writeheader()
        # In the order of a run: a step's training row, its checkpoint, its evaluation.
        writer.writerows(row for row in rows if int(row["step"]) < last_step + (row["split"] == "train"))
        with atomic_write(self._path) as stream:
            stream.write(text.getvalue().encode())
