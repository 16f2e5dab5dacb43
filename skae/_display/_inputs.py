"""What displays are given: fitted estimators and rows."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted


def find_detector(estimator: BaseEstimator) -> Any:
    """The fitted detector, which may be the last step of a pipeline."""
    check_is_fitted(estimator)
    return estimator[-1] if isinstance(estimator, Pipeline) else estimator


def as_table(X: ArrayLike) -> Any:
    """A table as it is, and one row of shape (n_features,) as a table of one row."""
    return X if np.ndim(X) == 2 else np.reshape(X, (1, -1))
