"""augment where pools have more than --pool-videos, through the command line."""

import hashlib
import json
from collections import Counter

import numpy as np
import pytest
from oracle import deciding, label_counts, nearest, read

from beam_jobs import holdout
from yt8m_data import pools, sampling
from yt8m_data.codec import decode
from yt8m_data.schema import ORDER, sniff
from yt8m_data.tfrecord import read as blocks

VIDEO = 4 * (1024 + 128)
MOST = 227


def salt(video_id, parts):
    digest = hashlib.blake2b(video_id, digest_size=8, salt=bytes(8), person=b"pool").digest()
    return int.from_bytes(digest, "little") % parts


@pytest.fixture(scope="module")
def augmented(made, command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sub-pools") / "out"
    options = ["--policy", "target", "--floor", 400, "--max-copies", 3, "--method", "extrapolate", "--pool-videos", MOST]
    command("yt8m-data", "augment", made / "*.tfrecord", folder, *options)
    return folder


def test_the_manifest_tells_of_sub_pools(made, augmented):
    counts = label_counts(list(read(made.glob("*.tfrecord"))))
    expected = {str(label): -(-count // MOST) for label, count in sorted(counts.items()) if 400 > count > MOST}
    assert json.loads((augmented / "manifest.json").read_text())["sub_pools"] == expected
    assert expected


def test_neighbours_are_the_nearest_of_the_sub_pool(made, augmented):
    records = list(read(made.glob("*.tfrecord")))
    counts, parts = label_counts(records), json.loads((augmented / "manifest.json").read_text())["sub_pools"]
    carried = {i: set(labels) for i, labels, _, _ in records}
    rgb = {i: vectors["mean_rgb"] for i, _, vectors, _ in records}
    found = {}
    for _, _, _, provenance in read(augmented.glob("*.tfrecord")):
        if "aug_neighbor" in provenance:
            found.setdefault(provenance["aug_base"], set()).add(provenance["aug_neighbor"])
    seen = Counter()
    for base, neighbors in found.items():
        label = deciding(sorted(carried[base]), counts)
        number = parts.get(str(label), 1)
        pool = {i: rgb[i] for i in rgb if label in carried[i] and salt(i, number) == salt(base, number)}
        assert neighbors == set(nearest(pool, base, len(neighbors)))
        seen[number > 1] += 1
    assert min(seen[True], seen[False]) > 2


def test_the_rehearsal_has_the_same_sub_pools(made, augmented, command, tmp_path):
    options = ["--threshold", 290, "--method", "interpolate", "--pool-videos", MOST]
    said = command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "out", *options, "--dry-run", "--exact").out
    command("yt8m-data", "augment", made / "*.tfrecord", tmp_path / "out", *options)
    after = json.loads((tmp_path / "out" / "stats_after.json").read_text())
    rows = [line.split() for line in said.splitlines()[1:41]]
    assert {int(row[0]): int(row[2].replace(",", "")) for row in rows} == dict(enumerate(after["label_counts"]))


def test_held_out_videos_are_held_against_all_sub_pools(made):
    path = str(sorted(made.glob("*.tfrecord"))[0])
    schema = sniff(path)
    with open(path, "rb") as stream:
        batch = decode(next(blocks(stream, path)), schema).batch
    batch = batch.append_column(ORDER, np.arange(batch.num_rows))
    counts = np.full(40, 100)
    counts[5:] = 1000
    plan = sampling.plan(counts, 1000, sampling.Settings(policy="target", floor=2000.0))
    packed = pools.pack(plan, VIDEO, 1 << 30, MOST)
    assert packed.salts.tolist() == [1] * 5 + [5] * 35
    routed = holdout.route_held_out(batch, packed, 1, None)
    sent = {(partition, i) for partition, part in routed for i in part.column("id").to_pylist()}
    expected = set()
    for i, labels in zip(batch.column("id").to_pylist(), batch.column("labels").to_pylist(), strict=True):
        for label in labels:
            expected |= {(int(packed.partition[label]) + part, i) for part in range(packed.salts[label])}
    assert sent == expected
