"""Columns of categories: which ones they are, their codes, and the way back."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import sparse

from skae._tables._categories import decode_columns
from skae._tables._columns import CATEGORY, DATE, DURATION, KINDS, NUMBER, read_columns

NAN = np.nan
COLORS = ["red", "blue", None, "red", ""]
CODES = [2.0, 1.0, NAN, 2.0, 0.0]
VALUES = ["", "blue", "red"]
NUMBERS = [1.0, 2.0, 3.0, NAN, 5.0]


def read_one(cells, categories=None, to_table=None):
    """The codes of one column of objects, and its values."""
    X = np.empty((len(cells), 1), dtype=object)
    X[:, 0] = cells
    read = read_columns(X if to_table is None else to_table(X), [0], categories)
    assert read.kinds == [CATEGORY]
    return list(as_array(read.X)[:, 0]), read.categories[0]


def as_array(X):
    return X.toarray() if sparse.issparse(X) else np.asarray(X, dtype=float)


def assert_types(values, expected):
    """Equal values of the same types, which `==` does not tell apart."""
    assert values == expected
    assert list(map(type, values)) == list(map(type, expected))


def exactly(message):
    return f"^{re.escape(message)}$"


def test_category_is_the_last_kind():
    assert KINDS == (NUMBER, DATE, DURATION, CATEGORY)


class TestValues:
    def test_are_sorted_and_codes_are_their_places(self):
        codes, values = read_one(COLORS)
        np.testing.assert_array_equal(codes, CODES)
        assert_types(values, VALUES)

    @pytest.mark.parametrize("seed", range(5))
    def test_do_not_depend_on_the_order_of_the_rows(self, seed):
        cells = ["b", "a", "1", 1, True, 1.0, 0.0, -0.0, False, 2.5, None, True, 7.0]
        order = np.random.default_rng(seed).permutation(len(cells))
        codes, values = read_one([cells[i] for i in order])
        assert_types(values, [0.0, 1, 2.5, 7.0, "1", "a", "b"])
        assert str(values[0]) == "0.0"
        expected = np.array([6, 5, 4, 1, 1, 1, 0, 0, 0, 2, NAN, 1, 3])
        np.testing.assert_array_equal(codes, expected[order])

    @pytest.mark.parametrize(
        "dtype, expected",
        [
            (bool, [False, True]),
            (np.int8, [0, 1]),
            (np.uint64, [0, 1]),
            (np.float16, [0.0, 1.0]),
            (np.float64, [0.0, 1.0]),
            (np.longdouble, [0.0, 1.0]),
            (str, ["0", "1"]),
            (np.dtypes.StringDType(), ["0", "1"]),
        ],
    )
    def test_of_an_array_are_of_pythons_types(self, dtype, expected):
        X = np.array([[1, 0], [0, 0]]).astype(dtype)
        read = read_columns(X, [True, True])
        np.testing.assert_array_equal(read.X, [[1, 0], [0, 0]])
        assert_types(read.categories[0], expected)
        assert_types(read.categories[1], expected[:1])

    @pytest.mark.parametrize(
        "cell, value",
        [
            (np.str_("a"), "a"),
            (np.bool_(True), True),
            (np.int16(3), 3),
            (np.float32(0.1), 0.1),
            (np.float64(0.1), 0.1),
            (Fraction(1, 4), 0.25),
            (Decimal("2.5"), 2.5),
            (IntEnum("Level", "LOW HIGH").HIGH, 2),
            (Enum("Color", "RED").RED, "Color.RED"),
            (Enum("Word", {"A": "a"}, type=str).A, "a"),
            (2**70, 2**70),
            (("a", 1), "('a', 1)"),
            (b"a", "b'a'"),
            (pd.Interval(0, 1), "(0, 1]"),
            (pd.Period("2024-01"), "2024-01"),
            (date(2024, 1, 2), "2024-01-02"),
            (datetime(2024, 1, 2), "2024-01-02"),
            (datetime(2024, 1, 2, 3, 4, 5), "2024-01-02T03:04:05"),
            (datetime(2024, 1, 2, 3, tzinfo=UTC), "2024-01-02T03:00:00"),
            (pd.Timestamp("2024-01-02 03:04:05.25"), "2024-01-02T03:04:05.25"),
            (np.datetime64("2024-01"), "2024-01-01"),
            (timedelta(days=1, seconds=2), "1 day, 0:00:02"),
            (pd.Timedelta("1h"), "1:00:00"),
            (np.timedelta64(90, "s"), "0:01:30"),
            (np.timedelta64(2, "M"), "2 months"),
            (time(1, 30), "1:30:00"),
        ],
        ids=repr,
    )
    def test_of_any_hashable_type_are_numbers_or_text(self, cell, value):
        codes, values = read_one([cell, None])
        np.testing.assert_array_equal(codes, [0, NAN])
        assert_types(values, [value])

    @pytest.mark.parametrize(
        "gap",
        [
            None,
            NAN,
            np.float32("nan"),
            pd.NA,
            pd.NaT,
            np.datetime64("NaT", "s"),
            np.timedelta64("NaT", "s"),
            Decimal("nan"),
            np.ma.masked,
        ],
        ids=repr,
    )
    def test_that_are_missing_have_no_code(self, gap):
        codes, values = read_one(["a", gap, "b"])
        np.testing.assert_array_equal(codes, [0, NAN, 1])
        assert values == ["a", "b"]
        codes, _ = read_one(["b", gap], [["a", "b"]])
        np.testing.assert_array_equal(codes, [1, NAN])

    def test_that_look_like_gaps_are_text(self):
        _, values = read_one(["nan", "None", "", "NaT"])
        assert values == ["", "NaT", "None", "nan"]

    def test_of_a_column_of_gaps_are_none(self):
        codes, values = read_one([None, NAN])
        assert np.isnan(codes).all() and values == []
        assert read_one(["a", None, 1], [[]])[0][:1] == [0]

    @pytest.mark.parametrize("infinite", [np.inf, -np.inf, 10**400, Decimal("-1e400")])
    def test_that_are_infinite_numbers_stay_infinite(self, infinite):
        sign = np.sign(1.0 if infinite > 0 else -1.0)
        codes, values = read_one([1.0, infinite, 2.0])
        assert codes == [0, sign * np.inf, 1] and values == [1.0, 2.0]
        codes, _ = read_one([2.0, infinite], [[1.0, 2.0]])
        assert codes == [1, sign * np.inf]
        X = np.array([[np.inf, 1.0], [3.0, 2.0]])
        np.testing.assert_array_equal(read_columns(X, [0]).X, [[np.inf, 1], [0, 2]])

    def test_of_a_copy_in_float32_are_the_same(self):
        X = np.array([[0.1], [1e-9], [NAN], [2.5]])
        read = read_columns(X, [0])
        copy = X.astype(np.float32)
        expected = read.X
        for table in (
            copy,
            sparse.csr_array(copy),
            pd.DataFrame(copy, dtype="Float32"),
        ):
            codes = as_array(read_columns(table, None, read.categories).X)
            np.testing.assert_array_equal(codes, expected)

    @pytest.mark.parametrize("unit", ["D", "s", "ms", "us", "ns"])
    def test_of_dates_do_not_depend_on_their_unit(self, unit):
        dates = np.array([["2024-01-02"], ["NaT"], ["2023-01-02"]], f"M8[{unit}]")
        for X in (dates, pd.DataFrame(dates).astype(f"M8[{max(unit, 's')}]")):
            read = read_columns(X, [0])
            np.testing.assert_array_equal(as_array(read.X)[:, 0], [1, NAN, 0])
            assert read.categories == [["2023-01-02", "2024-01-02"]]


class TestPrediction:
    def test_finds_the_codes_of_fit_and_unknown_values(self):
        codes, values = read_one(["red", "green", None, ""], [VALUES])
        np.testing.assert_array_equal(codes, [2, 3, NAN, 0])
        assert values is VALUES

    def test_does_not_ask_for_the_parameter(self):
        X = np.array([[1.0, 7.0]])
        read = read_columns(X, ["no", "names"], [None, [5, 7]])
        np.testing.assert_array_equal(read.X, [[1, 1]])
        assert read.kinds == [NUMBER, CATEGORY]

    @pytest.mark.filterwarnings("ignore:X has another type in the categories")
    @pytest.mark.parametrize("as_type", [bool, int, np.float32, float, object])
    def test_finds_equal_numbers_of_any_type(self, as_type):
        X = np.array([[1], [0]]).astype(as_type)
        for values in ([False, True], [0, 1], [0.0, 1.0]):
            np.testing.assert_array_equal(read_columns(X, None, [values]).X, [[1], [0]])
        unknown = read_columns(X, None, [["0", "1"]]).X
        np.testing.assert_array_equal(unknown, [[2], [2]])

    def test_takes_any_kind_of_table_for_the_one_of_fit(self):
        values = [["a", "b"], None]
        rows = [["b", 1.0], ["c", 2.0]]
        frame = pd.DataFrame(rows, columns=["x", "y"])
        for X in (
            rows,
            np.array(rows, dtype=object),
            frame,
            frame.astype({"x": "category"}),
            pl.from_pandas(frame),
            pa.Table.from_pandas(frame),
        ):
            read = read_columns(X, None, values)
            np.testing.assert_array_equal(as_array(read.X), [[1, 1], [2, 2]])
            assert read.categories is values

    def test_leaves_a_wrong_number_of_columns_to_be_reported(self):
        for n_features in (1, 3):
            X = np.ones((2, n_features))
            assert read_columns(X, None, [[1.0], None]).X.shape == X.shape

    def test_tells_lists_of_different_detectors_apart(self):
        for n in range(100):
            X = np.array([[5.0 + n]])
            assert read_columns(X, None, [[4 + n, 5 + n]]).X == 1
            assert read_columns(X, None, [[5 + n, 6 + n]]).X == 0

    def test_is_the_same_in_many_threads(self):
        rng = np.random.default_rng(0)
        many = [[list(range(start, 1000))] for start in range(20)]

        def read(seed):
            start = seed % 20
            X = np.arange(start, 1000, dtype=float)[:, None]
            return np.array_equal(read_columns(X, None, many[start]).X, X - start)

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(read, rng.integers(0, 100, size=200).tolist()))


FRAME = pd.DataFrame({"color": COLORS, "x": NUMBERS}).astype({"color": object})
ARROW = pa.table({"color": pa.array(COLORS), "x": pa.array(NUMBERS)})
LEVELS = ["red", "unused", "", "blue"]
COLORED = {
    "object": FRAME,
    "str": FRAME.assign(color=pd.Series(COLORS, dtype="str")),
    "string": FRAME.astype({"color": "string"}),
    "category": FRAME.astype({"color": pd.CategoricalDtype(LEVELS)}),
    "ordered": FRAME.astype({"color": pd.CategoricalDtype(LEVELS, ordered=True)}),
    "string[pyarrow]": FRAME.astype({"color": "string[pyarrow]"}),
    "pyarrow string": FRAME.astype({"color": pd.ArrowDtype(pa.string())}),
    "pyarrow large": FRAME.astype({"color": pd.ArrowDtype(pa.large_string())}),
    "pyarrow dictionary": ARROW.set_column(
        0, "color", ARROW["color"].dictionary_encode()
    ).to_pandas(types_mapper=pd.ArrowDtype),
    "nullable beside": FRAME.astype({"color": object, "x": "Float64"}),
    "polars": pl.DataFrame(ARROW.to_pydict()),
    "polars categorical": pl.DataFrame(
        ARROW.to_pydict(), schema_overrides={"color": pl.Categorical}
    ),
    "polars enum": pl.DataFrame(
        ARROW.to_pydict(), schema_overrides={"color": pl.Enum(LEVELS)}
    ),
    "polars object": pl.DataFrame(
        {"color": pl.Series(COLORS, dtype=pl.Object), "x": NUMBERS}
    ),
    "arrow": ARROW,
    "arrow large": ARROW.set_column(0, "color", ARROW["color"].cast(pa.large_string())),
    "arrow dictionary": ARROW.set_column(
        0, "color", ARROW["color"].dictionary_encode()
    ),
    "arrow batch": ARROW.to_batches()[0],
    "array": FRAME.to_numpy(),
    "rows": FRAME.to_numpy().tolist(),
    "tuples": tuple(map(tuple, FRAME.to_numpy())),
    "masked": np.ma.array(FRAME.to_numpy(), mask=FRAME.isna().to_numpy(), dtype=object),
}


@pytest.mark.parametrize("X", COLORED.values(), ids=COLORED)
class TestTable:
    @pytest.mark.parametrize("features", [[0], [True, False], "from_dtype", [0, 0]])
    def test_of_any_library_is_read(self, features, X):
        read = read_columns(X, features)
        np.testing.assert_array_equal(as_array(read.X), np.c_[CODES, NUMBERS])
        assert read.kinds == [CATEGORY, NUMBER]
        assert_types(read.categories[0], VALUES)
        assert read.categories[1] is None
        again = read_columns(X, None, read.categories)
        np.testing.assert_array_equal(as_array(again.X), np.c_[CODES, NUMBERS])
        assert again.categories[0] is read.categories[0]

    @pytest.mark.parametrize("features", [None, [1], [False, True]])
    def test_with_text_in_another_column_is_refused(self, features, X):
        name = 0 if isinstance(X, list | tuple | np.ndarray) else "color"
        message = (
            f"X must hold numbers, dates or durations: column {name!r} holds text, "
            "such as 'red' in row 0. Convert text that stands for numbers or dates, "
            "name the column in categorical_features (or set it to "
            '"from_dtype"), or leave the column out.'
        )
        with pytest.raises(ValueError, match=exactly(message)):
            read_columns(X, features)


LARGE = [2**60, 2**60 + 1]  # one number in float64
DAYS = [date(2024, 1, 1), date(2025, 1, 1)]
OTHERS = [
    (pd.Series([1, 2, None], dtype="Int64"), [1, 2]),
    (pd.Series([*LARGE, None], dtype="Int64"), LARGE),
    (pd.Series([*LARGE, None], dtype="int64[pyarrow]"), LARGE),
    (pl.Series([*LARGE, None]), LARGE),
    (pa.array([*LARGE, None]), LARGE),
    (pd.Series([False, True, None], dtype="boolean"), [False, True]),
    (pd.Series([False, True, None], dtype="bool[pyarrow]"), [False, True]),
    (pl.Series([False, True, None]), [False, True]),
    (pa.array([False, True, None]), [False, True]),
    (pd.Series([1.0, 2.0, None], dtype="category"), [1.0, 2.0]),
    (pd.Series([False, True, None], dtype="category"), [False, True]),
    (pd.cut(pd.Series([0.5, 1.5, None]), [0, 1, 2]), ["(0.0, 1.0]", "(1.0, 2.0]"]),
    (pd.Series(pd.PeriodIndex(["2024", "2025", None], freq="Y")), ["2024", "2025"]),
    (pd.Series([*DAYS, None]).astype("M8[ns]"), ["2024-01-01", "2025-01-01"]),
    (pd.Series([*DAYS, None]).astype("date32[pyarrow]"), ["2024-01-01", "2025-01-01"]),
    (pl.Series([*DAYS, None]), ["2024-01-01", "2025-01-01"]),
    (pa.array([*DAYS, None]), ["2024-01-01", "2025-01-01"]),
    (pd.Series(pd.arrays.SparseArray([0.0, 1.0, NAN])), [0.0, 1.0]),
    (pl.Series([1.5, 2.5, None], dtype=pl.Float32), [1.5, 2.5]),
    (pl.Series([b"1", b"2", None]), ["b'1'", "b'2'"]),
]


@pytest.mark.parametrize("cells, values", OTHERS)
def test_columns_of_other_types_are_categories_if_chosen(cells, values):
    make = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}
    read = read_columns(
        make[type(cells).__module__.partition(".")[0]]({"x": cells}), ["x"]
    )
    assert_types(read.categories[0], values)
    np.testing.assert_array_equal(as_array(read.X)[:, 0], [0, 1, NAN])


def test_masked_cells_of_an_array_have_no_code():
    values = np.array([[2**60 + 1, 1], [2**60, 1], [5, 2]])
    X = np.ma.array(values, mask=[[False, True], [False, False], [True, False]])
    read = read_columns(X, [0, 1])
    np.testing.assert_array_equal(read.X, [[1, NAN], [0, 0], [NAN, 1]])
    assert_types(read.categories[0], [2**60, 2**60 + 1])
    is_one = read_columns(X == 1, [1])
    assert_types(is_one.categories[1], [False, True])


class TestArrayOfNumbers:
    def test_is_copied_into_floats(self):
        for dtype in (np.float32, np.int64, float):
            X = np.array([[7, 1], [5, 2], [7, 3]], dtype)
            before = X.copy()
            read = read_columns(X, [0])
            assert read.X.dtype == np.float64 and type(read.X) is np.ndarray
            np.testing.assert_array_equal(read.X, [[1, 1], [0, 2], [1, 3]])
            np.testing.assert_array_equal(X, before)

    @pytest.mark.parametrize("features", [None, "from_dtype", [], [False, False], ()])
    def test_without_categories_is_handed_on_as_it_is(self, features):
        X = np.eye(2)
        for table in (X, sparse.csr_array(X), pd.DataFrame(X), pl.DataFrame(X)):
            assert read_columns(table, features) == (table, None, None)

    def test_in_a_memory_map_is_read(self, tmp_path):
        X = np.memmap(tmp_path / "rows", float, "w+", shape=(3, 2))
        X[:] = [[7, 1], [5, 2], [7, 3]]
        read = read_columns(X, [0])
        np.testing.assert_array_equal(read.X, [[1, 1], [0, 2], [1, 3]])
        assert X[0, 0] == 7

    def test_that_is_no_array_of_numpy_is_read(self):
        class Rows:
            def __array__(self, dtype=None, copy=None):
                return np.array([[7.0, 1.0], [5.0, 2.0]], dtype)

        np.testing.assert_array_equal(read_columns(Rows(), [0]).X, [[1, 1], [0, 2]])

    def test_of_another_shape_is_left_to_be_reported(self):
        for X in (np.ones((2, 2, 2)), np.ones((0, 3))):
            assert read_columns(X, [0]).kinds is None


SPARSE = [
    getattr(sparse, f"{layout}_{kind}")
    for layout in ("csr", "csc", "coo")
    for kind in ("array", "matrix")
]


@pytest.mark.parametrize("make", SPARSE)
class TestSparse:
    ROWS = np.array([[0, 7, 1.0, 0], [2, 0, 0, 0], [0, 7, NAN, 0], [0, 0, 4, 0]])

    @pytest.mark.parametrize("features", [[1, 2], [False, True, True, False]])
    def test_stays_sparse(self, features, make):
        read = read_columns(make(self.ROWS), features)
        expected = [[0, 1, 1, 0], [2, 0, 0, 0], [0, 1, NAN, 0], [0, 0, 2, 0]]
        np.testing.assert_array_equal(read.X.toarray(), expected)
        assert type(read.X).__name__ == f"csr_{make.__name__[-6:].lstrip('_')}"
        assert read.X.dtype == np.float64 and read.X.nnz == 6
        assert read.X.indices.dtype == np.int32
        assert read.kinds == [NUMBER, CATEGORY, CATEGORY, NUMBER]
        assert read.categories == [None, [0.0, 7.0], [0.0, 1.0, 4.0], None]
        again = read_columns(make(self.ROWS[:1]), None, read.categories)
        np.testing.assert_array_equal(again.X.toarray(), expected[:1])

    def test_counts_zero_as_a_category_like_others(self, make):
        read = read_columns(make(self.ROWS - 1), [1])
        np.testing.assert_array_equal(read.X.toarray()[:, 1], [1, 0, 1, 0])
        unknown = read_columns(make(self.ROWS), None, [None, [7.0], None, None])
        np.testing.assert_array_equal(unknown.X.toarray()[:, 1], [0, 1, 0, 1])


class TestFromDtype:
    def test_takes_text_booleans_and_dtypes_of_categories_alone(self):
        frame = pd.DataFrame(
            {
                "category": pd.Categorical([1, 2]),
                "of dates": pd.Categorical(pd.to_datetime(["2024", "2025"])),
                "str": ["a", "b"],
                "bool": [True, False],
                "boolean": pd.array([True, None], dtype="boolean"),
                "words": pd.Series(["a", 1], dtype=object),
                "flags": pd.Series([True, None], dtype=object),
                "numbers": pd.Series([1, Decimal(2)], dtype=object),
                "dates": pd.Series([date(2024, 1, 1), None], dtype=object),
                "lengths": pd.Series([timedelta(1), None], dtype=object),
                "gaps": pd.Series([None, None], dtype=object),
                "int": [1, 2],
                "Int64": pd.array([1, None], dtype="Int64"),
                "date": pd.to_datetime(["2024", "2025"]),
            }
        )
        kinds = read_columns(frame, "from_dtype").kinds
        expected = [CATEGORY] * 7 + [NUMBER, DATE, DURATION, *[NUMBER] * 3, DATE]
        assert kinds == expected
        listed = [name for name, k in zip(frame, kinds, strict=True) if k == CATEGORY]
        by_name = read_columns(frame, listed)
        assert by_name.kinds == kinds
        assert by_name.categories == read_columns(frame, "from_dtype").categories

    def test_of_polars_and_pyarrow_is_the_same(self):
        columns = {
            "text": ["a", "b"],
            "bool": [True, None],
            "int": [1, None],
            "float": [0.5, 1.0],
            "date": [date(2024, 1, 1), None],
        }
        expected = [CATEGORY, CATEGORY, NUMBER, NUMBER, DATE]
        for X in (
            pl.DataFrame(columns),
            pa.table(columns),
            pl.DataFrame(columns).to_pandas(),
            pa.table(columns).to_pandas(types_mapper=pd.ArrowDtype),
        ):
            assert read_columns(X, "from_dtype").kinds == expected
        objects = [pl.Series("o", c, pl.Object) for c in (["a", 1], [1, None])]
        kinds = [read_columns(o.to_frame(), "from_dtype").kinds for o in objects]
        assert kinds == [[CATEGORY], None]

    def test_of_an_array_takes_text(self):
        X = np.array([["a", 1.0, None, True], [1, 2.0, "b", False]], dtype=object)
        kinds = [CATEGORY, NUMBER, CATEGORY, CATEGORY]
        assert read_columns(X, "from_dtype").kinds == kinds
        assert read_columns(X[:, [1]], "from_dtype").kinds is None
        words = np.array([["a", "1"], ["b", "2"]])
        assert read_columns(words, "from_dtype").kinds == [CATEGORY, CATEGORY]
        assert read_columns(np.array([[True], [False]]), "from_dtype").kinds is None

    def test_and_other_kinds_stand_side_by_side(self):
        frame = pd.DataFrame(
            {
                "when": pd.to_datetime(["1970-01-02", None]),
                "color": ["b", "a"],
                "x": np.array([0.5, 1.5], "f4"),
            }
        )
        read = read_columns(frame, "from_dtype")
        np.testing.assert_array_equal(
            as_array(read.X), [[86400, 1, 0.5], [NAN, 0, 1.5]]
        )
        assert list(read.X.columns) == list(frame.columns)
        assert read.X["x"].dtype == np.float32
        assert read.kinds == [DATE, CATEGORY, NUMBER]
        assert frame["color"].tolist() == ["b", "a"]


class TestChoice:
    @pytest.mark.parametrize(
        "features",
        [
            ["a", "c"],
            ("c", "a", "a"),
            np.array(["a", "c"]),
            np.array(["a", "c"], dtype=object),
            pd.Index(["a", "c"]),
            pd.Series(["a", "c"], index=[5, 6]),
            pl.Series(["a", "c"]),
            [0, 2],
            [2, 0, 2],
            range(0, 3, 2),
            np.array([0, 2], np.uint8),
            [np.int64(0), 2],
            [True, False, True],
            np.array([True, False, True]),
            [np.True_, False, True],
            pd.Series([True, False, True]),
        ],
        ids=repr,
    )
    @pytest.mark.parametrize("to_frame", [pd.DataFrame, pl.DataFrame, pa.table])
    def test_is_a_mask_or_numbers_or_names(self, to_frame, features):
        frame = to_frame({"a": [1.0, 2.0], "b": [1.0, 2.0], "c": [3.0, 4.0]})
        read = read_columns(frame, features)
        assert read.categories == [[1.0, 2.0], None, [3.0, 4.0]]

    @pytest.mark.parametrize(
        "features, message",
        [
            (
                [True, False],
                "categorical_features set as a boolean mask must have shape "
                "(n_features,) = (3,), got: (2,). Pass one boolean a column of X, or "
                "the numbers of the columns.",
            ),
            (
                [0, 3, -1],
                "categorical_features set as integer indices must be in [0, "
                "n_features - 1] = [0, 2], got: 3, -1. The first column of X is "
                "number 0.",
            ),
            (
                ["b", "d", "d", "e"],
                "categorical_features must hold names of columns of X, got: 'd', 'e'. "
                "The columns of X are 'a', 'b', 'c'.",
            ),
            (
                ["b", 1],
                "categorical_features must be an array-like of bool, int or str, all "
                "of one type, got: int, str. Pass a boolean mask of all columns, or "
                "the numbers or the names of some.",
            ),
            (
                [True, 1],
                "categorical_features must be an array-like of bool, int or str, all "
                "of one type, got: bool, int. Pass a boolean mask of all columns, or "
                "the numbers or the names of some.",
            ),
            (
                [1.0],
                "categorical_features must be an array-like of bool, int or str, all "
                "of one type, got: float. Pass a boolean mask of all columns, or the "
                "numbers or the names of some.",
            ),
            (
                "b",
                "categorical_features must be an array-like of bool, int or str of "
                "one dimension, 'from_dtype' or None, got: 'b'. Pass a list, also if "
                "it is of one column.",
            ),
            (
                [[0, 1]],
                "categorical_features must be an array-like of bool, int or str of "
                "one dimension, 'from_dtype' or None, got: [[0, 1]]. Pass a list, "
                "also if it is of one column.",
            ),
        ],
        ids=repr,
    )
    def test_of_a_wrong_form_is_one_clear_error(self, features, message):
        frame = pd.DataFrame(np.eye(3), columns=list("abc"))
        with pytest.raises(ValueError, match=exactly(message)):
            read_columns(frame, features)

    @pytest.mark.parametrize(
        "to_table", [np.asarray, np.ndarray.tolist, sparse.csr_array]
    )
    def test_of_names_needs_names(self, to_table):
        message = (
            "categorical_features should be passed as an array of integers or as a "
            "boolean mask when X has no names of columns, got names: 'a', 'b'. Or "
            "pass X as a data frame."
        )
        with pytest.raises(ValueError, match=exactly(message)):
            read_columns(to_table(np.eye(3)), ["a", "b"])

    def test_of_an_unknown_name_lists_the_first_names_of_many(self):
        frame = pd.DataFrame(np.eye(15)).add_prefix("c")
        with pytest.raises(ValueError, match="'c8', 'c9', and 5 more.$"):
            read_columns(frame, ["x"])


class TestRefusal:
    @pytest.mark.parametrize("cell", [{"a": 1}, [1, 2], np.ones(2), {1}, ([1], 2)])
    def test_of_what_cannot_be_told_apart_names_the_cell(self, cell):
        frame = pd.DataFrame({"x": pd.Series([1, cell, "a"], dtype=object)})
        message = (
            r"column 'x' holds .* in row 1, of type '.*' \(float\(\) argument must be "
            r"a string or a real number\)"
        )
        for categories in (None, [["a"]]):
            with pytest.raises(TypeError, match=message):
                read_columns(frame, ["x"], categories)

    @pytest.mark.parametrize("column", [[[1.0], [2.0]], [{"a": 1}, {"a": 2}]])
    def test_of_nested_columns_of_polars(self, column):
        array = pl.DataFrame(
            {"x": pl.Series([[1.0]] * 2, dtype=pl.Array(pl.Float64, 1))}
        )
        for frame in (pl.DataFrame({"x": column}), array):
            with pytest.raises(
                TypeError, match="column 'x' holds .* in row 0, of type"
            ):
                read_columns(frame, ["x"])

    def test_of_complex_numbers_is_that_of_other_columns(self):
        for X in (np.array([[1j], [1]]), np.array([[1j], ["a"]], dtype=object)):
            with pytest.raises(ValueError, match="^Complex data not supported. X must"):
                read_columns(X, [0])


class TestWayBack:
    @pytest.mark.parametrize("X", COLORED.values(), ids=COLORED)
    def test_gives_what_the_user_has(self, X):
        read = read_columns(X, [0])
        decoded = decode_columns(as_array(read.X), read.categories)
        assert decoded.dtype == object
        assert decoded[:, 0].tolist() == COLORS
        assert_types(decoded[[0, 1, 2, 4], 1].tolist(), [1.0, 2.0, 3.0, 5.0])
        assert np.isnan(decoded[3, 1])

    def test_is_of_floats_if_all_values_are_numbers(self):
        cells = np.array([[0.0, 0.5], [2.0, NAN], [NAN, 1.5]])
        decoded = decode_columns(cells, [[False, 1, 2.5], None])
        assert decoded.dtype == np.float64
        np.testing.assert_array_equal(decoded, [[0, 0.5], [2.5, NAN], [NAN, 1.5]])
        assert cells[1, 0] == 2.0

    def test_keeps_the_type_of_each_value(self):
        values = [[False, True], [3, 0.5, "a"], None]
        decoded = decode_columns(np.array([[1, 0, 1], [0, 2, 2]]), values)
        assert_types(decoded[0].tolist(), [True, 3, 1.0])
        assert_types(decoded[1].tolist(), [False, "a", 2.0])

    def test_of_an_unknown_value_is_a_gap(self):
        assert decode_columns(np.array([[2.0]]), [["a", "b"]]).tolist() == [[None]]
        for values in ([1, 2], []):
            assert np.isnan(decode_columns(np.array([[2.0]]), [values]))

    def test_without_categories_is_a_copy(self):
        cells = np.array([[1.5, NAN]], np.float32)
        decoded = decode_columns(cells, None)
        np.testing.assert_array_equal(decoded, cells)
        assert decoded.dtype == np.float64
