"""The wire format of tf.Example, walked over many messages at once with NumPy.

The walk knows one layout, that of every writer in use: lengths of up to five bytes, map entries of key then value, one value or one packed
run per list. A message laid out otherwise is legal, and reported as odd: the caller takes the slow path for it.

    Example  = features: Features                          SequenceExample = context: Features, feature_lists: FeatureLists
    Features = map<string, Feature>                        FeatureLists    = map<string, FeatureList>
    Feature  = bytes_list 1 | float_list 2 | int64_list 3  FeatureList     = repeated Feature
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

BYTES, FLOAT, INT64 = 0x0A, 0x12, 0x1A  # tags of the three kinds inside a Feature
FIELD_1, FIELD_2 = 0x0A, 0x12  # tags of the length-delimited fields 1 and 2

_NOWHERE = -(1 << 40)  # an end that no check accepts


class Values(NamedTuple):
    """Where one feature of N messages lies: `kind` uint8 [N] (0 where absent), `starts` and `lengths` int64 [N] in bytes."""

    kind: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray


def delimited(buffer: np.ndarray, pos: np.ndarray, tag: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Read `tag length` at each position (any tag for None): where the payloads start and end (far below 0 where there is none)."""
    length = buffer.take(pos + 1, mode="clip").astype(np.int64)
    start = pos + 2
    pending = np.flatnonzero(length & 0x80)
    length &= 0x7F
    for shift in (7, 14, 21, 28):
        if not pending.size:
            break
        byte = buffer.take(start[pending], mode="clip").astype(np.int64)
        length[pending] |= (byte & 0x7F) << shift
        start[pending] += 1
        pending = pending[byte >= 0x80]
    end = start + length
    end[pending] = _NOWHERE
    if tag is not None:
        end[buffer.take(pos, mode="clip") != tag] = _NOWHERE
    return start, end


def message_parts(buffer: np.ndarray, starts: np.ndarray, ends: np.ndarray, odd: np.ndarray) -> tuple[np.ndarray, ...]:
    """Split N records into field 1 (the features, or the context) and field 2 (the feature lists; empty where absent).

    An Example may end with an empty field 2, as the published 2018 shards do. Returns starts and ends of both, int64 [N] each.
    """
    first, first_end = delimited(buffer, starts, FIELD_1)
    second, second_end = delimited(buffer, first_end, FIELD_2)
    alone = first_end == ends
    odd |= ~alone & (second_end != ends)
    return first, first_end, np.where(alone, first_end, second), ends


def map_entries(buffer: np.ndarray, starts: np.ndarray, ends: np.ndarray, odd: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Walk the entries of N maps side by side: the first of each, then the second of each, and so on.

    Yields `rows, key_start, key_end, value_start, value_end`, the rows being those that have such an entry. Rows that are laid out
    otherwise are marked in `odd` (bool [N]) and left.
    """
    pos = starts.copy()
    rows = np.flatnonzero((pos < ends) & ~odd)
    while rows.size:
        entry, entry_end = delimited(buffer, pos[rows], FIELD_1)
        key, key_end = delimited(buffer, entry, FIELD_1)
        value, value_end = delimited(buffer, key_end, FIELD_2)
        good = (entry_end <= ends[rows]) & (key_end >= key) & (value_end >= value) & (value_end == entry_end)
        if not good.all():
            odd[rows[~good]] = True
            rows, key, key_end, value, value_end = (x[good] for x in (rows, key, key_end, value, value_end))
        yield rows, key, key_end, value, value_end
        pos[rows] = value_end
        rows = rows[(pos[rows] < ends[rows]) & ~odd[rows]]


def features(buffer: np.ndarray, starts: np.ndarray, ends: np.ndarray, keys: list[bytes], odd: np.ndarray) -> dict[bytes, Values]:
    """Find the values of `keys` in N `Features` messages, `buffer[starts[i]:ends[i]]`; mark what is laid out otherwise in `odd`."""
    count = len(starts)
    found = {key: Values(np.zeros(count, np.uint8), np.zeros(count, np.int64), np.zeros(count, np.int64)) for key in keys}
    for rows, key, key_end, value, value_end in map_entries(buffer, starts, ends, odd):
        kind = buffer.take(value, mode="clip")
        items, items_end = delimited(buffer, value, None)
        data, data_end = delimited(buffer, items, FIELD_1)
        unset, empty = value == value_end, items == items_end
        known = (kind == BYTES) | (kind == FLOAT) | (kind == INT64)
        good = unset | (known & (items_end == value_end) & (empty | (data_end == items_end)))
        kind = np.where(unset, 0, kind)
        length = np.where(unset | empty, 0, data_end - data)
        for name, match in _matches(buffer, key, key_end - key, keys):
            values, at = found[name], rows[match]
            odd[at[~good[match]]] = True  # what a key that nobody asked for holds does not matter
            values.kind[at], values.starts[at], values.lengths[at] = kind[match], data[match], length[match]
    return found


def feature_lists(
    buffer: np.ndarray, starts: np.ndarray, ends: np.ndarray, keys: list[bytes], odd: np.ndarray
) -> dict[bytes, tuple[np.ndarray, np.ndarray]]:
    """Find the `FeatureList` messages of `keys` in N `FeatureLists` messages: starts and lengths, int64 [N]; length 0 where absent."""
    count = len(starts)
    found = {key: (np.zeros(count, np.int64), np.zeros(count, np.int64)) for key in keys}
    for rows, key, key_end, value, value_end in map_entries(buffer, starts, ends, odd):
        for name, match in _matches(buffer, key, key_end - key, keys):
            found[name][0][rows[match]] = value[match]
            found[name][1][rows[match]] = (value_end - value)[match]
    return found


def _matches(buffer: np.ndarray, starts: np.ndarray, lengths: np.ndarray, keys: list[bytes]) -> Iterator[tuple[bytes, np.ndarray]]:
    """Yield each key that stands at some of the places, with the indices of those places."""
    for key in keys:
        at = np.flatnonzero(lengths == len(key))
        if at.size:
            text = buffer.take(starts[at, None] + np.arange(len(key)), mode="clip")
            at = at[(text == np.frombuffer(key, np.uint8)).all(axis=1)]
        if at.size:
            yield key, at


def gather(buffer: np.ndarray, starts: np.ndarray, size: int) -> np.ndarray:
    """Copy the `size` bytes from each of N places: uint8 [N, size]."""
    if not len(starts):
        return np.empty((0, size), np.uint8)
    return np.ndarray((len(buffer) - size + 1, size), np.uint8, buffer, strides=(1, 1))[starts]  # a window from every place


def concatenate(buffer: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Copy runs of bytes of different lengths behind one another: uint8 [sum of lengths]."""
    before = np.cumsum(lengths) - lengths
    return buffer[np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))]


def frames(buffer: np.ndarray, start: int, length: int, size: int) -> np.ndarray | None:
    """View the frames of a `FeatureList` message: uint8 [frames, size], or None where they are not all of `size` bytes.

    Every frame is a Feature with one byte string, so equal sizes make equal headers: the list is a matrix with a few columns too many.
    """
    header = frame_header(size)
    stride = len(header) + size
    if length % stride:
        return None
    matrix = buffer[start : start + length].reshape(-1, stride)
    same = (matrix[:, : len(header)] == np.frombuffer(header, np.uint8)).all()
    return matrix[:, len(header) :] if same else None


class Prefixes(dict[int, bytes]):
    """What stands before a payload, by its length: `headers` (tags, outermost first), each followed by the length of all behind it."""

    def __init__(self, *headers: bytes) -> None:
        super().__init__()
        self.headers = headers

    def __missing__(self, length: int) -> bytes:
        prefix = b""
        for header in reversed(self.headers):
            prefix = header + encode_varint(len(prefix) + length) + prefix
        self[length] = prefix
        return prefix


@functools.cache
def frame_header(size: int) -> bytes:
    """Encode what stands before the bytes of each frame in a `FeatureList`: Feature { BytesList { value } }."""
    return Prefixes(b"\x0a", b"\x0a", b"\x0a")[size]


def encode_varint(value: int) -> bytes:
    """Encode a number from 0 up."""
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def varints(data: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decode N packed runs of varints, `data` uint8 being the runs behind one another.

    Returns the values as int64, how many each run has (int64 [N]), and which runs are malformed (bool [N]): a value of more than ten
    bytes, or one that does not end where its run does.
    """
    last = data < 0x80
    run_ends = np.cumsum(lengths)
    malformed = np.zeros(len(lengths), bool)
    filled = np.flatnonzero(lengths)
    malformed[filled] = ~last[run_ends[filled] - 1]
    ends = np.flatnonzero(last)
    begins = np.concatenate(([0], ends[:-1] + 1)) if ends.size else ends
    place = np.arange(len(data)) - np.repeat(begins, np.diff(np.concatenate((begins, [len(data)])))) if ends.size else np.arange(len(data))
    run_of_end = np.searchsorted(run_ends, ends, side="right")
    malformed[run_of_end[ends - begins >= 10]] = True
    bits = (data & 0x7F).astype(np.int64) << np.minimum(7 * place, 63)
    values = np.add.reduceat(bits, begins) if ends.size else np.zeros(0, np.int64)
    return values, np.bincount(run_of_end, minlength=len(lengths)), malformed
