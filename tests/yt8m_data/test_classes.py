import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yt8m_data import classes
from yt8m_data.errors import DataError
from yt8m_data.schema import SEGMENTS, Feature, Schema


@pytest.fixture
def written(tmp_path):
    def write(text: str) -> str:
        path = tmp_path / "list.csv"
        path.write_text(text)
        return str(path)

    return write


@pytest.mark.parametrize(
    "text",
    [
        'Index,KnowledgeGraphId,Name,PositiveSegmentCount,TotalSegmentCount\n7,/m/1,Car,10,20\n3,/m/2,"Dance, ballet",5,9\n12,/m/3,,1,2\n',
        "Name,Index\nCar,7\nDance,3\nZoo,12\n",
        "Index\n7\n3\n12\n",
        "7\n3\n12",
        "7\r\n\r\n3\r\n 12 \r\n\r\n",
        "\ufeffIndex\n7\n3\n12\n",
    ],
)
def test_reads_a_vocabulary_and_a_plain_list(text, written):
    assert classes.read(written(text), 13) == (7, 3, 12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("7\n3\n7\n", "has 7 twice: leave one out"),
        ("7\n007\n", "has 7 twice"),
        ("7\n20\n", "has 20, but the records' classes end at 19: leave it out"),
        ("7\n-1\n", "has '-1' for an id: give a CSV with a column 'Index', or one number a line"),
        ("7\nCar\n", "has 'Car' for an id"),
        ("7\n1²\n", "has '1²' for an id"),
        ("Index,Name\n7,Car\n,Zoo\n", "has '' for an id"),
        ("Name,Index\nCar,7\nZoo\n", "has '' for an id"),
        ("id,name\n7,Car\n", "has 'id' for an id"),
        ("", "is empty: give one id a line"),
        ("Index,Name\n", "is empty"),
    ],
)
def test_wrong_lists(text, message, written):
    with pytest.raises(DataError, match=message):
        classes.read(written(text), 20)


def test_no_list(tmp_path):
    with pytest.raises(DataError, match=r"missing.csv cannot be read: .*No such file"):
        classes.read(str(tmp_path / "missing.csv"), 20)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\n")
    with pytest.raises(DataError, match="cannot be read"):
        classes.read(str(tmp_path / "binary"), 20)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20, unique=True), st.lists(st.lists(st.integers(0, 50), max_size=6), min_size=1))
def test_lists_get_the_rows_of_their_classes(listed, labels):
    rows = classes.rows_of(listed, 51)
    assert sorted(rows[rows >= 0].tolist()) == list(range(len(listed)))
    column = pa.array(labels, pa.list_(pa.int32()))
    found, kept = classes.reindex(column, rows)
    assert found.type == column.type
    assert found.to_pylist() == [[listed.index(c) for c in video if c in listed] for video in labels]
    assert kept.tolist() == [c in listed for video in labels for c in video]


def test_parallel_lists_are_cut_alike():
    labels = pa.array([[7, 1], None, [3, 3, 7]], pa.list_(pa.int64()))
    scores = pa.array([[0.5, 0.25], None, [0.0, 1.0, 2.0]], pa.list_(pa.float32()))
    found, kept = classes.reindex(labels, classes.rows_of((3, 7), 10))
    assert found.to_pylist() == [[1], [], [0, 0, 1]]
    assert classes.filter_lists(scores, kept).to_pylist() == [[0.5], [], [0.0, 1.0, 2.0]]
    assert classes.filter_lists(scores.slice(1), np.array([False, True, True])).to_pylist() == [[], [1.0, 2.0]]


def test_narrowing_keeps_videos_of_the_classes_and_cuts_their_segments():
    schema = Schema("video", "id", "labels", (Feature("x", 2),), 10, tuple(SEGMENTS.names))
    rated = {name: [5, 10] for name in SEGMENTS.names} | {"segment_labels": [7, 3], "segment_scores": [1.0, 0.0]}
    none = dict.fromkeys(SEGMENTS.names)
    rows = [
        {"id": b"a", "labels": [1, 7], "x": [0.0, 1.0], **rated},
        {"id": b"b", "labels": [1], "x": [2.0, 3.0], **none},
        {"id": b"c", "labels": [3], "x": [4.0, 5.0], **none},
        {"id": b"d", "labels": [], "x": [6.0, 7.0], **rated},
    ]
    batch = pa.RecordBatch.from_pylist(rows, schema=schema.arrow)
    narrowed = classes.narrow(batch, classes.rows_of((9, 7), 10))
    narrowed.validate(full=True)
    assert narrowed.schema == batch.schema
    cut = {name: [5] for name in SEGMENTS.names} | {"segment_labels": [1], "segment_scores": [1.0]}
    assert narrowed.to_pylist() == [rows[0] | {"labels": [1]} | cut, rows[3] | cut]
    assert classes.narrow(batch.slice(1, 2), classes.rows_of((3,), 10)).to_pylist() == [rows[2] | {"labels": [0]}]
