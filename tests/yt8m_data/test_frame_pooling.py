import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from yt8m_data.errors import DataError
from yt8m_data.frame_pooling import MOMENTS, pool, pooled_schema
from yt8m_data.quantize import dequantize
from yt8m_data.schema import OTHER, Feature, Schema

SCHEMA = Schema("frame", "id", "labels", (Feature("rgb", 5), Feature("audio", 2)), 10, (OTHER,))
ALL = tuple(MOMENTS)

videos = st.lists(st.integers(1, 12).flatmap(lambda t: arrays.arrays(np.uint8, (t, 7))), min_size=1, max_size=4)


def batch_of(codes):
    rows = [
        {
            "id": b"v%d" % n,
            "labels": [n % 10],
            "rgb": [frame[:5].tobytes() for frame in video],
            "audio": [frame[5:].tobytes() for frame in video],
            OTHER: b"\x0a\x00" if n % 2 else None,
        }
        for n, video in enumerate(codes)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=SCHEMA.arrow)


def exact(codes):
    """Dequantised in float64, by the formula."""
    return codes.astype(np.float64) * 4 / 255 + 4 / 512 - 2


@settings(max_examples=50)
@given(videos)
def test_moments_against_numpy(codes):
    pooled = pool(batch_of(codes), SCHEMA, ALL)
    pooled.validate(full=True)
    assert pooled.schema == pooled_schema(SCHEMA, ALL).arrow
    assert pooled.column("id").to_pylist() == [b"v%d" % n for n in range(len(codes))]
    assert pooled.column(OTHER).to_pylist() == batch_of(codes).column(OTHER).to_pylist()
    for n, video in enumerate(codes):
        values = exact(video)
        expected = {
            "mean": values.mean(axis=0),
            "std": values.std(axis=0),
            "max": values.max(axis=0),
            "top5": np.sort(values, axis=0)[-5:].mean(axis=0),
        }
        for moment, vector in expected.items():
            found = np.concatenate([pooled.column(f"{moment}_{name}")[n].values.to_numpy() for name in ("rgb", "audio")])
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, vector, rtol=1e-6, atol=2e-7)


@settings(max_examples=30)
@given(videos, st.randoms())
def test_the_order_of_frames_does_not_show(codes, random):
    shuffled = [video[random.sample(range(len(video)), len(video))] for video in codes]
    assert pool(batch_of(codes), SCHEMA, ALL).equals(pool(batch_of(shuffled), SCHEMA, ALL))


def test_equal_frames_have_themselves_as_mean_and_no_spread():
    codes = np.repeat(np.array([[0, 1, 127, 254, 255, 3, 200]], np.uint8), 300, axis=0)
    pooled = pool(batch_of([codes]), SCHEMA, ALL)
    np.testing.assert_array_equal(pooled.column("mean_rgb")[0].values.to_numpy(), dequantize(codes[0, :5]))
    assert pooled.column("std_rgb")[0].as_py() == [0.0] * 5


def test_slices_are_pooled_as_their_rows():
    batch = batch_of([np.full((t, 7), t, np.uint8) for t in (1, 3, 2, 9)])
    whole = pool(batch, SCHEMA, ("mean",))
    assert pool(batch.slice(1, 2), SCHEMA, ("mean",)).equals(whole.slice(1, 2))
    assert pool(batch.slice(2, 0), SCHEMA, ("mean",)).num_rows == 0


def test_what_cannot_be_pooled():
    with pytest.raises(DataError, match="these are video-level records"):
        pooled_schema(Schema("video", "id", "labels", SCHEMA.features, 10), ("mean",))
    with pytest.raises(DataError, match="there is no moment 'median': choose among mean, std, max, top5"):
        pooled_schema(SCHEMA, ("mean", "median"))
