"""What holds of any table: its columns, scales, gaps, types and containers."""

import copy
import datetime
import decimal
import fractions
import functools

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from promises import check_rows, make, quiet, refused, tables, take_print
from scipy import sparse
from sklearn.exceptions import NotFittedError

NAMES = ["a", "b", "c"]
TRAIN = np.random.default_rng(0).normal(size=(30, 3))
REFUSALS = (
    "must be a finite float64",  # the spread overflows
    "NaN only",
    "diverged",
)


def make_strided(X):
    return np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3]


def make_masked(X):
    is_missing = np.isnan(X)
    return np.ma.array(np.where(is_missing, 7.0, X), mask=is_missing)


def make_objects(X):
    cells = X.astype(object)
    cells[np.isnan(X)] = None
    return cells


CONTAINERS = {
    "Fortran order": np.asfortranarray,
    "strided": make_strided,
    "backwards": lambda X: X[::-1].copy()[::-1],
    "big endian": lambda X: X.astype(">f8"),
    "read-only": lambda X: np.frombuffer(X.tobytes()).reshape(X.shape),
    "long double": lambda X: X.astype(np.longdouble),
    "list": lambda X: X.tolist(),
    "tuple of rows": tuple,
    "objects": make_objects,
    "masked": make_masked,
    "csr": sparse.csr_array,
    "csc": sparse.csc_matrix,
    "coo": sparse.coo_array,
    "pandas": lambda X: pd.DataFrame(X, columns=NAMES),
    "pandas nullable": lambda X: pd.DataFrame(X, columns=NAMES).astype("Float64"),
    "polars": lambda X: pl.DataFrame(X, schema=NAMES, nan_to_null=True),
    "arrow": lambda X: pa.table(list(X.T), names=NAMES),
}
TYPES = [
    bool,
    *(np.dtype(f"{sign}int{n}") for sign in ("", "u") for n in (8, 16, 32, 64)),
    np.float16,
    np.float32,
]


@functools.cache
def fit_plainly():
    return make().fit(TRAIN)


def fit(X, sample_weight=None, **parameters):
    with quiet():
        return make(**parameters).fit(X, sample_weight=sample_weight)


@pytest.mark.parametrize("scaling", ["standard", "minmax", "robust", None])
@given(X=tables())
def test_a_fit_on_any_table_works_or_says_why_not(scaling, X):
    detector = make(scaling=scaling)
    with refused(detector, *REFUSALS) as errors:
        detector.fit(X)
    if not errors:
        check_rows(detector, X)


@pytest.mark.parametrize("shape", [(2, 200), (300, 1), (1, 3), (2, 1)])
@given(data=st.data())
def test_so_does_one_of_an_extreme_shape(shape, data):
    n_rows, n_columns = shape
    X = data.draw(tables(min(n_columns, 8), n_rows))
    X = np.resize(X, shape)
    detector = make(
        score_method=data.draw(st.sampled_from(["neighbors", "reconstruction"]))
    )
    with refused(detector, *REFUSALS) as errors:
        detector.fit(X)
    if not errors:
        check_rows(detector, X)


@given(X=tables(), seed=st.integers(0, 99))
def test_the_order_of_rows_does_not_matter_and_a_weight_is_repetition(X, seed):
    rng = np.random.default_rng(seed)
    order, counts = rng.permutation(len(X)), rng.integers(1, 4, size=len(X))
    detector = make()
    with refused(detector, *REFUSALS) as errors:
        detector.fit(X, sample_weight=counts)
    assume(not errors)
    other = fit(np.repeat(X, counts, axis=0)[rng.permutation(counts.sum())])
    third = fit(X[order], sample_weight=counts[order])
    with quiet():
        scores = detector.score_samples(X)
        for same in other, third:
            np.testing.assert_array_equal(same.score_samples(X), scores)
            assert same.offset_ == detector.offset_


@pytest.mark.parametrize("container", CONTAINERS)
@given(X=tables())
def test_the_container_does_not_change_a_score(container, X):
    detector = fit_plainly()
    with quiet():
        np.testing.assert_array_equal(
            detector.score_samples(CONTAINERS[container](X)), detector.score_samples(X)
        )


@pytest.mark.parametrize("container", CONTAINERS)
@given(X=tables(max_rows=12))
def test_nor_does_the_container_of_fit(container, X):
    detector = make()
    with refused(detector, *REFUSALS) as errors:
        detector.fit(X)
    assume(not errors)
    converted = CONTAINERS[container](X)
    other = fit(converted)
    with quiet():
        scores = other.score_samples(converted)
        np.testing.assert_array_equal(scores, detector.score_samples(X))


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@given(
    seed=st.integers(0, 2**16), exponent=st.integers(0, 63), n_rows=st.integers(1, 20)
)
@example(seed=0, exponent=63, n_rows=20)
def test_nor_does_the_type_of_the_numbers(dtype, seed, exponent, n_rows):
    """In `fit` and later, of numbers that float64 has, too."""
    rng, dtype = np.random.default_rng(seed), np.dtype(dtype)
    values = rng.normal(size=(n_rows, 3)) * 2.0**exponent
    if dtype.kind in "iu":
        least = np.iinfo(dtype).min
        values = np.clip(values, least, 2.0 ** (8 * dtype.itemsize - 1) - 1)
        values = np.clip(values, least, np.nextafter(2.0**63, 0))
    elif dtype.kind == "f":
        values = np.clip(values, np.finfo(dtype).min, np.finfo(dtype).max)
    else:
        values = values > 0
    X = values.astype(dtype)
    detectors = fit(X), fit(X.astype(np.float64)), fit(X.astype(object))
    scores = [
        detector.score_samples(rows)
        for detector in detectors
        for rows in (X, X.astype(np.float64), X.tolist())
    ]
    for other in scores[1:]:
        np.testing.assert_allclose(other, scores[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("scaling", ["standard", "minmax"])
@given(
    X=tables(has_gaps=False),
    exponents=st.lists(st.integers(-400, 400), min_size=3, max_size=3),
)
@example(X=TRAIN, exponents=[-900, 0, 0])
@example(X=TRAIN, exponents=[500, -500, 0])
def test_units_that_are_powers_of_two_do_not_matter(scaling, X, exponents):
    """Unless a spread overflows, or a value loses digits."""
    X = X[:, :1] if X.shape[1] < 3 else X
    with np.errstate(all="ignore"):
        units = 2.0 ** np.array(exponents)
        moved = X * units
        is_exact = (moved / units == X).all() and np.isfinite(moved).all()
        spreads = np.ptp(X, axis=0), np.ptp(moved, axis=0)
    # Neither the least cells nor the reciprocals of the largest spreads are subnormal.
    assume(is_exact and all((s[s > 0] > 1e-290).all() for s in spreads))
    assume(all((s < 1e307).all() for s in spreads))
    # A constant column has no unit, and one of rounding is measured in its own.
    assume((spreads[0] > 1e-6 * np.abs(X).max(axis=0)).all())
    detector = make(scaling=scaling)
    with refused(detector, *REFUSALS) as errors:
        detector.fit(X)
    assume(not errors)
    with refused(make(), *REFUSALS):
        other = fit(moved, scaling=scaling)
        np.testing.assert_array_equal(
            other.score_samples(moved), detector.score_samples(X)
        )


# ------------------------------------------------------------ cells of any type

ODD = [  # some of which have no hash
    np.datetime64("NaT", "s"),
    np.datetime64("2020-01"),
    np.datetime64(2**62, "ns"),
    np.datetime64(-(2**62), "Y"),
    np.timedelta64("NaT", "s"),
    np.timedelta64(5, "M"),
    np.timedelta64(2**62, "D"),
    np.timedelta64(3, "h"),
    np.float16(0.1),
    np.longdouble("1e4000"),
    np.bool_(True),
    np.int8(-5),
    np.str_("text"),
    np.ma.masked,
    pd.NA,
    pd.NaT,
    pd.Timestamp("2020-01-01", tz="Asia/Tokyo"),
    pd.Timedelta("1D"),
    pd.Period("2020-01"),
    pd.Interval(0, 1),
    decimal.Decimal("sNaN"),
    decimal.Decimal("Infinity"),
    fractions.Fraction(10**400),
    datetime.datetime.max,
    datetime.datetime.min.replace(tzinfo=datetime.UTC),
    np.array(1.0),
    np.array([1.0]),
    np.zeros((2, 2)),
    (),
    [],
    [1.0],
    {},
    {1},
    object(),
    int,
    range(3),
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**400), 10**400),
    st.floats(),
    st.complex_numbers(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.fractions(),
    st.decimals(),
    st.dates(),
    st.datetimes(timezones=st.sampled_from([None, datetime.UTC])),
    st.times(),
    st.timedeltas(),
    st.integers(0, len(ODD) - 1).map(lambda i: ODD[i]),
)


@given(
    cells=st.lists(SCALARS, min_size=1, max_size=6),
    column=st.integers(0, 2),
    features=st.sampled_from([None, [0], [1, 2], "from_dtype"]),
    kind=st.sampled_from(["array", "list", "frame", "column of a frame"]),
)
def test_cells_of_any_type_are_read_or_refused(cells, column, features, kind):
    """In `fit`, with a trace neither in a fitted detector nor in a new one."""
    table = TRAIN.astype(object)
    for i, cell in enumerate(cells):
        table[i, column] = cell
    X = {
        "array": lambda: table,
        "list": lambda: [list(row) for row in table],
        "frame": lambda: pd.DataFrame(table, columns=NAMES),
        "column of a frame": lambda: pd.DataFrame(TRAIN, columns=NAMES).assign(
            **{NAMES[column]: pd.Series(list(table[:, column]))}
        ),
    }[kind]()
    about = "column", "categor", "X", "Input", "array", "diverged"
    with refused(fit_plainly(), *about) as errors:
        scores = fit_plainly().score_samples(X[:6] if kind != "frame" else table[:6])
        assert np.isfinite(scores).all()
    for detector in make(categorical_features=features), _fitted_copy(features):
        with refused(detector, *about) as errors:
            detector.fit(X)
        if not errors:
            with quiet():
                scores = detector.score_samples(X)
                np.testing.assert_allclose(
                    detector.explain(X).sum(axis=1), -scores, rtol=1e-6
                )
            assert np.isfinite(scores).all()


def _fitted_copy(features):
    detector = copy.deepcopy(fit_plainly())
    return detector.set_params(categorical_features=features)


@given(
    values=st.lists(
        st.one_of(st.text(max_size=2), st.integers(0, 3), st.booleans(), st.none()),
        min_size=4,
        max_size=20,
    ),
    later=st.lists(SCALARS, min_size=1, max_size=4),
)
def test_categories_are_one_cell_each_whatever_they_are(values, later):
    """Whole rows are explained, in any order of the rows."""
    n = len(values)
    X = TRAIN[:n].astype(object)
    X[:, 2] = values
    detector = make(categorical_features=[2])
    with refused(detector, "NaN only") as errors:
        detector.fit(X)
    assume(not errors)
    scores = check_rows(detector, X)
    other = fit(X[::-1], categorical_features=[2])
    with quiet():
        np.testing.assert_array_equal(other.score_samples(X), scores)
    rows = X[: len(later)]
    rows = np.resize(X, (len(later), 3)).copy()
    for i, value in enumerate(later):
        rows[i, 2] = value
    with refused(detector, "column"):
        check_rows(detector, rows)


# ------------------------------------------------------------ wrong tables

WRONG = st.sampled_from(
    [
        None,
        1.0,
        "text",
        [],
        [[]],
        [1.0, 2.0],
        [[1.0, 2.0], [3.0]],
        [[1.0, 2.0, np.inf]],
        [[1.0, 2.0, -np.inf]],
        [[1.0, 2.0]],
        [[1.0, 2.0, 3.0, 4.0]],
        [["a", "b", "c"]],
        [[1j, 0, 0]],
        [[{}, 0, 0]],
        np.empty((0, 3)),
        np.empty((3, 0)),
        np.zeros((2, 3, 1)),
        np.zeros(3),
        np.array(1.0),
        np.array([[b"x"] * 3]),
        np.zeros((2, 3), dtype="M8[s]"),
        np.zeros(2, dtype=[("a", float), ("b", float), ("c", float)]),
        pd.DataFrame({"a": [1.0]}),
        pd.DataFrame(),
        pd.DataFrame({"a": [1.0], "b": [pd.Period("2020")], "c": [0.0]}),
        pd.Series([1.0, 2.0, 3.0]),
        pl.DataFrame(),
        sparse.csr_array((0, 3)),
        sparse.coo_array(np.array([1.0, 2.0, 3.0])),
        sparse.csr_array(np.array([[np.inf, 0.0, 0.0]])),
        {},
        {"a": [1.0], "b": [1.0], "c": [1.0]},
        object(),
        iter([[1.0, 2.0, 3.0]]),
    ]
)
METHODS = [
    "fit",
    "partial_fit",
    "score_samples",
    "decision_function",
    "predict",
    "explain",
    "transform",
    "inverse_transform",
    "reconstruct",
    "calibrate",
    "diagnose",
    "score",
    "fit_predict",
]


@given(X=WRONG, method=st.sampled_from(METHODS))
def test_what_is_no_table_is_refused_and_leaves_no_trace(X, method):
    detector = copy.deepcopy(fit_plainly())
    before = take_print(detector)
    with refused(detector) as errors:
        getattr(detector, method)(X)
    assert not errors or take_print(detector) == before
    unfitted = make()
    if method not in ("fit", "partial_fit", "fit_predict"):
        with pytest.raises(NotFittedError):
            getattr(unfitted, method)(TRAIN)
