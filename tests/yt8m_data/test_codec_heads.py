"""What the codec tells of the first bytes of frame-level records: the whole records are the oracle."""

import io

import pytest
import tensorflow as tf
from codec_rows import FRAME, ROUNDS, by_tensorflow, feature, where
from hypothesis import given
from hypothesis import strategies as st

from yt8m_data import codec, heads, tfrecord
from yt8m_data.errors import BadRecord


class Memory:
    """The records of a file as a source."""

    def __init__(self, records: list[bytes]) -> None:
        stream = io.BytesIO()
        self.name, self.size = "shard", tfrecord.write(stream, records)
        self.read = lambda size, offset: stream.getvalue()[offset : offset + size]


def heads_of(records: list[bytes], head_bytes: int = 500, provenance: bool = False) -> tuple[dict[int, dict], list[BadRecord]]:
    rows: dict[int, dict] = {}
    bad = []
    for block in heads.scan(Memory(records), head_bytes):
        result = codec.decode_heads(block, FRAME, provenance)
        result.batch.validate(full=True)
        rows |= dict(zip(result.indices.tolist(), result.batch.to_pylist(), strict=True))
        bad += result.bad
    return rows, bad


def frame_row(name: bytes, labels: list[int], num_frames: int, **more) -> dict:
    frames = {f.name: [bytes([i % 256]) * f.size for i in range(num_frames)] for f in FRAME.features}
    return {"id": name, "labels": labels} | frames | more


@ROUNDS
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=200), st.lists(st.integers(0, 49), max_size=90), st.integers(1, 400)), max_size=8))
@pytest.mark.parametrize("head_bytes", [20, 500])
def test_heads_tell_what_the_whole_records_tell(head_bytes, parts):
    """Contexts that are longer than the first bytes are read on."""
    records = [by_tensorflow(frame_row(*part), FRAME) for part in parts]
    rows, bad = heads_of(records, head_bytes)
    assert bad == []
    assert rows == {i: {"id": name, "labels": labels, "num_frames": count} for i, (name, labels, count) in enumerate(parts)}


def test_heads_without_labels_or_with_other_keys():
    records = [
        tf.train.SequenceExample(
            context={"feature": {"id": feature(b"a"), "segment_start_times": feature([5] * 300)}},
            feature_lists={"feature_list": {"rgb": tf.train.FeatureList(feature=[feature(b"x" * 6)] * 2)}},
        ).SerializeToString()
    ]
    rows, bad = heads_of(records)
    assert bad == []
    assert rows == {0: {"id": b"a", "labels": [], "num_frames": None}}  # one feature of two is missing


def test_a_length_that_no_number_of_frames_has_tells_no_number():
    odd = frame_row(b"a", [1], 3)
    odd["audio"] = odd["audio"][:2]
    extra = tf.train.SequenceExample.FromString(by_tensorflow(frame_row(b"b", [1], 3), FRAME))
    extra.feature_lists.feature_list["depth"].feature.add().bytes_list.value.append(b"123456789")
    rows, _ = heads_of([by_tensorflow(odd, FRAME), extra.SerializeToString(), by_tensorflow(frame_row(b"c", [1], 3), FRAME)])
    assert [rows[i]["num_frames"] for i in range(3)] == [None, None, 3]


def test_a_context_that_does_not_come_first_is_found_all_the_same():
    message = tf.train.SequenceExample.FromString(by_tensorflow(frame_row(b"late", [3, 7], 40), FRAME))
    context = tf.train.SequenceExample(context=message.context).SerializeToString()
    lists = tf.train.SequenceExample(feature_lists=message.feature_lists).SerializeToString()
    rows, bad = heads_of([lists + context, context + lists], head_bytes=60)
    assert bad == []
    assert [rows[i]["labels"] for i in (0, 1)] == [[3, 7], [3, 7]]
    assert rows[1]["num_frames"] == 40


@pytest.mark.parametrize(
    ("record", "kind", "said"),
    [
        (by_tensorflow(frame_row(b"a", [50], 2), FRAME), "label", "label 50 is outside 0..49"),
        (by_tensorflow({"labels": [1], "rgb": [b"x" * 6], "audio": [b"x" * 3]}, FRAME), "parse", "it has no id under the key 'id'"),
        (b"", "parse", "it has no id"),
        (b"\xff" * 700, "parse", "it is no tf.Example"),
    ],
)
def test_bad_contexts_are_reported_with_their_place(record, kind, said):
    good = by_tensorflow(frame_row(b"g", [1], 5), FRAME)
    rows, bad = heads_of([good, record, good])
    assert sorted(rows) == [0, 2]
    assert where(bad[0]) == ("shard", 1, len(good) + 16, kind)
    assert said in bad[0].reason


def test_heads_with_provenance():
    made = frame_row(b"v_o01", [2], 4, aug_method=b"noise", aug_base=b"v")
    rows, _ = heads_of([by_tensorflow(made, FRAME), by_tensorflow(frame_row(b"v", [2], 4), FRAME)], provenance=True)
    assert (rows[0]["aug_method"], rows[0]["aug_base"], rows[0]["aug_lambda"], rows[0]["num_frames"]) == (b"noise", b"v", None, 4)
    assert rows[1]["aug_method"] is None
