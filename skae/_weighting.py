"""Rows with weights: repeated ones merged, in an order that they alone decide.

A fit then depends neither on the order of the rows nor on whether a row is repeated or
weighted: all that follows sees the same distinct rows, in the same order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import gen_batches
from sklearn.utils.validation import _check_sample_weight

from skae._scaling import Table, compute_extremes, is_copied, read_dense

BLOCK_CELLS = 2**17  # fits a processor's cache
BIT_MIXER = np.uint64(0x9E3779B97F4A7C15)


def check_weights(sample_weight: ArrayLike | None, X: Table) -> NDArray[np.float64]:
    """One weight for each row, at least one of them positive."""
    if sample_weight is not None and not np.asarray(sample_weight).any():
        raise ValueError(
            "sample_weight must hold at least one positive weight; all are zero, "
            "which leaves no row to fit on. Pass None to weigh all rows alike."
        )
    weights: NDArray[np.float64] = _check_sample_weight(
        sample_weight, X, dtype=np.float64, ensure_non_negative=True
    )
    return weights


def merge_rows(
    X: Table, weights: NDArray[np.float64]
) -> tuple[Table, NDArray[np.float64]]:
    """The distinct rows in canonical order, and the sum of the weights of each.

    The order does not depend on the units of the columns, so that what is learnt does
    not. A table that is too large to be copied stays as it is.
    """
    if not is_copied(X):
        return X, weights
    positions, keys = _locate(X)
    order = np.lexsort((weights, *keys, positions))  # weights: sums are canonical, too
    keys = keys[:, order]
    is_first = np.append(True, (keys[:, 1:] != keys[:, :-1]).any(axis=0))
    firsts = np.flatnonzero(is_first)
    return X[order[firsts]], np.add.reduceat(weights[order], firsts)


def _locate(X: Table) -> tuple[NDArray[np.float64], NDArray[np.uint64]]:
    """Where each row lies along a random line, and its two keys, (2, n_samples).

    The keys are sums of the cells' bits, mixed and multiplied by random numbers, modulo
    2^64: equal rows share both, and that any two different rows of a million do has a
    probability of about 1e-26.

    Source: Carter & Wegman (1979), "Universal classes of hash functions", Journal of
    Computer and System Sciences 18, 143-154.
    """
    n_samples, n_features = X.shape
    rng = np.random.RandomState(0)
    factors = 2 * rng.randint(2**63, size=(n_features, 2), dtype=np.uint64) + 1
    low, high = compute_extremes(X)
    positions, keys = np.empty(n_samples), np.empty((2, n_samples), np.uint64)
    with np.errstate(all="ignore"):
        slopes = rng.uniform(size=n_features) / np.subtract(high, low, dtype=np.float64)
        slopes[~np.isfinite(slopes)] = 0.0  # constant columns
        for rows in gen_batches(n_samples, max(1, BLOCK_CELLS // n_features)):
            cells = np.add(read_dense(X, rows), 0.0, dtype=np.float64)  # -0 becomes 0
            is_missing = np.isnan(cells)
            cells[is_missing] = np.nan  # one of the many
            bits = cells.view(np.uint64) * BIT_MIXER
            bits ^= bits >> np.uint64(32)
            keys[:, rows] = (bits @ factors).T
            cells -= low
            cells *= slopes
            cells[is_missing] = 0.0
            positions[rows] = cells.sum(axis=1)
    return positions, keys


def none_if_equal(weights: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """None stands for weights that are all the same."""
    return None if (weights == weights[0]).all() else weights


def draw_by_weight(
    weights: NDArray[np.float64], n_draws: int, rng: np.random.RandomState
) -> NDArray[np.intp]:
    """Sorted indices, each as often as its share of the weights says, or once more.

    Systematic sampling; source: Madow (1949), "On the theory of systematic sampling,
    II", Annals of Mathematical Statistics 20, 333-354.
    """
    steps = np.cumsum(weights)
    edges = np.floor(steps / steps[-1] * n_draws + rng.uniform()).astype(np.intp)
    return np.repeat(np.arange(len(weights)), np.diff(edges, prepend=0))
