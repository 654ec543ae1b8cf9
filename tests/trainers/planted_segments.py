"""Made videos with rated segments, 12 + 4 bytes a frame, and the shards that hold them, written by TensorFlow.

A video has 40 frames. Its first six segments may be rated; what they show is planted in their 5 frames alone:

- LOCAL: carried by half of the videos. The pattern shows in three of the six segments of such a video, which are rated 1.
- SIGNED: carried by every video. Three of the six segments show a pattern, the others its opposite, which says which of the two is rated 1.
- KEYS: one of the two, by a coin; it shows in frames that no clip of a rated segment takes in. With `needs_context` the other key swaps
  the two classes of SIGNED: the segment alone leaves them to guess.

So a video's labels, and all its frames together, say nothing of its ratings: what scores all its segments alike is left to guess. Were it a
coin for each segment, the frames together would show in which videos more of them are rated 1.
"""

import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import planted
import tensorflow as tf

from yt8m_data.quantize import quantize

LOCAL, SIGNED, KEYS = (0, 1), (2, 3), (4, 5)
NUM_CLASSES, NUM_FRAMES, RATED = 6, 40, 4
KEY_FROM = 33  # the clip of the last segment, 25 to 29, ends before it

_NOISE, _PATTERN = 0.3, 0.7
_FAINT = 0.4  # of a pattern, shows of LOCAL: so faint that no model finds it without an error

# Settings of runs that learn them: of whole videos by the recipe gated_netvlad, and of segments.
VIDEO = [
    "num_classes=6",
    "pooling.pooling.clusters=8",
    "pooling.audio.clusters=4",
    "pooling.momentum=0.9",
    "pooling.pooling.momentum=0.9",
    "encoders.0.size=24",
    "encoders.1.momentum=0.9",
    "head.momentum=0.9",
    "prior_scale=1",
    "frames={sample: all}",
    "training.batch_size=32",
    "training.learning_rate=0.01",
    "training.steps=120",
]
SEGMENTS = ["hidden=32", "momentum=0.9", "training.learning_rate=0.01", "training.batch_size=32"]
MODELS = ("context_ignorant", "context_aware", "mean")


class Videos(NamedTuple):
    """N videos: ids, labels, frames uint8 [40, 16], and the rated pairs (start, class, rating)."""

    ids: list[bytes]
    labels: list[list[int]]
    frames: list[np.ndarray]
    ratings: list[list[tuple[int, int, float]]]


def make(count: int, seed: int, needs_context: bool, world: int = 0) -> Videos:
    """Draw videos; seeds draw from the same world, which says what the classes look like."""
    random = np.random.default_rng([2, seed, world] if world else [2, seed])
    patterns = np.random.default_rng(world).choice([-_PATTERN, _PATTERN], (4, 16))
    videos = Videos([], [], [], [])
    for i in range(count):
        x = random.normal(size=(NUM_FRAMES, 16)) * _NOISE
        key = int(random.integers(2))
        x[KEY_FROM:] += patterns[3] * (1 if key else -1)
        carried = [c for c in LOCAL if random.random() < 0.5]
        shown = {c: _three(random) for c in (*carried, SIGNED[0])}
        pairs = []
        for segment in range(6):
            inside = slice(5 * segment, 5 * segment + 5)
            for c in carried:
                shows = int(segment in shown[c])
                x[inside] += shows * _FAINT * patterns[c]
                pairs.append((5 * segment, c, float(shows)))
            sign = int(segment in shown[SIGNED[0]])
            x[inside] += patterns[2] * (1 if sign else -1)
            first = sign ^ (key if needs_context else 0)
            pairs += [(5 * segment, SIGNED[0], float(first)), (5 * segment, SIGNED[1], float(1 - first))]
        rated = set((random.permutation(6)[:RATED] * 5).tolist())
        videos.ids.append(b"s%d_%04d" % (seed, i))
        videos.labels.append(sorted([*carried, *SIGNED, KEYS[key]]))
        videos.frames.append(quantize(x.astype(np.float32)))
        videos.ratings.append([pair for pair in pairs if pair[0] in rated])
    return videos


def _three(random: np.random.Generator) -> list[int]:
    """Three of the six segments that may be rated."""
    return random.permutation(6)[:3].tolist()


def record(video: bytes, labels: list[int], frames: np.ndarray, ratings: list[tuple[int, int, float]]) -> bytes:
    """A serialized record of the 2019 release; one without ratings lacks their keys, as those of videos that nobody rated do."""
    starts, classes, scores = ([pair[i] for pair in ratings] for i in range(3))
    rated = {
        "segment_start_times": starts,
        "segment_end_times": [start + 5 for start in starts],
        "segment_labels": classes,
        "segment_scores": scores,
    }
    lists = {"rgb": [row.tobytes() for row in frames[:, :12]], "audio": [row.tobytes() for row in frames[:, 12:]]}
    return planted.sequence_example({"id": video, "labels": labels, **(rated if ratings else {})}, lists)


def write(folder: Path, name: str, videos: Videos, num_shards: int) -> str:
    """Write videos to several shards, and give the pattern of their names."""
    folder.mkdir(parents=True, exist_ok=True)
    bounds = np.linspace(0, len(videos.ids), num_shards + 1).astype(int).tolist()
    for shard, (start, stop) in enumerate(itertools.pairwise(bounds)):
        with tf.io.TFRecordWriter(str(folder / f"{name}{shard}.tfrecord")) as writer:
            for row in range(start, stop):
                writer.write(record(*(column[row] for column in videos)))
    return str(folder / f"{name}*.tfrecord")
