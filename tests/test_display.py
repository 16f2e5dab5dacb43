"""The displays: scores here, then explanations, trainings and codes."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.covariance import EllipticEnvelope
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.linear_model import SGDOneClassSVM
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import OneClassSVM

from skae import (
    AnomalyScoreDisplay,
    AutoencoderOutlierDetector,
    CodeDisplay,
    ExplanationDisplay,
    LossCurveDisplay,
)


@pytest.fixture(autouse=True)
def pyplot():
    """Draw without a window; close the figures after the test."""
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


@pytest.fixture(scope="module")
def detector(correlated_rows):
    return AutoencoderOutlierDetector(
        hidden_layer_sizes=(4, 2), epochs=2, random_state=0
    ).fit(correlated_rows)


@pytest.fixture(scope="module")
def far_row(correlated_rows):
    """A row whose error is many times that of the others."""
    return correlated_rows.mean(axis=0) + 100 * correlated_rows.std(axis=0)


def heights_of(bars):
    return [bar.get_height() for bar in bars]


def edges_of(bars):
    return [bar.get_x() for bar in bars] + [bars[-1].get_x() + bars[-1].get_width()]


def positions_of(lines):
    return [line.get_xdata()[0] for line in lines]


def labels_of(display):
    return [label.get_text() for label in display.ax_.get_yticklabels()]


def legend_of(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


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
    display = AnomalyScoreDisplay.from_predictions([-1.0, -2.0], name="distance")
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


def test_names_in_the_legend_are_drawn_literally():
    name = "$100_$"  # as a formula, it is not a valid one
    codes, y = np.eye(2), ["a", name]
    for display in (
        AnomalyScoreDisplay.from_predictions([-1.0, -2.0], marked={name: -1.5}),
        CodeDisplay.from_predictions(codes, y),
    ):
        display.figure_.canvas.draw()
        assert name in legend_of(display)


# ------------------------------------------------------------------- explanations


def test_explanation_has_a_bar_for_each_of_the_largest_and_one_for_the_rest(
    detector, far_row
):
    display = ExplanationDisplay.from_estimator(detector, far_row, max_features=3)
    contributions = detector.explain([far_row])[0]
    widths = [bar.get_width() for bar in display.bars_]
    largest = np.argsort(-contributions)[:3]
    assert display.columns_.tolist() == largest.tolist()
    np.testing.assert_allclose(widths[:3], contributions[largest])
    np.testing.assert_allclose(sum(widths), -detector.score_samples([far_row])[0])
    assert labels_of(display) == [f"x{j}" for j in largest] + ["2 others"]
    assert display.ax_.yaxis_inverted()  # the largest is on top


def test_explanation_shows_observed_and_expected_values_in_the_users_units(
    detector, correlated_rows
):
    row = correlated_rows[:1]
    display = ExplanationDisplay.from_estimator(detector, row)
    _, expected = detector.explain(row, return_expected=True)
    assert len(display.bars_) == 5  # no rest
    for column, text in zip(display.columns_, display.texts_, strict=True):
        observed = row[0, column]
        shown = f"{observed:.4g}, expected {expected[0, column]:.4g}"
        assert text.get_text() == shown


def test_explanation_names_the_columns_of_a_frame_and_of_a_pipeline(correlated_rows):
    frame = pd.DataFrame(correlated_rows, columns=list("abcde"))
    pipeline = make_pipeline(
        StandardScaler().set_output(transform="pandas"),
        AutoencoderOutlierDetector((4, 2), epochs=2, random_state=0),
    ).fit(frame)
    display = ExplanationDisplay.from_estimator(pipeline, frame.iloc[[0]])
    assert sorted(labels_of(display)) == list("abcde")
    scaled = pipeline[:-1].transform(frame.iloc[[0]])
    np.testing.assert_allclose(display.observed, frame.iloc[0])
    np.testing.assert_array_equal(
        display.contributions, pipeline[-1].explain(scaled)[0]
    )


def test_explanation_knows_the_names_that_earlier_steps_give(correlated_rows):
    frame = pd.DataFrame(correlated_rows, columns=list("abcde"))
    nameless = FunctionTransformer()  # lacks get_feature_names_out
    miscounting = FunctionTransformer(
        np.asarray, feature_names_out=lambda _, names: names[:2]
    )
    for step, names in (
        (StandardScaler(), "abcde"),
        (nameless, None),
        (miscounting, None),
    ):
        pipeline = make_pipeline(
            step,
            FunctionTransformer(np.asarray, feature_names_out="one-to-one"),
            AutoencoderOutlierDetector((4, 2), epochs=2, random_state=0),
        ).fit(frame)
        display = ExplanationDisplay.from_estimator(pipeline, frame.iloc[[0]])
        expected = list(names or ["x0", "x1", "x2", "x3", "x4"])
        assert sorted(labels_of(display)) == expected


def test_explanation_of_a_pipeline_is_in_the_units_of_the_user(correlated_rows):
    frame = pd.DataFrame(correlated_rows, columns=list("abcde"))
    frame.iloc[0, 3] = np.nan
    for X in (frame, frame.to_numpy()):
        pipeline = make_pipeline(
            StandardScaler(),
            AutoencoderOutlierDetector((4, 2), epochs=2, random_state=0),
        ).fit(X)
        display = ExplanationDisplay.from_estimator(pipeline, X[:1])
        np.testing.assert_allclose(display.observed, frame.iloc[0], rtol=1e-6)
        scaler, last = pipeline
        _, expected = last.explain(scaler.transform(X[:1]), return_expected=True)
        np.testing.assert_allclose(
            display.expected, expected[0] * scaler.scale_ + scaler.mean_
        )


@pytest.mark.parametrize(
    "step",
    [
        PCA(5),  # other columns, though as many
        FunctionTransformer(np.tanh, feature_names_out="one-to-one"),  # no inverse
        SimpleImputer(),  # an inverse that raises
    ],
    ids=repr,
)
def test_values_that_cannot_be_undone_are_what_the_detector_sees(step, correlated_rows):
    pipeline = make_pipeline(
        StandardScaler(),
        step,
        AutoencoderOutlierDetector((4, 2), epochs=2, random_state=0),
    ).fit(correlated_rows)
    display = ExplanationDisplay.from_estimator(pipeline, correlated_rows[:1])
    seen = pipeline[:-1].transform(correlated_rows[:1])
    np.testing.assert_allclose(display.observed, seen[0])


def test_explanations_of_several_rows_are_refused(fitted, correlated_rows):
    contributions = fitted.explain(correlated_rows[:2])
    with pytest.raises(ValueError, match=r"\(2, 5\). Pass explain\(X\)\[i\]"):
        ExplanationDisplay.from_predictions(contributions)


def test_explanation_takes_the_sparse_rows_of_an_earlier_step(correlated_rows):
    colors = np.where(correlated_rows[:, :2] > 0, "red", "blue")
    pipeline = make_pipeline(
        OneHotEncoder(), AutoencoderOutlierDetector((4, 2), epochs=2, random_state=0)
    ).fit(colors)
    display = ExplanationDisplay.from_estimator(pipeline, colors[:1])
    encoded = pipeline[:-1].transform(colors[:1])
    np.testing.assert_array_equal(display.observed, encoded.toarray()[0])
    assert f"x0_{colors[0, 0]}" in labels_of(display)


def test_explanation_calls_a_missing_cell_of_whole_numbers_missing(correlated_rows):
    frame = pd.DataFrame((10 * correlated_rows).astype(int), columns=list("abcde"))
    frame = frame.astype("Int64")
    frame.iloc[0, 1] = pd.NA
    detector = AutoencoderOutlierDetector((4, 2), epochs=2, random_state=0).fit(frame)
    display = ExplanationDisplay.from_estimator(detector, frame.iloc[[0]])
    text = display.texts_[labels_of(display).index("b")].get_text()
    assert text.startswith("missing, expected ")


@pytest.mark.parametrize(
    "observed, expected, text",
    [
        (101345.0, 101325.0, "101345, expected 101325"),
        (20.06, 20.05, "20.06, expected 20.05"),
        (0.123456, 0.123444, "0.123456, expected 0.123444"),
        (7.125, 4.25, "7.125, expected 4.25"),
        (123456.0, 3.5, "1.235e+05, expected 3.5"),
        (1 / 3, np.nextafter(1 / 3, 1), "0.3333, expected 0.3333"),  # rounding
        (1e5 / 3, 1e5 / 3, "3.333e+04, expected 3.333e+04"),
        (0.0, 0.0, "0, expected 0"),
        (-1.7e308, 1.7e308, "-1.7e+308, expected 1.7e+308"),
    ],
)
def test_values_have_the_digits_that_tell_them_apart(observed, expected, text):
    display = ExplanationDisplay.from_predictions(
        [0.1], observed=[observed], expected=[expected]
    )
    assert display.texts_[0].get_text() == text


@pytest.mark.parametrize("length", [10, 40, 70])
def test_long_names_leave_all_in_the_picture(length):
    names = [f"{j} column".ljust(length - 2, "m") + f" {j}" for j in range(5)]
    display = ExplanationDisplay.from_predictions(
        [0.5, 0.4, 0.3, 0.2, 0.1],
        observed=np.full(5, -101345.678),
        expected=np.full(5, -101325.678),
        feature_names=names,
        max_features=4,
    )
    labels = labels_of(display)[:-1]
    assert all(len(label) <= 30 for label in labels)
    for label, name in zip(labels, names, strict=False):
        assert label == name or (label[:9], label[-9:]) == (name[:9], name[-9:])
    display.figure_.canvas.draw()
    whole = display.figure_.bbox
    axis = [display.ax_.xaxis.label, *display.ax_.get_yticklabels()]
    for text in [*display.texts_, *axis]:
        box = text.get_window_extent()
        assert whole.x0 <= box.x0 <= box.x1 <= whole.x1
    assert display.ax_.bbox.width > whole.width / 3


def test_long_names_that_look_alike_have_the_number_of_their_column():
    names = [f"temperature of machine {j} at the outlet of the pump" for j in range(2)]
    display = ExplanationDisplay.from_predictions(
        [0.1, 0.3, 0.2], feature_names=[*names, "pressure"]
    )
    first, second, third = labels_of(display)
    assert (first[:3], second, third[:3]) == ("x1 ", "pressure", "x0 ")


def test_names_of_columns_are_drawn_literally():
    name = "$100_$"  # as a formula, it is not a valid one
    display = ExplanationDisplay.from_predictions([0.1], feature_names=[name])
    display.figure_.canvas.draw()
    assert labels_of(display) == [name]


def test_explanation_drawn_again_on_its_axes_keeps_its_order():
    display = ExplanationDisplay.from_predictions([0.1, 0.3])
    assert display.plot(display.ax_).ax_.yaxis_inverted()


@pytest.mark.parametrize("lengths", [(10.0, 0.1), (0.1, 10.0)])
def test_explanations_that_share_an_axis_leave_room_for_each(lengths, pyplot):
    _, axes = pyplot.subplots(2, sharex=True)
    for length, ax in zip(lengths, axes, strict=True):
        ExplanationDisplay.from_predictions([length], ax=ax)
    left, right = axes[0].get_xlim()
    assert left == 0
    assert 10 < right < 20


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"contributions": [0.1, np.nan]}, "contributions contains NaN"),
        ({"contributions": [[0.1, 0.2]]}, "contributions must be one row"),
        ({"contributions": [0.1], "observed": [1.0, 2.0]}, "observed must be one row"),
        ({"contributions": [0.1], "feature_names": ["a", "b"]}, "must name 1 columns"),
        *(
            (
                {"contributions": [0.1], "max_features": max_features},
                "max_features must be an integer of at least 1.*Got "
                + repr(max_features),
            )
            for max_features in (0, 2.5, None, True)
        ),
    ],
)
def test_explanation_that_cannot_be_drawn_is_refused(arguments, message, pyplot):
    with pytest.raises(ValueError, match=message):
        ExplanationDisplay.from_predictions(**arguments)
    assert pyplot.get_fignums() == []


def test_explanation_of_several_rows_is_refused(detector, correlated_rows):
    with pytest.raises(ValueError, match=r"X must be one row.*\(200, 5\)"):
        ExplanationDisplay.from_estimator(detector, correlated_rows)


# ---------------------------------------------------------------------- trainings


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


# -------------------------------------------------------------------------- codes


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
