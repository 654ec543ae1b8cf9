import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.prediction_file import Classes, Predictions, parquet
from yt8m_data.errors import DataError


def write(path, ids, scores, classes=None, top_k=None, batch=3):
    """Whole vectors, or each video's best classes."""
    classes = classes or Classes(scores.shape[1])
    with parquet(path, classes, top_k) as file:
        for start in range(0, len(ids), batch):
            part = scores[start : start + batch]
            if top_k:
                best = np.argsort(-part, axis=1)[:, :top_k]
                file.write(ids[start : start + batch], np.take_along_axis(part, best, axis=1), classes.ids[best])
            else:
                file.write(ids[start : start + batch], part)


@pytest.fixture
def scores():
    return np.random.default_rng(0).random((10, 7), np.float32)


IDS = [b"v%d" % i for i in (5, 3, 9, 0, 12, 7, 100, 1, 2, 8)]


@given(st.lists(st.binary(min_size=1, max_size=6).filter(lambda i: i[-1] != 0), unique=True, max_size=20), st.data())
@settings(max_examples=40)
def test_scores_come_back_by_id_in_any_order(tmp_path_factory, ids, data):
    path = tmp_path_factory.mktemp("files") / "p.parquet"
    values = np.random.default_rng(len(ids)).random((len(ids), 4), np.float32)
    write(path, ids, values)
    found = Predictions(str(path))
    assert len(found) == len(ids)
    rows = data.draw(st.lists(st.sampled_from(range(len(ids))))) if ids else []
    np.testing.assert_array_equal(found.scores([ids[row] for row in rows]), values[rows])


def test_best_classes_come_back_with_zeros_elsewhere(scores, tmp_path):
    write(tmp_path / "p.parquet", IDS, scores, top_k=3)
    found = Predictions(str(tmp_path / "p.parquet")).scores(np.array(IDS[::-1], object))
    cut = np.sort(scores, axis=1)[:, -3:].min(axis=1, keepdims=True)
    np.testing.assert_array_equal(found[::-1], np.where(scores >= cut, scores, 0))


@pytest.mark.parametrize("top_k", [None, 2])
def test_listed_classes(scores, top_k, tmp_path):
    """The file names classes as the records do; scores come in the order of the list."""
    classes = Classes(7, (40, 3, 11, 0, 9, 100, 7))
    write(tmp_path / "p.parquet", IDS, scores, classes, top_k)
    table = pq.read_table(tmp_path / "p.parquet")
    if top_k:
        assert table["classes"][0].as_py()[0] == classes.listed[scores[0].argmax()]
    found = Predictions(str(tmp_path / "p.parquet"))
    assert found.classes == classes
    assert found.scores(IDS)[:, :].argmax(axis=1).tolist() == scores.argmax(axis=1).tolist()
    cut = np.sort(scores, axis=1)[:, -(top_k or 7) :].min(axis=1, keepdims=True)
    np.testing.assert_array_equal(found.scores(IDS), np.where(scores >= cut, scores, 0))


def test_other_programs_read_the_file(scores, tmp_path):
    """The documented columns and metadata, by plain pyarrow."""
    write(tmp_path / "p.parquet", IDS, scores)
    table = pq.read_table(tmp_path / "p.parquet")
    assert table.schema.names == ["id", "scores"]
    assert table["id"].to_pylist() == IDS
    np.testing.assert_array_equal(np.array(table["scores"].to_pylist(), np.float32), scores)
    assert table.schema.metadata[b"yt8m"] == b'{"num_classes": 7, "classes": null}'
    write(tmp_path / "k.parquet", IDS, scores, top_k=2)
    assert pq.read_table(tmp_path / "k.parquet").schema.types == [pa.binary(), pa.list_(pa.int32(), 2), pa.list_(pa.float32(), 2)]


def test_what_is_wrong_is_told(scores, tmp_path):
    path = str(tmp_path / "p.parquet")
    with pytest.raises(DataError, match="there is no file"):
        Predictions(path)
    write(path, IDS, scores)
    found = Predictions(path)
    for missing in (b"v4", b"zzz", b"a"):
        with pytest.raises(DataError, match=rf"p.parquet has no prediction for video '{missing.decode()}'"):
            found.scores([IDS[0], missing, IDS[1]])
    write(path, [*IDS[:4], *IDS[:1]], scores[:5])
    with pytest.raises(DataError, match="has video 'v5' twice"):
        Predictions(path)
    pq.write_table(pa.table({"id": [b"a"], "scores": [1.0]}), path)
    with pytest.raises(DataError, match="holds no predictions"):
        Predictions(path)
    (tmp_path / "p.parquet").write_bytes(b"VideoId,LabelConfidencePairs\n")
    with pytest.raises(DataError, match="is no Parquet file"):
        Predictions(path)


def test_a_file_that_is_not_finished_does_not_appear(scores, tmp_path):
    def broken():
        with parquet(tmp_path / "p.parquet", Classes(7)) as file:
            file.write(IDS[:3], scores[:3])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert list(tmp_path.iterdir()) == []
