"""The compiled pass over videos to make: the plain way is its oracle, byte by byte and bit by bit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yt8m_data import codec, compiled_rows, deltas, in_place, making, store, tfrecord
from yt8m_data.in_place import InPlace
from yt8m_data.recipes import InBatch, Made
from yt8m_data.sampling import Settings
from yt8m_data.schema import PROVENANCE, Feature, Schema
from yt8m_data.store import PLACE, Store
from yt8m_data.synthesis import MOVES

POOL = 40  # videos that others are made of
ORDINARY = np.array([-2.0, -0.0, 0.0, 1e-45, 0.1, 1.5, 3.75], np.float32)


def schema_of(sizes: tuple[int, ...]) -> Schema:
    features = [Feature(name, size) for name, size in zip(("mean_rgb", "audio", "zz"), sizes, strict=False)]
    return Schema("video", "id", "labels", tuple(features), 9)


def videos(schema: Schema, random: np.random.Generator, values: np.ndarray) -> pa.RecordBatch:
    ids = pa.array([b"v%02d" % n for n in range(POOL)], pa.binary())
    labels = pa.array([[n % 9, 8][: n % 3] for n in range(POOL)], pa.list_(pa.int32()))
    columns = [
        pa.FixedSizeListArray.from_arrays(pa.array(random.choice(values, POOL * f.size) + random.choice(ORDINARY, 1)[0]), f.size)
        for f in schema.features
    ]
    return pa.RecordBatch.from_arrays([ids, labels, *columns], schema=schema.arrow)


def recipes_of(count: int, keys: np.ndarray, random: np.random.Generator, odd: float, bank: bool) -> pa.RecordBatch:
    """Recipes of all kinds; `odd` is the share of those with noise, and of those by deltas where there is a bank."""
    base, alone = random.integers(0, POOL, count), random.random(count) < 0.3
    part = random.choice(np.array([0.5, -0.5, 0, 0.3, -0.7], np.float32), count)
    noise, moved = random.random(count) < odd, (random.random(count) < odd) & bank
    method = np.where(alone, None, "interpolate")
    moves = [keys[base], np.where(alone | moved, -1, keys[random.integers(0, POOL, count)]), part, noise, np.where(moved, base % 3, -1)]
    provenance = {
        "aug_method": pa.array(method, pa.string()).cast(pa.binary()),
        "aug_base": pa.array([b"v%02d" % n for n in base.tolist()], pa.binary()),
        "aug_lambda": pa.array(part, mask=alone),
    }
    columns = [
        pa.array([b"v%02d_o%d" % (n, at) for at, n in enumerate(base.tolist())], pa.binary()),
        pa.array([list(range(at % 4)) for at in range(count)], pa.list_(pa.int32())),
        *(provenance.get(field.name, pa.nulls(count, field.type)) for field in PROVENANCE),
        *(pa.array(column, field.type) for column, field in zip(moves, MOVES, strict=True)),
    ]
    fields = [("id", pa.binary()), ("labels", pa.list_(pa.int32()))]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema([*map(pa.field, *zip(*fields, strict=True)), *PROVENANCE, *MOVES]))


def bank_of(schema: Schema, random: np.random.Generator) -> deltas.Deltas:
    vectors = {feature.name: random.standard_normal((3, feature.size), np.float32) for feature in schema.features}
    return deltas.Deltas([b"p"] * 3, [b"m"] * 3, np.zeros(3, np.int64), vectors)


def left_in_place(batch: pa.RecordBatch, schema: Schema, folder: Path) -> tuple[np.ndarray, InPlace]:
    """The keys of a batch's videos in a file of them, and what finds them there."""
    with open(folder / "in", "wb") as stream:
        tfrecord.write(stream, codec.encode(batch, schema))
    files = in_place.known([str(folder / "in")], str(folder / "places"), str(folder / "features"))
    with open(folder / "in", "rb", buffering=0) as stream:
        block = next(tfrecord.read(stream, "in"))
        found = in_place.locate(block, schema, 0) or codec.decode(block, schema)
    keys = in_place.put(files, found.batch, np.arange(POOL), schema).column(PLACE).to_numpy()
    return keys, InPlace(files, schema)


def written(made: making.Making, tmp_path) -> tuple[bytes, object]:
    path = tmp_path / "shard"
    with open(path, "wb") as stream:
        for framed in made.records():
            assert len(framed.records()) <= 512
            tfrecord.write(stream, framed)
    return path.read_bytes(), made.sums()


def assert_equal_sums(one, other) -> None:
    assert (one is None) == (other is None)
    for name in one or {}:
        for mine, theirs in zip(one[name], other[name], strict=True):
            assert np.asarray(mine).dtype == np.asarray(theirs).dtype
            assert np.asarray(mine).tobytes() == np.asarray(theirs).tobytes()


@settings(max_examples=60)
@given(
    sizes=st.sampled_from([(1024, 128), (2,), (3, 2), (5, 1025, 40), (600, 7), (300, 2)]),
    count=st.sampled_from([1, 2, 127, 128, 129, 300, 1100]),
    where=st.sampled_from(["batch", "mapped", "unmapped", "in place"]),
    hold=st.sets(st.sampled_from(["mean_rgb", "audio"])),
    odd=st.sampled_from([0, 0.02, 0.5]),
    values=st.sampled_from([ORDINARY, ORDINARY * 1000, np.array([3e38, 1, 0], np.float32)]),
    with_bank=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_compiled_pass_gives_the_bytes_and_sums_of_the_plain_way(
    tmp_path_factory, sizes, count, where, hold, odd, values, with_bank, seed
):
    random, folder, schema = np.random.default_rng(seed), tmp_path_factory.mktemp("rows"), schema_of(sizes)
    batch, chosen = videos(schema, random, values), replace(Settings(), hold=tuple(sorted(hold)), seed=seed)
    keys, rows = np.arange(POOL), InBatch(batch, schema)
    if where == "in place":
        keys, rows = left_in_place(batch, schema, folder)
    elif where != "batch":
        keys = store.put(str(folder / "store"), batch, keys, schema).column(PLACE).to_numpy()
        rows = Store(str(folder / "store"), schema, mapped=where == "mapped")
    bank = bank_of(schema, random) if with_bank else None
    with np.errstate(over="ignore", invalid="ignore"):
        made = Made(recipes_of(count, keys, random, odd, with_bank), rows, schema, chosen, bank)
        octets, sums = written(compiled_rows.Compiled(made, compiled_rows.Room()), folder)
        expected, plain_sums = written(making.Plain(made), folder)
    assert octets == expected
    assert_equal_sums(sums, plain_sums)


def test_a_room_is_made_once():
    room = compiled_rows.Room()
    first = room.of(100)
    assert np.shares_memory(first, room.of(50))
    assert len(room.of(200)) == 200


def test_places_outside_the_store_are_refused(tmp_path):
    schema, random = schema_of((3, 2)), np.random.default_rng(0)
    keys = store.put(str(tmp_path / "store"), videos(schema, random, ORDINARY), np.arange(POOL), schema).column(PLACE).to_numpy()
    rows = Store(str(tmp_path / "store"), schema, mapped=True)
    for wrong in (keys + 1, keys - 1):
        made = Made(recipes_of(200, wrong, random, 0, False), rows, schema, Settings())
        with pytest.raises(IndexError, match=r"vectors of 20 bytes at .* are not all within 800 bytes"):
            list(compiled_rows.Compiled(made, compiled_rows.Room()).records())


def test_what_the_loops_do_not_serve_is_made_in_the_plain_way(monkeypatch):
    schema, random = schema_of((3, 2)), np.random.default_rng(0)
    rows = InBatch(videos(schema, random, ORDINARY), schema)
    made = Made(recipes_of(9, np.arange(POOL), random, 0, False), rows, schema, Settings())
    assert isinstance(making.compiled()(made), compiled_rows.Compiled)
    narrow = schema_of((3, 1))
    assert isinstance(making.compiled()(made._replace(schema=narrow)), making.Plain)
    monkeypatch.setattr(compiled_rows, "finds_checksum", lambda: False)
    assert isinstance(making.compiled()(made), making.Plain)
    monkeypatch.setattr(making.importlib.util, "find_spec", lambda name: None)
    assert making.compiled() is making.Plain
