"""How anomalous rows are, from what networks make of them; and synthetic anomalies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

STATISTICS_ROWS = 10_000  # enough for a median to .013 standard deviations


class ScoreStatistics(NamedTuple):
    """What is typical of training rows and of their residuals, in scaled units."""

    center: NDArray[np.float64]  # (n_features,): the median of each column
    deviation: float  # root mean square of the cells around it
    residuals: NDArray[np.float64]  # (n_networks, n_features): a scale for each column


def compute_score_statistics(
    rows: NDArray[np.float64], outputs: Sequence[NDArray[np.float64]]
) -> ScoreStatistics:
    """Statistics of rows and of the outputs of each network for them.

    A tenth of the mean over the columns is added to the scale of a column's residuals,
    so that one that is reproduced nearly exactly does not outweigh all others.
    """
    center = np.median(rows, axis=0)
    deviation = float(np.sqrt(np.square(rows - center).mean()))
    sizes = [np.sqrt(np.square(rows - output).mean(axis=0)) for output in outputs]
    tiny = float(np.finfo(np.float32).eps)  # the precision of the training
    residuals = [size + 0.1 * size.mean() + tiny for size in sizes]
    return ScoreStatistics(center, deviation + tiny, np.array(residuals))


def compute_anomaly(
    score_method: str,
    rows: NDArray[np.float64],
    outputs: Sequence[NDArray[np.float64]],
    statistics: ScoreStatistics,
) -> NDArray[np.float64]:
    """The anomaly of each row, averaged over networks; overwrites the outputs."""
    if score_method == "reconstruction":
        anomalies = [_compute_mean_absolute_error(rows, output) for output in outputs]
    else:
        anomalies = [
            _compute_combined_index(rows, output, statistics, residuals)
            for output, residuals in zip(outputs, statistics.residuals, strict=True)
        ]
    mean: NDArray[np.float64] = np.mean(anomalies, axis=0)
    return mean


def compute_contributions(
    score_method: str,
    rows: NDArray[np.float64],
    outputs: Sequence[NDArray[np.float64]],
    statistics: ScoreStatistics,
) -> NDArray[np.float64]:
    """What each column adds to a row's anomaly; overwrites the outputs.

    The anomaly is a mean over columns and over networks: each term goes to its column.
    """
    total = np.zeros(rows.shape)
    for output, residuals in zip(outputs, statistics.residuals, strict=True):
        if score_method == "combined":
            total += np.abs(output - statistics.center) / statistics.deviation
        errors = np.subtract(rows, output, out=output)
        np.abs(errors, out=errors)
        total += errors if score_method == "reconstruction" else errors / residuals
    total /= len(outputs) * rows.shape[1]
    return _share_out_overflow(total)


def _share_out_overflow(contributions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Let rows that overflow add up to the largest number; the others are untouched."""
    overflows = ~np.isfinite(contributions.sum(axis=1))
    largest = np.finfo(np.float64).max
    rows = np.nan_to_num(contributions[overflows], nan=largest, posinf=largest)
    rows /= rows.max(axis=1, keepdims=True)
    rows /= rows.sum(axis=1, keepdims=True)
    contributions[overflows] = rows * (largest * (1.0 - 1e-9))  # room for rounding
    return contributions


def _compute_mean_absolute_error(
    rows: NDArray[np.float64], output: NDArray[np.float64]
) -> NDArray[np.float64]:
    errors = np.subtract(rows, output, out=output)
    mean: NDArray[np.float64] = np.abs(errors, out=errors).mean(axis=1)
    return mean


def _compute_combined_index(
    rows: NDArray[np.float64],
    output: NDArray[np.float64],
    statistics: ScoreStatistics,
    residuals: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Mean over the columns of how unusual the output is, and how far from the row."""
    deviations = np.abs(output - statistics.center).mean(axis=1)
    errors = np.subtract(rows, output, out=output)
    np.abs(errors, out=errors)
    errors *= 1.0 / residuals
    anomaly: NDArray[np.float64] = deviations / statistics.deviation
    anomaly += errors.mean(axis=1)
    return anomaly


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
