"""`save` and `load`: what comes back, what is refused, and files of strangers."""

import copy
import pickle
import sys
from pathlib import Path

import corruption
import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skae
from skae import AutoencoderOutlierDetector

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture
def save_and_load(tmp_path):
    def save_and_load(detector):
        skae.save(detector, tmp_path / "detector.skae")
        return skae.load(tmp_path / "detector.skae")

    return save_and_load


@pytest.fixture(scope="session")
def saved(tmp_path_factory, make_detector, correlated_rows):
    """The bytes of a saved detector."""
    detector = make_detector(epochs=30, score_method="neighbors").fit(correlated_rows)
    path = tmp_path_factory.mktemp("saved") / "detector.skae"
    skae.save(detector, path)
    return path.read_bytes()


@pytest.fixture
def load_edited(tmp_path, saved):
    """Load a file after a change to its JSON text and a checksum that is right."""

    def load_edited(edit):
        header, arrays = corruption.split(saved)
        edit(header)
        path = tmp_path / "edited.skae"
        path.write_bytes(corruption.join(header, arrays))
        return skae.load(path)

    return load_edited


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"score_method": "neighbors", "masking": 0.5, "n_estimators": 3},
        {"early_stopping": True, "epochs": 300, "tol": 1.0, "n_iter_no_change": 2},
        {"hidden_layer_sizes": 3, "scaling": None, "contamination": 0.2},
        {"hidden_layer_sizes": (9, 7, 5, 1), "scaling": "robust", "activation": "gelu"},
        {"activation": "hard_tanh", "output_activation": "log_softmax"},
        {"calibration_cv": 3, "score_method": "neighbors", "n_estimators": 2},
    ],
    ids="plain ensemble early one-layer deep scored-by-Keras folds".split(),
)
@pytest.mark.parametrize("kind", ["array", "frame"])
def test_what_is_loaded_is_what_was_saved(
    parameters, kind, make_detector, correlated_rows, save_and_load
):
    X = correlated_rows / correlated_rows.std(axis=0)
    if kind == "frame":
        X = pd.DataFrame(X, columns=["a", "ä", "", "two\nlines", "a.b"])
    detector = make_detector(**parameters).fit(X)
    loaded = save_and_load(detector)
    assert loaded.get_params() == detector.get_params()
    for name in "score_samples decision_function predict transform explain".split():
        expected = getattr(detector, name)(X)
        np.testing.assert_array_equal(getattr(loaded, name)(X), expected)
    for name in "offset_ n_features_in_ n_iter_ loss_curve_".split():
        value, expected = getattr(loaded, name), getattr(detector, name)
        assert value == expected and type(value) is type(expected)
    assert loaded.validation_loss_curve_ == detector.validation_loss_curve_
    assert hasattr(loaded, "feature_names_in_") == (kind == "frame")
    if kind == "frame":
        np.testing.assert_array_equal(
            loaded.feature_names_in_, detector.feature_names_in_, strict=True
        )


def test_calibration_comes_back(make_detector, correlated_rows, save_and_load):
    detector = make_detector(calibration_fraction=0.2).fit(correlated_rows)
    loaded = save_and_load(detector)
    np.testing.assert_array_equal(
        loaded.p_values(correlated_rows), detector.p_values(correlated_rows)
    )
    assert save_and_load(make_detector().fit(correlated_rows)).calibration_scores_ is (
        None
    )


def test_calibration_scores_out_of_order_are_an_error(
    tmp_path, make_detector, correlated_rows
):
    detector = make_detector(calibration_fraction=0.2).fit(correlated_rows)
    detector.calibration_scores_ = detector.calibration_scores_[::-1]
    with pytest.raises(ValueError, match="calibration_scores_ must hold sorted"):
        skae.save(detector, tmp_path / "calibrated.skae")


def test_fresh_process_loads_and_scores_to_the_bit_without_tensorflow(
    tmp_path, make_detector, correlated_rows, run_in_fresh_process
):
    detector = make_detector(score_method="neighbors", n_estimators=2)
    skae.save(detector.fit(correlated_rows), tmp_path / "detector.skae")
    np.save(tmp_path / "rows.npy", correlated_rows)
    run_in_fresh_process(
        "import sys, numpy as np, skae\n"
        "folder = sys.argv[1]\n"
        "detector = skae.load(folder + '/detector.skae')\n"
        "X = np.load(folder + '/rows.npy')\n"
        "np.save(folder + '/scores.npy', detector.score_samples(X))\n"
        "skae.save(detector, folder + '/again.skae')\n"
        "heavy = {'keras', 'tensorflow', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n",
        tmp_path,
    )
    np.testing.assert_array_equal(
        np.load(tmp_path / "scores.npy"), detector.score_samples(correlated_rows)
    )
    assert (tmp_path / "again.skae").read_bytes() == (
        tmp_path / "detector.skae"
    ).read_bytes()


@pytest.mark.parametrize(
    "use",
    [
        lambda detector, X: detector.fit(X),
        lambda detector, X: clone(detector).fit(X),
        lambda detector, X: pickle.loads(pickle.dumps(detector)),
    ],
    ids=["fit", "clone and fit", "pickle"],
)
def test_loaded_detector_does_what_any_other_does(
    use, fitted, correlated_rows, save_and_load
):
    used = use(save_and_load(fitted), correlated_rows)
    np.testing.assert_array_equal(
        used.score_samples(correlated_rows), fitted.score_samples(correlated_rows)
    )


def test_loaded_detector_builds_its_keras_model(fitted, correlated_rows, save_and_load):
    loaded = save_and_load(fitted)
    outputs = loaded.model_.predict(correlated_rows, verbose=0)
    gap = np.abs(outputs - fitted.reconstruct(correlated_rows))
    assert (gap < 1e-5 * np.ptp(correlated_rows, axis=0)).all()


def test_parameters_set_after_fit_come_back_and_change_nothing_of_what_was_fitted(
    make_detector, correlated_rows, save_and_load
):
    detector = make_detector().fit(correlated_rows)
    scores = detector.score_samples(correlated_rows)
    changed = {"hidden_layer_sizes": (4, 3, 1), "score_method": "neighbors"}
    loaded = save_and_load(detector.set_params(**changed, n_estimators=7))
    assert loaded.get_params() == detector.get_params()
    np.testing.assert_array_equal(loaded.score_samples(correlated_rows), scores)


def test_parameters_of_numpy_come_back_as_those_of_python(
    make_detector, correlated_rows, save_and_load
):
    detector = make_detector(
        hidden_layer_sizes=np.array([8, 2]),
        epochs=np.int64(2),
        learning_rate=np.float32(0.5),
        early_stopping=np.False_,
    ).fit(correlated_rows)
    loaded = save_and_load(detector).get_params()
    assert repr(loaded["hidden_layer_sizes"]) == "(8, 2)"
    assert repr(loaded["epochs"]) == "2"
    assert repr(loaded["learning_rate"]) == "0.5"
    assert repr(loaded["early_stopping"]) == "False"


def test_output_container_comes_back(make_detector, correlated_rows, save_and_load):
    detector = make_detector(epochs=1).fit(correlated_rows)
    loaded = save_and_load(detector.set_output(transform="pandas"))
    assert list(loaded.transform(correlated_rows)) == list(
        detector.get_feature_names_out()
    )


def square(x):
    return x * x


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"loss": square}, "loss=<function square.*set_params"),
        ({"activation": square}, "activation=<function square.*pickle"),
        ({"random_state": np.random.RandomState(0)}, "random_state=RandomState"),
        ({"memory": "cache"}, "memory='cache'.*set_params\\(memory=None\\)"),
        ({"memory": joblib.Memory(None)}, "memory=Memory"),
        ({"learning_rate": float("inf")}, "learning_rate=inf"),
        ({"hidden_layer_sizes": [[8], [2]]}, "hidden_layer_sizes"),
        ({"epochs": -1}, "'epochs' parameter.*Got -1"),
        ({"scaling": "other"}, "'scaling' parameter"),
    ],
)
def test_parameter_that_no_file_can_hold_is_an_error_that_names_it(
    parameters, message, tmp_path, make_detector, correlated_rows
):
    detector = make_detector(epochs=1).fit(correlated_rows).set_params(**parameters)
    with pytest.raises(ValueError, match=message):
        skae.save(detector, tmp_path / "detector.skae")
    assert list(tmp_path.iterdir()) == []


def test_optimizer_prototype_is_an_error_that_names_it(
    tmp_path, make_detector, correlated_rows
):
    import keras

    detector = make_detector(epochs=1, optimizer=keras.optimizers.SGD(0.1))
    detector.fit(correlated_rows)
    with pytest.raises(ValueError, match="optimizer=<keras.*set_params"):
        skae.save(detector, tmp_path / "detector.skae")
    skae.save(detector.set_params(optimizer="sgd"), tmp_path / "detector.skae")


def test_function_that_was_fitted_is_an_error_whatever_the_parameter_is_now(
    tmp_path, make_detector, correlated_rows
):
    detector = make_detector(epochs=1, activation=square).fit(correlated_rows)
    detector.set_params(activation="relu")
    with pytest.raises(ValueError, match="was fitted with activation=<function square"):
        skae.save(detector, tmp_path / "detector.skae")


@pytest.mark.parametrize(
    "attribute, value, message",
    [
        ("note_", "from March", "attribute 'note_'.*Delete"),
        ("note_", {}, "attribute 'note_'.*Delete"),
        ("offset_", np.nan, "offset_"),
        ("feature_names_in_", np.array(list("abcd\0"), dtype=object), "feature_names"),
    ],
)
def test_attribute_that_fit_does_not_set_is_an_error_that_names_it(
    attribute, value, message, tmp_path, make_detector, correlated_rows
):
    detector = make_detector(epochs=1).fit(correlated_rows)
    setattr(detector, attribute, value)
    with pytest.raises(ValueError, match=message):
        skae.save(detector, tmp_path / "detector.skae")


def test_unfitted_detector_is_not_saved(tmp_path, make_detector):
    with pytest.raises(NotFittedError):
        skae.save(make_detector(), tmp_path / "detector.skae")
    assert list(tmp_path.iterdir()) == []


class Heir(AutoencoderOutlierDetector):
    pass


@pytest.mark.parametrize(
    "make", [Heir, lambda: make_pipeline(StandardScaler(), Heir()), dict, lambda: None]
)
def test_anything_but_the_detector_itself_is_a_type_error(make, tmp_path):
    with pytest.raises(TypeError, match="save takes an AutoencoderOutlierDetector"):
        skae.save(make(), tmp_path / "detector.skae")


@pytest.mark.parametrize("file_format", [2, 3])
def test_release_reads_the_files_of_earlier_ones_and_gives_their_scores(file_format):
    detector = skae.load(FIXTURES / f"detector_format_{file_format}.skae")
    expected = np.load(FIXTURES / f"scores_format_{file_format}.npz")
    X = pd.DataFrame(expected["X"], columns=["length", "mass", "Å", "two words", "a,b"])
    np.testing.assert_allclose(
        detector.score_samples(X), expected["scores"], rtol=1e-12, atol=0
    )
    assert detector.get_params()["hidden_layer_sizes"] == (8, 2)
    assert len(detector.validation_loss_curve_) == detector.n_iter_ == 4


def test_release_reads_the_files_with_categories_of_earlier_ones():
    detector = skae.load(FIXTURES / "detector_format_4.skae")
    expected = np.load(FIXTURES / "scores_format_4.npz")
    categories = {
        "way": ["card", "cash", "naïve 😀", "true", "\ud800"],
        "is new": [False, True],
        "shop": [-3, 0.5, 2**70],
    }
    names = ["length", "mass", "shop", "is new", "way", "Å", "two words", "a,b"]
    assert list(detector.feature_names_in_) == names
    assert repr(detector.categories_) == repr([categories.get(n) for n in names])
    assert detector.categorical_features == ["way", "is new", "shop"]
    X = pd.DataFrame(dict(zip("length mass Å".split(), expected["X"].T, strict=False)))
    X[["two words", "a,b"]] = expected["X"][:, 3:]
    given = {**categories, "way": ["card", "cash", "naïve 😀", "\ud800", "true"]}
    for name, values in given.items():
        cells = np.array([*values, None], dtype=object)[expected[name]]
        X[name] = pd.Series(cells, dtype=object)
    np.testing.assert_allclose(
        detector.score_samples(X[names]), expected["scores"], rtol=1e-12, atol=0
    )


def test_parameter_that_is_newer_than_the_file_is_at_its_default(load_edited):
    assert load_edited(lambda header: header["parameters"].pop("epochs")).epochs == (
        AutoencoderOutlierDetector().epochs
    )


@pytest.mark.parametrize(
    "kinds, message",
    [([0, 1, 4, 0, 0], "must hold numbers below 4"), ([0, 1], "has shape")],
)
def test_kinds_of_columns_that_no_fit_takes_down_are_an_error(
    kinds, message, tmp_path, saved
):
    header, arrays = corruption.split(saved)
    header["arrays"]["_column_kinds"] = ["|u1", [len(kinds)]]
    arrays["_column_kinds"] = bytes(kinds)
    path = tmp_path / "edited.skae"
    path.write_bytes(corruption.join(header, arrays))
    with pytest.raises(ValueError, match=f"_column_kinds {message}"):
        skae.load(path)


def edit(*path, value):
    def set_value(header):
        *parents, key = path
        for name in parents:
            header = header[name]
        header[key] = value

    return set_value


@pytest.mark.parametrize(
    "change, message",
    [
        (edit("parameters", "epochs", value=-1), "'epochs' parameter"),
        (edit("parameters", "loss", value={"class_name": "Lambda"}), "'loss'"),
        (edit("parameters", "memory", value="/tmp/cache"), "memory must be None"),
        (edit("parameters", "colour", value="red"), "'colour' is unknown.*upgrade"),
        (edit("parameters", "hidden_layer_sizes", value=[[2]]), "hidden_layer_sizes"),
        (edit("parameters", "hidden_layer_sizes", value=[]), "must be a list of pos"),
        (edit("values", "_architecture.hidden_layer_sizes", value=8), "must be a list"),
        (edit("values", "_architecture.hidden_layer_sizes", value=[]), "must be a lis"),
        (edit("values", "offset_", value="0"), "offset_ must be a finite number"),
        (edit("values", "offset_", value=10**400), "offset_ must be a finite number"),
        (edit("values", "n_iter_", value=31), "loss_curve_ has shape"),
        (edit("values", "n_features_in_", value=4), "n_features_in_ is 4"),
        (edit("parameters", "score_method", value="combined"), "'score_method' param"),
        (edit("values", "_neighborhood.spread", value=0), "spread must"),
        (lambda header: header["values"].pop("_neighborhood.spread"), "spread' is mis"),
        (edit("values", "_architecture.activation", value="glu"), "same shape"),
        (edit("values", "_architecture.activation", value="os.system"), "Keras knows"),
        (edit("values", "_architecture.hidden_layer_sizes", value=[8, 3]), "_weights"),
        (edit("values", "__class__", value="os.system"), "'__class__' is unknown"),
        (edit("arrays", "_pivot", value=["<f8", [10**12]]), "not as long"),
        (edit("arrays", "_pivot", value=["|O", [5]]), "one of the types"),
        (edit("values", value=[]), "'values' must be"),
        (lambda header: header["values"].pop("offset_"), "'offset_' is missing"),
        (lambda header: header.pop("parameters"), "'parameters' is missing"),
    ],
)
def test_edited_file_with_a_right_checksum_is_an_error_that_says_what_is_wrong(
    change, message, load_edited
):
    with pytest.raises(ValueError, match=f"holds no detector.*{message}"):
        load_edited(change)


@pytest.mark.parametrize(
    "name, number",
    [
        ("_pivot", np.nan),
        ("_weights", np.inf),
        ("_neighborhood.references", -np.inf),
        ("loss_curve_", np.nan),
        ("_scale", 0.0),
        ("_scale", 5e-324),
        ("_neighborhood.residual_scale", -1.0),
    ],
)
def test_number_that_no_fit_would_leave_is_an_error_that_names_its_array(
    name, number, tmp_path, saved
):
    header, arrays = corruption.split(saved)
    numbers = np.frombuffer(arrays[name], header["arrays"][name][0]).copy()
    numbers[-1] = number
    arrays[name] = numbers.tobytes()
    (tmp_path / "edited.skae").write_bytes(corruption.join(header, arrays))
    with pytest.raises(ValueError, match=f"{name} must hold"):
        skae.load(tmp_path / "edited.skae")


def test_file_with_one_name_for_two_columns_is_refused(tmp_path, fitted):
    named = copy.deepcopy(fitted)
    named.feature_names_in_ = np.array(list("abcda"), dtype=object)
    with pytest.raises(ValueError, match="a name of its own for each column"):
        skae.save(named, tmp_path / "twice.skae")


@pytest.mark.parametrize("place", [0, -1])
def test_signaling_nan_of_a_file_is_a_missing_cell_as_any_other(place, tmp_path):
    content = (FIXTURES / "detector_format_4.skae").read_bytes()
    header, arrays = corruption.split(content)
    references = np.frombuffer(arrays["_neighborhood.references"], np.uint64).copy()
    references[place] = 0x7FF0_0000_0000_0001
    arrays["_neighborhood.references"] = references.tobytes()
    path = tmp_path / "signaling.skae"
    path.write_bytes(corruption.join(header, arrays))
    refused, _ = corruption.load_and_use(path)  # with warnings as errors
    assert not refused


@pytest.mark.parametrize(
    "name, number",
    [
        ("_scale", np.finfo(np.float64).tiny),
        ("_neighborhood.residual_scale", np.finfo(np.float64).tiny),
        ("offset_", -np.finfo(np.float64).max),
    ],
)
def test_most_extreme_number_that_can_be_learnt_is_loaded(
    name, number, tmp_path, saved
):
    header, arrays = corruption.split(saved)
    if name in arrays:
        numbers = np.frombuffer(arrays[name], "<f8").copy()
        numbers[-1] = number
        arrays[name] = numbers.tobytes()
    else:
        header["values"][name] = float(number)
    (tmp_path / "edited.skae").write_bytes(corruption.join(header, arrays))
    loaded = skae.load(tmp_path / "edited.skae")
    assert not np.isnan(loaded.decision_function(np.zeros((2, 5)))).any()


def test_file_of_as_many_layers_as_can_be_is_loaded_and_of_more_refused(
    tmp_path, saved
):
    path = tmp_path / "layers.skae"
    path.write_bytes(corruption.pack_networks(saved, 2**13))  # of two layers each
    assert len(skae.load(path)._model.weights) == 2**13
    path.write_bytes(corruption.pack_networks(saved, 2**13 + 1))
    with pytest.raises(ValueError, match="_weights must .* 16384 layers, not 16386"):
        skae.load(path)


@pytest.fixture(scope="module")
def of_stream(tmp_path_factory, make_detector, correlated_rows):
    """The bytes of a saved detector with a stream."""
    detector = make_detector(score_method="neighbors")
    path = tmp_path_factory.mktemp("saved") / "of_stream.skae"
    skae.save(detector.partial_fit(correlated_rows[:40]), path)
    return path.read_bytes()


@pytest.mark.parametrize(
    "name, accepted, refused",
    [
        ("seed", [0, 2**31 - 1], [-1, 2**31, 0.0, True]),
        ("n_calls", [0, 2**31 - 1], [-1, 2**31, "1"]),
        ("min_rows", [0, 2**31 - 1], [-1, 2**31, None]),
        ("left_out", [0, 0.5, 1e300], [-0.5, -1, "0", 10**400]),
    ],
)
def test_values_of_a_stream_are_checked(name, accepted, refused, tmp_path, of_stream):
    header, arrays = corruption.split(of_stream)
    path, name = tmp_path / "edited.skae", f"_stream.{name}"
    for header["values"][name] in accepted:
        path.write_bytes(corruption.join(header, arrays))
        skae.load(path)
    for header["values"][name] in refused:
        path.write_bytes(corruption.join(header, arrays))
        with pytest.raises(ValueError, match=f"{name} must be a"):
            skae.load(path)


def test_nothing_that_a_file_names_is_imported(tmp_path, load_edited, monkeypatch):
    (tmp_path / "stranger.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    names = ["stranger", "stranger.run", "stranger>run", "stranger:run"]
    for name in names:
        for part in ("activation", "output_activation"):
            with pytest.raises(ValueError, match="Keras knows"):
                load_edited(edit("values", f"_architecture.{part}", value=name))
        load_edited(edit("parameters", "optimizer", value=name))
    assert "stranger" not in sys.modules


@pytest.fixture(scope="session")
def of_folds(tmp_path_factory, make_detector, correlated_rows):
    """The bytes of a saved detector with folds."""
    detector = make_detector(calibration_cv=3, score_method="neighbors")
    path = tmp_path_factory.mktemp("saved") / "of_folds.skae"
    skae.save(detector.fit(correlated_rows[:20]), path)
    return path.read_bytes()


@pytest.mark.parametrize("file_format", [3, 4])
@pytest.mark.parametrize("kind", corruption.KINDS)
def test_corrupted_file_is_refused_or_a_working_detector_and_takes_little_memory(
    kind, file_format, tmp_path, of_folds
):
    content = (FIXTURES / f"detector_format_{file_format}.skae").read_bytes()
    rng = np.random.default_rng(0)
    for i in range(15):
        path = tmp_path / "corrupted.skae"
        corrupted = corruption.KINDS[kind](rng, content if i < 10 else of_folds)
        path.write_bytes(corrupted)
        _, peak = corruption.load_and_use(path)
        assert peak < 2 * len(corrupted) + 2**24


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda arrays: arrays.pop("_pivot"), "'_pivot' is missing"),
        (lambda arrays: arrays.pop("fold_3/_pivot"), "'_pivot' is missing"),
        (lambda arrays: arrays.update(calibration_scores_=np.full(20, -1.0)), None),
        (lambda arrays: arrays.pop("_calibration_folds"), None),
        (lambda arrays: arrays.pop("calibration_scores_"), "_calibration_folds must"),
        (lambda a: a.update({"fold_3/offset_": a["_pivot"]}), "'offset_' is unknown"),
        (lambda a: a.update({"fold_9/_pivot": a["_pivot"]}), "'fold_9' is unknown"),
        (
            lambda arrays: arrays.update(_calibration_folds=np.full(20, 3.0)),
            "_calibration_folds must tell which of 3",
        ),
        (
            lambda arrays: arrays.update(_calibration_folds=np.full(20, 0.5)),
            "_calibration_folds must hold whole numbers",
        ),
        (
            lambda a: a.update(
                {"fold_2/_weights": np.repeat(a["_weights"], 2, axis=0)}
            ),
            "networks of all folds",
        ),
    ],
)
def test_folds_that_no_fit_would_leave_are_an_error(
    change, message, tmp_path, of_folds
):
    header, content = corruption.split(of_folds)
    arrays = {
        name: np.frombuffer(content[name], dtype).reshape(shape)
        for name, (dtype, shape) in header["arrays"].items()
    }
    change(arrays)
    header["arrays"] = {n: [a.dtype.str, list(a.shape)] for n, a in arrays.items()}
    path = tmp_path / "edited.skae"
    path.write_bytes(
        corruption.join(header, {n: a.tobytes() for n, a in arrays.items()})
    )
    if message is None:
        assert len(skae.load(path).calibration_scores_) == 20
    else:
        with pytest.raises(ValueError, match=message):
            skae.load(path)


def test_folds_of_which_only_some_have_references_are_an_error(tmp_path, of_folds):
    header, arrays = corruption.split(of_folds)
    for entries in (header["values"], header["arrays"], arrays):
        for name in [n for n in entries if n.startswith("fold_2/_neighborhood.")]:
            del entries[name]
    (tmp_path / "edited.skae").write_bytes(corruption.join(header, arrays))
    with pytest.raises(ValueError, match="all with references or none"):
        skae.load(tmp_path / "edited.skae")


@pytest.mark.slow
@pytest.mark.parametrize("file_format", [3, 4])
def test_file_with_each_value_replaced_in_turn_is_refused_or_a_working_detector(
    file_format, tmp_path
):
    content = (FIXTURES / f"detector_format_{file_format}.skae").read_bytes()
    header, arrays = corruption.split(content)
    path = tmp_path / "edited.skae"
    n_files = 0
    for i, (parent, key) in enumerate(list(corruption.iterate_places(header))):
        original = parent[key]
        for parent[key] in corruption.ODD_VALUES[i % 4 :: 4]:
            path.write_bytes(corruption.join(header, arrays))
            corruption.load_and_use(path)
            n_files += 1
        parent[key] = original
    assert n_files > 800
