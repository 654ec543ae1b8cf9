import gzip
import itertools
from collections import Counter as Counts
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs import runners, transforms
from beam_jobs.group import PAIR, ArrowCoder, GroupBatches
from beam_jobs.progress import Counter, _counts
from beam_jobs.transforms import BAD, HASH, ORDER, READING, Layout, MergeStatistics, ReadShards, WriteShards, split_batch
from yt8m_data import codec, recipes, schema, shards, synth, tfrecord
from yt8m_data.chunks import Chunks
from yt8m_data.errors import DataError
from yt8m_data.sampling import Settings
from yt8m_data.statistics import Reading, Statistics
from yt8m_data.statistics.features import Moments
from yt8m_data.synthetic import SyntheticSpec


def read_file(path, layout):
    """Decode a shard without Beam."""
    with open(path, "rb") as stream:
        return [codec.decode(block, layout).batch for block in tfrecord.read(stream, str(path))]


def collected(build, records=0, workers=1):
    return runners.run(runners.Engine(workers=workers), "test", 0, None, build, lambda _: records)


@pytest.fixture
def files(made):
    return sorted(str(path) for path in made.glob("*.tfrecord"))


def test_read_shards_gives_every_record_with_its_place(files):
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


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 9))
def test_layout_puts_each_shard_in_one_partition(num_shards, num_partitions, seed):
    layout = Layout("out", "train", num_shards, min(num_shards, num_partitions), seed)
    covered = [shard for partition in range(layout.num_partitions) for shard in layout.shards_of(partition)]
    assert covered == list(range(num_shards))
    ids = [b"%d" % i for i in range(200)]
    of_ids = layout.shard(layout.hashes(ids))
    assert of_ids.min() >= 0
    assert of_ids.max() < num_shards
    assert all(shard in layout.shards_of(partition) for shard, partition in zip(of_ids, layout.partition(ids), strict=True))


@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 9))
def test_a_shard_may_have_several_partitions(num_shards, parts, seed):
    layout = Layout("out", "train", num_shards, num_shards * parts, seed)
    assert layout.num_tasks == num_shards
    assert [p for task in range(num_shards) for p in layout.partitions_of(task)] == list(range(num_shards * parts))
    ids = [b"%d" % i for i in range(200)]
    shard_of, partition_of = layout.shard(layout.hashes(ids)), layout.partition(ids)
    assert all(partition in layout.partitions_of(shard) for shard, partition in zip(shard_of, partition_of, strict=True))
    assert [layout.shards_of(task) for task in range(num_shards)] == [[task] for task in range(num_shards)]


@given(st.integers(1, 10**7), st.integers(1, 60), st.integers(1, 10**6), st.integers(1, 16))
def test_no_partition_has_more_than_its_share_of_memory(size, num_shards, most, tasks):
    partitions = Layout.partitions_for(size, num_shards, most, tasks)
    layout = Layout("out", "train", num_shards, partitions, 0)
    assert partitions <= num_shards or partitions % num_shards == 0
    largest = max(len(layout.shards_of(task)) for task in range(layout.num_tasks)) * layout.num_tasks / partitions
    assert largest * size / num_shards <= most * (1 + 1e-9)
    assert layout.num_tasks >= min(tasks, num_shards)


def test_there_are_no_more_partitions_than_it_takes():
    assert Layout.partitions_for(100, 10, 30, 1) == 4  # of three shards at most
    assert Layout.partitions_for(100, 4, 30, 1) == 4
    assert Layout.partitions_for(100, 3, 30, 1) == 6  # a shard has 33, so two halves of each
    assert Layout.partitions_for(0, 5, 30, 1) == 1


@pytest.mark.parametrize(("num_shards", "partitions"), [(5, 2), (5, 5), (2, 6), (1, 4)])
def test_tasks_put_their_rows_in_order_one_shard_after_the_other(num_shards, partitions):
    layout = Layout("out", "train", num_shards, partitions, 3)
    records = schema.Schema("video", "id", "labels", (schema.Feature("mean_rgb", 3),), 10)
    batch = videos([b"v%03d" % n for n in range(300)])
    parts = dict(split_batch(batch, layout.partition(batch.column("id").to_pylist())))
    found = {}
    for task in range(layout.num_tasks):
        for shard, rows in layout.ordered(task, [Chunks([parts[p]] if p in parts else []) for p in layout.partitions_of(task)], records):
            found[shard] = [i for part in rows for i in part.column("id").to_pylist()]
    assert sorted(found) == list(range(num_shards))
    order = [i for shard in sorted(found) for i in found[shard]]
    hashes = layout.hashes(order)
    assert sorted(order) == batch.column("id").to_pylist()
    assert hashes.tolist() == sorted(hashes.tolist())
    assert all(layout.shard(layout.hashes(ids)).tolist() == [shard] * len(ids) for shard, ids in found.items())


def test_batches_are_cut_alike_wherever_partitions_end(monkeypatch):
    """Statistics add up what is in a batch before they add up batches, and a Parquet group is a batch."""
    monkeypatch.setattr(transforms, "rows_at_a_time", lambda _: 7)
    records = schema.Schema("video", "id", "labels", (schema.Feature("mean_rgb", 3),), 10)
    batch, found = videos([b"v%03d" % n for n in range(200)]), []
    for partitions in (2, 3, 12, 60):
        layout = Layout("out", "train", 3, partitions, 3)
        parts = dict(split_batch(batch, layout.partition(batch.column("id").to_pylist())))
        found.append([])
        for task in range(layout.num_tasks):
            for shard, rows in layout.ordered(
                task, [Chunks([parts[p]] if p in parts else []) for p in layout.partitions_of(task)], records
            ):
                found[-1] += [(shard, part.column("id").to_pylist()) for part in rows]
    assert found[1:] == found[:-1]
    assert all(len(ids) == 7 for (shard, ids), (following, _) in itertools.pairwise(found[0]) if shard == following)


def test_rows_may_bring_their_hashes_and_equal_ones_are_ordered_by_id():
    layout, records = Layout("out", "train", 1, 1, 3), schema.Schema("video", "id", "labels", (schema.Feature("mean_rgb", 3),), 10)
    ids, hashes = [b"d", b"a", b"c", b"b", b"e"], np.array([7, 7, 1, 7, 2], np.uint64)
    batch = videos(ids).append_column(HASH, pa.array(hashes))
    ((_, rows),) = layout.ordered(0, [Chunks([batch])], records)
    assert [i for part in rows for i in part.column("id").to_pylist()] == [b"c", b"e", b"a", b"b", b"d"]
    with pytest.raises(DataError, match="the id 'b' would be written twice"):
        list(layout.ordered(0, [Chunks([batch, batch.slice(3, 1)])], records))


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


def videos(ids):
    rows = len(ids)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(3 * rows, dtype=np.float32)), 3)
    provenance = [pa.nulls(rows, field.type) for field in schema.PROVENANCE]
    columns = [pa.array(ids, pa.binary()), pa.array([[n % 10] for n in range(rows)], pa.list_(pa.int32())), vectors, *provenance]
    target = schema.Schema("video", "id", "labels", (schema.Feature("mean_rgb", 3),), 10).arrow
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema([*target, *schema.PROVENANCE]))


def test_write_shards_writes_every_row_once_in_the_order_of_its_hash(tmp_path):
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


def test_write_shards_is_independent_of_partitions_spill_and_workers(tmp_path):
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


def test_a_shard_without_rows_is_written_too(tmp_path):
    _, written = write([videos([b"only"])], tmp_path, 6, 3)
    assert [entry["records"] for entries, _ in written for entry in entries].count(0) == 5
    assert len(list(tmp_path.iterdir())) == 6


def test_an_id_that_comes_twice_ends_the_job(tmp_path):
    with pytest.raises(DataError, match="the id 'same' would be written twice"):
        write([videos([b"same", b"other"]), videos([b"same"])], tmp_path)


def test_merged_statistics_equal_one_shot(files):
    layout = schema.sniff(files[0])
    batches = [batch for path in files for batch in read_file(path, layout)]
    adding, whole = MergeStatistics(), Statistics(layout)
    halves = [adding.create_accumulator(), adding.create_accumulator(), adding.create_accumulator()]
    for number, batch in enumerate(batches):
        whole.add(batch)
        part = Statistics(layout)
        part.add(batch)
        part.reading = Reading(1, 10, 10, num_records=batch.num_rows)
        halves[number % 2] = adding.compact(adding.add_input(halves[number % 2], part))
    halves[2] = adding.compact(halves[2])  # of a worker that had none
    whole.reading = Reading(len(batches), 10 * len(batches), 10 * len(batches), num_records=whole.num_records)
    coder = adding.get_accumulator_coder()
    merged = adding.extract_output(adding.merge_accumulators([coder.decode(coder.encode(half)) for half in halves]))
    assert merged.to_dict() == whole.to_dict()
    assert merged.reading == whole.reading


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
