"""Policies, methods and gates of augment through the command line, against an independent reading of what it writes."""

import json
import shlex
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from oracle import deciding, label_counts, read


@pytest.fixture(scope="module")
def records(made):
    return list(read(made.glob("*.tfrecord")))


@pytest.fixture(scope="module")
def stats(made, command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stats") / "out"
    command("yt8m-data", "stats", made / "*.tfrecord", "--out", folder)
    return folder


def forecast_of(printed):
    """Label -> count after, and the number of records, off what a dry run prints."""
    *lines, last = printed.splitlines()[1:]
    rows = [line.split() for line in lines if line.split()[0].isdigit()]
    number = last.rsplit(": ", 1)[1].split(" records")[0].replace(",", "")
    return {int(row[0]): int(row[2].replace(",", "")) for row in rows}, int(number)


PLANS = {
    "target": ["--policy", "target", "--floor", 60, "--cap", 300],
    "square root": ["--policy", "target", "--power", 0.5],
    "effective": ["--policy", "target", "--effective", 0.98, "--max-copies", 6],
    "joint": ["--policy", "joint", "--floor", 80, "--cap", 250],
    "ml-ros": ["--policy", "ml-ros", "--percent", 25, "--method", "copy"],
    "ml-rus": ["--policy", "ml-rus", "--percent", 20],
    "remedial": ["--policy", "remedial"],
    "paper, deltas": ["--threshold", 60, "--method", "delta", "--deltas", 100],
    "auto": ["--policy", "auto", "--threshold", 60, "--deltas", 100],
    "authors, noise": ["--policy", "authors", "--threshold", 200, "--method", "noise"],
}


@pytest.mark.parametrize("options", PLANS.values(), ids=PLANS.keys())
def test_what_is_foretold_is_written(made, stats, command, tmp_path, options):
    """Where neighbours have no say, the dry run prints the very counts; planned from the counts of `stats`, as from a pass of its own."""
    printed = command(
        "yt8m-data", "augment", made / "*.tfrecord", tmp_path / "out", *options, "--dry-run", "--counts", stats / "stats.json"
    ).out
    counts, total = forecast_of(printed)
    assert not (tmp_path / "out").exists()
    command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "out", *options)
    written = list(read((tmp_path / "out").glob("*.tfrecord")))
    found = label_counts(written)
    assert counts == {label: found[label] for label in counts}
    assert total == len(written)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["forecast"] == {"bound": "", "records": total, "label_counts": [found[label] for label in range(40)]}
    assert len({i for i, _, _, _ in written}) == len(written)


def test_joint_targets_are_met_within_a_few_videos(made, records, command, tmp_path):
    """Rounding each video's copies by its id leaves the noise of so many coin tosses."""
    command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "out", "--policy", "joint", "--floor", 150)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    before, after = label_counts(records), label_counts(read((tmp_path / "out").glob("*.tfrecord")))
    own = Counter(deciding(labels, before) for _, labels, _, _ in records)
    short = {
        entry["label"]: entry["reason"] for entry in manifest["unfilled"] if entry["target"] and entry["after"] < 0.9 * entry["target"]
    }
    assert all(not own[label] for label in short)
    for entry in manifest["plan"]["labels"]:
        if entry["label"] not in short:
            assert after[entry["label"]] >= entry["target"] - 5 * entry["target"] ** 0.5
        if before[entry["label"]] < 150 and own[entry["label"]]:
            assert after[entry["label"]] >= 150 - 60


def test_deltas_can_be_recomputed_from_their_sources(made, records, command, tmp_path):
    command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "out", *PLANS["paper, deltas"], "--lambda", "0.5:1", report=True)
    vectors = {i: found for i, _, found, _ in records}
    before, seen = label_counts(records), 0
    carried = {i: set(labels) for i, labels, _, _ in records}
    for _, _, found, provenance in read((tmp_path / "out").glob("*.tfrecord"), extra=("aug_origin",)):
        if provenance:
            base, p, q = (provenance[key] for key in ("aug_base", "aug_neighbor", "aug_origin"))
            assert any(before[label] > 60 for label in carried[p] & carried[q])
            for name in found:
                moved = vectors[base][name] + np.float32(provenance["aug_lambda"]) * (vectors[p][name] - vectors[q][name])
                np.testing.assert_allclose(found[name], moved, rtol=1e-5, atol=1e-5)
            seen += 1
    assert seen > 100
    with pa.ipc.open_file(str(tmp_path / "out" / "deltas.arrow")) as reader:
        assert reader.get_batch(0).num_rows == 100
    printed = command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "out", "--overwrite", "--threshold", 60).out
    assert not (tmp_path / "out" / "deltas.arrow").exists()
    assert "rebalancing made models worse" in printed


def test_auto_adds_nothing_and_its_advice_can_be_followed(made, records, command, tmp_path, monkeypatch):
    """Every video is there once, as it was; the deltas lie beside; the commands that it prints run and end in an ensemble."""
    monkeypatch.chdir(tmp_path)
    printed = command("yt8m-data", "augment", made / "*.tfrecord", "out", *PLANS["auto"], report=True).out
    found, expected = {i: (labels, vectors) for i, labels, vectors, _ in read((tmp_path / "out").glob("*.tfrecord"))}, len(records)
    assert len(found) == expected
    for i, labels, vectors, _ in records:
        assert found[i][0] == labels
        assert all((found[i][1][name] == vectors[name]).all() for name in vectors)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["totals"] == {"read": expected, "kept": expected, "dropped": 0, "bad": 0, "synthetic": {}, "written": expected}
    with pa.ipc.open_file(str(tmp_path / "out" / "deltas.arrow")) as reader:
        assert reader.get_batch(0).num_rows == 100

    lines = [shlex.split(line) for line in printed.splitlines() if line.startswith("  yt8m-")]
    assert "rebalancing" not in printed
    assert [line[1] for line in lines] == ["stats", "fit", "fit", "neighbors", "neighbors", "correct", "correct", "ensemble"]
    for line in lines:
        small = ["--set", "num_classes=40", "--set", "training.checkpoint_every=20"] if line[1] == "fit" else []
        command(*[str(made / "*.tfrecord") if part == "EVAL*" else part for part in line], *small)
    metrics = command("yt8m-train", "evaluate", "both", "--data", made / "*.tfrecord").out
    assert json.loads(metrics)["gap"] > 0.8


def test_auto_refuses_what_would_do_nothing(made, command, tmp_path):
    for options in (["--method", "interpolate,extrapolate"], ["--labels", "union"], ["--neighbors", 3]):
        result = command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "out", "--policy", "auto", *options, status=2)
        assert "--policy auto makes no synthetic videos, so --method" in result.err
        assert not (tmp_path / "out").exists()


def test_soft_labels_are_written_and_trained_on(made, records, command, tmp_path):
    options = ["--threshold", 60, "--labels", "soft", "--lambda", 0.25]
    command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "out", *options)
    labels_of, weighted = {i: set(labels) for i, labels, _, _ in records}, 0
    for _, labels, found, provenance in read((tmp_path / "out").glob("*.tfrecord"), extra=("label_weights",)):
        weights = provenance.pop("label_weights", None)
        if weights is not None:
            base, other = labels_of[provenance["aug_base"]], labels_of[provenance["aug_neighbor"]]
            assert provenance["aug_method"] == b"interpolate"
            assert dict(zip(labels, weights, strict=True)) == {
                each: 0.75 * (each in base) + 0.25 * (each in other) for each in base | other
            }
            weighted += 1
        assert set(found) == {"mean_rgb", "mean_audio"}
    assert weighted > 50
    training = ["--set", "training.steps=5", "--set", "training.batch_size=64", "--out", tmp_path / "run"]
    command("yt8m-train", "fit", "logistic", "--train", tmp_path / "out" / "*.tfrecord", "--eval", made / "*.tfrecord", *training)
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["gap"] > 0


def test_held_out_videos_are_found_near_their_copies(made, records, command, tmp_path):
    """The input itself is held out, so copies lie on a held-out video; elsewhere the nearest is found by brute force."""
    options = ["--threshold", 60, "--method", "extrapolate,copy", "--lambda", 0.5, "--holdout", made / "*.tfrecord", "--near", 0.6]
    command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "out", *options, report=True)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    found, before = manifest["holdout"], label_counts(records)
    carrying, lists = {}, {i: labels for i, labels, _, _ in records}
    for i, labels, vectors, _ in records:
        for label in set(labels):
            carrying.setdefault(label, {})[i] = vectors["mean_rgb"].astype(np.float64)
    limits, expected, distances = {}, {}, Counter()
    for i, _, vectors, provenance in read((tmp_path / "out").glob("*.tfrecord")):
        if not provenance:
            continue
        label = deciding(lists[provenance["aug_base"]], before)
        if label not in limits:
            real = np.stack(list(carrying[label].values()))
            apart = np.linalg.norm(real[:, None] - real, axis=2)
            np.fill_diagonal(apart, np.inf)
            limits[label] = 0.6 * np.sqrt(np.median(apart.min(axis=1) ** 2)) if len(real) > 1 else 0.0
        x = vectors["mean_rgb"].astype(np.float64)
        distance, nearest = min((np.linalg.norm(x - y), other) for other, y in carrying[label].items())
        if distance <= limits[label]:
            expected[i.decode()] = (nearest.decode(), label, distance)
        distances[provenance["aug_method"]] += 1
    assert found["near_duplicates"] == len(expected) >= distances[b"copy"] > 100
    listed = {each["id"]: (each["held_out"], each["label"], each["distance"]) for each in found["nearest"]}
    assert len(listed) == min(len(expected), 1000)
    for i, (held_out, label, distance) in listed.items():
        assert (held_out, label) == expected[i][:2]
        assert distance == pytest.approx(expected[i][2], rel=1e-5, abs=1e-6)
    assert [each["distance"] for each in found["nearest"]] == sorted(each["distance"] for each in found["nearest"])
    quality = manifest["quality"]
    assert quality["base"]["identical"] > 0
    assert quality["checked"] == sum(quality["base"]["counts"]) + quality["base"]["identical"]
    assert quality["checked"] >= sum(quality["neighbor"]["counts"]) > 0


def test_held_out_shards_of_another_kind_are_refused(made, command, tmp_path):
    command("yt8m-data", "synth", tmp_path / "frames", "--kind", "frame", "--records", 5, "--shards", 1, "--classes", 40, "--max-frames", 3)
    options = ["--holdout", tmp_path / "frames" / "*.tfrecord"]
    refused = command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "out", *options, status=2)
    assert "which cannot be held against" in refused.err
    refused = command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "out", "--holdout", made / "*", "--near", "-1", status=2)
    assert refused.err


@pytest.mark.parametrize("policy", ["joint", "ml-ros"])
def test_outputs_do_not_depend_on_the_workers(made, command, digests, tmp_path, policy):
    files = sorted(made.glob("*.tfrecord"))
    options = [*PLANS[policy][:4], "--method", "delta,extrapolate", "--deltas", 50, "--holdout", made / "*-00001-*.tfrecord"]
    command("yt8m-data", "augment", *files, tmp_path / "one", *options, "--workers", 1, report=True)
    command("yt8m-data", "augment", *reversed(files), tmp_path / "two", *options, "--workers", 2, report=True)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_unfilled_labels_are_told(made, records, command, tmp_path):
    """A pool of one video has no pair; a label whose videos all follow rarer ones cannot be raised by its own."""
    options = ["--policy", "target", "--floor", 120, "--max-copies", 2]
    command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "out", *options, report=True)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    before, after = label_counts(records), label_counts(read((tmp_path / "out").glob("*.tfrecord")))
    own = Counter(deciding(labels, before) for _, labels, _, _ in records)
    told = {entry["label"]: entry for entry in manifest["unfilled"]}
    for label, count in before.items():
        if count < 120 and after[label] < 118:
            assert told[label]["after"] == after[label]
            assert ("decides for no video" in told[label]["reason"]) == (not own[label])
    assert any("may give 2 copies each" in entry["reason"] for entry in told.values())
    page = (tmp_path / "out" / "report.html").read_text()
    assert "could not be filled" in page


@pytest.mark.parametrize(
    "options", [["--policy", "paper"], ["--policy", "authors", "--labels", "union"], ["--pool", "chunk", "--chunk-shards", 2]]
)
def test_a_rehearsal_tells_the_counts_where_neighbours_decide(made, command, tmp_path, options):
    options = ["--threshold", 60, *options]
    bound, _ = forecast_of(command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "out", *options, "--dry-run").out)
    printed = command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "out", *options, "--dry-run", "--exact").out
    assert "at most" not in printed
    counts, total = forecast_of(printed)
    command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "out", *options)
    written = list(read((tmp_path / "out").glob("*.tfrecord")))
    found = label_counts(written)
    assert counts == {label: found[label] for label in counts}
    assert total == len(written)
    if "union" not in options:
        assert all(found[label] <= bound[label] for label in bound)
        assert sum(bound.values()) > sum(found.values())


def test_exact_belongs_to_a_dry_run(made, command, tmp_path):
    assert "give --dry-run too" in command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "out", "--exact", status=2).err
