"""Made frame-level videos with something to learn in them, and the shards that hold them, written by TensorFlow.

Features: `rgb` of 12 bytes and `audio` of 4, 1 to 20 frames. A frame is noise and what its video's classes plant in it:

- LOOKS: a class shows as a pattern in `rgb` in every frame, so averaging the frames tells it.
- ORDERS: two classes that take turns. The first has a pattern in the first half of its frames and the opposite in the second half; the
  second is such a video played backwards. So both have the same frames, and what ignores their order is left to guess: no better than by
  the share of the videos that have the class, which is half of those of at least 4 frames (shorter ones have neither class).
- SOUNDS: as LOOKS, in `audio` alone: what does not listen is left to guess.
- IMPLIED: a class that shows nowhere. Every video of LOOKS[0] carries it, and one in twenty of the others.
"""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from trainers.frames import draw
from trainers.recipe import Frames
from yt8m_data.quantize import quantize

SIZES = {"rgb": 12, "audio": 4}
MAX_FRAMES = 20
LOOKS, ORDERS, SOUNDS, IMPLIED = (0, 1, 2), ((3, 4), (5, 6)), (7, 8), 9
NUM_CLASSES = 10

_SHARES = {0: 0.3, 1: 0.2, 2: 0.1, 7: 0.3, 8: 0.15}  # of the videos that have the class
_SHORTEST_IN_ORDER = 4
_NOISE, _PATTERN = 0.35, 0.8  # standard deviations; values beyond 2 are clipped, as in the real records


class Videos(NamedTuple):
    """N videos: ids, their class numbers (none at all leaves the key out), and per feature a list of uint8 [frames, size]."""

    ids: list[bytes]
    labels: list[list[int]]
    frames: dict[str, list[np.ndarray]]


def make(count: int, seed: int, prefix: str = "v") -> Videos:
    """Draw videos; seeds draw from the same world, so train on one and evaluate on another."""
    rng, width = np.random.default_rng([1, seed]), sum(SIZES.values())
    patterns = _patterns()
    videos = Videos([f"{prefix}{i:05d}".encode() for i in range(count)], [], {name: [] for name in SIZES})
    for _ in range(count):
        length = int(rng.integers(1, MAX_FRAMES + 1))
        labels = [c for c, share in _SHARES.items() if rng.random() < share]
        x = rng.normal(size=(length, width)) * _NOISE + sum((patterns[c] for c in labels), np.zeros(width))
        for forwards, backwards in ORDERS if length >= _SHORTEST_IN_ORDER else ():
            is_backwards = bool(rng.integers(2))
            in_half = np.sign(np.arange(length) - (length - 1) / 2)[:, None] * (-1 if is_backwards else 1)
            x += in_half * patterns[forwards]
            labels.append(backwards if is_backwards else forwards)
        if LOOKS[0] in labels or rng.random() < 0.05:
            labels.append(IMPLIED)
        videos.labels.append(sorted(labels))
        start = 0
        for name, size in SIZES.items():
            videos.frames[name].append(quantize(x[:, start : start + size].astype(np.float32)))
            start += size
    return videos


def write(path: Path | str, videos: Videos, id_key: str = "id") -> None:
    """Write a shard of tf.SequenceExamples."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row, video in enumerate(videos.ids):
            lists = {name: [frame.tobytes() for frame in frames[row]] for name, frames in videos.frames.items()}
            labels = {"labels": videos.labels[row]} if videos.labels else {}
            writer.write(sequence_example({id_key: video, **labels}, lists))


def write_shards(folder: Path, name: str, videos: Videos, num_shards: int) -> str:
    """Write videos to several shards, one after the other, and give the pattern of their names."""
    bounds = np.linspace(0, len(videos.ids), num_shards + 1).astype(int).tolist()
    for shard, (start, stop) in enumerate(itertools.pairwise(bounds)):
        part = slice(start, stop)
        frames = {feature: matrices[part] for feature, matrices in videos.frames.items()}
        write(folder / f"{name}{shard}.tfrecord", Videos(videos.ids[part], videos.labels[part], frames))
    return str(folder / f"{name}*.tfrecord")


def sequence_example(context: dict[str, bytes | Sequence[int] | Sequence[float]], lists: dict[str, Sequence[bytes]]) -> bytes:
    """A serialized tf.SequenceExample: byte strings and lists of numbers in the context, and a byte string for each frame."""
    example = tf.train.SequenceExample()
    for key, value in context.items():
        if isinstance(value, bytes):
            example.context.feature[key].bytes_list.value.append(value)
        elif any(isinstance(number, float) for number in value):
            example.context.feature[key].float_list.value.extend(value)
        else:
            example.context.feature[key].int64_list.value.extend(value)
    for key, frames in lists.items():
        entries = example.feature_lists.feature_list[key].feature
        for frame in frames:
            entries.add().bytes_list.value.append(frame)
    return example.SerializeToString()


def unpadded(model: Callable[[dict[str, np.ndarray]], tf.Tensor], videos: Videos) -> np.ndarray:
    """What a model says of each video, [N, C], given batches of videos of one length, so that nothing is padded."""
    lengths = np.array([len(frames) for frames in videos.frames["rgb"]])
    rows: dict[int, np.ndarray] = {}
    for length in np.unique(lengths):
        same = np.flatnonzero(lengths == length).tolist()
        features = {name: np.stack([videos.frames[name][row] for row in same]) for name in SIZES}
        scores = model(features | {"num_frames": np.full(len(same), length, np.int32)})
        rows.update(zip(same, np.asarray(scores), strict=True))
    return np.stack([rows[row] for row in range(len(lengths))])


def drawn(videos: Videos, frames: Frames, seed: int) -> Videos:
    """The videos that are left when frames are drawn as for an evaluation."""
    lengths = [len(matrix) for matrix in videos.frames["rgb"]]
    chosen = draw(frames, tf.constant(videos.ids), tf.constant(lengths), seed, tf.zeros(len(lengths), tf.int64)).numpy()
    taken = {name: [matrix[rows] for matrix, rows in zip(matrices, chosen, strict=True)] for name, matrices in videos.frames.items()}
    return videos._replace(frames=taken)


def _patterns() -> dict[int, np.ndarray]:
    """Per class that shows: [16], in `rgb` or in `audio` alone. They are the same for every seed."""
    rng, rgb = np.random.default_rng(0), SIZES["rgb"]
    patterns = {}
    for c in (*LOOKS, *(forwards for forwards, _ in ORDERS), *SOUNDS):
        inside = np.arange(sum(SIZES.values())) < rgb
        patterns[c] = np.where(inside != (c in SOUNDS), rng.choice([-_PATTERN, _PATTERN], len(inside)), 0)
    return patterns
