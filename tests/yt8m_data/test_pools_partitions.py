"""Routing and partitions: every video is where its neighbours are sought, and no partition has more than it may."""

import hashlib
import itertools
from collections import Counter

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from pools_script import INPUTS, MANY, ONE, VIDEO_BYTES, Video, augment, check_distances, make_plan, reference, synthesize, to_batch

from yt8m_data import pools, sampling
from yt8m_data.sampling import OVER, SUB, Settings


@settings(max_examples=100)
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


@settings(max_examples=60)
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


@settings(max_examples=40)
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
