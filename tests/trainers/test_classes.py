import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers import classes


def rows(labels, listed):
    return classes.rows(tf.ragged.constant(labels, tf.int64), listed).to_list()


def test_rows():
    assert rows([[7, 1, 12], [], [1, 99, 0], [3, 3]], (7, 3, 12)) == [[0, 2], [], [], [1, 1]]
    assert rows([[-1, 2**40, 7]], (7,)) == [[0]]  # what is no class of any set is no listed one


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=20, unique=True), st.lists(st.lists(st.integers(0, 60), max_size=6), min_size=1))
def test_rows_are_a_bijection_of_the_listed_classes(listed, labels):
    assert rows([listed], listed) == [list(range(len(listed)))]
    restored = [[listed[row] for row in video] for video in rows(labels, listed)]
    assert restored == [[c for c in video if c in listed] for video in labels]
