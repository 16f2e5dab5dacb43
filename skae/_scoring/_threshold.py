"""From scores to the threshold and to p-values."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainccinv, ndtri
from sklearn.exceptions import NotFittedError

from skae._scoring._threads import share_out
from skae._tables._categories import Categories
from skae._tables._frequent import keep_frequent
from skae._tables._reading import Table, WeightedTable, Weights, take_rows
from skae._tables._weighting import merge_rows, none_if_equal

if TYPE_CHECKING:
    from skae._model import AnyModel

# Without a promised rate, a p-value as small as this must at least be possible.
COARSEST_P_VALUE = 0.1
# No table has the rows for a smaller rate; their number would not be a float either.
SMALLEST_RATE = 1e-18

AUTO_TAIL = 0.02
AUTO_FALSE_SHARE = 0.15
AUTO_SHAPE = 3.0  # for each column; 2.5 to 6 would do (benchmarks/toy_sets.py)
SMALLEST_DEVIATION = 2e-6  # of logarithms; below it, half of the rows score alike
AUTO_SHARE = 0.01  # an outlier detector flags some of any rows

TOLERATED_GAP = 2.0  # standard deviations of such a count
SAME_SCORE = 1e-9  # relative: other machines differ in the last digits
ROUNDING = 1e-9


def compute_offset(
    scores: NDArray[np.float64],
    contamination: float | str,
    weights: Weights = None,
    n_columns: int | None = None,
) -> float:
    """The threshold under which a score means outlier; scores are never positive.

    A float `contamination` asks for this share of the rows, by weight, to lie below it;
    there is a warning if equal scores, which are on one side of it, make that another.
    "auto" flags the largest set of the most anomalous rows of which at most 15 % are
    expected to be normal ones, if the logarithms of the anomalies, minus the scores, of
    normal rows follow a presumed distribution with the median and the 2 % quantile of
    all rows; and at least about 1 % of the rows. Outliers hardly move either quantile.
    Where half of the rows score alike, these tell nothing of the spread: it flags that
    1 %.

    The presumed distribution is a normal one, or, of distances between rows of so many
    columns, a gamma distribution whose shape is three times their number. It has a
    longer upper tail where columns are few, as have the logarithms of distances between
    normally distributed rows: those of their densities follow one whose shape is half
    the number, and the few neighbours add noise on either side.

    Sources: a part of the values that outliers hardly reach tells how those of normal
    rows spread, in Efron (2004), "Large-scale simultaneous hypothesis testing: the
    choice of a null hypothesis", Journal of the American Statistical Association 99,
    96-104; the set is that of Benjamini & Hochberg (1995), "Controlling the false
    discovery rate", Journal of the Royal Statistical Society B 57, 289-300. Both shares
    are a compromise between few false alarms on clean training rows and many detections
    on contaminated ones (benchmarks/automatic_threshold.py).
    """
    if contamination != "auto":
        split = _split_off(scores, float(contamination), weights)
        _warn_of_ties(split, float(contamination))
        return split.offset
    at_least = _split_off(scores, AUTO_SHARE, weights).offset
    if weights is not None:
        weights = none_if_equal(weights)
    return max(-_compute_normal_limit(-scores, weights, n_columns), at_least)


def _compute_normal_limit(
    anomalies: NDArray[np.float64], weights: Weights, n_columns: int | None
) -> float:
    """What few enough normal rows exceed, by "auto"; infinite if it cannot be told."""
    low, median = np.quantile(
        anomalies, [AUTO_TAIL, 0.5], weights=weights, method="inverted_cdf"
    )
    limits = np.finfo(np.float64)
    median = max(median, limits.tiny)
    low = max(low, limits.eps * median, limits.tiny)
    below = np.log(median / low)
    if below < SMALLEST_DEVIATION:
        return math.inf
    if weights is None:
        weights = np.ones(len(anomalies))
    (is_upper,) = np.nonzero((anomalies > median) & (weights > 0.0))
    order = is_upper[np.argsort(-anomalies[is_upper], kind="stable")]
    normal_shares = AUTO_FALSE_SHARE * np.cumsum(weights[order]) / weights.sum()
    tails = _compute_tails(np.append(normal_shares, 1.0 - AUTO_TAIL), n_columns)
    bounds = np.log(median) + below * tails[:-1] / -tails[-1]
    (last_of_sets,) = np.nonzero(np.log(anomalies[order]) > bounds)
    return float(np.exp(bounds[last_of_sets[-1]])) if len(last_of_sets) else math.inf


def _compute_tails(
    shares: NDArray[np.float64], n_columns: int | None
) -> NDArray[np.float64]:
    """How far above its median the presumed distribution has these shares above it."""
    if n_columns is None:
        return -ndtri(shares)
    shape = AUTO_SHAPE * n_columns
    tails: NDArray[np.float64] = gammainccinv(shape, shares) - gammainccinv(shape, 0.5)
    return tails


class _Split(NamedTuple):
    """A threshold, and the share of the values below it; by weight."""

    offset: float
    share: float
    tied_share: float  # of the equal values that are next to the share that was asked
    row_share: float  # of one row


def _split_off(values: NDArray[np.float64], share: float, weights: Weights) -> _Split:
    """What has `share` of the values below it, as nearly as can be, by weight.

    Midway between two neighbours, so that equal values are on one side of it. At least
    one row is below, unless all are equal, or the least value is that of several rows
    and none of them is nearer to the share than all.
    """
    order = np.argsort(values, kind="stable")
    values = values[order]
    weights = np.ones(len(order)) if weights is None else weights[order]
    shares = np.cumsum(weights)
    total, row_share = shares[-1], min(1.0, weights.min()) / shares[-1]
    shares /= total
    lasts = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    sizes = np.diff(shares[lasts], prepend=0.0)
    asked = min(int(np.searchsorted(shares[lasts], share)), len(lasts) - 1)
    if len(lasts) > 1:
        last = lasts[np.argmin(np.abs(shares[lasts[:-1]] - share))]
        is_one_row = sizes[0] <= row_share * (1.0 + ROUNDING)
        if is_one_row or abs(shares[last] - share) <= share:
            below, above = values[last], values[last + 1]
            offset = max(below + 0.5 * (above - below), np.nextafter(below, above))
            return _Split(float(offset), shares[last], sizes[asked], row_share)
    # Scores that are computed elsewhere are not equal to the last digit.
    with np.errstate(over="ignore"):
        offset = values[0] - SAME_SCORE * abs(values[0])
    offset = max(offset, np.finfo(np.float64).min)
    return _Split(float(offset), 0.0, sizes[asked], row_share)


def _warn_of_ties(split: _Split, contamination: float) -> None:
    """Warn if clearly more or fewer rows than were asked for are flagged."""
    gap = abs(split.share - contamination)
    scatter = math.sqrt(contamination * split.row_share)  # of a count of rows
    if gap > max(split.row_share, TOLERATED_GAP * scatter) * (1.0 + ROUNDING):
        warnings.warn(
            f"contamination={contamination!r} asks for {100 * contamination:.3g} % of "
            f"the rows, by weight; {100 * split.share:.3g} % are flagged, because "
            f"{100 * split.tied_share:.3g} % share one score and are flagged all or "
            "none. Ask for a share that they allow, or set offset_ by calibrate.",
            UserWarning,
            stacklevel=6,
        )


def compute_conformal_offset(
    calibration_scores: NDArray[np.float64], rate: float
) -> float:
    """The threshold that a new normal row falls below with probability at most `rate`.

    It is the k-th smallest of the n sorted scores, k = floor(rate * (n + 1)): rows
    below it are those whose p-value is at most `rate`.

    Source: Vovk, Gammerman & Shafer (2005), "Algorithmic Learning in a Random World",
    Springer, section 2.2.
    """
    n_scores = len(calibration_scores)
    k = math.floor(rate * (n_scores + 1))
    if (k + 1) / (n_scores + 1) <= rate:  # the product was rounded down
        k += 1
    elif k / (n_scores + 1) > rate:
        k -= 1
    if k < 1:
        raise ValueError(
            f"A rate of {rate!r} needs at least {count_needed_rows(rate)} calibration "
            f"scores; there are {n_scores}."
        )
    return float(calibration_scores[k - 1])


def compute_p_values(
    scores: NDArray[np.float64], calibration_scores: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The share of the sorted calibration scores, and of one more, at most each score.

    Source: Bates, Candès, Lei, Romano & Sesia (2023), "Testing for outliers with
    conformal p-values", Annals of Statistics 51, 149-178.
    """
    n_lower = np.searchsorted(calibration_scores, scores, side="right")
    p_values: NDArray[np.float64] = (1 + n_lower) / (1 + len(calibration_scores))
    return p_values


def compute_cross_p_values(
    scores: Sequence[NDArray[np.float64]],
    calibration_scores: NDArray[np.float64],
    folds: NDArray[np.intp],
) -> NDArray[np.float64]:
    """The same, each calibration score being compared with that by its own network.

    There are scores of the rows by the network of each fold.

    Source: Vovk (2015), "Cross-conformal predictors", Annals of Mathematics and
    Artificial Intelligence 74, 9-28.
    """
    n_lower = np.zeros(len(scores[0]))
    for fold, own_scores in enumerate(scores):
        others = calibration_scores[folds == fold]
        n_lower += np.searchsorted(others, own_scores, side="right")
    return (1 + n_lower) / (1 + len(calibration_scores))


def check_calibrated(
    scores: NDArray[np.float64] | None, name: str
) -> NDArray[np.float64]:
    """The calibration scores, or an error if the detector of this name has none."""
    if scores is None:
        raise NotFittedError(
            f"This {name} is fitted but not calibrated, and p_values compares rows "
            "with calibration scores. Call calibrate(X) with normal rows that fit has "
            "not seen, or set calibration_fraction, for example to 0.2, or "
            "calibration_cv, for example to 5, before fit. (partial_fit forgets a "
            "calibration.)"
        )
    return scores


def count_needed_rows(rate: float | None) -> int:
    """The smallest n for which the smallest p-value, 1 / (n + 1), is at most `rate`."""
    rate = COARSEST_P_VALUE if rate is None else max(rate, SMALLEST_RATE)
    n_rows = math.ceil(1 / rate) - 1
    if n_rows > 0 and 1 / n_rows <= rate:  # the quotient was rounded up
        return n_rows - 1
    return n_rows if 1 / (n_rows + 1) <= rate else n_rows + 1


class CalibrationRows(NamedTuple):
    """Rows whose scores set the threshold, and how often each of them counts.

    They have been held back from all networks, or each from those of its fold.
    """

    X: Table
    counts: NDArray[np.int64]
    folds: NDArray[np.intp] | None = None


def check_folds(
    calibration_cv: int | None, calibration_fraction: float, warm_start: bool
) -> None:
    """Raise if there are folds beside what they exclude."""
    if calibration_cv is None:
        return
    if calibration_fraction:
        raise ValueError(
            f"calibration_cv={calibration_cv!r} calibrates on all rows, each scored by "
            f"networks that have not seen it, and calibration_fraction="
            f"{calibration_fraction!r} on some that no network has seen. Set "
            "calibration_fraction=0, or calibration_cv=None."
        )
    if warm_start:
        raise ValueError(
            f"calibration_cv={calibration_cv!r} trains networks that have not seen the "
            "rows of a fold, but with warm_start=True they go on from weights that may "
            "have been trained on them. Set calibration_cv=None and call calibrate "
            "with rows that no fit has seen, or set warm_start=False."
        )


def choose_calibration_rows(
    table: WeightedTable,
    categories: Categories | None,
    calibration_fraction: float,
    calibration_cv: int | None,
    contamination: float | str,
    seed: int,
    goes_on: bool,
) -> tuple[Categories | None, WeightedTable, CalibrationRows | None]:
    """Rows to fit on, and those that calibrate, if any do: some, or all by folds.

    First the categories that are frequent among the former, unless a fit goes on.
    """
    if calibration_fraction:
        parts = hold_back(table, calibration_fraction, contamination, seed, goes_on)
        return keep_frequent(categories, *parts)
    if not goes_on:
        categories, table, _ = keep_frequent(categories, table)
    if calibration_cv is None:
        return categories, table, None
    calibration = assign_folds(table, calibration_cv, contamination, seed)
    return categories, table, calibration


def assign_folds(
    table: WeightedTable, n_folds: int, contamination: float | str, seed: int
) -> CalibrationRows:
    """All rows, each distinct one in one of the folds, which have as many of them."""
    n_rows, n_samples = table.X.shape[0], table.weights.sum()
    parameter = f"calibration_cv={n_folds!r}"
    _check_counts(table.weights, n_samples, "calibration_cv", None)
    if n_rows < n_folds:
        raise ValueError(
            f"{parameter} needs a row for each fold, and equal rows count once: of "
            f"n_samples={n_samples:.0f} row(s), {n_rows} are distinct. Pass more "
            "distinct rows, or lower calibration_cv."
        )
    n_needed = _count_needed_rows_for(contamination)
    if n_samples < n_needed:
        raise ValueError(
            f"With contamination={contamination!r}, {parameter} needs at least "
            f"{n_needed} rows, all of which calibrate; there are n_samples="
            f"{n_samples:.0f}. Pass more rows, or raise contamination."
        )
    folds = np.random.default_rng(seed).permutation(np.arange(n_rows) % n_folds)
    return CalibrationRows(table.X, table.weights.astype(np.int64), folds)


def hold_back(
    table: WeightedTable,
    calibration_fraction: float,
    contamination: float | str,
    seed: int,
    goes_on: bool,
) -> tuple[WeightedTable, CalibrationRows]:
    """Rows to fit on, and those that only calibrate, a fraction of all.

    A weight says how often a row was seen: each time it is held back or not.
    """
    if goes_on:
        raise ValueError(
            f"calibration_fraction={calibration_fraction!r} holds rows back that the "
            "network has not seen, but with warm_start=True it goes on from weights "
            "that may have been trained on them. Set calibration_fraction=0 and call "
            "calibrate with rows that no fit has seen, or start anew with "
            "warm_start=False."
        )
    weights = table.weights
    n_samples = weights.sum()
    _check_counts(weights, n_samples, "calibration_fraction", 0)
    n_held_back = math.ceil(calibration_fraction * n_samples)
    n_needed = _count_needed_rows_for(contamination)
    if not n_needed <= n_held_back < n_samples:
        raise ValueError(
            f"With contamination={contamination!r}, calibration_fraction must hold "
            f"back at least {n_needed} rows and leave one to train on; "
            f"calibration_fraction={calibration_fraction!r} of "
            f"n_samples={n_samples:.0f} holds {n_held_back} back. Pass more rows, or "
            "change calibration_fraction or contamination."
        )
    counts = np.random.default_rng(seed).multivariate_hypergeometric(
        weights.astype(np.int64), n_held_back, method="marginals"
    )
    weights = weights - counts
    kept, held_back = np.flatnonzero(weights), np.flatnonzero(counts)
    # Merged anew, for the order of the rows was one among all.
    X, weights = merge_rows(take_rows(table.X, kept), weights[kept])
    return (
        table._replace(X=X, weights=weights, n_weighted=0),
        CalibrationRows(take_rows(table.X, held_back), counts[held_back]),
    )


def _count_needed_rows_for(contamination: float | str) -> int:
    """How many rows a threshold by calibration needs."""
    return count_needed_rows(None if contamination == "auto" else float(contamination))


def _check_counts(
    weights: NDArray[np.float64], n_samples: float, parameter: str, unset: int | None
) -> None:
    """Raise if weights are not numbers of rows, as a parameter needs them."""
    fractional = weights[weights != np.rint(weights)]
    if len(fractional) or n_samples >= 1e9:
        found = f"add up to {n_samples:g}"
        if len(fractional):
            found += f", and one is {fractional[0]:g}"
        raise ValueError(
            f"With {parameter}, sample_weight must say how often a row was seen, in "
            "whole numbers that add up to less than 1e9: a p-value counts rows. The "
            f"weights {found}. Set {parameter}={unset} and call calibrate with other "
            "rows after fit."
        )


class Line(NamedTuple):
    """A threshold, and the sorted scores that promise it, if any do.

    Each comes from the network of a fold, if there are folds.
    """

    offset: float
    calibration_scores: NDArray[np.float64] | None = None
    folds: NDArray[np.intp] | None = None


def draw_line(
    model: AnyModel,
    table: WeightedTable,
    calibration: CalibrationRows | None,
    contamination: float | str,
) -> Line:
    """The threshold by the scores of the rows, or of those that calibrate.

    By the latter, a float `contamination` is the promised rate.
    """
    n_columns = table.X.shape[1] if model.score_method == "neighbors" else None
    if calibration is None:
        scores, weights = model.score(table.X), table.weights
        return Line(compute_offset(scores, contamination, weights, n_columns))
    X, counts, folds = calibration
    scores = model.score(X) if folds is None else _score_unseen(model, X, folds)
    order = np.argsort(scores, kind="stable")
    order = np.repeat(order, counts[order])
    scores = scores[order]
    if contamination == "auto":
        offset = compute_offset(scores, "auto", n_columns=n_columns)
    else:
        offset = compute_conformal_offset(scores, float(contamination))
    return Line(offset, scores, None if folds is None else folds[order])


def _score_unseen(
    model: AnyModel, X: Table, folds: NDArray[np.intp]
) -> NDArray[np.float64]:
    """The score of each row by the member that has not seen the rows of its fold."""
    scores = np.empty(X.shape[0])

    def work(part: slice) -> None:
        for fold, member in enumerate(model.members):
            rows = part.start + np.flatnonzero(folds[part] == fold)
            if len(rows):
                scores[rows] = member.score(take_rows(X, rows))

    # Folds are short: one by one they would wait for the threads of BLAS.
    share_out(X.shape[0], X.shape[1], work)
    return scores


def draw_calibrated_line(
    scores: NDArray[np.float64], offset: float, false_alarm_rate: float | None
) -> Line:
    """The line of fresh scores, at a rate of false alarms; None leaves the offset."""
    scores = np.sort(scores)
    if false_alarm_rate is not None:
        offset = compute_conformal_offset(scores, float(false_alarm_rate))
    return Line(offset, scores)


def check_false_alarm_rate(false_alarm_rate: float | None, n_samples: int) -> None:
    """Raise if it is neither None nor a probability that so many rows can tell."""
    is_rate = isinstance(false_alarm_rate, Real) and 0 < false_alarm_rate < 1
    if false_alarm_rate is not None and not is_rate:
        raise ValueError(
            "false_alarm_rate must be a float in (0, 1), or None to leave offset_ "
            f"where it is. Got {false_alarm_rate!r} instead."
        )
    n_needed = count_needed_rows(false_alarm_rate)
    if n_samples < n_needed:
        raise ValueError(
            f"X must have at least {n_needed} rows to calibrate with "
            f"false_alarm_rate={false_alarm_rate!r}; it has {n_samples}, so that "
            f"the smallest p-value is 1/{n_samples + 1}. Pass more rows"
            + ("." if false_alarm_rate is None else " or raise false_alarm_rate.")
        )
