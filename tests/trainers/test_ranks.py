import numpy as np

from trainers.ranks import hashed, ranks_of


def test_ties_inside_a_class_are_ranked_each_once():
    keys = hashed([b"v%d" % number for number in range(6)])
    column = np.array([0.2, 0.7, 0.7, 0.7, 0.1, 0.7], np.float32)
    ranks = ranks_of(column, np.sort(column), np.arange(6), keys, 3)
    assert sorted(ranks[[1, 2, 3, 5]]) == [1, 2, 3, 4]
    assert list(ranks[[0, 4]]) == [5, 6]
