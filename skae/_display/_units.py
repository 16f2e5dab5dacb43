"""The columns of a pipeline's last step: their names, and the way back to the user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.utils import check_array

from skae._tables._columns import read_columns

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


def undo(
    steps: Sequence[Any], stages: Sequence[Any], rows: NDArray[np.float64]
) -> NDArray[np.float64] | None:
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
            given = read_numbers(stages[0])
            undone = np.vstack([rows, np.where(masks, *rows)])
            for step, stage in zip(reversed(steps), reversed(stages[1:]), strict=True):
                undone = step.inverse_transform(_as_in(stage, undone))
            undone = np.asarray(make_dense(undone), dtype=np.float64)
            wanted = np.vstack([given, undone[1:2], np.where(masks, *undone[:2])])
            size = np.fmax.reduce(np.abs(undone))
            is_back = np.isclose(undone, wanted, 0, TOLERANCE * size, equal_nan=True)
    except CANNOT:
        return None
    return undone[:2] if is_back.all() and np.isfinite(undone[1]).all() else None


def _as_in(stage: Any, rows: Any) -> Any:
    """Rows as a table of the same kind: sparse, a frame with its names, or an array."""
    rows = np.asarray(make_dense(rows))
    if issparse(stage):
        return type(stage)(rows)
    if hasattr(stage, "columns"):
        return type(stage)([dict(zip(stage.columns, r, strict=True)) for r in rows])
    return rows


def read_numbers(X: Any) -> NDArray[np.float64]:
    """A table as the detector reads it: sparse, and with any sign of a missing cell."""
    return make_dense(
        check_array(
            read_columns(X).X,
            accept_sparse=True,
            dtype=np.float64,
            ensure_all_finite="allow-nan",
        )
    )


def make_dense(X: Any) -> Any:
    """A sparse table as a dense one, every other as it is."""
    return X.toarray() if issparse(X) else X
