"""Rows with weights: repeated ones merged, in an order that they alone decide.

A fit then depends neither on the order of the rows nor on whether a row is repeated or
weighted: all that follows sees the same distinct rows, in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import gen_batches
from sklearn.utils.validation import _check_sample_weight

from skae._tables._reading import (
    Table,
    compute_extremes,
    is_copied,
    read_dense,
)

BLOCK_CELLS = 2**17  # fits a processor's cache
MAX_TOTAL = 1e100  # of weights: sums of squares by weight are finite then
BIT_MIXER = np.uint64(0x9E3779B97F4A7C15)


def check_weights(sample_weight: ArrayLike | None, X: Table) -> NDArray[np.float64]:
    """One weight for each row, at least one of them positive."""
    try:
        given = np.ones(1) if sample_weight is None else np.asarray(sample_weight)
        if np.iscomplexobj(given):
            raise TypeError("Some are complex.")
        is_zero = bool(given.size and not given.any())
        with np.errstate(all="ignore"):  # of infinite ones
            weights: NDArray[np.float64] = _check_sample_weight(
                None if is_zero else sample_weight,
                X,
                dtype=np.float64,
                ensure_non_negative=True,
            )
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            "sample_weight must hold a finite number for each row, at least 0, or be "
            f"None to weigh all rows alike. {error}"
        ) from None
    if is_zero:
        raise ValueError(
            "sample_weight must hold at least one positive weight; all are zero, "
            "which leaves no row. Pass None to weigh all rows alike."
        )
    with np.errstate(over="ignore"):
        total = weights.sum()
    if not total <= MAX_TOTAL:  # nor NaN
        raise ValueError(
            f"sample_weight must add up to at most {MAX_TOTAL:g}; the largest weight "
            f"is {weights.max():g}. Divide the weights by a power of ten."
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
    positions = _locate(X)
    order = np.argsort(positions, kind="stable")
    if np.diff(positions[order]).all():  # no two rows are equal
        return X[order], weights[order]
    keys = _compute_keys(X)
    order = np.lexsort((weights, *keys, positions))  # weights: sums are canonical, too
    keys = keys[:, order]
    is_first = np.append(True, (keys[:, 1:] != keys[:, :-1]).any(axis=0))
    firsts = np.flatnonzero(is_first)
    weights, order = np.add.reduceat(weights[order], firsts), order[firsts]
    settled = _settle_ties(X, order, positions[order])
    return X[order[settled]], weights[settled]


def _settle_ties(
    X: Table, rows: NDArray[np.intp], positions: NDArray[np.float64]
) -> NDArray[np.intp]:
    """An order of distinct rows in which those at one place are ordered by their cells.

    Some share one, where a cell is far less than the range of its column, and their
    keys depend on its unit.
    """
    order, is_tied = np.arange(len(rows)), np.diff(positions) == 0.0
    (tied,) = np.nonzero(np.append(is_tied, False) | np.append(False, is_tied))
    if len(tied):
        cells = read_dense(X, rows[tied])
        order[tied] = tied[np.lexsort((*cells.T[::-1], positions[tied]))]
    return order


def _locate(X: Table) -> NDArray[np.float64]:
    """Where each row lies along a random line, in units of the columns' ranges.

    A missing cell is at a place of its own, so that no rows but equal ones meet.
    """
    low, high = compute_extremes(X)
    positions, rng = np.empty(X.shape[0]), np.random.RandomState(0)
    with np.errstate(all="ignore"):
        ranges = np.subtract(high, low, dtype=np.float64)
        slopes = rng.uniform(size=X.shape[1]) / ranges
        slopes[~np.isfinite(slopes)] = 0.0  # constant columns
        of_missing = -rng.uniform(size=X.shape[1])
        for rows, cells in _read_blocks(X):
            cells -= low
            cells *= slopes
            np.copyto(cells, of_missing, where=np.isnan(cells))
            positions[rows] = cells.sum(axis=1)
    return positions


def _compute_keys(X: Table) -> NDArray[np.uint64]:
    """Two integers for each row, (2, n_samples), which equal rows alone share.

    Sums of the cells' bits, mixed and multiplied by random numbers, modulo 2^64: that
    any two different rows of a million share both has a probability of about 1e-26.

    Source: Carter & Wegman (1979), "Universal classes of hash functions", Journal of
    Computer and System Sciences 18, 143-154.
    """
    rng = np.random.RandomState(0)
    factors = 2 * rng.randint(2**63, size=(X.shape[1], 2), dtype=np.uint64) + 1
    keys = np.empty((2, X.shape[0]), np.uint64)
    for rows, cells in _read_blocks(X):
        cells += 0.0  # -0 becomes 0
        cells[np.isnan(cells)] = np.nan  # one of the many
        bits = cells.view(np.uint64)
        bits *= BIT_MIXER
        bits ^= bits >> np.uint64(32)
        keys[:, rows] = (bits @ factors).T
    return keys


def _read_blocks(X: Table) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """All rows as copies in float64, some at a time, each time with their place."""
    n_samples, n_features = X.shape
    for rows in gen_batches(n_samples, max(1, BLOCK_CELLS // n_features)):
        yield rows, read_dense(X, rows).astype(np.float64)


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
