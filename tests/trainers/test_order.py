"""Which video goes into which row of which batch."""

from itertools import islice

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainers.order import shuffled_rows

SIZES = st.integers(1, 40)


@given(SIZES, SIZES, st.integers(-(2**70), 2**70))
def test_shelves_are_full_and_each_epoch_has_rows_of_its_own(size, num_records, seed):
    rows = list(islice(shuffled_rows(size, num_records, seed, 0), 12))
    for shelf in rows:
        assert sorted(shelf) == list(range(size))
    places = np.concatenate([number * size + shelf for number, shelf in enumerate(rows)])
    np.testing.assert_array_equal(places // num_records, np.arange(12 * size) // num_records)


@given(SIZES, SIZES, st.integers(0, 99), st.integers(0, 200))
def test_rows_from_a_video_on_are_those_of_the_whole(size, num_records, seed, start):
    """What begins in the middle of a shelf goes where it goes in a run from the first video on."""
    whole = np.concatenate(list(islice(shuffled_rows(size, num_records, seed, 0), start // size + 3)))
    found = list(islice(shuffled_rows(size, num_records, seed, start), 3))
    assert [len(shelf) for shelf in found] == [size - start % size, size, size]
    np.testing.assert_array_equal(np.concatenate(found), whole[start:])


def test_shelves_and_seeds_have_orders_of_their_own():
    one, two, three = (list(islice(shuffled_rows(50, 200, seed, 0), 8)) for seed in (0, 1, 0))
    assert len({tuple(shelf) for shelf in [*one, *two]}) == 16
    np.testing.assert_array_equal(one, three)
