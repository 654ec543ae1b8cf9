"""Plots: what is drawn is what was given, in both cuts, in words and as data."""

import csv
import io

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy.cluster import hierarchy

from yt8m_data import pools, zipf
from yt8m_data.report.plots import augmentation, canvas, cooccurrence, lengths, moments, moves, ranks

NAMES = {0: "Game", 1: "Price of $1 and $2", 2: "A name that is much too long for a plot"}
WIDE, NARROW = 0, 1


def stats(counts, simulations=0):
    return {"label_counts": counts.tolist(), "zipf": zipf.fit(counts, simulations).to_dict()}


def falling(num_classes, exponent=1.2):
    return np.rint(1e6 * np.arange(1, num_classes + 1) ** -exponent).astype(np.int64)


def csr(dense):
    rows, columns = np.nonzero(dense)
    indptr = np.searchsorted(rows, np.arange(len(dense) + 1))
    return {"data": dense[rows, columns], "indices": columns, "indptr": indptr, "shape": np.array(dense.shape)}


def table(plot):
    return list(csv.reader(io.StringIO(plot.csv.decode())))


@pytest.fixture
def drawn(monkeypatch):
    """The figures that the plots make, wide and narrow, to look into after they are written."""
    figures = []

    class Recorded(Figure):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            figures.append(self)

    monkeypatch.setattr(canvas, "Figure", Recorded)
    return figures


def texts(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def lines(axes):
    return {line.get_label(): line for line in axes.lines}


# --- Rank and frequency ---------------------------------------------------------------------------------------------------


def test_the_curve_and_its_fits(drawn):
    counts = falling(2000)
    shuffled = np.random.default_rng(0).permutation(np.append(counts, [0, 0]))
    law = stats(shuffled, 10)
    plot = ranks.rank_frequency([("Videos", law)], {})
    for figure in drawn:
        axes = figure.axes[0]
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        curve = axes.lines[0]
        np.testing.assert_array_equal(curve.get_xdata(), np.arange(1, 2001))
        np.testing.assert_array_equal(curve.get_ydata(), counts)
        found = lines(axes)
        fitted = next(line for label, line in found.items() if label.startswith("two regimes: exponents"))
        np.testing.assert_allclose(fitted.get_ydata(), counts[np.array(fitted.get_xdata(), int) - 1], rtol=0.05)  # a power law has no break
        power = next(line for label, line in found.items() if label.startswith("power law to rank"))
        np.testing.assert_allclose(power.get_ydata(), counts[np.array(power.get_xdata()) - 1], rtol=0.2)
        (at,) = next(line for label, line in found.items() if label.startswith("their break")).get_xdata()
        assert at == law["zipf"]["two_regimes"]["break_rank"]
    assert "2,000 labels, from 1,000,000 down to" in plot.alt
    rows = table(plot)
    assert rows[0] == ["Stage", "Rank", "Label", "Name", "Count"]
    assert [int(row[4]) for row in rows[1:]] == counts.tolist()
    assert all(shuffled[int(row[2])] == int(row[4]) for row in rows[1:])


def test_a_break_is_drawn_where_the_law_bends(drawn):
    counts = np.rint(np.r_[1e6 * np.arange(1, 101) ** -0.8, 1e6 * 100**0.8 * np.arange(101, 1001) ** -1.6]).astype(np.int64)
    ranks.rank_frequency([("Videos", stats(counts))], {})
    found = lines(drawn[WIDE].axes[0])
    fitted = next(line for label, line in found.items() if label.startswith("two regimes"))
    assert fitted.get_xdata()[1] == pytest.approx(100, rel=0.15)
    np.testing.assert_allclose(fitted.get_ydata(), counts[np.array(fitted.get_xdata(), int) - 1], rtol=0.1)
    assert any(text.startswith("two regimes: exponents 0.8") for text in texts(drawn[WIDE]))


def test_before_and_after_each_by_its_own_ranks(drawn):
    before, after = falling(300), falling(400, 0.9)[::-1]
    plot = ranks.rank_frequency([("Before", stats(before)), ("After", stats(after))], {})
    found = lines(drawn[WIDE].axes[0])
    np.testing.assert_array_equal(found["after"].get_ydata(), after[::-1][:30])
    assert found["before"].get_marker() != found["after"].get_marker()  # told apart without colour
    assert [label.split(":")[0] for label in found if ": " in label] == ["before", "after"]
    assert {row[0] for row in table(plot)[1:]} == {"Before", "After"}
    assert "Before: 300 labels" in plot.alt
    assert "After: 400 labels" in plot.alt


def test_names_stand_above_the_curves_as_they_are_written(drawn):
    before, after = falling(50), falling(50) * 3
    ranks.rank_frequency([("Before", stats(before)), ("After", stats(after))], NAMES)
    placed = {text.get_text(): text.xy for text in drawn[WIDE].axes[0].texts}
    assert placed["Price of $1 and $2"] == (2, after[1])
    assert "A name that is much t…" in placed
    assert "7" in placed  # the label of rank 8 has no name
    assert len(drawn[NARROW].axes[0].texts) < len(placed)


def test_head_torso_and_tail_part_the_ranks(drawn, stage):
    ranks.rank_frequency(
        [("Videos", stage("Videos", [[label] for label, n in enumerate([10, 5, 3, 1, 1]) for _ in range(n)], 5).stats)], {}
    )
    assert {"head: 1 labels, 50%", "torso: 2 labels, 40%", "tail: 2 labels, 10%"} <= set(texts(drawn[WIDE]))
    borders = [line.get_xdata()[0] for line in drawn[WIDE].axes[0].lines if list(line.get_ydata()) == [0, 1]]
    assert borders == [1.5, 3.5]


@pytest.mark.parametrize("counts", [[5], [5, 0, 0], [1, 1, 1], [7, 2]])
def test_hardly_any_labels_still_make_plots(counts):
    found = stats(np.array(counts, np.int64))
    ranks.rank_frequency([("Videos", found)], NAMES)
    ranks.rank_frequency([("Before", found), ("After", found)], NAMES)
    moves.moves(found, found, None, NAMES)


def test_too_few_labels_for_two_regimes_have_a_least_squares_line(drawn):
    found = stats(falling(9))
    assert found["zipf"]["two_regimes"] is None
    ranks.rank_frequency([("Videos", found)], {})
    line = lines(drawn[WIDE].axes[0])["least squares, slope −1.20"]
    np.testing.assert_allclose(line.get_ydata(), falling(9)[[0, -1]], rtol=0.01)


# --- Where each label went ------------------------------------------------------------------------------------------------


def test_every_label_stands_at_its_rank_before(drawn):
    before, after = np.array([10, 1000, 100, 1, 0]), np.array([40, 500, 100, 0, 7])
    plot = moves.moves({"label_counts": before}, {"label_counts": after}, 200.0, NAMES)
    axes = drawn[WIDE].axes[0]
    found = lines(axes)
    np.testing.assert_array_equal(found["before"].get_ydata(), [1000, 100, 10, 1])
    floor = axes.get_ylim()[0]  # 0 has no place on a logarithmic axis
    for way, at, count in (("more", [3], [40]), ("as many", [2], [100]), ("fewer", [1, 4], [500, floor])):
        np.testing.assert_allclose(found[f"after: {way}"].get_xdata(), at)
        np.testing.assert_allclose(found[f"after: {way}"].get_ydata(), count)
    assert len({found[f"after: {way}"].get_marker() for way in ("more", "fewer", "as many")}) == 3
    assert "1 labels have more videos, 2 fewer, 1 as many" in plot.alt
    assert table(plot)[1:3] == [["1", "1", "Price of $1 and $2", "1000", "500"], ["2", "2", NAMES[2], "100", "100"]]


def test_the_threshold_parts_over_from_sub_sampled(drawn):
    moves.moves(stats(falling(50)), stats(falling(50)), 12_345.0, {})
    assert {"sub-sampled above 12,345", "over-sampled below"} <= set(texts(drawn[WIDE]))
    assert any(list(line.get_ydata()) == [12_345, 12_345] for line in drawn[WIDE].axes[0].lines)


@given(st.lists(st.integers(0, 1000), min_size=0, max_size=400))
def test_bins_cover_every_rank_once(values):
    rank = np.arange(1, len(values) + 1)
    middles, (low, middle, high) = moves.binned(rank, np.array(values))
    assert (np.diff(middles) > 0).all()
    assert ((low <= middle) & (middle <= high)).all()
    assert len(middles) <= len(values)
    np.testing.assert_array_equal(middle[:10], values[:10][: len(middles)])  # the first ranks stand alone
    assert set(middle) | set(low) | set(high) <= set(values)


def test_bins_by_hand():
    middles, (low, middle, high) = moves.binned(np.arange(1, 1001), np.arange(1, 1001))
    inside = (np.arange(1, 1001) >= 10**2.5) & (np.arange(1, 1001) < 10 ** (2.5 + 1 / moves.BINS_PER_DECADE))
    part = np.arange(1, 1001)[inside]
    at = int(np.searchsorted(middles, part[0]))
    assert middles[at] == pytest.approx(np.exp(np.log(part).mean()))
    assert (low[at], middle[at], high[at]) == tuple(np.percentile(part, (10, 50, 90), method="nearest"))


# --- Labels that come together --------------------------------------------------------------------------------------------


def test_the_heat_map_shows_the_share_of_the_row():
    """Against a dense count: 4 videos with label 2, of which 1 also has label 0 and 3 also have label 3; label 1 has no videos."""
    dense = np.array([[2, 0, 1, 0], [0, 0, 0, 0], [1, 0, 4, 3], [0, 0, 3, 3]])
    plot = cooccurrence.cooccurrence(csr(dense), {2: "two", 3: "three"})
    assert plot.data["names"] == ["two", "three", "label 0"]
    np.testing.assert_allclose(plot.data["share"], [[1, 3 / 4, 1 / 4], [1, 1, 0], [1 / 2, 0, 1]])
    assert sorted(plot.data["wide"]) == sorted(plot.data["narrow"]) == [0, 1, 2]
    rows = {(row[0], row[2]): row[4:] for row in table(plot)[1:]}
    assert rows == {
        ("2", "3"): ["3", "0.750000"],
        ("2", "0"): ["1", "0.250000"],
        ("3", "2"): ["3", "1.000000"],
        ("0", "2"): ["1", "0.500000"],
    }


def test_shades_are_the_shares(drawn):
    random = np.random.default_rng(4)
    hot = (random.random((500, 60)) < np.linspace(0.005, 0.6, 60)).astype(np.int64)
    dense = hot.T @ hot
    plot = cooccurrence.cooccurrence(csr(dense), {})
    top = np.argsort(-dense.diagonal(), kind="stable")[: cooccurrence.TOP]
    share = dense[np.ix_(top, top)] / dense.diagonal()[top][:, None]
    for figure, order in zip(drawn, (plot.data["wide"], plot.data["narrow"]), strict=True):
        shown = np.zeros((len(order), len(order)))
        for patch in figure.axes[0].patches[2:]:  # behind them lie the grid and the diagonal
            corners = patch.get_path().vertices.reshape(-1, 5, 2)[:, 0]
            columns, rows = np.floor(corners).astype(int).T
            shown[rows, columns] = patch.get_alpha()
        expected = np.ceil(share[np.ix_(order, order)] * cooccurrence.SHADES) / cooccurrence.SHADES
        expected[share[np.ix_(order, order)] < 0.01] = 0
        np.fill_diagonal(expected, 0)
        np.testing.assert_allclose(shown, expected)


def test_the_heat_map_keeps_to_the_most_frequent_labels(drawn):
    random = np.random.default_rng(4)
    hot = (random.random((500, 60)) < np.linspace(0.02, 0.5, 60)).astype(np.int64)
    dense = hot.T @ hot
    plot = cooccurrence.cooccurrence(csr(dense), {})
    top = np.argsort(-dense.diagonal(), kind="stable")[: cooccurrence.TOP]
    assert plot.data["names"] == [f"label {label}" for label in top]
    expected = np.array([[(hot[:, i] & hot[:, j]).sum() / hot[:, i].sum() for j in top] for i in top])
    np.testing.assert_allclose(plot.data["share"], expected, atol=1e-4)
    for figure, order in zip(drawn, (plot.data["wide"], plot.data["narrow"]), strict=True):
        assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [str(top[at]) for at in order]
    assert sorted(plot.data["narrow"]) == list(range(cooccurrence.TOP_WHERE_NARROW))


def test_companions_stand_side_by_side():
    """Three groups of labels that come together within only, given in a mixed order."""
    group = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2])
    together = np.where(group[:, None] == group, 8.0, 0.0) + 2 * np.eye(9)
    order = cooccurrence.seriate(together)
    assert sorted(order) == list(range(9))
    assert (np.diff(group[order]) != 0).sum() == 2


@given(st.integers(3, 12), st.integers(0, 10**6))
def test_every_cluster_is_in_one_piece(size, seed):
    hot = np.random.default_rng(seed).random((40, size)) < 0.4
    together = (hot.T.astype(float) @ hot) + np.eye(size)
    order = cooccurrence.seriate(together)
    place = np.argsort(order)
    norm = np.sqrt(together.diagonal())
    apart = (1 - together / norm[:, None] / norm)[np.triu_indices(size, 1)]
    members = [[row] for row in range(size)]
    for first, second, _, _ in hierarchy.average(np.maximum(apart, 0)):
        members.append(members[int(first)] + members[int(second)])
        places = place[members[-1]]
        assert places.max() - places.min() == len(places) - 1


@pytest.mark.parametrize("size", [1, 2])
def test_one_or_two_labels_have_a_heat_map(size):
    plot = cooccurrence.cooccurrence(csr(np.full((size, size), 5)), {})
    assert plot.data["wide"] == list(range(size))


# --- Lengths and moments --------------------------------------------------------------------------------------------------


def bars(figure):
    return [patch.get_data().values for patch in figure.axes[0].patches]


def test_lengths_are_shares_of_the_videos(drawn):
    before = {"labels_per_record": {"mean": 1.4, "histogram": [1, 4, 5]}}
    after = {"labels_per_record": {"mean": 2.0, "histogram": [0, 0, 3, 0, 1]}}
    plot = lengths.labels_per_video([("Before", before), ("After", after)])
    for figure in drawn:
        np.testing.assert_allclose(bars(figure)[0], [0.1, 0.4, 0.5])
        np.testing.assert_allclose(bars(figure)[1], [0, 0, 0.75, 0, 0.25])
        assert [patch.get_fill() for patch in figure.axes[0].patches] == [True, False]
    assert table(plot) == [
        ["Labels", "Before", "After"],
        ["0", "1", "0"],
        ["1", "4", "0"],
        ["2", "5", "3"],
        ["3", "0", "0"],
        ["4", "0", "1"],
    ]
    assert "Before: 1.40 on average, 2 at most." in plot.alt


def test_long_histograms_have_coarser_bars(drawn):
    histogram = np.random.default_rng(1).integers(0, 9, 301)
    plot = lengths.frames_per_video([("Videos", {"frames_per_record": {"mean": 150.0, "histogram": histogram.tolist()}})])
    (shown,) = (patch.get_data() for patch in drawn[WIDE].axes[0].patches)
    assert len(shown.values) <= lengths.MOST_BARS
    expected, _ = np.histogram(np.arange(301), shown.edges, weights=histogram)
    np.testing.assert_allclose(shown.values, expected / histogram.sum())
    assert shown.values.sum() == pytest.approx(1)
    assert drawn[WIDE].axes[0].get_xlim()[1] > shown.edges[-1]
    assert [int(row[1]) for row in table(plot)[1:]] == histogram.tolist()  # the data are as fine as they come


def test_frames_per_video_and_none_at_all(drawn):
    plot = lengths.frames_per_video([("Videos", {"frames_per_record": {"mean": None, "histogram": [0]}})])
    assert plot.name == "frames_per_video"
    assert "Frames per video" in texts(drawn[WIDE])


def test_moments_by_dimension(drawn):
    before = {"mean": [0.0, 1.0, 2.0], "variance": [1.0, 4.0, 9.0]}
    after = {"mean": [0.5, 1.0, 2.0], "variance": [4.0, 4.0, 4.0]}
    plot = moments.moments("mean_rgb", [("Before", before), ("After", after)])
    found = lines(drawn[WIDE].axes[0])
    np.testing.assert_array_equal(found["before: mean"].get_ydata(), [0, 1, 2])
    np.testing.assert_array_equal(found["after: mean ± std"].get_ydata(), [2.5, 3, 4])
    assert found["after: mean ± std"].get_linestyle() == "--"
    (band,) = drawn[WIDE].axes[0].collections
    corners = band.get_paths()[0].vertices
    assert (corners[:, 1].min(), corners[:, 1].max()) == (-1, 5)
    assert table(plot)[0] == ["dimension", *("before: mean", "before: standard deviation", "after: mean", "after: standard deviation")]
    assert [float(value) for value in table(plot)[3]] == [2, 2, 3, 2, 2]


@pytest.mark.parametrize(("feature", "file"), [("mean_rgb", "moments_mean_rgb"), ("../../etc", "moments_______etc")])
def test_a_features_name_names_no_other_folder(feature, file):
    plot = moments.moments(feature, [("Videos", {"mean": [0.0], "variance": [1.0]})])
    assert plot.name == file
    assert plot.title == f"{feature}, by dimension"


# --- What was made --------------------------------------------------------------------------------------------------------


def test_the_histogram_of_distances_is_that_of_the_manifest(drawn):
    apart = np.array([0.0, 1.0, 1.1, 3.0, 3.5, 3.9, 40.0])
    counts = {}
    for number in pools.distance_bins(apart**2):
        counts[number] = counts.get(number, 0) + 1
    plot = augmentation.distances(pools.distance_histogram("mean_rgb", counts), typical=20.0)
    shown = drawn[WIDE].axes[0].patches[0].get_data()
    expected, _ = np.histogram(apart[1:], shown.edges)
    np.testing.assert_allclose(shown.values, expected / 7)
    assert expected.sum() == 6
    assert "two videos at random" in texts(drawn[WIDE])
    assert "in 1 the neighbour was identical" in plot.alt
    assert sum(int(row[2]) for row in table(plot)[1:]) == 7


def test_no_neighbours_at_all_still_make_a_plot(drawn):
    augmentation.distances(pools.distance_histogram("mean_rgb", {}), typical=None)
    assert "two videos at random" not in texts(drawn[WIDE])


def test_the_share_of_synthetic_videos_by_rank(drawn):
    plot = augmentation.synthetic_share([5, 100, 20, 0], [20, 50, 25, 0], {"0": 15, "2": 5}, NAMES)
    (median,) = drawn[WIDE].axes[0].lines
    np.testing.assert_allclose(median.get_ydata(), [0, 0.2, 0.75])
    assert table(plot)[1] == ["1", "1", "Price of $1 and $2", "50", "0", "0.000000"]
    assert table(plot)[3] == ["3", "0", "Game", "20", "15", "0.750000"]
    assert "half of the labels have 20% or more" in plot.alt
    assert "no label has videos" in augmentation.synthetic_share([0], [0], {}, {}).alt
