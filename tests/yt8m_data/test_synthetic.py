"""Made data: a pure function of seed and record number, with the label law, co-occurrence and learnable structure that it promises."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yt8m_data import synthetic
from yt8m_data.errors import DataError
from yt8m_data.quantize import dequantize
from yt8m_data.schema import SEGMENTS
from yt8m_data.synthetic import SyntheticSpec, batches
from yt8m_data.synthetic_world import label_shares, world_of


def table(spec: SyntheticSpec, start: int = 0, stop: int | None = None) -> pa.Table:
    return pa.Table.from_batches(batches(spec, start, stop), schema=spec.schema.arrow).combine_chunks()


def label_lists(spec: SyntheticSpec) -> list[list[int]]:
    return table(spec)["labels"].to_pylist()


def matrix(data: pa.Table, name: str) -> np.ndarray:
    column = data[name].combine_chunks()
    return column.flatten().to_numpy().reshape(len(column), -1)


def multi_hot(lists: list[list[int]], num_classes: int) -> np.ndarray:
    hot = np.zeros((len(lists), num_classes), bool)
    for row, labels in zip(hot, lists, strict=True):
        row[labels] = True
    return hot


@pytest.fixture(scope="module")
def small() -> SyntheticSpec:
    return SyntheticSpec("video", 4000, num_classes=100, seed=3)


# --- Formats --------------------------------------------------------------------------------------------------------------


def test_video_batches_have_the_layout_of_the_2018_release(small):
    data = table(small, 0, 300)
    assert data.schema == pa.schema(
        [
            pa.field("id", pa.binary(), nullable=False),
            pa.field("labels", pa.list_(pa.int32()), nullable=False),
            pa.field("mean_rgb", pa.list_(pa.float32(), 1024), nullable=False),
            pa.field("mean_audio", pa.list_(pa.float32(), 128), nullable=False),
        ]
    )
    for batch in batches(small, 0, 300):
        batch.validate(full=True)


def test_frame_batches_hold_rows_of_bytes():
    spec = SyntheticSpec("frame", 70, num_classes=20, max_frames=12)
    data = table(spec)
    data.validate(full=True)
    assert [field.name for field in data.schema] == ["id", "labels", "rgb", "audio"]
    for row in data.slice(0, 5).to_pylist():
        assert len(row["rgb"]) == len(row["audio"]) <= 12
        assert {len(frame) for frame in row["rgb"]} == {1024}
        assert {len(frame) for frame in row["audio"]} == {128}


def test_frame_counts_are_those_of_youtube_8m():
    lengths = np.concatenate([np.diff(batch["rgb"].offsets) for batch in batches(SyntheticSpec("frame", 192, num_classes=20))])
    assert 215 < lengths.mean() < 245
    assert lengths.min() < 150
    assert lengths.max() == 300


@pytest.mark.parametrize("frames", [1, 2])
def test_the_shortest_videos(frames):
    data = table(SyntheticSpec("frame", 64, num_classes=5, max_frames=frames))
    assert set(np.diff(data["rgb"].combine_chunks().offsets)) == set(range(1, frames + 1))


# --- Determinism ----------------------------------------------------------------------------------------------------------


@given(cuts=st.lists(st.integers(0, 600), max_size=4))
@settings(max_examples=15)
def test_any_split_into_ranges_makes_the_same_videos(cuts):
    spec = SyntheticSpec("video", 600, num_classes=30, seed=9)
    edges = [0, *sorted(cuts), 600]
    parts = [table(spec, start, stop) for start, stop in pairwise(edges)]
    assert pa.concat_tables(parts).combine_chunks().equals(table(spec))


@pytest.mark.parametrize("kind", ["frame", "segment"])
def test_any_split_into_ranges_makes_the_same_frames(kind):
    spec = SyntheticSpec(kind, 300, num_classes=30, max_frames=6)
    parts = [table(spec, start, stop) for start, stop in ((0, 1), (1, 70), (70, 256), (256, 300))]
    assert pa.concat_tables(parts).combine_chunks().equals(table(spec))


def test_more_records_extend_the_same_data():
    few, many = SyntheticSpec("video", 100, num_classes=30), SyntheticSpec("video", 1000, num_classes=30)
    assert table(few).equals(table(many, 0, 100))


def test_seeds_are_different_samples_of_one_world():
    one, two = (table(SyntheticSpec("video", 4000, num_classes=50, seed=seed)) for seed in (0, 1))
    assert not set(one["id"].to_pylist()) & set(two["id"].to_pylist())
    assert one["labels"].to_pylist() != two["labels"].to_pylist()
    means = [matrix(data, "mean_rgb")[multi_hot(data["labels"].to_pylist(), 50)[:, 2]].mean(axis=0) for data in (one, two)]
    assert np.corrcoef(means)[0, 1] > 0.8  # the same label looks the same


@pytest.mark.parametrize("kind", ["frame", "segment"])
def test_all_kinds_tell_of_the_same_videos(kind):
    """Frames scatter around the video's vector: their mean is the vector, but for the code's known shift of up to 0.016."""
    video = table(SyntheticSpec("video", 64, num_classes=40, seed=5))
    frame = table(SyntheticSpec(kind, 64, num_classes=40, seed=5))
    assert video.select(["id", "labels"]).equals(frame.select(["id", "labels"]))
    for name in ("rgb", "audio"):
        expected = matrix(video, f"mean_{name}")
        for row, frames in zip(expected, frame[name].to_pylist(), strict=True):
            values = dequantize(np.frombuffer(b"".join(frames), np.uint8).reshape(len(frames), -1))
            assert np.abs(values.mean(axis=0) - row).max() < 0.03
            assert values.std(axis=0).mean() > 0.2 or len(frames) == 1


# --- Ids ------------------------------------------------------------------------------------------------------------------


def test_ids_are_four_letters_or_digits(small):
    ids = table(small)["id"].to_pylist()
    assert len(set(ids)) == len(ids)
    assert all(len(each) == 4 and each.isalnum() and each.isascii() for each in ids)


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_ids_are_a_permutation_of_all_codes(seed):
    """All 62**4 ids of four characters differ, for any seed; beyond, ids are longer and so differ from them."""
    count, step = 62**4, 1 << 20
    parts = [synthetic._ids(np.arange(start, min(start + step, count)), seed) for start in range(0, count, step)]
    words = np.concatenate([np.frombuffer(part.buffers()[2], np.uint32) for part in parts])
    words.sort()
    assert len(words) == count
    assert (words[1:] != words[:-1]).all()
    longer = synthetic._ids(np.arange(count - 2, count + 5000), seed).to_pylist()
    assert [len(each) for each in longer[:4]] == [4, 4, 5, 5]
    assert len(set(longer)) == len(longer)


@pytest.mark.parametrize("seeds", [(0, 1), (5, 18)])
def test_neighbouring_seeds_share_no_id(seeds):
    one, two = (np.frombuffer(synthetic._ids(np.arange(1_000_000), seed).buffers()[2], np.uint32) for seed in seeds)
    assert not np.intersect1d(one, two).size


# --- Labels ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_classes", [1, 2, 5, 60, 1000])
def test_labels_rise_within_a_record_and_none_is_empty(num_classes):
    lists = label_lists(SyntheticSpec("video", 600, num_classes=num_classes))
    assert all(labels and labels == sorted(set(labels)) for labels in lists)
    assert max(map(max, lists)) < num_classes
    assert min(map(min, lists)) == 0


@pytest.mark.parametrize("num_classes", [50, 200, 3862])
def test_label_counts_follow_the_law(num_classes):
    """Counts are within sampling error of the law: chi-square of sums over bands of ranks, each count being nearly Poisson or narrower."""
    num_records = 8000
    counts = multi_hot(label_lists(SyntheticSpec("video", num_records, num_classes=num_classes)), num_classes).sum(axis=0)
    expected = label_shares(num_classes) * num_records
    edges = np.unique(np.geomspace(1, num_classes + 1, 12).astype(int)) - 1
    got, want = (np.add.reduceat(values, edges[:-1]) for values in (counts, expected))
    np.testing.assert_allclose(got, want, rtol=0.03, atol=4 * np.sqrt(want).max())
    assert 2.9 < counts.sum() / num_records < 3.1


def test_a_small_set_has_a_heavy_head_and_a_tail_of_a_few_videos():
    counts = multi_hot(label_lists(SyntheticSpec("video", 2000, num_classes=150)), 150).sum(axis=0)
    assert counts[0] > 700
    assert 1 <= np.median(counts[100:]) < 10


def test_labels_drag_in_more_frequent_companions(small):
    """Every label of middling rank has a companion above it that it meets far more often than chance would have it."""
    hot = multi_hot(label_lists(small), 100).astype(float)
    together = hot.T @ hot
    counts = np.diag(together)
    lift = together * len(hot) / np.outer(counts, counts)
    given_label = together / counts[:, None]
    above = np.tril(np.ones((100, 100), bool), -1)
    assert np.median(np.where(above, given_label, 0).max(axis=1)[10:60]) > 0.6
    assert np.where(above, lift, 0).max(axis=1)[10:60].min() > 1.5


def test_unlabeled_records_on_request():
    lists = label_lists(SyntheticSpec("video", 2000, num_classes=20, unlabeled=0.3))
    assert 0.25 < np.mean([not labels for labels in lists]) < 0.35
    assert not any(label_lists(SyntheticSpec("video", 300, num_classes=20, unlabeled=1)))


# --- Features -------------------------------------------------------------------------------------------------------------


def test_features_have_the_scale_of_real_ones(small):
    """Standard deviation and percentiles 1, 50, 99 of the norm, measured on the 25,953 real videos of the 2018 validate split."""
    data = table(small)
    for name, deviation, norms in (("mean_rgb", 0.461, (5.5, 12.7, 30.5)), ("mean_audio", 0.686, (3.9, 7.1, 14.1))):
        values = matrix(data, name)
        assert values.std() == pytest.approx(deviation, rel=0.1)
        np.testing.assert_allclose(np.percentile(np.linalg.norm(values, axis=1), (1, 50, 99)), norms, rtol=0.15)
        assert values.min() >= dequantize(np.uint8(0))
        assert values.max() <= dequantize(np.uint8(255))


def test_a_nearest_centroid_classifier_learns_the_head_better_than_the_tail():
    """The centroid of each label, from one seed, ranks the videos of another seed far better than chance, and less well for rare labels."""
    data = [table(SyntheticSpec("video", 4000, num_classes=100, seed=seed)) for seed in (0, 1)]
    train, test = (_unit(matrix(each, "mean_rgb")) for each in data)
    labels, truth = (multi_hot(each["labels"].to_pylist(), 100) for each in data)
    centroids = _unit(labels.T @ train / labels.sum(axis=0)[:, None] - train.mean(axis=0))
    order = (test @ centroids.T).argsort(axis=0)[::-1]
    hits = np.take_along_axis(truth, order, axis=0)
    precision = hits.cumsum(axis=0) / np.arange(1, len(test) + 1)[:, None]
    average_precision = (precision * hits).sum(axis=0) / hits.sum(axis=0)
    prevalence = truth.mean(axis=0)  # what a random order scores
    assert (average_precision > 3 * prevalence).mean() > 0.9
    assert average_precision[70:].mean() < average_precision[:30].mean() - 0.05
    assert 0.3 < average_precision.mean() < 0.9


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


# --- Segments -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def segments() -> pa.Table:
    return table(SyntheticSpec("segment", 200, num_classes=20, seed=4, max_frames=60))


def pairs(row: dict) -> list[tuple[int, int, float]]:
    return list(zip(row["segment_start_times"], row["segment_labels"], row["segment_scores"], strict=True))


def test_segments_are_those_of_the_2019_release(segments):
    """Up to 5 back-to-back segments of 5 frames, each rated 0 or 1 for one or both of the video's two rarest labels."""
    segments.validate(full=True)
    for row in segments.to_pylist():
        found = pairs(row)
        starts = sorted({start for start, _, _ in found})
        assert 1 <= len(starts) <= 5
        assert all(start % 5 == 0 and 0 <= start < len(row["rgb"]) for start in starts)
        assert row["segment_end_times"] == [start + 5 for start in row["segment_start_times"]]
        assert [pair[:2] for pair in found] == [(start, label) for start in starts for label in row["labels"][-2:]]
        assert set(row["segment_scores"]) <= {0, 1}


def test_a_label_shows_in_the_segments_where_it_is_rated_1_and_nowhere_else_tells(segments):
    """Along its prototype, the frames of a segment rated 1 lie above those of a segment of the same video rated 0.

    The rating itself is a coin: equally frequent for all labels, and not to be told from the mean of the video's frames.
    """
    prototypes = world_of(20).prototypes[:, :1024]
    gaps, scores, means = [], [], []
    for row in segments.to_pylist():
        frames = dequantize(np.frombuffer(b"".join(row["rgb"]), np.uint8).reshape(-1, 1024))
        for label in set(row["segment_labels"]):
            along = frames @ prototypes[label] / 1024
            shown = {score: [along[s : s + 5].mean() for s, each, was in pairs(row) if (each, was) == (label, score)] for score in (0, 1)}
            if shown[0] and shown[1]:
                gaps.append(min(shown[1]) - max(shown[0]))
        scores += row["segment_scores"]
        means += [frames.mean(axis=0) @ prototypes[label] / 1024 for label in row["segment_labels"]]
    assert len(gaps) > 100
    assert min(gaps) > 0
    assert np.mean(gaps) == pytest.approx(synthetic.SHOWN, abs=0.06)
    assert np.mean(scores) == pytest.approx(0.5, abs=0.05)
    assert abs(np.corrcoef(scores, means)[0, 1]) < 0.1


def test_records_without_labels_have_no_rated_segments():
    data = table(SyntheticSpec("segment", 20, num_classes=5, max_frames=10, unlabeled=1))
    assert not any(map(len, data["segment_start_times"].to_pylist() + data["segment_scores"].to_pylist()))
    assert data.drop_columns(SEGMENTS.names).equals(table(SyntheticSpec("frame", 20, num_classes=5, max_frames=10, unlabeled=1)))


# --- Wrong use ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "audio"}, "kind 'audio' is not one of video, frame, segment"),
        ({"num_records": -1}, "num_records -1"),
        ({"num_classes": 0}, "num_classes 0"),
        ({"seed": -1}, "seed -1"),
        ({"max_frames": 301}, "max_frames 301 is not within 1 to 300"),
        ({"unlabeled": 1.5}, "unlabeled 1.5"),
    ],
)
def test_wrong_values_are_named(wrong, message):
    with pytest.raises(DataError, match=message):
        SyntheticSpec(**{"kind": "video", "num_records": 10} | wrong)


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (5, 4), (0, 11)])
def test_a_range_outside_the_records_is_refused(start, stop):
    with pytest.raises(DataError, match=f"records {start} to {stop} are not within 0 to 10"):
        next(batches(SyntheticSpec("video", 10), start, stop))


def test_an_empty_range_has_no_batches():
    assert list(batches(SyntheticSpec("video", 10, num_classes=5), 4, 4)) == []
