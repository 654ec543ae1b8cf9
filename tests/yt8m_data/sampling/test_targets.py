"""Targets: their shapes against the formulas, the joint solution against the counts that follow from it, files of targets."""

import numpy as np
import pytest
from census import CLASSES, column, counts, ids, plan, random_lists, rarest, sets
from hypothesis import given, settings
from hypothesis import strategies as st

from yt8m_data import sampling
from yt8m_data.errors import DataError
from yt8m_data.sampling import KEEP, OVER, SUB, Settings, targets

COUNTS = np.array([10_000, 100, 4, 1])


def shape(**options: object) -> list[float]:
    return targets.shape(COUNTS, Settings(policy="target", **options)).tolist()


def test_square_root():
    assert shape(power=0.5) == pytest.approx([10_000, 1000, 200, 100])


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.999])
def test_effective_numbers(beta):
    """Cui et al. weigh a class by (1 - beta) / (1 - beta^n): counts times weights, scaled so that the commonest label keeps its own."""
    weights = (1 - beta) / (1 - beta ** COUNTS.astype(float))
    assert shape(effective=beta) == pytest.approx((COUNTS * weights / weights[0]).tolist(), rel=1e-9)


def test_the_ends_of_effective_numbers():
    assert shape(effective=0.0) == COUNTS.tolist()
    assert shape(effective=1 - 1e-12) == pytest.approx([10_000] * 4, rel=1e-3)


def test_targets_of_single_labels():
    assert shape(targets=((1, 500.0), (3, 0.0))) == [10_000, 500, 4, 0]
    assert shape(targets=((1, 500.0),), floor=20, cap=400) == [400, 400, 20, 20]
    with pytest.raises(DataError, match="--targets has the label 4, but the classes end at 3"):
        shape(targets=((4, 1.0),))


def test_max_copies():
    made = sampling.plan(COUNTS, 10_105, Settings(policy="target", floor=50, max_copies=3))
    assert made.copies.tolist() == [0, 0, 3, 3]
    assert made.expected().tolist() == [1, 1, 4, 4]


def test_a_file_of_targets(tmp_path):
    path = tmp_path / "targets.csv"
    path.write_text("Index,Name,Target\n7,Car,2.5e3\n3,Boat,0\n")
    assert sampling.read_targets(str(path)) == ((3, 0.0), (7, 2500.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "are empty"),
        ("Index,Target\n", "are empty"),
        ("Label,Target\n1,2\n", "have '' for a label: give a CSV with the columns Index and Target"),
        ("Index,Target\n-1,2\n", "have '-1' for a label"),
        ("Index,Target\n1,many\n", "target of label 1 .* 'many' is not a number"),
        ("Index,Target\n1\n", "'' is not a number"),
        ("Index,Target\n1,-3\n", "target -3 of label 1 .* is not a number from 0 up"),
        ("Index,Target\n1,inf\n", "target inf of label 1"),
        ("Index,Target\n1,2\n1,3\n", "have label 1 twice"),
    ],
)
def test_a_wrong_file_of_targets(tmp_path, text, message):
    path = tmp_path / "targets.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        sampling.read_targets(str(path))
    with pytest.raises(DataError, match="cannot be read"):
        sampling.read_targets(str(tmp_path / "none.csv"))


# --- Joint ----------------------------------------------------------------------------------------------------------------------------


def outcome(lists: list[list[int]], factor: np.ndarray) -> np.ndarray:
    """Videos with each label, when each counts as often as the factor of its rarest label says."""
    reached = np.zeros(CLASSES)
    for labels, label in zip(lists, rarest(lists), strict=True):
        for each in set(labels):
            reached[each] += factor[label]
    return reached


OPTIONS = st.fixed_dictionaries(
    {},
    optional={"floor": st.sampled_from([5.0, 30.0, 60.0]), "power": st.sampled_from([0.3, 0.8]), "max_copies": st.sampled_from([1.0, 6.0])},
).filter(lambda options: set(options) - {"max_copies"})


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(20, 200), OPTIONS, st.booleans())
def test_joint_targets_are_met_where_no_bound_binds(seed, count, options, capped):
    lists = random_lists(seed, count)
    if not any(lists):
        return
    if capped:
        options |= {"cap": 60.0}
    made = plan(lists, policy="joint", **options)
    factor = np.where(made.regime == OVER, 1 + made.copies, made.keep)
    reached, had, own = outcome(lists, factor), counts(lists), np.bincount([r for r in rarest(lists) if r >= 0], minlength=CLASSES)
    for label in np.flatnonzero(had):
        raised, target = made.target[label] >= had[label], made.target[label]
        low, high = (1, 1 + options.get("max_copies", np.inf)) if raised else (0, 1)
        assert low - 1e-9 <= factor[label] <= high + 1e-9
        if not own[label]:
            assert factor[label] == 1
        elif reached[label] < target - 1e-6:
            assert factor[label] == pytest.approx(high)  # it could not give more
        elif reached[label] > target + 1e-6:
            assert factor[label] == pytest.approx(low)  # its rarer companions carry too many


def test_joint_counts_the_companions_by_hand():
    """Label 2 comes with 0 and 1. Raised from 2 to 6 videos it brings 4 more to each, which is what these lack, or more than that."""
    lists = [[0, 1, 2]] * 2 + [[1, 0]] * 4 + [[0]] * 10
    made = plan(lists, policy="joint", targets=((0, 30.0), (1, 10.0), (2, 6.0)))
    assert made.copies[:3].tolist() == pytest.approx([1, 0, 2])  # 6 + 4 + 10 m = 30
    assert made.regime[:3].tolist() == [OVER, KEEP, OVER]
    fewer = plan(lists, policy="joint", targets=((0, 15.0), (1, 7.0), (2, 6.0)))
    assert fewer.keep[0] == pytest.approx(0.5)
    assert fewer.regime[:3].tolist() == [SUB, KEEP, OVER]
    assert fewer.own.tolist() == [10, 4, 2, 0, 0, 0, 0, 0]
    assert fewer.growth() == pytest.approx((5 + 4 + 6) / 16)


def test_joint_needs_the_label_sets():
    lists = random_lists(0, 50)
    with pytest.raises(DataError, match="--policy joint needs to know which labels come together"):
        sampling.plan(counts(lists), 50, Settings(policy="joint", floor=5))


def test_a_sample_of_the_sets_is_scaled_up():
    lists = random_lists(1, 2000)
    every_other = sets(lists[::2])._replace(exact=False)
    whole = targets.decided(counts(lists), sets(lists))
    part = targets.decided(counts(lists), every_other)
    assert part[2].sum() == pytest.approx(whole[2].sum())
    assert targets.own_videos(counts(lists), every_other).sum() == pytest.approx(sum(map(bool, lists)), rel=0.05)


# --- The forecast -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["target", "joint"])
def test_quotas_meet_the_factors_on_average(policy):
    lists = random_lists(2, 3000)
    made = plan(lists, policy=policy, floor=400.0, cap=1500.0)
    records = sampling.forecast(made, ids(lists), column(lists))
    for label in range(CLASSES):
        own = [i for i, r in enumerate(rarest(lists)) if r == label]
        factor = made.expected()[label]
        spread = (len(own) * max(factor % 1 * (1 - factor % 1), 0)) ** 0.5
        assert records[own].sum() == pytest.approx(factor * len(own), abs=5 * spread + 1e-6)
        assert set(records[own]) <= {np.floor(factor), np.ceil(factor)}
    assert (records[[i for i, labels in enumerate(lists) if not labels]] == 1).all()
