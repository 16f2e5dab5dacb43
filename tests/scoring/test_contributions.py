"""Who gets which share of an anomaly, beside rows that are worked out one by one."""

import numpy as np

from skae._scoring._explanation import compute_contributions, compute_expected
from skae._tables._layout import Layout
from skae._tables._scaling import Scaling


def make_measure(n_columns):
    """What an index of misses by a linear network adds up, and how often it is asked.

    A missing cell is shown as 0 and has no share.
    """
    kernel = np.random.RandomState(0).normal(size=(n_columns, n_columns)) / n_columns
    asked = []

    def measure(rows):
        asked.append(rows)
        missed = np.nan_to_num(rows) @ kernel - rows
        return np.square(np.nan_to_num(missed))

    return measure, asked


def share_out_by_hand(row, measure):
    """Hide the suspects of a row one after the other."""
    squares = measure(row[np.newaxis])[0]
    far = np.argsort(-np.abs(np.nan_to_num(row)), kind="stable")[:2]
    erring = np.abs(np.nan_to_num(row)) * np.sqrt(squares)
    erring[far] = -1.0
    suspects = [*far, erring.argmax()]

    def hide(columns):
        hidden = row.copy()
        hidden[columns] = np.nan
        return measure(hidden[np.newaxis])[0]

    first = suspects[np.argmin([hide([column]).sum() for column in suspects])]
    shares, hidden, left = np.zeros(len(row)), [], squares
    for column in sorted(suspects, key=lambda suspect: suspect != first):
        new = hide([*hidden, column])
        if new.sum() < left.sum():
            shares[column] = left.sum() - new.sum()
            left, hidden = new, [*hidden, column]
    return shares + left


def test_shares_are_what_the_index_loses_by_hiding_three_suspects():
    rows = np.random.RandomState(1).normal(size=(200, 8)) ** 3
    rows[:50, 2] = np.nan
    measure, asked = make_measure(8)
    expected = np.array([share_out_by_hand(row, measure) for row in rows])
    asked.clear()
    anomaly = np.random.RandomState(2).uniform(1.0, 2.0, size=200)
    found = compute_contributions(
        rows, anomaly, np.zeros(rows.shape), Scaling.of_nothing(8), measure
    )
    expected *= (anomaly / expected.sum(axis=1))[:, np.newaxis]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert len(asked) == 6  # forward passes, beside the one for the terms


def test_of_suspects_that_help_alike_the_first_is_hidden_and_the_other_keeps_the_rest():
    def measure(rows):
        hides = np.isnan(rows)
        squares = np.where(hides, 0.0, [[4.0, 4.0, 0.0]])
        squares[hides[:, 0] ^ hides[:, 1]] /= 4.0
        squares[hides[:, 0] & hides[:, 1]] = [0.0, 0.0, 9.0]
        return squares

    found = compute_contributions(
        np.array([[3.0, 3.0, 0.0]]),
        np.array([8.0]),
        np.zeros((1, 3)),
        Scaling.of_nothing(3),
        measure,
    )
    np.testing.assert_allclose(found, [[7.0, 1.0, 0.0]])


def test_terms_are_the_shares_where_the_index_overflows_and_the_anomaly_does_not():
    rows, terms = np.array([[1e200, 1.0]]), np.array([[1e200, 3.0]])
    anomaly, scaling = terms.sum(axis=1), Scaling.of_nothing(2)
    with np.errstate(all="ignore"):  # as in the threads that share out
        found = compute_contributions(rows, anomaly, terms, scaling, np.square)
    np.testing.assert_array_equal(found, terms)


def test_expected_is_what_is_told_while_each_fourth_column_is_masked():
    """Of nine columns of numbers, and three of three, two and three categories."""
    layout = Layout(12, np.array([4, 5, 6]), np.array([3, 2, 3]))
    mask_values = np.r_[np.arange(1.0, 10.0), np.zeros(8)]
    scaling = Scaling(np.zeros(17), np.zeros(17), np.ones(17), mask_values, layout)
    rows = np.random.RandomState(0).normal(size=(5, 17))
    rows[2, 3] = np.nan
    columns = [*range(9), 9, 9, 9, 10, 10, 11, 11, 11]  # the cell of each unit
    kernel = np.random.RandomState(1).normal(size=(2, 17, 17))
    expected = np.empty(rows.shape)
    for unit, column in enumerate(columns):
        shown = np.where(np.isnan(rows), mask_values, rows)
        is_masked = np.array(columns) % 4 == column % 4
        shown[:, is_masked] = mask_values[is_masked]
        expected[:, unit] = (shown @ kernel).mean(axis=0)[:, unit]
    found = compute_expected(rows, lambda shown: shown @ kernel, scaling)
    np.testing.assert_allclose(found, expected)
