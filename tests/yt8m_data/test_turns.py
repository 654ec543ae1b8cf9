"""Turns: never more at a time than the budget has."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from yt8m_data.turns import Turns

WORKERS, SHARE = 4, 25


def held(turns: Turns, needs: list[int]) -> list[int]:
    """What is held whenever someone begins, by as many threads as there are shares."""
    lock, now, seen = threading.Lock(), [0], []

    def work(need: int) -> None:
        with turns.take(need):
            with lock:
                now[0] += need
                seen.append(now[0])
            time.sleep(0.002)
            with lock:
                now[0] -= need

    with ThreadPoolExecutor(WORKERS) as executor:
        list(executor.map(work, needs))
    return seen


@pytest.mark.parametrize("seed", range(3))
def test_no_more_is_held_than_the_budget_has(tmp_path, seed):
    needs = np.random.default_rng(seed).choice([1, SHARE, SHARE + 1, WORKERS * SHARE], 60).tolist()
    seen = held(Turns(str(tmp_path / "turns"), SHARE), needs)
    assert len(seen) == 60
    assert max(seen) <= WORKERS * SHARE


def test_what_fits_a_share_does_not_wait(tmp_path):
    turns = Turns(str(tmp_path / "turns"), SHARE)
    with turns.take(SHARE), turns.take(SHARE):
        pass


def test_a_turn_ends_with_an_error_too(tmp_path):
    turns = Turns(str(tmp_path / "turns"), SHARE)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), turns.take(SHARE + 1):
            _ = 1 / 0
