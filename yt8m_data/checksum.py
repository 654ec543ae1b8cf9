"""The checksum of TFRecord files: the masked CRC-32C of TensorFlow's `core/lib/io/record_writer.h`."""

import ctypes
import functools
import importlib
import struct
from collections.abc import Callable
from typing import Any

import google_crc32c
import numpy as np

MASK = 0xA282EAD8


def masked_crc(data: bytes) -> int:
    """CRC-32C of `data`, rotated right by 15 bits and shifted by a constant (TensorFlow's mask)."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + MASK) & 0xFFFFFFFF


@functools.lru_cache(1 << 16)
def length_crc(length: int) -> int:
    """The masked CRC of a record's length."""
    return masked_crc(struct.pack("<q", length))


@functools.cache
def _c_checksum() -> Any:
    """The C function behind `google_crc32c`, which takes a place and a number of bytes; None where there is none, or none to be found."""
    try:
        function = ctypes.CDLL(importlib.import_module("google_crc32c._crc32c").__file__).crc32c_value
    except (ImportError, OSError, AttributeError):
        return None
    function.restype, function.argtypes = ctypes.c_uint32, [ctypes.c_void_p, ctypes.c_size_t]
    return function


def checksum_address() -> int:
    """Where the C function behind the checksum lies: uint32 of a place and a number of bytes; 0 where there is none to be found."""
    return ctypes.cast(_c_checksum(), ctypes.c_void_p).value or 0


@functools.cache
def unlocked_crc() -> Callable[[np.ndarray], int]:
    """What computes the CRC-32C of an array, uint8, while other threads go on, where it can; `google_crc32c` itself keeps Python's lock."""
    function = _c_checksum()
    return google_crc32c.value if function is None else lambda data: function(data.ctypes.data, data.nbytes)
