"""From rows and their reconstructions to scores; synthetic anomalies to try them on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mean_absolute_error(
    rows: NDArray[np.float64], reconstructions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean absolute reconstruction error of each row; overwrites `reconstructions`."""
    errors = np.subtract(rows, reconstructions, out=reconstructions)
    mean: NDArray[np.float64] = np.abs(errors, out=errors).mean(axis=1)
    return mean


def make_synthetic_anomalies(X: NDArray) -> NDArray:
    """Each row of X with one column's value taken from another row.

    Rows, columns and donors come from a constant seed: every detector that is compared
    on X meets the same anomalies. X needs two rows and two columns.
    """
    rng = np.random.RandomState(0)
    n_samples, n_features = X.shape
    columns = rng.randint(n_features, size=n_samples)
    donors = (np.arange(n_samples) + rng.randint(1, n_samples, n_samples)) % n_samples
    anomalies = np.array(X)
    anomalies[np.arange(n_samples), columns] = X[donors, columns]
    return anomalies
