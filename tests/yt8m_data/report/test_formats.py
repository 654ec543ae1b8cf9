"""How values are written."""

import pytest

from yt8m_data.report import formats


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (7, "7"), (1234567, "1,234,567"), (5.0, "5"), (0.02134, "0.0213"), (23.58, "23.6"), (1234.5, "1,234"), (999.4, "999")],
)
def test_number(value, text):
    assert formats.number(value) == text


@pytest.mark.parametrize(
    ("value", "format", "text"), [(-1.2344, ".3f", "−1.234"), (0.5, ".1f", "0.5"), (-1e-9, ".3f", "0.000"), (-3.256, ".3g", "−3.26")]
)
def test_signed(value, format, text):
    assert formats.signed(value, format) == text


@pytest.mark.parametrize(
    ("values", "text"), [([3, 1, 2], "1 – 3"), ([5, 5], "5"), ([0.5, 0.25], "0.25 – 0.5"), ([1, 12_000], "1 – 12,000")]
)
def test_span(values, text):
    assert formats.span(values) == text


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (122_334_455, "122 MB"),
        (31e9, "31 GB"),
        (1.53e12, "1.53 TB"),
        (2e15, "2e+03 TB"),
    ],
)
def test_size(num_bytes, text):
    assert formats.size(num_bytes) == text


def test_a_name_stands_on_one_line_and_a_label_without_one_goes_by_its_id():
    assert formats.named(3, {3: "Two\nlines  of\tit"}) == "Two lines of it"
    assert formats.named(4, {3: "x"}) == "label 4"
    assert formats.named(3, {3: " "}) == "label 3"


def test_settings():
    assert formats.setting(["interpolate", "noise"]) == "interpolate, noise"
    assert formats.setting(0.03) == "0.03"
    assert formats.setting(7) == "7"
    assert formats.setting("paper") == "paper"
