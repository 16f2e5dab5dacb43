"""Where the threshold lies."""

import numpy as np
import pytest

from skae._calibration import compute_offset


@pytest.mark.parametrize("contamination", [0.01, 0.1, 0.5])
def test_float_flags_its_share(contamination):
    scores = np.random.RandomState(0).normal(size=1000)
    offset = compute_offset(scores, contamination)
    assert (scores < offset).mean() == contamination


def test_auto_flags_few_normal_rows():
    """Scores like those of a detector on clean data: minus a gamma variable."""
    shares = []
    for seed in range(20):
        scores = -np.random.RandomState(seed).gamma(5.0, size=1000)
        shares.append((scores < compute_offset(scores, "auto")).mean())
    assert 0.01 <= min(shares) and max(shares) <= 0.04


def test_auto_flags_all_rows_that_stand_apart():
    rng = np.random.RandomState(0)
    scores = -np.concatenate([rng.gamma(5.0, size=900), rng.normal(60, 5, size=100)])
    offset = compute_offset(scores, "auto")
    assert (scores[900:] < offset).all()
    assert (scores[:900] < offset).mean() < 0.05


def test_auto_flags_the_worst_row_even_if_none_stands_apart():
    scores = np.linspace(-1.0, 0.0, 50)
    assert (scores < compute_offset(scores, "auto")).sum() == 1
