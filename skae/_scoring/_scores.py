"""The reconstruction error of rows, the score of the article.

Of a category the error is its surprise. A missing cell of a row is NaN: it adds
nothing, and means are over the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skae._scoring._surprise import compute_misses
from skae._tables._scaling import Scaling


def compute_reconstruction_errors(
    rows: NDArray[np.float64],
    outputs: Sequence[NDArray[np.float64]] | NDArray[np.float64],
    scaling: Scaling,
) -> NDArray[np.float64]:
    """The mean absolute error of each row, averaged over networks.

    A row with nothing observed gets 0, as nothing speaks against it. Overwrites the
    outputs.
    """
    is_missing = scaling.layout.find_missing(rows)
    has_missing = is_missing.any()
    n_cells = is_missing.shape[1]
    n_observed = count_observed(is_missing) if has_missing else n_cells
    means = []
    for output in outputs:
        if scaling.layout.has_categories:
            errors = compute_misses(rows, output, scaling)
        else:
            errors = np.subtract(rows, output, out=output)
        np.abs(errors, out=errors)
        if has_missing:
            errors[is_missing] = 0.0
        means.append(errors.sum(axis=1) / n_observed)
    average: NDArray[np.float64] = np.mean(means, axis=0)
    return average


def compute_error_terms(
    rows: NDArray[np.float64], outputs: NDArray[np.float64], scaling: Scaling
) -> NDArray[np.float64]:
    """What each column adds to the error of each row, (n_rows, n_columns)."""
    is_missing = scaling.layout.find_missing(rows)
    terms = np.zeros(is_missing.shape)
    for output in outputs:
        terms += np.abs(compute_misses(rows, output, scaling))
    terms[is_missing] = 0.0
    return terms / (len(outputs) * count_observed(is_missing)[:, np.newaxis])


def compute_error_squares(
    rows: NDArray[np.float64], outputs: NDArray[np.float64], scaling: Scaling
) -> NDArray[np.float64]:
    """Squared errors, summed over the networks, (n_rows, n_columns)."""
    is_missing = scaling.layout.find_missing(rows)
    squares = np.zeros(is_missing.shape)
    for output in outputs:
        squares += np.square(compute_misses(rows, output, scaling))
    squares[is_missing] = 0.0
    return squares


def count_observed(is_missing: NDArray[np.bool_]) -> NDArray[np.intp]:
    """How many cells of each row are not missing; 1 if all are, to divide by."""
    counts: NDArray[np.intp] = np.maximum((~is_missing).sum(axis=1), 1)
    return counts
