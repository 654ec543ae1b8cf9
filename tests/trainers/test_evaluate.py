import numpy as np
import pytest

from trainers.evaluate import evaluate
from trainers.fit import fit
from yt8m_data.errors import DataError


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("evaluated") / "run")
    return folder, fit("logistic", [made.train], [made.eval], folder, [*made.overrides, "training.steps=10"])


def test_gives_the_metrics_of_fit(trained, made):
    folder, metrics = trained
    assert evaluate(folder, [made.eval]) == metrics


def test_wrong_data(trained, made, tmp_path, write_shard):
    folder, _ = trained
    with pytest.raises(DataError, match="no file matches"):
        evaluate(folder, [str(tmp_path / "*")])
    with pytest.raises(DataError, match="there are no labels in"):
        evaluate(folder, [made.unlabelled])
    with pytest.raises(DataError, match="is no run folder"):
        evaluate(str(tmp_path), [made.eval])
    shard, x = str(tmp_path / "far.tfrecord"), {"mean_rgb": np.ones((1, 12)), "mean_audio": np.ones((1, 4))}
    write_shard(shard, [b"a"], [[99]], x)
    with pytest.raises(DataError, match="label 99 is beyond the 30 classes"):
        evaluate(folder, [shard])
    write_shard(shard, [b"a"], [[1]], {"mean_rgb": np.ones((1, 12))})
    with pytest.raises(DataError, match="but the model was trained on"):
        evaluate(folder, [shard])


def test_the_order_of_the_features_in_a_file_is_no_matter(trained, made, tmp_path, write_shard):
    """Another set whose audio is the wider: the model still gets each feature by its name."""
    folder, _ = trained
    x = {"mean_audio": np.ones((2, 4)), "mean_rgb": np.ones((2, 12))}
    write_shard(tmp_path / "a.tfrecord", [b"a", b"b"], [[0], [1]], x)
    assert evaluate(folder, [str(tmp_path / "a.tfrecord")])["num_examples"] == 2
