"""synth, stats, augment and validate through the command line, against an independent reading of what they write."""

import csv
import itertools
import json
from collections import Counter

import numpy as np
import pytest
import scipy.sparse
from oracle import cooccurrence, deciding, label_counts, nearest, neighbors_for, pools_by_label, read

THRESHOLD = 60


@pytest.fixture(scope="module")
def records(made):
    return list(read(made.glob("*.tfrecord")))


@pytest.fixture(scope="module")
def stats(made, command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stats") / "out"
    command("yt8m-data", "stats", made / "*.tfrecord", "--out", folder, report=True)
    return folder


@pytest.fixture(scope="module", params=["paper", "authors"])
def augmented(request, made, command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("augmented") / "out"
    options = ["--policy", request.param, "--threshold", THRESHOLD]
    result = command("yt8m-data", "augment", made / "*.tfrecord", folder, *options, report=True)
    return request.param, folder, result


def test_synth_writes_what_it_says(made, records):
    manifest = json.loads((made / "manifest.json").read_text())
    assert len(records) == manifest["records"] == 1000
    assert sum(shard["records"] for shard in manifest["shards"]) == 1000
    assert all((made / shard["name"]).stat().st_size == shard["bytes"] for shard in manifest["shards"])


def test_stats_equal_an_independent_count(stats, records):
    result = json.loads((stats / "stats.json").read_text())
    counts = label_counts(records)
    assert result["num_records"] == 1000
    assert result["num_unlabeled"] == 0
    assert result["num_classes"] == 40
    assert result["label_counts"] == [counts[label] for label in range(40)]
    assert result["bad_records"] == {"total": 0, "by_reason": {}}
    lengths = Counter(len(labels) for _, labels, _, _ in records)
    assert result["labels_per_record"]["histogram"] == [lengths[k] for k in range(max(lengths) + 1)]
    for name in ("mean_rgb", "mean_audio"):
        matrix = np.stack([vectors[name] for _, _, vectors, _ in records]).astype(np.float64)
        np.testing.assert_allclose(result["features"][name]["mean"], matrix.mean(axis=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(result["features"][name]["variance"], matrix.var(axis=0), rtol=1e-5, atol=1e-6)
    with open(stats / "label_counts.csv", newline="") as stream:
        assert [(int(row["Index"]), int(row["Count"])) for row in csv.DictReader(stream)] == [(i, counts[i]) for i in range(40)]


def test_cooccurrence_is_read_by_scipy(stats, records):
    matrix = scipy.sparse.load_npz(stats / "cooccurrence.npz")
    expected = np.zeros((40, 40), int)
    for (a, b), count in cooccurrence(records).items():
        expected[a, b] = count
    np.testing.assert_array_equal(matrix.toarray(), expected)


@pytest.mark.parametrize("name", ["rank_frequency", "cooccurrence", "labels_per_video", "moments_mean_rgb"])
def test_stats_end_with_a_report(name, stats):
    assert f'data-plot="{name}"' in (stats / "report.html").read_text()
    assert (stats / "report_plots" / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert len((stats / "report_plots" / f"{name}.csv").read_text().splitlines()) > 1


def test_names_come_from_the_vocabulary(made, command, tmp_path):
    vocabulary = tmp_path / "vocabulary.csv"
    vocabulary.write_text("Index,Name\n" + "".join(f"{i},thing {i}\n" for i in range(40)))
    result = command("yt8m-data", "stats", made / "*.tfrecord", "--out", tmp_path / "out", "--vocabulary", vocabulary)
    assert "thing 0" in result.out
    with open(tmp_path / "out" / "label_counts.csv", newline="") as stream:
        assert [row["Name"] for row in csv.DictReader(stream)] == [f"thing {i}" for i in range(40)]


def test_the_books_balance(augmented, records):
    _, folder, result = augmented
    totals = json.loads((folder / "manifest.json").read_text())["totals"]
    assert totals["read"] == 1000 == totals["kept"] + totals["dropped"] + totals["bad"]
    assert totals["written"] == totals["kept"] + sum(totals["synthetic"].values())
    assert totals["synthetic"]["interpolate"] == totals["synthetic"]["extrapolate"] > 100
    assert totals["dropped"] > 0
    written = list(read(folder.glob("*.tfrecord")))
    assert len(written) == totals["written"]
    assert len({i for i, _, _, _ in written}) == len(written)
    methods = Counter(provenance["aug_method"].decode() for _, _, _, provenance in written if provenance)
    assert methods == Counter({method: count for method, count in totals["synthetic"].items() if count})
    assert f"{totals['written']:,} written" in result.out


def test_the_statistics_after_are_those_of_the_output(augmented, stats):
    _, folder, _ = augmented
    after = json.loads((folder / "stats_after.json").read_text())
    written = list(read(folder.glob("*.tfrecord")))
    counts = label_counts(written)
    assert after["label_counts"] == [counts[label] for label in range(40)]
    assert json.loads((folder / "stats_before.json").read_text()) == json.loads((stats / "stats.json").read_text())
    manifest = json.loads((folder / "manifest.json").read_text())
    summed = Counter()
    for shard in manifest["shards"]:
        summed.update({int(label): count for label, count in shard["label_counts"].items()})
    assert summed == counts


def test_every_synthetic_video_follows_its_formula(augmented, records):
    policy, folder, _ = augmented
    originals = {i: (labels, vectors) for i, labels, vectors, _ in records}
    checked = Counter()
    for i, labels, vectors, provenance in read(folder.glob("*.tfrecord")):
        if not provenance:
            source = i[: -len(b"_o00")] if policy == "authors" else i
            base_labels, base = originals[source]
            expected = base
        else:
            base_labels, base = originals[provenance["aug_base"]]
            method = provenance["aug_method"]
            if method == b"noise":
                for name, vector in vectors.items():
                    noise = vector - base[name]
                    assert 0.02 < noise.std() < 0.04
                expected = vectors
            else:
                factor = np.float32(provenance["aug_lambda"])
                assert factor == np.float32(0.5)
                _, other = originals[provenance["aug_neighbor"]]
                sign = factor if method == b"interpolate" else -factor
                expected = {name: base[name] + sign * (other[name] - base[name]) for name in base}
            assert i.startswith(provenance["aug_base"] + b"_o")
            checked[method] += 1
        assert labels == base_labels
        for name in expected:
            np.testing.assert_allclose(vectors[name], expected[name], rtol=1e-6, atol=1e-6)
    assert checked[b"interpolate"] > 100


def test_the_manifest_tells_of_what_was_made(augmented, records):
    """Distances from base to neighbour, and synthetic videos with each label, both counted from the files."""
    _, folder, _ = augmented
    manifest = json.loads((folder / "manifest.json").read_text())
    rgb = {i: vectors["mean_rgb"].astype(np.float64) for i, _, vectors, _ in records}
    labels, apart = Counter(), []
    for _, carried, _, provenance in read(folder.glob("*.tfrecord")):
        if provenance:
            labels.update(set(carried))
            if "aug_neighbor" in provenance:
                apart.append(np.linalg.norm(rgb[provenance["aug_base"]] - rgb[provenance["aug_neighbor"]]))
    assert manifest["synthetic_label_counts"] == {str(label): count for label, count in sorted(labels.items())}
    found = manifest["neighbors"]
    assert (found["feature"], found["identical"]) == ("mean_rgb", 0)
    edges = 2.0 ** ((found["first_bin"] + np.arange(len(found["counts"]) + 1)) / found["bins_per_octave"])
    assert found["counts"] == np.histogram(apart, edges)[0].tolist()
    assert sum(found["counts"]) == len(apart)


def test_augment_ends_with_a_report(augmented):
    _, folder, _ = augmented
    page = (folder / "report.html").read_text()
    for plot in ("rank_frequency", "moves", "synthetic_share", "distances"):
        assert f'data-plot="{plot}"' in page
        assert (folder / "report_plots" / f"{plot}.png").exists()


def test_emission_equals_a_sequential_visit(augmented, made, records):
    """SYSTEMS 8.4, step by step: which pairs are used, in the order of the input."""
    policy, folder, _ = augmented
    counts, pools = label_counts(records), pools_by_label(records)
    used, expected = set(), {}
    for i, labels, _, _ in records:
        label = deciding(labels, counts, policy)
        if counts[label] > THRESHOLD:
            continue
        made_of = []
        for other in nearest(pools[label], i, neighbors_for(counts[label], THRESHOLD, policy)):
            if frozenset((i, other)) not in used:
                used.add(frozenset((i, other)))
                made_of += [(b"interpolate", other), (b"extrapolate", other)]
        for number, (method, other) in enumerate(made_of or [(b"noise", None)], 1):
            expected[b"%b_o%02d" % (i, number)] = (method, i, other)
    found = {
        i: (provenance["aug_method"], provenance["aug_base"], provenance.get("aug_neighbor"))
        for i, _, _, provenance in read(folder.glob("*.tfrecord"))
        if provenance
    }
    assert found == expected


def test_kept_videos_are_those_of_the_plan(augmented, records):
    policy, folder, _ = augmented
    counts = label_counts(records)
    manifest = json.loads((folder / "manifest.json").read_text())
    keep = {entry["label"]: entry["keep_ratio"] for entry in manifest["plan"]["labels"]}
    kept = Counter(deciding(labels, counts, policy) for _, labels, _, p in read(folder.glob("*.tfrecord")) if not p)
    had = Counter(deciding(labels, counts, policy) for _, labels, _, _ in records)
    for label, count in had.items():
        if counts[label] <= THRESHOLD:
            assert kept[label] == count
        else:
            assert abs(kept[label] - keep[label] * count) < 5 * (count * keep[label]) ** 0.5 + 1e-9


def test_shards_are_shuffled_and_named(augmented):
    _, folder, _ = augmented
    names = sorted(path.name for path in folder.glob("*.tfrecord"))
    assert names == [f"train-{shard:05d}-of-00006.tfrecord" for shard in range(6)]
    sizes = [len(list(read([folder / name]))) for name in names]
    assert min(sizes) > 0.6 * max(sizes)
    bases = [provenance.get("aug_base", i).split(b"_")[0] for i, _, _, provenance in read([folder / names[0]])]
    beside = sum(a == b for a, b in itertools.pairwise(bases))
    assert beside < 0.05 * len(bases), "copies of a video stand beside it"


def test_outputs_are_the_same_for_any_workers_and_order_of_inputs(made, command, digests, tmp_path):
    files = sorted(made.glob("*.tfrecord"))
    options = ["--threshold", THRESHOLD, "--lambda", "0.2:0.8", "--method", "interpolate,extrapolate,noise"]
    command("yt8m-data", "augment", *files, tmp_path / "one", *options, "--workers", 1, report=True)
    command("yt8m-data", "augment", *reversed(files), tmp_path / "three", *options, "--workers", 3, report=True)
    assert digests(tmp_path / "one") == digests(tmp_path / "three")
    command("yt8m-data", "augment", *files, tmp_path / "seed", *options, "--seed", 1)
    other = digests(tmp_path / "seed")
    assert all(other[name] != digest for name, digest in digests(tmp_path / "one").items() if name.endswith(".tfrecord"))
    command("yt8m-data", "stats", *files, "--out", tmp_path / "s1", "--workers", 1, report=True)
    command("yt8m-data", "stats", *reversed(files), "--out", tmp_path / "s3", "--workers", 3, report=True)
    assert digests(tmp_path / "s1") == digests(tmp_path / "s3")


def test_chunks_keep_neighbours_within_their_files(made, command, tmp_path):
    command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "out", "--threshold", THRESHOLD, "--pool", "chunk", "--chunk-shards", 2)
    chunk = {i: number // 2 for number, path in enumerate(sorted(made.glob("*.tfrecord"))) for i, _, _, _ in read([path])}
    pairs = [(p["aug_base"], p["aug_neighbor"]) for _, _, _, p in read((tmp_path / "out").glob("*.tfrecord")) if "aug_neighbor" in p]
    assert pairs
    assert all(chunk[base] == chunk[other] for base, other in pairs)
    assert set(chunk[base] for base, _ in pairs) == {0, 1, 2}


def test_explicit_targets_are_met(made, command, tmp_path):
    command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "out", "--policy", "target", "--floor", 50, "--cap", 200)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    records, written = list(read(made.glob("*.tfrecord"))), list(read((tmp_path / "out").glob("*.tfrecord")))
    counts = label_counts(records)
    had = Counter(deciding(labels, counts) for _, labels, _, _ in records)
    has = Counter(deciding(labels, counts) for _, labels, _, _ in written)
    for entry in manifest["plan"]["labels"]:
        expected = had[entry["label"]] * entry["target"] / entry["count"]
        assert abs(has[entry["label"]] - expected) < 5 * expected**0.5 + 1


def test_label_rules_and_held_features(made, command, tmp_path):
    records = {i: (set(labels), vectors) for i, labels, vectors, _ in read(made.glob("*.tfrecord"))}
    for rule, combine in (("intersection", set.intersection), ("union", set.union)):
        out = tmp_path / rule
        command("yt8m-data", "augment", made / "*.tfrecord", out, "--threshold", THRESHOLD, "--labels", rule, "--hold", "mean_audio")
        seen = 0
        for _, labels, vectors, provenance in read(out.glob("*.tfrecord")):
            if "aug_neighbor" in provenance:
                (base_labels, base), (other_labels, _) = records[provenance["aug_base"]], records[provenance["aug_neighbor"]]
                assert set(labels) == combine(base_labels, other_labels)
                np.testing.assert_array_equal(vectors["mean_audio"], base["mean_audio"])
                seen += 1
        assert seen > 50


def test_dry_run_prints_the_plan_and_writes_nothing(made, command, tmp_path, stats):
    result = command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "out", "--threshold", THRESHOLD, "--dry-run")
    assert not (tmp_path / "out").exists()
    rows = [line.split() for line in result.out.splitlines()[1:-1]]
    assert len(rows) == 40
    command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "real", "--threshold", THRESHOLD, "--counts", stats / "stats.json")
    after = json.loads((tmp_path / "real" / "stats_after.json").read_text())
    for row in rows:
        assert after["label_counts"][int(row[0])] <= float(row[2].replace(",", "")) * 1.15 + 8, "what is foreseen is a bound, up to chance"


def test_augmenting_again_keeps_what_was_known(made, command, tmp_path):
    command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "one", "--threshold", 20)
    command("yt8m-data", "augment", tmp_path / "one" / "*.tfrecord", tmp_path / "two", "--threshold", 20)
    first = {i: provenance for i, _, _, provenance in read((tmp_path / "one").glob("*.tfrecord")) if provenance}
    second = {i: provenance for i, _, _, provenance in read((tmp_path / "two").glob("*.tfrecord"))}
    both = first.keys() & second.keys()
    assert both
    assert all(first[i] == second[i] for i in both)


def test_validate_passes_sound_shards_and_finds_planted_faults(made, command, tmp_path):
    result = json.loads(command("yt8m-data", "validate", made / "*.tfrecord").out)
    assert (result.pop("schema")).startswith("video-level records: id key 'id'")
    nothing = {"found": {}, "bad_records": [], "duplicates": [], "too_long": [], "empty_files": []}
    assert result == {"ok": True, "num_files": 6, "num_records": 1000, **nothing}
    files = sorted(made.glob("*.tfrecord"))
    (tmp_path / "a.tfrecord").write_bytes(files[0].read_bytes())
    damaged = bytearray(files[0].read_bytes())
    damaged[5000] ^= 4
    (tmp_path / "b.tfrecord").write_bytes(damaged)
    found = json.loads(command("yt8m-data", "validate", tmp_path / "*.tfrecord", "--num-classes", 40, status=1).out)
    assert [(bad["file"][-10:], bad["index"], bad["kind"]) for bad in found["bad_records"]] == [("b.tfrecord", 1, "crc")]
    assert len(found["duplicates"]) == found["num_records"] - len({i for i, _, _, _ in read([files[0]])})
    assert all(len(duplicate["records"]) == 2 for duplicate in found["duplicates"])


def test_stats_of_frame_level_shards(command, tmp_path):
    import tensorflow as tf

    command("yt8m-data", "synth", tmp_path / "f", "--kind", "frame", "--records", 30, "--shards", 2, "--classes", 20, "--max-frames", 12)
    command("yt8m-data", "stats", tmp_path / "f" / "*.tfrecord", "--out", tmp_path / "s", report=True)
    result = json.loads((tmp_path / "s" / "stats.json").read_text())
    counts, lengths = Counter(), Counter()
    for path in (tmp_path / "f").glob("*.tfrecord"):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            message = tf.train.SequenceExample.FromString(record)
            counts.update(message.context.feature["labels"].int64_list.value)
            lengths[len(message.feature_lists.feature_list["rgb"].feature)] += 1
    assert result["kind"] == "frame"
    assert result["label_counts"] == [counts[label] for label in range(20)]
    assert result["frames_per_record"]["histogram"] == [lengths[k] for k in range(max(lengths) + 1)]
