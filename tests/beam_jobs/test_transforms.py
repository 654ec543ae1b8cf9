import gzip
from collections import Counter as Counts
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs import runners
from beam_jobs.group import PAIR, ArrowCoder, GroupBatches
from beam_jobs.layout import Layout
from beam_jobs.progress import Counter, _counts
from beam_jobs.transforms import BAD, READING, ReadShards, WriteShards, split_batch
from yt8m_data import recipes, schema, shards, synth
from yt8m_data.errors import DataError
from yt8m_data.sampling import Settings
from yt8m_data.schema import ORDER
from yt8m_data.statistics.features import Moments
from yt8m_data.synthetic import SyntheticSpec


def collected(build, records=0, workers=1):
    return runners.run(runners.Engine(workers=workers), "test", 0, None, build, lambda _: records)


def test_read_shards_gives_every_record_with_its_place(files, read_file):
    layout = schema.sniff(files[0])

    def build(pipeline, counter):
        read = pipeline | ReadShards(files, layout, False, counter, augmentable=True)
        return read.batches | beam.Map(lambda b: (b.column(ORDER).to_pylist(), b.column("id").to_pylist())) | beam.combiners.ToList()

    found = {place: i for places, ids in collected(build, 600) for place, i in zip(places, ids, strict=True)}
    expected = {}
    for number, path in enumerate(files):
        ids = [i for batch in read_file(path, layout) for i in batch.column("id").to_pylist()]
        expected |= {number << 32 | index: i for index, i in enumerate(ids)}
    assert found == expected
    assert len(found) == 600


def test_no_batch_is_encoded_to_learn_its_size(files, monkeypatch):
    """Beam estimates the size of what goes from one step to the next, by encoding it unless the coder knows better."""
    encoded, types = [], []
    monkeypatch.setattr(ArrowCoder, "encode", lambda _, batch: encoded.append(batch))
    layout = schema.sniff(files[0])

    def build(pipeline, counter):
        read = pipeline | ReadShards(files, layout, False, counter)
        pairs = read.batches | beam.Map(lambda batch: (0, batch)).with_output_types(PAIR)
        types.extend([read.batches.element_type, pairs.element_type])
        return pairs | beam.Map(lambda pair: pair[1].num_rows) | beam.CombineGlobally(sum)

    assert collected(build, 600) == 600
    assert not encoded
    assert types == [pa.RecordBatch, beam.typehints.Tuple[int, pa.RecordBatch]]  # anything else would be pickled


def test_a_bad_record_stops_the_job_or_goes_to_its_own_output(files, tmp_path):
    layout = schema.sniff(files[0])
    data = bytearray(Path(files[0]).read_bytes())
    data[100] ^= 1
    broken = tmp_path / "broken.tfrecord"
    broken.write_bytes(data)

    def build(pipeline, counter, skip):
        read = pipeline | ReadShards([str(broken)], layout, skip, counter)
        count = read.batches | beam.Map(lambda b: b.num_rows) | beam.CombineGlobally(sum)
        return count | beam.Map(lambda n, bad: (n, bad), beam.pvalue.AsList(read[BAD]))

    with pytest.raises(DataError, match=r"broken.tfrecord: record 0 at byte 0: the checksum of the data is wrong \(--on-bad-record skip"):
        collected(lambda p, c: build(p, c, False))
    good, bad = collected(lambda p, c: build(p, c, True), 119)
    assert good == 119
    assert [(record.index, record.kind) for record in bad] == [(0, "crc")]


@given(st.lists(st.integers(0, 5), max_size=40))
def test_split_batch_sends_each_row_to_its_partition(partitions):
    batch = pa.RecordBatch.from_arrays([pa.array(range(len(partitions)), pa.int64())], names=["row"])
    parts = dict(split_batch(batch, np.array(partitions, np.int64)))
    for key, part in parts.items():
        assert part.column("row").to_pylist() == [row for row, p in enumerate(partitions) if p == key]
    assert sum(part.num_rows for part in parts.values()) == len(partitions)


def test_split_batch_can_send_a_row_twice():
    batch = pa.RecordBatch.from_arrays([pa.array([10, 11, 12])], names=["row"])
    parts = dict(split_batch(batch, np.array([1, 0, 1]), np.array([0, 0, 2])))
    assert {key: part.column("row").to_pylist() for key, part in parts.items()} == {0: [10], 1: [10, 12]}


def write(batches, out, num_shards=4, partitions=2, spill=None, workers=1):
    layout = Layout(str(out), "x", num_shards, partitions, 0)
    records = schema.Schema("video", "id", "labels", (schema.Feature("mean_rgb", 3),), 10)
    columns = pa.schema([*records.arrow, *schema.PROVENANCE])

    def build(pipeline, _counter):
        sent = pipeline | beam.Create(batches) | beam.FlatMap(lambda b: split_batch(b, layout.partition(b.column("id").to_pylist())))
        empty = pa.RecordBatch.from_pylist([], schema=columns)
        every = pipeline | "Every" >> beam.Create(list(range(partitions))) | beam.Map(lambda partition: (partition, empty))
        tasks = (sent, every) | GroupBatches(spill) | beam.MapTuple(lambda task, batches: (task, [batches]))
        return tasks | beam.ParDo(WriteShards(layout, records, columns, Counter(None))) | beam.combiners.ToList()

    return records, sorted(collected(build, workers=workers), key=lambda pair: pair[0][0]["name"])


def test_write_shards_writes_every_row_once_in_the_order_of_its_hash(videos, read_file, tmp_path):
    ids = [b"v%03d" % n for n in range(100)]
    (tmp_path / "out").mkdir()
    records, written = write([videos(ids).slice(0, 37), videos(ids).slice(37)], tmp_path / "out")
    order = []
    for entries, statistics in written:
        for entry in entries:
            path = tmp_path / "out" / entry["name"]
            batches = read_file(path, records)
            found = [i for batch in batches for i in batch.column("id").to_pylist()]
            assert entry["records"] == len(found)
            assert entry["bytes"] == path.stat().st_size
            assert entry["crc32c"] == f"{_crc(path):08x}"
            order += found
        assert statistics.num_records == sum(entry["records"] for entry in entries)
        counted = Counts()
        for entry in entries:
            counted.update(entry["label_counts"])
        assert counted == {str(label): n for label, n in enumerate(statistics.label_counts.tolist()) if n}
    assert sorted(order) == ids
    hashes = shards.stable_hash(0, order, "order").tolist()
    assert hashes == sorted(hashes)
    assert order != ids


def _crc(path):
    import google_crc32c

    return google_crc32c.value(path.read_bytes())


def test_write_shards_is_independent_of_partitions_spill_and_workers(videos, tmp_path):
    ids = [b"v%03d" % n for n in range(50)]
    contents = []
    for number, (partitions, spill, workers) in enumerate(
        [(1, None, 1), (4, str(tmp_path / "spill"), 1), (2, str(tmp_path / "spill2"), 2)]
    ):
        out = tmp_path / str(number)
        out.mkdir()
        write([videos(ids).take(pa.array(np.random.default_rng(number).permutation(50)))], out, 4, partitions, spill, workers)
        contents.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert contents[0] == contents[1] == contents[2]


def test_a_shard_without_rows_is_written_too(videos, tmp_path):
    _, written = write([videos([b"only"])], tmp_path, 6, 3)
    assert [entry["records"] for entries, _ in written for entry in entries].count(0) == 5
    assert len(list(tmp_path.iterdir())) == 6


def test_an_id_that_comes_twice_ends_the_job(videos, tmp_path):
    with pytest.raises(DataError, match="the id 'same' would be written twice"):
        write([videos([b"same", b"other"]), videos([b"same"])], tmp_path)


def test_reading_counts_records(files, tmp_path):
    counter = Counter(str(tmp_path))
    layout = schema.sniff(files[0])
    collected(lambda p, _: (p | ReadShards(files, layout, False, counter)).batches | beam.combiners.Count.Globally())
    assert _counts(str(tmp_path)) == {"read": 600}


def read_all(files, layout, **options):
    """Batches as rows, and what was read of each file."""

    def build(pipeline, counter):
        read = pipeline | ReadShards(files, layout, False, counter, **options)
        rows = read.batches | beam.FlatMap(lambda batch: batch.to_pylist()) | beam.combiners.ToList()
        return rows | beam.Map(lambda found, readings: (found, readings), beam.pvalue.AsList(read[READING]))

    return collected(build, 40)


def test_what_was_read_is_told_of_every_file(files):
    rows, readings = collected(
        lambda p, counter: (
            (read := p | ReadShards(files, schema.sniff(files[0]), False, counter)).batches
            | beam.Map(lambda batch: batch.num_rows)
            | beam.combiners.ToList()
            | beam.Map(lambda counts, found: (sum(counts), found), beam.pvalue.AsList(read[READING]))
        ),
        600,
    )
    assert rows == sum(reading.num_records for reading in readings) == 600
    assert len(readings) == len(files)
    assert sorted(reading.bytes for reading in readings) == sorted(Path(path).stat().st_size for path in files)
    assert all(reading.bytes_read == reading.bytes and reading.how == "whole" and reading.files == 1 for reading in readings)


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames") / "f"
    synth.write(SyntheticSpec("frame", 40, 30, max_frames=100), str(folder), 2)
    return sorted(str(path) for path in folder.glob("*.tfrecord"))


def test_the_first_bytes_of_frame_level_records_tell_ids_labels_and_lengths(frames):
    layout = schema.sniff(frames[0])
    whole, _ = read_all(frames, layout)
    heads, readings = read_all(frames, layout, heads=True)
    expected = [{"id": row["id"], "labels": row["labels"], "num_frames": len(row["rgb"])} for row in whole]
    assert sorted(heads, key=lambda row: row["id"]) == sorted(expected, key=lambda row: row["id"])
    assert {reading.how for reading in readings} == {"headers"}
    assert sum(reading.bytes_read for reading in readings) == 40 * 256 + 2 * 8
    with_place, _ = read_all(frames, layout, heads=True, augmentable=True)
    assert sorted(row[ORDER] for row in with_place) == [number << 32 | index for number in (0, 1) for index in range(20)]
    assert all(row["aug_method"] is None for row in with_place)


def test_of_gzipped_records_the_same_is_told(frames, tmp_path):
    packed = []
    for path in map(Path, frames):
        packed.append(str(tmp_path / path.name))
        Path(packed[-1]).write_bytes(gzip.compress(path.read_bytes(), 1))
    layout = schema.sniff(packed[0], 30)
    for options in ({}, {"heads": True}, {"heads": True, "augmentable": True}):
        plain, _ = read_all(frames, layout, **options)
        assert sorted(read_all(packed, layout, **options)[0], key=str) == sorted(plain, key=str)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("far", "features"), [(0, True), (3000, True), (0, False)])
def test_videos_that_are_made_are_written_and_counted_as_those_that_are_there(far, features, compiled, tmp_path, monkeypatch):
    """By their sums, or where these will not do, or an accumulator wants more than sums, whole."""
    monkeypatch.setattr(Moments, "takes_sums", features)
    records = schema.Schema("video", "id", "labels", (schema.Feature("rgb", 3), schema.Feature("audio", 2)), 10)
    random, ids = np.random.default_rng(far), [b"v%03d" % n for n in range(300)]
    vectors = [(far + random.standard_normal((300, feature.size))).astype(np.float32) for feature in records.features]
    columns = [pa.array(ids, pa.binary()), pa.array([[n % 10] for n in range(300)], pa.list_(pa.int32()))]
    provenance = [pa.nulls(300, field.type) for field in schema.PROVENANCE]
    heads = pa.RecordBatch.from_arrays([*columns, *provenance], names=["id", "labels", *schema.PROVENANCE.names])
    columns += [pa.FixedSizeListArray.from_arrays(pa.array(each.ravel()), each.shape[1]) for each in vectors]
    there = pa.RecordBatch.from_arrays([*columns, *provenance], schema=pa.schema([*records.arrow, *schema.PROVENANCE]))
    made = recipes.Made(recipes.of_originals(heads, np.arange(300)), recipes.InBatch(there, records), records, Settings())
    found = []
    for name, batch, make in (("there", there, None), ("made", heads, lambda: lambda rows: made)):
        (tmp_path / name).mkdir()
        write_shards = WriteShards(Layout(str(tmp_path / name), "x", 1, 1, 0), records, there.schema, Counter(None), make, compiled)
        monkeypatch.setattr(Layout, "ordered", lambda *_, batch=batch: [(0, iter([batch]))])
        write_shards.setup()
        ((entries, statistics),) = write_shards.process((0, []))
        found.append((entries, (tmp_path / name / entries[0]["name"]).read_bytes(), statistics.to_dict()))
    assert found[0] == found[1]
    assert found[0][2]["num_records"] == 300
