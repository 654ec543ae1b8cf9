"""Deltas: who donates, which pairs, and what they are, against a plain script on lists; bounds and files."""

import hashlib
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yt8m_data import deltas
from yt8m_data.errors import DataError
from yt8m_data.schema import Feature, Schema

CLASSES = 5
SCHEMA = Schema("video", "id", "labels", (Feature("rgb", 3), Feature("audio", 2)), CLASSES)


def videos(seed: int, count: int) -> pa.RecordBatch:
    """Features are small whole numbers, so that distances are exact and often equal; labels come in any order, some twice."""
    random = np.random.default_rng(seed)
    ids = [b"v%03d" % i for i in random.permutation(count)]
    labels = [random.integers(0, CLASSES, random.integers(0, 4)).tolist() for _ in range(count)]
    columns = [pa.array(ids, pa.binary()), pa.array(labels, pa.list_(pa.int32()))]
    for feature in SCHEMA.features:
        values = random.integers(-3, 4, count * feature.size).astype(np.float32)
        columns.append(pa.FixedSizeListArray.from_arrays(pa.array(values), feature.size))
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA.arrow)


def counts(batch: pa.RecordBatch) -> np.ndarray:
    return np.bincount([label for row in batch.column("labels").to_pylist() for label in set(row)], minlength=CLASSES)


def hashed(seed: int, video: bytes, purpose: str) -> int:
    digest = hashlib.blake2b(video, digest_size=8, salt=seed.to_bytes(8, "little"), person=purpose.encode()).digest()
    return int.from_bytes(digest, "little")


def reference(batch: pa.RecordBatch, selection: deltas.Selection) -> list[tuple[int, bytes, bytes, list[float], list[float]]]:
    made = []
    for label in range(CLASSES):
        donors = [
            row
            for row in batch.to_pylist()
            if label in row["labels"] and (hashed(selection.seed, row["id"], "donor") >> 11) / 2**53 < selection.rates[label]
        ]
        chosen = sorted(donors, key=lambda row: (hashed(selection.seed, row["id"], f"delta {label}"), row["id"]))
        for p in chosen[: selection.quota[label]]:
            others = [row for row in donors if row["id"] != p["id"]]
            others.sort(key=lambda row: (math.dist(p["rgb"], row["rgb"]) ** 2, row["id"]))
            near = others[: selection.neighbors]
            if near:
                q = near[hashed(selection.seed, p["id"], f"minus {label}") % len(near)]
                differences = [[a - b for a, b in zip(p[name], q[name], strict=True)] for name in ("rgb", "audio")]
                made.append((label, p["id"], q["id"], *differences))
    return made


def listed(made: pa.RecordBatch) -> list[tuple[int, bytes, bytes, list[float], list[float]]]:
    return [(row["label"], row["plus"], row["minus"], row["rgb"], row["audio"]) for row in made.to_pylist()]


@settings(max_examples=60)
@given(
    st.integers(0, 2**32),
    st.integers(2, 60),
    st.integers(1, 80),
    st.sampled_from([2.0, 10.0]),
    st.sampled_from([4, 1024]),
    st.integers(0, 3),
)
def test_pairs_against_a_plain_script(seed, count, most, threshold, pool, cuts):
    batch = videos(seed, count)
    if not (counts(batch) > threshold).any():
        with pytest.raises(DataError, match="no label has more than"):
            deltas.plan(counts(batch), threshold, most)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deltas, "POOL", pool)
        selection = deltas.plan(counts(batch), threshold, most, seed=3, neighbors=3)
    expected = reference(batch, selection)
    random = np.random.default_rng(cuts)
    parts = np.split(random.permutation(count), np.sort(random.integers(0, count + 1, cuts)))
    if not expected:
        with pytest.raises(DataError, match="no two videos share a frequent label"):
            deltas.select(selection, [batch], SCHEMA)
        return
    assert listed(deltas.select(selection, [batch.take(pa.array(part)) for part in parts], SCHEMA)) == expected
    assert len(expected) <= most


def test_the_quota_is_spread_over_frequent_labels():
    selection = deltas.plan(np.array([50, 11, 10, 5000, 300]), 10, 10)
    assert selection.quota.tolist() == [2, 2, 0, 3, 3]
    assert selection.rates.tolist() == [1, 1, 0, 1024 / 5000, 1]
    few = deltas.plan(np.array([50, 11, 10, 5000, 300]), 10, 2)
    assert few.quota.tolist() == [0, 0, 0, 1, 1]
    assert few.rates[0] == 0
    many = deltas.plan(np.array([5, 100_000, 0, 0, 0]), 10, 8000)
    assert many.rates[1] == 0.16  # twice as many donors as pairs
    assert deltas.plan(np.array([1, 2]), 0.5, 5).quota.tolist() == [0, 5]  # a lone video has no neighbour


def test_the_number_of_donors_is_bounded():
    """20,000 videos of one label: as many donors as planned, up to chance."""
    count = 20_000
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array([b"%06d" % i for i in range(count)], pa.binary()),
            pa.array([[1]] * count, pa.list_(pa.int32())),
            *(pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(count * f.size, np.float32)), f.size) for f in SCHEMA.features),
        ],
        schema=SCHEMA.arrow,
    )
    selection = deltas.plan(counts(batch), 10, 100)
    ((label, found),) = deltas.donors(selection, batch)
    assert label == 1
    assert abs(found.num_rows - deltas.POOL) < 5 * deltas.POOL**0.5


def test_no_deltas_at_all():
    with pytest.raises(DataError, match="0 deltas are none"):
        deltas.plan(np.array([50]), 10, 0)
    with pytest.raises(DataError, match=r"more than 100\.0 videos.*lower --threshold"):
        deltas.plan(np.array([50]), 100, 5)


def test_a_file_of_deltas(tmp_path):
    batch = videos(1, 50)
    made = deltas.select(deltas.plan(counts(batch), 2, 30), [batch], SCHEMA)
    path = str(tmp_path / deltas.FILE)
    deltas.write(path, made)
    read = deltas.read(path)
    rows = made.to_pylist()
    assert read.plus == [row["plus"] for row in rows]
    assert read.minus == [row["minus"] for row in rows]
    assert read.labels.tolist() == [row["label"] for row in rows] == sorted(row["label"] for row in rows)
    assert list(read.vectors) == ["rgb", "audio"]
    for name, matrix in read.vectors.items():
        assert matrix.dtype == np.float32
        assert matrix.tolist() == [row[name] for row in rows]
    first = (tmp_path / deltas.FILE).read_bytes()
    deltas.write(path, deltas.select(deltas.plan(counts(batch), 2, 30), [batch], SCHEMA))
    assert (tmp_path / deltas.FILE).read_bytes() == first


def test_a_wrong_file_of_deltas(tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*none"):
        deltas.read(str(tmp_path / "none"))
    (tmp_path / "text").write_text("no Arrow")
    with pytest.raises(DataError, match="text is no file of deltas"):
        deltas.read(str(tmp_path / "text"))
    with pa.ipc.new_file(str(tmp_path / "other"), SCHEMA.arrow) as writer:
        writer.write_batch(videos(0, 3))
    with pytest.raises(DataError, match="has the columns id, labels"):
        deltas.read(str(tmp_path / "other"))
