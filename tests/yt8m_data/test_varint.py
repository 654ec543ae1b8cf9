"""Varints: protobuf is the oracle, arbitrary bytes the adversary."""

import numpy as np
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from protobuf_by_hand import varint

from yt8m_data.varint import encode_varint, varints


@given(st.integers(0, 2**63 - 1))
def test_encode_varint_against_protobuf(value):
    packed = tf.train.Int64List(value=[value]).SerializeToString()
    assert encode_varint(value) == packed[2:]


@given(st.lists(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2)), max_size=6), max_size=8))
def test_varints_decode_runs_of_any_width(runs):
    runs = [[(value, padding if 0 <= value < 2**56 else 0) for value, padding in run] for run in runs]
    encoded = [b"".join(varint(value % 2**64, padding) for value, padding in run) for run in runs]
    values, counts, malformed = varints(np.frombuffer(b"".join(encoded), np.uint8), np.array([len(e) for e in encoded], np.int64))
    assert values.tolist() == [value for run in runs for value, _ in run]
    assert counts.tolist() == [len(run) for run in runs]
    assert not malformed.any()


def is_malformed(run: bytes) -> bool:
    width = 0
    for byte in run:
        width += 1
        if byte < 0x80:
            width = 0
        elif width >= 10:
            return True
    return width > 0


@given(st.lists(st.binary(max_size=15) | st.lists(st.sampled_from([0x00, 0x7F, 0x80, 0xFF]), max_size=14).map(bytes), max_size=8))
def test_varints_find_the_malformed_runs(runs):
    """A run that does not end may spoil the one behind it, so all may be marked up to there, and none is missed."""
    values, counts, malformed = varints(np.frombuffer(b"".join(runs), np.uint8), np.array([len(run) for run in runs], np.int64))
    expected = [is_malformed(run) for run in runs]
    assert len(values) == counts.sum()
    assert all(malformed[row] for row, bad in enumerate(expected) if bad and not any(run[-1:] >= b"\x80" for run in runs[:row]))
    if not any(expected):
        assert not malformed.any()
