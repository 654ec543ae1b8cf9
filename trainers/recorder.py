"""What one process of a run does beside training: log, checkpoints, evaluations, and when to stop."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainers.checkpoints import Checkpoints
from trainers.log import COLUMNS, Log
from trainers.recipe import Training


class Recorder:
    """A context manager around the steps of a run.

    Args:
      folder: of the run.
      training: settings.
      first_step: steps done before, in a run that is taken up again.
      total_steps: of the whole run, where it does not stop early.
      checkpoints: of all that training changes.
      evaluate: gives the metrics of the evaluation set.
      keep: called with the metrics of each model that is the best so far.
      deadline: `time.monotonic()` after which to stop, or None.
      columns: of metrics.csv; see `Log`.

    Attributes:
      metrics: of the last evaluation.
      unfinished: the run has stopped for lack of time.
    """

    def __init__(
        self,
        folder: Path,
        training: Training,
        first_step: int,
        total_steps: int,
        checkpoints: Checkpoints,
        evaluate: Callable[[], dict[str, Any]],
        keep: Callable[[dict[str, Any]], None],
        deadline: float | None = None,
        columns: Sequence[str] = COLUMNS,
    ) -> None:
        self._training, self._first_step, self._total_steps, self._deadline = training, first_step, total_steps, deadline
        self._checkpoints, self._evaluate, self._keep = checkpoints, evaluate, keep
        self.log = Log(folder, first_step, total_steps, training.batch_size, columns)
        self.metrics: dict[str, Any] = {}
        self.unfinished = False

    def __enter__(self) -> "Recorder":
        self.log.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self.log.__exit__(*raised)

    def begin(self) -> bool:
        """Whether the run had stopped before; evaluates where it was killed between a checkpoint and the evaluation."""
        return self._due(self._first_step) and self._evaluated(self._first_step)

    def after(self, step: int, loss: float) -> bool:
        """Record a step, with the mean loss since the last one recorded; whether to stop."""
        self.log.train(step, loss)
        saved = step % self._training.checkpoint_every == 0 or step == self._total_steps
        if saved:
            self._checkpoints.save(step)
        stop = self._due(step) and self._evaluated(step)
        self.unfinished = not stop and step < self._total_steps and self._deadline is not None and time.monotonic() >= self._deadline
        if (stop or self.unfinished) and not saved:
            self._checkpoints.save(step)
        return stop or self.unfinished

    def _due(self, step: int) -> bool:
        every = self._training.eval_every
        return step == self._total_steps or (every is not None and step > 0 and step % every == 0)

    def _evaluated(self, step: int) -> bool:
        """Evaluate; whether the best evaluation was `patience` ago."""
        self.metrics = self._evaluate()
        ranks = {**self.log.ranks(), step: self.metrics[self.log.rank_by]}
        best = best_step(ranks)
        if best == step:
            self._keep(self.metrics)  # before the row, without which it would not be known
        self.log.evaluation(step, self.metrics)
        stop = self._training.patience is not None and sum(other > best for other in ranks) >= self._training.patience
        if stop or (step == self._total_steps and len(ranks) > 1):
            kept = best if self._training.keep == "best" else step
            self.log.tell(
                f"the best of {len(ranks)} evaluations is that of step {best}, {self.log.rank_by} {ranks[best]:.4f}; kept is step {kept}"
            )
        return stop


def best_step(ranks: Mapping[int, float]) -> int:
    """The step of the best evaluation, the first where there are several."""
    return max(ranks, key=lambda step: (ranks[step], -step))
