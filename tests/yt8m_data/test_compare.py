"""Drift: distances against their definitions, chance against draws, and what breaches which threshold."""

import csv
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import distance

from yt8m_data.compare import Thresholds, compare, jensen_shannon, read
from yt8m_data.errors import DataError

COUNTS = st.lists(st.integers(0, 10_000), min_size=2, max_size=30)
LAW = 1 / np.arange(1, 201)
LAW /= LAW.sum()


def stats(counts, num_records=10_000, features=None):
    return {"num_records": num_records, "num_classes": len(counts), "label_counts": list(map(int, counts)), "features": features or {}}


def feature(mean, variance):
    return {"size": len(mean), "mean": list(mean), "variance": list(variance)}


def check(result, name):
    return next(each for each in result["checks"] if each["name"] == name)


# --- Labels -----------------------------------------------------------------------------------------------------------------


@given(COUNTS, COUNTS)
def test_jensen_shannon_is_scipys(a, b):
    size = min(len(a), len(b))
    p, q = (np.array(each[:size]) + 1e-9 for each in (a, b))
    p, q = p / p.sum(), q / q.sum()
    assert jensen_shannon(p, q).sum() == pytest.approx(distance.jensenshannon(p, q, 2) ** 2, abs=1e-9)


def test_jensen_shannon_of_disjoint_labels_is_one_bit():
    assert jensen_shannon(np.array([1.0, 0]), np.array([0, 1.0])).tolist() == [0.5, 0.5]


def test_the_figures_by_hand():
    result = compare(stats([6000, 4000]), stats([5000, 5000]))
    linf = check(result, "labels: L-infinity")
    assert linf["value"] == pytest.approx(0.1)
    assert linf["chance"] == pytest.approx(5 * math.sqrt(0.55 * 0.45 * 2 / 10_000), rel=1e-5)
    assert linf["limit"] == pytest.approx(linf["threshold"] + linf["chance"], rel=1e-5)
    assert linf["breached"]
    assert not result["ok"]
    assert [(each["label"], each["difference"]) for each in result["labels"]] == [(1, 0.1), (0, -0.1)]
    assert sum(each["divergence"] for each in result["labels"]) == pytest.approx(check(result, "labels: Jensen-Shannon")["value"], rel=1e-4)


@pytest.mark.parametrize("size", [300, 3000, 300_000])
def test_two_samples_of_one_law_are_alike_whatever_their_size(size):
    random = np.random.default_rng(size)
    for _ in range(20):
        result = compare(stats(random.multinomial(size, LAW)), stats(random.multinomial(2 * size, LAW)), Thresholds(linf=0, js=0))
        assert result["ok"], result["checks"]
        assert result["labels"] == []


@pytest.mark.parametrize("size", [20_000, 2_000_000])
def test_another_law_is_found_and_the_labels_that_moved_are_named(size):
    random, other = np.random.default_rng(1), LAW.copy()
    other[[3, 50]] = LAW[[3, 50]] * (0.3, 8)
    result = compare(stats(random.multinomial(size, LAW)), stats(random.multinomial(size, other / other.sum())))
    assert not result["ok"]
    assert {result["labels"][0]["label"], result["labels"][1]["label"]} == {3, 50}


def test_a_difference_below_the_threshold_passes():
    a, b = stats([500_000, 500_000]), stats([505_000, 495_000])
    assert compare(a, b)["ok"]
    assert not compare(a, b, Thresholds(linf=0.001))["ok"]
    assert compare(a, b)["labels"], "what moved is told all the same"


def test_chance_does_not_depend_on_a_generator_that_somebody_else_used():
    a, b = stats([60, 30, 9, 1]), stats([50, 30, 19, 1])
    first = compare(a, b)
    np.random.default_rng().random(1000)
    assert compare(a, b) == first


def test_without_labels_there_is_nothing_to_compare():
    result = compare(stats([0, 0]), stats([5, 3]))
    assert (result["ok"], result["checks"], result["labels"]) == (True, [], [])


# --- Features ---------------------------------------------------------------------------------------------------------------


def test_shifts_by_hand():
    a = stats([1], 100_000, {"x": feature([0, 1, 2], [1, 4, 1])})
    b = stats([1], 100_000, {"x": feature([0, 2, 2], [1, 4, 4])})
    result = compare(a, b)
    shift, spread = check(result, "x: mean shift"), check(result, "x: spread shift")
    assert shift["value"] == pytest.approx(0.5)
    assert shift["chance"] == pytest.approx(5 * math.sqrt(2 / 100_000), rel=1e-5)
    assert spread["value"] == pytest.approx(1)
    assert shift["breached"]
    assert spread["breached"]
    assert [each["dimension"] for each in result["features"]["x"]] == [2, 1]
    assert result["features"]["x"][1] == {
        "dimension": 1, "mean_a": 1, "mean_b": 2, "shift": 0.5, "std_a": 2, "std_b": 2, "spread": 0,
    }  # fmt: skip


@pytest.mark.parametrize("size", [100, 10_000])
def test_samples_of_one_distribution_do_not_shift(size):
    random = np.random.default_rng(size)
    sides = [random.normal(3, 2, (size, 1000)) for _ in range(2)]
    a, b = (stats([1], size, {"x": feature(side.mean(axis=0), side.var(axis=0))}) for side in sides)
    assert compare(a, b, Thresholds(shift=0, spread=0))["ok"]
    moved = {"x": feature(sides[1].mean(axis=0) + np.eye(1000)[7] * 2, sides[1].var(axis=0))}
    result = compare(a, stats([1], size, moved))
    assert [check["name"] for check in result["checks"] if check["breached"]] == ["x: mean shift"]
    assert result["features"]["x"][0]["dimension"] == 7


def test_constants_that_differ_are_a_breach_and_equal_ones_are_none():
    same = stats([1], 10, {"x": feature([2.0], [0.0])})
    assert compare(same, same)["ok"]
    other = stats([1], 10, {"x": feature([3.0], [0.0])})
    assert not compare(same, other)["ok"]
    assert json.dumps(compare(same, other), allow_nan=False)
    assert not compare(same, stats([1], 10, {"x": feature([2.0], [1.0])}))["ok"]


def test_features_that_only_one_side_has_are_passed_over():
    result = compare(stats([5, 5], features={"x": feature([1], [1])}), stats([5, 5]))
    assert (result["ok"], result["features"]) == (True, {})


# --- Wrong use --------------------------------------------------------------------------------------------------------------


def test_what_cannot_be_compared():
    with pytest.raises(DataError, match="one has 2 classes and the other 3"):
        compare(stats([1, 2]), stats([1, 2, 3]))
    with pytest.raises(DataError, match="'x' has 1 dimensions in one and 2 in the other"):
        compare(stats([1], features={"x": feature([1], [1])}), stats([1], features={"x": feature([1, 2], [1, 1])}))
    for name in ("linf", "js", "shift", "spread"):
        for value in (-0.1, math.nan):
            with pytest.raises(DataError, match=f"the threshold {name} "):
                Thresholds(**{name: value})


def test_folders_and_files_are_read(tmp_path):
    (tmp_path / "stats.json").write_text(json.dumps(stats([1, 2])))
    assert read(str(tmp_path)) == read(str(tmp_path / "stats.json")) == stats([1, 2])
    with pytest.raises(DataError, match="there is no file"):
        read(str(tmp_path / "other.json"))
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(DataError, match=r"is no stats\.json of yt8m-data stats"):
        read(str(tmp_path / "other.json"))


@pytest.mark.shared_data
def test_the_sets_of_2017_and_2018_have_other_classes(shared_data):
    def counts(name, column):
        with open(shared_data / name, newline="", encoding="utf-8") as file:
            return [int(row[column]) for row in csv.DictReader(file)]

    later, earlier = counts("vocabulary-2018.csv", "TrainVideoCount"), counts("label-counts-2017.csv", "VideoCount")
    with pytest.raises(DataError, match="3862 classes and the other 4716"):
        compare(stats(later), stats(earlier))
    assert not compare(stats(later), stats(earlier[:3862]))["ok"]
