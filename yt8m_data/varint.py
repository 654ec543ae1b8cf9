"""Numbers of one to ten bytes, of seven bits each, as protocol buffers write them."""

import numpy as np


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
    ends = np.flatnonzero(last)
    begins = np.concatenate(([0], ends + 1))[:-1]
    width = ends - begins + 1
    values = (data[begins] & 0x7F).astype(np.int64)
    for place in range(1, 10):
        longer = np.flatnonzero(width > place)
        if not longer.size:
            break
        values[longer] |= (data[begins[longer] + place] & 0x7F).astype(np.int64) << 7 * place

    run_ends = np.cumsum(lengths)
    before = np.concatenate(([0], np.cumsum(last)))
    counts = before[run_ends] - before[run_ends - lengths]
    malformed = (lengths > 0) & ~np.concatenate(([True], last))[run_ends]
    malformed[np.searchsorted(run_ends, ends[width > 10], side="right")] = True
    return values, counts, malformed
