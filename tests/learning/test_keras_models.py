"""What users of Keras do with `model_`, `encoder_` and `decoder_`."""

import copy

import numpy as np
import pytest

from skae._scoring._forward import ACTIVATIONS

# The operations on the way of the rows that shap.DeepExplainer knows a rule for.
KNOWN_TO_DEEP_EXPLAINER = {
    "AddV2",
    "BiasAdd",
    "Cast",
    "ConcatV2",
    "Identity",
    "MatMul",
    "Mul",
    "RealDiv",
    "Relu",
    "StridedSlice",
    "Sub",
}


@pytest.fixture(scope="module", params=[1, 2], ids=["network", "ensemble"])
def detector(request, make_detector, correlated_rows):
    return make_detector(n_estimators=request.param).fit(correlated_rows)


@pytest.fixture(scope="module")
def stamped_rows():
    """200 rows of a clock that ticks in seconds and two columns that follow it."""
    rng = np.random.RandomState(0)
    seconds = rng.normal(size=(200, 1))
    followers = [1.0, -2.0] * seconds + 0.1 * rng.normal(size=(200, 2))
    return np.hstack([1.75e9 + seconds, followers])


def list_models(detector, X):
    """Each of the three models with its input and what the detector makes of that."""
    codes = detector.transform(X)
    return [
        (detector.model_, X, detector.reconstruct(X)),
        (detector.encoder_, X, codes),
        (detector.decoder_, codes, detector.inverse_transform(codes)),
    ]


def assert_close(actual, expected):
    spread = np.maximum(np.ptp(expected, axis=0), 1e-3 * np.ptp(expected))
    assert (np.abs(np.asarray(actual) - expected) <= 1e-5 * spread).all()


def compute_squared_error(targets, outputs):
    """Mean over the columns, as a loss of Keras."""
    import keras

    return keras.ops.mean(keras.ops.square(targets - outputs), axis=-1)


def find_operations_on_the_way(model):
    """Types of the operations between the input and the output of a traced model."""
    import tensorflow as tf

    (rows,) = model.inputs
    traced = tf.function(model).get_concrete_function(
        tf.TensorSpec(rows.shape, rows.dtype)
    )
    found, reached = set(), [traced.inputs[0]]
    for tensor in reached:
        for operation in tensor.consumers():
            found.add(operation.type)
            reached += [
                t for t in operation.outputs if all(t is not r for r in reached)
            ]
    return found


class TestScaling:
    def test_small_spread_on_a_large_offset_survives_call_file_clone_and_export(
        self, tmp_path, make_detector, stamped_rows
    ):
        import keras
        import tensorflow as tf

        detector = make_detector(epochs=20).fit(stamped_rows)
        model, expected = detector.model_, detector.reconstruct(stamped_rows)
        assert np.ptp(expected[:, 0]) > 1.0
        model.save(tmp_path / "model.keras")
        model.export(tmp_path / "served", verbose=False)
        clone = keras.models.clone_model(model)
        clone.set_weights(model.get_weights())
        served = tf.saved_model.load(tmp_path / "served")
        batches = tf.data.Dataset.from_tensor_slices(stamped_rows).batch(64)
        for outputs in (
            model(stamped_rows),
            model.predict(batches, verbose=0),
            clone(stamped_rows),
            keras.saving.load_model(tmp_path / "model.keras")(stamped_rows),
            served.serve(stamped_rows),
        ):
            np.testing.assert_allclose(outputs, expected, rtol=0, atol=2e-6)

    def test_spreads_may_be_as_small_and_as_large_as_float64_has_them(
        self, tmp_path, make_detector
    ):
        import keras

        units = [1e-300, 1e-9, 1.0, 1e300]
        X = np.random.RandomState(0).uniform(size=(100, 4)) * units
        detector = make_detector(scaling="minmax").fit(X)
        detector.model_.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        for model in (detector.model_, loaded):
            outputs = np.asarray(model(X))
            np.testing.assert_allclose(
                outputs / units, detector.reconstruct(X) / units, rtol=0, atol=1e-5
            )

    def test_arrays_are_made_float32_by_predict_and_datasets_are_not(
        self, detector, correlated_rows
    ):
        import tensorflow as tf

        for model, inputs, expected in list_models(detector, correlated_rows):
            batches = tf.data.Dataset.from_tensor_slices(inputs).batch(32)
            exact = model.predict(batches, verbose=0)
            assert_close(exact, expected)
            single = inputs.astype(np.float32)
            rounded = model.predict(inputs, verbose=0)
            np.testing.assert_array_equal(rounded, model.predict(single, verbose=0))
            assert_close(rounded, np.asarray(model(single)))

    def test_row_with_a_missing_cell_comes_out_missing(self, detector, correlated_rows):
        X = correlated_rows[:3].copy()
        X[1, 2] = np.nan
        for model in (detector.model_, detector.encoder_):
            is_missing = np.isnan(np.asarray(model(X)))
            assert is_missing[1].all() and not is_missing[[0, 2]].any()

    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
    def test_global_policy_changes_no_model(self, policy, detector, correlated_rows):
        import keras

        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            for any_detector in (detector, copy.deepcopy(detector)):
                for model, inputs, expected in list_models(
                    any_detector, correlated_rows
                ):
                    clone = keras.models.clone_model(model)
                    clone.set_weights(model.get_weights())
                    assert_close(model(inputs), expected)
                    assert_close(clone(inputs), expected)
        finally:
            keras.config.set_dtype_policy(before)


class TestTraining:
    def test_moves_the_network_and_neither_scaling_nor_scores(
        self, make_detector, correlated_rows
    ):
        import keras
        import tensorflow as tf

        scaled = correlated_rows / np.ptp(correlated_rows, axis=0)
        detector = make_detector(n_estimators=2).fit(scaled)
        scores, model = detector.score_samples(scaled), detector.model_
        model.trainable = False
        model.trainable = True  # as one unfreezes: all that can be trained is
        assert {weight.dtype for weight in model.weights} == {"float32"}
        assert len(model.weights) == 2 * 8  # kernels and biases, nothing else
        model.compile(keras.optimizers.Adam(0.01), loss=compute_squared_error)
        batches = tf.data.Dataset.from_tensor_slices((scaled, scaled)).batch(32)
        history = model.fit(batches, epochs=10, shuffle=False, verbose=0)
        losses = history.history["loss"]
        assert losses[-1] < 0.5 * losses[0]
        np.testing.assert_array_equal(detector.score_samples(scaled), scores)
        restored = copy.deepcopy(detector)
        np.testing.assert_array_equal(restored.score_samples(scaled), scores)
        assert_close(restored.model_(scaled), detector.reconstruct(scaled))

    def test_clone_starts_anew_with_the_same_scaling(self, detector, correlated_rows):
        import keras

        scale = np.ptp(correlated_rows, axis=0)
        clone = keras.models.clone_model(detector.model_)
        clone.compile(
            keras.optimizers.Adam(0.01),
            loss=lambda y, output: compute_squared_error(y / scale, output / scale),
        )
        history = clone.fit(
            correlated_rows, correlated_rows, epochs=10, verbose=0, shuffle=False
        )
        losses = history.history["loss"]
        assert losses[0] < 0.2  # in units of the range: the center is known
        assert losses[-1] < 0.3 * losses[0]

    def test_head_on_a_frozen_encoder_trains_alone(
        self, tmp_path, detector, correlated_rows
    ):
        import keras

        encoder = copy.deepcopy(detector).encoder_
        encoder.trainable = False
        before = encoder.get_weights()
        classifier = keras.Sequential(
            [encoder, keras.layers.Dense(1, "sigmoid", kernel_initializer="zeros")]
        )
        classifier.compile("adam", "binary_crossentropy")
        labels = (correlated_rows[:, 0] > 0).astype(float)
        history = classifier.fit(correlated_rows, labels, epochs=3, verbose=0)
        assert history.history["loss"][-1] < history.history["loss"][0]
        assert len(classifier.trainable_weights) == 2
        for weight, other in zip(encoder.get_weights(), before, strict=True):
            np.testing.assert_array_equal(weight, other)
        classifier.save(tmp_path / "classifier.keras")
        loaded = keras.saving.load_model(tmp_path / "classifier.keras")
        np.testing.assert_array_equal(
            loaded(correlated_rows), classifier(correlated_rows)
        )


class TestFiles:
    def test_all_three_models_are_saved_cloned_and_exported(
        self, tmp_path, detector, correlated_rows
    ):
        import keras
        import tensorflow as tf

        for model, inputs, expected in list_models(detector, correlated_rows):
            model.save(tmp_path / "model.keras")
            loaded = keras.saving.load_model(tmp_path / "model.keras")
            clone = keras.models.clone_model(model)
            clone.set_weights(model.get_weights())
            for other in (loaded, clone):
                np.testing.assert_array_equal(other(inputs), model(inputs))
            model.export(tmp_path / "served", verbose=False)
            served = tf.saved_model.load(tmp_path / "served")
            assert_close(served.serve(inputs), expected)

    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_built_in_activations_need_no_custom_objects(
        self, activation, tmp_path, make_detector, correlated_rows
    ):
        import keras

        sizes = 4 if activation == "exponential" else (8, 2)
        detector = make_detector(
            activation=activation, hidden_layer_sizes=sizes, epochs=1
        )
        model = detector.fit(correlated_rows).model_
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(loaded(correlated_rows), model(correlated_rows))


class TestGradients:
    def test_pass_the_scaling_in_the_units_of_the_rows(
        self, make_detector, stamped_rows
    ):
        """Of the first output, by its first column: the slope that NumPy measures."""
        import tensorflow as tf

        detector = make_detector(activation="tanh", epochs=20).fit(stamped_rows)
        row = tf.constant(stamped_rows[:1])
        with tf.GradientTape() as tape:
            tape.watch(row)
            output = detector.model_(row)[0, 0]
        step = np.array([[1e-3, 0.0, 0.0]])
        later, earlier = (
            detector.reconstruct(stamped_rows[:1] + sign * step)[0, 0]
            for sign in (1, -1)
        )
        slope = (later - earlier) / 2e-3
        assert abs(slope) > 0.01
        gradient = float(tape.gradient(output, row)[0, 0])
        assert gradient == pytest.approx(slope, rel=0.01)

    def test_deep_explainer_has_a_rule_for_every_operation(self, detector):
        for model in (detector.model_, detector.encoder_, detector.decoder_):
            found = find_operations_on_the_way(model)
            assert "MatMul" in found
            assert found <= KNOWN_TO_DEEP_EXPLAINER

    def test_shap_explains_every_output_of_every_model(
        self, tmp_path, detector, correlated_rows, run_in_fresh_process
    ):
        """Alone in a process: an explainer that fails leaves TensorFlow patched."""
        pytest.importorskip("shap")
        for name, (model, inputs, _) in zip(
            ("model", "encoder", "decoder"),
            list_models(detector, correlated_rows),
            strict=True,
        ):
            model.save(tmp_path / f"{name}.keras")
            np.save(tmp_path / f"{name}.npy", inputs)
        run_in_fresh_process(
            "import sys, warnings, numpy as np\n"
            "warnings.simplefilter('ignore')\n"
            "import keras, shap\n"
            "for name in ('model', 'encoder', 'decoder'):\n"
            "    model = keras.saving.load_model(f'{sys.argv[1]}/{name}.keras')\n"
            "    inputs = np.load(f'{sys.argv[1]}/{name}.npy')\n"
            "    background, rows = inputs[:100], inputs[100:103]\n"
            "    usual = np.mean(model(background), axis=0)\n"
            "    changes = np.asarray(model(rows)) - usual\n"
            "    spread = np.ptp(model(inputs), axis=0).max(initial=1e-9)\n"
            "    for explainer, parameters, tolerance in (\n"
            "        (shap.DeepExplainer, {}, 1e-5),\n"
            "        (shap.GradientExplainer, {'nsamples': 500, 'rseed': 0}, 0.1),\n"
            "    ):\n"
            "        explain = explainer(model, background).shap_values\n"
            "        shares = explain(rows, **parameters)\n"
            "        assert shares.shape == rows.shape + changes.shape[1:]\n"
            "        gaps = shares.sum(axis=1) - changes\n"
            "        assert (np.abs(gaps) <= tolerance * spread).all(), (name, gaps)\n",
            tmp_path,
            TF_CPP_MIN_LOG_LEVEL="3",
        )
