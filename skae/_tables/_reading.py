"""Tables of any kind, a chunk of rows at a time.

A table is an array, a memory map or a sparse table in rows (CSR), which is made dense
here and nowhere else, as many rows as are read at once. Missing cells are NaN.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix
from sklearn.utils import gen_batches

from skae._tables._layout import Layout

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


class WeightedTable(NamedTuple):
    """Rows, what each of them counts, and what the user calls and means by columns."""

    X: Table
    weights: NDArray[np.float64]
    names: Sequence[Any] = ()
    kinds: list[str] | None = None  # as `_columns` has them; None: all are numbers
    n_samples: int = 0  # rows that the user passed, equal and weightless ones included
    n_weighted: int = 0  # of them those that weigh something; 0: not known
    layout: Layout | None = None  # None: all columns are numbers


def count_rows(table: WeightedTable) -> float:
    """By weight, if a weight is a number of rows, or else as they were passed."""
    return max(float(table.weights.sum()), table.n_weighted or table.X.shape[0])


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


def read_columns(X: Table, n_at_once: int) -> Iterator[tuple[slice, NDArray]]:
    """All columns of a table, some at a time, each time with their place."""
    table, rows = (X.X, X.rows) if isinstance(X, RowView) else (X, slice(None))
    by_column = table if isinstance(table, np.ndarray) else table.tocsc()
    for columns in gen_batches(X.shape[1], n_at_once):
        yield columns, _make_dense(by_column[:, columns])[rows]


def read_chunks(X: Table) -> Iterator[NDArray]:
    """All rows of a table as arrays, one after the other."""
    return (chunk for _, chunk in read_numbered_chunks(X))


def read_numbered_chunks(X: Table) -> Iterator[tuple[slice, NDArray]]:
    """The same, each with its place in the table."""
    n_samples, n_features = X.shape
    for rows in gen_batches(n_samples, max(1, CHUNK_BYTES // (8 * n_features))):
        yield rows, read_dense(X, rows)


def has_missing_cells(X: Table) -> bool:
    """Whether there is a NaN; stops at the first."""
    if isinstance(X, csr_array | csr_matrix):
        return bool(np.isnan(X.data).any())
    return any(np.isnan(chunk).any() for chunk in read_chunks(X))


def compute_extremes(X: Table) -> tuple[NDArray, NDArray]:
    """The smallest and the largest value of each column; NaN if all are missing."""
    low, high = zip(
        *(
            (np.fmin.reduce(chunk, axis=0), np.fmax.reduce(chunk, axis=0))
            for chunk in read_chunks(X)
        ),
        strict=True,
    )
    return np.fmin.reduce(low, axis=0), np.fmax.reduce(high, axis=0)


def find_observed(X: Table, stacklevel: int) -> NDArray[np.intp]:
    """Indices of the rows that have an observed cell; warns of the others."""
    if not has_missing_cells(X):
        return np.arange(X.shape[0])
    is_observed = [~np.isnan(chunk).all(axis=1) for chunk in read_chunks(X)]
    observed = np.flatnonzero(np.concatenate(is_observed))
    if not len(observed):
        raise ValueError(
            f"X contains NaN only, which marks a missing cell, in {X.shape[0]} row(s). "
            "Pass rows with at least one number."
        )
    if len(observed) < X.shape[0]:
        _warn_of_unobserved(X.shape[0] - len(observed), "left out", stacklevel + 1)
    return observed


def warn_if_unobserved(X: Table, scores: NDArray[np.float64], stacklevel: int) -> None:
    """Warn of rows without any observed cell, which have the score 0."""
    suspects = np.flatnonzero(scores == 0.0)
    n_rows = np.isnan(read_dense(X, suspects)).all(axis=1).sum() if suspects.size else 0
    if n_rows:
        what = "scored 0, the most normal score"
        _warn_of_unobserved(n_rows, what, stacklevel + 1)


def _warn_of_unobserved(n_rows: int, what: str, stacklevel: int) -> None:
    warnings.warn(
        f"{n_rows} row(s) of X have no observed cell, only NaN: they are {what}.",
        UserWarning,
        stacklevel=stacklevel,
    )
