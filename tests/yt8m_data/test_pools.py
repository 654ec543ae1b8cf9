"""Pools: routing, partitions, and the whole rule against a plain script that visits the videos in order (SYSTEMS 8.4).

The reference knows nothing of partitions: one loop over lists and dictionaries, with a set of used pairs.
"""

import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yt8m_data import pools, recipes, sampling
from yt8m_data.recipes import InBatch
from yt8m_data.sampling import OVER, SUB, Settings
from yt8m_data.schema import Feature, Schema

CLASSES = 6
SCHEMA = Schema("video", "id", "labels", (Feature("rgb", 3), Feature("audio", 2)), CLASSES)
VIDEO_BYTES = 20
WITHOUT_DELTAS = ("interpolate", "extrapolate", "noise", "copy")
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


# --- The reference --------------------------------------------------------------------------------------------------------------


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


# --- Ours -------------------------------------------------------------------------------------------------------------------------


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


# --- Both, on small inputs ----------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("policy", ["paper", "authors"])
@settings(max_examples=120, deadline=None)
@given(videos=INPUTS, threshold=st.sampled_from([2.0, 4.0, 7.0, 12.0, 30.0, 60.0, 200.0, 500.0]), seed=st.integers(0, 5))
def test_the_job_equals_the_reference(policy, videos, threshold, seed):
    if not any(video.labels for video in videos):
        videos = [*videos, Video(b"last", [0], [0.0] * 3, [0.0] * 2)]
    expected = reference(videos, policy, threshold, seed)
    options = Settings(policy=policy, threshold=threshold, seed=seed)
    assert augment(videos, options, ONE) == expected
    assert augment(videos, options, MANY) == expected
    assert augment(videos, options, 10 * VIDEO_BYTES, np.random.default_rng(seed)) == expected


def test_a_group_by_hand():
    """Label 0 has a, b, c in a row; c, d share the commoner label 1; e has no label; f is alone under label 2."""
    places = {"a": 0.0, "b": 1.0, "c": 3.0, "d": 4.0, "g": 20.0, "h": 21.0, "f": 50.0, "e": 60.0}
    labels = {"a": [0], "b": [0, 1], "c": [1, 0], "d": [1], "g": [1], "h": [1], "f": [2], "e": []}
    videos = [Video(name.encode(), labels[name], [at, 0.0, 0.0], [0.0, at]) for name, at in places.items()]
    written = augment(videos, Settings(threshold=100.0), ONE)  # 1 to 5 of 100: 8 or 7 neighbours, so all there are
    made = {
        name: [(m.method[0], (m.neighbor or b"-").decode()) for i, m in written.items() if i.startswith(name + b"_o")]
        for name in b"a b c d e f g h".split()
    }
    assert made[b"a"] == [("i", "b"), ("e", "b"), ("i", "c"), ("e", "c")]
    assert made[b"b"] == [("i", "c"), ("e", "c")]  # a took ab; b's rarest label is 0, so d is out of its reach
    assert made[b"c"] == [("n", "-")]
    assert made[b"d"] == [(method, other) for other in "cbgh" for method in "ie"]  # b and c do not have d among theirs
    assert made[b"g"] == [(method, other) for other in "hcb" for method in "ie"]
    assert made[b"h"] == [(method, other) for other in "cb" for method in "ie"]
    assert made[b"e"] == []
    assert made[b"f"] == [("n", "-")]
    assert written[b"a_o01"] == Made([0], "interpolate", b"a", b"b", [0.5, 0.0, 0.0], [0.0, 0.5])
    assert written[b"a_o02"] == Made([0], "extrapolate", b"a", b"b", [-0.5, 0.0, 0.0], [0.0, -0.5])
    assert len(written) == 8 + 4 + 2 + 1 + 8 + 6 + 4 + 1


def test_equal_counts_and_the_label_listed_first():
    """x and y carry labels 0 and 1, of equal counts, in other orders: the authors' rule parts them, and yet their pair is used once."""
    videos = [Video(b"x", [1, 0], [0.0] * 3, [0.0] * 2), Video(b"y", [0, 1], [1.0] * 3, [1.0] * 2)]
    options = Settings(policy="authors", threshold=50.0)
    plan = make_plan(videos, options)
    assert plan.decide(to_batch(videos).column("labels")).tolist() == [1, 0]
    for partition_bytes in (ONE, MANY):
        written = augment(videos, options, partition_bytes)
        assert written == reference(videos, "authors", 50.0, 0)
        assert [(i, m.method, m.neighbor) for i, m in sorted(written.items())] == [
            (b"x", "", None),
            (b"x_o01", "interpolate", b"y"),
            (b"x_o02", "extrapolate", b"y"),
            (b"y", "", None),
            (b"y_o01", "noise", None),
        ]


@settings(max_examples=40, deadline=None)
@given(
    videos=INPUTS,
    copies=st.sampled_from([1.3, 4.0]),
    methods=st.sampled_from([("interpolate",), ("copy", "extrapolate", "noise")]),
)
def test_a_target_does_not_depend_on_the_partitions(videos, copies, methods):
    if not any(video.labels for video in videos):
        return
    options = Settings(policy="target", floor=10 * copies, cap=10 * copies, methods=methods)
    once = augment(videos, options, ONE)
    assert augment(videos, options, MANY, np.random.default_rng(0)) == once
    plan = make_plan(videos, options)
    deciding = plan.decide(to_batch(videos).column("labels"))
    made = Counter(m.base for m in once.values() if m.method)
    for video, label in zip(videos, deciding.tolist(), strict=True):
        quota = plan.copies[label] if label >= 0 and plan.regime[label] == OVER else 0.0
        assert made[video.id] in (math.floor(quota), math.floor(quota) + 1)
        assert made[video.id] <= math.ceil(quota)


@settings(max_examples=60, deadline=None)
@given(videos=INPUTS, methods=st.lists(st.sampled_from(WITHOUT_DELTAS), min_size=1, unique=True).map(tuple))
def test_what_is_made_is_at_most_what_is_expected(videos, methods):
    if not any(video.labels for video in videos):
        return
    options = Settings(threshold=30.0, methods=methods)
    plan = make_plan(videos, options)
    made = Counter(m.base for m in augment(videos, options, ONE).values() if m.method)
    for video, label in zip(videos, plan.decide(to_batch(videos).column("labels")).tolist(), strict=True):
        if label >= 0 and plan.regime[label] == OVER:
            assert 1 <= made[video.id] <= plan.expected()[label] - 1
            if not set(methods) & set(sampling.PAIRED):
                assert made[video.id] == plan.expected()[label] - 1


# --- Partitions -----------------------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    videos=INPUTS,
    policy=st.sampled_from(["paper", "authors"]),
    threshold=st.sampled_from([4.0, 12.0, 60.0, 500.0]),
    bytes_=st.sampled_from([MANY, 5 * VIDEO_BYTES, 20 * VIDEO_BYTES, ONE]),
)
def test_every_video_is_where_it_must_be(videos, policy, threshold, bytes_):
    if not any(video.labels for video in videos):
        return
    plan = make_plan(videos, Settings(policy=policy, threshold=threshold))
    packed, batch = pools.pack(plan, VIDEO_BYTES, bytes_), to_batch(videos)
    deciding = plan.decide(batch.column("labels")).tolist()
    as_is, over, rows, partitions = pools.route(plan, packed, batch)
    sent = list(zip(rows.tolist(), partitions.tolist(), strict=True))
    assert len(sent) == len(set(sent))
    assert all(0 <= partition < packed.count for _, partition in sent)
    # What is over-sampled is a base in exactly one partition; what is not is none anywhere.
    at = Counter()
    for partition in range(packed.count):
        members = [row for row, to in sent if to == partition]
        part = batch.take(pa.array(members, pa.int64()))
        found = pools.bases(plan, packed, partition, part).tolist()
        assert all(label in (-1, deciding[row]) for row, label in zip(members, found, strict=True))
        at.update(row for row, label in zip(members, found, strict=True) if label >= 0)
    assert at == Counter(over.tolist())
    assert over.tolist() == [row for row, label in enumerate(deciding) if label >= 0 and plan.regime[label] == OVER]
    # The pool of every label that needs one is whole in its partition.
    for label in plan.pool_labels.tolist():
        assert packed.needed[label]
        assert all((row, packed.partition[label]) in sent for row, video in enumerate(videos) if label in video.labels)
    # Labels with equal counts share a partition, for their videos may be one another's neighbours.
    for a, b in itertools.combinations(np.flatnonzero(plan.regime == OVER).tolist(), 2):
        assert plan.counts[a] != plan.counts[b] or packed.partition[a] == packed.partition[b]
    # Nobody is lost: kept as it is, over-sampled, or dropped by the sub-sampling.
    dropped = set(range(len(videos))) - set(as_is.tolist()) - set(over.tolist())
    assert all(plan.regime[deciding[row]] == SUB for row in dropped)


def test_partitions_hold_about_what_they_may():
    counts = np.array([1, 2, 2, 3, 10, 11])
    plan = sampling.plan(counts, 29, Settings(threshold=100.0))
    assert pools.pack(plan, 10, 50).partition.tolist() == [0, 0, 0, 1, 1, 2]
    assert pools.pack(plan, 10, 50).count == 3
    assert pools.pack(plan, 10, ONE).partition.tolist() == [0] * 6
    assert pools.pack(plan, 10, MANY).partition.tolist() == [0, 1, 1, 2, 3, 4]
    common = sampling.plan(np.array([500, 3, 800]), 1303, Settings(threshold=100.0))
    packed = pools.pack(common, 10, 50)
    assert packed.partition.tolist() == [-1, 0, -1]
    assert packed.needed.tolist() == [False, True, False]


@settings(max_examples=60, deadline=None)
@given(videos=INPUTS, seed=st.integers(0, 5), most=st.integers(1, 12), together=st.booleans())
def test_pools_that_are_too_large_are_dealt_into_parts(videos, seed, most, together):
    """Each video of a label is in one of its sub-pools, by a hash of its id, and its neighbours are the nearest there."""
    if not any(video.labels for video in videos):
        return
    plan, batch = make_plan(videos, Settings(policy="target", floor=50.0, seed=seed)), to_batch(videos)
    packed = pools.pack(plan, VIDEO_BYTES, ONE if together else MANY, most)
    parts = [max(1, -(-int(count) // most)) if over else 1 for count, over in zip(plan.counts, plan.regime == OVER, strict=True)]
    assert packed.salts.tolist() == parts
    first = [range(p, p + n) for p, n in zip(packed.partition.tolist(), parts, strict=True) if p >= 0]
    assert set().union(*first) == set(range(packed.count))
    salted = [places for places in first if len(places) > 1]
    assert all(not set(a) & set(b) for a in salted for b in first if a is not b)
    _, over, rows, partitions = pools.route(plan, packed, batch)
    bases = Counter()
    for partition in range(packed.count):
        members = rows[partitions == partition]
        part = batch.take(pa.array(np.sort(members)))
        here = [videos[row] for row in np.sort(members).tolist()]
        deciding = pools.bases(plan, packed, partition, part)
        bases.update(video.id for video, label in zip(here, deciding.tolist(), strict=True) if label >= 0)
        for label in np.flatnonzero(packed.salts > 1).tolist():
            if partition - packed.partition[label] in range(parts[label]):
                assert [video.id for video in here if label in video.labels] == [
                    video.id
                    for video in videos
                    if label in video.labels and salt(seed, video.id) % parts[label] == partition - packed.partition[label]
                ]
        for made, batch_made in synthesize(plan, part, deciding, np.arange(len(here))):
            check_distances(here, batch_made, made.apart)
    assert bases == Counter(videos[row].id for row in over.tolist())


def salt(seed: int, video_id: bytes) -> int:
    digest = hashlib.blake2b(video_id, digest_size=8, salt=seed.to_bytes(8, "little"), person=b"pool").digest()
    return int.from_bytes(digest, "little")


def test_a_label_that_the_counts_lack_still_has_its_videos_written():
    """Counts may come from an older stats.json: a video of a label new since then is kept, with a noisy copy."""
    videos = [Video(b"a", [0], [0.0] * 3, [0.0] * 2), Video(b"b", [3, 0], [1.0] * 3, [1.0] * 2)]
    plan = sampling.plan(np.array([2, 0, 0, 0, 0, 0]), 2, Settings(threshold=50.0))
    packed, batch = pools.pack(plan, VIDEO_BYTES, MANY), to_batch(videos)
    _, over, rows, partitions = pools.route(plan, packed, batch)
    assert over.tolist() == [0, 1]
    at = partitions[rows == 1].tolist()
    assert packed.partition[3] in at
    found = {partition: pools.bases(plan, packed, partition, batch) for partition in at}
    assert sum((deciding[1] == 3) for deciding in found.values()) == 1
    made = list(synthesize(plan, batch, found[packed.partition[3]], np.arange(2)))
    assert [row["id"] for _, part in made for row in part.to_pylist() if row["aug_base"] == b"b"] == [b"b_o01"]


def test_a_partition_without_bases_makes_nothing():
    """All videos of a label may follow rarer ones: its pool is sent, and nobody asks."""
    videos = [Video(b"a", [0, 1], [0.0] * 3, [0.0] * 2), Video(b"b", [1, 2], [1.0] * 3, [1.0] * 2)]
    options = Settings(threshold=50.0)
    plan = make_plan(videos, options)
    packed = pools.pack(plan, VIDEO_BYTES, MANY)
    partition = int(packed.partition[1])
    assert pools.bases(plan, packed, partition, to_batch(videos)).tolist() == [-1, -1]
    assert list(synthesize(plan, to_batch(videos), np.full(2, -1), np.arange(2))) == []
    assert augment(videos, options, MANY) == reference(videos, "paper", 50.0, 0)


def test_synthetic_videos_come_in_parts(monkeypatch):
    videos = random_videos(1, 40, 3, 50)
    whole = augment(videos, Settings(threshold=60.0), ONE)
    monkeypatch.setattr("yt8m_data.pools.MAKE_ROWS", 7)
    assert augment(videos, Settings(threshold=60.0), ONE) == whole


# --- Distances --------------------------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(1e-3, 1e4), max_size=60), st.integers(0, 3), st.integers(0, 3))
def test_the_histogram_of_distances_counts_each_in_its_bin(apart, identical, noisy):
    squared = np.array([*np.square(apart), *[0.0] * identical, *[np.nan] * noisy])
    found = pools.distance_histogram("rgb", Counter(pools.distance_bins(squared)))
    assert (found["feature"], found["identical"]) == ("rgb", identical)
    assert sum(found["counts"]) == len(apart)
    if apart:
        assert found["counts"][0] > 0
        assert found["counts"][-1] > 0
    edges = [2 ** ((found["first_bin"] + i) / found["bins_per_octave"]) for i in range(len(found["counts"]) + 1)]
    for at, count in enumerate(found["counts"]):
        low, high = edges[at : at + 2]
        surely = sum(low * (1 + 1e-9) < distance < high * (1 - 1e-9) for distance in apart)
        perhaps = sum(low * (1 - 1e-9) < distance < high * (1 + 1e-9) for distance in apart)
        assert surely <= count <= perhaps


# --- Sub-sampling ---------------------------------------------------------------------------------------------------------------------


def many(count: int) -> list[Video]:
    return [Video(b"%06d" % i, [0], [0.0] * 3, [0.0] * 2) for i in range(count)]


def kept(videos: list[Video], seed: int, threshold: float) -> set[bytes]:
    plan = sampling.plan(np.array([5000, 0, 0, 0, 0, 0]), 5000, Settings(threshold=threshold, seed=seed))
    as_is, over, rows, _ = pools.route(plan, pools.pack(plan, VIDEO_BYTES, ONE), to_batch(videos))
    assert len(over) == len(rows) == 0
    return {videos[row].id for row in as_is}


@pytest.mark.parametrize(("threshold", "ratio"), [(5000 / 2.5, 2), (500.0, 6), (5000 / 80, 40)])
def test_the_kept_part_is_one_in_q(threshold, ratio):
    found = len(kept(many(5000), 0, threshold))
    assert found == pytest.approx(5000 / ratio, abs=5 * math.sqrt(5000 / ratio))


def test_who_is_kept_depends_on_seed_and_id_alone():
    videos = many(5000)
    once = kept(videos, 3, 500.0)
    assert once == {video.id for video in videos if draw(3, video.id) < 1 / 6}
    assert kept(videos[::-1], 3, 500.0) == once
    assert kept(videos[:100], 3, 500.0) == {video.id for video in videos[:100]} & once
    assert kept(videos, 4, 500.0) != once
    assert kept(videos, 3, 5000 / 80) < once  # who survives a stronger cut survives a weaker one


def test_videos_without_labels_are_kept():
    videos = [*many(50), Video(b"none", [], [0.0] * 3, [0.0] * 2)]
    assert b"none" in kept(videos, 0, 5000 / 80)


@settings(max_examples=40, deadline=None)
@given(videos=INPUTS, bytes_=st.sampled_from([MANY, 5 * VIDEO_BYTES, ONE]), policy=st.sampled_from(["paper", "target"]))
def test_no_partition_has_more_videos_than_is_foretold(videos, bytes_, policy):
    if not any(video.labels for video in videos):
        return
    plan = make_plan(videos, Settings(policy=policy, floor=50.0) if policy == "target" else Settings(threshold=60.0))
    packed = pools.pack(plan, VIDEO_BYTES, bytes_)
    _, _, _, partitions = pools.route(plan, packed, to_batch(videos))
    assert (np.bincount(partitions, minlength=packed.count) <= packed.videos(plan.counts)).all()


def test_sub_pools_have_each_a_part_of_the_videos():
    plan = sampling.plan(np.array([100, 7]), 107, Settings(policy="target", floor=200.0))
    assert sorted(pools.pack(plan, 10, 1 << 30, 30).videos(plan.counts).tolist()) == [7, 25, 25, 25, 25]
    assert pools.memory(plan, 200, 16, 2) > pools.memory(plan, 100, 16, 2) > pools.memory(plan, 100, 16, 1) > 100 * 64
