"""Plots: what is drawn is what was given, the bytes repeat, and nothing of the user's settings leaks in or out."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from yt8m_data import zipf
from yt8m_data.errors import DataError
from yt8m_data.report import plots

NAMES = {0: "Game", 1: "Price of $1 and $2", 2: "A name that is much too long for a plot"}


def stats(counts: np.ndarray) -> dict:
    return {"label_counts": counts.tolist(), "zipf": zipf.fit(counts).to_dict()}


def falling(num_classes: int) -> np.ndarray:
    return np.rint(1e6 * np.arange(1, num_classes + 1) ** -1.2).astype(np.int64)


def csr(dense: np.ndarray) -> dict[str, np.ndarray]:
    rows, columns = np.nonzero(dense)
    indptr = np.searchsorted(rows, np.arange(len(dense) + 1))
    return {"data": dense[rows, columns], "indices": columns, "indptr": indptr, "shape": np.array(dense.shape)}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that the plots make, to look into after they are written."""
    figures: list[Figure] = []

    class Recorded(Figure):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            figures.append(self)

    monkeypatch.setattr(plots, "Figure", Recorded)
    return figures


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


def draw_all(folder: Path) -> list[Path]:
    counts = falling(300)
    files = [folder / name for name in ("zipf.png", "moved.png", "together.png")]
    plots.zipf_plot(stats(counts), files[0], NAMES, threshold=5000)
    plots.before_after_plot(stats(counts), stats(counts[::-1]), files[1], threshold=5000)
    plots.cooccurrence_plot(csr(np.diag(counts[:20]) + 1), NAMES, files[2])
    return files


# --- Files ----------------------------------------------------------------------------------------------------------------


def test_each_plot_is_a_png_1280_pixels_wide(tmp_path):
    for file in draw_all(tmp_path):
        assert imread(file).shape[1] == 1280
    assert len(list(tmp_path.iterdir())) == 3  # no temporary file is left


def test_bytes_repeat_whatever_the_users_settings_and_leave_them_alone(tmp_path):
    first = [file.read_bytes() for file in draw_all(tmp_path)]
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "savefig.dpi": 40, "axes.facecolor": "red", "backend": "svg"}):
        mine = dict(matplotlib.rcParams)
        assert [file.read_bytes() for file in draw_all(tmp_path)] == first
        assert dict(matplotlib.rcParams) == mine
    assert b"Software" not in first[0]


@pytest.mark.parametrize("counts", [[], [0, 0], [5], [5, 0, 0], [1, 1, 1]])
def test_hardly_any_labels_still_make_plots(tmp_path, counts):
    counts = np.array(counts, np.int64)
    plots.zipf_plot(stats(counts), tmp_path / "zipf.png", NAMES)
    plots.before_after_plot(stats(counts), stats(counts), tmp_path / "moved.png")
    assert {imread(file).shape[1] for file in tmp_path.iterdir()} == {1280}


# --- Rank-frequency -------------------------------------------------------------------------------------------------------


def test_the_zipf_plot_draws_points_and_the_line_of_each_regime(tmp_path, drawn):
    counts = falling(2000)
    shuffled = np.random.default_rng(0).permutation(np.append(counts, [0, 0]))
    plots.zipf_plot(stats(shuffled), tmp_path / "zipf.png")
    axes = drawn[0].axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    points, *lines = axes.lines
    np.testing.assert_array_equal(points.get_xdata(), np.arange(1, 2001))
    np.testing.assert_array_equal(points.get_ydata(), counts)
    assert [(line.get_xdata()[0], line.get_xdata()[-1]) for line in lines] == [(1, 100), (10, 1000), (100, 2000)]
    for line in lines:
        np.testing.assert_allclose(line.get_ydata(), counts[line.get_xdata() - 1], rtol=0.01)  # the counts are a power law
    written = texts(drawn[0])
    assert "ranks 100–2,000: slope −1.20" in written
    assert "2,002 labels" in written
    assert "not drawn: 2 without videos" in written
    assert "Label rank (1 = most frequent)" in written
    assert "Videos with the label" in written


@pytest.mark.parametrize("num_classes", [9, 100])
def test_too_few_labels_for_regimes_have_the_line_over_all(tmp_path, drawn, num_classes):
    plots.zipf_plot(stats(falling(num_classes)), tmp_path / "zipf.png")
    _, line = drawn[0].axes[0].lines
    assert (line.get_xdata()[0], line.get_xdata()[-1]) == (1, num_classes)
    assert f"ranks 1–{num_classes}: slope −1.20" in texts(drawn[0])


def test_names_stand_at_their_ranks_as_they_are_written(tmp_path, drawn):
    counts = falling(50)
    plots.zipf_plot(stats(counts[::-1]), tmp_path / "zipf.png", {49: "Most frequent", 48: "Costs $1 or $2"})
    annotations = {text.get_text(): text.xy for text in drawn[0].axes[0].texts}
    assert annotations["Most frequent"][0] == 1
    assert annotations["Costs $1 or $2"][0] == 2
    assert "47" in annotations  # a label without a name goes by its id
    for name, (rank, height) in annotations.items():
        assert height >= counts[rank - 1], name


def test_long_names_are_cut(tmp_path, drawn):
    plots.zipf_plot(stats(falling(50)), tmp_path / "zipf.png", NAMES)
    assert "A name that is much t…" in texts(drawn[0])


def test_the_threshold_parts_over_from_sub_sampled(tmp_path, drawn):
    plots.zipf_plot(stats(falling(50)), tmp_path / "zipf.png", threshold=12_345)
    assert "sub-sampled above 12,345 videos" in texts(drawn[0])
    assert any(list(line.get_ydata()) == [12_345, 12_345] for line in drawn[0].axes[0].lines)


# --- Before and after -----------------------------------------------------------------------------------------------------


def test_every_label_stands_at_its_rank_before(tmp_path, drawn):
    before = np.array([10, 1000, 100, 1, 0])
    after = np.array([40, 500, 100, 0, 7])
    plots.before_after_plot(stats(before), stats(after), tmp_path / "moved.png")
    lines = {line.get_label().split(" (")[0]: line for line in drawn[0].axes[0].lines}
    np.testing.assert_array_equal(lines["before"].get_ydata(), [1000, 100, 10, 1])
    for label, rank, count in (("after: more", 3, 40), ("after: fewer", 1, 500), ("after: as many", 2, 100)):
        assert (lines[label].get_xdata(), lines[label].get_ydata()) == ([rank], [count])
    assert "1,111 label occurrences before, 647 after" in texts(drawn[0])


def test_bars_join_before_and_after(tmp_path, drawn):
    before, after = falling(60), falling(60)[::-1]
    plots.before_after_plot(stats(before), stats(after), tmp_path / "moved.png")
    more, fewer = drawn[0].axes[0].collections
    assert len(more.get_paths()) == len(fewer.get_paths()) == 30
    corners = fewer.get_paths()[0].vertices
    assert (corners[:, 1].max(), corners[:, 1].min()) == (before[0], after[0])
    assert corners[:, 0].mean() == pytest.approx(1, abs=0.02)


# --- Co-occurrence --------------------------------------------------------------------------------------------------------


def test_the_heat_map_shows_the_share_of_the_row(tmp_path, drawn):
    """Against a dense count: 4 videos with label 2, of which 1 also has label 0 and 3 also have label 3; label 1 has no videos."""
    dense = np.array([[2, 0, 1, 0], [0, 0, 0, 0], [1, 0, 4, 3], [0, 0, 3, 3]])
    plots.cooccurrence_plot(csr(dense), {2: "two", 3: "three", 0: "zero"}, tmp_path / "together.png")
    axes = drawn[0].axes[0]
    shown = np.ma.filled(axes.images[0].get_array().astype(float), np.nan)
    np.testing.assert_allclose(shown, [[np.nan, 3 / 4, 1 / 4], [1, np.nan, 0], [1 / 2, 0, np.nan]])
    assert [text.get_text() for text in axes.get_yticklabels()] == ["two", "three", "zero"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["two", "three", "zero"]


def test_the_heat_map_keeps_to_the_top_labels(tmp_path, drawn):
    random = np.random.default_rng(4)
    hot = (random.random((500, 60)) < np.linspace(0.02, 0.5, 60)).astype(np.int64)
    dense = hot.T @ hot
    plots.cooccurrence_plot(csr(dense), None, tmp_path / "together.png", top=10)
    order = np.argsort(-dense.diagonal(), kind="stable")[:10]
    shown = np.ma.filled(drawn[0].axes[0].images[0].get_array().astype(float), np.nan)
    expected = np.array([[np.nan if i == j else (hot[:, i] & hot[:, j]).sum() / hot[:, i].sum() for j in order] for i in order])
    np.testing.assert_allclose(shown, expected)
    assert [text.get_text() for text in drawn[0].axes[0].get_yticklabels()] == [str(label) for label in order]


def test_a_single_label_has_a_heat_map_and_none_has_not(tmp_path):
    plots.cooccurrence_plot(csr(np.array([[5]])), None, tmp_path / "one.png")
    assert imread(tmp_path / "one.png").shape[1] == 1280
    with pytest.raises(DataError, match="no label has videos"):
        plots.cooccurrence_plot(csr(np.zeros((3, 3), np.int64)), None, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
