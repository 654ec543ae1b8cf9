"""Layouts of outputs: which shard and partition a row belongs to, and the order within them."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.layout import HASH, Layout
from beam_jobs.transforms import split_batch
from yt8m_data import schema
from yt8m_data.chunks import Chunks
from yt8m_data.errors import DataError


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 9))
def test_layout_puts_each_shard_in_one_partition(num_shards, num_partitions, seed):
    layout = Layout("out", "train", num_shards, min(num_shards, num_partitions), seed)
    covered = [shard for partition in range(layout.num_partitions) for shard in layout.shards_of(partition)]
    assert covered == list(range(num_shards))
    ids = [b"%d" % i for i in range(200)]
    of_ids = layout.shard(layout.hashes(ids))
    assert of_ids.min() >= 0
    assert of_ids.max() < num_shards
    assert all(shard in layout.shards_of(partition) for shard, partition in zip(of_ids, layout.partition(ids), strict=True))


@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 9))
def test_a_shard_may_have_several_partitions(num_shards, parts, seed):
    layout = Layout("out", "train", num_shards, num_shards * parts, seed)
    assert layout.num_tasks == num_shards
    assert [p for task in range(num_shards) for p in layout.partitions_of(task)] == list(range(num_shards * parts))
    ids = [b"%d" % i for i in range(200)]
    shard_of, partition_of = layout.shard(layout.hashes(ids)), layout.partition(ids)
    assert all(partition in layout.partitions_of(shard) for shard, partition in zip(shard_of, partition_of, strict=True))
    assert [layout.shards_of(task) for task in range(num_shards)] == [[task] for task in range(num_shards)]


@given(st.integers(1, 10**7), st.integers(1, 60), st.integers(1, 10**6), st.integers(1, 16))
def test_no_partition_has_more_than_its_share_of_memory(size, num_shards, most, tasks):
    partitions = Layout.partitions_for(size, num_shards, most, tasks)
    layout = Layout("out", "train", num_shards, partitions, 0)
    assert partitions <= num_shards or partitions % num_shards == 0
    largest = max(len(layout.shards_of(task)) for task in range(layout.num_tasks)) * layout.num_tasks / partitions
    assert largest * size / num_shards <= most * (1 + 1e-9)
    assert layout.num_tasks >= min(tasks, num_shards)


def test_there_are_no_more_partitions_than_it_takes():
    assert Layout.partitions_for(100, 10, 30, 1) == 4  # of three shards at most
    assert Layout.partitions_for(100, 4, 30, 1) == 4
    assert Layout.partitions_for(100, 3, 30, 1) == 6  # a shard has 33, so two halves of each
    assert Layout.partitions_for(0, 5, 30, 1) == 1


@pytest.mark.parametrize(("num_shards", "partitions"), [(5, 2), (5, 5), (2, 6), (1, 4)])
def test_tasks_put_their_rows_in_order_one_shard_after_the_other(videos, num_shards, partitions):
    layout = Layout("out", "train", num_shards, partitions, 3)
    records = schema.Schema("video", "id", "labels", (schema.Feature("mean_rgb", 3),), 10)
    batch = videos([b"v%03d" % n for n in range(300)])
    parts = dict(split_batch(batch, layout.partition(batch.column("id").to_pylist())))
    found = {}
    for task in range(layout.num_tasks):
        for shard, rows in layout.ordered(task, [Chunks([parts[p]] if p in parts else []) for p in layout.partitions_of(task)], records):
            found[shard] = [i for part in rows for i in part.column("id").to_pylist()]
    assert sorted(found) == list(range(num_shards))
    order = [i for shard in sorted(found) for i in found[shard]]
    hashes = layout.hashes(order)
    assert sorted(order) == batch.column("id").to_pylist()
    assert hashes.tolist() == sorted(hashes.tolist())
    assert all(layout.shard(layout.hashes(ids)).tolist() == [shard] * len(ids) for shard, ids in found.items())


def test_batches_are_cut_alike_wherever_partitions_end(videos, monkeypatch):
    """Statistics add up what is in a batch before they add up batches, and a Parquet group is a batch."""
    monkeypatch.setattr("beam_jobs.layout.rows_at_a_time", lambda _: 7)
    records = schema.Schema("video", "id", "labels", (schema.Feature("mean_rgb", 3),), 10)
    batch, found = videos([b"v%03d" % n for n in range(200)]), []
    for partitions in (2, 3, 12, 60):
        layout = Layout("out", "train", 3, partitions, 3)
        parts = dict(split_batch(batch, layout.partition(batch.column("id").to_pylist())))
        found.append([])
        for task in range(layout.num_tasks):
            for shard, rows in layout.ordered(
                task, [Chunks([parts[p]] if p in parts else []) for p in layout.partitions_of(task)], records
            ):
                found[-1] += [(shard, part.column("id").to_pylist()) for part in rows]
    assert found[1:] == found[:-1]
    assert all(len(ids) == 7 for (shard, ids), (following, _) in itertools.pairwise(found[0]) if shard == following)


def test_rows_may_bring_their_hashes_and_equal_ones_are_ordered_by_id(videos):
    layout, records = Layout("out", "train", 1, 1, 3), schema.Schema("video", "id", "labels", (schema.Feature("mean_rgb", 3),), 10)
    ids, hashes = [b"d", b"a", b"c", b"b", b"e"], np.array([7, 7, 1, 7, 2], np.uint64)
    batch = videos(ids).append_column(HASH, pa.array(hashes))
    ((_, rows),) = layout.ordered(0, [Chunks([batch])], records)
    assert [i for part in rows for i in part.column("id").to_pylist()] == [b"c", b"e", b"a", b"b", b"d"]
    with pytest.raises(DataError, match="the id 'b' would be written twice"):
        list(layout.ordered(0, [Chunks([batch, batch.slice(3, 1)])], records))
