"""Loops over bytes that are compiled, and so leave Python's lock to other threads: by `numba`, whose import takes a third of a second.

Machine code is kept beside this file, or in the user's cache, so that it is compiled once. It checks nothing: what calls it here does.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from yt8m_data import checksum, tfrecord

_HEADER, _CRC, _MOST, _MASK = tfrecord.HEADER_BYTES, tfrecord.CRC_BYTES, tfrecord.MAX_RECORD_BYTES, checksum.MASK
_BAD_HEADER, _TOO_LONG = 1, 2

# Functions of C by name, so that machine code out of the cache finds them; places in memory are numbers.
copy = types.ExternalFunction("memcpy", types.uintp(types.uintp, types.uintp, types.uintp))
_fill = types.ExternalFunction("memset", types.uintp(types.uintp, types.int32, types.uintp))
_read = types.ExternalFunction("pread", types.intp(types.int32, types.uintp, types.uintp, types.int64))
_checksum = types.ExternalFunction("yt8m_crc32c", types.uint32(types.uintp, types.uintp))


def _reads(number: types.Integer) -> Callable[..., Any]:
    """What reads a number at a place in memory."""

    def read(context, place):  # type: ignore[no-untyped-def]
        def instructions(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            pointer = builder.inttoptr(arguments[0], ir.IntType(number.bitwidth).as_pointer())
            return builder.load(pointer, align=1)  # what came from elsewhere may lie anywhere

        return number(types.int64), instructions

    return intrinsic(read)


byte_at, int32_at = _reads(types.uint8), _reads(types.int32)


def machine_code(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as machine code, made when it is first called."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither this folder nor the user's cache can be written
        return numba.njit(nogil=True)(function)


@functools.cache
def finds_checksum() -> bool:
    """Whether the C function behind the checksum is to be found; what calls `masked_crc` is to ask first, since this is how it is found."""
    address = checksum.checksum_address()
    if address:
        llvmlite.binding.add_symbol("yt8m_crc32c", address)
    return bool(address)


def scanner() -> Callable[[np.ndarray], tfrecord.Scanned]:
    """What finds records: `scan`, or `tfrecord.plain_scan` where the C function behind the checksum is not to be found."""
    return scan if finds_checksum() else tfrecord.plain_scan


def scan(data: np.ndarray) -> tfrecord.Scanned:
    """As `tfrecord.plain_scan`; to be had of `scanner`."""
    bounds, good, fault, length = _scan(data)
    why = None if not fault else tfrecord.BAD_HEADER if fault == _BAD_HEADER else tfrecord.too_long(length)
    return tfrecord.Scanned(bounds, good, why)


def copy_rows(source: np.ndarray, places: np.ndarray, out: np.ndarray, rows: np.ndarray) -> None:
    """`out[rows] = source[places]`, of uint8 [M, size] and [R, size], which may lie at any distance from each other.

    Raises:
      IndexError: a place is not in the source, or a row not in `out`.
      ValueError: the arrays have other shapes, or the bytes of a row do not lie side by side.
    """
    _check(source, places)
    _check(out, rows)
    if source.shape[1:] != out.shape[1:] or len(places) != len(rows):
        raise ValueError(f"{len(places)} rows of {source.shape[1:]} bytes do not go into {len(rows)} rows of {out.shape[1:]}")
    _copy_rows(source.ctypes.data, source.strides[0], places, out.ctypes.data, out.strides[0], rows, out.shape[1])


def read_rows(descriptor: int, places: np.ndarray, out: np.ndarray) -> int:
    """Fill `out`, uint8 [M, size], with what stands in an open file at each place (int64 [M]), each row by one read.

    Returns how many rows were filled: the next one failed, came short, or there is none.

    Raises:
      ValueError: the arrays have other shapes, or the bytes of a row do not lie side by side.
    """
    _check(out, np.arange(0))
    if len(places) != len(out):
        raise ValueError(f"{len(places)} places do not fill {len(out)} rows")
    return int(_read_rows(descriptor, places, out.ctypes.data, out.strides[0], out.shape[1]))


def copy_clips(clips: Sequence[np.ndarray], out: np.ndarray, rows: np.ndarray) -> None:
    """Copy clips, uint8 [T, size] each, to rows of `out`, uint8 [R, at least T, size], with zeros behind them.

    Raises:
      IndexError: a row is not in `out`.
      ValueError: a clip does not fit, or the bytes of a frame do not lie side by side.
    """
    _check(out, rows)
    most, size = out.shape[1:]
    if len(clips) != len(rows) or any(len(clip) > most or clip.shape[1:] != (size,) for clip in clips):
        raise ValueError(
            f"{len(clips)} clips of {sorted({clip.shape for clip in clips})} do not go into {len(rows)} rows of {out.shape[1:]}"
        )
    for clip in clips:
        if clip.dtype != np.uint8 or (clip.size and clip.strides[1] != 1):
            raise ValueError(f"a clip of {clip.dtype} with strides {clip.strides} has not the bytes of a frame side by side")
    places = np.array([clip.__array_interface__["data"][0] for clip in clips], np.int64)
    lengths = np.array([len(clip) for clip in clips], np.int64)
    strides = np.array([clip.strides[0] for clip in clips], np.int64)
    _copy_clips(places, lengths, strides, out.ctypes.data, most, size, rows)


def _check(array: np.ndarray, rows: np.ndarray) -> None:
    lie_apart = array.size and array.strides[1:] != np.empty((1, *array.shape[1:]), np.uint8).strides[1:]
    if array.dtype != np.uint8 or lie_apart:
        raise ValueError(f"an array of {array.dtype} with strides {array.strides} is not one of rows of bytes")
    if len(rows) and not 0 <= rows.min() <= rows.max() < len(array):
        raise IndexError(f"rows {rows.min()}..{rows.max()} are not all among 0..{len(array) - 1}")


@machine_code
def _number(data, start, size):  # type: ignore[no-untyped-def]
    number = np.uint64(0)
    for at in range(size):
        number |= np.uint64(data[start + at]) << np.uint64(8 * at)
    return number


@machine_code
def put_number(data, start, number, size):  # type: ignore[no-untyped-def]
    """Lay a number into so many bytes of uint8 [N]."""
    number = np.uint64(number)
    for at in range(size):
        data[start + at] = np.uint8(number >> np.uint64(8 * at) & np.uint64(0xFF))


@machine_code
def masked_crc(place, size):  # type: ignore[no-untyped-def]
    """The masked CRC-32C of so many bytes at a place in memory, uint64."""
    crc = np.uint64(_checksum(place, size))
    return ((crc >> np.uint64(15) | crc << np.uint64(17)) + np.uint64(_MASK)) & np.uint64(0xFFFFFFFF)


@machine_code
def _count(data):  # type: ignore[no-untyped-def]
    """How many whole records there are, if all headers are right."""
    number = end = 0
    while end + _HEADER + _CRC <= len(data):
        length = _number(data, end, 8)
        if length > len(data):
            break
        end += _HEADER + np.int64(length) + _CRC
        number += end <= len(data)
    return number


@machine_code
def _scan(data):  # type: ignore[no-untyped-def]
    """The bounds of the records, whether their checksums are right, what is wrong behind them, and the length that stands there."""
    most, number, end, fault, length = _count(data), 0, 0, 0, np.uint64(0)
    bounds, good = np.zeros(most + 1, np.int64), np.empty(most, np.bool_)
    while end + _HEADER <= len(data):
        length = _number(data, end, 8)
        if masked_crc(data.ctypes.data + end, 8) != _number(data, end + 8, 4):
            fault = _BAD_HEADER
            break
        if length > _MOST:
            fault = _TOO_LONG
            break
        start = end + _HEADER
        stop = start + np.int64(length)
        end = stop + _CRC
        if end > len(data):
            break
        good[number] = masked_crc(data.ctypes.data + start, length) == _number(data, stop, 4)
        number += 1
        bounds[number] = end
    return bounds[: number + 1], good[:number], fault, length


@machine_code
def _copy_rows(source, source_stride, places, out, out_stride, rows, size):  # type: ignore[no-untyped-def]
    for at in range(len(rows)):
        copy(out + rows[at] * out_stride, source + places[at] * source_stride, size)


@machine_code
def _read_rows(descriptor, places, out, out_stride, size):  # type: ignore[no-untyped-def]
    for at in range(len(places)):
        if _read(descriptor, out + at * out_stride, size, places[at]) != size:
            return at
    return len(places)


@machine_code
def _copy_clips(places, lengths, strides, out, most, size, rows):  # type: ignore[no-untyped-def]
    for at in range(len(rows)):
        target = out + rows[at] * most * size
        for frame in range(lengths[at]):
            copy(target + frame * size, places[at] + frame * strides[at], size)
        _fill(target + lengths[at] * size, 0, (most - lengths[at]) * size)
