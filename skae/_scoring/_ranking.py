"""How well scores rank rows: by labels, or against synthetic anomalies."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_consistent_length, gen_batches
from sklearn.utils.validation import column_or_1d

from skae._scoring._threads import BLOCK_ROWS
from skae._tables._reading import Stored, read_dense

Score = Callable[[Stored], NDArray[np.float64]]


def rank_by_labels(scores: NDArray[np.float64], y: ArrayLike) -> float:
    """Area under the ROC curve of rows of which -1 marks an outlier."""
    check_consistent_length(scores, y)
    is_inlier = column_or_1d(y) != -1
    if is_inlier.all() or not is_inlier.any():
        found = "inliers" if is_inlier.any() else "outliers"
        return _undefined_area(
            "y must hold both outliers (label -1) and inliers (any other "
            f"label, by convention 1); it holds only {found}."
        )
    return float(roc_auc_score(is_inlier, scores))


def rank_against_synthetic(
    score: Score, X: Stored, scores: NDArray[np.float64]
) -> float:
    """Area under the ROC curve of rows against synthetic anomalies made of them."""
    if min(X.shape) < 2:
        return _undefined_area(
            "Without y, X must have at least 2 rows and 2 columns to make "
            f"synthetic anomalies from; its shape is {X.shape}. Pass labels as y."
        )
    all_scores = [scores, *map(score, make_synthetic_anomalies(X))]
    is_inlier = np.repeat([True, False], X.shape[0])
    return float(roc_auc_score(is_inlier, np.concatenate(all_scores)))


def _undefined_area(reason: str) -> float:
    warnings.warn(
        f"The area under the ROC curve is undefined and set to nan: {reason}",
        UndefinedMetricWarning,
        stacklevel=4,
    )
    return float("nan")


def make_synthetic_anomalies(X: Stored) -> Iterator[NDArray]:
    """Each row of X with one column's value taken from another row; by blocks of rows.

    Where the other row's is missing, the row stays as it is.

    Rows, columns and donors come from a constant seed: every detector that is compared
    on X meets the same anomalies. X needs two rows and two columns.
    """
    rng = np.random.RandomState(0)
    n_samples, n_features = X.shape
    columns = rng.randint(n_features, size=(n_samples,))
    donors = (np.arange(n_samples) + rng.randint(1, n_samples, n_samples)) % n_samples
    donated: NDArray = np.ravel(X[donors, columns])
    for rows in gen_batches(n_samples, BLOCK_ROWS):
        anomalies = np.array(read_dense(X, rows))
        cells = np.arange(len(anomalies)), columns[rows]
        is_missing = np.isnan(donated[rows])
        anomalies[cells] = np.where(is_missing, anomalies[cells], donated[rows])
        yield anomalies
