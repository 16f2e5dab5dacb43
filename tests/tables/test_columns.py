"""Tables as people have them: dates, durations, gaps, and what is refused."""

import pickle
import re
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import sparse
from sklearn.base import clone

import skae
from skae._tables._columns import read_columns

N_ROWS = 80
GAP = 3  # the row in which dates and durations are missing
METHODS = [
    "score_samples",
    "decision_function",
    "predict",
    "p_values",
    "score",
    "calibrate",
    "explain",
    "diagnose",
    "transform",
    "reconstruct",
]
ALL_METHODS = [*METHODS, "fit", "partial_fit"]


@pytest.fixture(scope="module")
def numbers():
    """Whole days and seconds as numbers, beside two columns that follow them."""
    rng = np.random.default_rng(0)
    days = 19_000 + rng.integers(0, 500, size=N_ROWS)
    lasted = rng.integers(1, 10_000, size=N_ROWS)
    frame = pd.DataFrame({"when": 86_400.0 * days, "lasted": lasted.astype(float)})
    frame["x"] = days / 100 + rng.normal(size=N_ROWS)
    frame["z"] = lasted / 1_000 + rng.normal(size=N_ROWS)
    frame.loc[GAP, ["when", "lasted"]] = np.nan
    return frame


@pytest.fixture(scope="module")
def of_numbers(make_detector, numbers):
    return make_detector(score_method="neighbors").fit(numbers).calibrate(numbers)


@pytest.fixture(scope="module")
def dated(numbers):
    """The same rows as people have them."""
    return numbers.assign(
        when=pd.to_datetime(numbers["when"], unit="s"),
        lasted=pd.to_timedelta(numbers["lasted"], unit="s"),
    )


@pytest.fixture(scope="module")
def of_dated(make_detector, dated):
    return make_detector(score_method="neighbors").fit(dated).calibrate(dated)


def call(detector, method, X):
    """What a method makes of X, as numbers or text."""
    if method in ("fit", "partial_fit", "calibrate"):
        detector = getattr(pickle.loads(pickle.dumps(detector)), method)(X)
        return (
            detector.calibration_scores_
            if method == "calibrate"
            else detector.loss_curve_
        )
    made = getattr(detector, method)(X)
    return str(made) if method == "diagnose" else made


def exactly(message):
    return f"^{re.escape(message)}$"


def assert_same(made, expected):
    if isinstance(expected, str):
        assert made == expected
    else:
        np.testing.assert_allclose(made, expected, rtol=1e-9)


def as_objects(column, convert):
    """A column of Python's objects, with None in its gaps."""
    cells = [None if pd.isna(cell) else convert(cell) for cell in column]
    return pd.Series(cells, dtype=object)


TOKYO = timezone(timedelta(hours=9))
DATES = {
    "seconds": lambda column: column.astype("datetime64[s]"),
    "milliseconds": lambda column: column.astype("datetime64[ms]"),
    "microseconds": lambda column: column.astype("datetime64[us]"),
    "nanoseconds": lambda column: column.astype("datetime64[ns]"),
    "a time zone": lambda column: column.dt.tz_localize("UTC").dt.tz_convert(
        "Asia/Tokyo"
    ),
    "timestamp of pyarrow": lambda column: column.astype("timestamp[ms][pyarrow]"),
    "pyarrow with a time zone": lambda column: column.dt.tz_localize("UTC").astype(
        pd.ArrowDtype(pa.timestamp("us", "Asia/Tokyo"))
    ),
    "date32 of pyarrow": lambda column: column.astype("date32[pyarrow]"),
    "Timestamp objects": lambda column: column.astype(object),
    "datetime objects": lambda column: as_objects(column, pd.Timestamp.to_pydatetime),
    "datetime objects with a time zone": lambda column: as_objects(
        column, lambda cell: cell.to_pydatetime().replace(tzinfo=UTC).astimezone(TOKYO)
    ),
    "date objects": lambda column: as_objects(column, lambda cell: cell.date()),
    "datetime64 objects": lambda column: as_objects(
        column, lambda cell: cell.to_numpy()
    ),
    "dates and NaN": lambda column: column.astype(object).where(column.notna(), np.nan),
    "dates and pd.NA": lambda column: column.astype(object).where(
        column.notna(), pd.NA
    ),
    "a category": lambda column: column.astype("category"),
}
DURATIONS = {
    "seconds": lambda column: column.astype("timedelta64[s]"),
    "nanoseconds": lambda column: column.astype("timedelta64[ns]"),
    "duration of pyarrow": lambda column: column.astype("duration[ms][pyarrow]"),
    "Timedelta objects": lambda column: column.astype(object),
    "timedelta objects": lambda column: as_objects(column, pd.Timedelta.to_pytimedelta),
    "timedelta64 objects": lambda column: as_objects(
        column, lambda cell: cell.to_numpy()
    ),
    "time objects": lambda column: as_objects(
        column, lambda cell: (datetime.min + cell.to_pytimedelta()).time()
    ),
    "time64 of pyarrow": lambda column: as_objects(
        column, lambda cell: (datetime.min + cell.to_pytimedelta()).time()
    ).astype("time64[us][pyarrow]"),
}


class TestDatesAndDurations:
    @pytest.mark.parametrize("convert", DATES.values(), ids=DATES)
    def test_of_pandas_score_as_their_seconds(
        self, convert, make_detector, dated, numbers, of_numbers
    ):
        frame = dated.assign(when=convert(dated["when"]))
        before = frame.copy()
        detector = make_detector(score_method="neighbors").fit(frame)
        np.testing.assert_allclose(
            detector.score_samples(frame), of_numbers.score_samples(numbers), rtol=1e-9
        )
        pd.testing.assert_frame_equal(frame, before)

    @pytest.mark.parametrize("convert", DURATIONS.values(), ids=DURATIONS)
    def test_durations_of_pandas_score_as_their_seconds(
        self, convert, of_dated, dated, numbers, of_numbers
    ):
        frame = dated.assign(lasted=convert(dated["lasted"]))
        np.testing.assert_allclose(
            of_dated.score_samples(frame), of_numbers.score_samples(numbers), rtol=1e-9
        )

    @pytest.mark.parametrize(
        "when, lasted",
        [
            (pl.Datetime("ms"), pl.Duration("ms")),
            (pl.Datetime("us"), pl.Duration("us")),
            (pl.Datetime("ns", "UTC"), pl.Duration("ns")),
            (pl.Date, pl.Time),
            (pl.Object, pl.Object),
        ],
    )
    def test_of_polars_score_as_their_seconds(
        self, when, lasted, make_detector, dated, numbers, of_numbers
    ):
        frame = pl.from_pandas(dated)
        if when == pl.Object:
            objects = [
                pl.Series(n, list(frame[n]), pl.Object) for n in frame.columns[:2]
            ]
            frame = frame.with_columns(objects)
        else:
            column = pl.col("lasted")
            if lasted == pl.Time:
                column = pl.lit(datetime(2020, 1, 1)) + column
            frame = frame.with_columns(
                pl.col("when").dt.replace_time_zone("UTC").cast(when)
                if when == pl.Datetime("ns", "UTC")
                else pl.col("when").cast(when),
                column.cast(lasted).alias("lasted"),
            )
        assert frame.dtypes[:2] == [when, lasted]
        detector = make_detector(score_method="neighbors").fit(frame)
        np.testing.assert_allclose(
            detector.score_samples(frame), of_numbers.score_samples(numbers), rtol=1e-9
        )

    @pytest.mark.parametrize(
        "to_frame", [pd.DataFrame, pl.from_pandas, pa.Table.from_pandas]
    )
    @pytest.mark.parametrize("method", ALL_METHODS)
    def test_are_read_by_each_method(
        self, method, to_frame, of_dated, of_numbers, dated, numbers
    ):
        assert_same(
            call(of_dated, method, to_frame(dated)), call(of_numbers, method, numbers)
        )

    @pytest.mark.parametrize("unit", ["D", "h", "s", "ms", "us", "ns"])
    def test_of_an_array_score_as_their_seconds(self, unit, make_detector):
        days = np.random.default_rng(0).integers(10_000, 20_000, size=(50, 3))
        dates = days.astype("M8[D]").astype(f"M8[{unit}]")
        dates[GAP, 1] = "NaT"
        seconds = np.where(np.isnat(dates), np.nan, 86_400.0 * days)
        expected = make_detector().fit(seconds).score_samples(seconds)
        for X in (dates, dates - np.datetime64(0, "D")):
            np.testing.assert_allclose(
                make_detector().fit(X).score_samples(X), expected, rtol=1e-9
            )

    @pytest.mark.parametrize("to_rows", [np.array, list, tuple])
    def test_in_rows_of_objects_score_as_their_seconds(
        self, to_rows, make_detector, dated, numbers, of_numbers
    ):
        rows = to_rows(dated.astype(object).to_numpy())
        detector = make_detector(score_method="neighbors").fit(rows)
        np.testing.assert_allclose(
            detector.score_samples(rows),
            of_numbers.score_samples(numbers),
            rtol=1e-9,
        )

    def test_are_as_exact_as_float64_can_be(self):
        nanoseconds = 1_750_000_000_000_000_000 + np.arange(0, 10**9, 12_345_679)
        expected = [float(Fraction(int(n), 10**9)) for n in nanoseconds]
        (dates,) = read_columns(nanoseconds.astype("M8[ns]")[:, None]).X.T
        np.testing.assert_allclose(dates, expected, rtol=0, atol=2.4e-7)
        few = np.arange(1, 10**6, 12_347)
        (durations,) = read_columns(few.astype("m8[ns]")[:, None]).X.T
        np.testing.assert_array_equal(durations, few / 1e9)
        (before,) = read_columns(np.array([["1969-12-31T23:59:58.5"]], "M8[ms]")).X
        assert before == -1.5

    def test_that_lie_within_a_tenth_of_a_millisecond_are_warned_of(
        self, make_detector, dated
    ):
        ticks = np.random.default_rng(0).integers(0, 90_000, size=N_ROWS)
        dates = (1_750_000_000_000_000_000 + ticks).astype("M8[ns]")
        frame = pd.DataFrame({"tick": dates, "x": dated["x"]})
        message = (
            "X has dates that all lie within 0.0001 seconds in column 'tick'. They are "
            "read as seconds since 1970, exact to 2.4e-07: pass durations since one of "
            "them instead."
        )
        with pytest.warns(UserWarning, match=exactly(message)) as record:
            detector = make_detector().fit(frame)
        assert record[0].filename == __file__
        detector.score_samples(frame)
        frame["tick"] -= frame["tick"].min()
        make_detector().fit(frame)

    def test_that_are_all_the_same_are_not(self, make_detector, dated):
        make_detector().fit(dated.assign(when=pd.Timestamp(2020, 1, 1)))

    def test_come_back_as_seconds(self, of_dated, of_numbers, dated, numbers):
        made = of_dated.reconstruct(dated)
        np.testing.assert_allclose(made, of_numbers.reconstruct(numbers), rtol=1e-9)
        assert made[0, 0] > 1e9

    def test_are_drawn(self, of_dated, dated):
        plt = pytest.importorskip("matplotlib.pyplot")
        display = skae.ExplanationDisplay.from_estimator(of_dated, dated.iloc[[0]])
        assert "when" in [label.get_text() for label in display.ax_.get_yticklabels()]
        plt.close(display.figure_)


class TestKindOfAColumn:
    """It is remembered: dates in place of numbers would be nonsense without a word."""

    @pytest.mark.parametrize("method", [*METHODS, "partial_fit"])
    def test_dates_where_numbers_were_are_an_error(
        self, method, of_numbers, numbers, dated
    ):
        before = pickle.dumps(of_numbers)
        message = (
            "X must hold what the detector was fitted on: column 'when' held numbers "
            "then and holds dates now. Convert it to numbers, or fit anew."
        )
        with pytest.raises(ValueError, match=exactly(message)):
            getattr(of_numbers, method)(numbers.assign(when=dated["when"]))
        assert pickle.dumps(of_numbers) == before

    @pytest.mark.parametrize(
        "column, kind, way",
        [
            ("when", "dates", "dates, for example by astype('datetime64[s]')"),
            (
                "lasted",
                "durations",
                "durations, for example by astype('timedelta64[s]')",
            ),
        ],
    )
    def test_numbers_where_dates_were_are_an_error(
        self, column, kind, way, of_dated, dated, numbers
    ):
        message = (
            f"X must hold what the detector was fitted on: column '{column}' held "
            f"{kind} then and holds numbers now. Convert it to {way}, or fit anew."
        )
        frame = dated.assign(**{column: numbers[column]})
        for method in ("score_samples", "partial_fit", "calibrate"):
            with pytest.raises(ValueError, match=exactly(message)):
                getattr(of_dated, method)(frame)

    def test_array_of_numbers_where_dates_were_is_an_error(self, make_detector):
        X = np.arange(60).reshape(-1, 2).astype("M8[D]")
        with pytest.raises(ValueError, match="column 0 held dates then and holds numb"):
            make_detector().fit(X).predict(X.astype(float))

    @pytest.mark.parametrize("gap", [None, np.nan, pd.NaT, pd.NA])
    def test_column_of_gaps_is_of_any_kind(self, gap, of_dated, dated):
        some = dated[:2]
        expected = of_dated.score_samples(some.assign(when=pd.NaT))
        frame = some.assign(when=pd.Series([gap, gap], dtype=object))
        np.testing.assert_array_equal(of_dated.score_samples(frame), expected)
        frame = pl.from_pandas(some).with_columns(pl.lit(None).alias("when"))
        np.testing.assert_array_equal(of_dated.score_samples(frame), expected)

    def test_goes_where_the_detector_goes(self, tmp_path, of_dated, dated, numbers):
        skops = pytest.importorskip("skops.io")
        dumped, path = skops.dumps(of_dated), tmp_path / "dated.skae"
        asked = skops.get_untrusted_types(data=dumped)
        assert asked == ["skae._detector.AutoencoderOutlierDetector"]
        skae.save(of_dated, path)
        for copy in (
            pickle.loads(pickle.dumps(of_dated)),
            skops.loads(dumped, trusted=asked),
            skae.load(path),
        ):
            np.testing.assert_array_equal(
                copy.score_samples(dated), of_dated.score_samples(dated)
            )
            with pytest.raises(ValueError, match="column 'when' held dates"):
                copy.score_samples(numbers)

    def test_is_that_of_the_last_fit(self, make_detector, dated, numbers):
        detector = make_detector().fit(dated).fit(numbers)
        detector.score_samples(numbers)
        with pytest.raises(ValueError, match="column 'when' held numbers"):
            detector.score_samples(dated)

    def test_is_not_that_of_an_unfitted_clone(self, of_dated, numbers):
        clone(of_dated).fit(numbers)

    def test_is_kept_by_a_stream(self, make_detector, dated, numbers):
        detector = make_detector().partial_fit(dated[:40]).partial_fit(dated[40:])
        detector.score_samples(dated)
        with pytest.raises(ValueError, match="column 'when' held dates"):
            detector.partial_fit(numbers)


class TestGaps:
    @pytest.mark.parametrize(
        "dtype", [np.float32, np.float64, np.int16, np.int64, bool, object]
    )
    def test_masked_cells_are_missing(self, dtype, make_detector):
        rng = np.random.default_rng(0)
        values = rng.integers(0, 2 if dtype is bool else 100, size=(60, 3)).astype(
            dtype
        )
        mask = rng.uniform(size=values.shape) < 0.2
        mask[:, 0] = False
        holed = np.where(mask, np.nan, values.astype(float))
        X = np.ma.array(values, mask=mask)
        expected = make_detector().fit(holed)
        detector = make_detector().fit(X)
        for method in ("score_samples", "explain", "transform", "reconstruct"):
            np.testing.assert_allclose(
                call(detector, method, X), call(expected, method, holed), rtol=1e-5
            )
        rows = list(np.ma.array(values.astype(float), mask=mask))
        np.testing.assert_array_equal(
            expected.score_samples(rows), expected.score_samples(holed)
        )
        np.testing.assert_array_equal(X.mask, mask)

    @pytest.mark.parametrize("method", ALL_METHODS)
    def test_masked_cells_are_missing_for_each_method(
        self, method, make_detector, numbers
    ):
        mask = np.isnan(numbers.to_numpy())
        X = np.ma.array(numbers.fillna(-9999).to_numpy(), mask=mask)
        holed = numbers.to_numpy()
        detector = make_detector().fit(holed).calibrate(holed)
        assert_same(call(detector, method, X), call(detector, method, holed))

    def test_masked_dates_are_missing(self, make_detector):
        days = np.random.default_rng(0).integers(10_000, 20_000, size=(50, 2))
        mask = np.zeros(days.shape, bool)
        mask[GAP, 0] = True
        dates = days.astype("M8[D]")
        detector = make_detector().fit(np.ma.array(dates, mask=mask))
        holed = dates.copy()
        holed[mask] = "NaT"
        np.testing.assert_array_equal(
            detector.score_samples(np.ma.array(dates, mask=mask)),
            make_detector().fit(holed).score_samples(holed),
        )

    @pytest.mark.parametrize("gap", [None, np.nan, pd.NA, pd.NaT, Decimal("nan")])
    def test_in_objects_are_missing(self, gap, numbers, of_numbers):
        frame = numbers.astype({"when": object})
        frame.loc[GAP, "when"] = gap
        expected = of_numbers.score_samples(numbers)
        np.testing.assert_array_equal(of_numbers.score_samples(frame), expected)
        rows = frame.to_numpy(dtype=object)
        with pytest.warns(UserWarning, match="does not have valid feature names"):
            np.testing.assert_array_equal(of_numbers.score_samples(rows), expected)
        with pytest.warns(UserWarning, match="does not have valid feature names"):
            scores = of_numbers.score_samples(rows.tolist())
        np.testing.assert_array_equal(scores, expected)

    @pytest.mark.parametrize(
        "dtype", ["Int64", "Float64", "Float32", "int64[pyarrow]", "double[pyarrow]"]
    )
    def test_in_nullable_columns_are_missing(self, dtype, make_detector):
        array = np.random.default_rng(0).integers(0, 100, size=(60, 3)).astype(float)
        array[GAP, 1] = np.nan
        frame = pd.DataFrame(array, columns=list("abc"))
        expected = make_detector().fit(array).score_samples(array)
        nullable = frame.astype(dtype)
        beside_objects = nullable.astype({"c": object})
        for X in (nullable, beside_objects):
            np.testing.assert_allclose(
                make_detector().fit(X).score_samples(X), expected, rtol=1e-5
            )

    @pytest.mark.parametrize("dtype", ["boolean", "bool[pyarrow]"])
    def test_in_nullable_booleans_are_missing(self, dtype, of_numbers, numbers):
        x = [0.0, 1.0, np.nan] * 20
        frame = numbers[:60].assign(x=pd.array([False, True, None] * 20, dtype=dtype))
        np.testing.assert_array_equal(
            of_numbers.score_samples(frame),
            of_numbers.score_samples(numbers[:60].assign(x=x)),
        )


def test_numbers_of_any_type_are_numbers(of_numbers, numbers):
    cells = [1, True, np.float32(0.5), Fraction(1, 4), Decimal("2.5"), np.int8(3), -0.5]
    frame = numbers[:7].assign(x=pd.Series(cells, dtype=object))
    np.testing.assert_array_equal(
        of_numbers.score_samples(frame),
        of_numbers.score_samples(numbers[:7].assign(x=list(map(float, cells)))),
    )


def test_categories_that_are_numbers_are_numbers(of_numbers, numbers):
    cells = [1, 2, None] * 10
    frame = numbers[:30].assign(x=pd.Categorical(cells))
    np.testing.assert_array_equal(
        of_numbers.score_samples(frame),
        of_numbers.score_samples(numbers[:30].assign(x=cells)),
    )


def test_tables_of_numbers_are_handed_on_as_they_are(numbers):
    for X in (
        numbers,
        pl.from_pandas(numbers),
        numbers.to_numpy(),
        numbers.to_numpy("f4"),
        sparse.csr_array(numbers.fillna(0).to_numpy()),
    ):
        assert read_columns(X).X is X


def test_columns_of_numbers_are_not_copied(dated):
    frame = read_columns(dated).X
    assert np.shares_memory(frame["x"].to_numpy(), dated["x"].to_numpy())
    small = pd.DataFrame(np.eye(3, dtype="f4"), columns=list("abc"))
    assert read_columns(small.astype({"b": "Float32"})).X.dtypes.eq("f4").all()


@pytest.mark.parametrize("to_frame", [pd.DataFrame, pl.from_pandas])
def test_other_order_of_the_columns_is_refused(to_frame, of_dated, dated):
    with pytest.raises(ValueError, match="must be in the same order"):
        of_dated.predict(to_frame(dated[dated.columns[::-1]]))


TEXT_ADVICE = (
    "Convert text that stands for numbers or dates, name the column in "
    'categorical_features (or set it to "from_dtype"), or leave the column out.'
)
OBJECT_ADVICE = "Convert it to numbers, dates or durations, or leave the column out."
NUMBERS_ADVICE = (
    "Set what stands for a missing one to NaN, as pandas.to_numeric(X['x'], "
    "errors='coerce') does with all that is no number. Of categories, name the column "
    "in categorical_features, or leave it out."
)
WORDS = ["blue", "red"] * (N_ROWS // 2)
MIXED = [1.5, None, "red"] + [2.5] * (N_ROWS - 3)
FIRST_IN = {
    "blue": "text, such as 'blue' in row 0",
    "red": "text, such as 'red' in row 2, while most of its values are numbers",
    "1.5": "text, such as '1.5' in row 0",
}


def refuse(name, what, advice=TEXT_ADVICE):
    where = f"X must hold numbers, dates or durations: column {name!r} holds"
    return f"{where} {what}. {advice}"


@pytest.mark.parametrize("method", ALL_METHODS)
@pytest.mark.parametrize(
    "column, what",
    [
        (pd.Series(WORDS, dtype=object), FIRST_IN["blue"]),
        (pd.Series(MIXED, dtype=object), FIRST_IN["red"]),
        (pd.Series(WORDS, dtype="string"), FIRST_IN["blue"]),
        (pd.Series(WORDS, dtype="category"), FIRST_IN["blue"]),
        (pd.Series(["1.5"] * N_ROWS), FIRST_IN["1.5"]),
        (pl.Series(WORDS), FIRST_IN["blue"]),
        (pl.Series(WORDS, dtype=pl.Categorical), FIRST_IN["blue"]),
        (pl.Series(WORDS, dtype=pl.Enum(["blue", "red"])), FIRST_IN["blue"]),
        (pl.Series(MIXED, dtype=pl.Object), FIRST_IN["red"]),
    ],
    ids=str,
)
def test_text_is_an_error_that_quotes_it(column, what, method, of_numbers, numbers):
    if isinstance(column, pl.Series):
        frame = pl.from_pandas(numbers).with_columns(column.alias("x"))
    else:
        frame = numbers.assign(x=column)
    before = pickle.dumps(of_numbers)
    message = refuse("x", what, NUMBERS_ADVICE if "most" in what else TEXT_ADVICE)
    with pytest.raises(ValueError, match=exactly(message)):
        getattr(of_numbers, method)(frame)
    assert pickle.dumps(of_numbers) == before


@pytest.mark.parametrize(
    "X",
    [
        np.array([["a", "1"], ["b", "2"]]),
        np.array([["a", 1.0], ["b", 2.0]], dtype=object),
        [["a", 1.0], ["b", 2.0]],
    ],
    ids=str,
)
def test_text_in_an_array_is_an_error_that_says_where(X, make_detector):
    message = refuse(0, "text, such as 'a' in row 0")
    with pytest.raises(ValueError, match=exactly(message)):
        make_detector().fit(X)


@pytest.mark.parametrize(
    "column, cell, kind",
    [
        (
            pd.period_range("2024", periods=N_ROWS),
            "Period('2024-01-01', 'D')",
            "Period",
        ),
        (pd.interval_range(0, N_ROWS), "Interval(0, 1, closed='right')", "Interval"),
        ([b"1"] * N_ROWS, "b'1'", "bytes"),
        ([[1, 2]] * N_ROWS, "[1, 2]", "list"),
        ([{"a": 1}] * N_ROWS, "{'a': 1}", "dict"),
        ([1.0] * (N_ROWS - 1) + [...], "Ellipsis", "ellipsis"),
    ],
    ids=lambda value: str(value)[:20],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict", "calibrate"])
def test_what_is_no_number_is_an_error_that_names_the_column(
    column, cell, kind, method, of_numbers, numbers
):
    frame = numbers.assign(x=column)
    row = N_ROWS - 1 if kind == "ellipsis" else 0
    what = (
        f"{cell} in row {row}, of type '{kind}' (float() argument must be a string or "
        "a real number)"
    )
    before = pickle.dumps(of_numbers)
    message = refuse("x", what, OBJECT_ADVICE)
    with pytest.raises(TypeError, match=exactly(message)):
        getattr(of_numbers, method)(frame)
    assert pickle.dumps(of_numbers) == before


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([[1.0, 2.0]] * N_ROWS),
        pl.Series([[1.0, 2.0]] * N_ROWS, dtype=pl.Array(pl.Float64, 2)),
        pl.Series([{"a": 1.0}] * N_ROWS),
        pl.Series([b"1"] * N_ROWS),
    ],
    ids=lambda column: str(column.dtype),
)
def test_nested_columns_of_polars_are_an_error(column, of_numbers, numbers):
    frame = pl.from_pandas(numbers).with_columns(column.alias("x"))
    with pytest.raises(TypeError, match="column 'x' holds .* in row 0, of type"):
        of_numbers.predict(frame)


def test_complex_numbers_are_an_error_that_names_the_column(of_numbers, numbers):
    message = (
        "Complex data not supported. X must hold numbers, dates or durations: column "
        "'x' holds complex numbers, such as np.complex128(1j) in row 0. Pass real and "
        "imaginary parts as two columns."
    )
    with pytest.raises(ValueError, match=exactly(message)):
        of_numbers.predict(numbers.assign(x=1j))


@pytest.mark.parametrize(
    "cells, what",
    [
        (
            [date(2024, 1, 1), 3.5],
            "numbers and dates, such as 3.5 in row 1 and datetime.date(2024, 1, 1) in "
            "row 0",
        ),
        (
            [np.nan, timedelta(1), 3],
            "numbers and durations, such as 3 in row 2 and datetime.timedelta(days=1) "
            "in row 1",
        ),
        (
            [date(2024, 1, 1), None, time(1)],
            "dates and durations, such as datetime.date(2024, 1, 1) in row 0 and "
            "datetime.time(1, 0) in row 2",
        ),
        (
            [date(2024, 1, 1), Decimal("sNaN")],
            "numbers and dates, such as Decimal('sNaN') in row 1 and "
            "datetime.date(2024, 1, 1) in row 0",
        ),
    ],
)
def test_column_of_two_kinds_is_an_error(cells, what, of_dated, dated):
    frame = dated[: len(cells)].assign(when=pd.Series(cells, dtype=object))
    message = refuse("when", what, "Make it a column of one kind.")
    with pytest.raises(ValueError, match=exactly(message)):
        of_dated.predict(frame)


@pytest.mark.parametrize("dtype", ["m8[Y]", "m8[M]", "m8"])
def test_durations_of_no_fixed_length_are_an_error(dtype, make_detector):
    message = refuse(
        0,
        f"durations of dtype {np.dtype(dtype)}, which are no number of seconds",
        "Convert it to durations of a fixed length.",
    )
    with pytest.raises(ValueError, match=exactly(message)):
        make_detector().fit(np.ones((20, 2), np.int64).view(dtype))


class TestInfinity:
    MESSAGE = (
        "Input X contains infinity or a value too large for dtype('float64'). Numbers "
        "must be finite, and NaN where one is missing: {}. Correct these cells, or set "
        "them to NaN."
    )

    @pytest.mark.parametrize("method", ALL_METHODS)
    @pytest.mark.parametrize("to_frame", [pd.DataFrame, pl.from_pandas])
    def test_is_an_error_that_names_columns_and_rows(
        self, to_frame, method, of_numbers, numbers
    ):
        frame = numbers.copy()
        frame.loc[[5, 7], "z"] = -np.inf
        frame.loc[6, "x"] = np.inf
        before = pickle.dumps(of_numbers)
        cells = "column 'x' holds inf in row 6, column 'z' holds -inf in row 5"
        message = self.MESSAGE.format(cells)
        with pytest.raises(ValueError, match=exactly(message)):
            getattr(of_numbers, method)(to_frame(frame))
        assert pickle.dumps(of_numbers) == before

    @pytest.mark.parametrize("to_table", [np.asarray, sparse.csr_array, list])
    @pytest.mark.parametrize("method", ["fit", "predict"])
    def test_in_other_tables_is_named_by_number(self, method, to_table, make_detector):
        X = np.random.default_rng(0).normal(size=(50, 3))
        detector = make_detector().fit(X)
        X[9, 2] = np.inf
        message = self.MESSAGE.format("column 2 holds inf in row 9")
        with pytest.raises(ValueError, match=exactly(message)):
            getattr(detector, method)(to_table(X))

    @pytest.mark.parametrize(
        "column",
        [
            pd.Series([1, -(10**400)], dtype=object),
            pd.Series([1, Decimal("-1e400")], dtype=object),
            pd.Series(np.array([1, "-1e400"], np.longdouble)),
        ],
        ids=["int", "Decimal", "longdouble"],
    )
    def test_is_what_a_larger_number_than_float64_has_counts_as(
        self, column, of_numbers, numbers
    ):
        message = self.MESSAGE.format("column 'x' holds -inf in row 1")
        with pytest.raises(ValueError, match=exactly(message)):
            of_numbers.predict(numbers[:2].assign(x=column))

    def test_in_many_columns_names_the_first(self, make_detector):
        X = np.full((20, 15), np.inf)
        with pytest.raises(ValueError, match="column 9 holds inf in row 0, and 5 more"):
            make_detector().fit(X)


class TestColumnsWithNothingObserved:
    MESSAGE = (
        "X has no observed cell in {}: nothing is learnt about such a column. A later "
        "value there is compared with about 0, in its own units, and a large one "
        "raises an alarm; a category adds nothing to the mean over the columns. Leave "
        "the column out."
    )

    @pytest.mark.parametrize(
        "gaps", [np.nan, None, pd.NaT, np.datetime64("NaT", "s")], ids=repr
    )
    @pytest.mark.parametrize("method", ["fit", "partial_fit", "fit_predict"])
    def test_are_warned_of_by_name(self, method, gaps, make_detector, numbers):
        frame = numbers.drop(index=GAP).assign(x=gaps, z=np.nan)
        message = self.MESSAGE.format("column 'x', column 'z'")
        with pytest.warns(UserWarning, match=exactly(message)) as record:
            getattr(make_detector(), method)(frame)
        assert len(record) == 1
        if method != "fit_predict":
            assert record[0].filename == __file__

    def test_raise_an_alarm_later_as_the_warning_says(self, make_detector, numbers):
        detector = make_detector(score_method="neighbors", epochs=20, contamination=0.1)
        with pytest.warns(UserWarning, match="no observed cell in column 'x'"):
            detector.fit(numbers.assign(x=np.nan))
        shares = [
            np.mean(detector.predict(numbers.assign(x=value)) == -1)
            for value in (np.nan, 0.0, 1000.0)
        ]
        assert shares[0] <= 0.11 and shares[1] < 0.5 and shares[2] == 1.0

    @pytest.mark.parametrize("to_table", [np.asarray, sparse.csr_array])
    def test_of_rows_that_count_are_warned_of(self, to_table, make_detector, numbers):
        X = numbers.to_numpy().copy()
        X[5:, 2] = np.nan
        weights = np.repeat([0.0, 1.0], [5, N_ROWS - 5])
        with pytest.warns(UserWarning, match="no observed cell in column 2"):
            make_detector().fit(to_table(X), sample_weight=weights)
        make_detector().fit(to_table(X))

    def test_of_a_stream_are_those_of_its_sample(self, make_detector, numbers):
        holed = numbers.assign(x=np.nan)
        detector = make_detector()
        for rows in (holed[:40], holed[40:]):
            with pytest.warns(UserWarning, match="column 'x'") as record:
                detector.partial_fit(rows)
            assert len(record) == 1
        detector.partial_fit(numbers[:20])
        detector.partial_fit(holed)

    def test_are_named_the_first_ten_of_many(self, make_detector):
        X = np.full((20, 15), np.nan)
        X[:, 0] = np.arange(20)
        with pytest.warns(
            UserWarning, match="column 9, column 10, and 4 more: nothing"
        ):
            make_detector().fit(X)


def test_neither_pandas_nor_polars_is_needed(run_in_fresh_process):
    run_in_fresh_process(
        "import sys\n"
        "sys.modules |= dict.fromkeys(['pandas', 'polars', 'pyarrow'])\n"
        "import numpy as np, skae\n"
        "from skae._tables._columns import read_columns\n"
        "assert read_columns(np.array([['1970', 'NaT']], 'M8[s]')).X[0, 0] == 0\n"
        "assert read_columns([[1.0, None]]).X[0, 0] == 1\n"
    )


def test_nat_of_numpy_among_objects_is_a_gap(make_detector):
    durations = pd.Series(pd.to_timedelta(np.arange(40.0), unit="s"))
    frame = pd.DataFrame({"d": durations, "x": np.arange(40.0) % 7})
    detector = make_detector(epochs=1).fit(frame)
    row = frame[:1].assign(d=pd.Series([np.timedelta64("NaT", "s")], dtype=object))
    expected = frame[:1].assign(d=pd.Series([pd.NaT], dtype="timedelta64[ns]"))
    assert detector.score_samples(row) == detector.score_samples(expected)


@pytest.mark.parametrize("kind", ["numbers", "categories"])
@pytest.mark.parametrize("library", ["pandas", "pyarrow"])
def test_two_columns_of_one_name_are_an_error_that_says_it(
    kind, library, make_detector
):
    cells = np.arange(20) if kind == "numbers" else np.repeat(["u", "v"], 10)
    frame = pd.DataFrame({"a": np.arange(20.0), "b": cells})
    if library == "pandas":
        frame.columns = ["a", "a"]
    else:
        frame = pa.Table.from_pandas(frame).rename_columns(["a", "a"])
    detector = make_detector(categorical_features="from_dtype")
    with pytest.raises(ValueError, match="own. Got more than one .* name 'a'. Rename"):
        detector.fit(frame)


def test_one_row_of_text_is_an_error_that_says_it_is_no_table(make_detector):
    frame = pd.DataFrame({"a": np.arange(20.0), "b": ["u", "v"] * 10})
    detector = make_detector(categorical_features=["b"]).fit(frame)
    with pytest.raises(ValueError, match="1D array instead.*iloc"):
        detector.predict(frame.iloc[0])
    with pytest.raises(ValueError, match="1D array instead"):
        detector.predict(np.array([0.0, "u"], dtype=object))
