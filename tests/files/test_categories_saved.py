"""Detectors with columns of categories: their files, pickles and ONNX graphs."""

import copy
import itertools
import pickle

import corruption
import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from joblib.externals import loky

import skae


@pytest.fixture(scope="module")
def rows():
    """Numbers that follow a category, beside gaps and values of all types (seed 0)."""
    rng = np.random.RandomState(0)
    ways = rng.randint(3, size=200)
    shops = np.array([1, 0.5, 2**70, -(2**70), True], dtype=object)
    columns = {
        "amount": rng.normal(size=200) + ways,
        "way": np.array(["card", "cash\n", "\ud800\0"], dtype=object)[ways],
        "is new": ways > 0,
        "day": pd.date_range("2026-01-01", periods=200),
        "shop": shops[rng.randint(5, size=200)],
        "user": np.array([f"user {i}" for i in range(200)], dtype=object),
    }
    columns = {n: pd.Series(c, dtype=c.dtype) for n, c in columns.items()}
    columns["way"][:3] = None
    return pd.DataFrame(columns)


NAMES = ["way", "is new", "shop", "user"]


@pytest.fixture(scope="module")
def detector(make_detector, rows):
    detector = make_detector(
        score_method="neighbors", n_estimators=2, categorical_features=NAMES
    )
    return detector.fit(rows)


@pytest.fixture
def save_and_load(tmp_path):
    def save_and_load(detector):
        skae.save(detector, tmp_path / "detector.skae")
        return skae.load(tmp_path / "detector.skae")

    return save_and_load


def score_elsewhere(detector, rows):
    return detector.score_samples(rows)


def assert_equal_to_the_bit(copied, detector, rows):
    unknown = rows.assign(way="cheque", shop=7)
    for X in (rows, unknown):
        for method in ("score_samples", "transform", "explain"):
            expected = getattr(detector, method)(X)
            np.testing.assert_array_equal(getattr(copied, method)(X), expected)
    expected = detector.reconstruct(rows).tolist()
    assert repr(copied.reconstruct(rows).tolist()) == repr(expected)
    assert repr(copied.categories_) == repr(detector.categories_)
    assert copied.get_params() == detector.get_params()


def test_file_gives_back_the_categories_with_their_types(detector, rows, save_and_load):
    assert detector.categories_[1] == ["card", "cash\n", "\ud800\0"]
    assert detector.categories_[5] == []
    assert_equal_to_the_bit(save_and_load(detector), detector, rows)


@pytest.mark.parametrize(
    "copy_of",
    [
        copy.deepcopy,
        lambda detector: pickle.loads(pickle.dumps(detector)),
        lambda detector: skops.io.loads(
            skops.io.dumps(detector),
            trusted=["skae._detector.AutoencoderOutlierDetector"],
        ),
    ],
    ids=["deepcopy", "pickle", "skops"],
)
def test_copies_are_equal_to_the_bit(copy_of, detector, rows):
    assert_equal_to_the_bit(copy_of(detector), detector, rows)


def test_joblib_and_another_process_are_equal_to_the_bit(detector, rows, tmp_path):
    joblib.dump(detector, tmp_path / "detector.joblib")
    restored = joblib.load(tmp_path / "detector.joblib")
    assert_equal_to_the_bit(restored, detector, rows)
    with loky.ProcessPoolExecutor(1) as processes:
        scores = processes.submit(score_elsewhere, detector, rows).result()
    np.testing.assert_array_equal(scores, detector.score_samples(rows))


def test_state_is_plain_arrays_and_values_of_python(detector):
    plain = {dict, list, tuple, str, bool, int, float, type(None), np.ndarray}

    def iterate(value):
        yield value
        if isinstance(value, dict):
            value = value.values()
        if not isinstance(value, str | np.ndarray) and hasattr(value, "__iter__"):
            for item in value:
                yield from iterate(item)

    assert {type(value) for value in iterate(detector.__getstate__())} <= plain


@pytest.mark.parametrize("score_method", ["neighbors", "reconstruction"])
def test_file_of_a_table_of_booleans_and_text_alone(
    score_method, make_detector, rows, save_and_load
):
    X = rows.assign(amount=rows["amount"] > 0).drop(columns=["shop", "day", "user"])
    detector = make_detector(
        score_method=score_method, categorical_features="from_dtype"
    ).fit(X)
    loaded = save_and_load(detector)
    assert loaded.categorical_features == "from_dtype"
    np.testing.assert_array_equal(loaded.score_samples(X), detector.score_samples(X))


def test_file_of_identifiers_alone_has_no_category(make_detector, rows, save_and_load):
    X = rows[["user", "amount"]]
    detector = make_detector(categorical_features=[0]).fit(X)
    loaded = save_and_load(detector)
    assert loaded.categories_ == [[], None]
    np.testing.assert_array_equal(loaded.score_samples(X), detector.score_samples(X))


def test_stream_goes_on_after_loading_as_it_would_have(
    make_detector, rows, save_and_load
):
    detector = make_detector(score_method="neighbors", categorical_features=NAMES)
    detector.partial_fit(rows[:100])
    loaded = save_and_load(detector)
    for one in (detector, loaded):
        one.partial_fit(rows[100:])
    assert_equal_to_the_bit(loaded, detector, rows)


def test_categories_that_take_more_than_the_header_are_saved(
    make_detector, save_and_load
):
    values = [f"{i:02}" + 2_000 * "x" for i in range(50)]
    X = np.array([[value, 0.1 * i] for i, value in enumerate(4 * values)], object)
    detector = make_detector(categorical_features=[0]).fit(X)
    assert save_and_load(detector).categories_ == [values, None]


@pytest.mark.parametrize(
    "features, expected",
    [
        (np.array([1, 2, 4, 5]), [1, 2, 4, 5]),
        (np.array([False, True, True, False, True, True]), None),
        (tuple(NAMES), NAMES),
        (pd.Index(NAMES), NAMES),
        (np.array(NAMES), NAMES),
        ([np.int64(1), np.int64(2), 4, 5], [1, 2, 4, 5]),
    ],
    ids=["numbers", "mask", "tuple", "pandas", "names", "list of NumPy's"],
)
def test_categorical_features_come_back_as_a_list_of_python_values(
    features, expected, make_detector, rows, save_and_load
):
    detector = make_detector(epochs=1, categorical_features=features).fit(rows)
    loaded = save_and_load(detector)
    expected = expected or [False, True, True, False, True, True]
    assert repr(loaded.categorical_features) == repr(expected)
    assert repr(detector.fit(rows).categories_) == repr(loaded.fit(rows).categories_)


def test_mask_of_many_columns_is_saved(make_detector, correlated_rows, save_and_load):
    detector = make_detector(epochs=1).fit(correlated_rows)
    mask = [False] * 30_000
    loaded = save_and_load(detector.set_params(categorical_features=mask))
    assert loaded.categorical_features == mask


def test_categorical_features_that_fit_would_not_take_are_an_error(
    make_detector, correlated_rows, tmp_path
):
    detector = make_detector(epochs=1).fit(correlated_rows)
    for features in ([0.5], [True, 0], [[0]], ["a", 1]):
        detector.set_params(categorical_features=features)
        with pytest.raises(ValueError, match="categorical_features must be None, 'fr"):
            skae.save(detector, tmp_path / "detector.skae")


# ---------------------------------------------------------------- files of strangers


@pytest.fixture(scope="module")
def saved(detector, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "detector.skae"
    skae.save(detector, path)
    return path.read_bytes()


@pytest.fixture
def load_edited(tmp_path, saved):
    """Load a file after a change to its JSON text and its arrays, by name."""

    def load_edited(edit):
        header, contents = corruption.split(saved)
        forms = header["arrays"]
        arrays = {
            name: np.frombuffer(contents[name], dtype).reshape(shape).copy()
            for name, (dtype, shape) in forms.items()
        }
        edit(header, arrays)
        header["arrays"] = {n: [a.dtype.str, a.shape] for n, a in arrays.items()}
        contents = {name: array.tobytes() for name, array in arrays.items()}
        (tmp_path / "edited.skae").write_bytes(corruption.join(header, contents))
        return skae.load(tmp_path / "edited.skae")

    return load_edited


def put(name, place, number):
    """Put a number into an array."""

    def edit(header, arrays):
        arrays[name][place] = number

    return edit


def stretch(name, factor):
    """Multiply an array."""

    def edit(header, arrays):
        arrays[name] *= factor

    return edit


def replace(old, new):
    """Replace a line of the categories."""

    def edit(header, arrays):
        text = arrays["categories_"].tobytes()
        assert old in text
        text = text.replace(old, new, 1)
        arrays["categories_"] = np.frombuffer(text, np.uint8)

    return edit


def both(*edits):
    def edit(header, arrays):
        for one in edits:
            one(header, arrays)

    return edit


def set_value(name, value):
    def edit(header, arrays):
        header["values"][name] = value

    return edit


def drop(name):
    def edit(header, arrays):
        header["values"].pop(name, None)
        arrays.pop(name, None)

    return edit


def widen(n):
    """More references than any fit leaves."""

    def edit(header, arrays):
        references = arrays["_neighborhood.references"]
        arrays["_neighborhood.references"] = np.resize(references, (n, 6))

    return edit


@pytest.mark.parametrize(
    "edit, message",
    [
        (replace(b'"card"', b'"~"'), "in ascending order, then text"),
        (replace(b'"card"', b"7"), "work"),
        (replace(b'"card"', b'"cash\\n"'), "in ascending order, then text"),
        (replace(b"false", b"true"), "in ascending order"),
        (replace(b"true", b"0.0"), "in ascending order"),
        (replace(b"0.5", b"NaN"), "must hold text, booleans and finite"),
        (replace(b"0.5", b"-Infinity"), "must hold finite numbers"),
        (replace(b"0.5", b"1e999"), "must hold finite numbers"),
        (replace(b"0.5", b"1" + 400 * b"0"), "must hold finite numbers"),
        (replace(b"0.5", b"1" + 5000 * b"0"), "categories_"),
        (replace(b"0.5", b"[]"), "must hold text, booleans"),
        (replace(b"0.5", 10_000 * b"["), "must hold text, booleans"),
        (replace(b"0.5", b"{}"), "must hold text, booleans"),
        (replace(b"0.5", b"0.5 1"), "categories_"),
        (replace(b"0.5", b"\xff"), "categories_"),
        (replace(b"0.5", b'"\xff"'), "categories_"),
        (replace(b"0.5", b"null"), "must hold the categories of 4 columns"),
        (replace(b"0.5\n", b""), "must hold 13 lines"),
        (replace(b"0.5\n", b"0.5\n\n"), "must hold 13 lines"),
        (replace(b"0.5\n", b"0.5\n0.6\n"), "must hold 13 lines"),
        (drop("categories_"), "'categories_' is missing"),
        (drop("_column_kinds"), "_column_kinds has 0 columns of categories"),
        (put("_column_kinds", 0, 3), "_column_kinds has 5 columns of categories"),
        (put("_column_kinds", 1, 0), "_column_kinds has 3 columns of categories"),
        (drop("_architecture.n_logits"), "n_features_in_ is 6, but the network"),
        (set_value("_architecture.n_logits", 11), "must hold|has shape"),
        (set_value("_architecture.n_logits", 99), "99 of them of categories"),
        (set_value("_architecture.n_logits", -1), "n_logits must be an integer"),
        (set_value("n_features_in_", 5), "has shape"),
        (put("_pivot", -1, 0.5), "add up to 1"),
        (put("_pivot", slice(2, 4), [1.5, -0.5]), "add up to 1"),
        (put("_scale", -1, 2.0), "_scale must hold the spreads"),
        (stretch("_scale", 1 + 1e-12), "work"),  # as other machines round
        (stretch("_scale", 1 + 1e-4), "_scale must hold the spreads"),
        (put("_remainder", -1, 1.0), "_remainder must be 0"),
        (put("_mask_values", -1, 1.0), "_mask_values must be 0"),
        (put("_neighborhood.references", (0, 2), 4.0), "references must hold codes"),
        (put("_neighborhood.references", (0, 2), -1.0), "references must hold codes"),
        (put("_neighborhood.references", (0, 2), 0.5), "references must hold codes"),
        (put("_neighborhood.references", (0, 2), np.nan), "work"),
        (widen(513), "references must be at most 512 rows"),
        (widen(512), "work"),
    ],
)
def test_edited_file_is_refused_or_a_working_detector(edit, message, load_edited):
    if message == "work":
        edited = load_edited(edit)
        X = corruption.make_rows(edited)
        assert np.isfinite(edited.score_samples(X)).all()
        return
    with pytest.raises(ValueError, match=f"holds no detector.*({message})"):
        load_edited(edit)


def test_more_categories_than_a_column_can_have_are_refused(load_edited):
    def edit(header, arrays):
        text = arrays["categories_"].tobytes().split(b"\n")
        more = [b'"x%03d"' % i for i in range(200)]
        text[3:3] = more  # at the end of the first column
        arrays["categories_"] = np.frombuffer(b"\n".join(text), np.uint8)
        header["values"]["_architecture.n_logits"] += 200
        header["values"]["_architecture.n_features"] += 200
        n_units = header["values"]["_architecture.n_features"]
        for name in ("_pivot", "_remainder", "_scale", "_mask_values"):
            arrays[name] = np.resize(arrays[name], n_units)
        widths = [n_units, 8, 2, 8, n_units]
        n_weights = sum(n * m + m for n, m in itertools.pairwise(widths))
        arrays["_weights"] = np.ones((2, n_weights), "f4")

    with pytest.raises(ValueError, match="at most 100 categories of a column"):
        load_edited(edit)


def test_code_of_a_row_of_the_stream_that_no_category_has_is_refused(
    make_detector, rows, tmp_path
):
    detector = make_detector(categorical_features=NAMES).partial_fit(rows)
    detector._stream.rows[0, 1] = 4.0
    with pytest.raises(ValueError, match="_stream.rows must hold codes"):
        skae.save(detector, tmp_path / "detector.skae")


# ------------------------------------------------------------------------------ ONNX


def test_conversion_to_onnx_is_refused_and_names_the_columns(detector, rows):
    skl2onnx = pytest.importorskip("skl2onnx")
    skae.register_onnx_converter()
    for X in (rows[:1].drop(columns="day"), np.zeros((1, 6))):
        with pytest.raises(ValueError, match="4 column.*'way', 'is new'.*OneHotEnc"):
            skl2onnx.to_onnx(detector, X)
