"""The masked CRC-32C: published values and bitwise arithmetic are the oracles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yt8m_data import checksum


def crc32c(data: bytes) -> int:
    """CRC-32C bit by bit (RFC 3720, reflected polynomial 0x82F63B78)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize(("data", "crc"), [(b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43)])
def test_published_checksums(data, crc):
    assert crc32c(data) == crc
    assert checksum.masked_crc(data) == ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


@given(st.binary(max_size=50))
def test_masked_crc_against_bitwise_arithmetic(data):
    crc = crc32c(data)
    assert checksum.masked_crc(data) == ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


@given(st.binary(max_size=300), st.integers(0, 9))
def test_without_the_lock_the_checksum_is_the_same(data, start):
    array = np.frombuffer(data, np.uint8)[start:]
    assert checksum.unlocked_crc()(array) == crc32c(data[start:])
