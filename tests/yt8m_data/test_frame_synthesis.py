"""Synthetic frames: the operators against their formulas in dequantised space, and where frames come from."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthesis_pool import synthetics

from yt8m_data import recipes, sampling, synthesis
from yt8m_data.frame_synthesis import moved
from yt8m_data.quantize import dequantize, dequantized_mean, quantize
from yt8m_data.recipes import InBatch
from yt8m_data.sampling import Settings
from yt8m_data.schema import ORDER, PROVENANCE, Feature, Schema
from yt8m_data.synthesis import gaussian

SCHEMA = Schema("frame", "id", "labels", (Feature("rgb", 5), Feature("audio", 2)), 3)
COLUMNS = pa.schema([*SCHEMA.arrow, pa.field(ORDER, pa.int64())])


def plan_of(**options: object) -> sampling.Plan:
    size = SCHEMA.num_classes
    over = np.full(size, sampling.OVER, np.uint8)
    return sampling.Plan(
        Settings(**options), 100.0, np.full(size, 9), np.full(size, 9.0), over, np.ones(size), np.full(size, 2), np.full(size, np.nan)
    )


def codes(random: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    return {feature.name: random.integers(0, 256, (count, feature.size), np.uint8) for feature in SCHEMA.features}


def batch(videos: list[tuple[int, dict[str, np.ndarray]]]) -> pa.RecordBatch:
    """Records of (place in the input, frames)."""
    columns = [
        pa.array([b"v%d" % place for place, _ in videos], pa.binary()),
        pa.array([[place % 3] for place, _ in videos], pa.list_(pa.int32())),
    ]
    for feature in SCHEMA.features:
        frames = [[row.tobytes() for row in video[feature.name]] for _, video in videos]
        columns.append(pa.array(frames, pa.list_(pa.binary(feature.size))))
    return pa.RecordBatch.from_arrays([*columns, pa.array([place for place, _ in videos], pa.int64())], schema=COLUMNS)


@pytest.fixture
def world():
    """Nine videos of 1 to 9 frames, a slice of a batch."""
    random = np.random.default_rng(0)
    frames = {place: codes(random, 1 + (5 * place) % 9) for place in range(9)}
    return frames, batch([(place, frames[place]) for place in (8, 2, *range(9))]).slice(2)


def listed(made: pa.RecordBatch, row: int, feature: Feature) -> np.ndarray:
    return np.array([list(frame) for frame in made.column(feature.name)[row].as_py()], np.uint8).reshape(-1, feature.size)


# --- Where frames come from ----------------------------------------------------------------------------------------------------------


def test_frames_are_those_of_the_batch(world):
    frames, videos = world
    rows = InBatch(videos, SCHEMA)
    for place in range(9):
        for feature in SCHEMA.features:
            np.testing.assert_array_equal(rows.frames(feature.name, place), frames[place][feature.name])


def test_what_is_sought_by_are_the_means_of_the_dequantised_frames_of_the_first_feature(world):
    frames, videos = world
    chosen = np.array([4, 0, 4, 8])
    expected = [dequantize(frames[place][SCHEMA.features[0].name]).astype(np.float64).mean(axis=0) for place in chosen]
    means = InBatch(videos, SCHEMA).sought(chosen)
    assert means.dtype == np.float32
    np.testing.assert_allclose(means, expected, atol=1e-6)


def test_the_mean_of_equal_frames_is_their_value():
    for code in range(256):
        assert dequantized_mean(np.full((7, 2), code, np.uint8)).tolist() == dequantize(np.array([code, code])).tolist()


# --- The operators ------------------------------------------------------------------------------------------------------------------


def reference(x: np.ndarray, y: np.ndarray, part: float) -> np.ndarray:
    """Dequantise, move frame by frame, and quantise, in float64; NaN where a rounding could go either way."""
    out = np.empty(x.shape)
    for t in range(len(x)):
        other = y[(t * len(y)) // len(x)]
        a, b = (codes.astype(np.float64) * 4 / 255 + 4 / 512 - 2 for codes in (x[t], other))
        value = (np.clip(a + part * (b - a), -2, 2) + 2) * 255 / 4
        out[t] = np.where(np.abs(value - np.floor(value) - 0.5) < 1e-3, np.nan, np.rint(value))
    return out


@settings(max_examples=80)
@given(
    st.integers(1, 12), st.integers(1, 12), st.one_of(st.sampled_from([0.5, -0.5, 0.0, 1.0, -2.0]), st.floats(-2, 2)), st.integers(0, 99)
)
def test_frames_move_as_their_dequantised_values_do(count, other, part, seed):
    random = np.random.default_rng(seed)
    x, y = random.integers(0, 256, (count, 64), np.uint8), random.integers(0, 256, (other, 64), np.uint8)
    x[0, :3], y[0, :3] = (0, 255, 0), (255, 0, 0)
    before = x.copy()
    found, expected = moved(x, y, np.float32(part)), reference(x, y, float(np.float32(part)))
    sure = ~np.isnan(expected)
    assert sure.mean() > 0.5  # all lie 0.002 from a boundary before they move
    np.testing.assert_array_equal(found[sure], expected[sure])
    assert np.abs(found - np.where(sure, expected, found)).max() == 0
    assert (x == before).all()


def test_by_hand():
    """255 / 512 above the middle of two codes, half a code counts as a whole one; what leaves the range stays at its end."""
    x, y = np.array([[10, 10, 200]], np.uint8), np.array([[20, 21, 100]], np.uint8)
    assert moved(x, y, 0.5).tolist() == [[15, 16, 150]]
    assert moved(x, y, -0.5).tolist() == [[5, 5, 250]]
    assert moved(x, y, -2.0).tolist() == [[0, 0, 255]]
    assert moved(x, y, 0.0).tolist() == x.tolist()


@pytest.mark.parametrize(("count", "other", "met"), [(1, 5, [0]), (5, 1, [0] * 5), (4, 6, [0, 1, 3, 4]), (6, 4, [0, 0, 1, 2, 2, 3])])
def test_the_frames_that_meet(count, other, met):
    x, y = np.zeros((count, 1), np.uint8), np.arange(other, dtype=np.uint8)[:, None]
    assert moved(x, y, 1.0)[:, 0].tolist() == met


@pytest.mark.parametrize("hold", [(), ("audio",)])
def test_synthetic_videos(world, hold):
    frames, videos = world
    chosen = synthetics([3, 3, 8, 1], [4, 4, 0, -1], ["interpolate", "extrapolate", "interpolate", "noise"], 0.25)
    plan = plan_of(hold=hold, seed=4, labels="union")
    how = synthesis.recipes(videos, synthesis.synthetic_ids(videos.column("id"), chosen), chosen, plan, SCHEMA)
    made = recipes.Made(how, InBatch(videos, SCHEMA), SCHEMA, plan.settings).whole()
    assert made.schema == pa.schema([*SCHEMA.arrow, *PROVENANCE])
    assert made.column("id").to_pylist() == [b"v3_o01", b"v3_o02", b"v8_o03", b"v1_o04"]
    assert made.column("labels").to_pylist() == [[0, 1], [0, 1], [0, 2], [1]]
    assert made.column("aug_method").to_pylist() == [b"interpolate", b"extrapolate", b"interpolate", b"noise"]
    assert made.column("aug_base").to_pylist() == [b"v3", b"v3", b"v8", b"v1"]
    assert made.column("aug_neighbor").to_pylist() == [b"v4", b"v4", b"v0", None]
    assert made.column("aug_lambda").to_pylist() == [0.25, 0.25, 0.25, None]
    for feature in SCHEMA.features:
        for row, (base, other, part) in enumerate([(3, 4, 0.25), (3, 4, -0.25), (8, 0, 0.25)]):
            x, y = frames[base][feature.name], frames[other][feature.name]
            expected = x if feature.name in hold else reference(x, y, part)
            assert not np.isnan(expected).any()
            np.testing.assert_array_equal(listed(made, row, feature), expected)
        x = frames[1][feature.name]
        noise = 0.0 if feature.name in hold else gaussian(4, b"v1_o04", feature.name, x.size, 0.03).reshape(x.shape)
        np.testing.assert_array_equal(listed(made, 3, feature), quantize(dequantize(x) + noise))
