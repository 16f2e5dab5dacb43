"""Areas and ranks by scores that need no detector, and the labels that they need."""

import decimal

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist
from sklearn.exceptions import UndefinedMetricWarning

from skae._scoring import _ranking as ranking

NO_COLUMNS = np.empty(0, int)


def score_rows(X):
    return -np.abs(X).sum(axis=1)


def test_isolation_is_the_mean_distance_to_two_rows_in_deviations_up_to_twenty():
    """A gap is at the mean of its column, or of its categories; rare ones are far."""
    rng = np.random.RandomState(0)
    n_rows, n_all = 900, 960
    numbers = rng.normal(size=(n_all, 2)) * [1.0, 5.0] + [3.0, 0.0]
    numbers[n_rows:, 0] += 100.0 * rng.normal(size=n_all - n_rows)
    numbers[0:40, 1] = np.nan
    kinds = rng.randint(3, size=n_all).astype(float)
    kinds[20:30] = np.nan
    flags = np.zeros(n_all)
    flags[[0, 950]] = 1.0
    pool = np.column_stack([numbers[:, 0], kinds, numbers[:, 1], flags])
    rows = numbers[:n_rows]
    cells = (numbers - np.nanmean(rows, axis=0)) / np.nanstd(rows, axis=0)
    cells = [np.clip(np.nan_to_num(cells), -20.0, 20.0)]
    for codes, categories in (kinds, range(3)), (flags, range(2)):
        block = (codes[:, np.newaxis] == categories).astype(float)
        frequencies = block[:n_rows].mean(axis=0)
        block[np.isnan(codes)] = frequencies
        variance = 1.0 - np.square(frequencies).sum()
        cells.append(block / np.sqrt(max(variance, 2.0 / 20.0**2)))
    cells = np.hstack(cells)
    distances = cdist(cells, cells[:n_rows])
    np.fill_diagonal(distances, np.inf)
    expected = np.sort(distances, axis=1)[:, :2].mean(axis=1)
    found = ranking._measure_isolation(pool, n_rows, np.array([1, 3]))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_as_many_rows_as_are_compared_are_all_compared(monkeypatch):
    X = np.random.RandomState(0).normal(size=(40, 3))
    weights = np.where(np.arange(40) < 20, 9.0, 1.0)
    arguments = score_rows, X, None, weights, NO_COLUMNS
    area = ranking.compute_area(*arguments)
    monkeypatch.setattr(ranking, "MAX_ROWS", 40)
    assert ranking.compute_area(*arguments) == area
    monkeypatch.setattr(ranking, "MAX_ROWS", 39)
    assert ranking.compute_area(*arguments) != area


@pytest.mark.parametrize(
    "label, end", [(1, r"\[1\], of which none is -1\."), (-1, r"\[-1\]\.")]
)
def test_labels_of_one_kind_are_named(label, end):
    X = np.arange(6.0).reshape(3, 2)
    with pytest.warns(UndefinedMetricWarning, match=f"it holds only {end}$"):
        area = ranking.compute_area(score_rows, X, [label] * 3, np.ones(3), NO_COLUMNS)
    assert np.isnan(area)


def test_missing_labels_of_all_kinds_are_counted():
    missing = [None, np.nan, pd.NA, pd.NaT, decimal.Decimal("sNaN")]
    y = pd.Series([1, -1, *missing], dtype=object)
    with pytest.raises(ValueError, match="5 of 7 are missing"):
        ranking.read_labels(y, np.ones(7))


def test_rows_left_out_of_a_score_are_warned_of_where_it_was_called(
    fitted, correlated_rows
):
    X = np.vstack([correlated_rows[:20], np.full(5, np.nan)])
    with pytest.warns(UserWarning, match="left out") as seen:
        fitted.score(X)
    assert seen[0].filename == __file__
