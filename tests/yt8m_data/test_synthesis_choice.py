"""What is made of which videos: the pairs against a sequential visit, exact numbers on hand-made groups, lambda and explicit targets."""

import hashlib
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthesis_pool import make, plan_of, pool

from yt8m_data import synthesis
from yt8m_data.sampling import METHODS, Settings
from yt8m_data.synthesis import Synthetics


def visited_in_order(neighbors: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Visit the videos in order and remember the pairs (SYSTEMS 8.4, as the published script does)."""
    used: set[frozenset[int]] = set()
    expands = np.zeros(neighbors.shape, bool)
    for video in np.argsort(order).tolist():
        for at, neighbor in enumerate(neighbors[video].tolist()):
            if neighbor >= 0 and frozenset((video, neighbor)) not in used:
                used.add(frozenset((video, neighbor)))
                expands[video, at] = True
    return expands


@st.composite
def groups(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Neighbour lists of distinct others, each of its own length (some of none: no base), and an order."""
    count = draw(st.integers(1, 12))
    most = draw(st.integers(1, 5))
    neighbors = np.full((count, most), -1)
    for video in range(count):
        others = [other for other in range(count) if other != video]
        found = draw(st.lists(st.sampled_from(others), unique=True, max_size=most)) if others else []
        neighbors[video, : len(found)] = found
    return neighbors, np.array(draw(st.permutations(range(count)))) * 1000 + 5


@given(groups())
def test_unused_pairs_equal_a_visit_in_order(group):
    neighbors, order = group
    unused = synthesis.unused_pairs(neighbors, order)
    assert unused.tolist() == visited_in_order(neighbors, order).tolist()
    pairs = [frozenset((int(video), int(neighbors[video, at]))) for video, at in np.argwhere(unused)]
    assert len(pairs) == len(set(pairs))  # each pair at most once
    assert set(pairs) == {frozenset((v, int(n))) for v, row in enumerate(neighbors) for n in row if n >= 0}  # and each by somebody


IDS = pa.array([b"a", b"b", b"c", b"d"], pa.binary())
# Three videos around b and, far off, d, which is nobody's neighbour: a -> b c, b -> a c, c -> b a, d -> c b.
NEAR = np.array([[1, 2], [0, 2], [1, 0], [2, 1]])
ORDER = np.array([10, 20, 30, 40])


def methods_of(chosen: Synthetics) -> np.ndarray:
    """The names of the methods."""
    return np.array(METHODS)[chosen.method]


def listed(chosen: Synthetics) -> list[tuple[str, str, str]]:
    """What is made, as in ("a_o01", "interpolate", "b")."""
    names = [i.decode() for i in synthesis.synthetic_ids(IDS, chosen).to_pylist()]
    others = ["" if row < 0 else IDS[row].as_py().decode() for row in chosen.neighbor]
    return list(zip(names, methods_of(chosen).tolist(), others, strict=True))


def test_a_group_by_hand():
    """a uses ab and ac; b has only bc left; c has none left and makes noise; d uses both of its own: 1 + 2 * unused, or 2."""
    chosen = synthesis.choose(plan_of([2]), IDS, np.zeros(4, int), NEAR, ORDER)
    assert listed(chosen) == [
        ("a_o01", "interpolate", "b"),
        ("a_o02", "extrapolate", "b"),
        ("a_o03", "interpolate", "c"),
        ("a_o04", "extrapolate", "c"),
        ("b_o01", "interpolate", "c"),
        ("b_o02", "extrapolate", "c"),
        ("c_o01", "noise", ""),
        ("d_o01", "interpolate", "c"),
        ("d_o02", "extrapolate", "c"),
        ("d_o03", "interpolate", "b"),
        ("d_o04", "extrapolate", "b"),
    ]
    assert np.isnan(chosen.factor[6])
    assert (np.delete(chosen.factor, 6) == 0.5).all()
    assert chosen.factor.dtype == np.float32


def test_the_order_of_the_input_says_who_uses_a_pair():
    chosen = synthesis.choose(plan_of([2]), IDS, np.zeros(4, int), NEAR, ORDER[::-1])
    counts = {name: sum(made[0].startswith(name) for made in listed(chosen)) for name in "abcd"}
    assert counts == {"a": 1, "b": 2, "c": 4, "d": 4}
    assert ("a_o01", "noise", "") in listed(chosen)


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        (("interpolate",), {"a": "ii", "b": "i", "c": "n", "d": "ii"}),
        (("extrapolate", "interpolate"), {"a": "eiei", "b": "ei", "c": "n", "d": "eiei"}),
        (("noise",), {"a": "nn", "b": "nn", "c": "nn", "d": "nn"}),
        (("interpolate", "noise"), {"a": "inin", "b": "nin", "c": "nn", "d": "inin"}),
        (("interpolate", "extrapolate", "noise"), {"a": "ienien", "b": "nien", "c": "nn", "d": "ienien"}),
    ],
)
def test_subsets_of_the_methods(methods, expected):
    """Noise needs no pair: it comes once in every slot, behind what the slot's pair gives."""
    chosen = synthesis.choose(plan_of([2], methods=methods), IDS, np.zeros(4, int), NEAR, ORDER)
    made = {name: "".join(method[0] for at, method, _ in listed(chosen) if at.startswith(name)) for name in "abcd"}
    assert made == expected


def test_a_lone_video_and_one_without_neighbors_to_seek_give_one_noisy_copy():
    nothing = np.full((1, 2), -1)
    assert listed(synthesis.choose(plan_of([2]), IDS[:1], np.zeros(1, int), nothing, ORDER[:1])) == [("a_o01", "noise", "")]
    none = synthesis.choose(plan_of([0]), IDS[:2], np.zeros(2, int), np.zeros((2, 0), int), ORDER[:2])
    assert listed(none) == [("a_o01", "noise", ""), ("b_o01", "noise", "")]


def test_no_base_gives_nothing():
    chosen = synthesis.choose(plan_of([2]), IDS, np.full(4, -1), np.zeros((4, 0), int), ORDER)
    assert [len(column) for column in chosen] == [0] * 6
    assert make(pool(), chosen, plan_of([2])).num_rows == 0


def test_videos_that_are_only_neighbors_expand_nothing():
    near = np.where(np.arange(4)[:, None] == 1, NEAR, -1)
    chosen = synthesis.choose(plan_of([2]), IDS, np.array([-1, 0, -1, -1]), near, ORDER)
    assert [name for name, _, _ in listed(chosen)] == ["b_o01", "b_o02", "b_o03", "b_o04"]


def test_each_base_has_the_neighbors_of_its_own_label():
    """Label 0 has K = 1, label 1 has K = 2."""
    near = NEAR.copy()
    near[[0, 3], 1] = -1
    chosen = synthesis.choose(plan_of([1, 2]), IDS, np.array([0, 1, 1, 0]), near, ORDER)
    assert [(name, other) for name, method, other in listed(chosen) if method != "extrapolate"] == [
        ("a_o01", "b"),
        ("b_o01", "c"),
        ("c_o01", "a"),
        ("d_o01", "c"),
    ]


def test_deltas_stand_in_for_missing_pairs():
    near = np.array([[1], [0]])
    plan = plan_of([1], methods=("interpolate", "delta"))
    chosen = synthesis.choose(plan, IDS[:2], np.zeros(2, int), near, ORDER[:2], np.array([5, 0]))
    assert methods_of(chosen).tolist() == ["interpolate", *["delta"] * 4]
    assert chosen.filler.tolist() == [False] * 4 + [True]
    assert (chosen.factor == 0.5).all()
    assert chosen.neighbor.tolist() == [1, -1, -1, -1, -1]
    copies = synthesis.choose(replace(plan, settings=Settings(methods=("copy",))), IDS[:2], np.zeros(2, int), near, ORDER[:2])
    assert methods_of(copies).tolist() == ["copy", "copy"]
    assert np.isnan(copies.factor).all()


def ring(count: int, size: int) -> tuple[list[bytes], np.ndarray, np.ndarray]:
    """Videos whose neighbours are the next ones round a ring: no pair is met twice."""
    ids = pa.array([b"v%05d" % i for i in range(count)], pa.binary())
    return ids, (np.arange(count)[:, None] + np.arange(1, size + 1)) % count, np.arange(count)


def test_lambda_from_a_range():
    ids, near, order = ring(4000, 1)
    plan = plan_of([1], lambdas=(0.2, 0.8), seed=1)
    chosen = synthesis.choose(plan, ids, np.zeros(4000, int), near, order)
    factors = chosen.factor
    assert len(factors) == 8000
    assert np.float32(0.2) <= factors.min() < 0.21
    assert 0.79 < factors.max() <= np.float32(0.8)
    assert factors.mean() == pytest.approx(0.5, abs=5 * 0.6 / np.sqrt(12 * 8000))
    assert np.corrcoef(factors[::2], factors[1::2])[0, 1] == pytest.approx(0, abs=5 / np.sqrt(4000))  # each video its own
    digest = hashlib.blake2b(b"v00007_o02", digest_size=8, salt=(1).to_bytes(8, "little"), person=b"lambda").digest()
    assert factors[15] == np.float32(0.2 + (0.8 - 0.2) * (int.from_bytes(digest, "little") >> 11) * 2.0**-53)
    again = synthesis.choose(plan, ids, np.zeros(4000, int), near, order)
    assert again.factor.tolist() == factors.tolist()
    assert (
        synthesis.choose(replace(plan, settings=replace(plan.settings, seed=2)), ids, near[:, 0] * 0, near, order).factor != factors
    ).any()


@pytest.mark.parametrize("copies", [0.25, 1.0, 2.5, 3.999, 7.3])
def test_the_quota_of_an_explicit_target(copies):
    """Each base gives the whole part or one more, so that the mean is right; from its slots in turn, then noisy copies."""
    count = 5000
    ids, near, order = ring(count, 3)
    plan = plan_of([3], copies=copies, policy="target", floor=1.0)
    quotas = plan.quotas(ids.to_pylist(), pa.array([[0]] * count, pa.list_(pa.int32())), np.zeros(count, int))
    chosen = synthesis.choose(plan, ids, np.zeros(count, int), near, order, quotas)
    per_base = np.bincount(chosen.base, minlength=count)
    assert set(per_base.tolist()) == {int(np.floor(copies)), int(np.ceil(copies))}
    assert per_base.mean() == pytest.approx(copies, abs=5 * 0.5 / np.sqrt(count))
    for base in range(3):
        rows = np.flatnonzero(chosen.base == base)
        expected = [(method, base + step) for step in (1, 2, 3) for method in ("interpolate", "extrapolate")] + [("noise", -1)] * 2
        assert list(zip(methods_of(chosen)[rows].tolist(), chosen.neighbor[rows].tolist(), strict=True)) == expected[: len(rows)]
        assert chosen.number[rows].tolist() == list(range(1, len(rows) + 1))


def test_explicit_targets_may_use_a_pair_from_both_ends():
    near = np.array([[1], [0]])
    plan = plan_of([1], copies=2.0, policy="target", floor=1.0)
    chosen = synthesis.choose(plan, IDS[:2], np.zeros(2, int), near, ORDER[:2], np.array([2, 2]))
    assert [name for name, _, _ in listed(chosen)] == ["a_o01", "a_o02", "b_o01", "b_o02"]
