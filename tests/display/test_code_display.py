"""The display of codes: where rows lie, and a colour for each label."""

import numpy as np
import pandas as pd
import pytest
from artists import legend_of

from skae import CodeDisplay


def test_code_of_two_columns_is_drawn_as_it_is(detector, correlated_rows):
    display = CodeDisplay.from_estimator(detector, correlated_rows)
    offsets = display.scatters_["rows"].get_offsets()
    np.testing.assert_array_equal(offsets, detector.transform(correlated_rows))
    assert display.ax_.get_legend() is None


def test_wide_code_is_drawn_by_its_principal_components():
    codes = np.random.RandomState(0).normal(size=(50, 4)) * [10, 1, 1, 5]
    display = CodeDisplay.from_predictions(codes)
    positions = display.positions
    assert positions.var(axis=0).sum() / codes.var(axis=0).sum() > 0.9
    assert abs(np.corrcoef(positions[:, 0], codes[:, 0])[0, 1]) > 0.99
    assert "principal component 1 of the code" in display.ax_.get_xlabel()


def test_wide_code_without_variance_is_drawn_without_a_warning():
    display = CodeDisplay.from_predictions(np.ones((5, 3)))
    assert display.positions.tolist() == [[0, 0]] * 5


def test_code_of_one_column_is_drawn_against_the_number_of_the_row():
    display = CodeDisplay.from_predictions([[0.5], [0.25]])
    assert display.positions.tolist() == [[0, 0.5], [1, 0.25]]


@pytest.mark.parametrize(
    "y, names",
    [
        ([1, -1, 1], ["inliers", "outliers"]),
        (["a", "c", "b"], ["a", "b", "c"]),
        ([0, 1, 2], ["0", "1", "2"]),
    ],
)
def test_each_label_has_its_points(y, names):
    codes = np.arange(6.0).reshape(3, 2)
    display = CodeDisplay.from_predictions(codes, y)
    assert list(display.scatters_) == legend_of(display) == names
    assert sum(len(s.get_offsets()) for s in display.scatters_.values()) == 3


def test_map_is_drawn_beside_what_else_the_axes_hold(pyplot):
    _, ax = pyplot.subplots()
    ax.plot([0, 1], [0, 1], label="a line")
    others = ax.scatter([0], [1], 99, label="others")
    display = CodeDisplay.from_predictions(np.eye(2), [1, -1], ax=ax)
    assert legend_of(display) == ["a line", "others", "inliers", "outliers"]
    _, point, *shown = ax.get_legend().legend_handles
    assert [handle.get_sizes().tolist() for handle in shown] == [[24], [24]]
    assert point.get_sizes() == others.get_sizes()


@pytest.mark.parametrize(
    "codes, y, message",
    [
        ([[0.0, np.nan]], None, "codes contains NaN"),
        (np.zeros((2, 2)), [1], "inconsistent numbers of samples"),
        (np.zeros((30, 2)), np.arange(30), "at most 20 different labels.*has 30"),
        *(
            (np.zeros((len(y), 2)), y, "some are missing.*'unknown'")
            for y in (
                [np.nan, 1.0],
                ["a", None],
                [None],
                pd.array([1, pd.NA]),
                pd.array(["a", pd.NA]),
                np.array(["a", np.nan], dtype=object),
            )
        ),
    ],
)
def test_codes_that_cannot_be_drawn_are_refused(codes, y, message, pyplot):
    with pytest.raises(ValueError, match=message):
        CodeDisplay.from_predictions(codes, y)
    assert pyplot.get_fignums() == []
