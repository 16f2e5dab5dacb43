"""Values that stand for something else: a filler that was not read as missing.

One such cell can make up all of its column's variance; the column then tells nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skae._tables._moments import Moments, add_up, draw_evenly, find_lower_quantiles
from skae._tables._reading import (
    Table,
    WeightedTable,
    read_numbered_chunks,
)
from skae._tables._weighting import none_if_equal

SHARE = 0.999  # of a column's variance; the others then differ by its thirtieth
SHARE_OF_FILLER = 0.5  # of one that is nothing else

# No measurement: in spreads of the others. The largest of values with a heavy tail is
# far from the next one, too: their ratio must be more than the square of that of the
# next one and the spread. Of n values with a tail like x^-a that happens in one column
# of n^2, whatever a is.
FAR = 1e4
HUGE = 1e19  # beyond all that is counted, time in nanoseconds included

# A filler that is known need not be that far.
CLEAR = 3.0  # times as far as the next value
SAME_FILLER = 1e-6  # relative: it may have passed through float32, or a text
_NINES = [10.0**n - 1.0 for n in range(3, 10)]
# What no count or rare event is, so that the others may be all the same.
UNMISTAKABLE = np.array(
    [
        *(-nines for nines in _NINES),
        *(-999.25, -999.9),  # well logs; weather
        *(1e15, 1e20, 9.999e20, 1e30, -1e30, -1e31, 1e34, -9.99e33, 1e35, 1e36),
        *(9.969209968386869e36, 9.97e36),  # netCDF
        *(np.finfo(kind).max.astype(float) for kind in (np.float32, np.float64)),
        *(np.finfo(kind).min.astype(float) for kind in (np.float32, np.float64)),
        *(-(2.0**15), -(2.0**31), 2.0**31 - 1.0, 2.0**32 - 1.0),
        *(-(2.0**63), 2.0**63, 2.0**64),  # NaT is the first
    ]
)
# What may be one of few rare values, or a bound that was reached.
LIKELY = np.array([*_NINES, -128.0, 127.0, 2.0**15 - 1.0, 2.0**16 - 1.0])
FILLERS = np.concatenate([UNMISTAKABLE, LIKELY])

MIN_CELLS = 8  # of the sample, to tell a spread from


class Sentinel(NamedTuple):
    """A value that makes up most of its column's variance."""

    column: int
    value: float
    share: float  # of the variance
    deviation_of_others: float


def find_sentinels(table: WeightedTable, moments: Moments) -> list[Sentinel]:
    """Columns of which one value, in one cell or in several, makes up the variance.

    It is a known filler, or so far from all others that it is no measurement. Other
    values are not judged: the 1 of a rare event makes up the variance, too. The table
    is read again only if a column is suspicious.
    """
    with np.errstate(all="ignore"):
        values = _find_farthest(moments)
        spreads = _measure_spreads(draw_evenly(table.X))
        is_suspect = moments.deviation > 10.0 * spreads  # the others differ by less
        is_suspect |= _is_among(values, FILLERS)
        is_suspect |= np.abs(values) > HUGE
        is_suspect &= moments.deviation > 0.0
        if table.layout is not None:
            is_suspect[table.layout.columns] = False
        (columns,) = np.nonzero(is_suspect)
        if not len(columns):
            return []
        values = values[columns]
        found = _compare_with_others(table, moments, columns, values)
        limits = np.where(_is_among(values, UNMISTAKABLE), SHARE_OF_FILLER, SHARE)
    return [
        Sentinel(int(column), float(value), float(share), float(deviation))
        for column, value, share, deviation, is_odd, limit in zip(
            columns, values, *found, limits, strict=True
        )
        if is_odd and share > limit
    ]


def _find_farthest(moments: Moments) -> NDArray[np.float64]:
    """The extreme of each column farther from its pivot, or the pivot if a filler."""
    low, high, pivot = moments.low, moments.high, moments.pivot
    farthest = np.where(high - pivot >= pivot - low, high, low)
    is_filled = _is_among(pivot, FILLERS) & ((pivot == low) | (pivot == high))
    return np.where(is_filled, pivot, farthest)


def _compare_with_others(
    table: WeightedTable,
    moments: Moments,
    columns: NDArray[np.intp],
    values: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Their shares of the variance, deviations of others, and whether they are none."""
    sample = draw_evenly(table.X)[:, columns]
    sample[sample == values] = np.nan
    others = add_up(
        lambda: _read_others(table.X, columns, values),
        sample,
        none_if_equal(table.weights),
    )
    spread = _measure_spreads(sample)
    deviation, total = moments.deviation[columns], moments.total[columns]
    shares = 1.0 - np.square(others.deviation / deviation) * (others.total / total)
    distance = np.abs(values - others.pivot)
    next_distance = np.maximum(others.high - others.pivot, others.pivot - others.low)
    is_known = _is_among(values, UNMISTAKABLE)
    is_known |= _is_among(values, LIKELY) & np.isfinite(spread)
    is_known &= distance > CLEAR * next_distance
    is_far = distance > FAR * spread
    is_far &= distance / next_distance > np.square(next_distance / spread)
    is_beyond = (next_distance > 0.0) & (distance > HUGE / FAR * next_distance)
    is_far |= is_beyond & (np.abs(values) > HUGE)
    return shares, others.deviation, (is_known | is_far) & (others.total > 0.0)


def _read_others(
    X: Table, columns: NDArray[np.intp], values: NDArray[np.float64]
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Chunks of columns without the cells that have the given values."""
    for rows, chunk in read_numbered_chunks(X):
        cells = chunk[:, columns].astype(np.float64)
        yield rows, np.where(cells == values, np.nan, cells)


def _measure_spreads(sample: NDArray[np.float64]) -> NDArray[np.float64]:
    """The interquartile range; where it is 0, that of the cells beside the median.

    Infinite where the sample has too few of these to tell.
    """
    low, median, high = find_lower_quantiles(sample, [0.25, 0.5, 0.75])
    spreads = high - low
    if (is_open := ~(spreads > 0.0)).any():
        beside = np.where(sample == median, np.nan, sample)[:, is_open]
        low, high = find_lower_quantiles(beside, [0.25, 0.75])
        spread, n_cells = high - low, np.count_nonzero(~np.isnan(beside), axis=0)
        is_told = (spread > 0.0) & (n_cells >= MIN_CELLS)
        spreads[is_open] = np.where(is_told, spread, np.inf)
    return spreads


def _is_among(
    values: NDArray[np.float64], fillers: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether values are fillers, to within rounding."""
    differences = np.abs(values[:, np.newaxis] - fillers)
    return np.asarray((differences <= SAME_FILLER * np.abs(fillers)).any(axis=1))
