"""What displays are given: fitted estimators and rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import sparray, spmatrix
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

Rows: TypeAlias = ArrayLike | spmatrix | sparray | Mapping[str, Any]

MAX_NAMES = 5  # of missing columns that an error lists


def unwrap(estimator: BaseEstimator) -> list[Any]:
    """The fitted estimators that a row passes when it is scored, the detector last.

    They come out of searches and pipelines, without the steps that act in `fit` only.
    """
    check_is_fitted(estimator)
    return list(_iterate_path(estimator))


def _iterate_path(estimator: Any) -> Iterator[Any]:
    if isinstance(estimator, Pipeline):
        for _, step in estimator.steps:
            yield from _iterate_path(step)
    elif isinstance(estimator, FrozenEstimator):
        yield from _iterate_path(estimator.estimator)
    elif hasattr(estimator, "best_estimator_"):
        yield from _iterate_path(estimator.best_estimator_)
    elif hasattr(estimator, "cv_results_"):
        raise NotFittedError(
            f"This {type(estimator).__name__} must hold the best estimator; its refit "
            f"is {estimator.refit!r}, so that it holds none. Search with refit=True, "
            "or fit an estimator with the parameters that were found, and pass that."
        )
    elif estimator in (None, "passthrough") or hasattr(estimator, "fit_resample"):
        return  # samplers, as imbalanced-learn has them, change no row that is scored
    else:
        yield estimator


def transform(steps: Sequence[Any], X: Any) -> list[Any]:
    """Rows before the first step, and after each."""
    return list(accumulate(steps, lambda X, step: step.transform(X), initial=X))


def as_table(X: Any, taker: Any, name: str = "X") -> Any:
    """A table as it is, and one row as a table of one row, for the first estimator.

    If that knows names, a row that has names too is told by them, whatever their order;
    if not, a Series is taken by position.
    """
    if not _takes_tables(taker):
        return X
    names = getattr(taker, "feature_names_in_", None)
    is_mapping = isinstance(X, Mapping)
    if is_mapping or (np.ndim(X) == 1 and hasattr(X, "items")):  # a pandas Series
        if names is not None or not hasattr(taker, "n_features_in_"):
            X = _make_frame(X)
        elif is_mapping:
            raise ValueError(
                f"{name} must be an array or a Series in the order of the columns, "
                f"since {type(taker).__name__} was fitted without names; got "
                f"{type(X).__name__}. Pass its values as a list, or fit on a frame."
            )
    if isinstance(X, list | tuple) and np.asarray(X).dtype.kind in "OUT":
        X = np.array(X, dtype=object)  # numbers beside text would become text
    if np.ndim(X) != 2:
        return np.reshape(X, (1, -1))
    is_frame = hasattr(X, "columns") and hasattr(X, "dtypes")
    # A ColumnTransformer looks for its columns by itself, and minds no others.
    if not is_frame or names is None or isinstance(taker, ColumnTransformer):
        return X
    return _arrange(X, list(names), name) if len(X) == 1 else X


def _takes_tables(estimator: Any) -> bool:
    """Whether it takes rows of columns, and not texts, as a vectorizer does."""
    is_tagged = hasattr(estimator, "__sklearn_tags__")
    return not is_tagged or get_tags(estimator).input_tags.two_d_array


def _make_frame(row: Any) -> Any:
    """A frame of one row, with the type of its value for each column."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            "A row as a mapping requires pandas, which is missing or broken here. Pass "
            "a frame of one row, or install it with `python -m pip install pandas`."
        ) from error
    values = [np.nan if value is pd.NA else value for _, value in row.items()]
    frame = pd.DataFrame([values], columns=[column for column, _ in row.items()])
    # A NaN may be missing from a column of text, which is no column of floats.
    is_nan = [isinstance(value, float) and np.isnan(value) for value in values]
    return frame.astype(dict.fromkeys(frame.columns[is_nan], object))


def _arrange(row: Any, names: list[str], name: str) -> Any:
    """A frame with its columns in the order of these names, which must be its own."""
    expected, found = Counter(names), Counter(row.columns)
    if expected != found:
        differences = {"missing": expected - found, "unexpected": found - expected}
        listed = "; ".join(
            f"{what}: {', '.join(map(repr, list(columns)[:MAX_NAMES]))}"
            + f" and {len(columns) - MAX_NAMES} more" * (len(columns) > MAX_NAMES)
            for what, columns in differences.items()
            if columns
        )
        raise ValueError(
            f"{name} must have the names of the {len(names)} columns that fit has "
            f"seen, in any order; {listed}. Give it a value for each of them, and no "
            "other."
        )
    return row[names]
