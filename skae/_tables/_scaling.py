"""From the user's units to the network's and back.

The statistics of the columns leave missing cells out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skae._tables._layout import Layout
from skae._tables._moments import Moments, compute_moments
from skae._tables._reading import (
    CHUNK_BYTES,
    Rows,
    Table,
    WeightedTable,
    Weights,
    compute_extremes,
    count_rows,
    has_missing_cells,
    read_chunks,
    read_columns,
    read_dense,
    read_numbered_chunks,
    take_rows,
)
from skae._tables._sentinels import find_sentinels
from skae._tables._weighting import none_if_equal

# Of a robust scaling, in its units: no cell that is farther out is learnt from as it
# is, or a single one would drown all others. On 47 tables that left the area under the
# ROC curve what it was, on average: +.001 (standard error .001) on clean rows and +.002
# (.003) on contaminated ones. So did 100, but a single cell still cost detections.
ROBUST_LIMIT = 20.0

# What varies by no more than a few spacings of the input's floats does not vary. It is
# measured in its raw unit, like a constant, but at least in so many of these spacings,
# in float32 about 4e-4 of the value, or the last digit of a large number would be an
# alarm.
NOISE_SPACINGS = 4
UNIT_SPACINGS = 4096

# One row more than there are has a category of a column that is not there, or none
# would ever be expected.
UNSEEN_ROWS = 1.0

# Of the block of a column of categories: two rows of different ones are not farther
# apart than 20 standard deviations, which no cell of a number counts more than.
MIN_VARIANCE = 2.0 / 20.0**2


class Scaling(NamedTuple):
    """What the columns' units are to the network's, and what stands for a gap.

    A center is a value of its column and a remainder: one float64 would be exact to 256
    only where time is in nanoseconds. A unit of a category is 1 or 0; its center is how
    often it is 1, and the scale gives its block a variance of 1.
    """

    pivot: NDArray[np.float64]  # (n_units,)
    remainder: NDArray[np.float64]
    scale: NDArray[np.float64]
    mask_values: NDArray[np.float64]  # the mean of each unit, in the network's units
    layout: Layout

    @classmethod
    def of_nothing(
        cls, n_units: int, mask_values: NDArray[np.float64] | None = None
    ) -> Scaling:
        """The scaling that leaves rows as they are."""
        zeros = np.zeros(n_units)
        values = zeros if mask_values is None else mask_values
        return cls(zeros, zeros, np.ones(n_units), values, Layout.of_numbers(n_units))

    @property
    def frequencies(self) -> NDArray[np.float64]:
        """Of the categories of all blocks, and of what shares a unit."""
        return self.pivot[self.layout.n_numbers :]

    def of_numbers(self) -> Scaling:
        """The scaling of the columns of numbers alone."""
        p = self.layout.n_numbers
        pivot, remainder, scale, mask_values = (part[:p] for part in self[:4])
        return Scaling(pivot, remainder, scale, mask_values, Layout.of_numbers(p))

    @property
    def center(self) -> NDArray[np.float64]:
        """As exact as one float64 can be."""
        return self.pivot + self.remainder

    @np.errstate(all="ignore")
    def undo(self, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """What comes out of the network, in the user's units; overwrites it.

        Of the categories their probabilities.
        """
        p = self.layout.n_numbers
        numbers = outputs[:, :p]
        numbers *= self.scale[:p]
        numbers += self.remainder[:p]
        numbers += self.pivot[:p]
        if self.layout.has_categories:
            outputs[:, p:] = self.layout.compute_softmax(outputs[:, p:])
        return outputs

    def write_blocks(self, codes: NDArray, out: NDArray) -> None:
        """Write categories as scaled units; what is NaN or infinite is so as a block.

        Of the shape (n_rows, n_categorical) and (n_rows, n_category_units).
        """
        layout, spreads = self.layout, self.scale[self.layout.n_numbers :]
        is_code = np.isfinite(codes)
        in_rows, in_blocks = np.nonzero(is_code)
        units = layout.starts[in_blocks] + codes[is_code].astype(np.intp)
        is_new = self.frequencies[units] == 0.0  # it shares a unit with all new ones
        units[is_new] = (layout.starts + layout.sizes - 1)[in_blocks[is_new]]
        out[...] = -self.frequencies / spreads
        out[in_rows, units] = ((1.0 - self.frequencies) / spreads)[units]
        for j in np.flatnonzero(~is_code.all(axis=0)):
            block = slice(layout.starts[j], layout.starts[j] + layout.sizes[j])
            others = np.flatnonzero(~is_code[:, j])
            out[others, block] = codes[others, j, np.newaxis]

    def expand(self, cells: NDArray[np.float64]) -> NDArray[np.float64]:
        """Units from scaled numbers, followed by codes."""
        p = self.layout.n_numbers
        if not self.layout.has_categories:
            return cells
        units = np.empty((len(cells), self.layout.n_units))
        units[:, :p] = cells[:, :p]
        self.write_blocks(cells[:, p:], units[:, p:])
        return units

    def condense(self, units: NDArray[np.float64]) -> NDArray[np.float64]:
        """The way back."""
        p = self.layout.n_numbers
        if not self.layout.has_categories:
            return units
        return np.concatenate(
            [units[:, :p], self.layout.find_codes(units[:, p:])], axis=1
        )


class ScaledRows:
    """Rows of a table in the network's units, computed when they are read.

    With a limit, no number is read as more than that, or as less than minus that.
    """

    def __init__(
        self,
        X: Table,
        scaling: Scaling,
        weights: Weights = None,
        limit: float = np.inf,
    ):
        self.X = X
        self.scaling = scaling
        self.weights = weights
        self.limit = limit
        self.factor = 1.0 / scaling.scale
        self._has_categories = scaling.layout.has_categories
        if self._has_categories:
            self._numbers = ScaledRows(X, scaling.of_numbers(), limit=limit)
        self._is_scaled = bool(
            np.any(scaling.pivot != 0.0)
            or np.any(scaling.remainder != 0.0)
            or np.any(scaling.scale != 1.0)
            or limit < np.inf
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Of rows and units."""
        return self.X.shape[0], len(self.factor)

    @np.errstate(over="ignore")
    def read(self, rows: Rows, out: NDArray) -> NDArray:
        """Write the given rows to `out`, of float64 or float32, and return it.

        What overflows is infinite there: its loss or its score tells.
        """
        if self._has_categories:
            return self._read_units(rows, out)
        if self._is_scaled:
            values = read_dense(self.X, rows)
            buffer = out if out.dtype == np.float64 else None
            values = np.subtract(
                values, self.scaling.pivot, out=buffer, dtype=np.float64
            )
            values -= self.scaling.remainder
            if self.limit < np.inf:
                farthest = self.limit * self.scaling.scale
                np.clip(values, -farthest, farthest, out=values)
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

    def _read_units(self, rows: Rows, out: NDArray) -> NDArray:
        """The same, of a table that has categories."""
        layout, cells = self.scaling.layout, read_dense(self.X, rows)
        numbers = self._numbers.replaced_by(cells[:, layout.numbers])
        numbers.read(slice(None), out[:, : layout.n_numbers])
        self.scaling.write_blocks(cells[:, layout.columns], out[:, layout.n_numbers :])
        return out

    def read_all(self) -> NDArray[np.float64]:
        """All rows, in float64."""
        return self.read(slice(None), out=np.empty(self.shape))

    @cached_property
    def has_missing(self) -> bool:
        """Whether there are missing cells."""
        return has_missing_cells(self.X)

    def compute_range(self) -> tuple[float, float]:
        """The smallest and the largest number."""
        scaling, numbers = self.scaling.of_numbers(), self.scaling.layout.numbers
        if not len(numbers):
            return 0.0, 0.0
        factor = 1.0 / scaling.scale
        low, high = (
            ((extreme[numbers] - scaling.pivot) - scaling.remainder) * factor
            for extreme in compute_extremes(self.X)
        )
        return float(np.fmin.reduce(low)), float(np.fmax.reduce(high))

    def kept_if_small(self) -> ScaledRows:
        """The same rows, scaled once and for all where float32 takes little memory."""
        if 4 * self.shape[0] * self.shape[1] > CHUNK_BYTES:
            return self
        scaled = self.read(slice(None), out=np.empty(self.shape, np.float32))
        done = Scaling.of_nothing(self.shape[1], self.scaling.mask_values)
        return ScaledRows(scaled, done, self.weights)

    def take(self, rows: NDArray[np.intp], weights: Weights = None) -> ScaledRows:
        """Some of the rows, in ascending order, with their weights or with others."""
        if weights is None and self.weights is not None:
            weights = self.weights[rows]
        return ScaledRows(take_rows(self.X, rows), self.scaling, weights, self.limit)

    def replaced_by(self, X: Table) -> ScaledRows:
        """Other rows in the same units, for less than it takes to begin anew."""
        rows = ScaledRows.__new__(ScaledRows)
        vars(rows).update(vars(self), X=X, weights=None)
        return rows

    def without_limit(self) -> ScaledRows:
        """The same rows as they are."""
        return ScaledRows(self.X, self.scaling, self.weights)


def find_limit(method: str | None) -> float:
    """How far out cells are learnt from as they are, by a scaling of this kind."""
    return ROBUST_LIMIT if method == "robust" else np.inf


def scale_rows(
    table: WeightedTable, method: str | None, moments: Moments | None = None
) -> ScaledRows:
    """Rows to learn from, by the scaling that they themselves give."""
    weights = none_if_equal(table.weights)
    scaling = fit_scaling(table.X, method, weights, moments, table.names)
    if table.layout is not None:
        scaling = _add_categories(scaling, table, table.layout)
    return ScaledRows(table.X, scaling, weights, find_limit(method))


def _add_categories(scaling: Scaling, table: WeightedTable, layout: Layout) -> Scaling:
    """The scaling of the columns of numbers, and of the units of the others."""
    counts = np.zeros(layout.n_category_units)
    for rows, cells in read_numbered_chunks(table.X):
        codes = cells[:, layout.columns]
        is_known = ~np.isnan(codes)
        units = layout.starts + np.where(is_known, codes, 0.0).astype(np.intp)
        weights = np.where(is_known, table.weights[rows, np.newaxis], 0.0)
        counts += np.bincount(units.ravel(), weights.ravel(), len(counts))
    counts *= count_rows(table) / table.weights.sum()
    counts[layout.starts + layout.sizes - 1] += UNSEEN_ROWS
    totals = layout.sum_blocks(counts[np.newaxis])[0]
    frequencies = counts / np.repeat(totals, layout.sizes)
    variances = 1.0 - layout.sum_blocks(np.square(frequencies)[np.newaxis])[0]
    spreads = np.sqrt(np.maximum(variances, MIN_VARIANCE))
    zeros = np.zeros(layout.n_category_units)
    units = frequencies, zeros, np.repeat(spreads, layout.sizes), zeros
    pivot, remainder, scale, mask_values = (
        np.append(part[layout.numbers], of_units)
        for part, of_units in zip(scaling[:4], units, strict=True)
    )
    return Scaling(pivot, remainder, scale, mask_values, layout)


def fit_scaling(
    X: Table,
    method: str | None,
    weights: Weights = None,
    moments: Moments | None = None,
    names: Sequence[Any] = (),
) -> Scaling:
    """Center, scale and mean of each column; one without spread gets scale 1.

    Missing cells are left out; a column of nothing else gets center 0 and scale 1.

    Parameters
    ----------
    X : {ndarray, CSR} of shape (n_samples, n_features)
        May be a memory map: it is read, or made dense, a chunk at a time.
    method : {"standard", "minmax", "robust"} or None
        Mean and standard deviation; minimum and range; median and interquartile range
        (the standard deviation where at least half of a column is one value); or
        none.
    weights : ndarray of shape (n_samples,), default=None
        What each row counts; positive. Minimum and range do not depend on it.
    moments : Moments, default=None
        Of X by weight, if they are known.
    names : sequence, default=()
        Of the columns, for errors.
    """
    moments = moments or compute_moments(X, weights)
    pivot, mean = moments.pivot, moments.mean
    if method is None:
        return Scaling.of_nothing(len(pivot), pivot + mean)
    with np.errstate(over="ignore", invalid="ignore"):  # reported below
        remainder = mean
        if method == "minmax":
            pivot, remainder = moments.low, np.zeros(len(pivot))
            mean = mean + (moments.pivot - pivot)
            spread = moments.high - moments.low
        elif method == "robust":
            remainder, spread, mean = _compute_quartiles(X, weights, moments)
        else:
            spread = moments.deviation
        center = pivot + remainder
        _check_spreads((center, spread, mean), names)
        scale = _choose_scales(X, center, spread)
    layout = Layout.of_numbers(len(pivot))
    mask_values = (mean - remainder) * (1.0 / scale)
    return Scaling(pivot, remainder, scale, mask_values, layout)


def _compute_quartiles(
    X: Table, weights: Weights, moments: Moments
) -> tuple[NDArray[np.float64], ...]:
    """Median, spread and mean of the cells minus their pivots.

    Where the quartiles are equal, the spread is the standard deviation, one value that
    is no measurement left out. The mean is one of cells that are brought within the
    limit.
    """
    medians, spreads, means = np.zeros((3, X.shape[1]))
    deviations = moments.deviation.copy()
    table = WeightedTable(X, np.ones(X.shape[0]) if weights is None else weights)
    for found in find_sentinels(table, moments):
        deviations[found.column] = found.deviation_of_others
    n_at_once = max(1, CHUNK_BYTES // (8 * X.shape[0]))
    for columns, values in read_columns(X, n_at_once):
        pivots = moments.pivot[columns]
        values = np.subtract(values, pivots, dtype=np.float64, order="C")
        values[:, np.isnan(values).all(axis=0)] = 0.0
        low, median, high = compute_quantiles(values, [0.25, 0.5, 0.75], weights)
        spread = np.where(high > low, high - low, deviations[columns])
        values -= median
        np.clip(values, -ROBUST_LIMIT * spread, ROBUST_LIMIT * spread, out=values)
        medians[columns], spreads[columns] = median, spread
        means[columns] = median + _compute_means(values, weights)
    return medians, spreads, means


def _compute_means(
    values: NDArray[np.float64], weights: Weights
) -> NDArray[np.float64]:
    """Of the observed cells of each column, in each of which there are some."""
    if weights is None:
        means: NDArray[np.float64] = np.nanmean(values, axis=0)
        return means
    columns = weights[:, np.newaxis]
    totals = np.sum(columns * ~np.isnan(values), axis=0)
    means = np.nansum(columns * values, axis=0) / totals
    return means


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


def _check_spreads(found: Sequence[NDArray[np.float64]], names: Sequence[Any]) -> None:
    """Raise where a center, a spread or a mean overflows."""
    overflows = ~np.isfinite(found).all(axis=0)
    if overflows.any():
        numbers = np.flatnonzero(overflows).tolist()
        columns = [names[j] for j in numbers] if len(names) else numbers
        raise ValueError(
            "The spread of each column must be a finite float64 number; it overflows "
            f"in column(s) {columns!r}. Divide the values by a power of ten before "
            "fitting, or set those that are none to NaN."
        )


def _choose_scales(
    X: Table, center: NDArray[np.float64], spread: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The spreads, and 1 where there is none, or only that of rounding."""
    scale = np.where(spread > np.finfo(np.float64).tiny, spread, 1.0)
    columns, spacings = find_rounded(X, center, spread)
    scale[columns] = np.maximum(1.0, UNIT_SPACINGS * spacings)
    return scale


def find_rounded(
    X: Table, center: NDArray[np.float64], spread: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Columns that vary by no more than rounding, and by how much floats differ there.

    X is read only if a column is suspicious.
    """
    kinds = np.float32, np.float64
    coarsest = np.max([_compute_spacings(center, kind) for kind in kinds], axis=0)
    (suspects,) = np.nonzero((spread > 0.0) & (spread <= NOISE_SPACINGS * coarsest))
    if not len(suspects):
        return suspects, np.empty(0)
    spacings = _find_rounding(X, suspects, center[suspects])
    is_noise = spread[suspects] <= NOISE_SPACINGS * spacings
    return suspects[is_noise], spacings[is_noise]


def _find_rounding(
    X: Table, columns: NDArray[np.intp], center: NDArray[np.float64]
) -> NDArray[np.float64]:
    """By how much neighbouring floats differ about the centers of some columns.

    Floats of float32, where the column holds no other, down to their last bit: a frame
    of both has come as float64. 0 where all are whole numbers that are exact.
    """
    is_whole = is_single = np.ones(len(columns), bool)
    uses_last_bit = np.zeros(len(columns), bool)
    for chunk in read_chunks(X):
        cells = chunk[:, columns]
        limit = 2.0 ** (np.finfo(cells.dtype).nmant + 1)
        is_missing = np.isnan(cells)
        is_exact = (cells == np.rint(cells)) & (np.abs(cells) < limit)
        is_whole = is_whole & np.all(is_missing | is_exact, axis=0)
        is_rounded = cells == cells.astype(np.float32)
        is_single = is_single & np.all(is_missing | is_rounded, axis=0)
        if not (is_whole | is_single).any():
            break
        steps = cells / _compute_spacings(cells, np.float32)
        uses_last_bit |= np.any(steps % 2.0 == 1.0, axis=0)
    spacings = np.where(
        is_single & uses_last_bit,
        _compute_spacings(center, np.float32),
        _compute_spacings(center, np.float64),
    )
    return np.where(is_whole, 0.0, spacings)


def _compute_spacings(values: NDArray[np.float64], kind: type) -> NDArray[np.float64]:
    """By how much neighbouring floats of a kind differ about these values."""
    values = np.minimum(np.abs(values), np.finfo(kind).max)
    spacings: NDArray[np.float64] = np.spacing(values.astype(kind)).astype(np.float64)
    return spacings
