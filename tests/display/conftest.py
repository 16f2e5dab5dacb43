"""Fixtures shared by the displays' tests; the detector here must never be changed."""

import matplotlib
import pytest

from skae import AutoencoderOutlierDetector


@pytest.fixture(autouse=True)
def pyplot():
    """Draw without a window; close the figures after the test."""
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


@pytest.fixture(scope="session")
def detector(correlated_rows):
    return AutoencoderOutlierDetector(
        hidden_layer_sizes=(4, 2), epochs=2, random_state=0
    ).fit(correlated_rows)


@pytest.fixture(scope="session")
def far_row(correlated_rows):
    """A row whose error is many times that of the others."""
    return correlated_rows.mean(axis=0) + 100 * correlated_rows.std(axis=0)
