import numpy as np
import pytest

from trainers import run
from trainers.recipe import load
from yt8m_data.errors import DataError


def test_take_up_finds_what_begin_left(tmp_path):
    recipe, folder = load("moe"), tmp_path / "new" / "run"
    train_set = run.TrainSet(["a", "b"], 10, [3, 0, 7])
    assert run.take_up(folder, recipe, ["a", "b"]) is None
    run.begin(folder, recipe, train_set)
    assert run.take_up(folder, recipe, ["a", "b"]) == train_set
    with pytest.raises(DataError, match=r"begun on other training files \(a, ...\)"):
        run.take_up(folder, recipe, ["a"])
    with pytest.raises(DataError, match="another recipe"):
        run.take_up(folder, load("logistic"), ["a", "b"])


def test_prior_is_never_zero():
    np.testing.assert_allclose(run.TrainSet([], 9, [0, 9]).prior, [0.05, 0.95])


def test_load_run_refuses(tmp_path):
    with pytest.raises(DataError, match=r"is no run folder \(it has no recipe.yaml\)"):
        run.load_run(str(tmp_path))
    run.begin(tmp_path, load("moe"), run.TrainSet([], 1, [1]))
    with pytest.raises(DataError, match=r"has not finished \(it has no model.keras\)"):
        run.load_run(str(tmp_path))
