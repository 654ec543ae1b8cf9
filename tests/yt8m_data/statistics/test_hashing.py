"""Hashes: fixed for good, blind to where a value stands, and as good as random."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from yt8m_data.statistics import hashing

IDS = st.lists(st.binary(max_size=40), max_size=12)


def splitmix(word):
    """The finaliser in plain Python."""
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    word = (word ^ word >> 27) * 0x94D049BB133111EB % 2**64
    return word ^ word >> 31


@given(st.lists(st.integers(0, 2**64 - 1), max_size=20))
def test_mix_is_the_finaliser_of_splitmix64(words):
    assert hashing.mix(np.array(words, np.uint64)).tolist() == [splitmix(word) for word in words]


def test_the_hashes_of_saved_states_never_change():
    found = hashing.of_binary(pa.array([b"", b"0000", b"a longer id than eight bytes"], pa.binary()))
    assert found.tolist() == FIXED_IDS
    sets = hashing.of_sets(np.array([3, 14, 15]), np.array([0, 1, 1]), np.array([1, 0, 2]))
    assert sets.tolist() == FIXED_SETS


FIXED_IDS = [0, 16198997851464653589, 13040846627437025870]
FIXED_SETS = [18138931202792145216, 0, 12348454151217938236]


@given(IDS, st.integers(0, 3), st.integers(0, 3))
def test_an_id_has_one_hash_wherever_it_stands(ids, before, behind):
    column = pa.array([b"x" * 11] * before + ids + [b"y"] * behind, pa.binary())
    part = hashing.of_binary(column.slice(before, len(ids)))
    assert part.tolist() == [hashing.of_binary(pa.array([i], pa.binary()))[0] for i in ids]
    assert len(set(part.tolist())) == len(set(ids))


@given(st.lists(st.sets(st.integers(0, 3861), max_size=6), max_size=10), st.randoms())
def test_a_set_has_one_hash_in_any_order(sets, random):
    def hashed(lists):
        lengths = np.array([len(each) for each in lists], np.int64)
        values = np.array([value for each in lists for value in each], np.int64)
        return hashing.of_sets(values, np.cumsum(lengths) - lengths, lengths).tolist()

    ascending = [sorted(each) for each in sets]
    shuffled = [random.sample(each, len(each)) for each in ascending]
    assert hashed(ascending) == hashed(shuffled) == [hashed([each])[0] for each in ascending]
    assert len(set(hashed(ascending))) == len({frozenset(each) for each in sets})


def test_hashes_are_spread_evenly():
    """Ids that follow one another fall into 64 parts of the range like balls into boxes."""
    ids = pa.array([b"%04d" % i for i in range(64_000)], pa.binary())
    hashes = hashing.of_binary(ids)
    boxes = np.bincount((hashes >> np.uint64(58)).astype(int), minlength=64)
    assert ((boxes - 1000) ** 2 / 1000).sum() < 63 + 5 * (2 * 63) ** 0.5
    assert len(np.unique(hashes)) == 64_000
