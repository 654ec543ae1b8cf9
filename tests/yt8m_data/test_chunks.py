"""Chunks are as one batch joined of all would be."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from yt8m_data.chunks import Chunks

COLUMNS = pa.schema([("n", pa.int64()), ("frames", pa.list_(pa.binary(2)))])


def batch(numbers):
    rows = [{"n": n, "frames": [bytes([n % 256, k]) for k in range(n % 3)]} for n in numbers]
    return pa.RecordBatch.from_pylist(rows, schema=COLUMNS)


@given(st.lists(st.lists(st.integers(0, 999), max_size=5), min_size=1, max_size=8), st.sampled_from([1, 100, 1 << 20]), st.data())
def test_rows_and_columns_are_those_of_all_batches_joined(parts, chunk_bytes, data):
    batches = [batch(part) for part in parts]
    whole, chunks = pa.concat_batches(batches), Chunks(iter(batches), chunk_bytes)
    assert len(chunks) == whole.num_rows
    assert chunks.names == COLUMNS.names
    assert chunks.column("frames").equals(whole.column("frames"))
    if whole.num_rows:
        rows = np.array(data.draw(st.lists(st.integers(0, whole.num_rows - 1), min_size=1, max_size=20)))
        assert chunks.take(rows).equals(whole.take(pa.array(rows)))


def test_no_batches_are_no_rows():
    assert (len(Chunks([])), Chunks([]).names) == (0, [])


def test_batches_are_let_go_when_they_are_joined():
    size, held = batch([2] * 1000).nbytes, []
    before = pa.total_allocated_bytes()

    def batches():
        for _ in range(60):
            held.append((pa.total_allocated_bytes() - before) / size)
            yield pa.concat_batches([batch([2] * 500), batch([2] * 500)])

    chunks = Chunks(batches(), 10 * size)
    assert len(chunks) == 60_000
    assert 50 <= max(held) < 75, "the chunks so far, and the batches of one"
