"""Keras's view of a fitted detector agrees with NumPy's."""

import re

import numpy as np
import pytest
from sklearn.base import clone

from skae import AutoencoderOutlierDetector
from skae._scoring._forward import ACTIVATIONS

KERAS_ONLY = ["log_sigmoid", "softmax", "celu"]


def squash(x):
    """An activation of the user's own, which Keras traces and NumPy does not know."""
    import keras

    return keras.ops.tanh(0.5 * x) + 0.1 * x


def assert_keras_agrees(detector, X):
    """Within 1e-5 of each column's spread: model, encoder and decoder."""
    codes = detector.transform(X)
    # A nearly dead unit varies by less than the rounding of float32 sums of this size.
    rounding = 4 * np.finfo(np.float32).eps * np.abs(codes).max()
    code_spread = np.maximum(np.ptp(codes, axis=0), 1e5 * rounding)
    for actual, expected, spread in [
        (detector.model_.predict(X, verbose=0), detector.reconstruct(X), np.ptp(X, 0)),
        (np.asarray(detector.model_(X)), detector.reconstruct(X), np.ptp(X, 0)),
        (detector.encoder_.predict(X, verbose=0), codes, code_spread),
        (
            detector.decoder_.predict(codes, verbose=0),
            detector.inverse_transform(codes),
            np.ptp(X, 0),
        ),
    ]:
        assert np.isfinite(expected).all()
        assert (np.abs(actual - expected) <= 1e-5 * spread).all()


@pytest.mark.parametrize("seed", range(20))
def test_keras_and_numpy_agree_for_a_random_architecture(seed):
    rng = np.random.RandomState(seed)
    n_features = rng.randint(1, 40)
    X = rng.normal(size=(100, n_features)) * 10.0 ** rng.randint(-3, 4, n_features)
    detector = AutoencoderOutlierDetector(
        tuple(int(width) for width in rng.randint(1, 100, size=rng.randint(1, 5))),
        scaling=rng.choice(["standard", "minmax", "robust"]),
        epochs=3,
        random_state=seed,
    ).fit(X)
    assert_keras_agrees(detector, X)


@pytest.mark.parametrize("activation", [*ACTIVATIONS, *KERAS_ONLY, squash])
def test_keras_and_numpy_agree_for_every_activation(
    activation, make_detector, correlated_rows
):
    # An exponential of an exponential overflows: one hidden layer for that one.
    sizes = 4 if activation == "exponential" else (8, 2)
    detector = make_detector(hidden_layer_sizes=sizes, activation=activation)
    assert_keras_agrees(detector.fit(correlated_rows), correlated_rows)


@pytest.mark.parametrize("output_activation", ["sigmoid", "tanh", "softmax", squash])
def test_keras_and_numpy_agree_for_the_output_activation(
    output_activation, make_detector
):
    X = np.random.RandomState(0).dirichlet(np.ones(4), size=100)
    detector = make_detector(output_activation=output_activation, scaling=None).fit(X)
    assert_keras_agrees(detector, X)


def test_row_scored_through_keras_does_not_depend_on_its_neighbours(
    make_detector, correlated_rows
):
    detector = make_detector(activation=squash).fit(correlated_rows)
    scores = detector.score_samples(correlated_rows)
    alone = [detector.score_samples(row[None])[0] for row in correlated_rows[:20]]
    np.testing.assert_array_equal(alone, scores[:20])


def test_widths_are_mirrored_around_the_code(make_detector, correlated_rows):
    detector = make_detector(hidden_layer_sizes=(7, 4, 3)).fit(correlated_rows)
    widths = [layer.output.shape[1] for layer in detector.model_.layers]
    assert widths == [5, 5, 7, 4, 3, 4, 7, 5, 5]  # with the input and the scaling
    assert detector.encoder_.output_shape == (None, 3)
    assert detector.decoder_.input_shape == (None, 3)


def test_small_spread_on_a_large_offset_survives_the_model(make_detector):
    X = 1e6 + np.random.RandomState(0).normal(size=(100, 3)) * 1e-3
    detector = make_detector(epochs=20).fit(X)
    difference = np.asarray(detector.model_(X)) - detector.reconstruct(X)
    assert np.abs(difference).max() < 1e-8


def test_models_are_those_of_the_last_fit(make_detector, correlated_rows):
    detector = make_detector().fit(correlated_rows)
    assert detector.model_ is detector.model_
    detector.fit(correlated_rows[:, :3])
    assert detector.model_.input_shape == (None, 3)


def test_saved_model_needs_nothing_of_skae(
    tmp_path, fitted, correlated_rows, run_in_fresh_process
):
    fitted_copy = clone(fitted).fit(correlated_rows)
    fitted_copy.model_.save(tmp_path / "model.keras")
    np.save(tmp_path / "rows.npy", correlated_rows)
    run_in_fresh_process(
        "import sys, warnings, numpy as np\n"
        "warnings.simplefilter('ignore')\n"
        "import keras\n"
        "folder = sys.argv[1]\n"
        "model = keras.saving.load_model(folder + '/model.keras')\n"
        "out = np.asarray(model(np.load(folder + '/rows.npy')))\n"
        "np.save(folder + '/out.npy', out)\n"
        "assert 'skae' not in sys.modules\n",
        tmp_path,
        TF_CPP_MIN_LOG_LEVEL="3",
    )
    difference = np.load(tmp_path / "out.npy") - fitted_copy.reconstruct(
        correlated_rows
    )
    assert (np.abs(difference) < 1e-5 * np.ptp(correlated_rows, axis=0)).all()


def test_global_image_format_of_keras_changes_nothing(make_detector, correlated_rows):
    import keras

    detector = make_detector().fit(correlated_rows)
    image_format = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        assert_keras_agrees(detector, correlated_rows)
    finally:
        keras.config.set_image_data_format(image_format)


def test_exported_model_serves_reconstructions_without_keras(
    tmp_path, make_detector, correlated_rows, run_in_fresh_process
):
    detector = make_detector(n_estimators=2).fit(correlated_rows)
    detector.model_.export(tmp_path / "served", verbose=False)
    np.save(tmp_path / "rows.npy", correlated_rows)
    run_in_fresh_process(
        "import sys, warnings, numpy as np\n"
        "warnings.simplefilter('ignore')\n"
        "import tensorflow as tf\n"
        "folder = sys.argv[1]\n"
        "served = tf.saved_model.load(folder + '/served')\n"
        "out = served.serve(np.load(folder + '/rows.npy')).numpy()\n"
        "np.save(folder + '/out.npy', out)\n"
        "assert 'skae' not in sys.modules\n",
        tmp_path,
        TF_CPP_MIN_LOG_LEVEL="3",
    )
    difference = np.load(tmp_path / "out.npy") - detector.reconstruct(correlated_rows)
    assert (np.abs(difference) < 1e-5 * np.ptp(correlated_rows, axis=0)).all()


@pytest.mark.parametrize(
    "parameter, value, meant",
    [
        ("activation", "ReLU", "relu"),
        ("activation", "leakyrelu", "leaky_relu"),
        ("output_activation", "Sigmoid", "sigmoid"),
        ("optimizer", "adamx", "adamax"),
        ("optimizer", "RMSpro", "rmsprop"),
        ("loss", "mse2", "mse"),
        ("loss", "mean_square_error", "mean_squared_error"),
        ("output_activation", "zzz", None),
        ("loss", "zzz", None),
    ],
)
def test_wrong_name_is_an_error_that_names_the_parameter_and_the_right_one(
    parameter, value, meant, make_detector, correlated_rows
):
    message = (
        f"The '{parameter}' parameter, if a string, must be a name that Keras knows. "
        f"Got {value!r} instead."
    )
    message += f" Did you mean {meant!r}?" if meant else ""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make_detector(**{parameter: value}).fit(correlated_rows)


def test_output_activation_is_named_beside_categories(make_detector, correlated_rows):
    X = correlated_rows.round()
    detector = make_detector(output_activation="Tanh", categorical_features=[0])
    with pytest.raises(ValueError, match=r"'output_activation' parameter.*'tanh'\?"):
        detector.fit(X)
