"""How much `shard` puts into a partition."""

from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.shard import _partitions
from beam_jobs.transforms import Layout


@given(st.integers(1, 10**7), st.integers(1, 60), st.integers(1, 10**6), st.integers(1, 16))
def test_no_partition_has_more_than_its_share_of_memory(size, num_shards, most, tasks):
    partitions = _partitions(size, num_shards, most, tasks)
    layout = Layout("out", "train", num_shards, partitions, 0)
    assert partitions <= num_shards or partitions % num_shards == 0
    largest = max(len(layout.shards_of(task)) for task in range(layout.num_tasks)) * layout.num_tasks / partitions
    assert largest * size / num_shards <= most * (1 + 1e-9)
    assert layout.num_tasks >= min(tasks, num_shards)


def test_there_are_no_more_partitions_than_it_takes():
    assert _partitions(100, 10, 30, 1) == 4  # of three shards at most
    assert _partitions(100, 4, 30, 1) == 4
    assert _partitions(100, 3, 30, 1) == 6  # a shard has 33, so two halves of each
    assert _partitions(0, 5, 30, 1) == 1
