"""Errors: what a command can catch, and how a bad record reads."""

import pytest

from yt8m_data.errors import BadRecord, DataError


def test_data_error_is_a_value_error_with_its_sentence():
    with pytest.raises(ValueError, match=r"^no file matches 'x'$"):
        raise DataError("no file matches 'x'")


def test_a_bad_record_says_where_it_stands_and_why():
    bad = BadRecord("train-00001-of-00002.tfrecord", 7, 31415, "crc", "the checksum of its data is wrong")
    assert str(bad) == "train-00001-of-00002.tfrecord: record 7 at byte 31415: the checksum of its data is wrong"


def test_bad_records_sort_by_file_then_place():
    first, second, third = BadRecord("a", 2, 90, "size", ""), BadRecord("a", 10, 400, "crc", ""), BadRecord("b", 0, 0, "crc", "")
    assert sorted([third, second, first]) == [first, second, third]
    assert len({first, second, third, BadRecord("a", 2, 90, "size", "")}) == 3
