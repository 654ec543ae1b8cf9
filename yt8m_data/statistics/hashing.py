"""64-bit hashes of ids and of label sets, many at a time.

They choose what a sketch keeps, and are part of what `state.npz` holds, so they must never change. The choices that shape a data set (which
videos are kept, where they go) rest on `shards.stable_hash` instead, a cryptographic one.
"""

import numpy as np
import pyarrow as pa

from yt8m_data import wire

_STEP = np.uint64(0x9E3779B97F4A7C15)


def mix(words: np.ndarray) -> np.ndarray:
    """Scramble 64-bit words one to one (the finaliser of SplitMix64: Steele, Lea and Flood, OOPSLA 2014)."""
    x = words.astype(np.uint64)
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def of_binary(column: pa.Array) -> np.ndarray:
    """Hash the byte strings of a binary column: uint64 [N]."""
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1].astype(np.int64)
    starts, lengths = bounds[:-1], np.diff(bounds)
    text = np.zeros((0 if data is None else len(data)) + 8, np.uint8)  # eight more, so that a word can be read at every place
    if data is not None:
        text[:-8] = np.frombuffer(data, np.uint8)
    hashes = mix(lengths.astype(np.uint64) * _STEP)
    for at in range(0, int(lengths.max(initial=0)), 8):
        rows = np.flatnonzero(lengths > at)
        words = wire.gather(text, starts[rows] + at, 8).view("<u8")[:, 0]
        left = np.minimum(lengths[rows] - at, 8).astype(np.uint64)
        words = words & (np.uint64(0xFFFFFFFFFFFFFFFF) >> (np.uint64(64) - np.uint64(8) * left))
        hashes[rows] = mix(hashes[rows] + _STEP ^ words)
    return hashes


def of_sets(values: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Hash N sets of numbers, one behind the other, `values[starts[i] : starts[i] + lengths[i]]`: uint64 [N].

    The order within a set does not show. All empty sets have one hash.
    """
    totals = np.zeros(len(lengths), np.uint64)
    filled = np.flatnonzero(lengths)
    if filled.size:
        words = mix((values.astype(np.uint64) + np.uint64(1)) * _STEP)
        totals[filled] = np.add.reduceat(words, starts[filled])
    return mix(totals + lengths.astype(np.uint64))
