"""The codec does not mind where rows are cut: blocks of any size, batches that are views of others, vectors that come some at a time."""

import io

import numpy as np
import pyarrow as pa
import pytest
from codec_rows import KINDS, ROUNDS, VIDEO, batch_of, by_tensorflow, decoded, encode, example_row, rows_of
from hypothesis import given
from hypothesis import strategies as st

from yt8m_data import codec, tfrecord
from yt8m_data.encoding import encode_with
from yt8m_data.schema import PROVENANCE, Schema


@KINDS
@ROUNDS
@given(data=st.data())
def test_blocks_of_any_size_decode_alike(schema, data):
    rows = data.draw(st.lists(rows_of(schema), max_size=8))
    block_bytes = data.draw(st.integers(64, 65_536))
    assert decoded([by_tensorflow(row, schema) for row in rows], schema, block_bytes=block_bytes) == (dict(enumerate(rows)), [])


@KINDS
def test_a_batch_outlives_its_block(schema):
    rows = [example_row(schema, number) for number in range(20)]
    stream = io.BytesIO()
    tfrecord.write(stream, [by_tensorflow(row, schema) for row in rows])
    stream.seek(0)
    batches = [codec.decode(block, schema).batch for block in tfrecord.read(stream, "shard", 512)]
    assert len(batches) > 2
    assert [row for batch in batches for row in batch.to_pylist()] == rows


def some_batch(schema: Schema) -> pa.RecordBatch:
    """Seven rows of different lengths in every column, with nulls where they may be."""
    rows = []
    for number in range(7):
        row = example_row(schema, number, num_frames=1 + number % 3) | {"labels": list(range(number % 4))}
        weights = [number / 16] * (number % 4) or None
        values = [b"noise", b"base%d" % number, None, number / 8, b"origin", weights] if number % 3 else [None] * 6
        rows.append(row | dict(zip(PROVENANCE.names, values, strict=True)))
    return batch_of(rows, schema)


@KINDS
def test_slices_encode_as_their_rows(schema):
    batch = some_batch(schema)
    records = encode(batch, schema)
    for start in range(8):
        for length in range(8 - start):
            assert encode(batch.slice(start, length), schema) == records[start : start + length]
    assert encode(batch.slice(1, 6).slice(2, 3), schema) == records[3:6]


@KINDS
def test_taken_joined_and_stored_batches_encode_as_their_rows(schema):
    batch = some_batch(schema)
    records = encode(batch, schema)
    order = [5, 0, 0, 6, 2]
    assert encode(batch.take(pa.array(order)), schema) == [records[row] for row in order]
    [joined] = pa.Table.from_batches([batch.slice(4), batch.slice(1, 2)]).combine_chunks().to_batches()
    assert encode(joined, schema) == records[4:] + records[1:3]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch.slice(2, 4))
    stored = pa.ipc.open_stream(sink.getvalue()).read_next_batch()
    assert encode(stored, schema) == records[2:6]


@pytest.mark.parametrize("rows", [1, 3, 7, 50])
def test_vectors_may_come_some_rows_at_a_time(rows):
    batch, sizes = some_batch(VIDEO), [feature.size for feature in VIDEO.features]
    matrices = [np.array(batch.column(f.name).to_pylist(), np.float32).reshape(-1, f.size) for f in VIDEO.features]
    both, ends = np.hstack(matrices), np.cumsum(sizes)
    parts = [both[:, end - size : end] for size, end in zip(sizes, ends, strict=True)]
    vectors = ([part[at : at + rows] for part in parts] for at in range(0, batch.num_rows, rows))
    found = [framed.records() for framed in encode_with(batch.drop_columns([f.name for f in VIDEO.features]), vectors, VIDEO)]
    assert [len(records) for records in found] == [min(rows, batch.num_rows - at) for at in range(0, batch.num_rows, rows)]
    assert [record for records in found for record in records] == encode(batch, VIDEO)


@KINDS
def test_an_empty_batch_has_no_records(schema):
    assert encode(batch_of([], schema), schema) == []
    assert encode(some_batch(schema).slice(3, 0), schema) == []
