"""Tables as people have them, as tables of numbers.

A date becomes the seconds since 1970 in UTC, a duration its seconds, a category its
code, and whatever stands for a gap NaN. Neither pandas nor polars is imported: who
passes a frame has.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, csr_matrix, issparse, sparray

from skae._tables._categories import (
    Categories,
    Choice,
    is_value,
    read_values,
    warn_if_written_otherwise,
)
from skae._tables._hints import (
    check_shape,
    check_type,
    explain_text,
    show,
    warn_of_dates,
)

# Of columns and, but for the last, of cells.
NUMBER, DATE, DURATION, CATEGORY = KINDS = ("number", "date", "duration", "category")
GAP, TEXT, COMPLEX, OBJECT = "gap", "text", "complex number", "object"  # of cells

# Types by name, two of them being pandas's.
GAP_TYPES = {"NoneType", "NAType", "NaTType", "MaskedConstant"}
SECOND = np.timedelta64(1, "s")

# What "from_dtype" takes of pyarrow, beside its dictionaries.
ARROW_CATEGORIES = {"string", "large_string", "string_view", "bool"}
PLAIN = {str, bool, float}  # types of cells that are categories as they are

EXPECTED = "X must hold numbers, dates or durations:"
NO_FIT: Any = object()  # nobody learns categories: they are read for another purpose


class Columns(NamedTuple):
    """What scikit-learn reads as a table of numbers, and what its columns were."""

    X: Any
    kinds: list[str] | None  # of each column, of `KINDS`; None: all are numbers
    categories: Categories | None = None  # None: there is no category column


def read_columns(
    X: Any, categorical_features: Any = None, categories: Categories | None = NO_FIT
) -> Columns:
    """Rows of any kind as rows of numbers.

    Which columns hold categories is said in `fit` by the user's `categorical_features`,
    and later by the `categories` that it found, in lists that never change. A table of
    numbers is handed on as it is, and so is each column of numbers of a frame.
    """
    is_fit = categories is None
    choice = Choice(
        categorical_features, None if categories is NO_FIT else categories, is_fit
    )
    if type(X) is np.ndarray and _is_number(X.dtype) and not choice.is_explicit:
        check_shape(X)
        return Columns(X, None)  # soon done with the usual
    check_type(X)
    if isinstance(X, list | tuple):
        X = _make_array(X)
    check_shape(X)
    for library, name, open_table in FRAMES:
        module = sys.modules.get(library)
        if module is not None and isinstance(X, getattr(module, name, ())):
            return _read_table(open_table(X), choice)
    if getattr(getattr(X, "dtype", None), "kind", "") in ("M", "m") and X.ndim == 2:
        X = np.asanyarray(X)  # of another library, too
    elif choice.is_explicit and issparse(X) and X.ndim == 2:
        return _read_table(_open_sparse(X), choice)
    elif choice.is_explicit and hasattr(X, "__array__"):
        X = np.asanyarray(X)
    if not isinstance(X, np.ndarray) or X.ndim != 2 or not X.size:
        return Columns(X, None)
    return _read_table(_open_array(X), choice)


# -------------------------------------------------------------- from a table to columns


def _is_number(dtype: Any) -> bool:
    """Whether it is a dtype of NumPy that scikit-learn turns into float64 in time."""
    return isinstance(dtype, np.dtype) and dtype.kind in "fiub" and dtype.itemsize <= 8


def _make_array(X: Sequence[Any]) -> Any:
    """Rows in a list as an array that keeps the type of each cell, or the list."""
    if any(isinstance(row, np.ma.MaskedArray) for row in X):
        return np.ma.array(X)
    try:
        array = np.asarray(X)
        is_kept = array.dtype.kind in "fiubMm"
        return array if is_kept else np.asarray(X, dtype=object)
    except (TypeError, ValueError):  # ragged
        return X


def _fill(X: np.ma.MaskedArray) -> NDArray:
    """A masked array as a plain one, with the sign of a gap in each masked cell."""
    if not np.ma.is_masked(X):
        return X.data
    kind = X.dtype.kind
    dtype = X.dtype if kind in "fMm" else np.float64 if kind in "iub" else object
    values = X.data.astype(dtype)
    values[np.ma.getmaskarray(X)] = "NaT" if kind in "Mm" else np.nan
    return values


class _Table(NamedTuple):
    """A table by its columns."""

    X: Any
    names: Sequence[Any] | None
    are_numbers: Sequence[bool]
    is_category: Callable[[int], bool]  # whether "from_dtype" takes a column
    get: Callable[[int], NDArray]  # a column
    get_cells: Callable[[int], NDArray]  # the same, with integers exact beside gaps
    replace: Callable[[dict[int, NDArray]], Any]  # some columns by numbers


def _read_table(table: _Table, choice: Choice) -> Columns:
    """A table in which those columns are replaced that are not of numbers yet."""
    n_features = len(table.are_numbers)
    names = range(n_features) if table.names is None else table.names
    if len(set(names)) < n_features:
        twice = next(name for name in names if list(names).count(name) > 1)
        raise ValueError(
            "Each column of X must have a name of its own. Got more than one column "
            f"with the name {twice!r}. Rename them, or pass an array."
        )
    known = choice.find(n_features, table.names, table.is_category)
    if not known and all(table.are_numbers):
        return Columns(table.X, None)
    kinds, columns = [NUMBER] * n_features, {}
    categories: Categories = [None] * n_features
    for j, is_number in enumerate(table.are_numbers):
        if j in known:
            cells = _list_cells(table.get_cells(j), names[j])
            warn_if_written_otherwise(cells, known[j], names[j])
            if choice.is_fit and choice.is_from_dtype:
                warn_of_dates(filter(is_value, cells), names[j])
            columns[j], categories[j] = read_values(cells, known[j])
            kinds[j] = CATEGORY
        elif not is_number:
            columns[j], kinds[j] = _read_column(table.get(j), names[j])
    X = table.replace(columns) if columns else table.X
    if all(kind == NUMBER for kind in kinds):
        return Columns(X, None)
    return Columns(X, kinds, (choice.categories or categories) if known else None)


def _open_array(given: Any) -> _Table:
    X: NDArray = _fill(given) if isinstance(given, np.ma.MaskedArray) else given
    n_features = X.shape[1]

    def is_category(j: int) -> bool:
        return X.dtype.kind in "UT" or _holds_categories(X[:, j])

    def get(j: int) -> NDArray:
        return X[:, j]

    def get_cells(j: int) -> NDArray:
        if X.dtype == given.dtype:
            return get(j)
        return _fill(given[:, j].astype(object))  # an integer would become a float

    def replace(columns: dict[int, NDArray]) -> NDArray:
        if len(columns) == n_features:
            return np.column_stack([columns[j] for j in range(n_features)])
        numbers = np.array(X, np.float64)
        for j, values in columns.items():
            numbers[:, j] = values
        return numbers

    are_numbers = [_is_number(X.dtype)] * n_features
    return _Table(X, None, are_numbers, is_category, get, get_cells, replace)


def _open_sparse(X: Any) -> _Table:
    by_column = X.tocsc()

    def get(j: int) -> NDArray:
        return by_column[:, [j]].toarray()[:, 0]

    def replace(columns: dict[int, NDArray]) -> csr_array | csr_matrix:
        cells = X.tocoo()
        is_kept = ~np.isin(cells.col, list(columns))
        kept = cells.data[is_kept], cells.row[is_kept], cells.col[is_kept]
        coded = [_list_nonzeros(codes, j) for j, codes in columns.items()]
        values, *places = map(np.concatenate, zip(kept, *coded, strict=True))
        places = [place.astype(cells.col.dtype) for place in places]
        made = coo_array((values.astype(np.float64), tuple(places)), X.shape).tocsr()
        return made if isinstance(X, sparray) else csr_matrix(made)

    are_numbers = [True] * X.shape[1]
    return _Table(X, None, are_numbers, lambda j: False, get, get, replace)


def _list_nonzeros(values: NDArray, column: int) -> tuple[NDArray, NDArray, NDArray]:
    """What a sparse table keeps of a column, with the rows and the column."""
    rows = np.flatnonzero(values)
    return values[rows], rows, np.full(len(rows), column)


def _holds_categories(values: NDArray) -> bool:
    """Whether there is text or a boolean among objects."""
    types = set(map(type, values)) if values.dtype == object else ()
    return any(issubclass(cell_type, str | bool | np.bool_) for cell_type in types)


def _open_pandas(X: Any) -> _Table:
    pandas, dtypes = sys.modules["pandas"], X.dtypes.tolist()
    are_numbers = [True] * len(dtypes)
    if not all(map(_is_number, {type(dtype): dtype for dtype in dtypes}.values())):
        # A sparse column is scikit-learn's: a frame of nothing else stays sparse.
        are_numbers = [
            _is_number(dtype.subtype if dtype.name.startswith("Sparse") else dtype)
            for dtype in dtypes
        ]
    taken = pandas.CategoricalDtype, pandas.StringDtype, pandas.BooleanDtype

    def is_category(j: int) -> bool:
        if hasattr(dtypes[j], "pyarrow_dtype"):
            return _is_arrow_category(dtypes[j].pyarrow_dtype)
        if isinstance(dtypes[j], np.dtype):
            return dtypes[j].kind == "b" or _holds_categories(get(j))
        return isinstance(dtypes[j], taken)

    def get(j: int) -> NDArray:
        column, dtype = X.iloc[:, j], dtypes[j]
        if isinstance(dtype, np.dtype):
            return column.to_numpy()
        if dtype.kind in "fiub":  # with gaps
            wanted = np.float32 if dtype.type is np.float32 else np.float64
            return column.to_numpy(dtype=wanted, na_value=np.nan)
        if hasattr(dtype, "pyarrow_dtype") and dtype.kind == "M":
            return column.array.__arrow_array__().to_numpy()
        if hasattr(dtype, "tz"):  # the numbers are those of UTC
            return column.to_numpy(dtype=f"datetime64[{dtype.unit}]")
        return column.to_numpy()

    def get_cells(j: int) -> NDArray:
        if isinstance(dtypes[j], np.dtype) or dtypes[j].kind in "fMm":
            return get(j)
        return np.asarray(X.iloc[:, j], dtype=object)

    def replace(columns: dict[int, NDArray]) -> Any:
        frame = X.copy(deep=False)
        for j, values in columns.items():
            frame.isetitem(j, values)
        return frame

    names = X.columns.tolist()
    return _Table(X, names, are_numbers, is_category, get, get_cells, replace)


def _open_polars(X: Any) -> _Table:
    polars, dtypes = sys.modules["polars"], X.dtypes
    are_numbers = [dtype.is_numeric() or str(dtype) == "Boolean" for dtype in dtypes]
    taken = polars.Categorical, polars.Enum, polars.String, polars.Boolean

    def is_category(j: int) -> bool:
        is_object = dtypes[j] == polars.Object
        return _holds_categories(get(j)) if is_object else dtypes[j] in taken

    def get(j: int) -> NDArray:
        return X.to_series(j).to_numpy()

    def get_cells(j: int) -> NDArray:
        if dtypes[j].is_integer():
            return np.array(X.to_series(j).to_list(), dtype=object)
        return get(j)

    def replace(columns: dict[int, NDArray]) -> Any:
        return X.with_columns(
            [polars.Series(X.columns[j], values) for j, values in columns.items()]
        )

    return _Table(X, X.columns, are_numbers, is_category, get, get_cells, replace)


def _open_arrow(X: Any) -> _Table:
    arrow = sys.modules["pyarrow"]
    if isinstance(X, arrow.RecordBatch):
        X = arrow.Table.from_batches([X])
    is_integer, is_float = arrow.types.is_integer, arrow.types.is_floating
    are_numbers = [is_integer(f.type) or is_float(f.type) for f in X.schema]

    def is_category(j: int) -> bool:
        return _is_arrow_category(X.schema[j].type)

    def get(j: int) -> NDArray:
        column = X.column(j)
        if arrow.types.is_dictionary(column.type):  # `to_numpy` forgets where null is
            column = column.cast(column.type.value_type)
        return column.to_numpy()

    def get_cells(j: int) -> NDArray:
        if is_integer(X.schema[j].type):
            return np.array(X.column(j).to_pylist(), dtype=object)
        return get(j)

    def replace(columns: dict[int, NDArray]) -> Any:
        frame = X
        for j, values in columns.items():
            frame = frame.set_column(j, X.column_names[j], arrow.array(values))
        return frame

    names = X.column_names
    return _Table(X, names, are_numbers, is_category, get, get_cells, replace)


def _is_arrow_category(arrow_type: Any) -> bool:
    name = str(arrow_type)
    return name.startswith("dictionary") or name in ARROW_CATEGORIES


FRAMES: list[tuple[str, str, Callable[[Any], _Table]]] = [
    ("pandas", "DataFrame", _open_pandas),
    ("polars", "DataFrame", _open_polars),
    ("pyarrow", "Table", _open_arrow),
    ("pyarrow", "RecordBatch", _open_arrow),
]


# ------------------------------------------------------------ from a column to cells


def _list_cells(values: NDArray, name: Any) -> list[Any]:
    """Cells of categories as text, booleans, ints and floats; NaN for a gap."""
    kind = values.dtype.kind
    if values.ndim > 1 or kind not in "fiubMmOU":
        values, kind = np.fromiter(values, object, len(values)), "O"
    if kind in "Mm":
        distinct, places = np.unique(values, return_inverse=True)
        texts = [_write_time(value) for value in distinct]
        return [texts[place] for place in places]
    if kind == "O" and not set(map(type, values)) <= PLAIN:
        cells = enumerate(values)
        return [v if type(v) in PLAIN else _read_cell(v, name, row) for row, v in cells]
    if kind == "f" and values.dtype.itemsize < 8:  # 0.1 is 0.1 in float32, too
        values = values.astype(str).astype(np.float64)
    if kind == "f" and values.dtype.itemsize > 8:
        with np.errstate(over="ignore"):
            values = values.astype(np.float64)
    return values.tolist()


def _read_cell(value: Any, name: Any, row: int) -> Any:
    """One of them; what is neither text nor a number is what Python writes for it."""
    kind = _classify(type(value))
    if kind == GAP:
        return np.nan
    if kind == TEXT:
        return str.__str__(value)
    if kind in (DATE, DURATION):
        return _write_time(_convert_time(value))
    if kind == NUMBER:
        return _read_number(value, name, row)
    if kind == COMPLEX:
        raise _make_error(name, row, value, kind)
    try:
        hash(value)
    except TypeError:
        raise _make_error(name, row, value, kind) from None
    return str(value)


def _read_number(value: Any, name: Any, row: int) -> bool | int | float:
    number = _convert_number(value, name, row)
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if hasattr(value, "__index__") and np.isfinite(number):
        return int(value)
    return float(str(value)) if isinstance(value, np.floating) else number


def _write_time(value: Any) -> Any:
    """A date or duration of NumPy as text, the same for any unit; NaN for NaT."""
    if np.isnat(value):
        return np.nan
    if value.dtype.kind == "m":
        is_fixed = np.datetime_data(value.dtype)[0] not in ("Y", "M", "generic")
        return str(value.astype("m8[us]").item() if is_fixed else value)
    whole = value.astype("M8[s]")
    text = str(whole) if whole == value else str(value).rstrip("0")
    return text.removesuffix("T00:00:00")


# ------------------------------------------------------------- from a column to numbers


def _read_column(values: NDArray, name: Any) -> tuple[NDArray, str]:
    """A column as numbers, and its kind."""
    kind = values.dtype.kind
    if values.ndim > 1 or kind not in "fiubMmO":  # arrays of text and of arrays
        values, kind = np.fromiter(values, object, len(values)), "O"
    if kind == "O":
        return _read_objects(values, name)
    if kind == "M":
        return _measure(values - np.datetime64(0, "s"), name), DATE
    if kind == "m":
        return _measure(values, name), DURATION
    with np.errstate(over="ignore"):  # of a long double; `check_finite` reports it
        return values if _is_number(values.dtype) else values.astype(float), NUMBER


def _measure(lengths: NDArray, name: Any) -> NDArray[np.float64]:
    """Durations in seconds, as exactly as float64 can be; NaN for NaT.

    To divide nanoseconds since 1970 would round twice: they are no float64 either.
    """
    if np.isnat(lengths).all():
        return np.full(lengths.shape, np.nan)
    if np.datetime_data(lengths.dtype)[0] in ("Y", "M", "generic"):
        raise ValueError(
            f"{EXPECTED} column {name!r} holds durations of dtype {lengths.dtype}, "
            "which are no number of seconds. Convert it to durations of a fixed length."
        )
    whole = lengths.astype("m8[s]")
    seconds: NDArray[np.float64] = whole / SECOND + (lengths - whole) / SECOND
    return seconds


def _read_objects(values: NDArray, name: Any) -> tuple[NDArray[np.float64], str]:
    """A column of Python's objects, which must be of one kind."""
    kinds = {cell_type: _classify(cell_type) for cell_type in set(map(type, values))}
    if set(kinds.values()) <= {NUMBER}:
        return _convert_numbers(values, name, np.arange(len(values))), NUMBER
    cells = np.array([kinds[type(value)] for value in values])
    if not {TEXT, DATE, DURATION}.isdisjoint(kinds.values()):
        for row in np.flatnonzero(cells == NUMBER):  # NaN is a gap there, too
            if _is_nan(values[row]):
                cells[row] = GAP
    if TEXT in kinds.values():
        observed = np.flatnonzero(cells != GAP)
        pairs = list(zip(observed.tolist(), values[observed], strict=True))
        raise ValueError(
            f"{EXPECTED} column {name!r} holds {explain_text(name, pairs)}"
        )
    for kind in (COMPLEX, OBJECT):
        if kind in kinds.values():
            row = int(np.argmax(cells == kind))
            raise _make_error(name, row, values[row], kind)
    found = [kind for kind in KINDS if (cells == kind).any()]
    if len(found) > 1:
        one, other = (int(np.argmax(cells == kind)) for kind in found[:2])
        raise ValueError(
            f"{EXPECTED} column {name!r} holds {found[0]}s and {found[1]}s, such as "
            f"{show(values[one])} in row {one} and {show(values[other])} in row "
            f"{other}. Make it a column of one kind."
        )
    kind = found[0] if found else NUMBER
    numbers, rows = np.full(len(values), np.nan), np.flatnonzero(cells == kind)
    if len(rows):
        convert = _convert_numbers if kind == NUMBER else _convert_times
        numbers[rows] = convert(values[rows], name, rows)
    return numbers, kind


def _is_nan(value: Any) -> bool:
    try:
        return bool(value != value)
    except ArithmeticError:  # a signaling NaN of decimal is no gap
        return False


def _classify(cell_type: type) -> str:
    """What the cells of a type are; the order matters."""
    if cell_type.__name__ in GAP_TYPES:
        return GAP
    if issubclass(cell_type, date | np.datetime64):
        return DATE
    if issubclass(cell_type, timedelta | time | np.timedelta64):
        return DURATION
    if issubclass(cell_type, str):
        return TEXT
    if issubclass(cell_type, complex | np.complexfloating):
        return COMPLEX
    if issubclass(cell_type, int | float):  # whose enumerations have a length
        return NUMBER
    is_scalar = hasattr(cell_type, "__float__") and not hasattr(cell_type, "__len__")
    return NUMBER if is_scalar else OBJECT


def _convert_numbers(
    values: NDArray, name: Any, rows: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Numbers of any type; those that are too large are infinite."""
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError, ArithmeticError):  # one by one, to say which
        return np.array(
            [_convert_number(v, name, r) for v, r in zip(values, rows, strict=True)]
        )


def _convert_number(value: Any, name: Any, row: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return np.inf if value > 0 else -np.inf
    except (TypeError, ValueError, ArithmeticError):
        raise _make_error(name, row, value, OBJECT) from None


def _convert_times(values: NDArray, name: Any, _: NDArray) -> NDArray[np.float64]:
    """Seconds of dates or durations of any types."""
    cells, seconds = list(map(_convert_time, values)), np.empty(len(values))
    dtypes = np.array([cell.dtype.str for cell in cells])
    for dtype in set(dtypes):  # of one unit each
        rows = np.flatnonzero(dtypes == dtype)
        alike = np.array([cells[row] for row in rows], dtype)
        seconds[rows], _ = _read_column(alike, name)
    return seconds


def _convert_time(value: Any) -> Any:
    """A date or duration of Python, NumPy or pandas as one of NumPy, in UTC."""
    if hasattr(value, "to_numpy"):  # pandas's have nanoseconds
        return value.to_numpy()
    if isinstance(value, time):
        value = datetime.combine(date.min, value.replace(tzinfo=None)) - datetime.min
    elif isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    if isinstance(value, date | np.datetime64):
        return np.datetime64(value)
    return np.timedelta64(value)


def _make_error(name: Any, row: int, value: Any, kind: str) -> Exception:
    """That a column holds something else than numbers, dates or durations."""
    where = f"{EXPECTED} column {name!r} holds"
    cell = f"{show(value)} in row {row}"
    if kind == COMPLEX:
        return ValueError(
            f"Complex data not supported. {where} complex numbers, such as {cell}. "
            "Pass real and imaginary parts as two columns."
        )
    return TypeError(
        f"{where} {cell}, of type {type(value).__name__!r} (float() argument must be a "
        "string or a real number). Convert it to numbers, dates or durations, or leave "
        "the column out."
    )


# ------------------------------------------------------------- cells from other rows


def is_frame(X: Any) -> bool:
    """Whether it has columns of types of their own."""
    return _find_library(X) is not None


def _find_library(X: Any) -> str | None:
    for library, name, _ in FRAMES:
        if isinstance(X, getattr(sys.modules.get(library), name, ())):
            return library
    return None


def take_cells(X: Any, rows: NDArray[np.intp]) -> Any:
    """A table with cells of another one, each from the row that is given for it.

    Of a frame it is a frame of the same columns and types, of all else an array.
    """
    library = _find_library(X)
    if library is not None:
        return TAKE[library](X, rows)
    X = _make_array(X) if isinstance(X, list | tuple) else np.asanyarray(X)
    X = _fill(X) if isinstance(X, np.ma.MaskedArray) else X
    return X[rows, np.arange(X.shape[1])]


def _take_from_pandas(X: Any, rows: NDArray[np.intp]) -> Any:
    frame = X.iloc[np.resize(np.arange(len(X)), len(rows))]
    for j, places in enumerate(rows.T):  # a series, whose dtype is not inferred anew
        frame.isetitem(j, X.iloc[places, j].set_axis(frame.index))
    return frame


def _take_from_polars(X: Any, rows: NDArray[np.intp]) -> Any:
    columns = zip(X.get_columns(), rows.T, strict=True)
    return type(X)([column.gather(places) for column, places in columns])


def _take_from_arrow(X: Any, rows: NDArray[np.intp]) -> Any:
    columns = zip(X.columns, rows.T, strict=True)
    taken = [column.take(sys.modules["pyarrow"].array(p)) for column, p in columns]
    return type(X).from_arrays(taken, schema=X.schema)


TAKE: dict[str, Callable[[Any, NDArray[np.intp]], Any]] = {
    "pandas": _take_from_pandas,
    "polars": _take_from_polars,
    "pyarrow": _take_from_arrow,
}
