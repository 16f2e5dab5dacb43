"""What each column adds to the anomaly of a row, and what was expected of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from skae._scoring._forward import LARGEST
from skae._tables._scaling import Scaling

# Fewer find fewer of several changed columns, more hardly find more
# (benchmarks/explanations.py).
FAR_SUSPECTS = 2
ERRING_SUSPECTS = 1
MASKED_GROUPS = 4

# From rows, missing cells being NaN, to what each column adds to a squared index.
Measure = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def compute_contributions(
    rows: NDArray[np.float64],
    anomaly: NDArray[np.float64],
    terms: NDArray[np.float64],
    scaling: Scaling,
    measure: Measure,
) -> NDArray[np.float64]:
    """What each column adds to a row's anomaly, of which `terms` are those of the sum.

    One odd value makes the network err in other columns too, so that the terms of an
    index do not tell which column is at fault. Suspects are therefore hidden, as if
    they were missing: first the one that helps most, then the most suspicious. What the
    index loses by it, and at the end a column's own term of the index, is the column's
    share of the anomaly. A missing cell has no share.

    Source: Alcala & Qin (2009), "Reconstruction-based contribution for process
    monitoring", Automatica 45, 1593-1600; there each column is repaired, not hidden,
    for itself, and nothing is shared out.
    """
    layout = scaling.layout
    is_missing = layout.find_missing(rows)
    squares = measure(rows)
    distances = np.where(is_missing, 0.0, _measure_distances(rows, scaling))
    suspects = _find_suspects(distances, squares)

    def measure_without(is_hidden: NDArray[np.bool_]) -> NDArray[np.float64]:
        if layout.has_categories:
            is_hidden = is_hidden[:, layout.cell_of_unit]
        return measure(np.where(is_hidden, np.nan, rows))

    shares = _hide_suspects(squares, suspects, is_missing, measure_without)
    index = squares.sum(axis=1)
    is_shared = np.isfinite(index) & np.isfinite(anomaly)
    is_shared &= index >= np.finfo(np.float64).tiny
    factor = anomaly[is_shared] / shares[is_shared].sum(axis=1)
    contributions = terms.copy()
    contributions[is_shared] = shares[is_shared] * factor[:, np.newaxis]
    return _share_out_overflow(contributions, anomaly)


def _measure_distances(
    rows: NDArray[np.float64], scaling: Scaling
) -> NDArray[np.float64]:
    """How far each cell is from the mean of its column, (n_rows, n_columns)."""
    layout, differences = scaling.layout, np.abs(rows - scaling.mask_values)
    if not layout.has_categories:
        return differences
    p = layout.n_numbers
    blocks = np.sqrt(layout.sum_blocks(np.square(differences[:, p:])))
    return np.concatenate([differences[:, :p], blocks], axis=1)


def _hide_suspects(
    squares: NDArray[np.float64],
    suspects: NDArray[np.intp],
    is_missing: NDArray[np.bool_],
    measure_without: Callable[[NDArray[np.bool_]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """What the index loses by hiding each suspect, and the squares that are left.

    The first to be hidden is the one without which the index is lowest. One that does
    not lower it is shown again.
    """
    numbers = np.arange(len(squares))
    # The index without each suspect alone, and the squares without the best one.
    alone = np.full(suspects.shape, np.inf)
    best_squares = squares.copy()
    is_hidden = is_missing.copy()
    for i, columns in enumerate(suspects.T):
        is_hidden[numbers, columns] = True
        new_squares = measure_without(is_hidden)
        is_hidden[numbers, columns] = is_missing[numbers, columns]
        sums = new_squares.sum(axis=1)
        is_best = sums < alone.min(axis=1)
        best_squares[is_best] = new_squares[is_best]
        alone[:, i] = sums
    is_first = np.arange(suspects.shape[1]) == alone.argmin(axis=1)[:, np.newaxis]
    order = np.argsort(~is_first, axis=1, kind="stable")
    left, index = squares.copy(), squares.sum(axis=1)
    shares = np.zeros(squares.shape)
    for i, columns in enumerate(np.take_along_axis(suspects, order, axis=1).T):
        is_hidden[numbers, columns] = True
        new_squares = measure_without(is_hidden) if i else best_squares
        sums = new_squares.sum(axis=1)
        helps = sums < index
        shares[numbers[helps], columns[helps]] = (index - sums)[helps]
        left[helps] = new_squares[helps]
        index = np.where(helps, sums, index)
        undone = numbers[~helps], columns[~helps]
        is_hidden[undone] = is_missing[undone]
    return shares + left


def _find_suspects(
    distances: NDArray[np.float64], squares: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Different columns of each row, the most suspicious first.

    Those farthest from usual, and then those that are far off and reproduced badly.
    """
    criteria = [distances] * FAR_SUSPECTS
    criteria += [distances * np.sqrt(squares)] * ERRING_SUSPECTS
    numbers = np.arange(len(distances))
    is_suspect = np.zeros(distances.shape, dtype=bool)
    suspects = []
    for criterion in criteria[: distances.shape[1]]:
        columns = np.where(is_suspect, -1.0, criterion).argmax(axis=1)
        is_suspect[numbers, columns] = True
        suspects.append(columns)
    return np.column_stack(suspects)


def compute_expected(
    rows: NDArray[np.float64],
    forward: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    scaling: Scaling,
) -> NDArray[np.float64]:
    """Each unit as the networks fill it in, its cell and others being masked."""
    mask_values = scaling.mask_values
    shown = np.where(np.isnan(rows), mask_values, rows)
    expected = np.empty(rows.shape)
    for start in range(min(MASKED_GROUPS, scaling.layout.n_columns)):
        group = np.flatnonzero(scaling.layout.cell_of_unit % MASKED_GROUPS == start)
        masked = shown.copy()
        masked[:, group] = mask_values[group]
        outputs = [output[:, group] for output in forward(masked)]
        expected[:, group] = np.mean(outputs, axis=0)
    return expected


def _share_out_overflow(
    contributions: NDArray[np.float64], anomaly: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Let rows that overflow add up to their anomaly; the others are untouched."""
    overflows = ~(np.isfinite(anomaly) & np.isfinite(contributions.sum(axis=1)))
    largest = np.finfo(np.float64).max
    rows = np.nan_to_num(contributions[overflows], nan=largest, posinf=largest)
    rows /= rows.max(axis=1, keepdims=True)
    rows /= rows.sum(axis=1, keepdims=True)
    sums = np.nan_to_num(anomaly[overflows], nan=largest, posinf=largest)
    sums = np.minimum(sums, LARGEST)
    contributions[overflows] = rows * sums[:, np.newaxis]
    return contributions
