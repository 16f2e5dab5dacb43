"""The columns of a pipeline's last step: their names, and the way back to the user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.utils import check_array

from skae._tables._categories import FROM_DTYPE, Categories
from skae._tables._columns import GAP_TYPES, read_columns

# What transformers raise that have no names, no inverse, or one of other rows.
CANNOT = (AttributeError, LookupError, NotImplementedError, TypeError, ValueError)
TOLERANCE = 1e-6  # of a column's largest value: steps may compute in float32


def name_outputs(steps: Sequence[Any]) -> Sequence[str] | None:
    """What the steps call the columns that they return; None if they cannot tell."""
    names = None
    try:
        for step in steps:
            names = step.get_feature_names_out(names)
    except CANNOT:
        return None
    return names


def name_inputs(X: Any, first: Any) -> Sequence[str] | None:
    """What the user calls the columns of X, which the first estimator takes."""
    if hasattr(first, "n_features_in_"):
        return getattr(first, "feature_names_in_", None)
    return getattr(X, "columns", None)


def undo(steps: Sequence[Any], stages: Sequence[Any], rows: NDArray) -> NDArray | None:
    """Two rows after the steps, the given one first, in the units before the steps.

    The stages are the given row before the first step and after each. None if there is
    no way back, or if a column after the steps is more than one before them.
    """
    # Of any two columns there is a mixture that has one from either row: a column that
    # went into others, as in a PCA, comes back wrong in it.
    columns = np.arange(rows.shape[1])
    masks = columns >> np.arange(len(columns).bit_length())[:, None] & 1
    try:
        with np.errstate(all="ignore"):
            given = read_row(stages[0], FROM_DTYPE)
            undone = np.vstack([rows, np.where(masks, *rows)])
            for step, stage in zip(reversed(steps), reversed(stages[1:]), strict=True):
                undone = step.inverse_transform(_as_in(stage, undone))
            undone = _as_values(undone)
            wanted = np.vstack([given, undone[1:2], np.where(masks, *undone[:2])])
            is_back = all(map(_are_equal, undone.T, wanted.T))
    except CANNOT:
        return None
    return undone[:2] if is_back and all(map(_is_finite, undone[1])) else None


def _as_in(stage: Any, rows: Any) -> Any:
    """Rows as a table of the same kind: sparse, a frame with its names, or an array."""
    rows = np.asarray(make_dense(rows))
    if hasattr(stage, "columns"):
        return type(stage)([dict(zip(stage.columns, r, strict=True)) for r in rows])
    if issparse(stage):
        return type(stage)(rows.astype(np.float64))
    is_number = getattr(stage, "dtype", np.dtype(object)).kind in "fiub"
    return rows.astype(np.float64) if is_number else rows


def _as_values(table: Any) -> NDArray:
    """A table as an array of floats, or of objects if there is text in it."""
    values = np.asarray(make_dense(table))
    return values.astype(object if values.dtype.kind in "OUST" else np.float64)


def _are_equal(column: NDArray, wanted: NDArray) -> bool:
    """Whether what came back is what was wanted; numbers may be rounded."""
    try:
        numbers, wanted_numbers = column.astype(np.float64), wanted.astype(np.float64)
    except (TypeError, ValueError):  # text
        pairs = zip(column, wanted, strict=True)
        return all(a == b or (is_missing(a) and is_missing(b)) for a, b in pairs)
    size = np.fmax.reduce(np.abs(numbers))
    is_close = np.isclose(numbers, wanted_numbers, 0, TOLERANCE * size, equal_nan=True)
    return bool(is_close.all())


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or bool(np.isfinite(value))


def is_missing(value: Any) -> bool:
    """Whether it is None, NaN, or a gap of pandas, which is of its own type."""
    if isinstance(value, float):
        return bool(np.isnan(value))
    return type(value).__name__ in GAP_TYPES


def read_row(X: Any, categorical_features: Any) -> NDArray:
    """One row as the detector reads it: sparse, and with any sign of a missing cell.

    With categories it holds objects, these by their values, also unknown ones.
    """
    read = read_columns(X, categorical_features)
    numbers = make_dense(
        check_array(
            read.X,
            accept_sparse=True,
            dtype=np.float64,
            ensure_all_finite="allow-nan",
        )
    )
    if read.categories is None:
        return numbers
    # Of one row, its columns' values are those that it has.
    return _place(numbers, {j: v[0] if v else None for j, v in _list(read.categories)})


def name_expected(row: NDArray, categories: Categories | None) -> NDArray:
    """What was expected, categories as they were in `fit`; None where there are none.

    A whole number or a boolean is a float in a row without text.
    """
    if categories is None:
        return row
    named = {
        j: next((value for value in values if value == row[0, j]), None)
        for j, values in _list(categories)
    }
    return _place(row, named)


def list_categorical(categories: Categories | None) -> list[int] | None:
    """The columns of categories, as `categorical_features`."""
    return None if categories is None else [j for j, _ in _list(categories)]


def _list(categories: Categories) -> list[tuple[int, list[Any]]]:
    return [(j, values) for j, values in enumerate(categories) if values is not None]


def _place(row: NDArray, values: dict[int, Any]) -> NDArray:
    """A row with other values in some columns."""
    placed = row.astype(object)
    for j, value in values.items():
        placed[0, j] = value
    return placed


def make_dense(X: Any) -> Any:
    """A sparse table as a dense one, every other as it is."""
    return X.toarray() if issparse(X) else X
