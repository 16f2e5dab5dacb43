"""What the networks miss of categories, and how far categories are from each other.

In the units of the network, where a block is a category's 1 and 0s, centered and
scaled. In a missing cell all of its block is NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from skae._tables._scaling import Scaling

# Of what a network expects, one part in so many is what the frequencies say: it has
# seen too few rows to rule a category out.
DOUBT = 1e-3

# Of a column in which one row in 900 differs from all others, or that is constant: no
# such column shall drown the others.
MIN_ENTROPY = 0.01


def compute_entropies(scaling: Scaling) -> NDArray[np.float64]:
    """Of each column of categories, in nats; what knowing nothing costs."""
    terms = entr(scaling.frequencies)[np.newaxis]
    return np.maximum(scaling.layout.sum_blocks(terms)[0], MIN_ENTROPY)


def compute_misses(
    rows: NDArray[np.float64],
    outputs: NDArray[np.float64],
    scaling: Scaling,
    spread: float = 1.0,
) -> NDArray[np.float64]:
    """What was missed of each cell, (n_rows, n_columns), NaN where one is missing.

    Of a number the difference, of a category the surprise, in units of the `spread` of
    numbers: what knowing nothing costs of either.
    """
    p = scaling.layout.n_numbers
    if not scaling.layout.has_categories:
        return rows - outputs
    surprises = _compute_surprises(rows, outputs, scaling)
    surprises *= spread
    return np.concatenate([rows[:, :p] - outputs[:, :p], surprises], axis=1)


def _compute_surprises(
    rows: NDArray[np.float64], outputs: NDArray[np.float64], scaling: Scaling
) -> NDArray[np.float64]:
    """Minus the logarithm of what was expected of each category, over the entropy."""
    layout, is_category = scaling.layout, find_categories(rows, scaling)
    probabilities = layout.compute_softmax(outputs[:, layout.n_numbers :])
    expected = layout.sum_blocks(probabilities * is_category)
    expected *= 1.0 - DOUBT
    expected += DOUBT * layout.sum_blocks(scaling.frequencies * is_category)
    # `maximum` hands NaN on.
    nats = -np.log(np.maximum(expected, np.finfo(np.float64).tiny))
    return nats / compute_entropies(scaling)


def make_units(outputs: NDArray[np.float64], scaling: Scaling) -> NDArray[np.float64]:
    """Outputs as rows of units: of a category what is expected instead of 1 and 0."""
    if not scaling.layout.has_categories:
        return outputs
    p = scaling.layout.n_numbers
    blocks = scaling.layout.compute_softmax(outputs[:, p:]) - scaling.frequencies
    return np.concatenate([outputs[:, :p], blocks / scaling.scale[p:]], axis=1)


def find_categories(rows: NDArray[np.float64], scaling: Scaling) -> NDArray[np.float64]:
    """The units of categories as 1 and 0, NaN where a cell is missing."""
    p = scaling.layout.n_numbers
    units = rows[:, p:] * scaling.scale[p:] + scaling.frequencies
    return np.where(np.isnan(units), np.nan, units > 0.5)


def compute_mismatches(scaling: Scaling) -> NDArray[np.float64]:
    """How far two different categories of a column are from each other.

    As far as 0 and 1 in a column of numbers with the same variance, once it is
    standardised: the mean square of a difference between two rows is 2 there.
    """
    layout = scaling.layout
    mismatches = np.sqrt(2.0) / scaling.scale[layout.n_numbers + layout.starts]
    return np.where(layout.sizes > 1, mismatches, 0.0)
