import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from beam_jobs import stats
from beam_jobs.inputs import open_input
from beam_jobs.runners import Engine
from trainers.companions import Companions, companions
from trainers.correct import correct
from trainers.evaluate import evaluate
from trainers.export import export
from trainers.fit import fit
from trainers.inputs import evaluation_batches, layout
from trainers.labels.co_occurrence import read_counts
from trainers.run import load_run
from yt8m_data.errors import DataError
from yt8m_data.shards import expand, read_json

LABELS = st.integers(2, 6).flatmap(lambda classes: arrays.arrays(bool, st.tuples(st.integers(1, 12), st.just(classes))))


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    """A run, and the counts of its training set."""
    folder = tmp_path_factory.mktemp("correcting")
    fit("moe", [made.train], [made.eval], str(folder / "run"), [*made.overrides, "training.steps=20"])
    stats.run(open_input([made.train], num_classes=30), str(folder / "stats"), None, Engine("local", 0, ()))
    return str(folder / "run"), str(folder / "stats" / "cooccurrence.npz")


def scores(folder: str, pattern: str) -> np.ndarray:
    files, model = expand([pattern]), load_run(folder).model
    return np.concatenate([model(batch["features"]).numpy() for batch in evaluation_batches(files, layout(files, 30))])


def by_hand(p: np.ndarray, counts: np.ndarray, share: float, power: float, most: int) -> np.ndarray:
    """Class by class, of float64."""
    result = p.astype(np.float64)
    for c in range(p.shape[1]):
        theirs = [d for d in range(p.shape[1]) if d != c and counts[c, c] and counts[c, d] / counts[c, c] >= share]
        if theirs and counts[c, c] <= most:
            result[:, c] *= np.prod(np.maximum(p[:, theirs], 1e-9), axis=1, dtype=np.float64) ** (power / len(theirs))
    return result


def layer_of(counts: np.ndarray, share: float, power: float, most: int) -> Companions:
    pairs = companions(counts, share, most)
    layer = Companions(len(counts), pairs.shape[1], power)
    layer.build((None, len(counts)))
    layer.set_pairs(pairs)
    return layer


@given(
    labels=LABELS,
    share=st.sampled_from([0.25, 0.5, 1.0]),
    power=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    most=st.integers(1, 12),
    seed=st.integers(0, 9),
)
@settings(max_examples=60)
def test_it_is_its_formula(labels, share, power, most, seed):
    counts = labels.T.astype(float) @ labels
    p = np.random.default_rng(seed).random((5, len(counts))).astype(np.float32)
    corrected = layer_of(counts, share, power, most)(p).numpy()
    np.testing.assert_allclose(corrected, by_hand(p, counts, share, power, most), rtol=1e-4, atol=1e-9)
    assert (corrected <= p * (1 + 1e-6)).all()  # so probabilities stay probabilities
    if not power:
        np.testing.assert_array_equal(corrected, p)


def test_companions_are_those_that_most_videos_of_a_class_carry():
    counts = np.array([[4, 3, 2, 0], [3, 50, 10, 0], [2, 10, 20, 0], [0, 0, 0, 0]], float)
    assert companions(counts, 0.75, 50).T.tolist() == [[0, 1]]
    assert companions(counts, 0.5, 20).T.tolist() == [[0, 1], [0, 2], [2, 1]]
    assert companions(counts, 0.5, 19).T.tolist() == [[0, 1], [0, 2]]
    with pytest.raises(DataError, match="share of companions is 0: set it to a number above 0"):
        companions(counts, 0, 9)


def test_a_corrected_run_is_a_run(trained, made, tmp_path):
    run, counts = trained
    out = str(tmp_path / "corrected")
    number = correct(run, out, counts, share=0.4, power=0.5, most=60)
    assert number == companions(read_counts(counts, 30), 0.4, 60).shape[1]
    expected = by_hand(scores(run, made.eval), read_counts(counts, 30), 0.4, 0.5, 60)
    np.testing.assert_allclose(scores(out, made.eval), expected, rtol=1e-4)
    assert evaluate(out, [made.eval])["gap"] != evaluate(run, [made.eval])["gap"]
    assert read_json(f"{out}/correction.json") == {"run": run, "counts": counts, "share": 0.4, "power": 0.5, "most": 60}
    shutil.copytree(out, tmp_path / "moved")
    np.testing.assert_array_equal(scores(str(tmp_path / "moved"), made.eval), scores(out, made.eval))
    assert export(out, str(tmp_path / "exported")) > 0
    with pytest.raises(DataError, match="is no run folder of `fit`"):
        fit("moe", [made.train], [made.eval], out, [*made.overrides, "training.steps=20"])


def test_power_0_changes_nothing(trained, made, tmp_path):
    run, counts = trained
    correct(run, str(tmp_path / "once"), counts, power=0.0, most=1000)
    np.testing.assert_allclose(scores(str(tmp_path / "once"), made.eval), scores(run, made.eval), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": -1.0}, "share of companions is -1.0: set it to a number above 0"),
        ({"share": 1.5}, "no class of at most 1000 videos has a label that 1.5 of them carry as well: lower --share or raise --most"),
        ({"most": 0}, "most of companions is 0: set it to a whole number of at least 1"),
        ({"power": -0.5}, "power of companions is -0.5: set it to a number of at least 0"),
        ({"counts": "none.npz"}, "there is no file none.npz: set --counts"),
    ],
)
def test_wrong_options(trained, tmp_path, options, message):
    run, counts = trained
    with pytest.raises(DataError, match=message):
        correct(run, str(tmp_path / "out"), **{"counts": counts, "most": 1000, **options})
    assert not (tmp_path / "out").exists()


def test_it_writes_over_nothing(trained, tmp_path):
    run, counts = trained
    Path(tmp_path / "kept").write_text("")
    with pytest.raises(DataError, match="is not an empty folder: give another one for the corrected run"):
        correct(run, str(tmp_path), counts)
    with pytest.raises(DataError, match="is no run folder"):
        correct(str(tmp_path), str(tmp_path / "out"), counts)
