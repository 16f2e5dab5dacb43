"""How anomalous rows are, from what networks make of them.

A missing cell of a row is NaN: it adds nothing, and means are over the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skae._tables._reading import Weights
from skae._tables._scaling import compute_quantiles


class ScoreStatistics(NamedTuple):
    """What is typical of training rows and of their residuals, in scaled units."""

    center: NDArray[np.float64]  # (n_features,): the median of each column
    deviation: float  # root mean square of the cells around it
    residuals: NDArray[np.float64]  # (n_networks, n_features): a scale for each column


def compute_score_statistics(
    rows: NDArray[np.float64],
    outputs: Sequence[NDArray[np.float64]] | NDArray[np.float64],
    weights: Weights = None,
) -> ScoreStatistics:
    """Statistics of rows and of the outputs of each network for them.

    A tenth of the mean over the columns is added to the scale of a column's residuals,
    so that one that is reproduced nearly exactly does not outweigh all others. A column
    of missing cells has center 0, and residuals as large as that mean.
    """
    is_missing = np.isnan(rows)
    if is_missing.any() or weights is not None:
        center, deviation, sizes = _compute_observed_statistics(
            rows, outputs, is_missing, weights
        )
    else:
        center = np.median(rows, axis=0)
        deviation = float(np.sqrt(np.square(rows - center).mean()))
        sizes = [np.sqrt(np.square(rows - output).mean(axis=0)) for output in outputs]
    tiny = float(np.finfo(np.float32).eps)  # the precision of the training
    residuals = [size + 0.1 * size.mean() + tiny for size in sizes]
    return ScoreStatistics(center, deviation + tiny, np.array(residuals))


def _compute_observed_statistics(
    rows: NDArray[np.float64],
    outputs: Sequence[NDArray[np.float64]] | NDArray[np.float64],
    is_missing: NDArray[np.bool_],
    weights: Weights,
) -> tuple[NDArray[np.float64], float, list[NDArray[np.float64]]]:
    """Center, deviation and sizes of the residuals, from the observed cells."""
    columns = np.ones((len(rows), 1)) if weights is None else weights[:, np.newaxis]
    totals = np.sum(columns * ~is_missing, axis=0)
    is_known = totals > 0
    center = np.zeros(rows.shape[1])
    center[is_known] = compute_quantiles(rows[:, is_known], [0.5], weights)[0]
    squares = np.nansum(columns * np.square(rows - center))
    deviation = float(np.sqrt(squares / totals.sum()))
    sizes = []
    for output in outputs:
        squares = np.nansum(columns * np.square(rows - output), axis=0)
        size = np.sqrt(squares / np.where(is_known, totals, 1.0))
        size[~is_known] = size[is_known].mean()
        sizes.append(size)
    return center, deviation, sizes


def compute_anomaly(
    score_method: str,
    rows: NDArray[np.float64],
    outputs: Sequence[NDArray[np.float64]] | NDArray[np.float64],
    statistics: ScoreStatistics,
) -> NDArray[np.float64]:
    """The anomaly of each row, averaged over networks; overwrites the outputs.

    A row with nothing observed gets 0, as nothing speaks against it.
    """
    is_missing = np.isnan(rows)
    average = _average_over_columns
    if is_missing.any():
        average = partial(_average_over_observed_columns, is_missing=is_missing)
    if score_method == "reconstruction":
        anomalies = [
            _compute_mean_absolute_error(rows, output, average) for output in outputs
        ]
    else:
        anomalies = [
            _compute_combined_index(rows, output, statistics, residuals, average)
            for output, residuals in zip(outputs, statistics.residuals, strict=True)
        ]
    mean: NDArray[np.float64] = np.mean(anomalies, axis=0)
    return mean


def _average_over_columns(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = terms.mean(axis=1)
    return mean


def _average_over_observed_columns(
    terms: NDArray[np.float64], is_missing: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The same to the bit for a row without missing cells; overwrites the terms."""
    terms[is_missing] = 0.0
    n_observed = np.maximum((~is_missing).sum(axis=1), 1)
    mean: NDArray[np.float64] = terms.sum(axis=1) / n_observed
    return mean


def _compute_mean_absolute_error(
    rows: NDArray[np.float64],
    output: NDArray[np.float64],
    average: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    errors = np.subtract(rows, output, out=output)
    return average(np.abs(errors, out=errors))


def _compute_combined_index(
    rows: NDArray[np.float64],
    output: NDArray[np.float64],
    statistics: ScoreStatistics,
    residuals: NDArray[np.float64],
    average: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Mean over the columns of how unusual the output is, and how far from the row."""
    deviations = average(np.abs(output - statistics.center))
    errors = np.subtract(rows, output, out=output)
    np.abs(errors, out=errors)
    errors *= 1.0 / residuals
    anomaly: NDArray[np.float64] = deviations / statistics.deviation
    anomaly += average(errors)
    return anomaly
