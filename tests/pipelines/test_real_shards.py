"""The main job on real YouTube-8M shards, against TensorFlow's parser and brute force."""

import json
from collections import Counter

import numpy as np
import pytest
import scipy.sparse
from oracle import cooccurrence, deciding, label_counts, nearest, neighbors_for, pools_by_label, read

pytestmark = pytest.mark.shared_data


def training_shards(shared_data, count=20):
    return [shared_data / "yt8m-2018-video" / f"validate{shard:04d}.tfrecord" for shard in range(count)]


@pytest.fixture(scope="module")
def records(shared_data):
    return list(read(training_shards(shared_data)))


@pytest.fixture(scope="module", params=["paper", "authors"])
def augmented(request, shared_data, command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("augmented") / request.param
    command("yt8m-data", "augment", *training_shards(shared_data), folder, "--policy", request.param, report=request.param == "paper")
    return request.param, folder


@pytest.fixture(scope="module")
def written(augmented):
    return list(read(augmented[1].glob("*.tfrecord")))


def test_stats_equal_tensorflow_label_by_label(shared_data, command, tmp_path):
    command("yt8m-data", "stats", shared_data / "yt8m-2018-video" / "*.tfrecord", "--out", tmp_path / "all")
    result = json.loads((tmp_path / "all" / "stats.json").read_text())
    records = list(read((shared_data / "yt8m-2018-video").glob("*.tfrecord")))
    counts = label_counts(records)
    assert result["num_records"] == len(records) == 25_953
    assert result["num_classes"] == 3862
    assert result["label_counts"] == [counts[label] for label in range(3862)]
    rgb = np.stack([vectors["mean_rgb"] for _, _, vectors, _ in records]).astype(np.float64)
    np.testing.assert_allclose(result["features"]["mean_rgb"]["mean"], rgb.mean(axis=0), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(result["features"]["mean_rgb"]["variance"], rgb.var(axis=0), rtol=1e-6)

    command("yt8m-data", "stats", *training_shards(shared_data)[:5], "--out", tmp_path / "five")
    matrix = scipy.sparse.load_npz(tmp_path / "five" / "cooccurrence.npz").todok()
    expected = cooccurrence(read(training_shards(shared_data)[:5]))
    assert {pair: int(count) for pair, count in matrix.items()} == dict(expected)


def test_the_2017_shards_and_audioset(shared_data, command, tmp_path):
    folder = shared_data / "yt8m-2017-video"
    command("yt8m-data", "stats", folder / "validatea0.tfrecord", "--out", tmp_path / "a")
    result = json.loads((tmp_path / "a" / "stats.json").read_text())
    counts = label_counts(read([folder / "validatea0.tfrecord"], "video_id"))
    assert result["num_classes"] == 4716
    assert result["label_counts"] == [counts[label] for label in range(4716)]
    sentence = command("yt8m-data", "augment", folder / "testa0.tfrecord", tmp_path / "x", status=2).err
    assert "no record has a label" in sentence
    command("yt8m-data", "stats", shared_data / "audioset" / "*.tfrecord", "--out", tmp_path / "b")
    result = json.loads((tmp_path / "b" / "stats.json").read_text())
    assert (result["num_records"], result["num_classes"], result["kind"]) == (285, 527, "frame")


def test_halves_of_the_real_shards_are_alike_and_augmented_ones_are_not(shared_data, augmented, command, tmp_path):
    """Shards 0000-0044 against 0045-0089, and against what was made of 0000-0019."""
    files = sorted((shared_data / "yt8m-2018-video").glob("*.tfrecord"))
    for name, part in (("a", files[:45]), ("b", files[45:])):
        command("yt8m-data", "stats", *part, "--out", tmp_path / name)
    assert "BREACH" not in command("yt8m-data", "compare", tmp_path / "a", tmp_path / "b").out
    _, folder = augmented
    vocabulary = ["--vocabulary", shared_data / "vocabulary-2018.csv"]
    printed = command("yt8m-data", "compare", tmp_path / "a", folder / "stats_after.json", *vocabulary, status=1).out
    assert "BREACH labels: L-infinity" in printed
    assert "BREACH labels: Jensen-Shannon" in printed
    assert " Concert" in printed  # the fourth label by count, sub-sampled


def test_books_ids_and_labels(augmented, written, records):
    _, folder = augmented
    totals = json.loads((folder / "manifest.json").read_text())["totals"]
    assert totals["read"] == len(records) == totals["kept"] + totals["dropped"]
    assert totals["written"] == len({i for i, _, _, _ in written}) == totals["kept"] + sum(totals["synthetic"].values())
    methods = Counter(provenance["aug_method"].decode() for _, _, _, provenance in written if provenance)
    assert methods == Counter(totals["synthetic"])
    base_labels = {i: labels for i, labels, _, _ in records}
    for i, labels, _, provenance in written:
        source = provenance["aug_base"] if provenance else i.removesuffix(b"_o00").removesuffix(b"_s00")
        assert labels == base_labels[source]


def test_every_vector_follows_its_formula(written, records):
    real = {i: vectors for i, _, vectors, _ in records}
    bases = [real[p["aug_base"] if p else i.removesuffix(b"_o00").removesuffix(b"_s00")] for i, _, _, p in written]
    methods = np.array([p["aug_method"].decode() if p else "" for _, _, _, p in written])
    sign = {"interpolate": 1, "extrapolate": -1}
    parts = [sign[p["aug_method"].decode()] * p["aug_lambda"] if "aug_neighbor" in p else 0.0 for _, _, _, p in written]
    others = [real[p["aug_neighbor"]] if "aug_neighbor" in p else base for base, (_, _, _, p) in zip(bases, written, strict=True)]
    for name in ("mean_rgb", "mean_audio"):
        found, base, other = (np.stack([vectors[name] for vectors in each]) for each in ([v for _, _, v, _ in written], bases, others))
        np.testing.assert_array_equal(found[methods == ""], base[methods == ""])
        paired, noisy = np.isin(methods, list(sign)), methods == "noise"
        moved = base + np.array(parts, np.float32)[:, None] * (other - base)
        np.testing.assert_allclose(found[paired], moved[paired], rtol=1e-5, atol=1e-6)
        spread = (found[noisy] - base[noisy]).std(axis=1)
        assert ((spread > 0.02) & (spread < 0.04)).all()
        assert paired.any()
        assert ((methods == "") | paired | noisy).all()


def test_neighbours_equal_brute_force_on_20_random_pools(augmented, written, records):
    policy, _ = augmented
    counts, pools = label_counts(records), pools_by_label(records)
    threshold = 10_000 * len(records) / 5_001_275
    used = {}
    for _, _, _, provenance in written:
        if "aug_neighbor" in provenance:
            used.setdefault(provenance["aug_base"], set()).add(provenance["aug_neighbor"])
    decided = {i: deciding(labels, counts, policy) for i, labels, _, _ in records}
    eligible = sorted(label for label in pools if 2 <= counts[label] <= threshold)
    order = {i: place for place, (i, _, _, _) in enumerate(records)}
    for label in np.random.default_rng(0).choice(eligible, 20, replace=False).tolist():
        near = {i: nearest(pools[label], i, neighbors_for(counts[label], threshold, policy)) for i in pools[label]}
        for base in (i for i in pools[label] if decided[i] == label):
            expanded = {
                other for other in near[base] if not (order[other] < order[base] and decided[other] == label and base in near[other])
            }
            if policy == "paper":  # pairs met in another pool of as rare a label can only be the authors' (first-listed) ties
                assert used.get(base, set()) == expanded
            else:
                assert used.get(base, set()) <= expanded


def test_the_curve_after_is_the_papers(shared_data, command, tmp_path):
    """Fig. 2 of the paper: the tail rises most; the head, which rides on the videos of rarer labels, less; both curves fall.

    Of all training shards: with fewer most labels of the tail have one video, and so no neighbour.
    """
    command("yt8m-data", "augment", *training_shards(shared_data, 70), tmp_path / "out")
    stats = [json.loads((tmp_path / "out" / f"stats_{when}.json").read_text()) for when in ("before", "after")]
    before, after = (np.array(each["label_counts"]) for each in stats)
    order = np.argsort(-before, kind="stable")
    head, tail = order[:20], order[1000 : np.count_nonzero(before)]
    assert (after[tail] >= before[tail]).all()
    assert after[tail].sum() > 1.5 * before[tail].sum()
    assert after[head].sum() / before[head].sum() < 0.7 * after[tail].sum() / before[tail].sum()
    slopes = [np.polyfit(np.log10(np.arange(10, 1000)), np.log10(np.sort(c)[::-1][10:1000]), 1)[0] for c in (before, after)]
    assert slopes[0] < slopes[1] < 0
