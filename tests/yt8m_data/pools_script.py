"""Small inputs, the whole rule as a plain script that visits the videos in order (SYSTEMS 8.4), and the same with the kernels.

The script knows nothing of partitions: one loop over lists and dictionaries, with a set of used pairs.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from yt8m_data import pools, recipes, sampling
from yt8m_data.recipes import InBatch
from yt8m_data.sampling import Settings
from yt8m_data.schema import Feature, Schema

CLASSES = 6
SCHEMA = Schema("video", "id", "labels", (Feature("rgb", 3), Feature("audio", 2)), CLASSES)
VIDEO_BYTES = 20
ONE, MANY = 1 << 30, 1  # partition_bytes: all pools together, or each count of its own


class Video(NamedTuple):
    id: bytes
    labels: list[int]
    rgb: list[float]
    audio: list[float]


class Made(NamedTuple):
    """What is known of a written video; features are None where they are noise."""

    labels: list[int]
    method: str
    base: bytes | None
    neighbor: bytes | None
    rgb: list[float] | None
    audio: list[float] | None


def reference(videos: list[Video], policy: str, threshold: float, seed: int) -> dict[bytes, Made]:
    """Augment by the text of SYSTEMS 8.3 and 8.4 (A1, A8), with lambda 0.5; ids as the policy `paper` writes them."""
    count = Counter(label for video in videos for label in set(video.labels))
    written: dict[bytes, Made] = {}
    used: set[frozenset[bytes]] = set()
    for video in videos:
        original = Made(video.labels, "", None, None, video.rgb, video.audio)
        if not video.labels:
            written[video.id] = original
            continue
        if policy == "authors":
            rarest = min(video.labels, key=lambda label: count[label])  # the first of equals
        else:
            rarest = min(video.labels, key=lambda label: (count[label], label))
        full = count[rarest] * 10_000 / threshold
        if count[rarest] > threshold:
            ratio = int(full / (5000 * (math.log10(full) - 2)))
            if draw(seed, video.id) < 1 / ratio:
                written[video.id] = original
            continue
        written[video.id] = original
        at = max(full, 100 * math.e) if policy == "paper" else full
        most = max(int(5000 * (math.log10(at) - 2) / at + 1), 0)
        others = [other for other in videos if rarest in other.labels and other.id != video.id]
        others.sort(key=lambda other: (math.dist(video.rgb, other.rgb) ** 2, other.id))
        number = 0
        for other in others[:most]:
            pair = frozenset((video.id, other.id))
            if pair in used:
                continue
            used.add(pair)
            for method, sign in (("interpolate", 0.5), ("extrapolate", -0.5)):
                number += 1
                moved = [
                    [x + sign * (y - x) for x, y in zip(*both, strict=True)]
                    for both in ((video.rgb, other.rgb), (video.audio, other.audio))
                ]
                written[b"%b_o%02d" % (video.id, number)] = Made(video.labels, method, video.id, other.id, *moved)
        if number == 0:
            written[video.id + b"_o01"] = Made(video.labels, "noise", video.id, None, None, None)
    return written


def draw(seed: int, video_id: bytes) -> float:
    digest = hashlib.blake2b(video_id, digest_size=8, salt=seed.to_bytes(8, "little"), person=b"keep").digest()
    return (int.from_bytes(digest, "little") >> 11) / 2**53


def to_batch(videos: list[Video]) -> pa.RecordBatch:
    columns = [pa.array([v.id for v in videos], pa.binary()), pa.array([v.labels for v in videos], pa.list_(pa.int32()))]
    for feature in SCHEMA.features:
        values = np.array([getattr(v, feature.name) for v in videos], np.float32).reshape(-1)
        columns.append(pa.FixedSizeListArray.from_arrays(pa.array(values), feature.size))
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA.arrow)


def make_plan(videos: list[Video], options: Settings) -> sampling.Plan:
    count = Counter(label for video in videos for label in set(video.labels))
    return sampling.plan(np.array([count[label] for label in range(CLASSES)]), len(videos), options)


def deal(
    plan: sampling.Plan, packed: pools.Pools, batch: pa.RecordBatch, pieces: list[np.ndarray]
) -> tuple[list[int], dict[int, list[int]]]:
    """Route a batch piece by piece: the rows kept as they are, and those sent to each partition, in the order of arrival."""
    as_is, partitions = [], {}
    for piece in pieces:
        kept, _, rows, to = pools.route(plan, packed, batch.take(pa.array(piece)))
        as_is += piece[kept].tolist()
        for row, partition in zip(piece[rows].tolist(), to.tolist(), strict=True):
            partitions.setdefault(partition, []).append(row)
    return as_is, partitions


def augment(videos: list[Video], options: Settings, partition_bytes: int, shuffle: np.random.Generator | None = None) -> dict[bytes, Made]:
    """Augment with the kernels, as the job does: route, gather, restore the order, synthesise."""
    batch, plan = to_batch(videos), make_plan(videos, options)
    packed = pools.pack(plan, VIDEO_BYTES, partition_bytes)
    pieces = [np.arange(len(videos))]
    if shuffle is not None:
        order = shuffle.permutation(len(videos))
        pieces = np.split(order, np.sort(shuffle.integers(0, len(videos) + 1, 3)))
    as_is, partitions = deal(plan, packed, batch, pieces)
    written: dict[bytes, Made] = {}
    for row in as_is:
        add(written, batch.slice(row, 1))
    for partition, rows in partitions.items():
        rows = np.sort(rows)
        part = batch.take(pa.array(rows))
        deciding = pools.bases(plan, packed, partition, part)
        add(written, part.take(pa.array(np.flatnonzero(deciding >= 0))))
        for made, batch_made in synthesize(plan, part, deciding, 7 * rows + 1000):
            add(written, batch_made)
            check_distances(videos, batch_made, made.apart)
            base = made.recipes.column("move_base")
            assert made.deciding.tolist() == deciding[base.to_numpy()].tolist()
            assert part.column("id").take(base).equals(batch_made.column("aug_base"))
    return written


def synthesize(
    plan: sampling.Plan, part: pa.RecordBatch, deciding: np.ndarray, order: np.ndarray
) -> Iterator[tuple[pools.Made, pa.RecordBatch]]:
    """Make the synthetic videos of a partition: how, and the videos."""
    rows = InBatch(part, SCHEMA)
    for made in pools.synthesize(plan, part, rows.sought(np.arange(part.num_rows)), deciding, order, SCHEMA, threads=1):
        yield made, recipes.Made(made.recipes, rows, SCHEMA, plan.settings).whole()


def check_distances(videos: list[Video], made: pa.RecordBatch, apart: np.ndarray) -> None:
    """Each row comes with the squared distance from its base to its neighbour by the visual feature, or with NaN."""
    rgb = {video.id: video.rgb for video in videos}
    for row, squared in zip(made.to_pylist(), apart.tolist(), strict=True):
        if row["aug_neighbor"] is None:
            assert math.isnan(squared)
        else:
            assert squared == sum((a - b) ** 2 for a, b in zip(rgb[row["aug_base"]], rgb[row["aug_neighbor"]], strict=True))


def add(written: dict[bytes, Made], batch: pa.RecordBatch) -> None:
    for row in batch.to_pylist():
        assert row["id"] not in written, "an id twice"
        method = (row.get("aug_method") or b"").decode()
        features = (None, None) if method == "noise" else (row["rgb"], row["audio"])
        written[row["id"]] = Made(row["labels"], method, row.get("aug_base"), row.get("aug_neighbor"), *features)


def random_videos(seed: int, count: int, classes: int, steps: int) -> list[Video]:
    """Features are small whole numbers, so that distances are exact and often equal; labels come in any order."""
    random = np.random.default_rng(seed)
    ids = random.permutation(count)
    return [
        Video(
            b"%c%02d" % (97 + ids[i] % 3, ids[i]),
            random.permutation(classes)[: random.integers(0, min(classes, 3) + 1)].tolist(),
            random.integers(-steps, steps + 1, 3).astype(float).tolist(),
            random.integers(-steps, steps + 1, 2).astype(float).tolist(),
        )
        for i in range(count)
    ]


INPUTS = st.builds(random_videos, st.integers(0, 2**32), st.integers(1, 40), st.integers(1, CLASSES), st.sampled_from([1, 2, 50]))
