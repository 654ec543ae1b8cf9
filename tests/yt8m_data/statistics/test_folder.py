"""What lies in an output folder of `stats`, and what `stats.json` holds."""

import csv
import json

import numpy as np
import pytest
import scipy.sparse

from yt8m_data.errors import BadRecord, DataError
from yt8m_data.statistics import Reading, Statistics, accumulators, folder, measures

NAMES = {0: "Game", 1: "Car", 2: "Food, hot", 3: "Dog", 4: "Cat", 5: "Tree", 6: ""}
LISTS = [[0, 1]] * 6 + [[0], [0, 1, 2], [], [2, 5], [2, 5], [2, 5], [2, 5], [2, 5], [5]]


def rows(path):
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def counted(batches):
    optional = {"label_means": {}, "slices": {"by": "shard", "files": ["a", "b", "c"]}}
    statistics = Statistics(batches.video_schema, accumulators(batches.video_schema, optional=optional))
    statistics.add(batches.of("video", LISTS))
    statistics.bad = [BadRecord("a", 3, 0, "crc", ""), BadRecord("a", 4, 9, "parse", 'with "quotes"'), BadRecord("b", 0, 0, "crc", "")]
    statistics.reading = Reading(files=3, bytes=900, bytes_read=900, num_records=len(LISTS))
    return statistics


def test_stats_json(counted, tmp_path):
    returned = folder.write(counted, str(tmp_path / "out"), NAMES)
    result = json.loads((tmp_path / "out" / "stats.json").read_text())
    assert result == returned
    assert (result["kind"], result["num_records"], result["num_unlabeled"], result["num_classes"]) == ("video", 15, 1, 7)
    assert result["label_counts"] == [8, 7, 6, 0, 0, 6, 0]
    assert result["labels_per_record"] == {"mean": 1.8, "histogram": [1, 2, 11, 1]}
    assert result["read"]["bytes"] == 900
    assert result["bad_records"] == {"total": 3, "by_reason": {"crc": 2, "parse": 1}}
    assert result["ids"] == {"distinct": 15, "duplicates": 0, "exact": True, "standard_error": 0.0}
    assert result["label_sets"]["distinct"] == 5
    assert result["label_sets"]["top"][:2] == [{"labels": [0, 1], "count": 6}, {"labels": [2, 5], "count": 5}]
    assert result["measures"]["cardinality"] == 1.8
    assert result["measures"]["density"] == pytest.approx(1.8 / 7, rel=1e-6)
    assert result["measures"]["mean_ir"] == pytest.approx((1 + 8 / 7 + 8 / 6 + 8 / 6) / 4, rel=1e-6)
    assert result["measures"]["scumble_exact"] is True
    assert result["pairs"]["num_pairs"] == 4
    assert [(pair["first"], pair["second"], pair["count"]) for pair in result["pairs"]["strongest"]] == [(2, 5, 5), (0, 1, 7)]
    assert result["zipf"]["num_empty"] == 3
    assert result["slices"] == {"by": "shard", "names": ["a", "b", "c"], "num_records": [5, 5, 5], "num_unlabeled": [0, 0, 1]}
    assert set(result["features"]) == {"rgb", "audio"}
    assert "frames_per_record" not in result


def test_tables(counted, tmp_path):
    folder.write(counted, str(tmp_path), NAMES)
    labels = rows(tmp_path / "label_counts.csv")
    assert [(row["Index"], row["Count"], row["Name"], row["Rank"]) for row in labels[:4]] == [
        ("0", "8", "Game", "1"),
        ("1", "7", "Car", "2"),
        ("2", "6", "Food, hot", "3"),
        ("3", "0", "Dog", "5"),
    ]
    assert (labels[2]["IRLbl"], labels[3]["IRLbl"], labels[3]["Group"]) == ("1.333333", "", "")
    assert sum(float(row["Share"]) for row in labels) == pytest.approx(1, abs=1e-6)
    group = measures.groups(np.array([8, 7, 6, 0, 0, 6, 0]))
    assert [row["Group"] for row in labels] == [("head", "torso", "tail", "")[number] for number in group]
    pairs = rows(tmp_path / "pairs.csv")
    assert [(row["FirstName"], row["SecondName"], row["Count"]) for row in pairs] == [("Food, hot", "Tree", "5"), ("Game", "Car", "7")]
    assert float(pairs[0]["P(second|first)"]) == pytest.approx(5 / 6, rel=1e-6)
    assert float(pairs[0]["Lift"]) == pytest.approx(5 * 15 / 36, rel=1e-6)
    sets = rows(tmp_path / "label_sets.csv")
    assert (sets[0]["Count"], sets[0]["Labels"], sets[0]["Names"]) == ("6", "0 1", "Game; Car")
    assert float(sets[0]["Share"]) == pytest.approx(6 / 14, rel=1e-6)
    slices = rows(tmp_path / "slices.csv")
    assert [(row["Slice"], row["Records"], row["LabelsInUse"], row["TopName"]) for row in slices] == [
        ("a", "5", "4", "Game"),
        ("b", "5", "4", "Game"),
        ("c", "5", "4", "Game"),
    ]


def test_matrices(counted, tmp_path):
    folder.write(counted, str(tmp_path), None)
    matrix = scipy.sparse.load_npz(tmp_path / "cooccurrence.npz")
    assert matrix.diagonal().tolist() == [8, 7, 6, 0, 0, 6, 0]
    assert matrix[5, 2] == matrix[2, 5] == 5
    means = np.load(tmp_path / "label_means.npz")
    assert means["rgb"].shape == (7, 3)
    assert means["rgb"].dtype == np.float32
    assert np.isnan(means["rgb"][3]).all()
    slices = scipy.sparse.load_npz(tmp_path / "slices.npz")
    assert slices.sum(axis=0).tolist() == [[8, 7, 6, 0, 0, 6, 0]]
    assert np.load(tmp_path / "slices.npz")["names"].tolist() == ["a", "b", "c"]
    with open(tmp_path / "label_counts.csv") as stream:
        assert stream.readline() == "Index,Count,Rank,Share,IRLbl,Group\n"


def test_what_is_written_is_read_back(counted, tmp_path):
    folder.write(counted, str(tmp_path), None)
    again = folder.read(str(tmp_path))
    assert again.to_dict() == counted.to_dict()
    assert again.bad == counted.bad


def test_a_note_is_read_back_like_an_output(counted, tmp_path):
    summary = folder.write(counted, str(tmp_path / "written"), None)
    folder.note(counted, summary, str(tmp_path / "noted"))
    assert sorted(path.name for path in (tmp_path / "noted").iterdir()) == ["bad_records.jsonl", "state.npz", "stats.json"]
    for name in ("bad_records.jsonl", "stats.json"):
        assert (tmp_path / "noted" / name).read_bytes() == (tmp_path / "written" / name).read_bytes()
    noted, written = (np.load(tmp_path / name / "state.npz") for name in ("noted", "written"))
    assert noted.files == written.files
    assert all(np.array_equal(noted[key], written[key]) for key in noted.files)  # but only the output's are compressed
    assert folder.read(str(tmp_path / "noted")).to_dict() == summary


def test_merged_folders_are_the_statistics_of_all(batches, tmp_path):
    whole = batches.of("video", LISTS)
    parts = [whole.slice(0, 4), whole.slice(4, 0), whole.slice(4)]
    everything = Statistics(batches.video_schema)
    for number, part in enumerate(parts):
        one = Statistics(batches.video_schema)
        one.add(part)
        everything.add(part)
        one.bad = [BadRecord(f"file {9 - number}", 0, 0, "crc", "")]
        one.reading = Reading(files=1, bytes=10, bytes_read=10, num_records=part.num_rows)
        folder.write(one, str(tmp_path / str(number)), None)
    everything.bad = [BadRecord(f"file {number}", 0, 0, "crc", "") for number in (7, 8, 9)]
    everything.reading = Reading(files=3, bytes=30, bytes_read=30, num_records=len(LISTS))
    folder.write(everything, str(tmp_path / "all"), None)
    folder.merge([str(tmp_path / str(number)) for number in (2, 0, 1)], str(tmp_path / "merged"), None)
    for file in (tmp_path / "all").iterdir():
        assert (tmp_path / "merged" / file.name).read_bytes() == file.read_bytes(), file.name


def test_an_earlier_output_is_replaced_only_on_demand(counted, tmp_path):
    folder.write(counted, str(tmp_path / "one"), None)
    with pytest.raises(DataError, match=r"holds 'stats\.json' already: give another folder, or --overwrite"):
        folder.merge([str(tmp_path / "one")], str(tmp_path / "one"), None)
    counted.bad = []
    folder.write(counted, str(tmp_path / "one"), None)
    assert not (tmp_path / "one" / "bad_records.jsonl").exists(), "what the earlier run left is gone"
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is a file: give a folder"):
        folder.check(str(tmp_path / "file"), overwrite=True)


def test_a_folder_without_statistics(tmp_path):
    with pytest.raises(DataError, match=r"has no stats.json and state.npz: give the folder of a finished yt8m-data stats"):
        folder.read(str(tmp_path))


def test_nothing_at_all(batches, tmp_path):
    result = folder.write(Statistics(batches.frame_schema), str(tmp_path), None)
    assert result["measures"]["groups"]["head"] == {"num_labels": 0, "share": 0.0, "min_count": 0, "max_count": 0}
    assert [result["measures"][key] for key in ("cardinality", "mean_ir", "cv_ir", "scumble", "gini")] == [0, None, None, None, None]
    assert result["frames_per_record"] == {"mean": 0.0, "histogram": [0], "num_unknown": 0, "basis": "frames"}
    assert "read" not in result
