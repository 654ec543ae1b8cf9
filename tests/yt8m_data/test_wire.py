"""The walk over the wire format: plain Python and protobuf are the oracles, arbitrary bytes the adversary."""

import struct

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from protobuf_by_hand import field, varint

from yt8m_data import wire

KEYS = (wire.Key(b"id", wire.BYTES), wire.Key(b"labels", wire.INT64), wire.Key(b"mean_rgb", wire.FLOAT, 40))
NAMES = [key.name for key in KEYS]
lengths_of_varints = st.one_of(st.integers(0, 300), st.integers(0, 2**35 - 1))


def entry(key: bytes, value: bytes) -> bytes:
    return field(1, field(1, key) + field(2, value))


def buffer_of(pieces: list[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pieces behind one another, with bytes between them that belong to none: buffer, starts and ends."""
    joined, spans = b"\x0a", []
    for piece in pieces:
        spans.append((len(joined), len(joined) + len(piece)))
        joined += piece + b"\x0a\x01"
    starts, ends = np.array(spans, np.int64).reshape(-1, 2).T
    return np.frombuffer(joined, np.uint8), starts, ends


# --- Numbers and headers --------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from([1, 2, 3]), lengths_of_varints, st.integers(0, 2)), max_size=8), st.sampled_from([0x0A, 0x12]))
def test_delimited_reads_a_tag_and_a_length(heads, tag):
    pieces = [bytes([number << 3 | 2]) + varint(length, padding) for number, length, padding in heads]
    buffer, pos, after = buffer_of(pieces)
    starts, ends = wire.delimited(buffer, pos, tag)
    for row, (number, length, _) in enumerate(heads):
        if len(pieces[row]) > 6 or tag != number << 3 | 2:
            assert ends[row] < starts[row]
        else:
            assert (starts[row], ends[row]) == (after[row], after[row] + length)


@given(st.binary(min_size=1, max_size=40), st.lists(st.integers(-5, 60), min_size=1, max_size=9))
def test_delimited_survives_any_place_in_any_bytes(data, places):
    starts, ends = wire.delimited(np.frombuffer(data, np.uint8), np.array(places), wire.FIELD_1)
    assert ((ends >= starts) | (ends < -(1 << 30))).all()


# --- Copies ---------------------------------------------------------------------------------------------------------------


@given(st.binary(min_size=12, max_size=60), st.data())
def test_gather_and_concatenate_are_slices(data, draw):
    buffer = np.frombuffer(data, np.uint8)
    starts = draw.draw(st.lists(st.integers(0, len(data) - 12), max_size=6))
    lengths = draw.draw(st.lists(st.integers(0, 12), min_size=len(starts), max_size=len(starts)))
    at, size = np.array(starts, np.int64), np.array(lengths, np.int64)
    assert wire.concatenate(buffer, at, size).tobytes() == b"".join(data[s : s + n] for s, n in zip(starts, lengths, strict=True))
    matrix = wire.gather(buffer, at, 12)
    assert matrix.shape == (len(starts), 12)
    assert [row.tobytes() for row in matrix] == [data[s : s + 12] for s in starts]


@pytest.mark.parametrize("size", [1, 128, 1024, 20_000])
@pytest.mark.parametrize("count", [0, 1, 301])
def test_frames_are_the_rows_of_a_feature_list(size, count):
    codes = np.random.default_rng(size).integers(0, 256, (count, size), np.uint8)
    features = [tf.train.Feature(bytes_list=tf.train.BytesList(value=[row.tobytes()])) for row in codes]
    message = np.frombuffer(b"--" + tf.train.FeatureList(feature=features).SerializeToString() + b"--", np.uint8)
    np.testing.assert_array_equal(wire.frames(message, 2, len(message) - 4, size), codes)


def test_frames_of_another_size_are_no_matrix():
    def listed(*sizes):
        return np.frombuffer(b"".join(field(1, field(1, field(1, bytes(size)))) for size in sizes), np.uint8)

    for message in (listed(4, 5), listed(5), listed(3, 5), listed(4, 4)[:-1]):
        assert wire.frames(message, 0, len(message), 4) is None


# --- The walk -------------------------------------------------------------------------------------------------------------

plain_features = st.one_of(
    st.builds(lambda v: (wire.BYTES, v, field(1, field(1, v))), st.binary(max_size=200)),
    st.builds(lambda v: (wire.FLOAT, v, field(2, field(1, v))), st.integers(1, 40).map(lambda n: struct.pack(f"<{n}f", *range(n)))),
    st.builds(
        lambda v: (wire.INT64, v, field(3, field(1, v))), st.lists(st.integers(0, 5000), min_size=1).map(lambda x: b"".join(map(varint, x)))
    ),
    st.sampled_from([(wire.BYTES, b"", b"\x0a\x00"), (wire.FLOAT, b"", b"\x12\x00"), (wire.INT64, b"", b"\x1a\x00"), (0, b"", b"")]),
)


@given(st.lists(st.lists(st.tuples(st.sampled_from([*NAMES, b"ID", b"other", b""]), plain_features), max_size=6), max_size=6))
def test_features_of_the_usual_layout_are_found(messages):
    """Any keys in any order, unknown ones among them; the last entry of a key counts."""
    buffer, starts, ends = buffer_of([b"".join(entry(key, laid) for key, (_, _, laid) in message) for message in messages])
    odd = np.zeros(len(messages), bool)
    found = wire.features(buffer, starts, ends, KEYS, odd)
    assert not odd.any()
    for row, message in enumerate(messages):
        last = dict(message)
        for key in NAMES:
            kind, payload, _ = last.get(key, (0, b"", b""))
            start, length = found[key].starts[row], found[key].lengths[row]
            assert (found[key].kind[row], length) == (kind, len(payload))
            assert buffer[start : start + length].tobytes() == payload


def odd_layouts() -> dict[str, bytes]:
    value = field(1, field(1, b"x"))
    return {
        "value before key": field(1, field(2, value) + field(1, b"id")),
        "no value": field(1, field(1, b"id")),
        "unknown field in an entry": field(1, field(1, b"id") + field(2, value) + field(7, b"?")),
        "unknown field in a feature": entry(b"id", field(7, b"?")),
        "field of another wire type": entry(b"id", b"\x08\x00"),
        "two kinds": entry(b"id", field(3, b"") + value),
        "two values": entry(b"id", field(1, field(1, b"x") + field(1, b"y"))),
        "unpacked floats": entry(b"mean_rgb", field(2, b"\x0d" + bytes(4))),
        "unpacked integers": entry(b"labels", field(3, b"\x08\x01")),
        "two runs": entry(b"labels", field(3, field(1, b"\x01") + field(1, b"\x02"))),
        "entry past the end": field(1, field(1, b"id") + field(2, value))[:-1],
        "length of six bytes": b"\x0a" + varint(9, 5) + bytes(9),
        "unknown field": field(7, b"?"),
    }


@pytest.mark.parametrize("name", odd_layouts())
def test_other_layouts_are_odd_and_spoil_no_neighbour(name):
    usual = entry(b"id", field(1, field(1, b"abc")))
    buffer, starts, ends = buffer_of([usual, odd_layouts()[name], usual])
    odd = np.zeros(3, bool)
    found = wire.features(buffer, starts, ends, KEYS, odd)
    assert odd.tolist() == [False, True, False]
    assert [buffer[s : s + n].tobytes() for s, n in zip(found[b"id"].starts, found[b"id"].lengths, strict=True)][::2] == [b"abc", b"abc"]


def test_what_a_key_that_nobody_wants_holds_does_not_matter():
    buffer, starts, ends = buffer_of([entry(b"tags", field(1, field(1, b"x") + field(1, b"y"))) + entry(b"id", b"")])
    odd = np.zeros(1, bool)
    wire.features(buffer, starts, ends, KEYS, odd)
    assert not odd.any()


@pytest.mark.parametrize("padding", [0, 1, 3])
def test_lengths_need_not_be_minimal(padding):
    feature = field(1, field(1, b"abc", padding), padding)
    message = field(1, field(1, b"id", padding) + field(2, feature, padding), padding)
    buffer, starts, ends = buffer_of([message])
    odd = np.zeros(1, bool)
    found = wire.features(buffer, starts, ends, KEYS, odd)[b"id"]
    assert not odd.any()
    assert buffer[found.starts[0] :][: found.lengths[0]].tobytes() == b"abc"


@given(st.lists(st.binary(max_size=60), max_size=5), st.data())
def test_whatever_is_not_odd_lies_within_its_message(messages, data):
    """Arbitrary bytes, and usual messages with a byte changed: nothing raises, and no value reaches over the end of its own message."""
    usual = b"".join(entry(key, field(kind, field(1, bytes(8)))) for kind, key in enumerate(NAMES, 1))
    broken = bytearray(usual)
    broken[data.draw(st.integers(0, len(usual) - 1))] = data.draw(st.integers(0, 255))
    buffer, starts, ends = buffer_of([*messages, bytes(broken)])
    odd = np.zeros(len(starts), bool)
    found = wire.features(buffer, starts, ends, KEYS, odd)
    for values in found.values():
        filled = ~odd & (values.lengths != 0)
        assert (values.starts[filled] >= starts[filled]).all()
        assert (values.starts[filled] + values.lengths[filled] <= ends[filled]).all()


@given(st.lists(st.lists(st.tuples(st.sampled_from([*NAMES, b"other"]), plain_features), max_size=4), min_size=1, max_size=5), st.data())
def test_the_book_of_headers_changes_nothing(messages, data):
    """Walking every entry tag by tag gives the same, for messages of which one has a byte changed."""
    laid = [b"".join(entry(key, feature) for key, (_, _, feature) in message) for message in messages]
    broken = bytearray(laid[-1] or b"?")
    broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    buffer, starts, ends = buffer_of([*laid[:-1], bytes(broken)])
    odd, walked_odd = np.zeros((2, len(starts)), bool)
    found = wire.features(buffer, starts, ends, KEYS, odd)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire._HeaderBook, "find", lambda book, buffer, pos: np.zeros(len(pos), np.int64))
        walked = wire.features(buffer, starts, ends, KEYS, walked_odd)
    np.testing.assert_array_equal(odd, walked_odd)
    for name in NAMES:
        for ours, theirs in zip(found[name], walked[name], strict=True):
            np.testing.assert_array_equal(ours[~odd], theirs[~odd])


def test_the_entries_of_every_writer_are_in_the_book(monkeypatch):
    """Ids and label lists of any usual size, features of their own size, and the last entry of a buffer, which is shorter than a header."""
    keys = (*KEYS, wire.Key(b"aug_method", wire.BYTES), wire.Key(b"aug_lambda", wire.FLOAT, 4))
    floats, number = field(2, field(1, bytes(40))), field(2, field(1, bytes(4)))
    messages = []
    for size in range(1, 256):
        text, integers = field(1, field(1, bytes(size))), field(3, field(1, bytes(size)))
        method = entry(b"aug_method", text) if size != 4 else b""  # begins as aug_lambda does
        messages.append(
            entry(b"mean_rgb", floats) + method + entry(b"aug_lambda", number) + entry(b"labels", integers) + entry(b"id", text)
        )
    messages.append(entry(b"id", field(1, field(1, b"x"))))
    buffer, starts, ends = buffer_of(messages)
    monkeypatch.setattr(wire, "_feature", None)
    odd = np.zeros(len(messages), bool)
    found = wire.features(buffer[: ends[-1]], starts, ends, keys, odd)
    assert found[b"id"].lengths.tolist() == [*range(1, 256), 1]
    assert found[b"labels"].lengths.tolist() == [*range(1, 256), 0]
    assert found[b"aug_lambda"].lengths.tolist() == [4] * 255 + [0]
    assert not odd.any()


def test_message_parts():
    context, lists = b"C" * 200, b"L" * 300
    records = [field(1, context), field(1, context) + field(2, lists), field(1, b"") + field(2, b""), field(1, context) + b"\x12\x00"]
    strange = [b"", field(2, lists), field(1, context) + field(1, context), field(1, context) + field(3, lists), field(1, context)[:-1]]
    buffer, starts, ends = buffer_of(records + strange)
    odd = np.zeros(len(starts), bool)
    first, first_end, second, second_end = wire.message_parts(buffer, starts, ends, odd)
    assert odd.tolist() == [False] * len(records) + [True] * len(strange)
    parts = [(buffer[first[i] : first_end[i]].tobytes(), buffer[second[i] : second_end[i]].tobytes()) for i in range(len(records))]
    assert parts == [(context, b""), (context, lists), (b"", b""), (context, b"")]


@given(st.lists(st.dictionaries(st.sampled_from([b"rgb", b"audio", b"other"]), st.binary(max_size=150), max_size=3), max_size=5))
def test_feature_lists_are_found(messages):
    buffer, starts, ends = buffer_of([b"".join(entry(key, value) for key, value in message.items()) for message in messages])
    odd = np.zeros(len(messages), bool)
    found = wire.feature_lists(buffer, starts, ends, [b"rgb", b"audio"], odd)
    assert not odd.any()
    for key, (at, length) in found.items():
        assert [buffer[s : s + n].tobytes() for s, n in zip(at, length, strict=True)] == [message.get(key, b"") for message in messages]
