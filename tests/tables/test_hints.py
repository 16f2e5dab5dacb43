"""What is no table of numbers, and what a user is told to do about it."""

import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import sparse
from sklearn.datasets import load_wine

import skae

N_ROWS = 40


@pytest.fixture(scope="module")
def numbers():
    """Two columns of a frame (seed 0)."""
    rng = np.random.RandomState(0)
    return pd.DataFrame(rng.normal(size=(N_ROWS, 2)), columns=["a", "b"])


@pytest.fixture(scope="module")
def of_numbers(make_detector, numbers):
    return make_detector(epochs=1).fit(numbers)


@pytest.fixture(scope="module")
def payments(numbers):
    """Beside a number a means of three, a shop of two numbers, and identifiers."""
    places = np.arange(N_ROWS)
    return pd.DataFrame(
        {
            "a": numbers["a"],
            "means": np.array(["card", "cash", "wire"])[places % 3],
            "shop": places % 2,
            "user": [f"user {i}" for i in places],
            "client": ["one", "one", "two", "two", *map(str, places[4:])],
        }
    )


@pytest.fixture(scope="module")
def of_payments(make_detector, payments):
    chosen = ["means", "shop", "user", "client"]
    return make_detector(epochs=1, categorical_features=chosen).fit(payments)


def exactly(message):
    return f"^{re.escape(message)}$"


# ------------------------------------------------------------------------ of X

ROW = {"a": 1.0, "b": 2.0}
ONE_DIMENSION = (
    r"^Expected 2D array, got 1D array instead, of shape \(\d+,\)\. Of one row of a "
    r"frame pass table\.iloc\[\[0\]\].* Reshape your data"
)
NO_TABLES = {
    "row": (ROW, "It is one row: pass pandas.DataFrame([X])."),
    "row of text": ({"a": "red", "b": 2}, "pass pandas.DataFrame([X])."),
    "no cell": ({}, "pass pandas.DataFrame([X])."),
    "columns": ({"a": [1, 2], "b": [3, 4]}, "pandas.DataFrame(X)."),
    "arrays": ({"a": np.arange(3), "b": pd.Series([1, 2, 3])}, "pandas.DataFrame(X)."),
    "bunch": (load_wine(), "Pass the table in it, X.data."),
    "rows": ([ROW, ROW], "got dicts, the first {'a': 1.0, 'b': 2.0}. Pass pandas.Data"),
    "tuple of rows": ((ROW,), "Pass pandas.DataFrame(X)."),
    "array of rows": (np.array([ROW, ROW]), "Pass pandas.DataFrame(list(X))."),
    "series of rows": (pd.Series([ROW, ROW]), "Pass pandas.DataFrame(list(X))."),
    "text": ("tiny.csv", "got 'tiny.csv', of type 'str'. Read a file first"),
    "text of numbers": ("1.5", "by pandas.read_csv."),
    "path": (Path("tiny.csv"), "by pandas.read_csv."),
    "bytes": (b"a,b\n1,2", "of type 'bytes'. Read a file first"),
    "generator": ((row for row in [[1, 2]]), "an array, a sparse table or a list of"),
    "set": ({1.0, 2.0}, "of type 'set'. Pass a frame"),
    "None": (None, "got None, of type 'NoneType'."),
}


@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict", "explain"])
@pytest.mark.parametrize("X, what", NO_TABLES.values(), ids=NO_TABLES)
def test_what_is_no_table_is_an_error_with_the_way_to_one(X, what, method, of_numbers):
    with pytest.raises(TypeError, match="^X must be a table of rows") as caught:
        getattr(of_numbers, method)(X)
    assert what in str(caught.value)


def test_the_ways_out_lead_to_a_table(of_numbers):
    for frame in (pd.DataFrame([ROW]), pd.DataFrame([ROW, ROW])):
        assert len(of_numbers.predict(frame)) == len(frame)


FLAT = {
    "row": pd.Series({"a": 1.0, "b": 2.0}),
    "row of integers": pd.Series({"a": 1, "b": 2}),
    "row with text": pd.Series({"a": 1.0, "b": "red"}),
    "nullable": pd.Series([1.0, None], dtype="Float64"),
    "category": pd.Series(["u", "v"], dtype="category"),
    "dates": pd.Series(pd.date_range("2025", periods=3)),
    "index": pd.Index([1.0, 2.0]),
    "polars": pl.Series([1.0, 2.0]),
    "polars text": pl.Series(["u", "v"]),
    "arrow": pa.array([1.0, 2.0]),
    "array": np.zeros(2),
    "array of text": np.array(["u", "v"]),
    "array of dates": np.zeros(2, "M8[s]"),
    "list": [1.0, 2.0],
    "words": ("u", "v"),
    "nothing": [],
}


@pytest.mark.parametrize("method", ["fit", "predict"])
@pytest.mark.parametrize("X", FLAT.values(), ids=FLAT)
def test_one_dimension_is_an_error_that_shows_how_to_get_two(X, method, of_numbers):
    with pytest.raises(ValueError, match=ONE_DIMENSION):
        getattr(of_numbers, method)(X)


def test_one_row_is_no_table_to_a_detector_with_categories(of_payments, payments):
    for row in (payments.iloc[0], payments.iloc[0].to_numpy(), np.zeros(4)):
        with pytest.raises(ValueError, match=ONE_DIMENSION):
            of_payments.predict(row)


@pytest.mark.parametrize("X", [np.float64(3.0), np.array("u"), np.array(2)], ids=repr)
def test_a_scalar_of_numpy_is_no_table(X, of_numbers):
    with pytest.raises(ValueError, match="Expected 2D array, got scalar array instead"):
        of_numbers.predict(X)


@pytest.mark.parametrize("method", ["fit", "predict"])
@pytest.mark.parametrize(
    "X, n_rows",
    [
        (pd.DataFrame(index=range(3)), 3),
        (pd.DataFrame(), 0),
        (pl.DataFrame(), 0),
        (pa.table({}), 0),
        (np.zeros((3, 0)), 3),
        (np.zeros((3, 0), dtype=object), 3),
        ([[], []], 2),
        (sparse.csr_array((3, 0)), 3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_table_without_columns_is_an_error_that_says_it(X, n_rows, method, of_numbers):
    message = (
        f"X has no columns: 0 feature(s) (shape=({n_rows}, 0)) while a minimum of 1 is "
        "required. Pass at least one column."
    )
    with pytest.raises(ValueError, match=exactly(message)):
        getattr(of_numbers, method)(X)


def test_table_without_rows_is_an_error_that_says_it(of_numbers, numbers):
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        of_numbers.predict(numbers.head(0))


# ------------------------------------------------------------------ of a column

YEAR_FIRST = [
    "2025-03-01",
    "2025/3/1",
    "2025-03-01 10:00",
    "2025-03-01T10:00:00Z",
    "2025-03-01 10:00:00.123456+02:00",
    "9999-12-31",
    "1 Mar 2025",
    "01-MAR-2025",
    "March 1, 2025",
]
DAY_FIRST = ["01.03.2025 00:00", "31.12.1999", "3/1/2025", "12/31/2024 1:05 PM"]
DAY_FIRST += ["01-03-2025", " 3/1/2025, 10:00:00"]
NO_DATES = [
    "2025-07",
    "2025",
    "20250301",
    "10:00",
    "1.2.3",
    "1.2.25",
    "2025.1.2",
    "10.0.20.25",
    "192.168.20.25",
    "12-34-5678",
    "11-11-1111",
    "123-45-6789",
    "99-12-31",
    "1/2/3",
    "12/2025",
    "13/13/2024",
    "2025-13-01",
    "2025-03-32",
    "2025-03/01",
    "2025-03-01.csv",
    "A2025-03-01",
    "+49 30 2025",
    "555-01-2025",
    "May 2025",
    "2025-W09",
    "red",
]
BLANKS = [None, "", " ", np.nan]


@pytest.mark.parametrize("method", ["fit", "predict"])
@pytest.mark.parametrize("text", [*YEAR_FIRST, *DAY_FIRST])
def test_text_that_looks_like_dates_is_to_be_read_as_such(
    text, method, of_numbers, numbers
):
    cells = [None, "", *[text] * (N_ROWS - 2)]
    frame = numbers.assign(b=pd.Series(cells, dtype=object))
    with pytest.raises(ValueError, match="'b' holds text") as caught:
        getattr(of_numbers, method)(frame)
    message = str(caught.value)
    assert f"such as {text!r} in row 2, which looks like dates. Read " in message
    assert "pandas.to_datetime(X['b']" in message
    assert ("dayfirst=True" in message) == (text in DAY_FIRST)
    assert "categorical_features" not in message


@pytest.mark.parametrize("text", NO_DATES)
def test_other_text_is_not_taken_for_dates(text, of_numbers, numbers):
    with pytest.raises(ValueError, match=r"text, such as '.*categorical_features"):
        of_numbers.predict(numbers.assign(b=text))
    rows = np.array([[text, 1.0], ["2025-03-01", 2.0]] * 15, dtype=object)
    with pytest.raises(ValueError, match=r"text, such as '.*categorical_features"):
        of_numbers.predict(pd.DataFrame(rows, columns=["a", "b"]))


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    "column",
    [
        pd.Series([*BLANKS, *["01.03.2025"] * (N_ROWS - 4)], dtype=object),
        pd.Series(["01.03.2025"] * N_ROWS, dtype="string"),
        pl.Series(["01.03.2025"] * N_ROWS),
    ],
    ids=["object", "string", "polars"],
)
def test_dates_taken_for_categories_draw_one_warning(
    column, method, make_detector, numbers
):
    frame = numbers.assign(b=column)
    if isinstance(column, pl.Series):
        frame = pl.from_pandas(numbers).with_columns(column.alias("b"))
    detector = make_detector(epochs=1, categorical_features="from_dtype")
    with pytest.warns(UserWarning, match="'b', such as '01.03.2025'") as caught:
        getattr(detector, method)(frame)
    (warning,) = caught
    assert "pandas.to_datetime(X['b'], dayfirst=True)" in str(warning.message)
    assert warning.filename == __file__
    detector.predict(frame)


def test_dates_chosen_as_categories_draw_no_warning(make_detector, numbers):
    frame = numbers.assign(b=["2025-03-01", "2025-03-02"] * 20)
    make_detector(epochs=1, categorical_features=["b"]).fit(frame)
    skae.make_synthetic_anomalies(frame, random_state=0)


@pytest.mark.parametrize("text", ["2025-07", "1.2.3", "12-34-5678", "10.0.20.25"])
def test_categories_that_are_no_dates_draw_no_warning(text, make_detector, numbers):
    frame = numbers.assign(b=[text, "2025-03-01"] * 20)
    make_detector(epochs=1, categorical_features="from_dtype").fit(frame)


@pytest.mark.parametrize("sign", ["", "n/a", "-", "?", "12_3"])
@pytest.mark.parametrize("make", [float, str], ids=["numbers", "text"])
def test_text_among_numbers_is_quoted_and_to_be_set_to_nan(
    sign, make, of_numbers, numbers
):
    cells = [make(i) for i in range(N_ROWS)]
    cells[5] = cells[7] = sign
    frame = numbers.assign(b=pd.Series(cells, dtype=object))
    with pytest.raises(ValueError, match="most of its values are numbers") as caught:
        of_numbers.predict(frame)
    message = str(caught.value)
    assert f"such as {sign!r} in row 5," in message
    assert "pandas.to_numeric(X['b'], errors='coerce')" in message
    frame["b"] = pd.to_numeric(frame["b"], errors="coerce")
    assert len(of_numbers.predict(frame)) == N_ROWS


def test_few_numbers_among_text_or_gaps_are_not_most(of_numbers, numbers):
    for other in ("red", np.nan, None):
        cells = [1.5, *[other] * (N_ROWS - 3), "red", "red"]
        frame = numbers.assign(b=pd.Series(cells, dtype=object))
        with pytest.raises(ValueError, match="'red' in row .* Convert text that"):
            of_numbers.predict(frame)


# --------------------------------------------------------------- new categories


@pytest.mark.parametrize("method", ["predict", "score_samples", "explain", "diagnose"])
@pytest.mark.parametrize("new, known", [("Card", "card"), (" wire", "wire")])
def test_categories_written_in_another_way_draw_one_warning(
    new, known, method, of_payments, payments
):
    rows = payments.assign(means=[None] + ["cheque", new] * 19 + [new])
    with pytest.warns(UserWarning, match="only new categories") as caught:
        getattr(of_payments, method)(rows)
    (warning,) = caught
    message = str(warning.message)
    assert f"column 'means', among them {new!r}, where fit saw {known!r}" in message
    assert warning.filename == __file__


def test_another_type_draws_no_second_warning(of_payments, payments):
    rows = payments.assign(shop=payments["shop"].astype(str))
    with pytest.warns(UserWarning, match="another type") as caught:
        of_payments.predict(rows)
    (warning,) = caught
    assert warning.filename == __file__


def test_other_new_categories_draw_no_warning(of_payments, payments):
    of_payments.predict(payments.assign(means="cheque"))
    of_payments.predict(payments.assign(means=["card"] + ["Card"] * 39))
    of_payments.predict(payments.assign(means=None))
    of_payments.predict(payments.assign(user="somebody"))  # none has a unit


def test_warning_of_new_categories_can_be_an_error(of_payments, payments):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="only new categories"):
            of_payments.predict(payments.assign(means="CARD"))
