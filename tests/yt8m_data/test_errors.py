"""Errors: what a command can catch, and how a bad record reads."""

import json

import pytest

from yt8m_data.errors import BadRecord, DataError, bad_lines


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


def test_bad_lines_are_json_in_the_order_of_the_input():
    bad = [BadRecord("b", 0, 0, "crc", "wrong"), BadRecord("a", 2, 99, "size", 'has "3"'), BadRecord("a", 1, 50, "crc", "wrong")]
    lines = [json.loads(line) for line in bad_lines(bad).splitlines()]
    assert [(line["file"], line["index"]) for line in lines] == [("a", 1), ("a", 2), ("b", 0)]
    assert lines[1] == {"file": "a", "index": 2, "offset": 99, "kind": "size", "reason": 'has "3"'}
    assert bad_lines([]) == b""
