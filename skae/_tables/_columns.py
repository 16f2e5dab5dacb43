"""Tables as people have them, as tables of numbers.

A date becomes the seconds since 1970 in UTC, a duration its seconds, and whatever
stands for a gap NaN. Neither pandas nor polars is imported: who passes a frame has.
"""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

NUMBER, DATE, DURATION = KINDS = ("number", "date", "duration")  # of columns, of cells
GAP, TEXT, COMPLEX, OBJECT = "gap", "text", "complex number", "object"  # of cells

# Types by name, two of them being pandas's.
GAP_TYPES = {"NoneType", "NAType", "NaTType", "MaskedConstant"}
SECOND = np.timedelta64(1, "s")

EXPECTED = "X must hold numbers, dates or durations:"


class Columns(NamedTuple):
    """What scikit-learn reads as a table of numbers, and what its columns were."""

    X: Any
    kinds: list[str] | None  # of each column, of `KINDS`; None: all are numbers


def read_columns(X: Any) -> Columns:
    """Rows of any kind as rows of numbers.

    A table of numbers, and what is no table, is handed on as it is, and so is each
    column of numbers of a frame.
    """
    if type(X) is np.ndarray and _is_number(X.dtype):  # soon done with the usual
        return Columns(X, None)
    for library, name, read in FRAMES:
        module = sys.modules.get(library)
        if module is not None and isinstance(X, getattr(module, name, ())):
            return read(X)
    if isinstance(X, list | tuple):
        X = _make_array(X)
    elif getattr(getattr(X, "dtype", None), "kind", "") in ("M", "m") and X.ndim == 2:
        X = np.asanyarray(X)  # of another library, too
    return _read_array(X) if isinstance(X, np.ndarray) else Columns(X, None)


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


def _read_array(X: NDArray) -> Columns:
    if isinstance(X, np.ma.MaskedArray):
        X = _fill(X)
    if _is_number(X.dtype) or X.ndim != 2 or not X.size:
        return Columns(X, None)
    pairs = [_read_column(X[:, j], j) for j in range(X.shape[1])]
    numbers = np.column_stack([values for values, _ in pairs])
    return Columns(numbers, _none_if_numbers([kind for _, kind in pairs]))


def _fill(X: np.ma.MaskedArray) -> NDArray:
    """A masked array as a plain one, with the sign of a gap in each masked cell."""
    if not np.ma.is_masked(X):
        return X.data
    kind = X.dtype.kind
    dtype = X.dtype if kind in "fMm" else np.float64 if kind in "iub" else object
    values = X.data.astype(dtype)
    values[np.ma.getmaskarray(X)] = "NaT" if kind in "Mm" else np.nan
    return values


def _read_frame(
    names: Sequence[Any],
    are_numbers: Sequence[bool],
    get: Callable[[int], NDArray],
    replace: Callable[[dict[int, NDArray]], Any],
) -> Columns:
    """A frame in which those columns are replaced that are not of numbers yet."""
    kinds, columns = [NUMBER] * len(names), {}
    for j, is_number in enumerate(are_numbers):
        if not is_number:
            columns[j], kinds[j] = _read_column(get(j), names[j])
    return Columns(replace(columns), _none_if_numbers(kinds))


def _none_if_numbers(kinds: list[str]) -> list[str] | None:
    return None if all(kind == NUMBER for kind in kinds) else kinds


def _read_pandas(X: Any) -> Columns:
    dtypes = X.dtypes.tolist()
    if all(map(_is_number, set(dtypes))):
        return Columns(X, None)
    # A sparse column is scikit-learn's to read: a frame of nothing else stays sparse.
    are_numbers = [
        _is_number(dtype.subtype if dtype.name.startswith("Sparse") else dtype)
        for dtype in dtypes
    ]

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

    def replace(columns: dict[int, NDArray]) -> Any:
        frame = X.copy(deep=False)
        for j, values in columns.items():
            frame.isetitem(j, values)
        return frame

    return _read_frame(X.columns.tolist(), are_numbers, get, replace)


def _read_polars(X: Any) -> Columns:
    are_numbers = [dtype.is_numeric() or str(dtype) == "Boolean" for dtype in X.dtypes]
    if all(are_numbers):
        return Columns(X, None)

    def replace(columns: dict[int, NDArray]) -> Any:
        make = sys.modules["polars"].Series
        return X.with_columns([make(X.columns[j], v) for j, v in columns.items()])

    def get(j: int) -> NDArray:
        return X.to_series(j).to_numpy()

    return _read_frame(X.columns, are_numbers, get, replace)


def _read_arrow(X: Any) -> Columns:
    arrow = sys.modules["pyarrow"]
    if isinstance(X, arrow.RecordBatch):
        X = arrow.Table.from_batches([X])
    is_integer, is_float = arrow.types.is_integer, arrow.types.is_floating
    are_numbers = [is_integer(f.type) or is_float(f.type) for f in X.schema]

    def get(j: int) -> NDArray:
        column = X.column(j)
        if arrow.types.is_dictionary(column.type):  # `to_numpy` forgets where null is
            column = column.cast(column.type.value_type)
        return column.to_numpy()

    def replace(columns: dict[int, NDArray]) -> Any:
        frame = X
        for j, values in columns.items():
            frame = frame.set_column(j, X.column_names[j], arrow.array(values))
        return frame

    return _read_frame(X.column_names, are_numbers, get, replace)


FRAMES: list[tuple[str, str, Callable[[Any], Columns]]] = [
    ("pandas", "DataFrame", _read_pandas),
    ("polars", "DataFrame", _read_polars),
    ("pyarrow", "Table", _read_arrow),
    ("pyarrow", "RecordBatch", _read_arrow),
]


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
    for kind in (TEXT, COMPLEX, OBJECT):
        if kind in kinds.values():
            row = int(np.argmax(cells == kind))
            raise _make_error(name, row, values[row], kind)
    if DATE in kinds.values() or DURATION in kinds.values():
        for row in np.flatnonzero(cells == NUMBER):  # NaN is a gap there, too
            if values[row] != values[row]:
                cells[row] = GAP
    found = [kind for kind in KINDS if (cells == kind).any()]
    if len(found) > 1:
        one, other = (int(np.argmax(cells == kind)) for kind in found[:2])
        raise ValueError(
            f"{EXPECTED} column {name!r} holds {found[0]}s and {found[1]}s, such as "
            f"{_show(values[one])} in row {one} and {_show(values[other])} in row "
            f"{other}. Make it a column of one kind."
        )
    kind = found[0] if found else NUMBER
    numbers, rows = np.full(len(values), np.nan), np.flatnonzero(cells == kind)
    if len(rows):
        convert = _convert_numbers if kind == NUMBER else _convert_times
        numbers[rows] = convert(values[rows], name, rows)
    return numbers, kind


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
    cell = f"{_show(str(value) if kind == TEXT else value)} in row {row}"
    if kind == TEXT:
        return ValueError(
            f"{where} text, such as {cell}. Convert text that stands for numbers or "
            "dates, encode categories, for example by OneHotEncoder or OrdinalEncoder "
            "in a pipeline, or leave the column out."
        )
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


def _show(value: Any) -> str:
    """A value as Python writes it, cut where it is long."""
    brief = reprlib.Repr()
    brief.maxother = brief.maxstring = 60
    return brief.repr(value)
