"""Synthesis: the operators against their formulas, the pairs against a sequential visit, and exact numbers on hand-made groups."""

import hashlib
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yt8m_data import deltas, recipes, sampling, synthesis
from yt8m_data.recipes import InBatch
from yt8m_data.sampling import Settings
from yt8m_data.schema import PROVENANCE, Feature, Schema
from yt8m_data.synthesis import Synthetics

SCHEMA = Schema("video", "id", "labels", (Feature("rgb", 4), Feature("audio", 2)), 3)


def plan_of(neighbors: list[int], counts: list[int] | None = None, copies: float = np.nan, **options: object) -> sampling.Plan:
    """A plan with the given K for each label, all over-sampled."""
    size = len(neighbors)
    counts = np.array(counts or [100] * size)
    regime = np.full(size, sampling.OVER, np.uint8)
    return sampling.Plan(
        Settings(**options), 10_000.0, counts, counts * 1.0, regime, np.ones(size), np.array(neighbors), np.full(size, copies)
    )


def pool(count: int = 5, labels: list[list[int]] | None = None, seed: int = 0) -> pa.RecordBatch:
    random = np.random.default_rng(seed)
    columns = [pa.array([b"id%d" % i for i in range(count)], pa.binary()), pa.array(labels or [[0]] * count, pa.list_(pa.int32()))]
    for feature in SCHEMA.features:
        values = random.standard_normal(count * feature.size).astype(np.float32)
        columns.append(pa.FixedSizeListArray.from_arrays(pa.array(values), feature.size))
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA.arrow)


def matrix(batch: pa.RecordBatch, name: str) -> np.ndarray:
    return np.array(batch.column(name).to_pylist(), np.float32).reshape(batch.num_rows, -1)


def synthetics(base: list[int], neighbor: list[int], method: list[str], factor: float = 0.5) -> Synthetics:
    factors = np.where(np.array(method) == "noise", np.nan, factor).astype(np.float32)
    return Synthetics(np.array(base), np.array(neighbor), np.array(method), factors, np.arange(len(base)) + 1, np.zeros(len(base), bool))


def make(
    videos: pa.RecordBatch, chosen: Synthetics, plan: sampling.Plan, near: np.ndarray | None = None, bank: deltas.Deltas | None = None
) -> pa.RecordBatch:
    """Make synthetic videos by their recipes."""
    ids = synthesis.synthetic_ids(videos.column("id").to_pylist(), chosen)
    how = synthesis.recipes(videos, ids, chosen, plan, SCHEMA, near, bank)
    return recipes.Made(how, InBatch(videos, SCHEMA), SCHEMA, plan.settings, bank).whole()


# --- The operators ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.0, 0.3, 0.5, 1.0, 1.7])
def test_interpolation_and_extrapolation_are_their_formulas(factor):
    videos = pool()
    made = make(videos, synthetics([0, 0, 3], [2, 2, 1], ["interpolate", "extrapolate", "interpolate"], factor), plan_of([2]))
    for name in ("rgb", "audio"):
        x, out = matrix(videos, name).astype(np.float64), matrix(made, name)
        expected = [x[0] + factor * (x[2] - x[0]), x[0] + factor * (x[0] - x[2]), x[3] + factor * (x[1] - x[3])]
        np.testing.assert_allclose(out, expected, atol=1e-6)


def test_lambda_zero_gives_the_base():
    videos = pool()
    made = make(videos, synthetics([1, 1], [2, 3], ["interpolate", "extrapolate"], 0.0), plan_of([2]))
    assert matrix(made, "rgb").tolist() == matrix(videos, "rgb")[[1, 1]].tolist()


def test_half_way_is_the_same_from_both_ends():
    made = make(pool(), synthetics([1, 4], [4, 1], ["interpolate"] * 2), plan_of([2]))
    np.testing.assert_allclose(matrix(made, "rgb")[0], matrix(made, "rgb")[1], atol=1e-6)


def test_extrapolation_lies_beyond_the_base_on_the_line():
    videos = pool()
    made = matrix(make(videos, synthetics([0], [1], ["extrapolate"]), plan_of([1])), "rgb")[0]
    x, y = matrix(videos, "rgb")[:2]
    gap = np.linalg.norm(x - y)
    assert np.linalg.norm(made - x) == pytest.approx(0.5 * gap, rel=1e-5)
    assert np.linalg.norm(made - y) == pytest.approx(1.5 * gap, rel=1e-5)


@pytest.mark.parametrize("sigma", [0.0, 0.03, 2.0])
def test_noise_is_gaussian_of_the_given_width(sigma):
    draws = np.concatenate([synthesis.gaussian(7, b"%d" % i, "rgb", 1024, sigma) for i in range(100)])
    count = len(draws)
    assert draws.dtype == np.float32
    assert draws.mean() == pytest.approx(0, abs=5 * sigma / np.sqrt(count))
    assert draws.std() == pytest.approx(sigma, rel=5 / np.sqrt(2 * count))
    assert np.abs(draws).max() <= 6 * sigma
    within = (np.abs(draws) <= sigma).mean()
    assert sigma == 0 or within == pytest.approx(0.6827, abs=5 * np.sqrt(0.25 / count))


def test_noise_depends_on_seed_id_and_feature_alone():
    digest = hashlib.blake2b(b"a_o01\0rgb", digest_size=8, salt=(3).to_bytes(8, "little"), person=b"noise").digest()
    expected = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little"))).standard_normal(8, np.float32) * np.float32(0.5)
    assert synthesis.gaussian(3, b"a_o01", "rgb", 8, 0.5).tolist() == expected.tolist()
    others = [(4, b"a_o01", "rgb"), (3, b"a_o02", "rgb"), (3, b"a_o01", "audio"), (3, b"a", "rgb")]
    drawn = np.array([synthesis.gaussian(*key, 2000, 1.0) for key in [(3, b"a_o01", "rgb"), *others]])
    assert np.abs(np.corrcoef(drawn) - np.eye(5)).max() < 5 / np.sqrt(2000)


def test_noise_touches_every_feature_but_those_held():
    videos = pool()
    for hold in ((), ("audio",)):
        made = make(videos, synthetics([2], [-1], ["noise"]), plan_of([1], sigma=0.03, seed=5, hold=hold))
        assert made.column("id").to_pylist() == [b"id2_o01"]
        for name, size in (("rgb", 4), ("audio", 2)):
            noise = 0 if name in hold else synthesis.gaussian(5, b"id2_o01", name, size, 0.03)
            np.testing.assert_allclose(matrix(made, name)[0], matrix(videos, name)[2] + noise, atol=1e-7)


def test_held_features_are_the_base_s():
    videos = pool()
    made = make(videos, synthetics([0, 1], [2, 3], ["interpolate", "extrapolate"]), plan_of([2], hold=("audio",)))
    assert matrix(made, "audio").tolist() == matrix(videos, "audio")[[0, 1]].tolist()
    assert matrix(made, "rgb")[0].tolist() != matrix(videos, "rgb")[0].tolist()


def test_make_does_not_write_into_the_pool():
    videos = pool()
    before = videos.to_pylist()
    make(videos, synthetics([0, 1, 2], [2, 3, -1], ["interpolate", "extrapolate", "noise"]), plan_of([2]))
    assert videos.to_pylist() == before


def test_a_slice_of_a_batch_is_a_pool():
    videos = pool(8)
    chosen = synthetics([0, 2, 1], [1, 0, -1], ["interpolate", "extrapolate", "noise"])
    part, copy = videos.slice(3, 3), videos.take(pa.array([3, 4, 5]))
    assert make(part, chosen, plan_of([2])).equals(make(copy, chosen, plan_of([2])))


# --- Labels, ids and provenance -------------------------------------------------------------------------------------------------


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
    chosen = Synthetics(np.zeros(3, int), np.zeros(3, int), np.array([""] * 3), np.zeros(3), np.array([9, 99, 100]), np.zeros(3, bool))
    assert synthesis.synthetic_ids([b"x\xff"], chosen) == [b"x\xff_o09", b"x\xff_o99", b"x\xff_o100"]


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


@settings(deadline=None)
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


# --- Copies and deltas ----------------------------------------------------------------------------------------------------------


def bank(labels: list[int], seed: int = 5) -> deltas.Deltas:
    random = np.random.default_rng(seed)
    count = len(labels)
    vectors = {feature.name: random.standard_normal((count, feature.size)).astype(np.float32) for feature in SCHEMA.features}
    return deltas.Deltas([b"p%d" % i for i in range(count)], [b"q%d" % i for i in range(count)], np.array(labels), vectors)


def test_a_copy_is_its_base():
    videos = pool()
    made = make(videos, synthetics([3, 3], [-1, -1], ["copy", "copy"], np.nan), plan_of([2]))
    assert made.column("id").to_pylist() == [b"id3_o01", b"id3_o02"]
    for name in ("rgb", "audio"):
        assert matrix(made, name).tolist() == matrix(videos, name)[[3, 3]].tolist()
    assert made.column("aug_neighbor").null_count == made.column("aug_lambda").null_count == 2


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


def test_deltas_stand_in_for_missing_pairs():
    near = np.array([[1], [0]])
    plan = plan_of([1], methods=("interpolate", "delta"))
    chosen = synthesis.choose(plan, IDS[:2], np.zeros(2, int), near, ORDER[:2], np.array([5, 0]))
    assert chosen.method.tolist() == ["interpolate", *["delta"] * 4]
    assert chosen.filler.tolist() == [False] * 4 + [True]
    assert (chosen.factor == 0.5).all()
    assert chosen.neighbor.tolist() == [1, -1, -1, -1, -1]
    copies = synthesis.choose(replace(plan, settings=Settings(methods=("copy",))), IDS[:2], np.zeros(2, int), near, ORDER[:2])
    assert copies.method.tolist() == ["copy", "copy"]
    assert np.isnan(copies.factor).all()


# --- Which pairs are used -------------------------------------------------------------------------------------------------------


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


@settings(deadline=None)
@given(groups())
def test_unused_pairs_equal_a_visit_in_order(group):
    neighbors, order = group
    unused = synthesis.unused_pairs(neighbors, order)
    assert unused.tolist() == visited_in_order(neighbors, order).tolist()
    pairs = [frozenset((int(video), int(neighbors[video, at]))) for video, at in np.argwhere(unused)]
    assert len(pairs) == len(set(pairs))  # each pair at most once
    assert set(pairs) == {frozenset((v, int(n))) for v, row in enumerate(neighbors) for n in row if n >= 0}  # and each by somebody


# --- Numbers on hand-made groups ----------------------------------------------------------------------------------------------------

IDS = [b"a", b"b", b"c", b"d"]
# Three videos around b and, far off, d, which is nobody's neighbour: a -> b c, b -> a c, c -> b a, d -> c b.
NEAR = np.array([[1, 2], [0, 2], [1, 0], [2, 1]])
ORDER = np.array([10, 20, 30, 40])


def listed(chosen: Synthetics) -> list[tuple[str, str, str]]:
    """What is made, as in ("a_o01", "interpolate", "b")."""
    names = [i.decode() for i in synthesis.synthetic_ids(IDS, chosen)]
    others = ["" if row < 0 else IDS[row].decode() for row in chosen.neighbor]
    return list(zip(names, chosen.method.tolist(), others, strict=True))


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


# --- Lambda and explicit targets ------------------------------------------------------------------------------------------------------


def ring(count: int, size: int) -> tuple[list[bytes], np.ndarray, np.ndarray]:
    """Videos whose neighbours are the next ones round a ring: no pair is met twice."""
    ids = [b"v%05d" % i for i in range(count)]
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
    quotas = plan.quotas(ids, pa.array([[0]] * count, pa.list_(pa.int32())), np.zeros(count, int))
    chosen = synthesis.choose(plan, ids, np.zeros(count, int), near, order, quotas)
    per_base = np.bincount(chosen.base, minlength=count)
    assert set(per_base.tolist()) == {int(np.floor(copies)), int(np.ceil(copies))}
    assert per_base.mean() == pytest.approx(copies, abs=5 * 0.5 / np.sqrt(count))
    for base in range(3):
        rows = np.flatnonzero(chosen.base == base)
        expected = [(method, base + step) for step in (1, 2, 3) for method in ("interpolate", "extrapolate")] + [("noise", -1)] * 2
        assert list(zip(chosen.method[rows].tolist(), chosen.neighbor[rows].tolist(), strict=True)) == expected[: len(rows)]
        assert chosen.number[rows].tolist() == list(range(1, len(rows) + 1))


def test_explicit_targets_may_use_a_pair_from_both_ends():
    near = np.array([[1], [0]])
    plan = plan_of([1], copies=2.0, policy="target", floor=1.0)
    chosen = synthesis.choose(plan, IDS[:2], np.zeros(2, int), near, ORDER[:2], np.array([2, 2]))
    assert [name for name, _, _ in listed(chosen)] == ["a_o01", "a_o02", "b_o01", "b_o02"]
