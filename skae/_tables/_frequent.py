"""Which categories have a unit of their own.

The others, and those that come later, share one: if there were many rows of rare
categories, another one is no evidence, and if there were none, it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import hstack

from skae._tables._categories import Categories
from skae._tables._layout import Layout
from skae._tables._reading import (
    RowView,
    Table,
    WeightedTable,
    count_rows,
)
from skae._tables._weighting import merge_rows

# Of one row nothing can be learnt, and identifiers would have as many units as rows. Of
# a column the most frequent have units; of equally frequent ones all or none.
MIN_ROWS = 2
MIN_SHARE = 1e-3
MAX_CATEGORIES = 100


def make_layout(categories: Categories | None) -> Layout | None:
    """The units of columns with these categories; None if there are none."""
    if categories is None:
        return None
    columns = [j for j, values in enumerate(categories) if values is not None]
    sizes = [len(categories[j] or ()) + 1 for j in columns]
    return Layout(len(categories), np.array(columns, np.intp), np.array(sizes, np.intp))


def keep_frequent(
    categories: Categories | None, table: WeightedTable, others: Any = None
) -> tuple[Categories | None, WeightedTable, Any]:
    """The categories that are frequent in a table; it and other rows in their codes.

    The other rows are a named tuple with the table X, or None.
    """
    if categories is None:
        return None, table, others
    kept, lookups = list(categories), {}
    for j, values in enumerate(categories):
        if values is not None:
            own = _find_frequent(table, j, len(values))
            lookups[j] = np.full(len(values) + 1, float(len(own)))
            lookups[j][own] = np.arange(len(own))
            kept[j] = [values[code] for code in own.tolist()]
    if others is not None:
        others = others._replace(X=_recode(others.X, lookups))
    X, weights = _recode(table.X, lookups), table.weights
    X, weights = merge_rows(X, weights)  # some differed in rare categories alone
    table = table._replace(X=X, weights=weights, layout=make_layout(kept))
    return kept, table, others


def share_rare(table: WeightedTable) -> WeightedTable:
    """A part of a table, in which what is rare in it shares a unit in its turn."""
    if table.layout is None:
        return table
    lookups = {}
    for j, size in zip(table.layout.columns, table.layout.sizes, strict=True):
        own = _find_frequent(table, int(j), int(size))
        lookups[int(j)] = np.full(size, size - 1.0)
        lookups[int(j)][own] = own
    return table._replace(X=_recode(table.X, lookups))


def _find_frequent(table: WeightedTable, column: int, n: int) -> NDArray[np.intp]:
    """The codes of the categories of a column that have a unit of their own."""
    codes = _read_column(table.X, column)
    is_known = ~np.isnan(codes)
    known, weights = codes[is_known].astype(np.intp), table.weights[is_known]
    shares = np.bincount(known, weights, n) / table.weights.sum()
    n_rows = count_rows(table)
    least = max(MIN_SHARE, MIN_ROWS / n_rows)
    if n > MAX_CATEGORIES:  # as frequent as the first that is too many: not enough
        first_out = np.partition(shares, -MAX_CATEGORIES - 1)[-MAX_CATEGORIES - 1]
        least = max(least, np.nextafter(first_out * (1.0 + 1e-9), 1.0))
    return np.flatnonzero(shares >= least * (1.0 - 1e-12))


def _read_column(X: Table, column: int) -> NDArray[np.float64]:
    table, rows = (X.X, X.rows) if isinstance(X, RowView) else (X, slice(None))
    values = table[:, [column]]
    dense = values if isinstance(values, np.ndarray) else values.toarray()
    return dense[rows, 0]


def _recode(X: Table, lookups: dict[int, NDArray[np.float64]]) -> Table:
    """The table with other codes."""
    if isinstance(X, RowView):
        return RowView(_recode_stored(X.X, lookups), X.rows)
    return _recode_stored(X, lookups)


def _recode_stored(X: Any, lookups: dict[int, NDArray[np.float64]]) -> Any:
    columns = {}
    for j, lookup in lookups.items():
        codes = _read_column(X, j).astype(float)
        is_known = ~np.isnan(codes)
        codes[is_known] = lookup[codes[is_known].astype(np.intp)]
        columns[j] = codes
    if isinstance(X, np.ndarray):
        X = X.copy()
        for j, codes in columns.items():
            X[:, j] = codes
        return X
    by_column = X.tocsc()
    parts = [
        columns[j][:, np.newaxis] if j in columns else by_column[:, [j]]
        for j in range(X.shape[1])
    ]
    return type(X)(hstack(parts, format="csr"))
