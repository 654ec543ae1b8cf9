"""The wire format of tf.Example, walked over many messages at once with NumPy.

The walk knows one layout, that of every writer in use: lengths of up to five bytes, map entries of key then value, one value or one packed
run per list. A message laid out otherwise is legal, and reported as odd: the caller takes the slow path for it.

What stands before the values of a key depends on the key and on their size alone, and few sizes come up. So most entries are read by
looking their first bytes up in a book of such headers, and only the others tag by tag.

    Example  = features: Features                          SequenceExample = context: Features, feature_lists: FeatureLists
    Features = map<string, Feature>                        FeatureLists    = map<string, FeatureList>
    Feature  = bytes_list 1 | float_list 2 | int64_list 3  FeatureList     = repeated Feature
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from yt8m_data.prefixes import entry_prefixes, frame_header

BYTES, FLOAT, INT64 = 0x0A, 0x12, 0x1A  # tags of the three kinds inside a Feature
FIELD_1, FIELD_2 = 0x0A, 0x12  # tags of the length-delimited fields 1 and 2

_LISTED = 256  # a header is in the book for values of fewer bytes than that: longer ids or label lists are rare

_NOWHERE = -(1 << 40)  # as an end, one that no check accepts


class Key(NamedTuple):
    """A key to look for, and what it usually holds: the kind, and the size in bytes where it is always the same. All else is found too."""

    name: bytes
    kind: int
    size: int | None = None


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


class Spans(NamedTuple):
    """Map entries of keys that nobody asked for: the numbers of their messages, where they start and end (int64 [M] each).

    `plain` (bool [M]) marks those that are sure to be sound, without a look at protobuf.
    """

    rows: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    plain: np.ndarray


def features(
    buffer: np.ndarray, starts: np.ndarray, ends: np.ndarray, keys: tuple[Key, ...], odd: np.ndarray, others: list[Spans] | None = None
) -> dict[bytes, Values]:
    """Find the values of `keys` in N `Features` messages, `buffer[starts[i]:ends[i]]`; mark what is laid out otherwise in `odd` (bool [N]).

    The maps are walked side by side: the first entry of each, then the second of each, and so on. The last entry of a key counts.
    Where the entries of other keys lie is appended to `others`, if given: what they hold has not been looked at, unless they are plain.
    """
    book, count = _header_book(keys), len(starts)
    kinds, places, lengths = (np.zeros((len(keys) + 1) * count, dtype) for dtype in (np.uint8, np.int64, np.int64))  # + 1: other keys
    rows = np.flatnonzero((starts < ends) & ~odd)
    pos, limit = starts[rows], ends[rows]
    while rows.size:
        header = book.find(buffer, pos)
        key, kind, length = book.key[header], book.kind[header], book.length[header]
        start = pos + book.width[header]
        end = start + length
        rest = np.flatnonzero(end > limit)
        if rest.size:
            key[rest], kind[rest], start[rest], length[rest], end[rest], strange, plain = _feature(buffer, pos[rest], limit[rest], keys)
            odd[rows[rest[strange]]] = True
            if others is not None and (other := np.flatnonzero(key[rest] == len(keys))).size:
                at = rest[other]
                others.append(Spans(rows[at], pos[at], end[at], plain[other]))
        at = key * count + rows
        kinds[at], places[at], lengths[at] = kind, start, length
        more = end < limit
        rows, pos, limit = rows[more], end[more], limit[more]
    columns = (x.reshape(len(keys) + 1, count) for x in (kinds, places, lengths))
    return {key.name: Values(*parts) for key, *parts in zip(keys, *columns, strict=False)}


def feature_lists(
    buffer: np.ndarray, starts: np.ndarray, ends: np.ndarray, keys: list[bytes], odd: np.ndarray, others: list[Spans] | None = None
) -> dict[bytes, tuple[np.ndarray, np.ndarray]]:
    """Find the `FeatureList` messages of `keys` in N `FeatureLists` messages: starts and lengths, int64 [N]; length 0 where absent.

    Where the entries of other keys lie is appended to `others`, if given; none of them is plain.
    """
    count = len(starts)
    found = {key: (np.zeros(count, np.int64), np.zeros(count, np.int64)) for key in keys}
    rows = np.flatnonzero((starts < ends) & ~odd)
    pos, limit = starts[rows], ends[rows]
    while rows.size:
        key, key_end, value, end, strange = _entry(buffer, pos, limit)
        odd[rows[strange]] = True
        known = strange.copy()
        for number, match in _matches(buffer, key, key_end - key, keys):
            at, length = found[keys[number]]
            at[rows[match]], length[rows[match]] = value[match], (end - value)[match]
            known[match] = True
        if others is not None and (other := np.flatnonzero(~known)).size:
            others.append(Spans(rows[other], pos[other], end[other], np.zeros(len(other), bool)))
        more = end < limit
        rows, pos, limit = rows[more], end[more], limit[more]
    return found


def _entry(buffer: np.ndarray, pos: np.ndarray, limit: np.ndarray) -> tuple[np.ndarray, ...]:
    """Read a map entry at each place: start and end of the key, of the value, and which are strange (these end at their limit)."""
    entry, entry_end = delimited(buffer, pos, FIELD_1)
    key, key_end = delimited(buffer, entry, FIELD_1)
    value, value_end = delimited(buffer, key_end, FIELD_2)
    good = (entry_end <= limit) & (key_end >= key) & (value_end >= value) & (value_end == entry_end)
    return key, key_end, value, np.where(good, value_end, limit), ~good


def _feature(buffer: np.ndarray, pos: np.ndarray, limit: np.ndarray, keys: tuple[Key, ...]) -> tuple[np.ndarray, ...]:
    """Read a map entry that holds a Feature at each place, field by field.

    Returns the number of the key (len(keys) for any other), the kind, start and length of the values, the end, which are strange, and which
    are plain: sound whatever their key is.
    """
    key, key_end, value, end, strange = _entry(buffer, pos, limit)
    kind = buffer.take(value, mode="clip")
    items, items_end = delimited(buffer, value, None)
    data, data_end = delimited(buffer, items, FIELD_1)
    unset, empty = value == end, items == items_end
    known = (kind == BYTES) | (kind == FLOAT) | (kind == INT64)
    good = unset | (known & (items_end == end) & (empty | (data_end == items_end)))
    number = np.full(len(pos), len(keys))
    for wanted, match in _matches(buffer, key, key_end - key, [key.name for key in keys]):
        number[match] = wanted
        strange[match] |= ~good[match]  # what a key that nobody asked for holds does not matter
    length = np.where(unset | empty | strange, 0, data_end - data)
    one_integer = (length <= 10) & (buffer.take(data + length - 1, mode="clip") < 0x80)
    sound = (kind == BYTES) | ((kind == FLOAT) & (length % 4 == 0)) | ((kind == INT64) & one_integer)
    plain = good & ~strange & (unset | empty | sound) & _ascii(buffer, key, np.where(strange, 0, key_end - key))
    return number, np.where(unset, 0, kind), data, length, np.where(strange, limit, end), strange, plain


def _ascii(buffer: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Which of N texts are ASCII, bool [N]: others may be no UTF-8, which protobuf refuses in a key."""
    before = np.concatenate(([0], np.cumsum(concatenate(buffer, starts, lengths) >= 0x80)))
    ends = np.cumsum(lengths)
    return before[ends] == before[ends - lengths]


class _HeaderBook:
    """What map entries usually begin with, up to their values: the encoder's own headers, for every key and size.

    A header is looked up by its first eight bytes, and compared in full. Number 0 is no header: it ends beyond every limit.

    Attributes:
      key, kind, width, length: per header, the number of its key, the kind of the values, the bytes of the header, those of the values.
    """

    def __init__(self, keys: tuple[Key, ...]) -> None:
        headers: dict[bytes, tuple[bytes, int, int, int, int]] = {}
        for number, key in sorted(
            enumerate(keys), key=lambda item: item[1].size is not None
        ):  # of two that begin alike, the fixed size stays
            prefixes = entry_prefixes(key.name, bytes([key.kind]), b"\x0a")
            for length in range(_LISTED) if key.size is None else [key.size]:
                text = prefixes[length]
                headers[text[:8]] = (text, number, key.kind, len(text), length)
        texts, *columns = zip((b"", 0, 0, 0, -_NOWHERE), *headers.values(), strict=True)
        self.key, self.kind, self.width, self.length = (np.array(column, np.int64) for column in columns)
        size = -(-max(map(len, texts)) // 8) * 8
        self.text = np.array([np.frombuffer(text.ljust(size, b"\0"), "<u8") for text in texts])
        self.mask = np.array([np.frombuffer((b"\xff" * len(text)).ljust(size, b"\0"), "<u8") for text in texts])
        self.order = np.argsort(self.text[:, 0])
        self.first = self.text[self.order, 0]

    def find(self, buffer: np.ndarray, pos: np.ndarray) -> np.ndarray:
        """Return the number of the header at each place: int64 [N]."""
        size = self.text.itemsize * self.text.shape[1]
        last = len(buffer) - size
        if last < 0:
            return np.zeros(len(pos), np.int64)
        begin = gather(buffer, np.minimum(pos, last), size)
        for row in np.flatnonzero(pos > last).tolist():  # the last entry of a block may be shorter than the longest header
            begin[row, : len(buffer) - pos[row]] = buffer[pos[row] :]
        found = begin.view("<u8")
        header = self.order.take(np.searchsorted(self.first, found[:, 0], side="right") - 1)  # first[0] is 0: no word is below it
        differing = (found & self.mask.take(header, axis=0)) ^ self.text.take(header, axis=0)
        header[functools.reduce(np.bitwise_or, differing.T) != 0] = 0  # any(axis=1) takes three times as long as all of this
        return header


@functools.cache
def _header_book(keys: tuple[Key, ...]) -> _HeaderBook:
    return _HeaderBook(keys)


def _matches(buffer: np.ndarray, starts: np.ndarray, lengths: np.ndarray, keys: list[bytes]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the number of each key that stands at some of the places, with the indices of those places."""
    for number, key in enumerate(keys):
        at = np.flatnonzero(lengths == len(key))
        if at.size:
            text = buffer.take(starts[at, None] + np.arange(len(key)), mode="clip")
            at = at[(text == np.frombuffer(key, np.uint8)).all(axis=1)]
        if at.size:
            yield number, at


def gather(buffer: np.ndarray, starts: np.ndarray, size: int) -> np.ndarray:
    """Copy the `size` bytes from each of N places: uint8 [N, size]."""
    if not len(starts):
        return np.empty((0, size), np.uint8)
    return windows(buffer, size)[starts]


def scatter(buffer: np.ndarray, starts: np.ndarray, rows: np.ndarray) -> None:
    """Copy rows of bytes, uint8 [N, size], to N places."""
    if len(starts):
        windows(buffer, rows.shape[1])[starts] = rows


def windows(buffer: np.ndarray, size: int) -> np.ndarray:
    """View the `size` bytes from every place: uint8 [M, size]."""
    return np.ndarray((max(0, len(buffer) - size + 1), size), np.uint8, buffer, strides=(1, 1))


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
    same = matrix[:, : len(header)].tobytes() == header * len(matrix)
    return matrix[:, len(header) :] if same else None
