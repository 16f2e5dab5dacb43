"""Rows that are odd by construction, made of the rows of a table."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse, sparray, spmatrix
from sklearn.utils import check_array, check_random_state, gen_batches

from skae._tables._columns import is_frame, read_columns, take_cells
from skae._tables._reading import read_dense

BLOCK_CELLS = 2**17  # fits a processor's cache


def make_synthetic_anomalies(
    X: ArrayLike | spmatrix | sparray,
    *,
    random_state: int | np.random.RandomState | None = 0,
) -> Any:
    """Make rows whose cells do not belong together, two of each row of a table.

    Some of its cells, at least one and not all, are taken from other rows: in the first
    anomaly each from a row of its own, in the second all from one. Each value is one
    that its column has, so that categories stay categories; what is odd is the
    combination. A cell stays as it is where the other row's is missing. Where few cells
    were taken, or alike ones, an anomaly may be a rather normal row.

    :meth:`AutoencoderOutlierDetector.score` ranks such anomalies, with the rows, where
    it is given no labels.

    Parameters
    ----------
    X : {array-like, sparse matrix, frame} of shape (n_samples, n_features)
        At least 2 rows and 2 columns, of all that `fit` takes: numbers, dates,
        durations, text and other categories. NaN, None or another null marks a missing
        cell.

    random_state : int, RandomState instance or None, default=0
        What the rows, the cells and their number are drawn with. An integer gives the
        same anomalies in every call, which makes candidates comparable.

    Returns
    -------
    anomalies : {ndarray, frame} of shape (2 * n_samples, n_features)
        Rows ``i`` and ``n_samples + i`` are made of row ``i`` of X. Of a frame of
        pandas, polars or pyarrow it is such a frame, of the same columns and dtypes; in
        pandas its index has the label of that row. Of all else it is an array, dense,
        with numbers as floats and other cells as they are.

    Raises
    ------
    TypeError
        If a column holds objects that are no cells of a table, such as lists.
    ValueError
        If X is no table, holds infinity, or has fewer than 2 rows or columns.

    See Also
    --------
    AutoencoderOutlierDetector.score : Ranks rows and such anomalies, without labels.

    Examples
    --------
    A scorer for a search: how well rows are told from such anomalies of them. With a
    frame of pandas ``rows = pandas.concat([X, make_synthetic_anomalies(X)])`` is one,
    too.

    >>> import numpy as np
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.metrics import roc_auc_score
    >>> from skae import AutoencoderOutlierDetector, make_synthetic_anomalies
    >>> def tell_apart(detector, X, y=None):
    ...     rows = np.concatenate([X, make_synthetic_anomalies(X)])
    ...     is_real = np.arange(len(rows)) < len(X)
    ...     return roc_auc_score(is_real, detector.score_samples(rows))
    >>> X, _ = load_wine(return_X_y=True)
    >>> detector = AutoencoderOutlierDetector((16, 4), random_state=0).fit(X[::2])
    >>> bool(tell_apart(detector, X[1::2]) > 0.6)
    True
    """
    columns = read_columns(X, "from_dtype")
    rows = check_array(
        columns.X,
        accept_sparse="csr",
        dtype=[np.float64, np.float32],
        ensure_all_finite="allow-nan",
        ensure_min_samples=2,
        ensure_min_features=2,
        input_name="X",
    )
    rows = read_dense(rows, slice(None)) if issparse(rows) else rows
    rng = check_random_state(random_state)
    donors = _draw_donors(rows, np.ones(len(rows)), rng)
    return take_cells(X if is_frame(X) or columns.kinds else rows, donors)


def make_anomalies(
    rows: NDArray, weights: NDArray[np.float64], rng: np.random.RandomState
) -> NDArray:
    """The same of an array; a row of more weight gives more cells."""
    anomalies: NDArray = take_cells(rows, _draw_donors(rows, weights, rng))
    return anomalies


def _draw_donors(
    rows: NDArray, weights: NDArray[np.float64], rng: np.random.RandomState
) -> NDArray[np.intp]:
    """Of each cell of the anomalies the row that it comes from."""
    n_rows, n_features = rows.shape
    donors = np.empty((2 * n_rows, n_features), np.intp)
    for block in gen_batches(2 * n_rows, max(1, BLOCK_CELLS // n_features)):
        anomalies = np.arange(2 * n_rows)[block, np.newaxis]
        originals = anomalies % n_rows
        n_taken = rng.randint(1, n_features, size=originals.shape)
        order = rng.uniform(size=(len(originals), n_features)).argsort(axis=1)
        is_taken = order.argsort(axis=1) < n_taken
        places = rng.uniform(size=is_taken.shape)
        is_from_one = anomalies >= n_rows
        places = np.where(is_from_one, places[:, :1], places)
        others = _find_others(places, originals, weights)
        is_taken &= ~np.isnan(rows[others, np.arange(n_features)])
        donors[block] = np.where(is_taken, others, originals)
    return donors


def _find_others(
    places: NDArray[np.float64], rows: NDArray[np.intp], weights: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Indices of rows other than those given, by places in [0, 1) drawn for them.

    With the rows laid on a circle, each as long as its weight, it is the one that lies
    at that part of the way from the row's end round to its start.
    """
    ends = np.cumsum(weights)
    length = ends[-1]
    reached = ends[rows] + places * (length - weights[rows])
    return np.searchsorted(ends, reached % length, side="right")
