"""What a practitioner would check in a fitted detector, with figures and advice."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from skae._tables._checks import show_number
from skae._tables._layout import Layout
from skae._tables._moments import compute_moments, draw_evenly
from skae._tables._reading import Table, WeightedTable, read_chunks
from skae._tables._scaling import find_rounded
from skae._tables._sentinels import find_sentinels

STILL_FALLING = 0.05  # of the loss, over the last tenth of the epochs
ERRORS = 2.0  # standard ones, by which it must fall; epochs scatter
SCATTERED_EPOCHS = 10  # at least, to tell by how much
LITTLE_EXPLAINED = 0.1  # of the variance
FOREIGN = -2.0  # three times the error of the means; untrained networks have twice it
COPIED = 0.9  # of the variance of rows whose cells do not belong together
MANY_DEAD_UNITS = 0.5
MANY_SHARED = 0.5  # of the cells of a column
TAIL = 0.05  # quantile of the training scores below which other rows are counted
TOO_MANY_IN_TAIL = 2 * TAIL
SIGNIFICANT = 0.05
MIN_CALIBRATION_ROWS = 99  # for a p-value of .01
MAX_NAMES = 5
MIN_COUNTED = 20  # rows, to tell a counter
NEGLIGIBLE = 1e-12  # variance beside the mean square; rounding leaves as much


class Finding(NamedTuple):
    """One check: its name, whether something is wrong, its figure, what to do.

    `is_problem` is None where the check lacks what it needs; `advice` then says what.
    """

    name: str
    is_problem: bool | None
    figure: str
    advice: str


class Diagnosis(tuple[Finding, ...]):
    """Findings, which `print` shows as a report, the problems with advice."""

    @property
    def problems(self) -> list[Finding]:
        """The findings in which something is wrong."""
        return [finding for finding in self if finding.is_problem]

    def __str__(self) -> str:
        """A line for each finding; below it what to do, unless all is well."""
        marks = {True: "LOOK", False: "ok", None: "-"}
        lines = []
        for finding in self:
            mark = marks[finding.is_problem]
            lines.append(f"{mark:5}{finding.name}: {finding.figure}")
            if finding.is_problem is not False:
                indent = " " * 7
                lines.append(
                    fill(
                        finding.advice,
                        80,
                        initial_indent=indent,
                        subsequent_indent=indent,
                    )
                )
        return "\n".join(lines)

    __repr__ = __str__


def check_loss(loss_curve: Sequence[float]) -> Finding:
    """Whether the training loss still fell at the end."""
    name = "loss at the end of training"
    window = max(1, len(loss_curve) // 10)
    if len(loss_curve) < 2:
        return Finding(
            name,
            None,
            f"{loss_curve[-1]:.3g}, after one epoch",
            "One epoch shows no trend. Compare with a fit of more epochs.",
        )
    last = float(np.mean(loss_curve[-window:]))
    previous = float(np.mean(loss_curve[-2 * window : -window]))
    fall = (previous - last) / previous if previous > 0 else 0.0
    steps = np.diff(loss_curve[-max(2 * window, SCATTERED_EPOCHS) :])
    error = np.std(steps) / np.sqrt(window)  # of the difference, around a steady fall
    return Finding(
        name,
        bool(fall > STILL_FALLING and previous - last > ERRORS * error),
        f"{last:.3g}, {abs(fall):.1%} {'below' if fall >= 0 else 'above'} that of the "
        f"{window} epoch{'s' * (window > 1)} before",
        "Undertrained: the loss still falls. Increase epochs, or learning_rate; of few "
        "rows, see that not more of the fresh ones are flagged then.",
    )


def check_reconstruction(
    rows: NDArray[np.float64], outputs: NDArray[np.float64]
) -> Finding:
    """Whether the network gives back more of the rows than their means."""
    name = "variance that the network gives back"
    if not _has_variance(rows):
        return _not_measured(name)
    share = _compute_explained_share(rows, outputs)
    if share < FOREIGN:
        return Finding(
            name,
            True,
            f"{share:.1%}",
            "X is not like the rows that fit was given. Of a pipeline, pass what the "
            "earlier steps return; or the training diverged: lower learning_rate.",
        )
    return Finding(
        name,
        share < LITTLE_EXPLAINED,
        f"{share:.1%}",
        "Little more than the mean of each column has been learnt. Train for more "
        "epochs or widen the code; if that changes nothing, the columns say little "
        "about each other, and an autoencoder is the wrong tool.",
    )


def check_copying(
    shuffled_rows: NDArray[np.float64], outputs: NDArray[np.float64], n_columns: int
) -> Finding:
    """Whether even rows come back whose cells were drawn from different rows."""
    name = "variance given back of rows with shuffled cells"
    if n_columns == 1:
        return _not_measured(name, "A single column has no cells to shuffle.")
    if not _has_variance(shuffled_rows):
        return _not_measured(name)
    share = _compute_explained_share(shuffled_rows, outputs)
    return Finding(
        name,
        share > COPIED,
        f"{share:.1%}",
        "The network copies whatever it is shown, so that its error says nothing. "
        "Lower the last of hidden_layer_sizes, or raise masking, if it is below 1. By "
        "score_method='neighbors' the distance to other rows still counts.",
    )


def check_code(rows: NDArray[np.float64], codes: NDArray[np.float64]) -> Finding:
    """Whether units of the code answer to no row."""
    name = "code units that are the same for all rows"
    if not _has_variance(rows):
        return _not_measured(name)
    spread = codes.std(axis=0)
    n_dead = int(np.sum(spread <= 1e-6 * spread.max(initial=0.0)))
    return Finding(
        name,
        n_dead > MANY_DEAD_UNITS * len(spread),
        f"{n_dead} of {len(spread)}",
        "Most of the code is dead. Lower learning_rate, use another activation, such "
        "as 'leaky_relu' or 'tanh', or narrow the code.",
    )


# What is looked for in columns, in this order, and what to do where it is found.
COLUMN_ADVICE = {
    "columns never observed": "Nothing is learnt about them, and a later value in one "
    "is compared with about 0, in its own units. Leave them out.",
    "constant columns": "Nothing can be learnt from them. A new category in one is "
    "evidence, a new number is measured in its raw unit. Leave them out, or check them "
    "by a rule of their own.",
    "columns that vary by rounding only": "They are taken to be constant. If their "
    "last digits say something, pass differences from a fixed value, in float64.",
    "columns that look like identifiers": "Their numbers count the rows or grow from "
    "each to the next, so that later rows lie beyond, or most of their categories are "
    "too rare to be learnt. Leave them out, or pass what is common in them: the hour "
    "of a date, a difference, coarser categories. Dates that are text, read as dates.",
    "columns ruled by one value": "It looks like the sign of a missing or invalid "
    "value. Set it to NaN before fit; if it has been measured, use scaling='robust'.",
}


@np.errstate(all="ignore")
def check_columns(X: Table, names: Sequence[Any], layout: Layout) -> list[Finding]:
    """Whether columns are never observed, constant, identifiers, or ruled by one value.

    Of several rows; one says nothing of a column.
    """
    if X.shape[0] == 1:
        return [_not_measured(name) for name in COLUMN_ADVICE]
    moments = compute_moments(X)
    is_observed, is_constant = moments.total > 0.0, moments.low == moments.high
    center = moments.pivot + moments.mean
    rounded, _ = find_rounded(X, center, moments.deviation)
    identifiers = np.union1d(_find_rare_columns(X, layout), _find_counters(X, layout))
    is_constant[identifiers] = False
    table = WeightedTable(X, np.ones(X.shape[0]), layout=layout)
    sentinels = find_sentinels(table, moments)
    found = [
        [str(names[j]) for j in np.flatnonzero(~is_observed).tolist()],
        [str(names[j]) for j in np.flatnonzero(is_observed & is_constant).tolist()],
        [str(names[j]) for j in rounded.tolist()],
        [str(names[j]) for j in identifiers.tolist()],
        [f"{names[found.column]}: {show_number(found.value)}" for found in sentinels],
    ]
    return [
        _list_columns(name, columns, X.shape[1], advice)
        for (name, advice), columns in zip(COLUMN_ADVICE.items(), found, strict=True)
    ]


def _find_counters(X: Table, layout: Layout) -> NDArray[np.intp]:
    """Columns of numbers that count the rows, or grow, or fall, from each to the next.

    Counts are whole numbers, all different, that take up half of their range: of as
    many drawn at random, some would be the same.
    """
    found, n_rows = layout.numbers, X.shape[0]
    found = found[_are_counters(draw_evenly(X)[:, found], n_rows)]
    if not len(found):
        return found
    cells = np.concatenate([chunk[:, found] for chunk in read_chunks(X)])
    is_told = np.count_nonzero(~np.isnan(cells), axis=0) >= MIN_COUNTED
    return found[is_told & _are_counters(cells, n_rows)]


def _are_counters(cells: NDArray, n_rows: int) -> NDArray[np.bool_]:
    """The same of some of the rows of a table; missing cells are passed over."""
    steps = np.diff(cells, axis=0)
    is_steady = ~((steps <= 0.0).any(axis=0) & (steps >= 0.0).any(axis=0))
    ordered = np.sort(cells, axis=0)
    is_different = ~(np.diff(ordered, axis=0) == 0.0).any(axis=0)
    is_whole = ((cells == np.round(cells)) | np.isnan(cells)).all(axis=0)
    is_dense = np.fmax.reduce(cells) - ordered[0] < 2.0 * n_rows
    return np.asarray(is_steady | (is_whole & is_different & is_dense))


def _find_rare_columns(X: Table, layout: Layout) -> NDArray[np.intp]:
    """Columns most of whose categories share a unit."""
    n_shared, n_known = np.zeros((2, len(layout.columns)))
    for chunk in read_chunks(X):
        codes = chunk[:, layout.columns]
        n_shared += (codes == layout.sizes - 1).sum(axis=0)
        n_known += (~np.isnan(codes)).sum(axis=0)
    return layout.columns[n_shared > MANY_SHARED * n_known]


def _list_columns(
    name: str, columns: Sequence[str], n_columns: int, advice: str
) -> Finding:
    """How many of the columns, and which."""
    shown = ", ".join(columns[:MAX_NAMES])
    more = ", ..." if len(columns) > MAX_NAMES else ""
    figure = f"{len(columns)} of {n_columns}" + (f" ({shown}{more})" if shown else "")
    return Finding(name, len(columns) > 0, figure, advice)


def check_calibration(n_scores: int) -> Finding:
    """Whether p-values can become small."""
    name = "calibration rows"
    if n_scores == 0:
        return Finding(
            name,
            None,
            "none",
            "The rate of false alarms on new rows is not known. Of few rows for their "
            "columns, and of categories, it is far above contamination. If it matters, "
            "call calibrate with normal rows that fit has not seen, or set "
            "calibration_fraction or calibration_cv.",
        )
    return Finding(
        name,
        n_scores < MIN_CALIBRATION_ROWS,
        f"{n_scores}, smallest p-value {1 / (n_scores + 1):.2g}",
        f"Too few for a false-alarm rate of 0.01, which needs {MIN_CALIBRATION_ROWS}; "
        f"a rate of 0.05 scatters by {np.sqrt(0.05 / n_scores):.2f} over the draws of "
        "as many. Calibrate on more rows.",
    )


def check_gap(
    training_scores: NDArray[np.float64],
    other_scores: NDArray[np.float64] | None,
    offset: float,
) -> Finding:
    """Whether rows that were not trained on score lower than those that were."""
    name = f"other normal rows below the {TAIL:.0%} quantile of the training scores"
    if other_scores is None:
        return Finding(
            name,
            None,
            "not measured",
            "Pass normal rows that fit has not seen as X_fresh, or calibrate first.",
        )
    if not len(training_scores):
        return Finding(
            name,
            None,
            "not measured",
            "All rows of X calibrate. Pass those that fit was trained on; if these are "
            "the same, calibrate on others, or the promised rate will not hold.",
        )
    if TOO_MANY_IN_TAIL ** len(other_scores) >= SIGNIFICANT:
        return Finding(
            name,
            None,
            f"not measured by {len(other_scores)}",
            "So few say nothing. Pass more normal rows that fit has not seen.",
        )
    is_low = other_scores < np.quantile(training_scores, TAIL)
    test = binomtest(
        int(is_low.sum()), len(is_low), TOO_MANY_IN_TAIL, alternative="greater"
    )
    return Finding(
        name,
        bool(test.pvalue < SIGNIFICANT),
        f"{is_low.mean():.1%} of {len(is_low)}; flagged are "
        f"{np.mean(other_scores < offset):.1%}",
        "Overtrained, or the rows differ in kind: the network fits the training rows "
        "more closely than others. If too many are flagged, set the threshold by "
        "calibrate; to narrow the gap, train on more rows, for fewer epochs or with "
        "early_stopping=True, or use smaller layers.",
    )


def shuffle_cells(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows with the cells of each column in an order of their own."""
    shuffled: NDArray[np.float64] = np.random.default_rng(0).permuted(rows, axis=0)
    return shuffled


def _not_measured(
    name: str, reason: str = "The rows are all the same. Pass some that differ."
) -> Finding:
    return Finding(name, None, "not measured", reason)


def _has_variance(rows: NDArray[np.float64]) -> bool:
    """Whether the rows differ by more than rounding."""
    return _sum_squares(rows, _compute_means(rows)) > NEGLIGIBLE * max(
        1.0, _sum_squares(rows, 0.0)
    )


def _compute_explained_share(
    rows: NDArray[np.float64], outputs: NDArray[np.float64]
) -> float:
    """1 minus the mean squared error over the variance of the observed cells."""
    error = _sum_squares(rows, outputs)
    return 1.0 - error / _sum_squares(rows, _compute_means(rows))


def _compute_means(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    n_observed = np.maximum((~np.isnan(rows)).sum(axis=0), 1)
    means: NDArray[np.float64] = np.nansum(rows, axis=0) / n_observed
    return means


def _sum_squares(
    rows: NDArray[np.float64], expected: NDArray[np.float64] | float
) -> float:
    """Of the differences, the mean over the observed cells, summed over columns."""
    return float(_compute_means(np.square(rows - expected)).sum())
