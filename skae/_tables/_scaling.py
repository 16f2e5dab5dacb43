"""From the user's units to the network's and back.

The statistics of the columns leave missing cells out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from skae._tables._reading import (
    CHUNK_BYTES,
    Rows,
    Table,
    WeightedTable,
    Weights,
    compute_extremes,
    has_missing_cells,
    read_chunks,
    read_columns,
    read_dense,
    read_numbered_chunks,
    take_rows,
)
from skae._tables._weighting import none_if_equal


class Scaling(NamedTuple):
    """What the columns' units are to the network's, and what stands for a gap."""

    center: NDArray[np.float64]  # (n_features,)
    scale: NDArray[np.float64]
    mask_values: NDArray[np.float64]  # the mean of each column, in the network's units

    @classmethod
    def of_nothing(
        cls, n_features: int, mask_values: NDArray[np.float64] | None = None
    ) -> Scaling:
        """The scaling that leaves rows as they are."""
        zeros = np.zeros(n_features)
        values = zeros if mask_values is None else mask_values
        return cls(zeros, np.ones(n_features), values)

    def undo(self, scaled: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rows of the network in the user's units, in their place."""
        scaled *= self.scale
        scaled += self.center
        return scaled


class ScaledRows:
    """Rows of a table in the network's units, computed when they are read."""

    def __init__(self, X: Table, scaling: Scaling, weights: Weights = None):
        self.X = X
        self.scaling = scaling
        self.weights = weights
        self.factor = 1.0 / scaling.scale
        self._is_scaled = bool(
            np.any(scaling.center != 0.0) or np.any(scaling.scale != 1.0)
        )

    @property
    def shape(self) -> tuple[int, int]:
        return self.X.shape[0], self.X.shape[1]

    def read(self, rows: Rows, out: NDArray) -> NDArray:
        """Write the given rows to `out`, of float64 or float32, and return it."""
        if self._is_scaled:
            values = read_dense(self.X, rows)
            values = np.subtract(values, self.scaling.center, dtype=np.float64)
            np.multiply(values, self.factor, out=out, casting="same_kind")
        elif (
            isinstance(rows, slice)
            or not isinstance(self.X, np.ndarray)
            or out.dtype != self.X.dtype
        ):
            out[...] = read_dense(self.X, rows)
        else:
            np.take(self.X, rows, axis=0, out=out, mode="clip")  # the mode is faster
        return out

    def read_all(self) -> NDArray[np.float64]:
        """All rows, in float64."""
        return self.read(slice(None), out=np.empty(self.shape))

    @cached_property
    def has_missing(self) -> bool:
        """Whether there are missing cells."""
        return has_missing_cells(self.X)

    def compute_range(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        low, high = (
            (extreme - self.scaling.center) * self.factor
            for extreme in compute_extremes(self.X)
        )
        return float(np.fmin.reduce(low)), float(np.fmax.reduce(high))

    def compute_means(self) -> NDArray[np.float64]:
        """Mean of each column in the user's units; 0 where all cells are missing."""
        if self.weights is not None or self.has_missing:
            return _compute_observed_moments(self.X, self.weights)[0]
        sums = (chunk.sum(axis=0, dtype=np.float64) for chunk in read_chunks(self.X))
        means: NDArray[np.float64] = sum(sums) / self.shape[0]
        return means

    def kept_if_small(self) -> ScaledRows:
        """The same rows, scaled once and for all where float32 takes little memory."""
        if 4 * self.shape[0] * self.shape[1] > CHUNK_BYTES:
            return self
        scaled = self.read(slice(None), out=np.empty(self.shape, np.float32))
        done = Scaling.of_nothing(self.shape[1], self.scaling.mask_values)
        return ScaledRows(scaled, done, self.weights)

    def take(self, rows: NDArray[np.intp], weights: Weights = None) -> ScaledRows:
        """Some of the rows, in ascending order, with their weights or with others."""
        if weights is None and self.weights is not None:
            weights = self.weights[rows]
        return ScaledRows(take_rows(self.X, rows), self.scaling, weights)


def scale_rows(table: WeightedTable, method: str | None) -> ScaledRows:
    """Rows by the scaling that they themselves give."""
    weights = none_if_equal(table.weights)
    center, scale = fit_scaling(table.X, method, weights)
    rows = ScaledRows(table.X, Scaling(center, scale, np.zeros(len(center))), weights)
    means = (rows.compute_means() - center) * rows.factor
    rows.scaling = rows.scaling._replace(mask_values=means)
    return rows


def fit_scaling(
    X: Table, scaling: str | None, weights: Weights = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Center and scale of each column; a column without spread gets scale 1.

    Missing cells are left out; a column of nothing else gets center 0 and scale 1.

    Parameters
    ----------
    X : {ndarray, CSR} of shape (n_samples, n_features)
        May be a memory map: it is read, or made dense, a chunk at a time.
    scaling : {"standard", "minmax", "robust"} or None
        Mean and standard deviation; minimum and range; median and interquartile range
        (the standard deviation where at least half of a column is one value); or
        none.
    weights : ndarray of shape (n_samples,), default=None
        What each row counts; positive. Minimum and range do not depend on it.

    Returns
    -------
    center, scale : ndarrays of shape (n_features,)
    """
    n_samples, n_features = X.shape
    if scaling is None:
        return np.zeros(n_features), np.ones(n_features)
    with np.errstate(over="ignore", invalid="ignore"):  # `_checked` reports it
        if scaling == "minmax":
            low, high = (extreme.astype(float) for extreme in compute_extremes(X))
            is_missing = np.isnan(low)
            low[is_missing] = high[is_missing] = 0.0
            return _checked(low, high - low)
        mean, deviation = _compute_moments(X, weights)
        if scaling == "standard":
            return _checked(mean, deviation)
        quartiles = np.empty((3, n_features))
        n_at_once = max(1, CHUNK_BYTES // (8 * n_samples))
        for columns, values in read_columns(X, n_at_once):
            values = values.astype(np.float64)
            values[:, np.isnan(values).all(axis=0)] = 0.0
            quartiles[:, columns] = compute_quantiles(
                values, [0.25, 0.5, 0.75], weights
            )
        low, median, high = quartiles
        return _checked(median, np.where(high > low, high - low, deviation))


def compute_quantiles(
    values: NDArray[np.float64], shares: Sequence[float], weights: Weights
) -> NDArray[np.float64]:
    """Quantiles of each column of an array, the missing cells left out.

    Weighted, the smallest value up to which the weights make up the share.
    """
    is_missing = np.isnan(values)
    if weights is None:
        quantile = np.nanquantile if is_missing.any() else np.quantile
        quantiles: NDArray[np.float64] = quantile(values, shares, axis=0)
        return quantiles
    order = np.argsort(values, axis=0)  # NaN last
    values, is_missing = (
        np.take_along_axis(array, order, axis=0) for array in (values, is_missing)
    )
    steps = np.cumsum(np.where(is_missing, 0.0, weights[order]), axis=0)
    firsts = [np.argmax(steps >= share * steps[-1], axis=0) for share in shares]
    return np.take_along_axis(values, np.array(firsts), axis=0)


def _compute_moments(
    X: Table, weights: Weights
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each column; what overflows is infinite."""
    if weights is not None or has_missing_cells(X):
        return _compute_observed_moments(X, weights)
    standard = StandardScaler()
    for chunk in read_chunks(X):
        standard.partial_fit(chunk.astype(np.float64))
    is_finite = np.isfinite(standard.var_)
    return standard.mean_, np.where(is_finite, standard.scale_, np.inf)


def _compute_observed_moments(
    X: Table, weights: Weights
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same with weights, without missing cells; 0 in a column of nothing else.

    `StandardScaler` takes NaN, but none in a column that starts with a chunk of it.
    """
    columns = np.ones((X.shape[0], 1)) if weights is None else weights[:, np.newaxis]
    totals, sums, squares = np.zeros((3, X.shape[1]))
    for rows, chunk in read_numbered_chunks(X):
        totals += np.sum(columns[rows] * ~np.isnan(chunk), axis=0)
        sums += np.nansum(columns[rows] * chunk, axis=0)
    totals[totals == 0.0] = 1.0
    means = sums / totals
    for rows, chunk in read_numbered_chunks(X):
        residuals = np.subtract(chunk, means, dtype=np.float64)
        squares += np.nansum(columns[rows] * np.square(residuals), axis=0)
    return means, np.sqrt(squares / totals)


def _checked(
    center: NDArray[np.float64], spread: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Center and scale, or an error that names the columns whose spread overflows."""
    overflows = ~(np.isfinite(center) & np.isfinite(spread))
    if overflows.any():
        raise ValueError(
            "The spread of each column must be a finite float64 number; it overflows "
            f"in column(s) {np.flatnonzero(overflows).tolist()}. Divide their values "
            "by a power of ten before fitting."
        )
    limits = np.finfo(np.float64)
    is_noise = spread <= np.maximum(10 * limits.eps * np.abs(center), limits.tiny)
    return center, np.where(is_noise, 1.0, spread)
