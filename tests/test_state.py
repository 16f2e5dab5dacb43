"""What a fitted detector holds, and what surrounds it that it must not touch."""

import copy
import pickle
import random
import sys
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skae
from skae import AutoencoderOutlierDetector


@pytest.mark.parametrize(
    "copy_of",
    [
        copy.deepcopy,
        lambda detector: pickle.loads(pickle.dumps(detector)),
        lambda detector: clone(detector).fit(np.load(detector.path_)),
    ],
    ids=["deepcopy", "pickle", "clone and fit"],
)
def test_copies_score_equal_to_the_bit(
    copy_of, tmp_path, make_detector, correlated_rows
):
    detector = make_detector().fit(correlated_rows)
    detector.path_ = tmp_path / "rows.npy"
    np.save(detector.path_, correlated_rows)
    assert detector.model_ is not None  # a model once built does not get in the way
    np.testing.assert_array_equal(
        copy_of(detector).score_samples(correlated_rows),
        detector.score_samples(correlated_rows),
    )


def test_pickling_leaves_the_detector_as_it_was(make_detector, correlated_rows):
    detector = make_detector().fit(correlated_rows)
    expected = detector.score_samples(correlated_rows)
    first, second = pickle.dumps(detector), pickle.dumps(detector)
    assert first == second
    np.testing.assert_array_equal(detector.score_samples(correlated_rows), expected)


@pytest.mark.parametrize("is_in_pipeline", [False, True])
@pytest.mark.parametrize("kind", ["array", "frame"])
def test_skops_loads_to_the_bit_what_joblib_does_and_asks_about_one_type(
    kind, is_in_pipeline, tmp_path, make_detector, correlated_rows
):
    X = correlated_rows
    if kind == "frame":
        X = pd.DataFrame(X, columns=list("abcde"))
    estimator = make_detector(early_stopping=True, epochs=300, tol=1.0)
    if is_in_pipeline:
        estimator = make_pipeline(StandardScaler(), estimator)
    estimator.fit(X)
    skops.io.dump(estimator, tmp_path / "estimator.skops")
    asked = skops.io.get_untrusted_types(file=tmp_path / "estimator.skops")
    assert asked == ["skae._detector.AutoencoderOutlierDetector"]
    joblib.dump(estimator, tmp_path / "estimator.joblib")
    for restored in (
        skops.io.load(tmp_path / "estimator.skops", trusted=asked),
        joblib.load(tmp_path / "estimator.joblib"),
    ):
        np.testing.assert_array_equal(
            restored.score_samples(X), estimator.score_samples(X)
        )
        assert repr(restored) == repr(estimator)
        np.testing.assert_array_equal(
            restored.fit(X).score_samples(X), estimator.score_samples(X)
        )


def test_unfitted_detector_survives_a_pickle(make_detector):
    detector = make_detector(contamination=0.2)
    restored = pickle.loads(pickle.dumps(detector))
    assert restored.get_params() == detector.get_params()


@pytest.mark.parametrize("make_optimizer", [lambda k: None, lambda k: k.SGD])
def test_optimizer_that_fit_will_refuse_survives_a_pickle(
    make_optimizer, make_detector, correlated_rows
):
    """Not even an instance of one, but the class."""
    import keras

    optimizer = make_optimizer(keras.optimizers)
    restored = pickle.loads(pickle.dumps(make_detector(optimizer=optimizer)))
    assert restored.optimizer is optimizer
    with pytest.raises(ValueError, match="optimizer.* must be .*Got"):
        restored.fit(correlated_rows)


def test_state_is_the_weights_and_a_little(make_detector, correlated_rows):
    X = np.random.RandomState(0).normal(size=(50, 100))
    detector = make_detector(hidden_layer_sizes=(200, 50), epochs=1).fit(X)
    n_weights = 100 * 200 + 200 * 50 + 50 * 200 + 200 * 100 + 200 + 50 + 200 + 100
    assert len(pickle.dumps(detector)) < 4 * n_weights + 2 * 8 * 100 + 5000


def test_skops_asks_about_an_optimizer_prototype_too(make_detector, correlated_rows):
    import keras

    detector = make_detector(optimizer=keras.optimizers.SGD(0.1)).fit(correlated_rows)
    dumped = skops.io.dumps(detector)
    asked = skops.io.get_untrusted_types(data=dumped)
    assert asked == [
        "skae._detector.AutoencoderOutlierDetector",
        "skae._learning._optimizer.SerializedOptimizer",
    ]
    restored = skops.io.loads(dumped, trusted=asked)
    assert isinstance(restored.optimizer, keras.optimizers.SGD)


def test_pickle_carries_version_and_format(fitted):
    state = fitted.__getstate__()
    assert state["_skae_version"] == skae.__version__
    assert state["_state_format"] == 4


def test_pickle_of_a_later_format_is_an_error_that_says_upgrade(fitted):
    state = fitted.__getstate__() | {"_skae_version": "9.9", "_state_format": 99}
    restored = AutoencoderOutlierDetector.__new__(AutoencoderOutlierDetector)
    with pytest.raises(ValueError, match="by skae 9.9 in state format 99.*Upgrade"):
        restored.__setstate__(state)


def test_state_that_is_not_one_of_a_pickle_is_an_error_that_says_so():
    restored = AutoencoderOutlierDetector.__new__(AutoencoderOutlierDetector)
    with pytest.raises(ValueError, match="unknown version in state format None"):
        restored.__setstate__({"hidden_layer_sizes": (8, 2)})


def test_optimizer_prototype_is_pickled_as_name_and_configuration(
    make_detector, correlated_rows
):
    import keras

    detector = make_detector(optimizer=keras.optimizers.SGD(0.1, momentum=0.9))
    restored = pickle.loads(pickle.dumps(detector.fit(correlated_rows)))
    assert isinstance(restored.optimizer, keras.optimizers.SGD)
    assert restored.optimizer.get_config() == detector.optimizer.get_config()
    assert clone(restored).fit(correlated_rows).loss_curve_ == detector.loss_curve_


def test_subclass_with_fewer_parameters_fits(correlated_rows):
    class Small(AutoencoderOutlierDetector):
        def __init__(self, random_state=None):
            super().__init__((4, 2), epochs=2, random_state=random_state)

    detector = Small(random_state=0).fit(correlated_rows)
    expected = AutoencoderOutlierDetector((4, 2), epochs=2, random_state=0)
    np.testing.assert_array_equal(
        detector.score_samples(correlated_rows),
        expected.fit(correlated_rows).score_samples(correlated_rows),
    )


def test_failed_refit_leaves_columns_and_scores_as_they_were(
    make_detector, correlated_rows
):
    frame = pd.DataFrame(correlated_rows, columns=list("abcde"))
    detector = make_detector().fit(frame)
    expected = detector.score_samples(frame)
    before = repr(detector.__getstate__())
    detector.set_params(hidden_layer_sizes=())
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        detector.fit(correlated_rows[:, :3])
    detector.set_params(hidden_layer_sizes=(8, 2))
    assert repr(detector.__getstate__()) == before
    np.testing.assert_array_equal(detector.score_samples(frame), expected)


def test_models_that_are_asked_for_share_their_layers(fitted):
    assert fitted.model_ is fitted.model_
    assert fitted.encoder_.layers[-1] in fitted.model_.layers


def test_fresh_process_unpickles_and_scores_without_tensorflow(
    tmp_path, make_detector, correlated_rows, run_in_fresh_process
):
    import keras

    detector = make_detector(optimizer=keras.optimizers.SGD(0.1)).fit(correlated_rows)
    joblib.dump(detector, tmp_path / "detector.joblib")
    np.save(tmp_path / "rows.npy", correlated_rows)
    run_in_fresh_process(
        "import sys, joblib, numpy as np\n"
        "folder = sys.argv[1]\n"
        "detector = joblib.load(folder + '/detector.joblib')\n"
        "X = np.load(folder + '/rows.npy')\n"
        "np.save(folder + '/scores.npy', detector.score_samples(X))\n"
        "detector.predict(X), detector.score(X), detector.transform(X)\n"
        "heavy = {'keras', 'tensorflow', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n",
        tmp_path,
    )
    np.testing.assert_array_equal(
        np.load(tmp_path / "scores.npy"), detector.score_samples(correlated_rows)
    )


def test_import_is_light(run_in_fresh_process):
    run_in_fresh_process(
        "import sys, skae\n"
        "skae.AutoencoderOutlierDetector(random_state=0).get_params()\n"
        "heavy = {'keras', 'tensorflow', 'matplotlib', 'onnx', 'skl2onnx', 'dask'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )


def test_fit_is_the_same_in_another_process_prints_nothing_and_leaves_it_as_it_was(
    tmp_path, correlated_rows, run_in_fresh_process
):
    np.save(tmp_path / "rows.npy", correlated_rows)
    out, err = run_in_fresh_process(
        "import os, sys, warnings, numpy as np\n"
        "from skae import AutoencoderOutlierDetector\n"
        "import sklearn.metrics, sklearn.utils\n"
        "X = np.load(sys.argv[1] + '/rows.npy')\n"
        "environment, filters = dict(os.environ), list(warnings.filters)\n"
        "detector = AutoencoderOutlierDetector(epochs=5, random_state=0).fit(X)\n"
        "assert dict(os.environ) == environment\n"
        "assert list(warnings.filters) == filters\n"
        "np.save(sys.argv[1] + '/scores.npy', detector.score_samples(X))\n",
        tmp_path,
    )
    assert (out, err) == ("", "")
    here = AutoencoderOutlierDetector(epochs=5, random_state=0).fit(correlated_rows)
    np.testing.assert_array_equal(
        np.load(tmp_path / "scores.npy"), here.score_samples(correlated_rows)
    )


def test_fit_prints_nothing_after_a_chatty_import_of_tensorflow(run_in_fresh_process):
    out, _ = run_in_fresh_process(
        "import contextlib, os, tempfile, warnings\n"
        "with warnings.catch_warnings():\n"
        "    warnings.simplefilter('ignore')\n"
        "    import tensorflow\n"
        "os.dup2(1, 2)\n"  # from here on, whatever goes to stderr is seen in stdout
        "import numpy as np\n"
        "from skae import AutoencoderOutlierDetector\n"
        "AutoencoderOutlierDetector(epochs=2).fit(np.eye(20))\n"
    )
    assert out == ""


def test_fit_works_in_a_process_without_standard_error(run_in_fresh_process):
    run_in_fresh_process(
        "import os, sys, numpy as np\n"
        "os.close(2)\n"
        "from skae import AutoencoderOutlierDetector\n"
        "AutoencoderOutlierDetector(epochs=2).fit(np.eye(20))\n"
    )


def test_fits_in_threads_equal_a_fit_alone(make_detector, correlated_rows):
    def fit(width):
        detector = make_detector(hidden_layer_sizes=(width, 2), epochs=20)
        return detector.fit(correlated_rows).score_samples(correlated_rows)

    widths = [4, 8, 8, 4, 8, 16, 4, 8]
    alone = [fit(width) for width in widths]
    with ThreadPoolExecutor(4) as threads:
        np.testing.assert_array_equal(list(threads.map(fit, widths)), alone)


def test_global_random_states_are_left_as_they_were(make_detector, correlated_rows):
    import keras
    import tensorflow as tf
    from tensorflow.python.eager import context

    def draw():
        return (
            np.random.rand(),
            random.random(),
            float(tf.random.uniform(())),
            float(keras.random.uniform(())),
        )

    def seed():
        keras.utils.clear_session()  # older Kerases keep their own generator
        keras.utils.set_random_seed(5)

    seed()
    untouched = draw()
    seed()
    before = random.getstate(), context.context()._seed
    numpy_state = np.random.get_state()[1].copy()
    for parameters in ({}, {"early_stopping": True, "epochs": 200, "tol": 1.0}):
        make_detector(**parameters).fit(correlated_rows).predict(correlated_rows)
    assert (random.getstate(), context.context()._seed) == before
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    assert draw() == untouched


def test_global_precision_of_keras_changes_nothing(
    tmp_path, make_detector, correlated_rows, run_in_fresh_process
):
    detectors = [  # of unlike networks, so that each is compiled by itself
        make_detector(
            hidden_layer_sizes=(n, 2), loss="Huber", learning_rate_schedule="cosine"
        )
        for n in (7, 8, 9)
    ]
    joblib.dump(detectors, tmp_path / "detectors.joblib")
    np.save(tmp_path / "rows.npy", correlated_rows)
    run_in_fresh_process(
        "import joblib, sys, numpy as np, warnings\n"
        "with warnings.catch_warnings():\n"
        "    warnings.simplefilter('ignore')\n"
        "    import keras\n"
        "detectors = joblib.load(sys.argv[1] + '/detectors.joblib')\n"
        "X, scores = np.load(sys.argv[1] + '/rows.npy'), []\n"
        "for detector, set_precision in zip(detectors, (\n"
        "    lambda: keras.config.set_dtype_policy('mixed_float16'),\n"
        "    lambda: keras.config.set_dtype_policy('float64'),\n"
        "    lambda: keras.config.set_floatx('float64'),\n"
        ")):\n"
        "    set_precision()\n"
        "    scores.append(detector.fit(X).score_samples(X))\n"
        "    difference = np.asarray(detector.model_(X)) - detector.reconstruct(X)\n"
        "    assert (np.abs(difference) < 1e-5 * np.ptp(X, axis=0)).all()\n"
        "    keras.config.set_dtype_policy('float32')\n"
        "np.save(sys.argv[1] + '/scores.npy', scores)\n",
        tmp_path,
    )
    np.testing.assert_array_equal(
        np.load(tmp_path / "scores.npy"),
        [d.fit(correlated_rows).score_samples(correlated_rows) for d in detectors],
    )


def test_other_backend_is_one_clear_error_at_fit(
    monkeypatch, fitted, make_detector, correlated_rows
):
    import keras

    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ImportError, match="Keras runs on 'jax'.*KERAS_BACKEND"):
        make_detector(hidden_layer_sizes=(9, 3)).fit(correlated_rows)
    assert np.isfinite(fitted.score_samples(correlated_rows)).all()


def test_verbose_shows_one_live_bar_with_the_loss(
    make_detector, correlated_rows, capfd
):
    make_detector(verbose=1, epochs=20).fit(correlated_rows)
    out, err = capfd.readouterr()
    assert err == ""
    assert "140/140" in out and "loss: " in out  # 20 epochs of 7 updates
    assert out.count("\n") == 1


def test_verbose_0_prints_nothing(make_detector, correlated_rows, capfd):
    detector = make_detector(early_stopping=True, epochs=300, tol=1.0)
    detector.fit(correlated_rows).predict(correlated_rows)
    assert detector.model_ is not None
    assert capfd.readouterr() == ("", "")


def test_no_private_module_of_keras_is_imported():
    modules = [m for name, m in sys.modules.items() if name.startswith("skae")]
    for module in modules:
        with open(module.__file__) as file:
            assert "keras.src" not in file.read()
