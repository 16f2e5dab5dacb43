"""onnxruntime decides as the detector does, from what skl2onnx has made of it."""

import doctest
import inspect
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import MinMaxScaler, PowerTransformer, StandardScaler

import skae
from skae._scoring._forward import ACTIVATIONS

skl2onnx = pytest.importorskip("skl2onnx")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(autouse=True, scope="module")
def registered():
    skae.register_onnx_converter()


@pytest.fixture(scope="module")
def rows(correlated_rows):
    """Rows of the training and, after them, 100 others of which most are outliers."""
    noise = np.random.RandomState(1).normal(size=(100, 5))
    return np.r_[correlated_rows, correlated_rows[:100] + noise * [1, 1e3, 1e-3, 10, 1]]


def run_onnx(estimator, X):
    """Labels and scores by onnxruntime, one each for a row."""
    model = skl2onnx.to_onnx(estimator, X[:1])
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (source,) = session.get_inputs()
    labels, scores = session.run(["label", "scores"], {source.name: X})
    assert labels.shape == scores.shape == (len(X), 1)
    assert (labels.dtype, scores.dtype) == (np.int64, np.float64)
    return labels.ravel(), scores.ravel()


def assert_onnx_agrees(estimator, X, tolerance=1e-12):
    labels, scores = run_onnx(estimator, X)
    decision = estimator.decision_function(X)
    assert np.abs(scores - decision).max() <= tolerance * np.abs(decision).max()
    # No decision is within rounding of zero, where a label may differ.
    assert np.abs(decision).min() > tolerance
    np.testing.assert_array_equal(labels, estimator.predict(X))
    assert set(labels) == {-1, 1}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_that_numpy_scores_converts(
    activation, make_detector, correlated_rows, rows
):
    # An exponential of an exponential overflows: one hidden layer for that one.
    sizes = 4 if activation == "exponential" else (8, 2)
    detector = make_detector(
        hidden_layer_sizes=sizes,
        activation=activation,
        score_method="neighbors",
        contamination=0.1,
    ).fit(correlated_rows)
    assert_onnx_agrees(detector, rows, 1e-6 if activation == "gelu" else 1e-12)


@pytest.mark.parametrize("scaling", ["standard", "minmax", "robust", None])
@pytest.mark.parametrize("score_method", ["neighbors", "reconstruction"])
def test_scaling_networks_score_and_threshold_are_in_the_graph(
    scaling, score_method, make_detector, correlated_rows, rows
):
    unit = correlated_rows.std(axis=0) if scaling is None else 1.0
    detector = make_detector(
        scaling=scaling, score_method=score_method, n_estimators=3, contamination=0.1
    )
    assert_onnx_agrees(detector.fit(correlated_rows / unit), rows / unit)


@pytest.mark.parametrize("n_folds", [3, 11])
@pytest.mark.parametrize("score_method", ["neighbors", "reconstruction"])
def test_networks_of_folds_are_averaged_in_the_graph(
    score_method, n_folds, make_detector, correlated_rows, rows
):
    detector = make_detector(
        calibration_cv=n_folds, score_method=score_method, contamination=0.1
    ).fit(correlated_rows)
    assert_onnx_agrees(detector, rows)
    labels, scores = run_onnx(detector, np.full((1, 5), np.inf))
    assert labels == [-1] and -np.inf < scores[0] < -1e308


def test_output_activation_converts(make_detector, correlated_rows, rows):
    detector = make_detector(
        output_activation="sigmoid", scaling="minmax", contamination=0.1
    )
    assert_onnx_agrees(detector.fit(correlated_rows), rows)


def test_threshold_is_that_of_the_last_calibration(
    make_detector, correlated_rows, rows
):
    detector = make_detector().fit(correlated_rows[:100])
    fresh = np.delete(rows, slice(100, 200), axis=0)
    before = run_onnx(detector, fresh)[1]
    # The threshold is the score of one of these, whose label rounding may turn.
    detector.calibrate(correlated_rows[100:], false_alarm_rate=0.2)
    assert_onnx_agrees(detector, fresh)
    assert (run_onnx(detector, fresh)[1] != before).all()


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_other_types_of_numbers_are_computed_with_in_float64(dtype, make_detector):
    X = (100 * np.random.RandomState(0).normal(size=(300, 4))).astype(dtype)
    detector = make_detector(contamination=0.1).fit(X)
    assert_onnx_agrees(detector, X)


@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler()])
def test_pipeline_converts(scaler, make_detector, correlated_rows, rows):
    pipeline = make_pipeline(scaler, make_detector(contamination=0.1))
    assert_onnx_agrees(pipeline.fit(correlated_rows), rows)


def test_frame_comes_as_one_input_for_each_column(make_detector, rows):
    frame = pd.DataFrame(rows, columns=list("abcde"))
    detector = make_detector().fit(frame[:200])
    model = skl2onnx.to_onnx(detector, frame[:1])
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (scores,) = session.run(["scores"], {c: frame[[c]].to_numpy() for c in frame})
    np.testing.assert_allclose(
        scores.ravel(), detector.decision_function(frame), rtol=1e-9, atol=1e-12
    )


def test_dates_and_durations_are_given_as_seconds(make_detector, rows):
    seconds = np.round(1e9 + rows - rows.min(axis=0))
    frame = pd.DataFrame(seconds, columns=list("abcde"))
    frame["a"] = pd.to_datetime(frame["a"], unit="s")
    frame["b"] = pd.to_timedelta(frame["b"], unit="s")
    detector = make_detector().fit(frame)
    model = skl2onnx.to_onnx(detector, seconds[:1])
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (scores,) = session.run(["scores"], {"X": seconds})
    np.testing.assert_allclose(
        scores.ravel(), detector.decision_function(frame), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("target_opset", [13, 18, 21])
def test_older_opsets_will_do(target_opset, fitted, rows):
    model = skl2onnx.to_onnx(fitted, rows[:1], target_opset=target_opset)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (scores,) = session.run(["scores"], {"X": rows})
    np.testing.assert_allclose(
        scores.ravel(), fitted.decision_function(rows), rtol=1e-9, atol=1e-12
    )


def test_other_number_of_columns_is_refused(fitted, rows):
    for n_columns in (1, 4):
        with pytest.raises(ValueError, match=f"have 5 columns.* Got {n_columns}"):
            skl2onnx.to_onnx(fitted, rows[:1, :n_columns])


def test_scores_of_a_pipeline_may_be_renamed(make_detector, correlated_rows):
    pipeline = make_pipeline(StandardScaler(), make_detector()).fit(correlated_rows)
    model = skl2onnx.to_onnx(
        pipeline,
        correlated_rows[:1],
        final_types=[("verdict", None), ("margin", None)],
    )
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (margin,) = session.run(["margin"], {"X": correlated_rows})
    np.testing.assert_allclose(
        margin.ravel(), pipeline.decision_function(correlated_rows), rtol=1e-9
    )


@pytest.mark.parametrize("n_columns", [2, 200])
def test_copies_of_references_far_from_0_are_the_same_rows(n_columns, make_detector):
    """The tolerance for a copy then spans several references."""
    X = np.random.RandomState(0).normal(size=(300, n_columns)) + 1e5
    detector = make_detector(score_method="neighbors").fit(X)
    assert_onnx_agrees(detector, X, 1e-9)


@pytest.mark.parametrize("scaling", ["standard", "minmax", "robust"])
def test_remainder_of_a_large_center_is_in_the_graph(scaling, make_detector):
    """Nanoseconds, of which one float64 of that size is good to 256."""
    rng = np.random.RandomState(0)
    times = 1_750_000_000_000_000_000 + rng.randint(0, 700_000, size=300)
    X = np.c_[times, rng.normal(size=(300, 2))]
    detector = make_detector(scaling=scaling, score_method="neighbors").fit(X)
    assert scaling == "minmax" or detector._model.remainder[0] != 0.0
    assert_onnx_agrees(detector, X, 1e-9)


def test_row_that_overflows_or_is_not_finite_is_the_least_normal(
    make_detector, correlated_rows
):
    detector = make_detector(score_method="neighbors").fit(correlated_rows)
    labels, scores = run_onnx(
        detector, np.array([[1e308] * 5, [np.inf] * 5, [0, 0, np.nan, 0, 0]])
    )
    assert labels.tolist() == [-1, -1, -1]
    assert (scores == np.finfo(np.float64).min).all()
    assert scores[0] == detector.decision_function([[1e308] * 5])


def test_model_stores_the_weights_in_float32(make_detector):
    X = np.random.RandomState(0).normal(size=(50, 100))
    detector = make_detector(hidden_layer_sizes=(256, 32), epochs=1).fit(X)
    model = skl2onnx.to_onnx(detector, X[:1]).SerializeToString()
    n_weights = 2 * (100 * 256 + 256 * 32) + 256 + 32 + 256 + 100
    assert 4 * n_weights < len(model) < 4 * n_weights + 8192


def squash(x):
    """An activation of the user's own, which Keras traces and NumPy does not know."""
    import keras

    return keras.ops.tanh(0.5 * x)


@pytest.mark.parametrize("parameter", ["activation", "output_activation"])
@pytest.mark.parametrize("activation", ["log_sigmoid", squash])
def test_activation_that_does_not_convert_is_named(
    parameter, activation, make_detector, correlated_rows
):
    unscaled = -np.abs(correlated_rows / correlated_rows.std(axis=0))
    detector = make_detector(scaling=None, **{parameter: activation}).fit(unscaled)
    with pytest.raises(ValueError, match=f"^{parameter} must be one of") as raised:
        skl2onnx.to_onnx(detector, unscaled[:1])
    assert repr(activation) in str(raised.value)


def test_detector_in_the_middle_is_refused(make_detector, correlated_rows):
    y = np.arange(200) % 2
    inside = make_pipeline(make_detector(epochs=1), PowerTransformer())
    beside = make_union(StandardScaler(), make_detector(epochs=1))
    for transformer in (inside, beside):
        pipeline = make_pipeline(transformer, LogisticRegression())
        pipeline.fit(correlated_rows, y)
        with pytest.raises(ValueError, match="must be the last step"):
            skl2onnx.to_onnx(pipeline, correlated_rows[:1])


def test_example_of_the_docstring_prints_what_it_says():
    example = inspect.getdoc(skae.register_onnx_converter)
    example = example.replace("# doctest: +SKIP", "")
    test = doctest.DocTestParser().get_doctest(example, {}, "example", None, 0)
    assert doctest.DocTestRunner().run(test) == (0, 11)


def test_example_of_the_guide_decides_as_the_detector(fitted, correlated_rows):
    guide = Path(__file__).parents[2] / "docs" / "files_and_services.md"
    code = re.search(r"```text\n(import onnxruntime.*?)```", guide.read_text(), re.S)
    names = {"skae": skae, "detector": fitted}
    names |= {"train": correlated_rows, "fresh": correlated_rows}
    exec(code.group(1), names)
    np.testing.assert_array_equal(
        names["labels"].ravel(), fitted.predict(correlated_rows)
    )


def test_unfitted_detector_says_so(fitted, correlated_rows):
    with pytest.raises(NotFittedError):
        skl2onnx.to_onnx(clone(fitted), correlated_rows[:1])


def test_conversion_imports_neither_keras_nor_tensorflow(
    fitted, tmp_path, run_in_fresh_process
):
    skae.save(fitted, tmp_path / "detector.skae")
    run_in_fresh_process(
        "import sys, warnings, numpy as np, skae\n"
        "assert not {'onnx', 'skl2onnx'} & sys.modules.keys()\n"
        "with warnings.catch_warnings():\n"
        "    warnings.simplefilter('ignore')\n"
        "    import skl2onnx\n"
        "skae.register_onnx_converter()\n"
        "skl2onnx.to_onnx(skae.load(sys.argv[1]), np.zeros((1, 5)))\n"
        "assert not {'keras', 'tensorflow'} & sys.modules.keys()\n",
        tmp_path / "detector.skae",
    )


def test_missing_skl2onnx_is_an_error_that_says_what_to_install(run_in_fresh_process):
    out, _ = run_in_fresh_process(
        "import sys, skae\n"
        "sys.modules['skl2onnx'] = None\n"
        "try:\n"
        "    skae.register_onnx_converter()\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    assert 'pip install "skae[onnx]"' in out
