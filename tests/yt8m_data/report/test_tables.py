"""Tables: every figure against a count by hand, and what the files lack left out."""

import numpy as np
import pytest

from yt8m_data import sampling, zipf
from yt8m_data.report import tables
from yt8m_data.sampling import Settings

NAMES = {0: "Game", 1: "Vehicle", 2: "Concert", 3: "Piano"}
LABELS = [[0], [0, 1], [0, 1, 2], [0], [3], []]  # counts 4, 2, 1, 1


def cells(columns):
    return {column.head: column.cells for column in columns}


@pytest.fixture(scope="module")
def videos(stage):
    return stage("Videos", LABELS, 5)


@pytest.fixture(scope="module")
def manifest():
    plan = sampling.plan(np.array([40, 9, 5, 0, 0]), 50, Settings(threshold=20, lambdas=(0.2, 0.8)))
    totals = {
        "read": 50,
        "kept": 30,
        "dropped": 17,
        "bad": 3,
        "written": 60,
        "synthetic": {"interpolate": 20, "extrapolate": 10, "noise": 0},
    }
    return {"plan": plan.to_dict(), "totals": totals, "synthetic_label_counts": {"0": 5, "1": 12}}


# --- Labels ---------------------------------------------------------------------------------------------------------------


def test_the_label_table(videos):
    table = cells(tables.labels([("Videos", videos.stats)], videos.cooccurrence, None, NAMES))
    assert list(table) == ["Id", "Label", "Videos", "IRLbl", "Group"]
    assert table["Id"] == ["0", "1", "2", "3"]  # by count, ties by id; label 4 has no videos
    assert table["Label"] == [
        "Game\nVehicle 50%, Concert 25%",
        "Vehicle\nGame 100%, Concert 50%",
        "Concert\nGame 100%, Vehicle 100%",
        "Piano",
    ]
    assert table["Videos"] == ["4", "2", "1", "1"]
    assert table["IRLbl"] == ["1", "2", "4", "4"]
    assert table["Group"] == ["head", "torso", "torso", "torso"]


def test_the_label_table_before_and_after(stage):
    before, after = stage("Before", [[0], [0], [0], [1], [1], [2]], 4), stage("After", [[0], [1], [1], [1], [3]], 4)
    table = cells(tables.labels([("Before", before.stats), ("After", after.stats)], None, None, NAMES))
    assert table["Label"] == ["Game", "Vehicle", "Concert", "Piano"]
    assert table["Before"] == ["3", "2", "1", "0"]
    assert table["After"] == ["1", "3", "0", "1"]
    assert table["Ratio"] == ["0.33", "1.50", "0.00", "–"]
    assert table["IRLbl"] == ["3", "1", "–", "3"]  # after
    assert table["Group"][2] == "–"


def test_what_augmentation_did_with_each_label(stage, manifest):
    before = {"label_counts": [40, 9, 5, 0, 0]}
    after = {"label_counts": [20, 24, 15, 0, 2]}
    table = cells(tables.labels([("Before", before), ("After", after)], None, manifest, NAMES))
    assert table["Synthetic"] == ["25%", "50%", "0%", "0%"]
    assert table["Plan"] == ["sub", "over", "over", "–"]
    planned = {entry["label"]: str(entry["neighbors"]) for entry in manifest["plan"]["labels"]}
    assert table["K"] == [planned[0], planned[1], planned[2], "–"]
    older = {key: value for key, value in manifest.items() if key != "synthetic_label_counts"}
    assert set(cells(tables.labels([("Before", before), ("After", after)], None, older, NAMES))["Synthetic"]) == {"–"}


def test_labels_without_videos_make_an_empty_table():
    assert all(column.cells == [] for column in tables.labels([("Videos", {"label_counts": [0, 0]})], None, None, {}))


def test_pairs_label_sets_and_their_names(stage):
    labels = [[0, 1]] * 6 + [[0]] * 2 + [[2, 3]] * 5 + [[3]] * 5
    stats = stage("Videos", labels, 5).stats
    pmi = np.log2([6 / 18 / (8 / 18 * 6 / 18), 5 / 18 / (5 / 18 * 10 / 18)])
    assert tables.pairs(stats, NAMES) == [
        ("Game + Vehicle", "6", f"{pmi[0]:.1f}", "75%", "100%"),
        ("Concert + Piano", "5", f"{pmi[1]:.1f}", "100%", "50%"),
    ]
    assert tables.pairs(stats, NAMES, top=1) == tables.pairs(stats, NAMES)[:1]
    assert tables.label_sets(stats, NAMES, top=2) == [("Game, Vehicle", "6", "33.3%"), ("Concert, Piano", "5", "27.8%")]
    assert tables.label_sets(stats, {}, top=1) == [("label 0, label 1", "6", "33.3%")]
    assert tables.pairs({}, NAMES) == tables.label_sets({}, NAMES) == []


def test_the_largest_slices():
    found = {"by": "shard", "names": ["a", "b", "c"], "num_records": [5, 1200, 7], "num_unlabeled": [0, 3, 7]}
    assert tables.slices({"slices": found}, top=2) == [("b", "1,200", "3"), ("c", "7", "7")]
    assert tables.slices({}) == []


# --- The law --------------------------------------------------------------------------------------------------------------


def test_groups(stage):
    """Twenty occurrences: the first ten are the head's, those up to eighteen the torso's."""
    stats = stage("Videos", [[label] for label, count in enumerate([10, 5, 3, 1, 1]) for _ in range(count)], 6).stats
    assert tables.groups([("Videos", stats)]) == [
        ("head", "1", "50.0%", "10"),
        ("torso", "2", "40.0%", "3 – 5"),
        ("tail", "2", "10.0%", "1"),
    ]
    both = tables.groups([("Before", stats), ("After", stats)])
    assert [row[0] for row in both] == ["head, before", "head, after", "torso, before", "torso, after", "tail, before", "tail, after"]
    assert tables.groups([("Videos", {})]) == []


def test_fits_are_those_of_the_file():
    counts = np.rint(1e6 * np.arange(1, 401) ** -1.2).astype(np.int64)
    law = zipf.fit(counts, 20).to_dict()
    rows = {(row[0], row[1]): row[2:] for row in tables.fits([("Videos", {"zipf": law})])}
    low, high = law["exponent_interval"]
    assert rows["One law", "1 – 400"][0] == f"{law['exponent']:.3f} ({low:.3f} – {high:.3f})"
    two, power = law["two_regimes"], law["power_law"]
    assert ("First regime", f"1 – {two['break_rank']}") in rows
    assert rows["Second regime", f"{two['break_rank']} – 400"][0].startswith(f"{two['exponents'][1]:.3f} (")
    reach = ("1 – " if power["num_labels"] > 1 else "") + str(power["num_labels"])
    exponent, verdict = rows[f"Power law from {power['min_count']:,} videos up", reach]
    assert exponent.startswith(f"{1 / (power['alpha'] - 1):.3f}")
    assert verdict.startswith(f"KS {power['distance']:.2g}, p ")
    for line in law["lines"]:
        assert rows["Least squares", f"{line['first_rank']} – {line['last_rank']}"] == (
            f"{-line['slope']:.3f}",
            f"R² {line['r_squared']:.3f}",
        )


def test_two_stages_have_no_lines_and_say_which_is_which(videos):
    law = zipf.fit(np.arange(1, 200)[::-1], 0).to_dict()
    rows = tables.fits([("Before", {"zipf": law}), ("After", {"zipf": law})])
    assert {row[0].split(", ")[1] for row in rows} == {"before", "after"}
    assert not any("Least squares" in row[0] for row in rows)
    assert tables.fits([("Videos", {})]) == []


@pytest.mark.parametrize(
    ("p_value", "said"),
    [(None, "KS 0.05"), (0.0, "KS 0.05, p < 0.01 (rejected)"), (0.04, "KS 0.05, p = 0.04 (rejected)"), (0.5, "KS 0.05, p = 0.5")],
)
def test_the_verdict_on_a_power_law(p_value, said):
    power = {"alpha": 2.0, "alpha_interval": [1.9, 2.1], "min_count": 4, "num_labels": 60, "rank_exponent": 1.0, "distance": 0.05}
    law = {"power_law": power | {"p_value": p_value, "num_simulations": 100}}
    assert tables.fits([("Videos", {"zipf": law})]) == [
        ("Power law from 4 videos up", "1 – 60", f"1.000 ({1 / 1.1:.3f} – {1 / 0.9:.3f})", said)
    ]


# --- Features and bad records ---------------------------------------------------------------------------------------------


def test_features():
    moments = {
        "size": 3,
        "mean": [0, 1, 2],
        "variance": [1.0, 4.0, 0.0],
        "min": [-3.25, 0, 2],
        "max": [1, 9.5, 2],
        "nan": [0, 2, 5],
        "zeros": [0.5, 0, 0.1],
    }
    assert tables.features([("Videos", {"features": {"rgb": moments}})]) == [
        ("rgb", "3", "−3.25 to 9.5", f"{np.sqrt(5 / 3):.3g}", "7", "20.00%", "1")
    ]
    older = {key: moments[key] for key in ("size", "mean", "variance")}
    rows = tables.features([("Before", {"features": {"rgb": older}}), ("After", {"features": {"rgb": moments}})])
    assert rows[0] == ("rgb, before", "3", "–", "1.29", "–", "–", "1")
    assert rows[1][0] == "rgb, after"
    assert tables.features([("Videos", {})]) == []


def test_bad_reasons_most_first():
    stats = {"bad_records": {"total": 15, "by_reason": {"crc": 2, "parse": 12, "size": 1}}}
    assert tables.bad_reasons(stats) == [("parse", "12"), ("crc", "2"), ("size", "1")]
    assert tables.bad_reasons({}) == []


# --- Augmentation and training --------------------------------------------------------------------------------------------


def test_books_are_shares_of_the_larger_total(manifest):
    books = tables.books(manifest["totals"])
    assert [name for name, _, _ in books] == [
        *("read", "kept", "dropped", "bad", "synthetic: interpolate", "synthetic: extrapolate", "synthetic: noise", "written")
    ]
    np.testing.assert_allclose([share for _, _, share in books], np.array([50, 30, 17, 3, 20, 10, 0, 60]) / 60)


def test_settings_that_say_nothing_are_left_out(manifest):
    settings = dict(tables.settings(manifest["plan"]))
    assert settings["policy"] == "paper"
    assert settings["threshold"] == "20"
    assert settings["lambda"] == "0.2 – 0.8"
    assert settings["methods"] == "interpolate, extrapolate"
    assert settings["label rule"] == "base"
    assert "hold" not in settings
    assert "labels" not in settings
    assert tables.settings({}) == []


def test_regimes_by_hand(manifest):
    planned = {entry["label"]: entry for entry in manifest["plan"]["labels"]}
    neighbors = sorted({planned[1]["neighbors"], planned[2]["neighbors"]})
    assert tables.regimes(manifest["plan"]["labels"]) == [
        ("over", "2", "5 – 9", "1", " – ".join(map(str, neighbors))),
        ("sub", "1", "40", tables.number(planned[0]["keep_ratio"]), "0"),
    ]


def test_the_best_run_of_each_metric():
    rows = tables.training(
        [{"name": "plain", "gap": 0.71, "map": 0.25, "num_examples": 5805}, {"name": "augmented", "gap": 0.7, "map": 0.31, "perr": 0.6}]
    )
    metrics = list(tables.METRICS)
    assert rows[0]["cells"][metrics.index("gap")] == ("0.7100", True)
    assert rows[1]["cells"][metrics.index("map")] == ("0.3100", True)
    assert rows[0]["cells"][metrics.index("map")] == ("0.2500", False)
    assert rows[0]["cells"][metrics.index("perr")] == ("–", False)
    assert (rows[0]["videos"], rows[1]["videos"]) == ("5,805", "–")
    assert not any(best for _, best in tables.training([{"name": "alone", "gap": 0.5}])[0]["cells"])


def test_the_map_of_rare_and_frequent_classes():
    plain = {"name": "plain", "gap": 0.7, "map_by_frequency": {"1-2": None, "3-9": 0.25, "100+": 0.8}}
    augmented = {"name": "augmented", "map_by_frequency": {"1-2": 0.1, "3-9": 0.31, "100+": 0.75}}
    ranges, rows = tables.frequencies([plain, {"name": "old", "gap": 0.6}, augmented])
    assert ranges == ["1-2", "3-9", "100+"]
    assert [(row["name"], row["cells"]) for row in rows] == [
        ("plain", [("–", False), ("0.2500", False), ("0.8000", True)]),
        ("augmented", [("0.1000", True), ("0.3100", True), ("0.7500", False)]),
    ]
    assert tables.frequencies([{"name": "old", "gap": 0.6}]) == ([], [])
