"""Write a run's best segments for every class, as a submission to the 2019 challenge."""

from collections.abc import Sequence

import numpy as np

from trainers.ranks import top_classes
from trainers.segments.metrics import K
from trainers.segments.reader import every_segment
from trainers.segments.run import layout_of, load_run, predictions
from trainers.segments.settings import LENGTH
from yt8m_data import classes as class_list
from yt8m_data.errors import DataError
from yt8m_data.shards import atomic_write, expand


def predict(run_dir: str, data: Sequence[str], out_csv: str, top_k: int = 20, max_segments: int = K, classes: str | None = None) -> int:
    """Write `Class,Segments`: for each class its best segments, `video:start`, best first; a class that no segment is kept for has no line.

    Every video is cut into back-to-back segments of 5 frames. A segment stands in the lists of its `top_k` best classes alone. Memory: the
    ids of the videos, and 8 bytes for each entry of the lists, of which no class holds more than `max_segments` and an eighth more.

    Args:
      run_dir: the folder that `segments fit` wrote.
      data: patterns of frame-level shards; ratings and labels are not needed.
      out_csv: appears when it is whole.
      top_k: classes per segment; more than there are gives them all.
      max_segments: length of a class's list.
      classes: path of a list of the only classes to write; see `yt8m_data.classes.read`.

    Returns:
      The number of segments.

    Raises:
      DataError: no run, no such file, records or classes that the model does not know, or a number that is not positive.
    """
    for name, value in (("top_k", top_k), ("max_segments", max_segments)):
        if value < 1:
            raise DataError(
                f"{name} is {value}, but it has to be at least 1: set it to {20 if name == 'top_k' else K}, as the challenge did"
            )
    run, files = load_run(run_dir), expand(data)
    found = layout_of(run.settings, files)
    class_ids = np.array(found.classes or range(found.num_classes))  # what the records call the model's classes
    kept = _columns(class_ids, classes)
    best = BestSegments(len(kept), max_segments)
    videos: list[bytes] = []
    firsts: list[int] = []  # ordinal of each video's first segment
    num_segments = 0
    for ids, places, probabilities, _ in predictions(run.model, every_segment(files, found, run.settings.video.frames.max_frames)):
        names = [b"%b:%d" % (ids[video], start) for video, start in places.tolist()]
        scores, columns = top_classes(names, probabilities[:, kept], top_k)
        ordinals = num_segments + np.arange(len(places))
        best.add(columns, scores, ordinals)
        new, first = np.unique(places[:, 0], return_index=True)
        videos += [ids[video] for video in new.tolist()]
        firsts += (num_segments + first).tolist()
        num_segments += len(places)

    starts = np.array(firsts)
    with atomic_write(out_csv) as stream:
        stream.write(b"Class,Segments\n")
        for label, ordinals in zip(class_ids[kept].tolist(), best.lists(), strict=True):
            if len(ordinals):
                rows = np.searchsorted(starts, ordinals, side="right") - 1
                seconds = (ordinals - starts[rows]) * LENGTH
                segments = b" ".join(b"%b:%d" % (videos[row], second) for row, second in zip(rows.tolist(), seconds.tolist(), strict=True))
                stream.write(b"%d,%b\n" % (label, segments))
    return num_segments


class BestSegments:
    """The best segments of each class, in bounded memory.

    Args:
      num_classes: C.
      size: segments that a class keeps.
    """

    def __init__(self, num_classes: int, size: int) -> None:
        self._size = size
        self._filled = np.zeros(num_classes, np.int64)
        self._entries = [np.empty((0,), _ENTRY)] * num_classes

    def add(self, classes: np.ndarray, scores: np.ndarray, ordinals: np.ndarray) -> None:
        """Add segments, numbered from 0 up by `ordinals` [S], with some of their classes and scores, each [S, k]."""
        order = np.argsort(classes, axis=None, kind="stable")
        entries = np.empty(order.size, _ENTRY)
        entries["score"] = scores.reshape(-1)[order]
        entries["ordinal"] = np.repeat(ordinals, classes.shape[1])[order]
        ends = np.cumsum(np.bincount(classes.reshape(-1), minlength=len(self._entries)))
        for label in np.unique(classes).tolist():
            self._add(label, entries[ends[label - 1] if label else 0 : ends[label]])

    def lists(self) -> list[np.ndarray]:
        """The ordinals of each class's segments, best first, and of equal ones the first first."""
        kept = (entries[:filled] for entries, filled in zip(self._entries, self._filled.tolist(), strict=True))
        return [_ranked(entries)[: self._size]["ordinal"].astype(np.int64) for entries in kept]

    def _add(self, label: int, new: np.ndarray) -> None:
        entries, filled = self._entries[label], self._filled[label]
        if filled + len(new) > len(entries):
            entries = _ranked(np.concatenate([entries[:filled], new]))[: self._size]
            filled = len(entries)
            grown = np.empty(min(2 * filled, self._size + self._size // 8) + len(new), _ENTRY)
            grown[:filled] = entries
            self._entries[label] = grown
        else:
            entries[filled : filled + len(new)] = new
            filled += len(new)
        self._filled[label] = filled


_ENTRY = np.dtype([("score", np.float32), ("ordinal", np.uint32)])


def _ranked(entries: np.ndarray) -> np.ndarray:
    return entries[np.lexsort((entries["ordinal"], -entries["score"]))]


def _columns(class_ids: np.ndarray, path: str | None) -> np.ndarray:
    """The model's classes that are to be written, as columns of its scores."""
    if path is None:
        return np.arange(len(class_ids))
    listed = class_list.read(path, int(class_ids.max()) + 1)
    column_of = {label: column for column, label in enumerate(class_ids.tolist())}
    unknown = [label for label in listed if label not in column_of]
    if unknown:
        raise DataError(f"the list of classes {path} has {unknown[0]}, which the model was not trained on: leave it out")
    return np.array([column_of[label] for label in listed])
