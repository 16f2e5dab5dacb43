"""The display of a training: its curves, and the scale of the losses."""

import numpy as np
import pytest
from artists import legend_of, positions_of
from sklearn.pipeline import make_pipeline

from skae import LossCurveDisplay


def test_training_is_a_line_without_a_legend(detector):
    display = LossCurveDisplay.from_estimator(make_pipeline(detector))
    np.testing.assert_array_equal(display.line_.get_xdata(), [1, 2])
    np.testing.assert_array_equal(display.line_.get_ydata(), detector.loss_curve_)
    assert display.validation_line_ is display.best_line_ is None
    assert display.ax_.get_legend() is None


def test_held_out_loss_is_a_second_line_with_its_smallest_marked():
    display = LossCurveDisplay(
        loss_curve=[3.0, 2.0, 1.0], validation_loss_curve=[3.0, 1.5, 2.0]
    ).plot()
    assert display.validation_line_.get_ydata().tolist() == [3.0, 1.5, 2.0]
    assert positions_of([display.best_line_]) == [2]
    assert legend_of(display) == [
        "training",
        "held-out rows",
        "smallest held-out loss",
    ]


@pytest.mark.parametrize(
    "curve, scale",
    [([1.0, 0.2], "linear"), ([1.0, 0.05], "log"), ([5.0, 0.0], "linear")],
)
def test_loss_over_more_than_a_decade_is_logarithmic(curve, scale):
    assert LossCurveDisplay(loss_curve=curve).plot().ax_.get_yscale() == scale
