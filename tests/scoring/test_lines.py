"""Where the line is drawn among scores that are known, to the row."""

import warnings

import numpy as np
import pytest

from skae._scoring._threshold import (
    CalibrationRows,
    assign_folds,
    choose_calibration_rows,
    compute_conformal_offset,
    compute_offset,
    draw_line,
)
from skae._tables._reading import WeightedTable


def test_offset_is_midway_between_the_scores_on_either_side():
    assert compute_offset(np.array([-9.0, -5.0, -2.0, -1.0]), 0.25) == -7.0


@pytest.mark.parametrize("n_more, is_warned", [(20, False), (25, True)])
def test_ties_are_warned_of_beyond_two_deviations_of_the_count(n_more, is_warned):
    """100 of 10,000 rows are asked for, a count that scatters by 10."""
    scores = -np.arange(10_000.0, 0.0, -1.0)
    scores[100 - n_more : 100 + n_more] = scores[100]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        offset = compute_offset(scores, 0.01)
    assert (scores < offset).sum() == 100 - n_more
    assert bool(seen) == is_warned


@pytest.mark.parametrize("counts", [[2, 98], [60, 39, 1]], ids=str)
def test_least_score_of_several_rows_is_flagged_only_if_it_is_near_to_the_share(counts):
    scores = np.repeat(np.arange(len(counts)) - 3.0, counts)
    assert not (scores < compute_offset(scores, 0.005)).any()


def test_conformal_offset_of_a_rate_just_below_a_p_value_is_the_one_before():
    scores = np.arange(-9.0, 0.0)
    rate = np.nextafter(0.9, 0.0)
    assert rate * 10 == 9.0  # though a p-value of .9 is too large
    assert compute_conformal_offset(scores, rate) == -2.0
    assert compute_conformal_offset(scores, 0.9) == -1.0


class ToyModel:
    """Scores rows by their first column, times a factor; the others are of members."""

    score_method = "neighbors"

    def __init__(self, *factors):
        self.factors = factors
        self.members = [ToyModel(factor) for factor in factors[1:]]

    def score(self, X):
        return -self.factors[0] * np.abs(X[:, 0])


def test_auto_presumes_the_distribution_of_distances_in_so_many_columns():
    X = np.random.RandomState(0).lognormal(sigma=0.3, size=(200, 3))
    X[::10] *= 3.0
    model, table = ToyModel(1.0), WeightedTable(X, np.ones(200))
    expected = compute_offset(-X[:, 0], "auto", n_columns=3)
    assert draw_line(model, table, None, "auto").offset == expected
    calibration = CalibrationRows(X, np.ones(200, int))
    assert draw_line(model, table, calibration, "auto").offset == expected
    assert expected != compute_offset(-X[:, 0], "auto", n_columns=200)
    model.score_method = "reconstruction"
    expected = compute_offset(-X[:, 0], "auto")
    assert draw_line(model, table, None, "auto").offset == expected


def test_each_of_many_rows_is_scored_by_the_member_of_its_fold():
    """Of as many as threads share."""
    X = np.random.RandomState(0).lognormal(size=(3000, 2))
    folds = np.arange(3000) % 3
    calibration = CalibrationRows(X, np.ones(3000, int), folds)
    table = WeightedTable(X, np.ones(3000))
    line = draw_line(ToyModel(0.0, 1.0, 2.0, 5.0), table, calibration, 0.1)
    expected = -X[:, 0] * np.array([1.0, 2.0, 5.0])[folds]
    order = np.argsort(expected)
    np.testing.assert_array_equal(line.calibration_scores, expected[order])
    np.testing.assert_array_equal(line.folds, folds[order])
    assert line.offset == np.sort(expected)[299]


@pytest.mark.parametrize("contamination, n_needed", [("auto", 9), (0.05, 19)])
def test_folds_need_as_many_rows_as_a_promise_does(contamination, n_needed):
    X = np.arange(float(n_needed))[:, np.newaxis]
    calibration = assign_folds(
        WeightedTable(X, np.ones(n_needed)), 3, contamination, seed=0
    )
    assert np.ptp(np.bincount(calibration.folds)) <= 1
    table = WeightedTable(X[1:], np.ones(n_needed - 1))
    with pytest.raises(ValueError, match=f"needs at least {n_needed} rows"):
        assign_folds(table, 3, contamination, seed=0)


def test_fractional_weights_are_quoted_where_rows_calibrate():
    table = WeightedTable(np.eye(4), np.array([1.0, 2.5, 3.0, 0.25]))
    with pytest.raises(ValueError, match="add up to 6.75, and one is 2.5"):
        assign_folds(table, 2, "auto", seed=0)


def test_categories_are_chosen_unless_a_fit_goes_on():
    X = np.column_stack([[0.0, 0.0, 1.0, 2.0, 2.0], np.arange(5.0)])
    table = WeightedTable(X, np.ones(5))
    arguments = table, [["a", "b", "c"], None], 0.0, None, "auto", 0
    kept, anew, _ = choose_calibration_rows(*arguments, goes_on=False)
    assert kept == [["a", "c"], None]
    assert sorted(anew.X[:, 0]) == [0.0, 0.0, 1.0, 1.0, 2.0]
    kept, same, _ = choose_calibration_rows(*arguments, goes_on=True)
    assert kept == [["a", "b", "c"], None] and same is table


def test_weights_that_calibrate_add_up_to_less_than_a_billion():
    weights = np.array([999_999_997.0, 1.0, 1.0])
    assign_folds(WeightedTable(np.eye(3), weights), 3, "auto", seed=0)
    weights[0] += 1.0
    with pytest.raises(ValueError, match="add up to 1e\\+09"):
        assign_folds(WeightedTable(np.eye(3), weights), 3, "auto", seed=0)
