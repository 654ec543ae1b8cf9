"""Features left in the files that have them: what is found there is what decoding gives."""

import gzip
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yt8m_data import codec, in_place, store, tfrecord
from yt8m_data.errors import DataError
from yt8m_data.in_place import PLACES, InPlace
from yt8m_data.proto import Example
from yt8m_data.schema import PROVENANCE, Feature, Schema
from yt8m_data.store import PLACE

SCHEMA = Schema("video", "id", "labels", (Feature("rgb", 5), Feature("audio", 3)), 3)
SIZE = 4 * 8  # bytes of a video's vectors


def example(name: str, random: np.random.Generator, order: list[str], kind: str) -> bytes:
    """A record whose keys come in an order of their own; TensorFlow's writers have no fixed one."""
    values = {feature.name: random.standard_normal(feature.size).astype(np.float32) for feature in SCHEMA.features}
    if kind == "not finite":
        values["audio"][1] = np.inf
    if kind == "huge":  # finite, and their sum is not
        values["audio"][:] = 3e38
    entries = {key: Example() for key in order}
    for key, entry in entries.items():
        feature = entry.features.feature.add(key=key).value
        if key == "id":
            feature.bytes_list.value.append(name.encode())
        elif key == "labels":
            feature.int64_list.value.extend(random.integers(0, 3, random.integers(0, 3)).tolist())
        else:
            feature.float_list.value.extend(values[key].tolist())
    record = Example()
    for entry in entries.values():
        record.features.feature.extend(entry.features.feature)
    if kind == "no features":
        del record.features.feature[:]
    return record.SerializeToString() + (b"\x78\x01" if kind == "odd" else b"")  # a field that nobody knows


def written(folder: Path, kinds: list[list[str]], seed: int) -> list[str]:
    """Files of records of these kinds."""
    random, paths = np.random.default_rng(seed), []
    for number, of_file in enumerate(kinds):
        paths.append(str(folder / f"{number}.tfrecord"))
        with open(paths[-1], "wb") as stream:
            orders = [random.permutation(["id", "labels", "rgb", "audio"]).tolist() for _ in of_file]
            tfrecord.write(stream, [example(f"{number}-{at}", random, orders[at], kind) for at, kind in enumerate(of_file)])
    return paths


def known(paths: list[str], folder: Path) -> in_place.Files:
    return in_place.known(paths, str(folder / "places"), str(folder / "features"))


def put_all(paths: list[str], folder: Path, block_bytes: int) -> tuple[InPlace, pa.RecordBatch, np.ndarray, set[bool]]:
    """What is put of all records, what decoding gives of them, their keys, and whether blocks were located."""
    files, heads, expected, found = known(paths, folder), [], [], set()
    for path in paths:
        with open(path, "rb", buffering=0) as stream:
            for block in tfrecord.read(stream, path, block_bytes):
                decoded, located = codec.decode(block, SCHEMA, True), in_place.locate(block, SCHEMA, files.starts[path])
                found.add(located is not None)
                if located is not None:
                    assert not decoded.bad
                    np.testing.assert_array_equal(located.indices, decoded.indices)
                    assert located.batch.schema.names == ["id", "labels", *PROVENANCE.names, PLACES]
                batch = (located or decoded).batch
                heads.append(in_place.put(files, batch, np.arange(batch.num_rows), SCHEMA))
                expected.append(decoded.batch)
    keys = np.concatenate([head.column(PLACE).to_numpy() for head in heads])
    assert sorted(keys.tolist()) == list(range(len(keys)))
    names = ["id", "labels", *PROVENANCE.names]
    for head, batch in zip(heads, expected, strict=True):
        assert head.select(names).equals(batch.select(names))
    return InPlace(files, SCHEMA), pa.concat_batches(expected), keys, found


def matrix(batch: pa.RecordBatch, name: str) -> np.ndarray:
    return np.array(batch.column(name).to_pylist(), np.float32).reshape(batch.num_rows, batch.schema.field(name).type.list_size)


KINDS = st.sampled_from(["usual"] * 9 + ["huge", "odd", "not finite", "no features"])


@settings(max_examples=60)
@given(
    st.lists(st.lists(KINDS, min_size=1, max_size=40), min_size=1, max_size=4),
    st.sampled_from([300, 2000, 1 << 20]),
    st.integers(0, 99),
)
def test_vectors_are_those_that_decoding_gives(tmp_path_factory, kinds, block_bytes, seed):
    folder = tmp_path_factory.mktemp("in_place")
    paths = written(folder, kinds, seed)
    rows, expected, keys, _ = put_all(paths, folder, block_bytes)
    order = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(keys)), 2))
    wanted = [matrix(expected, feature.name)[order] for feature in SCHEMA.features]
    np.testing.assert_array_equal(rows.vectors(keys[order]), np.hstack(wanted))
    np.testing.assert_array_equal(rows.sought(keys[order]), wanted[0])
    lying = rows.lying(keys[order])
    assert lying.shape == (len(order), 2)
    begin = rows._octets.ctypes.data
    for number, of_feature in enumerate(wanted):
        places = lying[:, number] - begin
        assert [rows._octets[at : at + of_feature[0].nbytes].tobytes() for at in places.tolist()] == [row.tobytes() for row in of_feature]


@pytest.mark.parametrize(("kind", "located"), [("usual", True), ("odd", False), ("huge", False), ("not finite", False)])
def test_a_block_with_a_record_out_of_the_ordinary_is_spilled(tmp_path, kind, located):
    paths = written(tmp_path, [["usual"] * 5, ["usual", kind, "usual"]], 0)
    rows, expected, _, found = put_all(paths, tmp_path, 1 << 20)
    assert found == {True, located}
    assert expected.num_rows == 8 - (kind == "not finite")
    spilled = tmp_path / "features"
    assert (spilled.stat().st_size if spilled.exists() else 0) == (0 if located else SIZE * (expected.num_rows - 5))
    assert rows.vectors(np.arange(0)).shape == (0, 8)


def test_a_wrong_checksum_is_told_as_ever(tmp_path):
    (path,) = written(tmp_path, [["usual"] * 5], 0)
    octets = bytearray(Path(path).read_bytes())
    octets[-6] ^= 1
    Path(path).write_bytes(octets)
    _, expected, _, found = put_all([path], tmp_path, 1 << 20)
    assert expected.num_rows == 4
    assert found == {False}


def test_only_the_rows_that_are_wanted_are_put_down(tmp_path):
    paths = written(tmp_path, [["usual"] * 5, ["odd"] * 5], 0)
    files = known(paths, tmp_path)
    for path, first in zip(paths, (0, 2), strict=True):
        with open(path, "rb", buffering=0) as stream:
            block = next(tfrecord.read(stream, path))
            batch = (in_place.locate(block, SCHEMA, files.starts[path]) or codec.decode(block, SCHEMA, True)).batch
            assert in_place.put(files, batch, np.array([1, 4]), SCHEMA).column(PLACE).to_pylist() == [-1, first, -1, -1, first + 1]
    assert os.path.getsize(files.index) == 4 * 2 * 8
    assert os.path.getsize(files.spilled) == 2 * SIZE
    rows = InPlace(files, SCHEMA)
    for wrong in ([-1], [4], [0, 9]):
        with pytest.raises(IndexError, match=r"are not all among the 4 in the index"):
            rows.vectors(np.array(wrong))
    with pytest.raises(LookupError, match="video 3 has a vector of 'rgb', and no frames"):
        rows.frames("rgb", 3)


def test_an_index_that_nothing_was_put_into(tmp_path):
    rows = InPlace(known(written(tmp_path, [[]], 0), tmp_path), SCHEMA)
    assert rows.sought(np.zeros(0, int)).shape == (0, 5)
    assert rows.lying(np.zeros(0, int)).shape == (0, 2)


def test_memory_that_is_mapped_cannot_be_written(tmp_path):
    rows, _, keys, _ = put_all(written(tmp_path, [["usual"]], 0), tmp_path, 1 << 20)
    assert not rows._octets.flags.writeable
    assert rows.vectors(keys).flags.writeable


@pytest.mark.parametrize("change", ["shorter", "longer", "touched", "removed"])
def test_a_file_that_has_changed_is_told(tmp_path, change):
    paths = written(tmp_path, [["usual"], ["usual"]], 0)
    files, path = known(paths, tmp_path), Path(paths[1])
    files.check()
    if change == "removed":
        path.unlink()
    elif change == "touched":
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    else:
        path.write_bytes(path.read_bytes()[:-1] if change == "shorter" else path.read_bytes() + b"\0")
    for use in (files.check, files.map):
        with pytest.raises(DataError, match=r"1\.tfrecord has changed since the job began, which reads it again: leave the input alone"):
            use()


def test_which_files_serve(tmp_path):
    paths = written(tmp_path, [["usual"], ["usual"]], 0)
    assert in_place.serves(SCHEMA, paths)
    assert not in_place.serves(Schema("frame", "id", "labels", SCHEMA.features, 3), paths)
    assert not in_place.serves(SCHEMA, [*paths, "gs://bucket/2.tfrecord"])
    assert not in_place.serves(SCHEMA, paths * 10_000)
    Path(paths[1]).write_bytes(gzip.compress(Path(paths[1]).read_bytes()))
    assert not in_place.serves(SCHEMA, paths)


def test_what_is_spilled_lies_behind_the_files(tmp_path):
    paths = written(tmp_path, [["odd"] * 3], 0)
    rows, expected, keys, _ = put_all(paths, tmp_path, 1 << 20)
    lying = rows.lying(keys) - rows._octets.ctypes.data
    assert lying.min() == known(paths, tmp_path).end
    np.testing.assert_array_equal(lying, lying[0, 0] + store.spread(SIZE * np.arange(3), SCHEMA))
    np.testing.assert_array_equal(rows.sought(keys), matrix(expected, "rgb"))
