"""Damaged shards against the readers: `python benchmarks/fuzz_shards.py [--shards N] [--seed S]`; exit status 1 on a failure.

Each shard is made, damaged in one of the ways of `DAMAGES`, and read: its schema sniffed, its records checked and decoded, the first bytes
of frame-level ones scanned, and the rows put in order as a writer does. What must never happen: an exception that is no DataError, a row
that neither stood in the shard before nor is what protobuf's own parser reads from the damaged record, a record that is missing without a
word, seconds spent on a shard of some kilobytes, or memory taken for a length that is only claimed.

A cut between two records, and damage to a record whose checksum was made right again, may be legal; the rows are held against protobuf's.
"""

import argparse
import contextlib
import gzip
import os
import resource
import struct
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError

from beam_jobs.layout import Layout
from yt8m_data import checksum, codec, heads, tfrecord
from yt8m_data.chunks import Chunks
from yt8m_data.errors import DataError
from yt8m_data.proto import Example, SequenceExample
from yt8m_data.schema import Schema, sniff
from yt8m_data.synthetic import SyntheticSpec, batches

RECORDS = {"video": 12, "frame": 6}
CLASSES, MAX_FRAMES = 40, 12
SLOW = 2.0  # seconds: a thousand times what a shard takes
MOST_MEMORY = 256 << 20  # that all shards together may add to the peak

Row = tuple  # id, labels, and the bytes of each feature


@dataclass
class Case:
    """A damaged shard: its bytes, and the records that stand in it with a right checksum beside the undamaged ones."""

    data: bytes
    altered: list[bytes] = field(default_factory=list)
    must_fail: bool = False  # whether something must be reported
    may_lose: bool = False  # whether whole records may be gone, which nobody can see


@dataclass
class Tally:
    """What happened to the shards of one way of damage."""

    outcomes: Counter = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0


# --- Damages --------------------------------------------------------------------------------------------------------------


def frame(record: bytes, length: int | None = None) -> bytes:
    """A record with its header and right checksums; with a length that lies, if given."""
    packed = struct.pack("<Q", (len(record) if length is None else length) % 2**64)
    return packed + struct.pack("<I", checksum.masked_crc(packed)) + record + struct.pack("<I", checksum.masked_crc(record))


def flip_bits(records: list[bytes], random: np.random.Generator) -> Case:
    data = bytearray(b"".join(map(frame, records)))
    for place in set(random.integers(len(data), size=random.integers(1, 9)).tolist()):
        data[place] ^= 1 << int(random.integers(8))
    return Case(bytes(data), must_fail=True)


def cut(records: list[bytes], random: np.random.Generator) -> Case:
    data = b"".join(map(frame, records))
    edges = np.cumsum([0, *(len(record) + 16 for record in records)])
    size = int(random.integers(len(data)))
    return Case(data[:size], must_fail=size not in edges, may_lose=True)


def lie_of_length(records: list[bytes], random: np.random.Generator) -> Case:
    place = int(random.integers(len(records)))
    lie = int(random.choice([0, 1, len(records[place]) - 1, len(records[place]) + 1, *random.integers(0, 20_000, 3)]))
    framed = [frame(record, lie if number == place else None) for number, record in enumerate(records)]
    return Case(b"".join(framed), must_fail=lie != len(records[place]))


def claim_gigabytes(records: list[bytes], random: np.random.Generator) -> Case:
    place = int(random.integers(len(records)))
    lie = int(random.choice([2**31, 2**31 - 1, 2**30, 2**28, 2**28 - 1, 2**32 + 5, 2**40, 2**63, 2**64 - 1, 2**64 - 16], 1)[0])
    framed = [frame(record, lie if number == place else None) for number, record in enumerate(records)]
    return Case(b"".join(framed), must_fail=True)


def splice(records: list[bytes], random: np.random.Generator) -> Case:
    data = b"".join(map(frame, records))
    source, size = int(random.integers(len(data))), int(random.integers(1, 5000))
    into = int(random.integers(len(data)))
    removed = int(random.integers(0, 2)) * size
    return Case(data[:into] + data[source : source + size] + data[into + removed :], may_lose=True)


def duplicate(records: list[bytes], random: np.random.Generator) -> Case:
    again = records[int(random.integers(len(records)))]
    place = int(random.integers(len(records) + 1))
    return Case(b"".join(map(frame, [*records[:place], again, *records[place:]])), must_fail=True)


def altering(change: Callable[[bytes, np.random.Generator], bytes], must_fail: bool = False) -> Callable:
    """A damage that changes one record and makes its checksum right."""

    def damage(records: list[bytes], random: np.random.Generator) -> Case:
        place = int(random.integers(len(records)))
        altered = change(records[place], random)
        return Case(b"".join(map(frame, [*records[:place], altered, *records[place + 1 :]])), [altered], must_fail)

    return damage


def _flip(record: bytes, random: np.random.Generator) -> bytes:
    data = bytearray(record)
    for place in random.integers(min(len(data), int(random.choice([80, len(data)]))), size=random.integers(1, 4)).tolist():
        data[place] ^= 1 << int(random.integers(8))
    return bytes(data)


def _huge_varint(record: bytes, random: np.random.Generator) -> bytes:
    """Put a huge number where a length or a label may stand."""
    place = int(random.integers(min(len(record), 120)))
    huge = random.choice([b"\xff" * 9 + b"\x01", b"\xff\xff\xff\xff\x07", b"\x80" * 9 + b"\x01", b"\xff" * 12, b"\xff\xff\xff\xff\x0f"])
    return record[:place] + bytes(huge) + record[place + int(random.integers(0, 3)) :]


def _message(record: bytes) -> tuple:
    """A record as a message, and its context: an Example is a SequenceExample without lists."""
    message = SequenceExample.FromString(record)
    return message, message.context.feature


def _wrong_type(record: bytes, random: np.random.Generator) -> bytes:
    message, entries = _message(record)
    entry = entries[int(random.integers(len(entries)))].value
    kind = entry.WhichOneof("kind")
    other = str(random.choice([k for k in ("bytes_list", "float_list", "int64_list") if k != kind]))
    entry.ClearField(kind)
    getattr(entry, other).value.append({"bytes_list": b"text", "float_list": 0.5, "int64_list": 3}[other])
    for feature_list in message.feature_lists.feature_list if random.integers(2) else ():
        frame = feature_list.value.feature[int(random.integers(len(feature_list.value.feature)))]
        frame.ClearField("bytes_list")
        frame.int64_list.value.append(7)
    return message.SerializeToString()


def _not_finite(record: bytes, random: np.random.Generator) -> bytes:
    """A value that is no number; frames have none, so a frame-level record gets a label that is none."""
    message, entries = _message(record)
    vectors = [entry.value.float_list.value for entry in entries if len(entry.value.float_list.value)]
    if vectors:
        values = vectors[int(random.integers(len(vectors)))]
        values[int(random.integers(len(values)))] = float(random.choice([np.nan, np.inf, -np.inf]))
    else:
        next(entry.value for entry in entries if entry.key == "labels").int64_list.value.append(int(random.choice([-1, CLASSES, 2**62])))
    return message.SerializeToString()


def _wrong_size(record: bytes, random: np.random.Generator) -> bytes:
    """A vector or a frame of another size, a frame too few, or none."""
    message, entries = _message(record)
    lists = [entry.value.feature for entry in message.feature_lists.feature_list]
    if not lists:
        values = next(entry.value.float_list.value for entry in entries if len(entry.value.float_list.value))
        del values[int(random.integers(len(values))) :]
        return message.SerializeToString()
    frames = lists[int(random.integers(len(lists)))]
    way = int(random.integers(3))
    if way == 0:
        del frames[int(random.integers(len(frames))) :]
    elif way == 1:
        frames[int(random.integers(len(frames)))].bytes_list.value[0] += b"x"
    else:
        frames.add()
    return message.SerializeToString()


def _cut_record(record: bytes, random: np.random.Generator) -> bytes:
    return record[: int(random.integers(len(record)))]


def gzip_damage(records: list[bytes], random: np.random.Generator) -> Case:
    """A gzip file with flipped bits, or cut."""
    data = bytearray(gzip.compress(b"".join(map(frame, records)), 1, mtime=0))
    if random.integers(2):
        return Case(bytes(data[: int(random.integers(20, len(data)))]), must_fail=True)
    for place in random.integers(12, len(data) - 8, size=random.integers(1, 4)).tolist():
        data[place] ^= 1 << int(random.integers(8))
    return Case(bytes(data))


DAMAGES: dict[str, Callable[[list[bytes], np.random.Generator], Case]] = {
    "flipped bits": flip_bits,
    "truncation": cut,
    "a length that lies": lie_of_length,
    "a length of gigabytes": claim_gigabytes,
    "spliced bytes": splice,
    "a record twice": duplicate,
    "flipped bits, checksum right": altering(_flip),
    "huge varints, checksum right": altering(_huge_varint),
    "wrong types, checksum right": altering(_wrong_type, must_fail=True),
    "NaN, infinity, labels out of range": altering(_not_finite, must_fail=True),
    "wrong sizes and frame counts": altering(_wrong_size, must_fail=True),
    "a record cut, checksum right": altering(_cut_record),
    "damaged gzip": gzip_damage,
}


# --- Rows -----------------------------------------------------------------------------------------------------------------


def rows_of(batch: pa.RecordBatch, schema: Schema) -> list[Row]:
    """The rows of a batch, features as bytes."""
    columns = []
    for feature in schema.features:
        values = batch.column(feature.name)
        if schema.kind == "video":
            columns.append([vector.tobytes() for vector in values.flatten().to_numpy().reshape(-1, feature.size)])
        else:
            columns.append([b"".join(frames) for frames in values.to_pylist()])
    labels = map(tuple, batch.column("labels").to_pylist())
    return list(zip(batch.column("id").to_pylist(), labels, *columns, strict=True))


def row_by_protobuf(record: bytes, schema: Schema) -> Row | None:
    """The row that protobuf's own parser reads; None where the record is none, or does not fit the schema."""
    try:
        message = (Example if schema.kind == "video" else SequenceExample).FromString(record)
    except DecodeError:
        return None
    entries = {entry.key: entry.value for entry in (message.features if schema.kind == "video" else message.context).feature}
    ids = entries["id"].bytes_list.value if "id" in entries else []
    labels = entries["labels"].int64_list.value if "labels" in entries else []
    features = []
    lists = {} if schema.kind == "video" else {entry.key: entry.value.feature for entry in message.feature_lists.feature_list}
    for feature in schema.features:
        if schema.kind == "video":
            vector = np.array(entries[feature.name].float_list.value if feature.name in entries else [], np.float32)
            if len(vector) != feature.size or not np.isfinite(vector).all():
                return None
            features.append(vector.tobytes())
        else:
            frames = [list(f.bytes_list.value) for f in lists.get(feature.name, [])]
            if not frames or any(len(values) != 1 or len(values[0]) != feature.size for values in frames):
                return None
            features.append(b"".join(values[0] for values in frames))
    counts = {len(value) // feature.size for value, feature in zip(features, schema.features, strict=True)}
    if len(ids) != 1 or not ids[0] or not all(0 <= label < CLASSES for label in labels) or (schema.kind == "frame" and len(counts) > 1):
        return None
    return (ids[0], tuple(labels), *features)


def made_shard(kind: str) -> tuple[Schema, list[bytes], set[Row]]:
    """A sound shard: schema, records and rows, the rows from what it is made of."""
    spec = SyntheticSpec(kind, RECORDS[kind], CLASSES, max_frames=MAX_FRAMES)  # type: ignore[arg-type]
    [batch] = batches(spec)
    return spec.schema, codec.encode(batch, spec.schema).records(), set(rows_of(batch, spec.schema))


# --- Reading --------------------------------------------------------------------------------------------------------------


def check(case: Case, schema: Schema, sound: set[Row], path: Path) -> str:
    """Read a case; return what happened to it.

    Raises:
      AssertionError: what must never happen.
    """
    path.write_bytes(case.data)
    with contextlib.suppress(DataError):  # a sentence, which the command prints
        sniff(str(path), CLASSES, extras=True)
    allowed = sound | {row for record in case.altered if (row := row_by_protobuf(record, schema)) is not None}
    rows: list[Row] = []
    bad = []
    kept: list[pa.RecordBatch] = []
    with path.open("rb", buffering=0) as stream:
        for block in tfrecord.read(stream, str(path)):
            decoded = codec.decode(block, schema)
            rows += rows_of(decoded.batch, schema)
            bad += decoded.bad
            kept.append(decoded.batch)
    assert all(row in allowed for row in rows), "a wrong row was accepted"
    assert all(record.file == str(path) and record.index >= 0 and record.offset >= 0 and record.reason for record in bad), "no place"
    if schema.kind == "frame" and not tfrecord.is_gzip(case.data[: tfrecord.PROBE_BYTES]):
        with heads.LocalFile(str(path)) as source:
            for head in heads.scan(source):
                codec.decode_heads(head, schema)
    twice = False
    try:
        if kept:
            for _, ordered in Layout("", "x", 1, 1, 0).ordered(0, [Chunks(kept)], schema):
                codec.encode(pa.concat_batches([*ordered, kept[0].slice(0, 0)]), schema)
    except DataError:
        twice = True
    missing = len(sound - set(rows))
    assert bad or twice or not case.must_fail, "damage was not reported"
    assert bad or case.may_lose or missing <= len(case.altered), "a record is missing without a word"
    if twice:
        return "stopped: an id twice"
    if bad:
        return "skipped, counted"
    return "legal"


def fuzz(num_shards: int, seed: int, kinds: tuple[str, ...] = ("video", "frame")) -> dict[str, Tally]:
    """Damage and read `num_shards` shards, of all kinds and damages in turn."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    made = {kind: made_shard(kind) for kind in kinds}
    names = list(DAMAGES)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        path = Path(folder) / "shard.tfrecord"
        for number in range(num_shards):
            name, kind = names[number % len(names)], kinds[number // len(names) % len(kinds)]
            schema, records, sound = made[kind]
            case = DAMAGES[name](records, np.random.default_rng([seed, number]))
            tally, start = tallies[name], time.perf_counter()
            try:
                tally.outcomes[check(case, schema, sound, path)] += 1
            except Exception as error:
                tally.failures.append(f"shard {number}, {kind}-level: {type(error).__name__}: {error}")
            spent = time.perf_counter() - start
            tally.slowest = max(tally.slowest, spent)
            if spent > SLOW:
                tally.failures.append(f"shard {number}, {kind}-level: took {spent:.1f} s")
    return dict(tallies)


def peak_memory() -> int:
    """The largest resident size of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def main() -> None:
    parser = argparse.ArgumentParser(description="Damaged shards against the readers.")
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    fuzz(2 * len(DAMAGES), options.seed + 1)  # what the libraries take at their first use does not count
    before, start = peak_memory(), time.perf_counter()
    tallies = fuzz(options.shards, options.seed)
    seconds, memory = time.perf_counter() - start, peak_memory() - before
    columns = ["skipped, counted", "stopped: an id twice", "legal"]
    print(f"{'damage':<36}{'shards':>8}" + "".join(f"{column:>22}" for column in columns) + f"{'failures':>10}{'slowest, ms':>13}")
    for name, tally in tallies.items():
        cells = "".join(f"{tally.outcomes[column]:>22,}" for column in columns)
        total = sum(tally.outcomes.values()) + len(tally.failures)
        print(f"{name:<36}{total:>8,}{cells}{len(tally.failures):>10}{tally.slowest * 1e3:>13.1f}")
    print(f"{options.shards:,} shards in {seconds:.0f} s; the peak memory grew by {memory / 1e6:.0f} MB")
    failures = [failure for tally in tallies.values() for failure in tally.failures]
    print(*failures[:20], sep="\n")
    sys.exit(bool(failures) or memory > MOST_MEMORY)


if __name__ == "__main__":
    main()
