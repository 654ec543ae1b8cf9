"""Made data with YouTube-8M's formats, sizes, label law and co-occurrence, and something to learn in it.

The world they are drawn from, labels and what these look like, is that of `synthetic_world`: it is fixed by the number of classes alone.
A seed draws videos from that world, so data made with two seeds are two samples of one world: train on one, evaluate on the other.

A video draws one primary label, which drags in more frequent companions, as "Video game" drags in "Game". Its vector is the sum of its
labels' prototypes, each visible to a random degree, of a style that any class can have, and of noise; scales per dimension and per video
are those measured on real shards. Frames scatter around that vector and keep it as their mean, so a record has the same id, labels and mean
features in all kinds.

With kind "segment" a video is cut into back-to-back segments of 5 frames, and up to 5 of them are rated for its two rarest labels, as in
the 2019 release. A coin for each segment and label says whether the label shows there; where it does, its prototype is added to the 5
frames, and the whole video is moved so that its mean stays. So labels and mean say nothing of where a label shows: only the frames do.

Record i is a pure function of (seed, i) and of the number of classes, for one version of NumPy: its generators may change between versions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import pyarrow as pa

from yt8m_data.errors import DataError
from yt8m_data.quantize import dequantize, quantize
from yt8m_data.schema import SEGMENTS, Feature, Schema
from yt8m_data.synthetic_world import NUM_STYLES, SIZES, world_of

BLOCK = 256  # records drawn from one generator: large enough to spread its start-up, small enough to stay in cache
FRAME_BATCH = 64  # frame-level records in one batch: 64 x 230 frames x 1,152 bytes = 17 MB

# Amplitudes of labels (times 0..1 per record and label), of style and of noise: the variances add up to about 1. A ridge classifier then
# reaches GAP@20 0.82 with 100 classes and 4,000 videos, 0.42 with 3,862 and 18,000; guessing the most frequent labels, 0.28 and 0.07.
EVIDENCE, STYLE, NOISE = 0.4, 0.35, 0.85
DEVIATION = 0.45  # of a frame from its video's mean, standard deviation
FRAMES_MEDIAN, FRAMES_SPREAD = 0.82, 0.5  # of the frame count as a fraction of max_frames, log-normal, cut at 1

SEGMENT_FRAMES, RATED_SEGMENTS, RATED_LABELS = 5, 5, 2  # frames of a segment; at most so many rated segments, and labels, of a video
SHOWN = 0.2  # amplitude of a label in the segments where it shows

_ALPHABET = np.frombuffer(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", np.uint8)
_SHORT, _LONG = 62**4, 62**5  # ids of four characters, as in 2018, then of five
_TINY = 1e-30  # stands for a difference of zero where one divides by it
_VIDEOS, _FRAMES, _SEGMENTS = 1, 2, 3  # purposes of a generator; 0 is the world's


@dataclass(frozen=True)
class SyntheticSpec:
    """What to make; hashable, picklable and small.

    Args:
      kind: "video" (`mean_rgb`, `mean_audio`), "frame" (`rgb`, `audio`) or "segment" (as "frame", with rated segments).
      num_records: records that exist, 0 to 930 million.
      num_classes: labels are 0 .. num_classes - 1, at most 20,000 of them. Below about thirty there are fewer than 3.0 labels per video.
      seed: sample of the world. Seeds that differ by 13 or less share no id while they have up to a million records each.
      max_frames: frames of the longest video, 1 to 300; the mean is about 0.77 of it.
      unlabeled: share of records without labels, as in a test split.

    Raises:
      DataError: a value is out of its range.
    """

    kind: Literal["video", "frame", "segment"]
    num_records: int
    num_classes: int = 3862
    seed: int = 0
    max_frames: int = 300
    unlabeled: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("video", "frame", "segment"):
            raise DataError(f"kind {self.kind!r} is not one of video, frame, segment")
        for name, low, high in (
            ("num_records", 0, _SHORT + _LONG),
            ("num_classes", 1, 20_000),
            ("seed", 0, 2**63 - 1),
            ("max_frames", 1, 300),
            ("unlabeled", 0, 1),
        ):
            if not low <= getattr(self, name) <= high:
                raise DataError(f"{name} {getattr(self, name)} is not within {low} to {high}")

    @property
    def schema(self) -> Schema:
        """The record layout, with the keys of the 2018 release; records with segments are frame-level ones with more in their context."""
        prefix = "mean_" if self.kind == "video" else ""
        features = tuple(Feature(prefix + name, size) for name, size in SIZES.items())
        return Schema(
            kind="video" if self.kind == "video" else "frame",
            id_key="id",
            labels_key="labels",
            features=features,
            num_classes=self.num_classes,
            extras=tuple(SEGMENTS.names) if self.kind == "segment" else (),
        )


def batches(spec: SyntheticSpec, start: int = 0, stop: int | None = None) -> Iterator[pa.RecordBatch]:
    """Make records start .. stop - 1, in order, in batches of up to 256 (video) or 64 (frame, segment) records of `spec.schema`.

    Any split of 0 .. num_records into ranges gives the same records; ranges whose ends are multiples of 256 do no work twice.

    Raises:
      DataError: the range is not within 0 .. num_records.
    """
    stop = spec.num_records if stop is None else stop
    if not 0 <= start <= stop <= spec.num_records:
        raise DataError(f"records {start} to {stop} are not within 0 to {spec.num_records}")
    size = BLOCK if spec.kind == "video" else FRAME_BATCH
    for block in range(start // BLOCK, -(-stop // BLOCK)):
        labels, counts, vectors = _videos(spec, block)
        first = max(start - block * BLOCK, 0)
        last = min(stop - block * BLOCK, BLOCK)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        for low in range(first, last, size):
            high = min(low + size, last)
            index = np.arange(block * BLOCK + low, block * BLOCK + high)
            rows = vectors[low:high]
            columns = [_ids(index, spec.seed), _lists(pa.array(labels[offsets[low] : offsets[high]]), counts[low:high])]
            if spec.kind == "video":
                columns += _vectors(rows)
            else:
                carried = [labels[start:end] for start, end in pairwise(offsets[low : high + 1])]
                columns += _frames(spec, index, rows, carried)
            yield pa.RecordBatch.from_arrays(columns, schema=spec.schema.arrow)


# --- Videos of one block ------------------------------------------------------------------------------------------------------


def _videos(spec: SyntheticSpec, block: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels (int32, rising within a record, concatenated), their number per record (int64 [256]) and vectors (float32 [256, 1152])."""
    world = world_of(spec.num_classes)
    random = np.random.Generator(np.random.SFC64([_VIDEOS, spec.seed, block]))
    primary = np.searchsorted(world.primary, random.random(BLOCK), side="right").clip(max=spec.num_classes - 1)
    # One draw for all companions of a video: it has the first ones or none, so the number of labels is spread as in real videos.
    dragged = random.random((BLOCK, 1)) < world.chances[primary]
    carried = np.column_stack([np.ones(BLOCK, bool), dragged])
    labels = np.where(carried, np.column_stack([primary, world.companions[primary]]), spec.num_classes).astype(np.int32)
    labels.sort(axis=1)
    counts = np.where(random.random(BLOCK) < spec.unlabeled, 0, carried.sum(axis=1))

    vectors = random.standard_normal((BLOCK, sum(SIZES.values())), np.float32)
    vectors *= NOISE
    vectors += STYLE * world.styles[random.integers(NUM_STYLES, size=BLOCK)]
    evidence = EVIDENCE * random.random(labels.shape, np.float32)
    for slot in range(labels.shape[1]):
        rows = np.flatnonzero(labels[:, slot] < spec.num_classes)
        vectors[rows] += evidence[rows, slot, None] * world.prototypes[labels[rows, slot]]
    _scale(vectors, random)
    return labels[np.arange(labels.shape[1]) < counts[:, None]], counts, vectors


def _scale(vectors: np.ndarray, random: np.random.Generator) -> None:
    """Give unit-variance rows the scale of real mean features, in place: per dimension, per video, cut to what the 8-bit code can say."""
    rgb = 0.36 + 0.26 * np.exp(np.arange(SIZES["rgb"]) / -70)
    audio = 0.55 + 0.34 * np.exp(np.arange(SIZES["audio"]) / -25)
    vectors *= np.concatenate([rgb, audio]).astype(np.float32)
    # Norms of real videos are log-normal: medians 12.7 and 7.1, first and last percentile 5.5 to 30 and 3.9 to 14.
    loudness = np.exp(random.standard_normal((len(vectors), 2), np.float32) * np.array([0.37, 0.28], np.float32))
    vectors[:, : SIZES["rgb"]] *= loudness[:, :1]
    vectors[:, SIZES["rgb"] :] *= loudness[:, 1:]
    np.clip(vectors, *dequantize(np.array([0, 255], np.uint8)), out=vectors)


# --- Columns --------------------------------------------------------------------------------------------------------------


def _ids(index: np.ndarray, seed: int) -> pa.Array:
    """Base-62 ids of record numbers, in scattered order: four characters for the first 14.8 million records, then five."""
    longer = index >= _SHORT
    code = np.where(longer, (index - _SHORT) * 387_420_499 % _LONG, (index + seed % _SHORT * 1_000_003) % _SHORT * 6_700_417 % _SHORT)
    text = _ALPHABET[code[:, None] // 62 ** np.arange(5) % 62]
    lengths = 4 + longer
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    kept = text[np.arange(5) < lengths[:, None]]
    return pa.Array.from_buffers(pa.binary(), len(index), [None, pa.py_buffer(offsets), pa.py_buffer(kept)])


def _lists(values: pa.Array, counts: np.ndarray) -> pa.ListArray:
    """List array of consecutive runs of `values` with the given lengths."""
    return pa.ListArray.from_arrays(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32), values)


def _vectors(rows: np.ndarray) -> list[pa.Array]:
    """The video-level columns `mean_rgb` and `mean_audio`."""
    parts = np.split(rows, [SIZES["rgb"]], axis=1)
    return [pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), part.shape[1]) for part in parts]


def _frames(spec: SyntheticSpec, index: np.ndarray, rows: np.ndarray, carried: list[np.ndarray]) -> list[pa.Array]:
    """The frame-level columns `rgb` and `audio`: frames that scatter evenly around each row and have it as their mean; and the segments'.

    Args:
      carried: the labels of each record.
    """
    lengths = np.empty(len(index), np.int64)
    frames, ratings = [], []
    # The scatter shrinks towards the ends of the code's range, so that nothing is cut there and the mean stays.
    spread = np.minimum(DEVIATION * np.sqrt(3), 2 - np.abs(rows)).clip(min=0)
    for position, record in enumerate(index):
        random = np.random.Generator(np.random.SFC64([_FRAMES, spec.seed, record]))
        fraction = FRAMES_MEDIAN * np.exp(FRAMES_SPREAD * random.standard_normal())
        lengths[position] = np.ceil(spec.max_frames * min(fraction, 1))
        values = random.random((lengths[position], rows.shape[1]), np.float32)
        values -= values.mean(axis=0)
        values *= 2 * spread[position]
        values += rows[position]
        if spec.kind == "segment":
            room = (2 - np.abs(rows[position]) - spread[position]).clip(min=0)
            ratings.append(_plant(spec, record, carried[position], values, room))
        frames.append(quantize(values))
    parts = np.split(np.concatenate(frames), [SIZES["rgb"]], axis=1)
    columns = [_lists(_fixed_binary(part), lengths) for part in parts]
    return columns + _segment_columns(ratings) if spec.kind == "segment" else columns


def _plant(spec: SyntheticSpec, record: int, labels: np.ndarray, values: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Let the rarest labels of a video show in some of its segments, in place; each dimension moves by at most `room` [1152].

    Returns: the rated pairs, int64 [P, 3]: start, label, and 1 where it shows, else 0; by start, then label.
    """
    random = np.random.Generator(np.random.SFC64([_SEGMENTS, spec.seed, record]))
    labels = labels[-RATED_LABELS:]
    num_segments = -(-len(values) // SEGMENT_FRAMES)
    shows = random.random((num_segments, len(labels))) < 0.5
    signal = np.repeat(shows @ world_of(spec.num_classes).prototypes[labels], SEGMENT_FRAMES, axis=0)[: len(values)]
    signal = SHOWN * (signal - signal.mean(axis=0))
    values += signal * np.minimum(1, room / np.abs(signal).max(axis=0).clip(min=_TINY))
    rated = np.sort(random.permutation(num_segments)[:RATED_SEGMENTS])
    pairs = np.broadcast_arrays(rated[:, None] * SEGMENT_FRAMES, labels, shows[rated])
    return np.stack(pairs, axis=-1).reshape(-1, 3)


def _segment_columns(ratings: list[np.ndarray]) -> list[pa.Array]:
    """The columns of `SEGMENTS`, from the rated pairs of each record."""
    counts = np.array([len(pairs) for pairs in ratings])
    starts, labels, scores = np.concatenate(ratings).T
    values = (starts, starts + SEGMENT_FRAMES, labels, scores)
    return [_lists(pa.array(each, column.type.value_type), counts) for each, column in zip(values, SEGMENTS, strict=True)]


def _fixed_binary(codes: np.ndarray) -> pa.Array:
    """fixed_size_binary[width] array of the rows of uint8 [n, width]."""
    return pa.Array.from_buffers(pa.binary(codes.shape[1]), len(codes), [None, pa.py_buffer(np.ascontiguousarray(codes))])
