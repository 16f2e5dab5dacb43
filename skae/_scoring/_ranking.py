"""How well scores rank rows: by labels, or against synthetic anomalies."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_consistent_length, gen_batches
from sklearn.utils.validation import column_or_1d

from skae._scoring._threads import BLOCK_ROWS
from skae._tables._reading import (
    Table,
    find_observed,
    read_cells,
    read_dense,
    take_rows,
    warn_if_unobserved,
)
from skae._tables._weighting import merge_rows, none_if_equal

Score = Callable[[Table], NDArray[np.float64]]

MAX_LABELS = 5  # that a warning quotes


def compute_area(
    score: Score, X: Table, y: ArrayLike | None, weights: NDArray[np.float64]
) -> float:
    """Area under the ROC curve of the rows that weigh something."""
    weighted = np.flatnonzero(weights)
    if y is None:
        return _rank_against_synthetic(score, take_rows(X, weighted), weights[weighted])
    labels = read_labels(y, weights)
    return _rank_by_labels(score, take_rows(X, weighted), labels, weights[weighted])


def _rank_by_labels(
    score: Score, X: Table, labels: NDArray, weights: NDArray[np.float64]
) -> float:
    """The area of rows of which -1 marks an outlier."""
    is_inlier = labels != -1
    if is_inlier.all() or not is_inlier.any():
        found = sorted(set(labels.tolist()), key=str)
        more = ", ..." * (len(found) > MAX_LABELS)
        shown = f"[{', '.join(map(repr, found[:MAX_LABELS]))}{more}]"
        return _undefined_area(
            "y must hold both outliers (label -1) and inliers (any other label, by "
            f"convention 1); it holds only {shown}"
            + (", of which none is -1." if is_inlier.any() else ".")
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


def _is_missing(label: Any) -> bool:
    try:
        return label is None or bool(label != label)
    except TypeError:  # pandas.NA is neither equal to itself nor not
        return True


def _rank_against_synthetic(
    score: Score, X: Table, weights: NDArray[np.float64]
) -> float:
    """The area of distinct rows against synthetic anomalies made of them."""
    observed = find_observed(X, stacklevel=5)
    X, weights = merge_rows(take_rows(X, observed), weights[observed])
    if min(X.shape) < 2:
        return _undefined_area(
            "Without y, X must have at least 2 different rows and 2 columns to make "
            f"synthetic anomalies from; it has {X.shape}. Pass labels as y."
        )
    anomalies = make_synthetic_anomalies(X, weights)
    scores = np.concatenate([score(X), *map(score, anomalies)])
    is_inlier = np.repeat([True, False], X.shape[0])
    return _compute_area(is_inlier, scores, np.tile(weights, 2))


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


def make_synthetic_anomalies(
    X: Table, weights: NDArray[np.float64]
) -> Iterator[NDArray]:
    """Each row of X with one column's value taken from another row; by blocks of rows.

    Where the other row's is missing, the row stays as it is.

    Rows, columns and donors come from a constant seed: every detector that is compared
    on X meets the same anomalies. X needs two rows and two columns.
    """
    rng = np.random.RandomState(0)
    n_samples, n_features = X.shape
    columns = rng.randint(n_features, size=(n_samples,))
    donated = read_cells(X, _draw_others(weights, rng), columns)
    for rows in gen_batches(n_samples, BLOCK_ROWS):
        anomalies = np.array(read_dense(X, rows))
        cells = np.arange(len(anomalies)), columns[rows]
        is_missing = np.isnan(donated[rows])
        anomalies[cells] = np.where(is_missing, anomalies[cells], donated[rows])
        yield anomalies


def _draw_others(
    weights: NDArray[np.float64], rng: np.random.RandomState
) -> NDArray[np.intp]:
    """For each row the index of another, drawn by weight.

    With the rows laid on a circle, each as long as its weight, it is the one that lies
    at a random distance from the row's end, less than the way round to its start.
    """
    ends = np.cumsum(weights)
    length = ends[-1]
    places = ends + rng.uniform(size=len(ends)) * (length - weights)
    others = np.searchsorted(ends, places % length, side="right")
    return np.minimum(others, len(ends) - 1)  # should a place be rounded up
