"""What synthetic videos say of themselves: labels, ids, and what they were made from, deltas too."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthesis_pool import SCHEMA, make, matrix, plan_of, pool, synthetics

from yt8m_data import deltas, sampling, synthesis
from yt8m_data.schema import PROVENANCE
from yt8m_data.synthesis import Synthetics


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("base", [[2, 0], [1], [2, 0]]),
        ("intersection", [[2], [1], [0, 2]]),
        ("union", [[0, 1, 2], [1, 2], [0, 2]]),
    ],
)
def test_label_rules(rule, expected):
    """The third is noise, which has no neighbour: the base meets itself."""
    videos = pool(3, [[2, 0], [1], [2, 1]])
    made = make(videos, synthetics([0, 1, 0], [2, 2, -1], ["interpolate", "interpolate", "noise"]), plan_of([2] * 3, labels=rule))
    assert made.column("labels").to_pylist() == expected


def test_provenance():
    made = make(pool(), synthetics([3, 3, 1], [0, 0, -1], ["interpolate", "extrapolate", "noise"], 0.25), plan_of([1]))
    assert made.schema.names == ["id", "labels", "rgb", "audio", *PROVENANCE.names]
    assert made.column("id").to_pylist() == [b"id3_o01", b"id3_o02", b"id1_o03"]
    assert made.column("aug_method").to_pylist() == [b"interpolate", b"extrapolate", b"noise"]
    assert made.column("aug_base").to_pylist() == [b"id3", b"id3", b"id1"]
    assert made.column("aug_neighbor").to_pylist() == [b"id0", b"id0", None]
    assert made.column("aug_lambda").to_pylist() == [0.25, 0.25, None]
    assert made.column("aug_origin").to_pylist() == made.column("label_weights").to_pylist() == [None] * 3


def test_ids_beyond_99():
    chosen = Synthetics(np.zeros(3, int), np.zeros(3, int), np.zeros(3, np.int8), np.zeros(3), np.array([9, 99, 100]), np.zeros(3, bool))
    assert synthesis.synthetic_ids(pa.array([b"x\xff"], pa.binary()), chosen).to_pylist() == [b"x\xff_o09", b"x\xff_o99", b"x\xff_o100"]


def test_ranking_is_a_vote_of_the_base_and_its_neighbors():
    """MLSMOTE: at least half of them all. Row 0 has three neighbours, so two votes of four are enough; row 4 has none and keeps its own."""
    videos = pool(5, [[2, 0], [1, 2], [1], [0], [2, 1]])
    near = np.array([[1, 2, 3], [0, -1, -1], [-1] * 3, [-1] * 3, [-1] * 3])
    chosen = synthetics([0, 0, 1, 4], [1, -1, 0, -1], ["interpolate", "noise", "extrapolate", "copy"])
    made = make(videos, chosen, plan_of([3] * 3, labels="ranking"), near)
    assert made.column("labels").to_pylist() == [[0, 1, 2], [0, 1, 2], [0, 1, 2], [1, 2]]
    assert made.column("label_weights").null_count == 4
    three = np.array([[1, 2], [-1] * 2, [-1] * 2, [-1] * 2, [-1] * 2])
    made = make(videos, synthetics([0], [1], ["interpolate"]), plan_of([3] * 3, labels="ranking"), three)
    assert made.column("labels").to_pylist() == [[1, 2]]  # two of three


@given(
    st.lists(st.lists(st.integers(0, 6), unique=True, max_size=4), min_size=2, max_size=2),
    st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5]),
    st.sampled_from(["interpolate", "extrapolate", "noise", "copy"]),
)
def test_soft_labels_are_mixed_as_the_features_are(labels, factor, method):
    part = {"interpolate": factor, "extrapolate": -factor}.get(method, 0)
    chosen = synthetics([0], [1 if part or method in sampling.PAIRED else -1], [method], factor)
    made = make(pool(2, labels), chosen, plan_of([1] * 7, labels="soft"))
    expected = {label: (1 - part) * (label in labels[0]) + part * (label in labels[1]) for label in sorted({*labels[0], *labels[1]})}
    expected = {label: min(weight, 1) for label, weight in expected.items() if weight > 0}
    found, weights = made.column("labels").to_pylist()[0], made.column("label_weights").to_pylist()[0]
    assert found == list(expected)
    if all(weight == 1 for weight in expected.values()):
        assert weights is None
    else:
        assert weights == [np.float32(weight) for weight in expected.values()]


def bank(labels: list[int], seed: int = 5) -> deltas.Deltas:
    random = np.random.default_rng(seed)
    count = len(labels)
    vectors = {feature.name: random.standard_normal((count, feature.size)).astype(np.float32) for feature in SCHEMA.features}
    return deltas.Deltas([b"p%d" % i for i in range(count)], [b"q%d" % i for i in range(count)], np.array(labels), vectors)


@pytest.mark.parametrize("hold", [(), ("audio",)])
def test_a_delta_is_its_formula_and_can_be_traced(hold):
    videos, drawn = pool(4, [[1, 2], [0], [1], [2, 0]]), bank([1, 1, 2, 2, 2])
    chosen = synthetics([0, 1, 2, 3, 3], [-1] * 5, ["delta"] * 5, 0.7)
    made = make(videos, chosen, plan_of([1] * 3, hold=hold, seed=4), bank=drawn)
    own = [{1, 2}, {1, 2}, {1}, {2}, {2}]  # video 1 has none of its own that the bank knows
    for row, (base, allowed) in enumerate(zip([0, 1, 2, 3, 3], own, strict=True)):
        said = made.slice(row, 1).to_pylist()[0]
        at = drawn.plus.index(said["aug_neighbor"])
        assert said["aug_origin"] == drawn.minus[at]
        assert (said["aug_method"], said["aug_base"], said["aug_lambda"]) == (b"delta", b"id%d" % base, np.float32(0.7))
        assert drawn.labels[at] in allowed
        for name in ("rgb", "audio"):
            delta = 0 if name in hold else np.float32(0.7) * drawn.vectors[name][at]
            np.testing.assert_allclose(matrix(made, name)[row], matrix(videos, name)[base] + delta, rtol=1e-6, atol=1e-6)
    assert made.column("labels").to_pylist() == [[1, 2], [0], [1], [2, 0], [2, 0]]


def test_deltas_are_drawn_evenly_by_the_ids():
    count, drawn = 6000, bank([3] * 2 + [5] * 4)
    column = pa.array([[3, 5], [5, 9], []] * (count // 3), pa.list_(pa.int32()))
    ids = [b"%05d_o01" % i for i in range(count)]
    rows = deltas.draw(drawn, 1, column, ids)
    for at, shares in enumerate([[1 / 4] * 2 + [1 / 8] * 4, [0, 0, *[1 / 4] * 4], [1 / 4] * 2 + [1 / 8] * 4]):
        found = np.bincount(rows[at::3], minlength=6) / (count / 3)
        assert found == pytest.approx(shares, abs=5 * 0.5 / (count / 3) ** 0.5)
        assert (found[np.array(shares) == 0] == 0).all()
    assert deltas.draw(drawn, 1, column.slice(30), ids[30:]).tolist() == rows[30:].tolist()
    assert (deltas.draw(drawn, 2, column, ids) != rows).any()
