"""Recipes: originals come out as they went in, by the rows of a batch or by places in a store, and keys can be renamed."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from yt8m_data import recipes
from yt8m_data.recipes import InBatch, Made
from yt8m_data.sampling import Settings
from yt8m_data.schema import PROVENANCE, Feature, Schema
from yt8m_data.synthesis import MOVES

VIDEO = Schema("video", "id", "labels", (Feature("rgb", 3), Feature("audio", 2)), 3)


def videos(count: int, seed: int = 0) -> pa.RecordBatch:
    """Originals, with what stands beside them: no provenance, and values that arithmetic would change."""
    random = np.random.default_rng(seed)
    columns = [pa.array([b"id%d" % i for i in range(count)], pa.binary()), pa.array([[i % 3] for i in range(count)], pa.list_(pa.int32()))]
    for feature in VIDEO.features:
        values = random.choice(np.array([-0.0, 0.0, 1e-45, 3e38, 1.5], np.float32), count * feature.size)
        columns.append(pa.FixedSizeListArray.from_arrays(pa.array(values), feature.size))
    columns += [pa.nulls(count, field.type) for field in PROVENANCE]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema([*VIDEO.arrow, *PROVENANCE]))


@given(st.integers(0, 300), st.integers(0, 9))
def test_originals_come_out_bit_by_bit(count, seed):
    batch = videos(count, seed)
    order = np.random.default_rng(seed).permutation(count)
    how = recipes.of_originals(batch.drop_columns(["rgb", "audio"]), np.arange(count)).take(pa.array(order))
    made = recipes.Made(how, InBatch(batch, VIDEO), VIDEO, Settings()).whole()
    assert made.schema.names == batch.schema.names
    expected = batch.take(pa.array(order))
    for feature in VIDEO.features:
        bits = [b.column(feature.name).flatten().to_numpy().view(np.uint32).tolist() for b in (made, expected)]
        assert bits[0] == bits[1]
    assert made.drop_columns(["rgb", "audio"]).equals(expected.drop_columns(["rgb", "audio"]))


@given(st.integers(1, 300), st.integers(0, 9))
def test_vectors_that_come_in_blocks_are_those_of_the_batch(count, seed):
    random, batch = np.random.default_rng(seed), videos(300, seed)
    moves = [random.integers(0, 300, count), random.integers(-1, 300, count), random.random(count), random.random(count) < 0.1]
    moves.append(np.full(count, -1))
    heads = batch.drop_columns(["rgb", "audio"]).take(pa.array(np.arange(count)))
    how = [pa.array(column, field.type) for column, field in zip(moves, MOVES, strict=True)]
    how = pa.RecordBatch.from_arrays([*heads.columns, *how], schema=pa.schema([*heads.schema, *MOVES]))
    with np.errstate(over="ignore"):
        made = Made(how, InBatch(batch, VIDEO), VIDEO, Settings())
        whole, blocks = made.whole(), list(made.vectors())
    assert [len(rgb) for rgb, _ in blocks] == [min(128, count - at) for at in range(0, count, 128)]
    for feature, parts in zip(VIDEO.features, zip(*blocks, strict=True), strict=True):
        bits = [
            values.view(np.uint32).tolist() for values in (np.concatenate(parts).ravel(), whole.column(feature.name).flatten().to_numpy())
        ]
        assert bits[0] == bits[1]
    assert made.heads.equals(whole.drop_columns(["rgb", "audio"]))


def test_keys_are_renamed_and_nothing_stays_nothing():
    moves = [[2, 0], [-1, 1], [0.0, 0.5], [False, True], [-1, 4]]
    batch = pa.RecordBatch.from_arrays([pa.array(m, f.type) for m, f in zip(moves, MOVES, strict=True)], schema=MOVES)
    renamed = recipes.moved_by(batch, np.array([700, 800, 900]))
    assert renamed.column("move_base").to_pylist() == [900, 700]
    assert renamed.column("move_other").to_pylist() == [-1, 800]
    assert renamed.drop_columns(["move_base", "move_other"]).equals(batch.drop_columns(["move_base", "move_other"]))
