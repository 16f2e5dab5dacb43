"""What holds of each display."""

import numpy as np
import pytest
from artists import legend_of
from sklearn.exceptions import NotFittedError

from skae import (
    AnomalyScoreDisplay,
    AutoencoderOutlierDetector,
    CodeDisplay,
    ExplanationDisplay,
    LossCurveDisplay,
)


def test_names_in_the_legend_are_drawn_literally(pyplot):
    name = "$100_$"  # as a formula, it is not a valid one
    codes, y = np.eye(2), ["a", name]
    _, ax = pyplot.subplots()
    ax.plot([1, 2], [1, 2], label=name)
    curves = LossCurveDisplay(loss_curve=[1, 1], validation_loss_curve=[1, 1])
    for display in (
        AnomalyScoreDisplay.from_predictions([-1.0, -2.0], marked={name: -1.5}),
        CodeDisplay.from_predictions(codes, y),
        curves.plot(ax),
    ):
        display.figure_.canvas.draw()
        assert name in legend_of(display)


@pytest.mark.parametrize("display", [CodeDisplay, ExplanationDisplay, LossCurveDisplay])
def test_displays_refuse_an_unfitted_estimator(display, correlated_rows):
    rows = () if display is LossCurveDisplay else (correlated_rows[:1],)
    with pytest.raises(NotFittedError):
        display.from_estimator(AutoencoderOutlierDetector(), *rows)


def test_displays_draw_on_given_axes(detector, correlated_rows, pyplot):
    figure, axes = pyplot.subplots(3)
    displays = [
        CodeDisplay.from_estimator(detector, correlated_rows, ax=axes[0]),
        ExplanationDisplay.from_estimator(detector, correlated_rows[0], ax=axes[1]),
        LossCurveDisplay.from_estimator(detector, ax=axes[2]),
    ]
    assert [display.ax_ for display in displays] == axes.tolist()
    assert {display.figure_ for display in displays} == {figure}


def test_missing_matplotlib_is_named_with_the_way_out(run_in_fresh_process):
    output, _ = run_in_fresh_process(
        "import sys\n"
        "from skae import AnomalyScoreDisplay\n"
        "assert 'matplotlib' not in sys.modules\n"
        "sys.modules['matplotlib'] = None\n"  # as if it were not installed
        "try:\n"
        "    AnomalyScoreDisplay.from_predictions([-1.0, -2.0])\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    assert "AnomalyScoreDisplay.plot requires matplotlib" in output
    assert "pip install matplotlib" in output
