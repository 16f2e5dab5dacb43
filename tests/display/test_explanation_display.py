"""The display of an explanation: its bars, and the names and values beside them."""

import numpy as np
import pandas as pd
import pytest
from artists import labels_of
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from skae import AutoencoderOutlierDetector, ExplanationDisplay


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
    nameless = FunctionTransformer(np.cbrt)  # lacks get_feature_names_out
    miscounting = FunctionTransformer(
        lambda X: np.cbrt(np.asarray(X)), feature_names_out=lambda _, names: names[:2]
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
    frame = pd.DataFrame(correlated_rows, columns=list("abcde")).copy()
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


class DoublingByName(TransformerMixin, BaseEstimator):
    """A step of a user that renames the columns of a frame, and wants them back so."""

    def fit(self, X, y=None):
        self.feature_names_in_ = X.columns
        return self

    def transform(self, X):
        return (2 * X).rename(columns="twice {}".format)

    def inverse_transform(self, X):
        return pd.DataFrame({name[6:]: X[name] / 2 for name in X.columns})


@pytest.mark.parametrize(
    "step",
    [
        FunctionTransformer(np.log, inverse_func=np.exp),
        FunctionTransformer(
            np.log,
            inverse_func=np.exp,
            feature_names_out=lambda _, names: [f"log {name}" for name in names],
        ).set_output(transform="pandas"),
        FunctionTransformer(
            sparse.csr_array, inverse_func=lambda X: X.toarray(), accept_sparse=True
        ),
        DoublingByName(),
        make_pipeline(
            DoublingByName(), StandardScaler().set_output(transform="polars")
        ),
    ],
    ids=["nameless", "renamed", "sparse", "by name", "two"],
)
def test_values_that_can_be_undone_are_the_users_and_named_so(step, correlated_rows):
    frame = pd.DataFrame(np.abs(correlated_rows) + 1e-3, columns=list("abcde"))
    pipeline = make_pipeline(
        step, AutoencoderOutlierDetector((4, 2), epochs=2, random_state=0)
    ).fit(frame)
    display = ExplanationDisplay.from_estimator(pipeline, frame.iloc[0])
    np.testing.assert_allclose(display.observed, frame.iloc[0])
    assert list(display.feature_names) == list("abcde")
    stage = step.transform(frame.iloc[[0]])
    _, expected = pipeline[-1].explain(stage, return_expected=True)
    back = step.transform(pd.DataFrame([display.expected], columns=list("abcde")))
    back = back.toarray() if sparse.issparse(back) else np.asarray(back)
    np.testing.assert_allclose(back, expected)


@pytest.mark.parametrize(
    "step",
    [
        PCA(5),  # other columns, though as many
        FunctionTransformer(np.tanh, feature_names_out="one-to-one"),  # no inverse
        SimpleImputer(),  # an inverse that raises
        FunctionTransformer(  # other columns by the same names
            lambda X: X[:, ::-1],
            inverse_func=lambda X: X[:, ::-1],
            feature_names_out="one-to-one",
        ),
        FunctionTransformer(  # an inverse with columns of its own
            inverse_func=lambda X: X[:, :3], feature_names_out="one-to-one"
        ),
        FunctionTransformer(  # an inverse that knows only what it has seen
            inverse_func=lambda X: np.where(np.arange(len(X))[:, None], np.nan, X),
            feature_names_out="one-to-one",
        ),
    ],
    ids=["pca", "tanh", "imputer", "reversed", "narrower", "partial"],
)
def test_values_that_cannot_be_undone_are_what_the_detector_sees(step, correlated_rows):
    pipeline = make_pipeline(
        step,
        StandardScaler(),
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
