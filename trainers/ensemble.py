"""Several runs, or files of their predictions, as one model: a weighted sum of their scores.

A weight is that of a model, or of a model and a class. `ensemble` writes a folder with ensemble.json; `load` gives that folder, or one of a
single run, as an Ensemble, which `evaluate`, `predict` and `export` take. There is no bias and no bound, as published: learned weights may
add up to a little more than 1, and may be negative.
"""

import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainers.batch import Batch
from trainers.frames import ALL
from trainers.inputs import EVALUATION_BATCH, evaluation_batches, layout, layout_for, unlabelled
from trainers.prediction_file import Classes, Predictions, is_predictions
from trainers.recipe import DataSchema, Frames
from trainers.run import Run, load_run, scorer
from trainers.votes import has_votes
from trainers.weights import Moments, learn
from yt8m_data.errors import DataError
from yt8m_data.shards import expand, read_json, write_json

FILE = "ensemble.json"
WEIGHTS = ("equal", "model", "class")
_SMALLEST_BATCH = 8

Scored = tuple[list[bytes], np.ndarray, np.ndarray]  # ids; scores, [M, B, C] of the members or [B, C] of all; labels [B, L] padded with -1


class Draw(NamedTuple):
    """Which frames of a video are taken, and how often anew."""

    frames: Frames
    seed: int
    repeat: int


class Ensemble(NamedTuple):
    """Members and their weights.

    Attributes:
      names: paths of the members.
      members: a run for each folder, predictions to look up for each file.
      weights: [M] or [M, C] float32.
      classes: of all members.
    """

    names: list[str]
    members: list[Run | Predictions]
    weights: np.ndarray
    classes: Classes

    @property
    def runs(self) -> list[Run]:
        """The members that are runs."""
        return [member for member in self.members if isinstance(member, Run)]

    @property
    def label_counts(self) -> np.ndarray | None:
        """Training videos of each class, [C], of the first run; None without a run."""
        return np.array(self.runs[0].train_set.label_counts) if self.runs else None

    def layout_for(self, files: Sequence[str]) -> DataSchema:
        """The layout of shards that are to be scored.

        Raises:
          DataError: the records are not as those that the runs were trained on.
        """
        if self.runs:
            return layout_for(self.runs[0].recipe.data, files)
        listed, width = self.classes.listed, self.classes.num_classes
        return layout(files, None if listed else width).model_copy(update={"num_classes": width, "classes": listed})

    def scores(self, files: Sequence[str], repeat: int = 1, keep_all: bool = False) -> Iterator[Scored]:
        """Ids, scores [B, C] float32 and labels of each batch of videos; see `member_scores`."""
        for ids, members, labels in self.member_scores(files, repeat, keep_all):
            yield ids, combine(members, self.weights), labels

    def member_scores(self, files: Sequence[str], repeat: int = 1, keep_all: bool = False) -> Iterator[Scored]:
        """Ids, the scores of every member [M, B, C] float32, and labels of each batch of videos, in the order of the files.

        Args:
          files: shards.
          repeat: how often a run that draws frames scores a video, each time of other frames; its score is the mean.
          keep_all: also videos of none of the listed classes, where there is a list.

        Raises:
          DataError: a file of predictions lacks a video, or a record cannot be read.
        """
        self._tell_of_voters(files)
        data = self.layout_for(files)
        draws = [_draw(member, data, repeat) for member in self.members]
        distinct = list(dict.fromkeys(draws))
        size = max(_SMALLEST_BATCH, EVALUATION_BATCH[data.kind] // len(distinct))  # as much in memory as for one stream
        streams = [_grouped(evaluation_batches(files, data, size, *draw[:2], keep_all, draw.repeat), draw.repeat) for draw in distinct]
        scorers = [scorer(member.model) if isinstance(member, Run) else None for member in self.members]
        for groups in zip(*streams, strict=True):
            given, ids = dict(zip(distinct, groups, strict=True)), groups[0][0]["id"]
            scores = [
                member.scores(ids) if score is None else _mean([score(batch["features"]) for batch in given[draw]])
                for member, score, draw in zip(self.members, scorers, draws, strict=True)
            ]
            yield ids.tolist(), np.stack(scores), groups[0][0]["labels"].numpy()

    def _tell_of_voters(self, files: Sequence[str]) -> None:
        """Say so on stderr where videos vote on themselves."""
        for name, member in zip(self.names, self.members, strict=True):
            if isinstance(member, Run) and has_votes(member.model) and (known := member.train_set.among(files)):
                few = f"{len(known)} of these {len(files)} shards" if len(known) < len(files) else "these shards"
                print(
                    f"Videos of {few} vote in {name}, or trained it: each is its own nearest neighbour, so its scores are far better than "
                    "those of new videos, and no student should learn from them.",
                    file=sys.stderr,
                )


def combine(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Scores [M, B, C] of the members with weights [M] or [M, C]: [B, C]."""
    return np.einsum("mbc,m->bc" if weights.ndim == 1 else "mbc,mc->bc", scores, weights)


def load(path: str) -> Ensemble:
    """The ensemble of a folder with an ensemble.json, or the run of a run folder as an ensemble of one.

    Raises:
      DataError: the folder is neither, a member cannot be read, or members do not go together.
    """
    file = Path(path) / FILE
    if not file.is_file():
        return _assemble([path], np.ones(1, np.float32))
    kept = read_json(file)
    names = [os.path.normpath(Path(path) / name) for name in kept["members"]]
    return _assemble(names, np.array(kept["weights"], np.float32))


def ensemble(members: Sequence[str], out: str, weights: str = "equal", data: Sequence[str] = (), repeat: int = 1) -> dict[str, Any]:
    """Write the folder of an ensemble.

    Args:
      members: run folders, or Parquet files of `predict`, which stand for the videos that they hold.
      out: the folder, new or empty.
      weights: "equal"; "model" or "class", learned per model, or per model and class; or the folder of another ensemble, whose weights are
        taken over member by member, as for predictions of the test split.
      data: patterns of labelled shards to learn the weights on, which no member was trained on.
      repeat: as in `Ensemble.member_scores`.

    Returns:
      What ensemble.json holds: `members` (relative to the folder), `weights`, and of learned ones `mean_squared_error`,
      `that_of_equal_weights`, `num_videos` and `held_out`.

    Raises:
      DataError: members that do not go together, a video that a member lacks, shards without labels, or such as a member was trained on.
    """
    folder = Path(out)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise DataError(f"{out} is not an empty folder: give another one for the ensemble")
    learned = weights in ("model", "class")
    if learned != bool(data):
        raise DataError(
            f"weights {weights} need no --data: leave it out"
            if data
            else f"weights per {weights} are learned: give labelled shards that no member was trained on as --data"
        )
    together = _assemble(members, np.full(len(members), 1 / len(members), np.float32))
    kept: dict[str, Any] = {}
    if learned:
        kept = _learned(together, expand(data), weights == "class", repeat)
    elif weights != "equal":
        kept["weights"] = _taken_over(weights, together).tolist()
    kept = {"members": [os.path.relpath(name, folder) for name in members], "weights": together.weights.tolist(), **kept}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FILE, kept)
    return kept


def summary(kept: dict[str, Any]) -> dict[str, Any]:
    """What ensemble.json holds, for people: each member with its weight, or the mean of its weights of the classes."""
    weights = np.array(kept["weights"])
    means = weights if weights.ndim == 1 else weights.mean(axis=1)
    told = {key: value for key, value in kept.items() if key not in ("members", "weights", "held_out")}
    members = [{"member": name, "weight": weight} for name, weight in zip(kept["members"], means.round(4).tolist(), strict=True)]
    return {"members": members, **told}


def _learned(together: Ensemble, files: list[str], per_class: bool, repeat: int) -> dict[str, Any]:
    for name, member in zip(together.names, together.members, strict=True):
        if isinstance(member, Run) and (known := member.train_set.among(files)):
            raise DataError(f"{name} was trained on {known[0]}: learn weights on shards that no member has seen, or it gets too much")
    moments = Moments(len(together.members), together.classes.num_classes)
    for _, scores, labels in together.member_scores(files, repeat):
        moments.update(scores, labels)
    if not moments.positives.any():
        raise unlabelled(files, together.layout_for(files))
    result = learn(moments, per_class)
    return {
        "weights": result.weights.tolist(),
        "mean_squared_error": result.error,
        "that_of_equal_weights": result.error_of_equal,
        "num_videos": moments.num_videos,
        "held_out": files,
    }


def _taken_over(path: str, together: Ensemble) -> np.ndarray:
    """The weights of the ensemble in another folder."""
    file = Path(path) / FILE
    if not file.is_file():
        raise DataError(f"weights are {path!r}: choose {', '.join(WEIGHTS)}, or give the folder of another ensemble (it has an {FILE})")
    weights = np.array(read_json(file)["weights"], np.float32)
    fits = len(weights) == len(together.members) and weights.shape[1:] in ((), (together.classes.num_classes,))
    if not fits:
        raise DataError(
            f"the ensemble in {path} has weights of shape {list(weights.shape)}, not for these {len(together.members)} members of "
            f"{together.classes.num_classes} classes: give as many members, in its order"
        )
    return weights


def _assemble(names: Sequence[str], weights: np.ndarray) -> Ensemble:
    members: list[Run | Predictions] = [Predictions(name) if is_predictions(name) else load_run(name) for name in names]
    classes = [Classes.of(member.recipe.data) if isinstance(member, Run) else member.classes for member in members]
    for name, other in zip(names, classes, strict=True):
        if other != classes[0]:
            raise DataError(f"{name} has {_told(other)}, but {names[0]} has {_told(classes[0])}: give members of the same classes")
    runs = [(name, member.recipe.data) for name, member in zip(names, members, strict=True) if isinstance(member, Run)]
    for name, data in runs:
        if (data.kind, data.features) != (runs[0][1].kind, runs[0][1].features):
            raise DataError(
                f"{name} takes {data.kind}-level records ({', '.join(data.features)}) and {runs[0][0]} {runs[0][1].kind}-level ones "
                f"({', '.join(runs[0][1].features)}): let each `predict` to a Parquet file, and give the files"
            )
    return Ensemble(list(names), members, weights, classes[0])


def _told(classes: Classes) -> str:
    return f"{classes.num_classes} {'classes' if classes.listed is None else 'listed classes'}"


def _draw(member: Run | Predictions, data: DataSchema, repeat: int) -> Draw:
    """Which frames a member is given. What draws none needs no second time."""
    if isinstance(member, Predictions) or data.kind == "video":
        return Draw(ALL, 0, 1)
    frames = member.recipe.frames
    return Draw(frames, 0, 1) if frames.sample == "all" else Draw(frames, member.recipe.training.seed, repeat)


def _grouped(batches: Iterator[Batch], size: int) -> Iterator[list[Batch]]:
    while group := list(itertools.islice(batches, size)):
        yield group


def _mean(scores: list[np.ndarray]) -> np.ndarray:
    """The mean of equally shaped arrays; of one the array itself."""
    return scores[0] if len(scores) == 1 else np.mean(scores, axis=0, dtype=np.float32)
