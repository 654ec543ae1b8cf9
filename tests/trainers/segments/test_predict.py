import csv

import numpy as np
import planted_segments
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.inputs import layout
from trainers.segments.fit import fit
from trainers.segments.predict import BestSegments, predict
from trainers.segments.reader import every_segment
from trainers.segments.run import load_run
from yt8m_data.errors import DataError
from yt8m_data.shards import expand


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 4))
@settings(max_examples=60)
def test_the_lists_are_those_of_sorting_everything(seed, size, batches, top_k):
    """With equal scores among them, of which the first stand first; and no more is held than was promised."""
    random, classes = np.random.default_rng(seed), 4
    best, seen, first = BestSegments(classes, size), [[] for _ in range(classes)], 0
    for count in batches:
        columns = np.stack([random.permutation(classes)[:top_k] for _ in range(count)])
        scores = random.integers(0, 5, columns.shape).astype(np.float32) / 5
        best.add(columns, scores, first + np.arange(count))
        for row, (labels, values) in enumerate(zip(columns, scores, strict=True)):
            for label, value in zip(labels, values, strict=True):
                seen[label].append((-value, first + row))
        first += count
        assert max(map(len, best._entries)) <= size + size // 8 + max(batches)
    assert [each.tolist() for each in best.lists()] == [[ordinal for _, ordinal in sorted(each)[:size]] for each in seen]


def read(path) -> dict[int, list[str]]:
    with path.open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["Class", "Segments"]
    return {int(row["Class"]): row["Segments"].split(" ") for row in rows}


@pytest.fixture(scope="module")
def mean_run(in_context, tmp_path_factory):
    """The folder of a run of a few steps: what is written is held against its own probabilities, be they good or not."""
    folder = str(tmp_path_factory.mktemp("mean") / "run")
    settings = [*planted_segments.SEGMENTS, "training.steps=10"]
    fit(in_context.video_run, [in_context.train], [in_context.eval], folder, "mean", settings)
    return folder


@pytest.fixture(scope="module")
def scored(mean_run, in_context):
    """Every segment of the evaluation videos, by name, with its probabilities from the saved model."""
    model, files = load_run(mean_run).model, expand([in_context.eval])
    found = {}
    for batch in every_segment(files, layout(files, planted_segments.NUM_CLASSES), 300):
        features = batch["features"]
        p = model(features, training=False).numpy()
        for video, start, row in zip(features["segment_video"].numpy(), features["segment_start"].numpy(), p, strict=True):
            found[f"{batch['id'][video].decode()}:{start}"] = row
    return found


def test_the_submission_holds_every_class_with_its_segments_best_first(mean_run, in_context, scored, tmp_path):
    out = tmp_path / "submission.csv"
    assert predict(mean_run, [in_context.eval], str(out)) == 1600 == len(scored)
    lists = read(out)
    assert list(lists) == list(range(planted_segments.NUM_CLASSES))
    for label, names in lists.items():
        assert sorted(names) == sorted(scored)  # with 6 classes every segment stands in all lists
        values = np.array([scored[name][label] for name in names])
        assert (np.diff(values) <= 1e-6).all()


def test_only_the_best_classes_of_a_segment_and_the_best_segments_of_a_class(mean_run, in_context, scored, tmp_path):
    out = tmp_path / "submission.csv"
    predict(mean_run, [in_context.eval], str(out), top_k=2, max_segments=30)
    lists = read(out)
    assert max(map(len, lists.values())) == 30
    for label, names in lists.items():
        assert all((scored[name] > scored[name][label] + 1e-6).sum() < 2 for name in names)
        candidates = sorted((row[label] for row in scored.values() if (row > row[label]).sum() < 2), reverse=True)
        np.testing.assert_allclose([scored[name][label] for name in names], candidates[:30], atol=1e-6)


def test_listed_classes_alone(mean_run, in_context, tmp_path):
    (tmp_path / "classes.csv").write_text("Index,Name\n3,c\n1,a\n")
    predict(mean_run, [in_context.eval], str(tmp_path / "p.csv"), top_k=1, classes=str(tmp_path / "classes.csv"))
    lists = read(tmp_path / "p.csv")
    assert list(lists) == [3, 1]
    assert sum(map(len, lists.values())) == 1600  # each stands in the list of the better of the two


def test_wrong_use_writes_nothing(mean_run, in_context, tmp_path):
    run, out = mean_run, str(tmp_path / "none.csv")
    for options, message in (({"top_k": 0}, "top_k is 0"), ({"max_segments": 0}, "max_segments is 0.*100000")):
        with pytest.raises(DataError, match=message):
            predict(run, [in_context.eval], out, **options)
    with pytest.raises(DataError, match="is no run folder of segments"):
        predict(in_context.video_run, [in_context.eval], out)
    (tmp_path / "classes.csv").write_text("9\n")
    with pytest.raises(DataError, match="has 9, but the records' classes end at 5"):
        predict(run, [in_context.eval], out, classes=str(tmp_path / "classes.csv"))
    assert [path.name for path in tmp_path.iterdir()] == ["classes.csv"]
