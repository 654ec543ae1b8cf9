from hypothesis import given
from hypothesis import strategies as st
from protobuf_by_hand import varint

from yt8m_data.prefixes import Prefixes


@given(st.lists(st.sampled_from([b"\x0a", b"\x12", b"\x0a\x02id\x12"]), min_size=1, max_size=4), st.integers(0, 70_000))
def test_prefixes_are_nested_headers(headers, length):
    payload = bytes(length)
    expected = payload
    for header in reversed(headers):
        expected = header + varint(len(expected)) + expected
    assert Prefixes(*headers)[length] + payload == expected
