"""What a user sees of fitting, scoring and deciding."""

import ctypes
import pickle
import threading
import time
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.exceptions import (
    ConvergenceWarning,
    NotFittedError,
    UndefinedMetricWarning,
)
from sklearn.metrics import roc_auc_score

from skae import AutoencoderOutlierDetector


def test_decision_is_score_minus_offset_and_labels_are_its_sign(
    fitted, correlated_rows
):
    scores = fitted.score_samples(correlated_rows)
    decision = fitted.decision_function(correlated_rows)
    labels = fitted.predict(correlated_rows)
    np.testing.assert_array_equal(decision, scores - fitted.offset_)
    np.testing.assert_array_equal(labels, np.where(decision < 0, -1, 1))
    assert labels.dtype.kind == "i"
    assert set(labels) == {-1, 1}


def test_row_that_breaks_the_relation_between_columns_is_an_outlier(
    make_detector, correlated_rows
):
    detector = make_detector(epochs=200, learning_rate=0.01).fit(correlated_rows)
    odd = correlated_rows.mean(axis=0) + correlated_rows.std(axis=0) * [2, -2, 2, -2, 2]
    assert detector.predict([odd]) == [-1]
    assert detector.predict(correlated_rows).mean() > 0.8


@pytest.mark.parametrize("seed", range(5))
def test_malignant_rows_score_lower_than_benign_ones(seed):
    """Quality floor of the article's network and score, for seeds 0 to 4."""
    X, y = load_breast_cancer(return_X_y=True)
    benign, malignant = X[y == 1], X[y == 0]
    detector = AutoencoderOutlierDetector(
        (128, 64, 32),
        learning_rate=0.001,
        learning_rate_schedule="constant",
        masking=0.0,
        score_method="reconstruction",
        random_state=seed,
    ).fit(benign[:250])
    X_test = np.concatenate([benign[250:], malignant])
    is_benign = np.repeat([1, -1], [len(benign) - 250, len(malignant)])
    assert detector.score(X_test, is_benign) >= 0.85


def test_linear_network_comes_close_to_pca_and_does_not_beat_it(correlated_rows):
    """PCA is the best linear autoencoder (Baldi & Hornik, 1989)."""
    X = (correlated_rows - correlated_rows.mean(axis=0)) / correlated_rows.std(axis=0)
    detector = AutoencoderOutlierDetector(
        2,
        activation="linear",
        scaling=None,
        learning_rate=0.01,
        learning_rate_schedule="constant",
        epochs=1000,
        masking=0.0,
        random_state=0,
    ).fit(X)
    pca = PCA(n_components=2).fit(X)
    best = np.square(X - pca.inverse_transform(pca.transform(X))).mean()
    reached = np.square(X - detector.reconstruct(X)).mean()
    assert best <= reached <= 1.05 * best


@pytest.mark.parametrize("contamination", [0.01, 0.1, 0.25, 0.5])
def test_predict_flags_the_requested_share_of_training_rows(
    contamination, make_detector, correlated_rows
):
    detector = make_detector(contamination=contamination).fit(correlated_rows)
    assert (detector.predict(correlated_rows) == -1).mean() == contamination


def test_share_counts_the_rows_that_early_stopping_holds_back(
    make_detector, correlated_rows
):
    detector = make_detector(contamination=0.1, early_stopping=True, epochs=40, tol=1.0)
    labels = detector.fit_predict(correlated_rows)
    assert (labels == -1).mean() == 0.1


def test_changing_contamination_after_fit_moves_no_label(
    make_detector, correlated_rows
):
    detector = make_detector(contamination=0.1).fit(correlated_rows)
    before = detector.predict(correlated_rows)
    detector.set_params(contamination=0.4)
    np.testing.assert_array_equal(detector.predict(correlated_rows), before)


def test_refit_equals_a_fresh_fit(make_detector, correlated_rows):
    refitted = make_detector().fit(correlated_rows[:50, :3]).fit(correlated_rows)
    fresh = make_detector().fit(correlated_rows)
    np.testing.assert_array_equal(
        refitted.score_samples(correlated_rows), fresh.score_samples(correlated_rows)
    )
    assert refitted.loss_curve_ == fresh.loss_curve_


def test_units_of_the_columns_do_not_matter(make_detector, correlated_rows):
    """Powers of two change no digit, so the scores agree to the bit."""
    scaled = correlated_rows * [2.0**20, 2.0**-20, 1.0, 4.0, 0.5]
    np.testing.assert_array_equal(
        make_detector().fit(correlated_rows).score_samples(correlated_rows),
        make_detector().fit(scaled).score_samples(scaled),
    )


@pytest.mark.parametrize("scaling", ["standard", "minmax", "robust", None])
def test_every_scaling_reconstructs_in_the_units_of_the_rows(scaling, make_detector):
    X = np.random.RandomState(0).uniform(2.0, 4.0, size=(300, 1)) * [1.0, 1.5, -0.5]
    detector = make_detector(
        hidden_layer_sizes=(32, 4), scaling=scaling, epochs=300, learning_rate=0.01
    ).fit(X)
    residuals = np.abs(X - detector.reconstruct(X)).mean(axis=0)
    assert (residuals < 0.1 * X.std(axis=0)).all()


class TestTraining:
    def test_exactly_the_requested_epochs_are_made(
        self, make_detector, correlated_rows
    ):
        detector = make_detector(epochs=7).fit(correlated_rows)
        assert detector.n_iter_ == len(detector.loss_curve_) == 7
        assert detector.validation_loss_curve_ is None
        assert detector.loss_curve_[-1] < detector.loss_curve_[0]
        assert all(type(loss) is float for loss in detector.loss_curve_)

    @pytest.mark.parametrize(
        "n_samples, batch_size, epochs",
        # 100 updates, 225, 800, and one pass where that makes more.
        [(200, 20, 10), (10, 128, 100), (300, 100, 75), (2000, 100, 40), (2000, 2, 1)],
    )
    def test_auto_epochs_give_updates_that_grow_with_the_rows(
        self, n_samples, batch_size, epochs, make_detector
    ):
        X = np.random.RandomState(0).normal(size=(n_samples, 3))
        detector = make_detector(epochs="auto", batch_size=batch_size)
        assert detector.fit(X).n_iter_ == epochs

    def test_early_stopping_ends_training_and_keeps_the_best_weights(
        self, make_detector, correlated_rows
    ):
        detector = make_detector(
            early_stopping=True, epochs=500, learning_rate=0.05, n_iter_no_change=3
        ).fit(correlated_rows)
        curve = detector.validation_loss_curve_
        assert detector.n_iter_ == len(curve) == len(detector.loss_curve_) < 500
        # The three epochs after the last improvement did not improve on it.
        assert min(curve[-3:]) >= min(curve[:-3]) - detector.tol

    def test_epochs_that_run_out_before_early_stopping_are_a_warning(
        self, make_detector, correlated_rows
    ):
        with pytest.warns(ConvergenceWarning, match="within epochs=2.*Increase epochs"):
            make_detector(early_stopping=True, epochs=2).fit(correlated_rows)

    def test_held_out_rows_do_not_train_the_network(self, make_detector):
        """An early stopping that never bites trains on the other rows alone."""
        X = np.random.RandomState(0).normal(size=(100, 4))
        stopped = make_detector(
            early_stopping=True, validation_fraction=0.5, epochs=3, scaling=None
        )
        with pytest.warns(ConvergenceWarning):
            stopped.fit(X)
        assert (
            stopped.loss_curve_
            != make_detector(epochs=3, scaling=None).fit(X).loss_curve_
        )

    @pytest.mark.parametrize("learning_rate_schedule", ["constant", "cosine"])
    def test_optimizer_prototype_equals_its_name(
        self, learning_rate_schedule, make_detector, correlated_rows
    ):
        import keras

        named = make_detector(learning_rate=0.01).fit(correlated_rows)
        prototype = make_detector(
            optimizer=keras.optimizers.Adam(0.01),
            learning_rate=5.0,
            learning_rate_schedule=learning_rate_schedule,
        ).fit(correlated_rows)
        assert prototype.loss_curve_ == named.loss_curve_
        assert not prototype.optimizer.built

    def test_optimizer_prototype_may_bring_a_schedule(
        self, make_detector, correlated_rows
    ):
        import keras

        schedule = keras.optimizers.schedules.PiecewiseConstantDecay([6], [0.1, 0.0])
        detector = make_detector(optimizer=keras.optimizers.SGD(schedule), epochs=4)
        curve = detector.fit(correlated_rows).loss_curve_
        # One epoch has 7 updates; from then on the rate is zero.
        assert curve[0] > curve[1]
        np.testing.assert_allclose(curve[2:], curve[1], rtol=1e-6)

    def test_optimizer_of_the_users_own_class_trains(
        self, make_detector, correlated_rows
    ):
        import keras

        class HalfSpeed(keras.optimizers.SGD):
            def update_step(self, gradient, variable, learning_rate):
                super().update_step(gradient, variable, 0.5 * learning_rate)

        half = make_detector(optimizer=HalfSpeed(0.02)).fit(correlated_rows)
        full = make_detector(optimizer=keras.optimizers.SGD(0.01)).fit(correlated_rows)
        np.testing.assert_allclose(half.loss_curve_, full.loss_curve_, rtol=1e-5)

    @pytest.mark.parametrize("name", ["Lamb", "LossScaleOptimizer"])
    def test_every_optimizer_of_keras_trains(
        self, name, make_detector, correlated_rows
    ):
        import keras

        optimizer = getattr(keras.optimizers, name)
        if name == "LossScaleOptimizer":
            optimizer = optimizer(keras.optimizers.SGD(0.01))
        else:
            optimizer = optimizer(0.01)
        curve = make_detector(optimizer=optimizer).fit(correlated_rows).loss_curve_
        assert curve[-1] < curve[0]

    def test_optimizer_that_averages_its_steps_has_the_last_word(
        self, make_detector, correlated_rows
    ):
        import keras

        averaged = keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.9)
        scores = [
            make_detector(optimizer=optimizer)
            .fit(correlated_rows)
            .score_samples(correlated_rows)
            for optimizer in (averaged, keras.optimizers.SGD(0.05))
        ]
        assert not np.allclose(*scores)

    def test_function_that_changed_behind_its_name_is_compiled_anew(
        self, make_detector, correlated_rows
    ):
        weight = 1.0

        def weighted(rows, outputs):
            return weight * (rows - outputs) ** 2

        first = make_detector(loss=weighted).fit(correlated_rows).loss_curve_[0]
        weight = 100.0
        later = make_detector(loss=weighted).fit(correlated_rows).loss_curve_[0]
        np.testing.assert_allclose(later, 100 * first, rtol=0.1)

    def test_cosine_schedule_ends_in_smaller_steps(
        self, make_detector, correlated_rows
    ):
        curves = [
            make_detector(
                learning_rate_schedule=schedule, learning_rate=0.05, epochs=60
            )
            .fit(correlated_rows)
            .loss_curve_
            for schedule in ("constant", "cosine")
        ]
        constant, cosine = (np.abs(np.diff(curve[-10:])).mean() for curve in curves)
        assert cosine < constant / 2

    @pytest.mark.parametrize(
        "loss", ["mse", "mean_absolute_error", "huber", "Huber", "log_cosh"]
    )
    def test_losses_of_keras_go_by_their_names(
        self, loss, make_detector, correlated_rows
    ):
        curve = make_detector(loss=loss, epochs=20).fit(correlated_rows).loss_curve_
        assert curve[-1] < curve[0]

    def test_loss_may_be_a_function_or_a_loss_of_keras(
        self, make_detector, correlated_rows
    ):
        import keras

        curves = [
            make_detector(loss=loss).fit(correlated_rows).loss_curve_
            for loss in (
                "mean_squared_error",
                keras.losses.MeanSquaredError(),
                lambda rows, outputs: keras.ops.mean((rows - outputs) ** 2),
            )
        ]
        np.testing.assert_allclose(curves[1:], [curves[0]] * 2, rtol=1e-5)

    @pytest.mark.parametrize("hidden_layer_sizes", [(128, 64, 32), 8])
    def test_divergence_is_one_error_that_names_the_remedy(
        self, hidden_layer_sizes, correlated_rows
    ):
        detector = AutoencoderOutlierDetector(
            hidden_layer_sizes, learning_rate=1e6, random_state=0
        )
        with pytest.raises(
            ValueError, match="Training diverged.*[Ll]ower the learning"
        ):
            detector.fit(correlated_rows)

    @pytest.fixture
    def spoil(self):
        """Makes a callback that moves all outputs."""
        import keras

        class Spoil(keras.callbacks.Callback):
            def __init__(self, shift):
                super().__init__()
                self.shift = shift

            def on_epoch_end(self, epoch, logs=None):
                *others, bias = self.model.get_weights()
                self.model.set_weights([*others, bias + self.shift])

        return Spoil

    def test_network_that_errs_is_warned_of_and_one_far_off_is_refused(
        self, spoil, make_detector, correlated_rows
    ):
        detector = make_detector(epochs=1)
        detector.fit(correlated_rows, callbacks=[spoil(1.0)])
        with pytest.warns(ConvergenceWarning, match="Training diverged") as seen:
            detector.fit(correlated_rows, callbacks=[spoil(30.0)])
        assert seen[0].filename == __file__
        with pytest.raises(ValueError, match="Training diverged"):
            detector.fit(correlated_rows, callbacks=[spoil(1000.0)])

    def test_large_offset_under_no_scaling_is_not_divergence(self, make_detector):
        X = 1e4 + np.random.RandomState(0).normal(size=(50, 3))
        scores = make_detector(scaling=None, epochs=1).fit(X).score_samples(X)
        assert np.isfinite(scores).all()


class TestInput:
    @pytest.mark.parametrize("n_samples", [1, 2, 31, 33, 300])
    def test_any_number_of_rows_fits(self, n_samples, make_detector):
        X = np.random.RandomState(0).normal(size=(n_samples, 3))
        scores = make_detector().fit(X).score_samples(X)
        assert scores.shape == (n_samples,)
        assert np.isfinite(scores).all()

    @pytest.mark.parametrize("n_features", [1, 2000])
    def test_one_column_and_many_columns_fit(self, n_features, make_detector):
        X = np.random.RandomState(0).normal(size=(40, n_features))
        detector = make_detector(contamination=0.1).fit(X)
        assert (detector.predict(X) == -1).sum() == 4

    @pytest.mark.parametrize("scaling", ["standard", "minmax", "robust", None])
    def test_constant_columns_fit(self, scaling, make_detector):
        X = np.random.RandomState(0).normal(size=(40, 3))
        X[:, 1] = 0.1
        X[:, 2] = 0.0
        detector = make_detector(scaling=scaling).fit(X)
        assert np.isfinite(detector.score_samples(X)).all()
        assert np.isfinite(detector.reconstruct(X)).all()
        if scaling:  # what the training never varied is odd when it varies
            odd = X[:1] + [0.0, 5.0, 0.0]
            assert detector.score_samples(odd) < detector.score_samples(X[:1])

    def test_all_columns_constant_scores_every_row_alike(self, make_detector):
        scores = make_detector().fit(np.ones((20, 3))).score_samples(np.ones((5, 3)))
        np.testing.assert_array_equal(scores, scores[0])

    def test_robust_scaling_of_a_mostly_constant_column_falls_back_on_its_spread(
        self, make_detector
    ):
        X = np.random.RandomState(0).normal(size=(100, 2))
        X[:, 1] = 0.0
        X[:5, 1] = 1e6
        loss_curve = make_detector(scaling="robust").fit(X).loss_curve_
        assert loss_curve[0] < 10

    @pytest.mark.parametrize(
        "convert",
        [
            lambda X: X.astype(np.float16),
            lambda X: X.astype(np.float32),
            lambda X: X.astype(np.int8),
            lambda X: X.astype(np.uint64),
            lambda X: X.astype(object),
            lambda X: X.tolist(),
            np.asfortranarray,
            lambda X: np.repeat(X, 2, axis=1)[:, ::2],
            lambda X: pd.DataFrame(X),
            lambda X: pl.DataFrame(X),
        ],
        ids=(
            "float16 float32 int8 uint64 object lists fortran strided pandas polars"
        ).split(),
    )
    def test_form_of_the_numbers_does_not_matter(self, convert, make_detector):
        X = np.random.RandomState(0).randint(0, 100, size=(60, 4)).astype(np.float64)
        expected = make_detector().fit(X).score_samples(X)
        converted = convert(X)
        scores = make_detector().fit(converted).score_samples(converted)
        np.testing.assert_array_equal(scores, expected)
        assert scores.dtype == np.float64

    def test_booleans_are_zeros_and_ones(self, make_detector):
        X = np.random.RandomState(0).rand(50, 4) > 0.5
        np.testing.assert_array_equal(
            make_detector().fit(X).score_samples(X),
            make_detector().fit(X.astype(float)).score_samples(X.astype(float)),
        )

    def test_read_only_memory_map_fits_and_stays_as_it_is(
        self, tmp_path, make_detector, correlated_rows
    ):
        np.save(tmp_path / "rows.npy", correlated_rows)
        mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
        np.testing.assert_array_equal(
            make_detector().fit(mapped).score_samples(mapped),
            make_detector().fit(correlated_rows).score_samples(correlated_rows),
        )

    @pytest.mark.parametrize(
        "parameters, message",
        [
            ({"hidden_layer_sizes": ()}, r"hidden_layer_sizes must be .* Got \(\)"),
            ({"hidden_layer_sizes": (8, 0)}, r"hidden_layer_sizes .* Got \(8, 0\)"),
            (
                {"hidden_layer_sizes": (8, 2.5)},
                r"hidden_layer_sizes .* Got \(8, 2.5\)",
            ),
            ({"hidden_layer_sizes": ((8, 2),)}, "hidden_layer_sizes must be"),
            (
                {"activation": "rleu"},
                "'activation' parameter, if .* Got 'rleu' instead. Did you mean 'relu'",
            ),
            ({"output_activation": "rleu"}, "'output_activation' .* Got 'rleu'"),
            ({"activation": "glu"}, "must map an array to one of the same shape"),
            ({"activation": lambda x: np.maximum(x, 0)}, "one tensor that .* trace"),
            (
                {"optimizer": "adma"},
                "'optimizer' parameter, if a string, .* Got 'adma'",
            ),
            ({"loss": "msee"}, "'loss' parameter, if a string, .* Got 'msee'"),
            ({"scaling": "max"}, "'scaling' parameter of .* Got 'max'"),
            ({"epochs": 0}, "'epochs' parameter of .* Got 0"),
            ({"contamination": 0.6}, "'contamination' parameter of .* Got 0.6"),
            ({"learning_rate": 0.0}, "'learning_rate' parameter of .* Got 0.0"),
        ],
    )
    def test_invalid_parameter_is_named_with_what_was_received(
        self, parameters, message, make_detector, correlated_rows
    ):
        with pytest.raises(ValueError, match=message):
            make_detector(**parameters).fit(correlated_rows)

    @pytest.mark.parametrize(
        "X, message",
        [
            (np.full((5, 2), np.nan), "contains NaN"),
            (np.full((5, 2), np.inf), "contains infinity"),
            (np.zeros((0, 3)), "0 sample"),
            (np.zeros((3, 0)), "0 feature"),
            (np.zeros(3), "Expected 2D array"),
            ([["a"]], "column 0 holds text"),
        ],
    )
    def test_rows_that_scikit_learn_would_refuse_are_refused(
        self, X, message, make_detector
    ):
        with pytest.raises(ValueError, match=message):
            make_detector().fit(X)

    def test_spread_that_overflows_is_an_error_that_names_the_column(
        self, make_detector
    ):
        X = np.random.RandomState(0).normal(size=(20, 3)) * [1.0, 1e200, 1.0]
        with pytest.raises(ValueError, match=r"overflows in column\(s\) \[1\]"):
            make_detector().fit(X)

    @pytest.mark.parametrize("scaling", ["standard", "minmax", "robust"])
    @pytest.mark.parametrize("size", [1e155, 1e160, 1e165])
    def test_huge_numbers_fit_or_are_refused(self, size, scaling, make_detector):
        X = np.random.RandomState(0).normal(size=(20, 3)) * size
        if scaling == "standard":
            with pytest.raises(ValueError, match="overflows in column"):
                make_detector(scaling=scaling).fit(X)
        else:
            assert np.isfinite(make_detector(scaling=scaling).fit(X).offset_)

    @pytest.mark.parametrize("scaling", ["standard", "minmax", "robust"])
    def test_subnormal_spread_counts_as_none(self, scaling, make_detector):
        X = np.random.RandomState(0).normal(size=(20, 3)) * 1e-310
        scores = make_detector(scaling=scaling).fit(X).score_samples(X)
        assert np.isfinite(scores).all()

    @pytest.mark.parametrize("activation", ["relu", "exponential"])
    def test_row_whose_error_overflows_is_the_least_normal(
        self, activation, make_detector, correlated_rows
    ):
        detector = make_detector(hidden_layer_sizes=4, activation=activation)
        detector.fit(correlated_rows * 1e-3)
        far = np.full((1, 5), 1e308)
        assert detector.score_samples(far) == np.finfo(np.float64).min
        assert detector.predict(far) == -1

    def test_too_few_rows_for_early_stopping_is_an_error(self, make_detector):
        with pytest.raises(ValueError, match="early_stopping=True .* n_samples=1 "):
            make_detector(early_stopping=True).fit([[1.0, 2.0]])

    def test_too_few_distinct_rows_are_told_from_too_few_rows(self, make_detector):
        message = r"n_samples=100 row\(s\), 1 are distinct.*holds 1 back"
        with pytest.raises(ValueError, match=message):
            make_detector(early_stopping=True).fit(np.ones((100, 2)))
        message = r"n_samples=4 row\(s\), 1 are distinct"
        with pytest.raises(ValueError, match=message):
            make_detector(early_stopping=True).fit(
                np.ones((4, 2)), sample_weight=[0.25] * 4
            )

    def test_targets_out_of_reach_of_the_output_are_a_warning(
        self, make_detector, correlated_rows
    ):
        with pytest.warns(UserWarning, match="'sigmoid' stays within.*'standard'"):
            make_detector(output_activation="sigmoid").fit(correlated_rows)

    def test_targets_within_reach_of_the_output_draw_no_warning(
        self, make_detector, correlated_rows
    ):
        make_detector(output_activation="sigmoid", scaling="minmax").fit(
            correlated_rows
        )
        unit = np.random.RandomState(0).rand(50, 3)
        make_detector(output_activation="sigmoid", scaling=None).fit(unit)

    def test_other_columns_at_predict_are_refused(self, fitted, correlated_rows):
        with pytest.raises(ValueError, match="expecting 5 features"):
            fitted.predict(correlated_rows[:, :4])

    def test_names_of_columns_are_remembered_and_checked(self, make_detector):
        X = pd.DataFrame(np.eye(4), columns=list("abcd"))
        detector = make_detector().fit(X)
        assert list(detector.feature_names_in_) == list("abcd")
        with pytest.raises(ValueError, match="feature names"):
            detector.predict(X[["b", "a", "c", "d"]])

    def test_methods_before_fit_say_so(self, make_detector, correlated_rows):
        detector = make_detector()
        for method in (
            "score_samples decision_function predict score transform reconstruct "
            "inverse_transform"
        ).split():
            with pytest.raises(NotFittedError):
                getattr(detector, method)(correlated_rows)
        for model in ("model_", "encoder_", "decoder_"):
            assert not hasattr(detector, model)

    def test_input_is_never_written_to(self, make_detector, correlated_rows):
        X = correlated_rows.copy()
        detector = make_detector().fit(X)
        for method in (detector.predict, detector.transform, detector.reconstruct):
            method(X)
        detector.score(X)
        np.testing.assert_array_equal(X, correlated_rows)


class TestFailedFit:
    @pytest.mark.parametrize("parameters", [{"learning_rate": 1e6}, {"epochs": 0}])
    def test_leaves_a_fitted_detector_as_it_was(
        self, parameters, make_detector, correlated_rows
    ):
        detector = make_detector().fit(correlated_rows)
        model, before = detector.model_, detector.score_samples(correlated_rows)
        detector.set_params(**parameters)
        with pytest.raises(ValueError):
            detector.fit(correlated_rows[:, :3])
        np.testing.assert_array_equal(detector.score_samples(correlated_rows), before)
        assert detector.n_features_in_ == 5
        assert detector.model_ is model

    def test_interrupt_is_raised_and_leaves_a_fitted_detector_as_it_was(
        self, make_detector, correlated_rows
    ):
        import keras

        class Interrupt(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                raise KeyboardInterrupt

        detector = make_detector().fit(correlated_rows)
        before = detector.score_samples(correlated_rows)
        with pytest.raises(KeyboardInterrupt):
            detector.fit(correlated_rows[:, :3], callbacks=[Interrupt()])
        np.testing.assert_array_equal(detector.score_samples(correlated_rows), before)

    def test_signal_of_ctrl_c_ends_the_training(
        self, tmp_path, correlated_rows, run_in_fresh_process
    ):
        """A fit of a million epochs ends, and what was fitted before scores on."""
        np.save(tmp_path / "rows.npy", correlated_rows)
        out, _ = run_in_fresh_process(
            "import os, signal, sys, threading, numpy as np\n"
            "from skae import AutoencoderOutlierDetector\n"
            "X = np.load(sys.argv[1])\n"
            "detector = AutoencoderOutlierDetector((8, 2), epochs=5, random_state=0)\n"
            "before = detector.fit(X).score_samples(X)\n"
            # Python loses one that arrives in a destructor, and TensorFlow has some.
            "has_ended = threading.Event()\n"
            "def press():\n"
            "    while not has_ended.wait(1):\n"
            "        os.kill(os.getpid(), signal.SIGINT)\n"
            "threading.Thread(target=press, daemon=True).start()\n"
            "try:\n"
            "    detector.set_params(epochs=10**6).fit(X[:, :4])\n"
            "except KeyboardInterrupt:\n"
            "    has_ended.set()\n"
            "    print('interrupted')\n"
            "np.testing.assert_array_equal(detector.score_samples(X), before)\n"
            "detector.set_params(epochs=5).fit(X)\n"
            "np.testing.assert_array_equal(detector.score_samples(X), before)\n",
            tmp_path / "rows.npy",
        )
        assert out == "interrupted\n"

    def test_fit_in_a_thread_can_be_interrupted(self, make_detector, correlated_rows):
        """By an exception set for its thread, as services do; without callbacks."""
        detector = make_detector().fit(correlated_rows)
        before = pickle.dumps(detector)
        caught = []

        def work():
            try:
                detector.set_params(epochs=10**7).fit(correlated_rows)
            except KeyboardInterrupt as interrupt:
                caught.append(interrupt)

        thread = threading.Thread(target=work)
        thread.start()
        while detector.epochs != 10**7:
            time.sleep(0.01)
        time.sleep(0.5)
        interrupt = ctypes.py_object(KeyboardInterrupt)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), interrupt
        )
        thread.join(60)
        assert not thread.is_alive() and len(caught) == 1
        assert pickle.dumps(detector.set_params(epochs=5)) == before

    def test_callback_ends_a_fit_in_a_thread(self, make_detector, correlated_rows):
        import keras

        is_asked_to_end, has_begun = threading.Event(), threading.Event()

        class End(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                has_begun.set()
                self.model.stop_training = is_asked_to_end.is_set()

        detector = make_detector(epochs=10**7)
        arguments = {"callbacks": [End()]}
        thread = threading.Thread(
            target=detector.fit, args=(correlated_rows,), kwargs=arguments
        )
        thread.start()
        assert has_begun.wait(60)
        is_asked_to_end.set()
        thread.join(60)
        assert not thread.is_alive()
        assert 1 <= detector.n_iter_ < 10**7

    def test_leaves_an_unfitted_detector_unfitted(self, make_detector, correlated_rows):
        detector = make_detector(learning_rate=1e6, hidden_layer_sizes=(64, 64, 64))
        before = vars(detector).copy()
        with pytest.raises(ValueError, match="diverged"):
            detector.fit(correlated_rows)
        assert vars(detector) == before


class TestCallbacks:
    def test_see_the_live_model_and_true_logs(self, make_detector, correlated_rows):
        import keras

        class Record(keras.callbacks.Callback):
            def __init__(self):
                super().__init__()
                self.losses, self.weights = [], []

            def on_train_begin(self, logs=None):
                self.n_epochs = self.params["epochs"]

            def on_epoch_end(self, epoch, logs=None):
                self.losses.append(logs["loss"])
                self.weights.append(self.model.get_weights()[0])

        record = Record()
        detector = make_detector(epochs=4).fit(correlated_rows, callbacks=[record])
        assert record.n_epochs == 4
        assert record.losses == detector.loss_curve_
        assert not np.array_equal(record.weights[0], record.weights[1])
        # The model keeps the weights of its own fit after a later one.
        make_detector(epochs=1).fit(correlated_rows)
        np.testing.assert_array_equal(record.model.get_weights()[0], record.weights[-1])

    def test_do_not_change_what_is_learnt(self, make_detector, correlated_rows):
        import keras

        watched = make_detector().fit(
            correlated_rows, callbacks=[keras.callbacks.Callback()]
        )
        assert watched.loss_curve_ == make_detector().fit(correlated_rows).loss_curve_

    def test_can_stop_the_training(self, make_detector, correlated_rows):
        import keras

        class StopAfterTwo(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                self.model.stop_training = epoch == 1

        detector = make_detector(epochs=50)
        assert detector.fit(correlated_rows, callbacks=[StopAfterTwo()]).n_iter_ == 2

    def test_can_set_the_learning_rate(self, make_detector, correlated_rows):
        import keras

        freeze = keras.callbacks.LearningRateScheduler(
            lambda epoch, rate: rate if epoch == 0 else 0.0
        )
        detector = make_detector(learning_rate_schedule="cosine", epochs=3)
        curve = detector.fit(correlated_rows, callbacks=[freeze]).loss_curve_
        assert curve[0] > curve[1]
        np.testing.assert_allclose(curve[2], curve[1], rtol=1e-6)

    def test_of_lambda_kind_are_called_around_each_update(
        self, make_detector, correlated_rows
    ):
        import keras

        seen = []
        callback = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: seen.append(batch)
        )
        make_detector(epochs=1).fit(correlated_rows, callbacks=[callback])
        assert seen == list(range(7))

    def test_that_are_no_list_are_refused(self, make_detector, correlated_rows):
        import keras

        with pytest.raises(TypeError, match="callbacks must be a list"):
            make_detector().fit(correlated_rows, callbacks=keras.callbacks.Callback())

    def test_that_are_none_of_keras_are_refused(self, make_detector, correlated_rows):
        with pytest.raises(TypeError, match="callbacks must be .* instance of 'dict'"):
            make_detector().fit(correlated_rows, callbacks=[{}])

    def test_that_watch_updates_are_called_around_each_one(
        self, make_detector, correlated_rows
    ):
        import keras

        class Count(keras.callbacks.Callback):
            def __init__(self):
                super().__init__()
                self.losses = []

            def on_train_batch_end(self, batch, logs=None):
                self.losses.append(logs["loss"])

        count = Count()
        detector = make_detector(epochs=2).fit(correlated_rows, callbacks=[count])
        assert len(count.losses) == 2 * 7  # 200 rows in batches of 32
        assert (
            detector.loss_curve_
            == make_detector(epochs=2).fit(correlated_rows).loss_curve_
        )


class TestCallbacksOfKeras:
    """Each of them in a fit, and what it leaves behind."""

    def test_early_stopping_has_the_last_word_on_the_weights(
        self, make_detector, correlated_rows
    ):
        import keras

        stop = keras.callbacks.EarlyStopping(
            monitor="loss",
            mode="max",  # the loss falls: the first epoch counts as the best
            patience=3,
            restore_best_weights=True,
        )
        detector = make_detector(epochs=50).fit(correlated_rows, callbacks=[stop])
        assert detector.n_iter_ == 4
        first = make_detector(epochs=1).fit(correlated_rows)
        np.testing.assert_array_equal(
            detector.score_samples(correlated_rows),
            first.score_samples(correlated_rows),
        )

    def test_early_stopping_may_watch_the_held_out_rows(
        self, make_detector, correlated_rows
    ):
        import keras

        stop = keras.callbacks.EarlyStopping(monitor="val_loss", mode="max", patience=2)
        detector = make_detector(epochs=50, early_stopping=True)
        detector.fit(correlated_rows, callbacks=[stop])
        assert detector.n_iter_ == len(detector.validation_loss_curve_) == 3

    def test_model_checkpoint_saves_the_network_of_each_epoch(
        self, tmp_path, make_detector, correlated_rows
    ):
        import keras

        checkpoint = keras.callbacks.ModelCheckpoint(
            tmp_path / "{epoch}-{loss:.6f}.keras", monitor="loss"
        )
        X = correlated_rows / correlated_rows.std(axis=0)
        detector = make_detector(epochs=3, scaling=None)
        detector.fit(X, callbacks=[checkpoint])
        names = [f"{i}-{loss:.6f}" for i, loss in enumerate(detector.loss_curve_, 1)]
        assert sorted(path.stem for path in tmp_path.iterdir()) == names
        for name, is_last in zip(names, (False, False, True), strict=True):
            saved = keras.saving.load_model(tmp_path / f"{name}.keras")
            gap = np.abs(np.asarray(saved(X)) - detector.reconstruct(X))
            assert (gap.max() < 1e-5) == is_last

    def test_csv_logger_writes_the_loss_curves(
        self, tmp_path, make_detector, correlated_rows
    ):
        import keras

        detector = make_detector(epochs=4, early_stopping=True, n_iter_no_change=1)
        log = keras.callbacks.CSVLogger(tmp_path / "log.csv")
        detector.set_params(tol=1e9).fit(correlated_rows, callbacks=[log])
        table = np.genfromtxt(tmp_path / "log.csv", delimiter=",", names=True)
        assert table["epoch"].tolist() == [0, 1]
        assert table["loss"].tolist() == detector.loss_curve_
        assert table["val_loss"].tolist() == detector.validation_loss_curve_

    def test_event_file_of_tensorboard_holds_the_loss_curve(
        self, tmp_path, make_detector, correlated_rows
    ):
        import keras
        from tensorboard.backend.event_processing import event_accumulator
        from tensorboard.util.tensor_util import make_ndarray

        board = keras.callbacks.TensorBoard(tmp_path, histogram_freq=1)
        detector = make_detector(epochs=3).fit(correlated_rows, callbacks=[board])
        events = event_accumulator.EventAccumulator(str(tmp_path / "train")).Reload()
        losses = events.Tensors("epoch_loss")
        assert [event.step for event in losses] == [0, 1, 2]
        np.testing.assert_allclose(
            [float(make_ndarray(event.tensor_proto)) for event in losses],
            detector.loss_curve_,
            rtol=1e-6,
        )
        histograms = [tag for tag in events.Tags()["tensors"] if "histogram" in tag]
        # Kernel and bias, with the names of the four layers or, of an older Keras, not.
        assert len(histograms) in (2, 8)

    def test_reduce_lr_on_plateau_slows_the_training(
        self, make_detector, correlated_rows
    ):
        import keras

        class RecordRate(keras.callbacks.Callback):
            rates: list

            def on_train_begin(self, logs=None):
                self.rates = []

            def on_epoch_begin(self, epoch, logs=None):
                rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
                self.rates.append(float(rate))

        record = RecordRate()
        plateau = keras.callbacks.ReduceLROnPlateau(
            monitor="loss", factor=1e-6, patience=1, min_delta=1e9
        )
        detector = make_detector(epochs=4, learning_rate=0.01)
        curve = detector.fit(correlated_rows, callbacks=[plateau, record]).loss_curve_
        np.testing.assert_allclose(record.rates[:3], [0.01, 0.01, 1e-8], rtol=1e-5)
        assert curve[0] > curve[1]
        np.testing.assert_allclose(curve[2], curve[3], rtol=1e-5)


class TestScore:
    def test_with_labels_is_the_area_under_the_roc_curve(self, fitted, correlated_rows):
        y = np.where(np.arange(200) % 10 == 0, -1, 1)
        expected = roc_auc_score(y, fitted.score_samples(correlated_rows))
        assert fitted.score(correlated_rows, y) == expected

    def test_every_label_but_minus_one_is_an_inlier(self, fitted, correlated_rows):
        y = np.arange(200) % 4
        y[y == 3] = -1
        assert fitted.score(correlated_rows, y) == fitted.score(
            correlated_rows, np.where(y == -1, -1, 1)
        )

    @pytest.mark.parametrize(
        "labels, found",
        [
            ([1], r"only \[1\], of which none is -1."),
            ([-1], r"only \[-1\].$"),
            ([1, 0], r"only \[0, 1\], of which none is -1. If 1.*np.where\(y == 1"),
            (["bad", "good"], r"only \['bad', 'good'\], of which none is -1."),
            (list(range(1, 9)), r"only \[1, 2, 3, 4, 5, ...\], of which none is -1."),
        ],
    )
    def test_one_kind_of_label_is_nan_and_a_warning_that_quotes_the_labels(
        self, labels, found, fitted, correlated_rows
    ):
        y = np.resize(labels, 200)
        with pytest.warns(UndefinedMetricWarning, match=f"label -1.*{found}") as seen:
            assert np.isnan(fitted.score(correlated_rows, y))
        assert seen[0].filename == __file__

    @pytest.mark.parametrize(
        "make_labels",
        [
            lambda y: np.where(np.arange(200) == 7, np.nan, y),
            lambda y: [None, *y[1:]],
            lambda y: pd.Series(y, dtype="Int64").where(y > 0),
            lambda y: pd.Series([pd.NA, *y[1:]], dtype=object),
            lambda y: pd.Series([np.nan, *y[1:].astype(str)]),
            lambda y: pd.array([pd.NA, *y[1:].astype(str)], dtype="string"),
            lambda y: pl.Series([None, *y[1:].tolist()]),
            lambda y: np.ma.masked_equal(y, -1),
            lambda y: [Decimal("sNaN"), *y[1:].tolist()],
        ],
        ids=(
            "float list nullable object text nullable-text polars masked signaling"
        ).split(),
    )
    def test_missing_labels_are_refused(self, make_labels, fitted, correlated_rows):
        y = make_labels(np.where(np.arange(200) % 10 == 0, -1, 1))
        message = r"y must have a label for each row.* of 200 are missing \(NaN, None"
        with pytest.raises(ValueError, match=message):
            fitted.score(correlated_rows, y)

    def test_labels_of_another_length_are_refused(self, fitted, correlated_rows):
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            fitted.score(correlated_rows, [1, -1])

    def test_without_labels_rewards_the_network_that_learnt_the_relations(
        self, make_detector, correlated_rows
    ):
        trained = make_detector(epochs=300, learning_rate=0.01).fit(correlated_rows)
        untrained = make_detector(epochs=1, learning_rate=1e-9).fit(correlated_rows)
        assert trained.score(correlated_rows) > untrained.score(correlated_rows) + 0.1

    def test_without_labels_is_the_same_in_every_call(self, fitted, correlated_rows):
        assert fitted.score(correlated_rows) == fitted.score(correlated_rows)

    def test_of_one_column_without_labels_is_nan_and_a_warning(self, make_detector):
        X = np.arange(10.0).reshape(-1, 1)
        detector = make_detector().fit(X)
        with pytest.warns(UndefinedMetricWarning, match=r"\(10, 1\). Pass labels"):
            assert np.isnan(detector.score(X))

    def test_of_equal_rows_without_labels_is_nan_and_a_warning(
        self, fitted, correlated_rows
    ):
        X = np.repeat(correlated_rows[:1], 3, axis=0)
        with pytest.warns(UndefinedMetricWarning, match=r"different rows.*\(1, 5\)"):
            assert np.isnan(fitted.score(X))

    def test_leaves_rows_without_an_observed_cell_out_if_there_are_no_labels(
        self, fitted, correlated_rows
    ):
        holed = np.insert(correlated_rows, [0, 100], np.nan, axis=0)
        with pytest.warns(UserWarning, match=r"2 row\(s\).*left out") as seen:
            assert fitted.score(holed) == fitted.score(correlated_rows)
        assert seen[0].filename == __file__
        y = np.where(np.arange(202) % 10 == 3, -1, 1)
        with pytest.warns(UserWarning, match=r"2 row\(s\).*scored 0") as seen:
            fitted.score(holed, y)
        assert seen[0].filename == __file__


class TestCodes:
    def test_decoded_code_is_the_reconstruction(self, fitted, correlated_rows):
        codes = fitted.transform(correlated_rows)
        assert codes.shape == (200, 2)
        np.testing.assert_array_equal(
            fitted.inverse_transform(codes), fitted.reconstruct(correlated_rows)
        )

    def test_names_of_the_code_columns_follow_scikit_learn(self, fitted):
        assert list(fitted.get_feature_names_out()) == [
            "autoencoderoutlierdetector0",
            "autoencoderoutlierdetector1",
        ]

    def test_codes_come_as_the_frame_that_set_output_asks_for(
        self, fitted, correlated_rows
    ):
        framed = clone(fitted).set_output(transform="polars").fit(correlated_rows)
        assert isinstance(framed.transform(correlated_rows), pl.DataFrame)

    def test_code_of_another_width_is_refused(self, fitted):
        with pytest.raises(ValueError, match="X has 3 columns, but the code .* has 2"):
            fitted.inverse_transform(np.zeros((4, 3)))

    def test_code_of_a_linear_relation_orders_the_rows_along_it(self, make_detector):
        t = np.linspace(-1.0, 1.0, 100)
        X = t[:, None] * [1.0, 2.0, -3.0]
        detector = make_detector(
            hidden_layer_sizes=1, activation="linear", epochs=100, learning_rate=0.05
        )
        codes = detector.fit_transform(X)
        assert abs(spearmanr(codes[:, 0], t).statistic) > 0.999
