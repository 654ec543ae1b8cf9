"""Bad records: hand-laid wire bytes are the adversary; each is told of, and costs no neighbour."""

import io
import re
import struct

import numpy as np
import pytest
import tensorflow as tf
from codec_rows import FRAME, KINDS, VIDEO, by_tensorflow, decoded, example_row, parsed_by_tensorflow, where
from protobuf_by_hand import field, varint

from yt8m_data import codec, tfrecord


def floats(*values: float) -> bytes:
    return field(2, field(1, struct.pack(f"<{len(values)}f", *values)))


def integers(*values: int) -> bytes:
    return field(3, field(1, b"".join(varint(value % 2**64) for value in values)))


def text(*values: bytes) -> bytes:
    return field(1, b"".join(field(1, value) for value in values))


def entries(values: dict[str, bytes | None]) -> bytes:
    return b"".join(field(1, field(1, key.encode()) + field(2, value)) for key, value in values.items() if value is not None)


GOOD = {"id": text(b"x"), "labels": integers(3), "mean_rgb": floats(*range(6)), "mean_audio": floats(*range(3))}
BAD_VIDEOS = {
    "nothing": (b"", "parse", "no id under the key 'id'"),
    "garbage": (b"\xff\xff\xff", "parse", "no tf.Example"),
    "cut": (field(1, entries(GOOD))[:-1], "parse", "no tf.Example"),
    "no features": (field(9, b"?"), "parse", "no id"),
    **{
        name: (field(1, entries({**GOOD, key: value})), kind, reason)
        for name, (key, value, kind, reason) in {
            "no id": ("id", None, "parse", "no id"),
            "empty id": ("id", text(b""), "parse", "no id"),
            "id of two": ("id", text(b"a", b"b"), "parse", "several byte strings"),
            "id of integers": ("id", integers(5), "parse", "no id"),
            "labels of floats": ("labels", floats(3.0), "label", "not a list of integers"),
            "labels of bytes": ("labels", text(b"3"), "label", "not a list of integers"),
            "labels that do not end": ("labels", field(3, field(1, b"\x83")), "label", "not a list of integers"),
            "a label of eleven bytes": ("labels", field(3, field(1, b"\x80" * 10 + b"\x01")), "label", "not a list of integers"),
            "a negative label": ("labels", integers(3, -1), "label", "label -1 is below 0"),
            "a label too large": ("labels", integers(50), "label", "label 50 is outside"),
            "a label that wraps to 3 in 32 bits": ("labels", integers(2**32 + 3), "label", "label 4294967299 is outside"),
            "the largest label": ("labels", integers(2**63 - 1), "label", "is outside"),
            "no audio": ("mean_audio", None, "size", "'mean_audio' has no float values, not 3"),
            "unset audio": ("mean_audio", b"", "size", "'mean_audio' has no float values"),
            "empty audio": ("mean_audio", field(2, b""), "size", "'mean_audio' has 0 values, not 3"),
            "too few values": ("mean_rgb", floats(1, 2, 3, 4, 5), "size", "'mean_rgb' has 5 values, not 6"),
            "too many values": ("mean_rgb", floats(*range(7)), "size", "'mean_rgb' has 7 values, not 6"),
            "a feature of bytes": ("mean_audio", text(bytes(12)), "size", "'mean_audio' has no float values"),
            "half a float": ("mean_audio", field(2, field(1, bytes(11))), "size", "'mean_audio' has 2 values"),
            "not a number": ("mean_rgb", floats(0, 0, np.nan, 0, 0, 0), "not finite", "'mean_rgb' has a value that is not finite"),
            "infinite": ("mean_audio", floats(0, np.inf, 0), "not finite", "'mean_audio'"),
            "minus infinite": ("mean_audio", floats(0, 0, -np.inf), "not finite", "'mean_audio'"),
        }.items()
    },
}


def frame_list(*frames: bytes) -> bytes:
    return b"".join(field(1, text(frame)) for frame in frames)


def clip(**lists: bytes) -> bytes:
    return field(1, entries({"id": text(b"x"), "labels": integers(3)})) + field(2, entries(lists))


AUDIO = frame_list(b"abc", b"def")
BAD_CLIPS = {
    "unequal counts": (clip(rgb=frame_list(bytes(6)), audio=AUDIO), "size", "'audio' has 2 frames, not 1"),
    "a frame too short": (clip(rgb=frame_list(bytes(6), bytes(5)), audio=AUDIO), "size", "'rgb' has frames that are not of 6 bytes"),
    "frames too long": (clip(rgb=frame_list(bytes(7), bytes(7)), audio=AUDIO), "size", "'rgb' has frames"),
    "wrong sizes of the right sum": (clip(rgb=frame_list(bytes(5), bytes(7)), audio=AUDIO), "size", "'rgb' has frames"),
    "no audio": (clip(rgb=frame_list(bytes(6))), "size", "'audio' has no frames"),
    "no frames": (clip(rgb=b"", audio=b""), "size", "'rgb' has no frames"),
    "no feature lists": (field(1, entries({"id": text(b"x")})), "size", "'rgb' has no frames"),
    "a frame of two": (clip(rgb=field(1, text(bytes(6), bytes(6))), audio=AUDIO), "size", "'rgb' has frames"),
    "a frame of none": (clip(rgb=field(1, b""), audio=AUDIO), "size", "'rgb' has frames"),
    "frames of integers": (clip(rgb=field(1, integers(*range(6))), audio=AUDIO), "size", "'rgb' has frames"),
    "no id": (field(2, entries({"rgb": frame_list(bytes(6)), "audio": frame_list(bytes(3))})), "parse", "no id"),
    "garbage": (field(1, entries({"id": text(b"x")})) + field(2, b"\xff"), "parse", "no tf.Example"),
}


@pytest.mark.parametrize("block_bytes", [64, 4096])
@pytest.mark.parametrize(("schema", "name"), [*((VIDEO, name) for name in BAD_VIDEOS), *((FRAME, name) for name in BAD_CLIPS)])
@pytest.mark.filterwarnings("error")
def test_a_bad_record_is_told_of_and_costs_no_neighbour(schema, name, block_bytes):
    record, kind, reason = (BAD_VIDEOS if schema is VIDEO else BAD_CLIPS)[name]
    rows = {number: example_row(schema, number) for number in (0, 2, 3)}
    records = [by_tensorflow(rows[number], schema) if number in rows else record for number in range(5)]
    good, bad = decoded(records, schema, block_bytes=block_bytes)
    assert good == rows
    offsets = np.cumsum([0, *(len(r) + 16 for r in records)]).tolist()
    assert [where(b) for b in bad] == [("shard", 1, offsets[1], kind), ("shard", 4, offsets[4], kind)]
    for b in bad:
        assert re.search(reason, b.reason)


def test_a_block_of_bad_records_has_no_rows():
    good, bad = decoded([record for record, _, _ in BAD_VIDEOS.values()], VIDEO, block_bytes=1 << 20)
    assert good == {}
    assert sorted(b.index for b in bad) == list(range(len(BAD_VIDEOS)))


def test_bad_checksums_and_bad_contents_in_one_file():
    """Indices and offsets count the records that the checksum refused."""
    stream = io.BytesIO()
    rows = [example_row(VIDEO, number) for number in range(6)]
    records = [by_tensorflow(row, VIDEO) for row in rows]
    records[4] = BAD_VIDEOS["no id"][0]
    tfrecord.write(stream, records)
    data = bytearray(stream.getvalue())
    offsets = np.cumsum([0, *(len(r) + 16 for r in records)]).tolist()
    data[offsets[1] + 20] ^= 4
    [block] = tfrecord.read(io.BytesIO(bytes(data[:-1])), "shard")
    result = codec.decode(block, VIDEO)
    assert result.indices.tolist() == [0, 2, 3]
    assert result.batch.to_pylist() == [rows[i] for i in (0, 2, 3)]
    assert [where(b)[1:] for b in result.bad] == [(1, offsets[1], "crc"), (5, offsets[5], "truncated"), (4, offsets[4], "parse")]


@KINDS
def test_a_flipped_bit_behind_a_right_checksum_is_read_as_tensorflow_reads_it(schema):
    """Either the record is refused, or both parsers see the same values. Never an exception, and never a neighbour's bytes.

    A flip may turn the labels into an unknown field. That is legal and leaves the record unlabelled; TensorFlow's parser is stricter than
    protobuf's here, and refuses it.
    """
    row = example_row(schema)
    record = by_tensorflow(row, schema)
    flipped = [record[:place] + bytes([record[place] ^ 1 << bit]) + record[place + 1 :] for place in range(len(record)) for bit in range(8)]
    good, bad = decoded(flipped, schema, block_bytes=1 << 20)
    assert sorted([*good, *(b.index for b in bad)]) == list(range(len(flipped)))
    assert len(good) > len(record)  # most flips change a value and no more
    for index, ours in good.items():
        try:
            theirs = parsed_by_tensorflow([flipped[index]], schema)
        except tf.errors.InvalidArgumentError:
            theirs = [row | {"labels": []}]
        assert [ours] == theirs
