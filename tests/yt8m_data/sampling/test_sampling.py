"""The sampling plan: the published tables, the tie rules, explicit targets and every wrong setting."""

import json
import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yt8m_data import sampling
from yt8m_data.errors import DataError
from yt8m_data.sampling import KEEP, OVER, SUB, Settings

FULL = Settings(threshold=10_000)

# n -> K of the published writing script, K = int(t(n) / n + 1) with t(n) = 5000 (log10 n - 2); below 1 it means no neighbour.
AUTHORS = {1: 0, 20: 0, 50: 0, 99: 0, 100: 1, 120: 4, 150: 6, 200: 8, 272: 8, 300: 8, 500: 7, 1000: 6, 2000: 4, 5000: 2, 10_000: 2}
PAPER = AUTHORS | dict.fromkeys((1, 20, 50, 99, 100, 120, 150), 8)
RATIOS = {10_001: 1, 23_700: 1, 25_000: 2, 50_000: 3, 100_000: 6, 200_000: 12, 400_000: 22, 800_000: 40}


def plan(counts: list[int], settings: Settings = FULL, num_records: int | None = None) -> sampling.Plan:
    return sampling.plan(np.array(counts, np.int64), num_records or sum(counts), settings)


def lists(*labels: list[int]) -> pa.ListArray:
    return pa.array(labels, pa.list_(pa.int32()))


# --- The published policies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("policy", "table"), [("paper", PAPER), ("authors", AUTHORS)])
@pytest.mark.parametrize("scale", [1, 3, 7, 100])
def test_neighbors_by_count(policy, table, scale):
    """At full scale, and the same where counts and threshold are both so many times as large."""
    made = plan([scale * n for n in table], replace(FULL, policy=policy, threshold=10_000.0 * scale))
    assert dict(zip(table, made.neighbors.tolist(), strict=True)) == table
    assert (made.regime == OVER).all()
    assert (made.keep == 1).all()
    assert np.isnan(made.copies).all()


@given(st.integers(1, 1_000_000), st.integers(1, 1_000_000))
def test_neighbors_against_the_formula(n, top):
    counts = sorted({n, top})
    for policy in ("paper", "authors"):
        made = plan(counts, replace(FULL, policy=policy))
        for count, neighbors, regime in zip(counts, made.neighbors.tolist(), made.regime.tolist(), strict=True):
            at = max(count, 100 * math.e) if policy == "paper" else count
            formula = int(5000 * (math.log10(at) - 2) / at + 1)  # int() cuts towards zero
            assert regime == (OVER if count <= 10_000 else SUB)
            assert neighbors == (max(formula, 0) if count <= 10_000 else 0)


def test_paper_gives_rarer_labels_at_least_as_many_neighbors():
    neighbors = plan(list(range(1, 10_001))).neighbors
    assert (np.diff(neighbors) <= 0).all()
    assert (neighbors[0], neighbors[-1]) == (8, 2)


@pytest.mark.parametrize("policy", ["paper", "authors"])
@pytest.mark.parametrize("scale", [1, 3, 7, 100])
def test_keep_ratios(policy, scale):
    made = plan([scale * n for n in RATIOS], replace(FULL, policy=policy, threshold=10_000.0 * scale))
    assert (made.regime == SUB).all()
    assert made.keep.tolist() == [1 / ratio for ratio in RATIOS.values()]
    assert (made.neighbors == 0).all()


def test_scale_does_not_move_the_published_steps():
    """100 videos of 10,000 give one neighbour, and one video of 100 does."""
    for count in range(1, 2000):
        made = plan([count, 100 * count], replace(FULL, policy="authors", threshold=100.0 * count))
        assert made.neighbors.tolist() == [1, 2]
        assert made.target.tolist() == [0, pytest.approx(100 * count)]


def test_the_automatic_threshold_follows_the_number_of_records():
    assert plan([5], Settings(), num_records=5_001_275).threshold == 10_000
    assert plan([5], Settings(), num_records=50_013).threshold == pytest.approx(100, rel=1e-4)
    half = plan([100, 10_000, 50_000], Settings(), num_records=5_001_275)
    again = plan([10, 1000, 5000], Settings(), num_records=500_128)  # a tenth
    assert half.neighbors.tolist() == again.neighbors.tolist() == [8, 2, 0]
    assert half.keep.tolist() == again.keep.tolist() == [1, 1, 1 / 3]


def test_labels_without_videos_are_left_alone():
    made = plan([0, 300, 0])
    assert made.neighbors.tolist() == [0, 8, 0]
    assert made.pool_labels.tolist() == [1]
    assert [entry["label"] for entry in made.to_dict()["labels"]] == [1]


def test_pool_labels():
    assert plan([50, 150, 20_000]).pool_labels.tolist() == [0, 1]
    assert plan([50, 150, 20_000], replace(FULL, policy="authors")).pool_labels.tolist() == [1]
    assert plan([50, 150], replace(FULL, methods=("noise",))).pool_labels.tolist() == []
    assert plan([50, 150], replace(FULL, methods=("noise", "extrapolate"))).pool_labels.tolist() == [0, 1]


# --- The deciding label -----------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(1, 3), min_size=6, max_size=6),
    st.lists(st.lists(st.integers(0, 5), max_size=6), max_size=10),
    st.integers(0, 3),
)
def test_the_rarest_label_decides(counts, labels, offset):
    """Ties: the smallest label; with the authors' policy the one listed first (`min` keeps the first)."""
    column = lists(*labels)[offset:]
    labels = labels[offset:]
    for policy in ("paper", "authors"):
        made = plan(counts, replace(FULL, policy=policy))
        if policy == "paper":
            expected = [min(row, key=lambda label: (counts[label], label)) if row else -1 for row in labels]
        else:
            expected = [min(row, key=lambda label: counts[label]) if row else -1 for row in labels]
        assert made.decide(column).tolist() == expected


def test_large_counts_and_labels_do_not_run_into_each_other():
    counts = np.full(20_000, 2**31 - 1)
    counts[19_998:] -= 1
    made = sampling.plan(counts, 2**31, FULL)
    assert made.decide(lists([3, 19_999, 19_998], [19_999], [7, 5])).tolist() == [19_998, 19_999, 5]


# --- Explicit targets ---------------------------------------------------------------------------------------------------------------


def target(counts: list[int], **options: float) -> sampling.Plan:
    return plan(counts, Settings(policy="target", **options))


def test_a_cap_touches_nothing_below_it():
    """Counts whose n_max (n / n_max) is not n in floating point are the ones to look at: 1 of 49 is the smallest."""
    for top in range(50, 400):
        counts = list(range(1, top + 1))
        made = target(counts, cap=49)
        assert made.regime.tolist() == [KEEP] * 49 + [SUB] * (top - 49)
        assert made.target.tolist() == [*counts[:49], *[49] * (top - 49)]
        assert made.keep.tolist() == [49 / max(n, 49) for n in counts]
        assert not made.neighbors.any()


def test_a_floor_lifts_what_is_below_it():
    made = target([1, 10, 40, 100, 500], floor=100)
    assert made.regime.tolist() == [OVER, OVER, OVER, KEEP, KEEP]
    assert made.target.tolist() == [100, 100, 100, 100, 500]
    assert made.copies.tolist() == pytest.approx([99, 9, 1.5, 0, 0])
    assert made.neighbors.tolist() == [0, 5, 1, 0, 0]  # ceil(copies / 2 methods), and no more than there are others
    assert (made.keep == 1).all()
    assert made.expected().tolist() == pytest.approx([100, 10, 2.5, 1, 1])


def test_neighbors_of_a_target_by_number_of_methods():
    made = [plan([10, 100], Settings(policy="target", floor=60, methods=sampling.METHODS[:n])) for n in (1, 2, 3)]
    assert [m.neighbors.tolist() for m in made] == [[5, 0], [3, 0], [2, 0]]


def test_a_power_flattens_the_law():
    counts = [4, 100, 10_000]
    assert target(counts, power=0.5).target.tolist() == pytest.approx([200, 1000, 10_000])
    assert target(counts, power=0).target.tolist() == [10_000] * 3
    both = target(counts, power=0.5, floor=500, cap=5000)
    assert both.target.tolist() == pytest.approx([500, 1000, 5000])
    assert both.regime.tolist() == [OVER, OVER, SUB]
    assert both.keep.tolist() == [1, 1, 0.5]
    assert both.copies.tolist() == pytest.approx([124, 9, 0])


@given(st.lists(st.integers(1, 100_000), min_size=1, max_size=20), st.floats(0, 2))
def test_a_target_is_reached_on_average(counts, power):
    made = target([*counts, 7], power=power, floor=3)
    assert made.counts * made.expected() == pytest.approx(made.target)


# --- What is expected, and what is written down ----------------------------------------------------------------------------------------


def test_expected_of_the_published_policies():
    made = plan([1, 4, 300, 5000, 50_000], replace(FULL, policy="paper"))
    # A lone video gives a noisy copy; four have three neighbours each; the others as many as K says, two videos of each pair.
    assert made.expected().tolist() == pytest.approx([2, 7, 17, 5, 1 / 3])
    noise = plan([1, 4, 300], replace(FULL, methods=("noise",)))
    assert noise.expected().tolist() == [9, 9, 9]
    authors = plan([50, 300], replace(FULL, policy="authors", methods=("extrapolate",)))
    assert authors.expected().tolist() == [2, 9]


def test_the_manifest_entry():
    made = plan([0, 300, 50_000], replace(FULL, lambdas=(0.2, 0.8), hold=("mean_audio",), seed=5))
    entry = made.to_dict()
    assert json.loads(json.dumps(entry, allow_nan=False)) == entry
    labels = entry.pop("labels")
    assert entry == {
        **{"policy": "paper", "threshold": 10_000.0, "methods": ["interpolate", "extrapolate"], "lambda": [0.2, 0.8]},
        **{"sigma": 0.03, "label_rule": "base", "hold": ["mean_audio"], "seed": 5},
    }
    assert labels == [
        {"label": 1, "count": 300, "target": 2385.606, "regime": "over", "keep_ratio": 1.0, "neighbors": 8},
        {"label": 2, "count": 50_000, "target": 13494.85, "regime": "sub", "keep_ratio": 0.333333, "neighbors": 0},
    ]
    explicit = target([3, 30], floor=10).to_dict()
    assert (explicit["cap"], explicit["floor"], explicit["power"]) == (None, 10, 1.0)


# --- Wrong use --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "auto"}, "auto makes no synthetic videos, so --method, .* would do nothing: leave them out"),
        (
            {"policy": "auto", "methods": (), "sigma": 0.1},
            "auto makes no synthetic videos, so .*, --sigma, .* leave them out",
        ),
        ({"policy": "papers"}, "no policy 'papers': choose one of paper, authors, target"),
        ({"methods": ()}, r"methods \(none\) are not a subset of interpolate, extrapolate, noise"),
        ({"methods": ("mixup",)}, "methods mixup are not a subset"),
        ({"methods": ("noise", "noise")}, "methods noise, noise are not a subset"),
        ({"lambdas": (0.8, 0.2)}, r"lambda 0\.8:0\.2 is no range"),
        ({"lambdas": (-0.1, 0.2)}, r"lambda -0\.1:0\.2 is no range"),
        ({"lambdas": (0.1, math.inf)}, r"lambda 0\.1:inf is no range"),
        ({"lambdas": (math.nan, math.nan)}, "lambda nan:nan is no range"),
        ({"threshold": 0.0}, "threshold 0 is not a number above 0"),
        ({"threshold": math.inf}, "threshold inf is not a number above 0"),
        ({"threshold": math.nan}, "threshold nan is not"),
        ({"sigma": -1.0}, "sigma -1 is not a number from 0 up"),
        ({"sigma": math.inf}, "sigma inf is not"),
        ({"policy": "target", "cap": -5.0}, "cap -5 is not a number from 0 up"),
        ({"policy": "target", "floor": math.inf}, "floor inf is not"),
        ({"policy": "target", "power": -1.0}, "power -1 is not"),
        ({"seed": 2**63}, f"seed {2**63} does not fit 64 bits"),
        ({"labels": "none"}, "no label rule 'none': choose one of base, intersection, union"),
        ({"cap": 5.0}, "--cap, .* and --max-copies belong to --policy target and joint, not paper"),
        ({"policy": "authors", "power": 0.5}, "belong to --policy target and joint, not authors"),
        ({"policy": "ml-ros", "percent": 5.0, "targets": ((1, 2.0),)}, "belong to --policy target and joint, not ml-ros"),
        ({"policy": "target"}, "--policy target needs one of --cap, --floor, --power, --effective and --targets"),
        ({"policy": "joint", "max_copies": 5.0}, "--policy joint needs one of"),
        ({"policy": "target", "effective": 1.0}, "effective 1 is not a beta from 0 to below 1"),
        ({"policy": "target", "effective": 0.9, "power": 0.5}, "--power and --effective both bend the law"),
        ({"policy": "target", "floor": 5.0, "max_copies": -1.0}, "the max-copies -1 is not a number from 0 up"),
        ({"policy": "ml-ros"}, "--policy ml-ros needs --percent, how much of the records it adds"),
        ({"policy": "ml-rus"}, "--policy ml-rus needs --percent, how much of the records it drops"),
        ({"percent": 5.0}, "--percent belongs to --policy ml-ros and ml-rus, not paper"),
        ({"policy": "ml-rus", "percent": 101.0}, "--policy ml-rus cannot have 101 percent"),
        ({"policy": "ml-ros", "percent": 0.0}, "--policy ml-ros cannot have 0 percent"),
        ({"neighbors": 0}, "0 neighbors are none"),
        ({"deltas": 0}, "0 deltas are none"),
        ({"policy": "target", "cap": 5.0, "floor": 6.0}, "floor 6 is above the cap 5"),
    ],
)
def test_wrong_settings(options, message):
    with pytest.raises(DataError, match=message):
        Settings(**options)


def test_no_labels_at_all():
    with pytest.raises(DataError, match="no record has a label"):
        plan([0, 0, 0], num_records=10)


def test_numbers_on_the_command_line():
    assert sampling.parse_threshold("auto") is None
    assert sampling.parse_threshold("2.5e3") == 2500
    assert sampling.parse_range("0.5") == (0.5, 0.5)
    assert sampling.parse_range("0.2:0.8") == (0.2, 0.8)
    for parse, text in ((sampling.parse_threshold, "many"), (sampling.parse_range, "half"), (sampling.parse_range, "0.1:half")):
        with pytest.raises(DataError, match="is not a number"):
            parse(text)


@pytest.mark.parametrize(
    ("options", "bound"),
    [
        ({}, "at most"),
        ({"methods": ("noise", "copy", "delta")}, ""),
        ({"methods": ("noise",), "labels": "union"}, ""),  # noise has no neighbour whose labels it could take
        ({"methods": ("noise",), "labels": "ranking"}, "about"),
        ({"labels": "intersection"}, "at most"),
        ({"labels": "union"}, "about"),
        ({"policy": "target", "floor": 5.0}, ""),
        ({"policy": "target", "floor": 5.0, "labels": "intersection"}, "at most"),
        ({"policy": "target", "floor": 5.0, "labels": "soft"}, "at least"),
        ({"policy": "target", "floor": 5.0, "labels": "ranking"}, "about"),
    ],
)
def test_how_sure_a_forecast_is(options, bound):
    assert plan([5, 50], Settings(**options)).bound == bound


def test_a_number_of_neighbors_of_one_s_own():
    assert plan([5, 150, 20_000, 0], replace(FULL, neighbors=3)).neighbors.tolist() == [3, 3, 0, 0]
    assert target([5, 150], floor=20, neighbors=4).neighbors.tolist() == [4, 0]


def test_growth_is_a_bound_where_the_deciding_labels_are_not_known():
    made = target([10, 100], floor=50)
    assert made.growth() == pytest.approx((10 * 5 + 100) / 110)
    assert replace(made, own=np.array([1.0, 99.0])).growth() == pytest.approx((5 + 99) / 100)
