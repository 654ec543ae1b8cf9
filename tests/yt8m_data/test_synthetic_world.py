"""The world of made data: its label law, and companions that keep to it."""

import numpy as np
import pytest

from yt8m_data.synthetic_world import label_shares, world_of


@pytest.mark.parametrize("num_classes", [30, 100, 3862])
def test_primary_and_companion_shares_add_up_to_the_law(num_classes):
    world = world_of(num_classes)
    primary = np.diff(world.primary, prepend=0)
    total = primary.copy()
    np.add.at(total, world.companions, primary[:, None] * world.chances)
    np.testing.assert_allclose(total, label_shares(num_classes), rtol=0.02)
    assert primary.min() >= 0
    assert (world.companions[world.chances > 0] < np.nonzero(world.chances)[0]).all()  # companions are more frequent


def test_the_tail_falls_faster_than_the_head():
    shares, ranks = label_shares(3862), np.arange(1, 3863)

    def slope(low: int, high: int) -> float:
        return np.polyfit(np.log10(ranks[low - 1 : high]), np.log10(shares[low - 1 : high]), 1)[0]

    assert slope(1, 100) == pytest.approx(-0.934, abs=0.02)
    assert slope(100, 3862) == pytest.approx(-1.377, abs=0.1)
    assert shares[0] / shares[-1] == pytest.approx(788_288 / 123, rel=0.1)
