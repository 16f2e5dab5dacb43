"""What one pass over a table tells of each of its columns.

Missing cells are left out. What is added up is the difference of a cell from a value of
its column, the pivot, which is exact where the two lie near each other: an offset costs
no digits, however large it is.

Source: Chan, Golub & LeVeque (1983), "Algorithms for computing the sample variance:
analysis and recommendations", The American Statistician 37, 242-247.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skae._tables._reading import Table, Weights, read_dense, read_numbered_chunks

SAMPLE_ROWS = 256  # whose median is a pivot: any value that is not far out will do

# The squares of what is smaller than about 1e-154 are 0: columns that lie within less
# than this are measured in units in which they are not.
SMALL_RANGE = 1e-130
SMALL_UNIT = 2.0**-900


class Moments(NamedTuple):
    """Of each column, (n_features,); 0 where nothing is observed."""

    pivot: NDArray[np.float64]  # an observed value, about the median
    mean: NDArray[np.float64]  # of the cells minus the pivot
    deviation: NDArray[np.float64]  # infinite where its square overflows
    low: NDArray[np.float64]  # the smallest cell
    high: NDArray[np.float64]
    total: NDArray[np.float64]  # weight of the observed cells


Chunks = Iterable[tuple[slice, NDArray]]  # and which rows they are
Sums = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def compute_moments(X: Table, weights: Weights = None) -> Moments:
    """Mean, standard deviation and extremes, by weight, read a chunk at a time."""
    return add_up(lambda: read_numbered_chunks(X), draw_evenly(X), weights)


def add_up(
    read: Callable[[], Chunks], sample: NDArray[np.float64], weights: Weights
) -> Moments:
    """The moments of a table from its chunks and a sample of its rows."""
    moments = _add_up(read(), sample, weights)
    with np.errstate(over="ignore"):
        spread = moments.high - moments.low
    is_small = (spread > 0.0) & (spread < SMALL_RANGE)
    if is_small.any():
        units = np.where(is_small, SMALL_UNIT, 1.0)
        chunks = ((rows, chunk / units) for rows, chunk in read())
        enlarged = _add_up(chunks, sample / units, weights).deviation * units
        return moments._replace(
            deviation=np.where(is_small, enlarged, moments.deviation)
        )
    return moments


def _add_up(chunks: Chunks, sample: NDArray[np.float64], weights: Weights) -> Moments:
    pivot = find_lower_quantiles(sample, [0.5])[0]
    low, high = np.full((2, len(pivot)), np.nan)
    total, mean, squares = np.zeros((3, len(pivot)))
    with np.errstate(over="ignore", invalid="ignore"):  # an infinity reports it
        for rows, chunk in chunks:
            if np.isnan(pivot).any():
                pivot = np.where(np.isnan(pivot), _find_firsts(chunk), pivot)
            values = np.subtract(chunk, pivot, dtype=np.float64, order="C")
            part = _sum_up(values, None if weights is None else weights[rows])
            total, mean, squares = _join((total, mean, squares), part)
            low = np.fmin(low, np.fmin.reduce(chunk, axis=0))
            high = np.fmax(high, np.fmax.reduce(chunk, axis=0))
        deviation = np.sqrt(squares / np.where(total > 0.0, total, 1.0))
    deviation[~np.isfinite(deviation)] = np.inf
    pivot, low, high = (np.where(np.isnan(x), 0.0, x) for x in (pivot, low, high))
    return Moments(pivot, mean, deviation, low, high, total)


def draw_evenly(X: Table) -> NDArray[np.float64]:
    """Up to 256 rows at equal distances, in float64."""
    rows = slice(None, None, -(-X.shape[0] // SAMPLE_ROWS))
    return read_dense(X, rows).astype(np.float64)


def find_lower_quantiles(
    rows: NDArray[np.float64], shares: Sequence[float]
) -> NDArray[np.float64]:
    """Cells with these shares of their columns below them; NaN without observed ones.

    Values of the table in each case, never means of two.
    """
    lasts = np.count_nonzero(~np.isnan(rows), axis=0) - 1
    ranks = np.floor(np.multiply.outer(shares, lasts)).astype(np.intp)
    return np.take_along_axis(np.sort(rows, axis=0), ranks, axis=0)  # NaN last


def _find_firsts(rows: NDArray) -> NDArray[np.float64]:
    """The first observed cell of each column; NaN without any."""
    firsts = np.argmax(~np.isnan(rows), axis=0)[np.newaxis]
    return np.take_along_axis(rows, firsts, axis=0)[0].astype(np.float64)


def _sum_up(values: NDArray[np.float64], weights: Weights) -> Sums:
    """Weight, mean, and squared deviations of each column; overwrites the values."""
    sums = values.sum(axis=0)
    if weights is None and not np.isnan(sums).any():
        total = np.full(len(sums), float(len(values)))
        mean = sums / total
        values -= mean
        return total, mean, np.square(values, out=values).sum(axis=0)
    columns = np.ones((len(values), 1)) if weights is None else weights[:, np.newaxis]
    is_missing = np.isnan(values)
    values[is_missing] = 0.0
    total = np.sum(columns * ~is_missing, axis=0)
    mean = np.sum(columns * values, axis=0) / np.where(total > 0.0, total, 1.0)
    values -= mean
    values[is_missing] = 0.0
    return total, mean, np.sum(columns * np.square(values, out=values), axis=0)


def _join(one: Sums, other: Sums) -> Sums:
    """The sums of two parts from those of each."""
    total = one[0] + other[0]
    share = other[0] / np.where(total > 0.0, total, 1.0)
    gap = other[1] - one[1]
    between = np.square(gap) * one[0] * share
    return total, one[1] + gap * share, one[2] + other[2] + between
