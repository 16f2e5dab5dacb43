"""How well scores rank rows: by labels, or as the rows' own isolation does."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import column_or_1d

from skae._scoring._synthetic import make_anomalies
from skae._tables._reading import (
    Table,
    find_observed,
    read_dense,
    take_rows,
    warn_if_unobserved,
)
from skae._tables._weighting import draw_by_weight, merge_rows, none_if_equal

Score = Callable[[Table], NDArray[np.float64]]

MAX_LABELS = 5  # that a warning quotes

# Without labels: each row is compared with each other, and made three.
MIN_ROWS = 10
MAX_ROWS = 500  # a search compares its candidates on the same ones
MAX_CELLS = 2**21  # of these rows: a quarter of a gigabyte, all in all

# By benchmarks/unlabelled_search.py: one neighbour chooses worse among contaminated
# rows, where outliers come in pairs, and more choose worse on clean ones.
N_NEIGHBORS = 2
CLIP = 20.0  # standard deviations


def compute_area(
    score: Score,
    X: Table,
    y: ArrayLike | None,
    weights: NDArray[np.float64],
    categorical: NDArray[np.intp],
) -> float:
    """Area under the ROC curve of the rows that weigh something."""
    weighted = np.flatnonzero(weights)
    if y is None:
        X, weights = take_rows(X, weighted), weights[weighted]
        return _rank_by_isolation(score, X, weights, categorical)
    labels = read_labels(y, weights)
    return _rank_by_labels(score, take_rows(X, weighted), labels, weights[weighted])


def _rank_by_labels(
    score: Score, X: Table, labels: NDArray, weights: NDArray[np.float64]
) -> float:
    """The area of rows of which -1 marks an outlier."""
    is_inlier = labels != -1
    if is_inlier.all() or not is_inlier.any():
        comment = ", of which none is -1." if is_inlier.any() else "."
        if {*labels.tolist()} == {0, 1}:
            comment += " If 1 marks an outlier, pass np.where(y == 1, -1, 1)."
        return _undefined_area(
            "y must hold both outliers (label -1) and inliers (any other label, by "
            f"convention 1); it holds only {show_labels(labels)}{comment}"
        )
    scores = score(X)
    warn_if_unobserved(X, scores, stacklevel=5)
    return _compute_area(is_inlier, scores, weights)


def read_labels(y: Any, weights: NDArray[np.float64]) -> NDArray:
    """The labels of the rows that weigh something, none of them missing."""
    # The list of a masked array has None where the mask is.
    labels = column_or_1d(y.tolist() if isinstance(y, np.ma.MaskedArray) else y)
    check_consistent_length(weights, labels)
    labels = labels[weights > 0]
    n_missing = sum(map(_is_missing, labels.tolist()))
    if n_missing:
        raise ValueError(
            "y must have a label for each row, -1 for an outlier and any other for an "
            f"inlier; {n_missing} of {len(labels)} are missing (NaN, None or "
            "pandas.NA). Leave these rows out, or give them a sample_weight of 0."
        )
    return labels


def show_labels(labels: NDArray) -> str:
    """The different labels, sorted, for a message; of many the first."""
    found = sorted(set(labels.tolist()), key=str)
    more = ", ..." * (len(found) > MAX_LABELS)
    return f"[{', '.join(map(repr, found[:MAX_LABELS]))}{more}]"


def _is_missing(label: Any) -> bool:
    try:
        return label is None or bool(label != label)
    except (TypeError, ArithmeticError):  # pandas.NA, and a signaling NaN of decimal
        return True


def _rank_by_isolation(
    score: Score,
    X: Table,
    weights: NDArray[np.float64],
    categorical: NDArray[np.intp],
) -> float:
    """How far distinct rows and synthetic anomalies are ranked as they are isolated."""
    observed = find_observed(X, stacklevel=5)
    X, weights = merge_rows(take_rows(X, observed), weights[observed])
    weights = weights / weights.mean()
    n_samples, n_features = X.shape
    if n_samples < MIN_ROWS or n_features < 2:
        return _undefined_area(
            f"Without y, X must have at least {MIN_ROWS} different rows and 2 columns, "
            f"to tell how isolated each is; it has {X.shape}. Pass labels as y."
        )
    rows, weights = _draw_rows(X, weights)
    anomalies = make_anomalies(rows, weights, np.random.RandomState(0))
    pool = np.concatenate([rows, anomalies])
    isolation = _measure_isolation(pool, len(rows), categorical)
    weights = np.tile(weights, len(pool) // len(rows))
    return (1.0 + _correlate_ranks(-isolation, score(pool), weights)) / 2.0


def _draw_rows(
    X: Table, weights: NDArray[np.float64]
) -> tuple[NDArray, NDArray[np.float64]]:
    """The rows, or some of them, drawn by weight, as an array."""
    n_draws = max(MIN_ROWS, min(MAX_ROWS, MAX_CELLS // X.shape[1]))
    if X.shape[0] <= n_draws:
        return read_dense(X, slice(None)), weights
    drawn = draw_by_weight(weights, n_draws, np.random.RandomState(0))
    rows, counts = np.unique(drawn, return_counts=True)
    return read_dense(X, rows), counts.astype(np.float64)


def _measure_isolation(
    pool: NDArray, n_rows: int, categorical: NDArray[np.intp]
) -> NDArray[np.float64]:
    """The mean distance to the nearest of the first rows, others than the row itself.

    In standard deviations of these rows; a missing cell is at its column's mean.
    """
    numbers = _standardise(np.delete(pool, categorical, axis=1), n_rows)
    blocks = [_make_block(pool[:, column], n_rows) for column in categorical]
    cells = np.hstack([numbers, *blocks])
    distances = cdist(cells, cells[:n_rows])
    np.fill_diagonal(distances, np.inf)
    nearest = np.partition(distances, N_NEIGHBORS - 1, axis=1)[:, :N_NEIGHBORS]
    isolation: NDArray[np.float64] = nearest.mean(axis=1)
    return isolation


def _standardise(pool: NDArray, n_rows: int) -> NDArray[np.float64]:
    """Cells in standard deviations of the first rows from their mean."""
    cells = pool.astype(np.float64)
    largest = np.fmax.reduce(np.abs(cells[:n_rows]), axis=0)
    _, exponents = np.frexp(np.nan_to_num(largest))
    cells = np.ldexp(cells, -exponents)  # of which no square is 0 or infinite
    rows = np.ma.masked_invalid(cells[:n_rows])
    with np.errstate(all="ignore"):
        cells -= rows.mean(axis=0).filled(0.0)
        cells /= rows.std(axis=0).filled(1.0)
    return np.clip(np.nan_to_num(cells, nan=0.0), -CLIP, CLIP)


def _make_block(codes: NDArray, n_rows: int) -> NDArray[np.float64]:
    """A column of 1 and 0 for each category, of a variance of 1 in the first rows."""
    is_missing = np.isnan(codes)
    categories = np.unique(codes[:n_rows][~is_missing[:n_rows]])
    block = (codes[:, np.newaxis] == categories).astype(np.float64)
    frequencies = block[:n_rows].mean(axis=0)
    block[is_missing] = frequencies
    variance = max(1.0 - np.square(frequencies).sum(), 2.0 / CLIP**2)
    return block / np.sqrt(variance)


def _correlate_ranks(
    a: NDArray[np.float64], b: NDArray[np.float64], weights: NDArray[np.float64]
) -> float:
    """Spearman's rank correlation, weighted; 0 if all values of one are equal."""
    ranks = np.stack([_rank(a, weights), _rank(b, weights)])
    ranks -= np.average(ranks, axis=1, weights=weights)[:, np.newaxis]
    products = (weights * ranks) @ ranks.T
    scale = np.sqrt(products[0, 0] * products[1, 1])
    return float(products[0, 1] / scale) if scale > 0.0 else 0.0


def _rank(
    values: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The weight of all lower values and half of that of the equal ones."""
    _, places = np.unique(values, return_inverse=True)
    totals = np.bincount(places, weights)
    middles: NDArray[np.float64] = (np.cumsum(totals) - totals / 2.0)[places]
    return middles


def _compute_area(
    is_inlier: NDArray[np.bool_],
    scores: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> float:
    weights = none_if_equal(weights)
    return float(roc_auc_score(is_inlier, scores, sample_weight=weights))


def _undefined_area(reason: str) -> float:
    warnings.warn(
        f"The area under the ROC curve is undefined and set to nan: {reason}",
        UndefinedMetricWarning,
        stacklevel=5,
    )
    return float("nan")
