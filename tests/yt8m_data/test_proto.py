"""Our own tf.Example classes: the same schema and the same bytes as TensorFlow's."""

import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from yt8m_data.proto import Example, SequenceExample

MESSAGES = pytest.mark.parametrize(("ours", "theirs"), [(Example, tf.train.Example), (SequenceExample, tf.train.SequenceExample)])

int64s = st.integers(-(2**63), 2**63 - 1)
features = st.one_of(
    st.builds(lambda values: {"bytes_list": {"value": values}}, st.lists(st.binary(max_size=9), max_size=4)),
    st.builds(lambda values: {"float_list": {"value": values}}, st.lists(st.floats(width=32, allow_nan=False), max_size=4)),
    st.builds(lambda values: {"int64_list": {"value": values}}, st.lists(int64s, max_size=4)),
    st.just({}),
)
# Keys end in a zero, so that none is empty (a map writes that out, an entry leaves it out) and none begins another (protobuf's Python
# library has those in descending order).
keys = st.text(st.characters(min_codepoint=1, codec="utf-8"), max_size=9).map(lambda text: text + "\0")
maps = st.dictionaries(keys, features, max_size=5)
lists = st.dictionaries(keys, st.lists(features, max_size=3), max_size=3)


def theirs_of(message_class, context: dict, feature_lists: dict):
    """Build TensorFlow's message from plain values."""
    if message_class is tf.train.Example:
        return message_class(features={"feature": context})
    feature_list = {key: {"feature": values} for key, values in feature_lists.items()}
    return message_class(context={"feature": context}, feature_lists={"feature_list": feature_list})


def ours_of(message_class, context: dict, feature_lists: dict):
    """Build our message, whose maps are lists of entries: in the order of the keys, as a deterministic writer has them."""
    entries = [{"key": key, "value": value} for key, value in sorted(context.items())]
    if message_class is Example:
        return message_class(features={"feature": entries})
    feature_list = [{"key": key, "value": {"feature": values}} for key, values in sorted(feature_lists.items())]
    return message_class(context={"feature": entries}, feature_lists={"feature_list": feature_list})


def described(descriptor) -> dict:
    """Everything that decides the wire format of a message, all the way down."""
    fields = {}
    for field in descriptor.fields:
        inner = described(field.message_type) if field.message_type else None
        oneof = field.containing_oneof.name if field.containing_oneof else None
        fields[field.name] = (field.number, field.type, field.is_repeated, field.is_packed, oneof, inner)
    return fields


@MESSAGES
def test_the_schema_is_tensorflows(ours, theirs):
    assert described(ours.DESCRIPTOR) == described(theirs.DESCRIPTOR)


@MESSAGES
@given(context=maps, feature_lists=lists)
def test_the_bytes_are_tensorflows(ours, theirs, context, feature_lists):
    serialised = theirs_of(theirs, context, feature_lists).SerializeToString(deterministic=True)
    assert ours_of(ours, context, feature_lists).SerializeToString() == serialised
    assert theirs.FromString(ours.FromString(serialised).SerializeToString()) == theirs.FromString(serialised)


def test_a_map_entry_with_an_unknown_field_is_kept():
    """A map field of protobuf's Python parser drops it."""
    record = b"\x0a\x0c" + b"\x0a\x0a" + b"\x0a\x01k" + b"\x12\x02\x1a\x00" + b"\x4a\x01?"
    [entry] = Example.FromString(record).features.feature
    assert entry.key == "k"
    assert entry.value.HasField("int64_list")


def test_an_example_reads_as_a_sequence_example():
    """Features and context are both field 1: the sniffer and the codec's slow path rest on it."""
    example = ours_of(Example, {"id": {"bytes_list": {"value": [b"x"]}}}, {})
    assert SequenceExample.FromString(example.SerializeToString()).context == example.features


@pytest.mark.parametrize("garbage", [b"\x0a", b"\x0a\x05abc", b"\xff" * 11, b"\x0a\x03\x0a\x01\x0f"])
def test_garbage_does_not_parse(garbage):
    with pytest.raises(DecodeError):
        SequenceExample.FromString(garbage)
