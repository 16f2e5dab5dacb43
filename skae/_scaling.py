"""From the user's units to the network's and back, a chunk of rows at a time.

A table is an array, a memory map or a sparse table in rows (CSR), which is made dense
here and nowhere else, as many rows as are read at once. Missing cells are NaN; the
statistics of the columns leave them out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix
from sklearn.preprocessing import StandardScaler
from sklearn.utils import gen_batches

CHUNK_BYTES = 2**24  # of float64: large enough for NumPy, small beside any table

# Of a larger table, rows are not copied when some are chosen or put in order: a quarter
# of a gigabyte, and a sixth of a fit of one epoch on MNIST, which lies just beyond.
COPIED_CELLS = 2**25

Rows = slice | NDArray[np.intp]
Stored: TypeAlias = NDArray | csr_array | csr_matrix


class RowView:
    """Some rows of a table, which are read when they are needed."""

    def __init__(self, X: Stored, rows: NDArray[np.intp]):
        self.X = X
        self.rows = rows

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), self.X.shape[1]

    def __getitem__(self, rows: Rows) -> Stored:
        return self.X[self.rows[rows]]


Table: TypeAlias = Stored | RowView
Weights: TypeAlias = NDArray[np.float64] | None  # None: all rows count alike


class ScaledRows:
    """Rows of a table in the network's units, computed when they are read."""

    def __init__(
        self,
        X: Table,
        center: NDArray[np.float64],
        scale: NDArray[np.float64],
        weights: Weights = None,
    ):
        self.X = X
        self.center = center
        self.scale = scale
        self.weights = weights
        self.factor = 1.0 / scale
        self._is_scaled = bool(np.any(center != 0.0) or np.any(scale != 1.0))

    @property
    def shape(self) -> tuple[int, int]:
        return self.X.shape[0], self.X.shape[1]

    def read(self, rows: Rows, out: NDArray) -> NDArray:
        """Write the given rows to `out`, of float64 or float32, and return it."""
        if self._is_scaled:
            values = read_dense(self.X, rows)
            values = np.subtract(values, self.center, dtype=np.float64)
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

    @cached_property
    def has_missing(self) -> bool:
        """Whether there are missing cells."""
        return has_missing_cells(self.X)

    def compute_range(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        low, high = compute_extremes(self.X)
        low, high = (
            (low - self.center) * self.factor,
            (high - self.center) * self.factor,
        )
        return float(np.fmin.reduce(low)), float(np.fmax.reduce(high))

    def compute_mean(self) -> NDArray[np.float64]:
        """The mean of each column; 0 where all cells are missing."""
        if self.has_missing or self.weights is not None:
            means, _ = _compute_observed_moments(self.X, self.weights)
        else:
            chunks = _read_chunks(self.X)
            sums = (chunk.sum(axis=0, dtype=np.float64) for chunk in chunks)
            means = sum(sums) / self.shape[0]
        return (means - self.center) * self.factor

    def kept_if_small(self) -> ScaledRows:
        """The same rows, scaled once and for all where float32 takes little memory."""
        if 4 * self.shape[0] * self.shape[1] > CHUNK_BYTES:
            return self
        scaled = self.read(slice(None), out=np.empty(self.shape, np.float32))
        zeros, ones = np.zeros(self.shape[1]), np.ones(self.shape[1])
        return ScaledRows(scaled, zeros, ones, self.weights)

    def take(self, rows: NDArray[np.intp], weights: Weights = None) -> ScaledRows:
        """Some of the rows, in ascending order, with their weights or with others."""
        if weights is None and self.weights is not None:
            weights = self.weights[rows]
        return ScaledRows(take_rows(self.X, rows), self.center, self.scale, weights)


def is_copied(X: Table) -> bool:
    """Whether the table is small enough to be copied."""
    return X.shape[0] * X.shape[1] <= COPIED_CELLS


def take_rows(X: Table, rows: NDArray[np.intp]) -> Table:
    """Some rows, in ascending order; the table itself if they are all of them."""
    if len(rows) == X.shape[0]:
        return X
    if is_copied(X):
        return X[rows]
    if isinstance(X, RowView):
        return RowView(X.X, X.rows[rows])
    return RowView(X, rows)


def read_dense(X: Table, rows: Rows) -> NDArray:
    """Some rows of a table as an array."""
    return _make_dense(X[rows])


def _make_dense(values: Stored) -> NDArray:
    return values if isinstance(values, np.ndarray) else values.toarray()


def _read_columns(X: Table, n_at_once: int) -> Iterator[tuple[slice, NDArray]]:
    """All columns of a table, some at a time, each time with their place."""
    table, rows = (X.X, X.rows) if isinstance(X, RowView) else (X, slice(None))
    by_column = table if isinstance(table, np.ndarray) else table.tocsc()
    for columns in gen_batches(X.shape[1], n_at_once):
        yield columns, _make_dense(by_column[:, columns])[rows]


def has_missing_cells(X: Table) -> bool:
    """Whether there is a NaN; stops at the first."""
    if isinstance(X, csr_array | csr_matrix):
        return bool(np.isnan(X.data).any())
    return any(np.isnan(chunk).any() for chunk in _read_chunks(X))


def find_observed_rows(X: Table) -> NDArray[np.intp]:
    """Indices of the rows that are not missing as a whole."""
    chunks = _read_chunks(X)
    return np.flatnonzero(np.concatenate([~np.isnan(c).all(axis=1) for c in chunks]))


def compute_extremes(X: Table) -> tuple[NDArray, NDArray]:
    """The smallest and the largest value of each column; NaN if all are missing."""
    low, high = zip(
        *(
            (np.fmin.reduce(chunk, axis=0), np.fmax.reduce(chunk, axis=0))
            for chunk in _read_chunks(X)
        ),
        strict=True,
    )
    return np.fmin.reduce(low, axis=0), np.fmax.reduce(high, axis=0)


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
        for columns, values in _read_columns(X, n_at_once):
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
    for chunk in _read_chunks(X):
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
    for rows, chunk in _read_numbered_chunks(X):
        totals += np.sum(columns[rows] * ~np.isnan(chunk), axis=0)
        sums += np.nansum(columns[rows] * chunk, axis=0)
    totals[totals == 0.0] = 1.0
    means = sums / totals
    for rows, chunk in _read_numbered_chunks(X):
        residuals = np.subtract(chunk, means, dtype=np.float64)
        squares += np.nansum(columns[rows] * np.square(residuals), axis=0)
    return means, np.sqrt(squares / totals)


def unscale(
    scaled: NDArray, center: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Rows of the network in the user's units."""
    rows: NDArray[np.float64] = scaled * scale + center
    return rows


def _read_chunks(X: Table) -> Iterator[NDArray]:
    """All rows of a table as arrays, one after the other."""
    return (chunk for _, chunk in _read_numbered_chunks(X))


def _read_numbered_chunks(X: Table) -> Iterator[tuple[slice, NDArray]]:
    """The same, each with its place in the table."""
    n_samples, n_features = X.shape
    for rows in gen_batches(n_samples, max(1, CHUNK_BYTES // (8 * n_features))):
        yield rows, read_dense(X, rows)


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
