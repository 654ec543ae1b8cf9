"""The store of features: what was put is read back, whoever else appends meanwhile."""

import errno
import gc
import warnings
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yt8m_data import store
from yt8m_data.errors import DataError
from yt8m_data.quantize import dequantized_mean
from yt8m_data.schema import Feature, Schema
from yt8m_data.store import PLACE, Store

FEATURES = (Feature("rgb", 5), Feature("audio", 3))
VIDEO, FRAME = Schema("video", "id", "labels", FEATURES, 3), Schema("frame", "id", "labels", FEATURES, 3)

MAPPED = pytest.mark.parametrize("mapped", [False, True])


def video_batch(count: int, seed: int) -> pa.RecordBatch:
    random = np.random.default_rng(seed)
    columns = [pa.array([b"%d" % i for i in range(count)], pa.binary()), pa.array([[i % 3] for i in range(count)], pa.list_(pa.int32()))]
    for feature in FEATURES:
        values = random.standard_normal(count * feature.size).astype(np.float32)
        columns.append(pa.FixedSizeListArray.from_arrays(pa.array(values), feature.size))
    return pa.RecordBatch.from_arrays(columns, schema=VIDEO.arrow)


def frame_batch(counts: list[int], seed: int) -> tuple[pa.RecordBatch, list[dict[str, np.ndarray]]]:
    random = np.random.default_rng(seed)
    videos = [{f.name: random.integers(0, 256, (count, f.size), np.uint8) for f in FEATURES} for count in counts]
    columns = [pa.array([b"%d" % i for i in range(len(counts))], pa.binary()), pa.array([[0]] * len(counts), pa.list_(pa.int32()))]
    for feature in FEATURES:
        frames = [[row.tobytes() for row in video[feature.name]] for video in videos]
        columns.append(pa.array(frames, pa.list_(pa.binary(feature.size))))
    return pa.RecordBatch.from_arrays(columns, schema=FRAME.arrow), videos


def matrix(batch: pa.RecordBatch, name: str) -> np.ndarray:
    return np.array(batch.column(name).to_pylist(), np.float32).reshape(batch.num_rows, -1)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 6) | st.integers(126, 260), min_size=1, max_size=4), st.integers(0, 9))
def test_vectors_come_back_from_several_batches(tmp_path_factory, sizes, seed):
    path = str(tmp_path_factory.mktemp("store") / "features")
    batches = [video_batch(size + 2, seed + number).slice(1) for number, size in enumerate(sizes)]
    heads = [store.put(path, batch, np.arange(batch.num_rows), VIDEO) for batch in batches]
    assert all(head.schema.names == ["id", "labels", PLACE] for head in heads)
    places = np.concatenate([head.column(PLACE).to_numpy() for head in heads])
    order = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(places)), 2))
    expected = [np.concatenate([matrix(batch, feature.name) for batch in batches])[order] for feature in FEATURES]
    for found in (Store(path, VIDEO), Store(path, VIDEO, mapped=True), Store(path, VIDEO, compiled=True)):
        np.testing.assert_array_equal(found.vectors(places[order]), np.hstack(expected))
        np.testing.assert_array_equal(found.sought(places[order]), expected[0])


def test_only_the_rows_that_are_wanted_are_stored(tmp_path):
    path, batch = str(tmp_path / "features"), video_batch(5, 0)
    places = store.put(path, batch, np.array([1, 4]), VIDEO).column(PLACE).to_pylist()
    assert places == [-1, 0, -1, -1, 32]
    assert (tmp_path / "features").stat().st_size == 64
    none = store.put(path, batch, np.zeros(0, int), VIDEO)
    assert none.column(PLACE).to_pylist() == [-1] * 5


@MAPPED
def test_frames_and_their_means_come_back(tmp_path, mapped):
    path = str(tmp_path / "features")
    (first, few), (second, more) = frame_batch([3, 1, 200], 0), frame_batch([7, 2], 1)
    places = [store.put(path, b, np.arange(b.num_rows), FRAME).column(PLACE).to_numpy() for b in (first, second.slice(1))]
    places, videos, found = np.concatenate(places), [*few, more[1]], Store(path, FRAME, mapped)
    for place, video in zip(places.tolist(), videos, strict=True):
        for feature in FEATURES:
            np.testing.assert_array_equal(found.frames(feature.name, place), video[feature.name])
    expected = [dequantized_mean(video["rgb"]) for video in videos]
    np.testing.assert_array_equal(found.sought(places[[2, 0, 3]]), [expected[2], expected[0], expected[3]])


@MAPPED
def test_a_store_that_nothing_was_put_into(tmp_path, mapped):
    found = Store(str(tmp_path / "features"), VIDEO, mapped)
    assert found.sought(np.zeros(0, int)).shape == (0, 5)
    assert found.vectors(np.zeros(0, int)).shape == (0, sum(feature.size for feature in FEATURES))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_file_that_ends_too_soon_is_told(tmp_path, compiled):
    path = tmp_path / "features"
    places = store.put(str(path), video_batch(3, 0), np.arange(3), VIDEO).column(PLACE).to_numpy()
    path.write_bytes(path.read_bytes()[:-1])
    found = Store(str(path), VIDEO, compiled=compiled)
    assert found.vectors(places[:2]).shape == (2, 8)
    with pytest.raises(EOFError, match=r"features ends at 95, within the features at 64"):
        found.vectors(places)


def _put_many(path: str, seed: int) -> np.ndarray:
    return np.concatenate([store.put(path, video_batch(100, 50 * seed + i), np.arange(100), VIDEO).column(PLACE) for i in range(50)])


def test_processes_do_not_write_into_one_another(tmp_path):
    path = str(tmp_path / "features")
    with ProcessPoolExecutor(2) as executor:
        places = list(executor.map(_put_many, [path] * 2, range(2)))
    assert len(set(np.concatenate(places).tolist())) == 10_000
    found = Store(path, VIDEO)
    for seed, at in enumerate(places):
        expected = np.concatenate([matrix(video_batch(100, 50 * seed + i), "audio") for i in range(50)])
        np.testing.assert_array_equal(found.vectors(at)[:, -expected.shape[1] :], expected)


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(store.fcntl, "flock", full)
    with pytest.raises(DataError, match="is full: make room"):
        store.put(str(tmp_path / "features"), video_batch(3, 0), np.arange(3), VIDEO)


@MAPPED
def test_the_file_is_closed_with_its_store(tmp_path, mapped):
    path = str(tmp_path / "features")
    store.put(path, video_batch(3, 0), np.arange(3), VIDEO)
    found = Store(path, VIDEO, mapped)
    stream = found._stream
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found.itself = found  # so that the collector finds it
        del found
        gc.collect()
    assert stream.closed
