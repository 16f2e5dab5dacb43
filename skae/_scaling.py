"""From the user's units to the network's and back, a chunk of rows at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from sklearn.utils import gen_batches

CHUNK_BYTES = 2**24  # of float64: large enough for NumPy, small beside any table

Rows = slice | NDArray[np.intp]


class ScaledRows:
    """Rows of a table in the network's units, computed when they are read."""

    def __init__(
        self, X: NDArray, center: NDArray[np.float64], scale: NDArray[np.float64]
    ):
        self.X = X
        self.center = center
        self.scale = scale
        self.factor = 1.0 / scale
        self._is_scaled = bool(np.any(center != 0.0) or np.any(scale != 1.0))

    @property
    def shape(self) -> tuple[int, int]:
        return self.X.shape[0], self.X.shape[1]

    def read(self, rows: Rows, out: NDArray) -> NDArray:
        """Write the given rows to `out`, of float64 or float32, and return it."""
        if self._is_scaled:
            values = np.subtract(self.X[rows], self.center, dtype=np.float64)
            np.multiply(values, self.factor, out=out, casting="same_kind")
        elif isinstance(rows, slice) or out.dtype != self.X.dtype:
            out[...] = self.X[rows]
        else:
            np.take(self.X, rows, axis=0, out=out, mode="clip")  # the mode is faster
        return out

    def compute_range(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        low = (self.X.min(axis=0) - self.center) * self.factor
        high = (self.X.max(axis=0) - self.center) * self.factor
        return float(low.min()), float(high.max())

    def compute_mean(self) -> NDArray[np.float64]:
        """The mean of each column."""
        sums = (
            self.X[r].sum(axis=0, dtype=np.float64) for r in _chunks_of_rows(self.X)
        )
        return (sum(sums) / self.shape[0] - self.center) * self.factor

    def kept_if_small(self) -> ScaledRows:
        """The same rows, scaled once and for all where float32 takes little memory."""
        if 4 * self.X.size > CHUNK_BYTES:
            return self
        scaled = self.read(slice(None), out=np.empty(self.shape, np.float32))
        return ScaledRows(scaled, np.zeros(self.shape[1]), np.ones(self.shape[1]))

    def take(self, rows: NDArray[np.intp]) -> ScaledRows:
        """A few of the rows."""
        return ScaledRows(self.X[rows], self.center, self.scale)


def fit_scaling(
    X: NDArray, scaling: str | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Center and scale of each column; a column without spread gets scale 1.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        May be a memory map: it is read a chunk at a time.
    scaling : {"standard", "minmax", "robust"} or None
        Mean and standard deviation; minimum and range; median and interquartile range
        (the standard deviation where at least half of a column is one value); or
        none.

    Returns
    -------
    center, scale : ndarrays of shape (n_features,)
    """
    n_samples, n_features = X.shape
    if scaling is None:
        return np.zeros(n_features), np.ones(n_features)
    with np.errstate(over="ignore", invalid="ignore"):  # `_checked` reports it
        if scaling == "minmax":
            chunks = [X[rows] for rows in _chunks_of_rows(X)]
            low = np.min([chunk.min(axis=0) for chunk in chunks], axis=0).astype(float)
            high = np.max([chunk.max(axis=0) for chunk in chunks], axis=0).astype(float)
            return _checked(low, high - low)
        standard = StandardScaler()
        for rows in _chunks_of_rows(X):
            standard.partial_fit(X[rows].astype(np.float64))
        deviation = np.where(np.isfinite(standard.var_), standard.scale_, np.inf)
        if scaling == "standard":
            return _checked(standard.mean_, deviation)
        quartiles = np.empty((3, n_features))
        for columns in gen_batches(n_features, max(1, CHUNK_BYTES // (8 * n_samples))):
            values = X[:, columns].astype(np.float64)
            quartiles[:, columns] = np.percentile(values, [25, 50, 75], axis=0)
        low, median, high = quartiles
        return _checked(median, np.where(high > low, high - low, deviation))


def unscale(
    scaled: NDArray, center: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Rows of the network in the user's units."""
    rows: NDArray[np.float64] = scaled * scale + center
    return rows


def _chunks_of_rows(X: NDArray) -> list[slice]:
    n_samples, n_features = X.shape
    return list(gen_batches(n_samples, max(1, CHUNK_BYTES // (8 * n_features))))


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
