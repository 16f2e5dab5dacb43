"""The display of scores: histogram, threshold, marked rows, scales of the axes."""

import numpy as np
import pandas as pd
import pytest
from artists import edges_of, heights_of, legend_of, positions_of
from sklearn.base import clone
from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import SGDOneClassSVM
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from skae import AnomalyScoreDisplay, AutoencoderOutlierDetector


def test_estimator_and_its_scores_give_the_same_histogram(detector, correlated_rows):
    from_estimator = AnomalyScoreDisplay.from_estimator(detector, correlated_rows)
    from_predictions = AnomalyScoreDisplay.from_predictions(
        detector.score_samples(correlated_rows), offset=detector.offset_
    )
    for display in (from_estimator, from_predictions):
        counts, edges = np.histogram(-detector.score_samples(correlated_rows), bins=50)
        assert heights_of(display.histograms_["rows"]) == counts.tolist()
        np.testing.assert_allclose(edges_of(display.histograms_["rows"]), edges)
        assert positions_of([display.threshold_line_]) == [-detector.offset_]


def test_rows_right_of_the_threshold_are_those_that_the_detector_flags(
    detector, correlated_rows
):
    display = AnomalyScoreDisplay.from_estimator(
        detector, correlated_rows, bins=[0.0, -detector.offset_, 100.0]
    )
    n_flagged = np.sum(detector.predict(correlated_rows) == -1)
    assert n_flagged > 0
    assert heights_of(display.histograms_["rows"])[1] == n_flagged


def test_drawn_display_knows_its_axes_and_figure(detector, correlated_rows, pyplot):
    figure, ax = pyplot.subplots()
    display = AnomalyScoreDisplay.from_estimator(detector, correlated_rows, ax=ax)
    assert isinstance(display, AnomalyScoreDisplay)
    assert display.ax_ is ax
    assert display.figure_ is figure


def test_display_can_be_drawn_again(detector, correlated_rows):
    display = AnomalyScoreDisplay.from_estimator(detector, correlated_rows)
    first = display.figure_
    assert display.plot(bins=7) is display
    assert display.figure_ is not first
    assert len(display.histograms_["rows"]) == 7


def test_each_class_has_a_histogram_over_the_same_bins():
    scores = -np.arange(1.0, 11.0)
    # Every label but -1 is an inlier.
    y = [1, 1, 0, 2, 1, 1, 1, -1, -1, -1]
    display = AnomalyScoreDisplay.from_predictions(scores, y, bins=3)
    inliers, outliers = display.histograms_["inliers"], display.histograms_["outliers"]
    assert heights_of(inliers) == [3, 3, 1]
    assert heights_of(outliers) == [0, 0, 3]
    assert edges_of(inliers) == edges_of(outliers) == [1, 4, 7, 10]
    assert legend_of(display) == ["inliers", "outliers"]


@pytest.mark.parametrize("label, name", [(1, "inliers"), (-1, "outliers")])
def test_class_without_rows_has_no_histogram(label, name):
    display = AnomalyScoreDisplay.from_predictions([-1.0, -2.0], [label, label])
    assert list(display.histograms_) == [name]


def test_scores_alone_are_drawn_without_threshold_and_legend():
    display = AnomalyScoreDisplay.from_predictions([-1.0, -2.0])
    assert display.threshold_line_ is None
    assert display.marked_lines_ == {}
    assert display.ax_.get_legend() is None


def test_marked_rows_are_lines_at_their_score(detector, correlated_rows, far_row):
    several = correlated_rows[:3]
    display = AnomalyScoreDisplay.from_estimator(
        detector, correlated_rows, marked={"far": far_row, "some": several}
    )
    far, some = display.marked_lines_["far"], display.marked_lines_["some"]
    assert positions_of(far) == (-detector.score_samples([far_row])).tolist()
    assert positions_of(some) == (-detector.score_samples(several)).tolist()
    # However many rows, one entry in the legend.
    assert legend_of(display) == ["threshold", "far", "some"]


@pytest.mark.parametrize("score", [-50.0, [-50.0], np.array([-50.0, -40.0])])
def test_marked_scores_are_lines_at_minus_the_score(score):
    display = AnomalyScoreDisplay.from_predictions([-1, -2], marked={"far": score})
    lines = display.marked_lines_["far"]
    assert positions_of(lines) == (-np.atleast_1d(score)).tolist()


def test_marked_row_far_away_is_in_view_and_leaves_the_bins_alone(
    detector, correlated_rows, far_row
):
    plain = AnomalyScoreDisplay.from_estimator(detector, correlated_rows)
    marked = AnomalyScoreDisplay.from_estimator(
        detector, correlated_rows, marked={"far": far_row}
    )
    left, right = marked.ax_.get_xlim()
    assert left < positions_of(marked.marked_lines_["far"])[0] < right
    assert positions_of(marked.marked_lines_["far"])[0] > plain.ax_.get_xlim()[1]
    assert edges_of(marked.histograms_["rows"]) == edges_of(plain.histograms_["rows"])


def test_labels_in_the_place_of_scores_are_an_error():
    scores = [-0.5, -0.7, -2.0]
    with pytest.raises(ValueError, match="The scores come first, .* such as -0.5"):
        AnomalyScoreDisplay.from_predictions([1, 1, -1], scores)
    AnomalyScoreDisplay.from_predictions([-1.0, -1.0, 0.0], [1, 1, -1])


def test_labels_without_an_outlier_are_named_but_not_all_of_many():
    with pytest.warns(UserWarning, match=r"labels in y are \[0, 1, 10, .*, \.\.\.\]"):
        AnomalyScoreDisplay.from_predictions(-np.arange(50.0), np.arange(50))


def test_threshold_far_away_is_in_view():
    display = AnomalyScoreDisplay.from_predictions([-1.0, -2.0], offset=-50.0)
    left, right = display.ax_.get_xlim()
    assert left < 50.0 < right


def test_axis_is_named_after_what_the_score_is(detector, correlated_rows):
    display = AnomalyScoreDisplay.from_estimator(detector, correlated_rows)
    assert display.ax_.get_xlabel() == "anomaly score"
    plain = clone(detector).set_params(score_method="reconstruction")
    display = AnomalyScoreDisplay.from_estimator(
        plain.fit(correlated_rows), correlated_rows
    )
    assert display.ax_.get_xlabel() == "reconstruction error"
    plain.set_params(score_method="auto")  # the scores stay what they were fitted to be
    display = AnomalyScoreDisplay.from_estimator(plain, correlated_rows)
    assert display.ax_.get_xlabel() == "reconstruction error"
    forest = IsolationForest(n_estimators=5, random_state=0).fit(correlated_rows)
    display = AnomalyScoreDisplay.from_estimator(forest, correlated_rows)
    assert display.ax_.get_xlabel() == "anomaly score"
    display = AnomalyScoreDisplay.from_predictions([-1.0, -2.0], xlabel="distance")
    assert display.ax_.get_xlabel() == "distance"


def test_labels_without_an_outlier_of_two_kinds_are_warned_of():
    with pytest.warns(UserWarning, match=r"-1 marks an outlier.*\[0, 1\]"):
        AnomalyScoreDisplay.from_predictions([-1.0, -2.0, -3.0], [0, 1, 1])


def test_pipeline_is_drawn_with_the_threshold_of_its_last_step(correlated_rows):
    pipeline = make_pipeline(
        StandardScaler(),
        AutoencoderOutlierDetector(
            (4, 2), epochs=2, score_method="reconstruction", random_state=0
        ),
    ).fit(correlated_rows)
    display = AnomalyScoreDisplay.from_estimator(
        pipeline, correlated_rows, marked={"first": correlated_rows[0]}
    )
    scores = pipeline.score_samples(correlated_rows)
    np.testing.assert_array_equal(display.scores, scores)
    assert display.offset == pipeline[-1].offset_
    assert positions_of(display.marked_lines_["first"]) == [-scores[0]]
    assert display.ax_.get_xlabel() == "reconstruction error"


@pytest.mark.parametrize(
    "other",
    [
        EllipticEnvelope(random_state=0),
        IsolationForest(n_estimators=5, random_state=0),
        LocalOutlierFactor(novelty=True),
        OneClassSVM(),
        SGDOneClassSVM(random_state=0),
    ],
    ids=lambda detector: type(detector).__name__,
)
def test_detectors_of_scikit_learn_can_be_drawn(other, correlated_rows):
    rows = StandardScaler().fit_transform(correlated_rows)
    other.fit(rows)
    display = AnomalyScoreDisplay.from_estimator(other, rows, marked={"row": rows[0]})
    np.testing.assert_allclose(
        other.decision_function(rows), display.scores - display.offset, atol=1e-12
    )


def test_data_frame_is_drawn_without_a_warning(correlated_rows):
    frame = pd.DataFrame(correlated_rows, columns=list("abcde"))
    detector = AutoencoderOutlierDetector((4, 2), epochs=2, random_state=0).fit(frame)
    display = AnomalyScoreDisplay.from_estimator(
        detector, frame, pd.Series(1, index=frame.index), marked={"a": frame.iloc[:1]}
    )
    np.testing.assert_array_equal(display.scores, detector.score_samples(frame))


@pytest.mark.parametrize("wrap", [lambda detector: detector, make_pipeline])
def test_unfitted_estimator_is_refused(wrap, correlated_rows):
    with pytest.raises(NotFittedError):
        AnomalyScoreDisplay.from_estimator(
            wrap(AutoencoderOutlierDetector()), correlated_rows
        )


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"scores": []}, "0 sample"),
        ({"scores": [-1.0, np.nan]}, "scores contains NaN"),
        ({"scores": [-1.0, -np.inf]}, "scores contains infinity"),
        ({"scores": [[-1.0, -2.0]]}, r"scores must have one dimension.*\(1, 2\)"),
        ({"scores": [-1.0, -2.0], "y": [1]}, "inconsistent numbers of samples"),
        ({"scores": [-1.0], "offset": np.nan}, "offset contains NaN"),
        (
            {"scores": [-1.0], "marked": {"a": np.inf}},
            r"marked\['a'\] contains infinity",
        ),
        ({"scores": [-1.0], "marked": {"a": []}}, "0 sample"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_a_figure_is_made(
    arguments, message, pyplot
):
    with pytest.raises(ValueError, match=message):
        AnomalyScoreDisplay.from_predictions(**arguments)
    assert pyplot.get_fignums() == []


def test_scores_of_one_size_have_linear_axes():
    display = AnomalyScoreDisplay.from_predictions(-np.arange(1.0, 101.0))
    assert display.ax_.get_xscale() == display.ax_.get_yscale() == "linear"


def test_few_scores_far_away_make_the_axis_of_the_scores_logarithmic():
    scores = -np.append(np.linspace(1.0, 5.0, 1000), 1e4)
    display = AnomalyScoreDisplay.from_predictions(scores)
    assert display.ax_.get_xscale() == "log"
    heights = heights_of(display.histograms_["rows"])
    assert sum(heights) == 1001  # every row has a bin
    assert max(heights) < 500  # on a linear axis one would hold all but one
    widths = np.diff(np.log(edges_of(display.histograms_["rows"])))
    np.testing.assert_allclose(widths, widths[0])


def test_scores_that_reach_zero_keep_a_linear_axis():
    scores = -np.append(np.linspace(0.0, 5.0, 1000), 1e4)
    assert AnomalyScoreDisplay.from_predictions(scores).ax_.get_xscale() == "linear"


@pytest.mark.parametrize("n_rows, scale", [(100, "linear"), (10000, "log")])
def test_class_too_small_to_see_makes_the_counts_logarithmic(n_rows, scale):
    scores = -np.append(np.linspace(1.0, 5.0, n_rows), [6.0, 7.0])
    y = np.append(np.ones(n_rows), [-1, -1])
    assert AnomalyScoreDisplay.from_predictions(scores, y).ax_.get_yscale() == scale


def test_given_edges_leave_the_scales_as_they_are():
    anomaly = np.append(np.linspace(0.5, 5.0, 1000), [1e4, 1e5])
    y = np.append(np.ones(1000), [-1, -1])  # no outlier is within the edges
    edges = np.linspace(0.0, 5.0, 11)
    display = AnomalyScoreDisplay.from_predictions(-anomaly, y, bins=edges)
    assert display.ax_.get_xscale() == display.ax_.get_yscale() == "linear"
    np.testing.assert_allclose(edges_of(display.histograms_["inliers"]), edges)
    assert heights_of(display.histograms_["outliers"]) == [0] * 10


@pytest.mark.parametrize("scores", [[-2.0], [-2.0, -2.0, -2.0]])
def test_equal_scores_can_be_drawn_on_a_logarithmic_axis(scores, pyplot):
    _, ax = pyplot.subplots()
    ax.set_xscale("log")
    display = AnomalyScoreDisplay.from_predictions(scores, ax=ax)
    assert sum(heights_of(display.histograms_["rows"])) == len(scores)


@pytest.mark.parametrize("smallest, scale", [(1.0, "log"), (0.0, "linear")])
def test_score_as_low_as_numbers_go_is_in_view(smallest, scale):
    lowest = np.finfo(np.float64).min
    scores = np.append(-np.linspace(smallest, 5.0, 1000), lowest)
    display = AnomalyScoreDisplay.from_predictions(
        scores, offset=-4.0, marked={"far": lowest}
    )
    display.figure_.canvas.draw()  # without a warning
    assert display.ax_.get_xscale() == scale
    assert sum(heights_of(display.histograms_["rows"])) == 1001
    left, right = display.ax_.get_xlim()
    assert left < 4.0 < 1e100 < positions_of(display.marked_lines_["far"])[0] < right


@pytest.mark.parametrize("missing", [None, np.nan])
def test_missing_label_is_an_error(missing, pyplot):
    with pytest.raises(ValueError, match="1 of 3 are missing"):
        AnomalyScoreDisplay.from_predictions([-1.0, -2.0, -3.0], y=[missing, -1, 1])
