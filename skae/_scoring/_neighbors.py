"""How far rows are from their nearest references, as the networks see them.

A row is seen as what it is and what the networks miss of it. The distance between two
rows is a sum over the columns of both, so that it can be told what each column adds.
Missing cells of a row are NaN and have no terms.

Source of the idea: Pang, Ting & Albrecht (2015), "LeSiNN: detecting anomalies by
identifying least similar nearest neighbours", ICDM workshops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from skae._scoring._forward import multiply, pad
from skae._scoring._scores import count_observed
from skae._scoring._surprise import (
    compute_mismatches,
    compute_misses,
    find_categories,
)
from skae._tables._reading import Weights
from skae._tables._scaling import Scaling
from skae._tables._weighting import draw_by_weight

# benchmarks/detection.py chose these on all development tables together. 1,000
# references find as much in twice the time; of 5 to 20 neighbours, few are better on
# clean rows and many on contaminated ones.
MAX_REFERENCES = 512
MAX_REFERENCES_IF_WIDE = 256  # with 784 columns, scoring takes twice the networks' time
MAX_NUMBERS = 500_000  # of all references' views
MAX_NEIGHBORS = 12
REFERENCES_PER_NEIGHBOR = 25  # at least, where rows are so wide that these are few
SUSPECTED_SHARE = 0.1  # of the rows, by weight, that do not become references
COMMON_SHARE = 0.05  # of the rows; a row that has as many copies is not suspected

# A tenth of a standard deviation is no evidence; nor are smaller errors, in comparison,
# where few rows were trained on: the networks know these better than others.
RESIDUAL_FLOOR = 0.1
RESIDUAL_FLOOR_PER_ROW = 40.0

# Of the squared differences of cells beside those of residuals, in an explanation. A
# value that only contradicts the others shows in the residuals (one of .1, .3 and 1 by
# benchmarks/explanations.py).
CELL_WEIGHT = 0.3

CLIP = 20.0  # no single cell decides alone
CANCELLED = 1e-3  # of a sum of squares; what is left then has 13 digits
SAME_CELL = 1e-6  # relative: a copy in float32, or by way of a text, is the same row

# How far from 0, in scales, is of account: copies differ by at most a hundredth of a
# scale, or all rows of columns that are farther away would be copies of each other. A
# copy in float32 differs by less, up to 1e5 scales from 0.
LARGEST_OFFSET = 1e4

# Whole numbers, and other multiples of one power of two, are exact wherever 0 is. Of
# such a step, in scales, each other number is one by a chance of 1 in 50.
EXACT_STEP = 2.0**-30
EXACT_OFFSET = 1.0

# Of wider rows the distance is the root of a sum of squares, since that is a matrix
# product; one of absolute differences takes twelve times as long for 784 columns.
MAX_COLUMNS_OF_ABSOLUTE = 128


Copies = tuple[NDArray[np.intp], NDArray[np.intp]]  # rows, and the references they are


class Neighborhood(NamedTuple):
    """What rows are compared with, in scaled units."""

    references: NDArray[np.float64]  # (n_references, n_columns), NaN where missing
    center: NDArray[np.float64]  # (n_numbers,): the mean of each column
    residual_scale: NDArray[np.float64]  # (n_columns,)
    spread: float  # root mean square of the numbers around these


class View(NamedTuple):
    """Rows as they are compared; 0 where a cell is missing."""

    cells: NDArray[np.float64]  # (n_rows, n_numbers)
    residuals: NDArray[np.float64]  # (n_rows, n_columns)
    categories: NDArray[np.float64] | None  # (n_rows, n_category_units), 1 or 0


def count_references(n_features: int) -> int:
    """How many references there are, at most."""
    is_wide = n_features > MAX_COLUMNS_OF_ABSOLUTE
    n_references = MAX_REFERENCES_IF_WIDE if is_wide else MAX_REFERENCES
    return max(1, min(n_references, MAX_NUMBERS // (2 * n_features)))


def count_neighbors(n_features: int) -> int:
    """How many of them are averaged over, if there are as many."""
    n_references = count_references(n_features)
    return max(1, min(MAX_NEIGHBORS, n_references // REFERENCES_PER_NEIGHBOR))


def choose_neighborhood(
    rows: NDArray[np.float64],
    outputs: NDArray[np.float64],
    scaling: Scaling,
    weights: Weights,
    rng: np.random.RandomState,
    originals: NDArray[np.float64],
) -> Neighborhood:
    """References, drawn by weight from the less suspicious rows, and the scales.

    The rows may be limited; the references are the originals of some of them.
    The suspicion of a row is the mean absolute value of its view. A row of more weight
    is drawn more often: its copies count as neighbours of their own.
    """
    if weights is None:
        weights = np.ones(len(rows))
    p = scaling.layout.n_numbers
    is_observed = ~scaling.layout.find_missing(rows)
    center = scaling.mask_values[:p]
    deviations = _compute_mean_squares(
        rows[:, :p] - center, is_observed[:, :p], weights
    )
    varies = deviations > 0.0
    spread = float(np.sqrt(deviations[varies].mean())) if varies.any() else 1.0
    misses = compute_misses(rows, outputs, scaling, spread)
    sizes = np.sqrt(_compute_mean_squares(misses, is_observed, weights))
    floor = RESIDUAL_FLOOR + RESIDUAL_FLOOR_PER_ROW / len(rows)
    scale = sizes + 0.1 * sizes.mean() + floor * spread
    hood = Neighborhood(rows, center, scale, spread)
    view = compute_view(rows, outputs, hood, scaling)
    suspicion = np.abs(view.cells).sum(axis=1) + np.abs(view.residuals).sum(axis=1)
    if view.categories is not None:
        suspicion += _measure_rarity(view.categories, scaling)
    suspicion /= count_observed(~is_observed)
    kept = _keep_least(suspicion, weights, 1.0 - SUSPECTED_SHARE)
    kept = np.where(_are_common(weights), weights, kept)
    n_seen = max(np.count_nonzero(kept), kept.sum())
    n_draws = int(min(count_references(scaling.layout.n_columns), n_seen))
    drawn = originals[draw_by_weight(kept, n_draws, rng)]
    return hood._replace(references=scaling.condense(drawn))


def _measure_rarity(
    categories: NDArray[np.float64], scaling: Scaling
) -> NDArray[np.float64]:
    """How far the categories of rows are from those of others, on average."""
    others = 1.0 - scaling.frequencies
    mismatches = np.repeat(compute_mismatches(scaling), scaling.layout.sizes)
    distances: NDArray[np.float64] = categories @ (mismatches * others)
    return distances


def _are_common(weights: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Rows with so many copies that these are no coincidence."""
    n_copies = weights * max(1.0, len(weights) / weights.sum())
    least = max(MAX_NEIGHBORS, COMMON_SHARE * n_copies.sum())
    are_common: NDArray[np.bool_] = n_copies >= least
    return are_common


def _compute_mean_squares(
    values: NDArray[np.float64],
    is_observed: NDArray[np.bool_],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Of the observed cells of each column; where there are none, their mean."""
    columns = weights[:, np.newaxis]
    totals = np.sum(columns * is_observed, axis=0)
    sums = np.sum(columns * np.square(np.where(is_observed, values, 0.0)), axis=0)
    means: NDArray[np.float64] = sums / np.where(totals > 0.0, totals, 1.0)
    if 0.0 < totals.max(initial=0.0) and totals.min() == 0.0:
        means[totals == 0.0] = means[totals > 0.0].mean()
    return means


def _keep_least(
    values: NDArray[np.float64], weights: NDArray[np.float64], share: float
) -> NDArray[np.float64]:
    """The weights that are left if only this share of all has the least values."""
    order = np.argsort(values, kind="stable")
    steps = np.cumsum(weights[order])
    before = steps - weights[order]
    kept = np.zeros(len(weights))
    kept[order] = np.clip(share * steps[-1] - before, 0.0, weights[order])
    return kept


def compute_view(
    rows: NDArray[np.float64],
    outputs: NDArray[np.float64],
    hood: Neighborhood,
    scaling: Scaling,
) -> View:
    """Rows and the average outputs for them as they are compared."""
    layout, p = scaling.layout, scaling.layout.n_numbers
    cells = rows[:, :p] - hood.center
    cells *= 1.0 / hood.spread
    residuals = compute_misses(rows, outputs, scaling, hood.spread)
    residuals *= 1.0 / hood.residual_scale
    np.clip(cells, -CLIP, CLIP, out=cells)
    np.clip(residuals, -CLIP, CLIP, out=residuals)
    is_missing = layout.find_missing(rows)
    if is_missing.any():
        cells[is_missing[:, :p]] = residuals[is_missing] = 0.0
    if not layout.has_categories:
        return View(cells, residuals, None)
    return View(cells, residuals, np.nan_to_num(find_categories(rows, scaling)))


class Half(NamedTuple):
    """Cells or residuals of the references, as products and sums need them."""

    values: NDArray[np.float64]
    kernel: NDArray[np.float64]  # transposed and filled up
    squares: NDArray[np.float64]  # sums over the columns


class Blocks(NamedTuple):
    """Categories of the references, and what another one counts."""

    values: NDArray[np.float64]  # (n_references, n_category_units)
    kernel: NDArray[np.float64]  # what the same one saves; transposed and filled up
    mismatches: NDArray[np.float64]  # (n_categorical,): squared, if sums are of squares


class References(NamedTuple):
    """A Neighborhood with what the networks at hand miss of its rows."""

    rows: NDArray[np.float64]  # units as they are, NaN where missing
    cells: Half
    residuals: Half
    categories: Blocks | None
    patterns: NDArray[np.int64]  # the same where the same cells are missing
    offsets: NDArray[np.float64]  # how far from 0 units are, for `SAME_CELL`
    hood: Neighborhood
    scaling: Scaling

    @property
    def is_wide(self) -> bool:
        """Whether distances are roots of sums of squares."""
        return self.scaling.layout.n_columns > MAX_COLUMNS_OF_ABSOLUTE


def make_references(
    hood: Neighborhood,
    rows: NDArray[np.float64],
    outputs: NDArray[np.float64],
    scaling: Scaling,
) -> References:
    """References, given as units; a missing cell stands where the outputs put it."""
    layout, p = scaling.layout, scaling.layout.n_numbers
    filled = rows.copy()
    filled[:, :p] = np.where(np.isnan(rows[:, :p]), outputs[:, :p], rows[:, :p])
    view = compute_view(filled, outputs, hood, scaling)
    cells, residuals = (
        Half(values, pad(values.T), np.square(values).sum(axis=1))
        for values in (view.cells, view.residuals)
    )
    blocks = None
    if view.categories is not None:
        expected = layout.compute_softmax(outputs[:, p:])
        values = np.where(np.isnan(rows[:, p:]), expected, view.categories)
        blocks = _make_blocks(values, scaling)
    patterns = _number_patterns(layout.find_missing(rows))
    offsets = np.zeros(layout.n_units)
    offsets[:p] = _find_offsets(rows[:, :p], scaling.of_numbers())
    return References(rows, cells, residuals, blocks, patterns, offsets, hood, scaling)


def _make_blocks(values: NDArray[np.float64], scaling: Scaling) -> Blocks:
    mismatches = compute_mismatches(scaling)
    if scaling.layout.n_columns > MAX_COLUMNS_OF_ABSOLUTE:
        mismatches = np.square(mismatches)
    kernel = values.T * np.repeat(mismatches, scaling.layout.sizes)[:, np.newaxis]
    return Blocks(values, pad(kernel), mismatches)


def _find_offsets(
    references: NDArray[np.float64], scaling: Scaling
) -> NDArray[np.float64]:
    """How far the columns' centers are from 0, scaled, as far as it is of account."""
    # Of the scale's power of two, so that units that are one do not matter.
    step = EXACT_STEP * np.exp2(np.floor(np.log2(scaling.scale)))
    steps = (references * scaling.scale + scaling.remainder) / step
    is_exact = ~(np.abs(steps - np.rint(steps)) > 0.01).any(axis=0)
    is_exact &= np.fmin.reduce(steps, axis=0) < np.fmax.reduce(steps, axis=0)
    offsets = np.minimum(np.abs(scaling.center / scaling.scale), LARGEST_OFFSET)
    return np.where(is_exact, EXACT_OFFSET, offsets)


def measure_distances(
    rows: NDArray[np.float64],
    view: View,
    references: References,
    copies: Copies | None = None,
) -> NDArray[np.float64]:
    """The distance of each row to each reference, (n_rows, n_references).

    A row that is a reference is infinitely far from it, and if it is several, from one:
    it is judged by the others. That is decided by the cells alone, since residuals are
    not the same on each processor; or it is known, of rows with hidden cells, from
    `find_copies` before.
    """
    is_missing = references.scaling.layout.find_missing(rows)
    distances = _measure_cells(view, references, is_missing)
    copies = copies or _find_copies(rows, view, references, distances, is_missing)
    measure = _choose_measure(references)
    distances += measure(view.residuals, references.residuals, is_missing)
    if references.is_wide:
        np.sqrt(distances, out=distances)
    distances[copies] = np.inf
    return distances


def _measure_cells(
    view: View, references: References, is_missing: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The part of the distances, or of their squares, that lies in the cells."""
    p, measure = view.cells.shape[1], _choose_measure(references)
    by_cells = measure(view.cells, references.cells, is_missing[:, :p])
    if view.categories is not None and references.categories is not None:
        blocks = references.categories
        same = multiply(pad(view.categories), blocks.kernel)[:, : len(blocks.values)]
        different = (~is_missing[:, p:] * blocks.mismatches).sum(axis=1)
        mismatches = different[:, np.newaxis] - same[: len(different)]
        by_cells += np.maximum(mismatches, 0.0, out=mismatches)
    return by_cells


def _choose_measure(
    references: References,
) -> Callable[[NDArray[np.float64], Half, NDArray[np.bool_]], NDArray[np.float64]]:
    """How rows of so many columns are compared."""
    return _sum_squares if references.is_wide else _sum_differences


def _sum_differences(
    values: NDArray[np.float64], half: Half, is_missing: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Sums of absolute differences over the observed cells of rows, 0 elsewhere."""
    sums = cdist(values, half.values, "cityblock")
    if is_missing.any():
        sums -= _sum_where(is_missing, np.abs(half.kernel), sums.shape)
        np.maximum(sums, 0.0, out=sums)
    return sums


def _sum_squares(
    values: NDArray[np.float64], half: Half, is_missing: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Sums of squared differences over the observed cells of rows, 0 elsewhere."""
    n_rows, n_references = len(values), len(half.values)
    sums = multiply(pad(values), half.kernel)[:n_rows, :n_references]
    sums *= -2.0
    squares = half.squares + np.square(values).sum(axis=1)[:, np.newaxis]
    sums += squares
    if is_missing.any():
        sums -= _sum_where(is_missing, np.square(half.kernel), sums.shape)
    # What is left of two large numbers is not exact; where it is little, begin anew.
    is_close = sums < CANCELLED * squares
    for row in np.flatnonzero(is_close.any(axis=1)):
        differences = values[row] - half.values[is_close[row]]
        differences[:, is_missing[row]] = 0.0
        sums[row, is_close[row]] = np.square(differences).sum(axis=1)
    return sums


def _sum_where(
    is_missing: NDArray[np.bool_], kernel: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Sums over the missing cells of rows of what references have there."""
    return multiply(pad(is_missing.astype(np.float64)), kernel)[: shape[0], : shape[1]]


def find_copies(
    rows: NDArray[np.float64], outputs: NDArray[np.float64], references: References
) -> Copies:
    """Rows that are references, and for each the one that it is."""
    view = compute_view(rows, outputs, references.hood, references.scaling)
    is_missing = references.scaling.layout.find_missing(rows)
    by_cells = _measure_cells(view, references, is_missing)
    return _find_copies(rows, view, references, by_cells, is_missing)


def _find_copies(
    rows: NDArray[np.float64],
    view: View,
    references: References,
    by_cells: NDArray[np.float64],
    is_missing: NDArray[np.bool_],
) -> Copies:
    """The same, if the cells have been measured.

    A cell is as exact as it is in the user's units.
    """
    hood = references.hood
    offsets = references.offsets[: len(hood.center)]
    reach = np.abs(view.cells).sum(axis=1)
    reach += (np.abs(hood.center) + offsets).sum() / hood.spread
    if references.categories is not None:  # the same ones, but for rounding
        reach += references.categories.mismatches.sum()
    reach *= SAME_CELL
    if references.is_wide:
        reach = np.square(reach)
    patterns = _number_patterns(is_missing)
    if patterns.any() or references.patterns.any():
        is_other = patterns[:, np.newaxis] != references.patterns
        by_cells = np.where(is_other, np.inf, by_cells)
    nearest = by_cells.argmin(axis=1)
    least = by_cells[np.arange(len(rows)), nearest]
    near = np.flatnonzero((least <= reach) & (least < np.inf))
    differences = np.abs(rows[near] - references.rows[nearest[near]])
    tolerance = SAME_CELL * (np.abs(rows[near]) + references.offsets)
    is_same = ~(differences > tolerance)  # missing cells are at the same places
    near = near[is_same.all(axis=1)]
    return near, nearest[near]


def _number_patterns(is_missing: NDArray[np.bool_]) -> NDArray[np.int64]:
    """A number for the missing cells of each row, 0 for none: a random hash."""
    if not is_missing.any():
        return np.zeros(len(is_missing), np.int64)
    factors = np.random.RandomState(0).randint(2**62, size=is_missing.shape[1])
    patterns: NDArray[np.int64] = is_missing @ factors
    return patterns


def compute_anomalies(
    rows: NDArray[np.float64],
    outputs: NDArray[np.float64],
    references: References,
) -> NDArray[np.float64]:
    """The mean distance of each row to its nearest references, over its columns.

    0 for a row with nothing observed, and for one without other references; infinite
    for one with an infinite cell, which the view would hide.
    """
    layout = references.scaling.layout
    view = compute_view(rows, outputs, references.hood, references.scaling)
    distances = measure_distances(rows, view, references)
    n_nearest = min(count_neighbors(layout.n_columns), distances.shape[1])
    nearest = np.partition(distances, n_nearest - 1, axis=1)[:, :n_nearest]
    if n_nearest == distances.shape[1]:  # one of them may be the row itself
        is_other = nearest != np.inf
        anomalies = np.where(is_other, nearest, 0.0).sum(axis=1)
        anomalies /= np.maximum(is_other.sum(axis=1), 1)
    else:
        anomalies = nearest.mean(axis=1)
    is_missing = layout.find_missing(rows)
    anomalies /= _count_divisor(is_missing)
    anomalies[is_missing.all(axis=1)] = 0.0
    anomalies[np.isinf(rows).any(axis=1)] = np.inf
    return anomalies


def _count_divisor(is_missing: NDArray[np.bool_]) -> NDArray[np.float64]:
    """What a distance is divided by, so that it does not grow with the columns."""
    counts = count_observed(is_missing).astype(np.float64)
    is_wide = is_missing.shape[1] > MAX_COLUMNS_OF_ABSOLUTE
    return np.sqrt(counts) if is_wide else counts


def compute_terms(
    rows: NDArray[np.float64], outputs: NDArray[np.float64], references: References
) -> NDArray[np.float64]:
    """What each column adds to the anomalies; the sum over a row is its anomaly."""
    is_wide, layout = references.is_wide, references.scaling.layout
    terms, n_others = np.zeros((len(rows), layout.n_columns)), np.zeros((len(rows), 1))
    for cells, residuals, distances in _compare(rows, outputs, references):
        added = (
            np.square(cells) + np.square(residuals) if is_wide else cells + residuals
        )
        divisors = np.where(distances > 0.0, distances, 1.0) if is_wide else 1.0
        is_other = distances != np.inf
        terms += np.where(is_other, added / divisors, 0.0)
        n_others += is_other
    is_missing = layout.find_missing(rows)
    terms /= np.maximum(n_others, 1.0) * _count_divisor(is_missing)[:, np.newaxis]
    terms[is_missing] = 0.0
    terms[layout.find_infinite(rows)] = np.inf
    return terms


def compute_squares(
    rows: NDArray[np.float64],
    outputs: NDArray[np.float64],
    references: References,
    copies: Copies,
) -> NDArray[np.float64]:
    """What each column adds to the squared index that contributions are measured by.

    A row with hidden cells is still the reference that it is.
    """
    layout = references.scaling.layout
    squares = np.zeros((len(rows), layout.n_columns))
    for cells, residuals, distances in _compare(rows, outputs, references, copies):
        added = CELL_WEIGHT * np.square(cells) + np.square(residuals)
        squares += np.where(distances != np.inf, added, 0.0)
    squares[layout.find_missing(rows)] = 0.0
    return squares


def _compare(
    rows: NDArray[np.float64],
    outputs: NDArray[np.float64],
    references: References,
    copies: Copies | None = None,
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]:
    """Yield by how much rows differ from one of their nearest references each.

    Absolute differences of cells and of residuals, (n_rows, n_columns), and distances,
    (n_rows, 1), which are infinite where a row is the reference.
    """
    view = compute_view(rows, outputs, references.hood, references.scaling)
    distances = measure_distances(rows, view, references, copies)
    n_columns = references.scaling.layout.n_columns
    n_nearest = min(count_neighbors(n_columns), distances.shape[1])
    nearest = np.argpartition(distances, n_nearest - 1, axis=1)[:, :n_nearest]
    distances = np.take_along_axis(distances, nearest, axis=1)
    for i, chosen in enumerate(nearest.T):
        cells = np.abs(view.cells - references.cells.values[chosen])
        residuals = np.abs(view.residuals - references.residuals.values[chosen])
        if view.categories is not None:
            different = _compare_categories(view.categories, references, chosen)
            cells = np.concatenate([cells, different], axis=1)
        yield cells, residuals, distances[:, i : i + 1]


def _compare_categories(
    categories: NDArray[np.float64], references: References, chosen: NDArray[np.intp]
) -> NDArray[np.float64]:
    """What categories add to distances, or the roots of what they add to squares."""
    blocks = references.categories
    assert blocks is not None  # the view has categories
    layout = references.scaling.layout
    same = layout.sum_blocks(categories * blocks.values[chosen])
    different = np.maximum(1.0 - same, 0.0) * blocks.mismatches
    return np.sqrt(different) if references.is_wide else different
