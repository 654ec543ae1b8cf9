import pytest

from trainers.options import flag, one_of, positive, whole, within
from yt8m_data.errors import DataError


def test_what_is_right_passes():
    whole("x", a=1, b=10**9)
    whole("x", or_null=True, a=None, b=1)
    within("x", 0, 1, a=0, b=0.5)
    within("x", 0, float("inf"), or_null=True, a=None, b=1e30)
    positive("x", a=1e-30, b=3)
    one_of("x", (None, "p", 2), a=None, b="p", c=2)
    flag("x", a=True, b=False)


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: whole("x", a=1, b=0), "b of x is 0: set it to a whole number of at least 1"),
        (lambda: whole("x", a=2.0), "a of x is 2.0"),
        (lambda: whole("x", a=True), "a of x is True"),
        (lambda: whole("x", a=None), "a of x is None: set it to a whole number of at least 1"),
        (lambda: whole("x", or_null=True, a=0), "a of x is 0: set it to a whole number of at least 1 or null"),
        (lambda: within("x", 0, 1, a=1), "a of x is 1: set it to a number of at least 0 and below 1"),
        (lambda: within("x", 0, 1, a=float("nan")), "a of x is nan"),
        (lambda: within("x", 0, 1, a=False), "a of x is False"),
        (lambda: within("x", 0, float("inf"), a="1e-6"), "a of x is '1e-6': set it to a number of at least 0"),
        (lambda: within("x", 0.5, 2, or_null=True, a=0.4), "a of x is 0.4: set it to a number of at least 0.5 and below 2 or null"),
        (lambda: positive("x", a=0.0), "a of x is 0.0: set it to a number above 0"),
        (lambda: positive("x", a=float("nan")), "a of x is nan"),
        (lambda: positive("x", a="1"), "a of x is '1'"),
        (lambda: positive("x", a=True), "a of x is True"),
        (lambda: one_of("x", (None, "p"), a="q"), "a of x is 'q': choose one of null, p"),
        (lambda: one_of("x", ("p",), a=["p"]), "a of x is ['p']: choose one of p"),
        (lambda: flag("x", a=0), "a of x is 0: choose true or false"),
    ],
)
def test_what_is_wrong_is_told_with_value_and_mend(check, message):
    with pytest.raises(DataError) as error:
        check()
    assert str(error.value) == message or (":" not in message and str(error.value).startswith(message))
