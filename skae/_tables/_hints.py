"""What X, or the text in a column of it, looks like if it is no table of numbers."""

from __future__ import annotations

import inspect
import re
import reprlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from os import PathLike
from typing import Any

import numpy as np
from sklearn.utils import Bunch

EXPECTED = "X must be a table of rows and columns"
TABLES = "Pass a frame, an array, a sparse table or a list of rows."
ARRAY_LIKE = "__array__", "__array_interface__", "__getitem__", "shape"
PACKAGES = {"skae", "sklearn", "joblib"}  # whose lines are none of the user's

N_LOOKED_AT = 20  # values that must all look like dates

# Neither months ("2025-07"), versions ("1.2.3") nor codes ("12-34-5678") are dates.
YEAR, MONTH, DAY = r"(?:19|20)\d\d", r"(?:0?[1-9]|1[0-2])", r"(?:0?[1-9]|[12]\d|3[01])"
NAME = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}\.?"
CLOCK = r"\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?(?: ?[AP]M)?"
ZONE = r"(?: ?(?:Z|UTC|GMT|[+-]\d\d(?::?\d\d)?))?"
TIME = rf"(?:(?:T|,? ){CLOCK}{ZONE})?"
YEAR_FIRST = re.compile(rf"\d{{4}}([-/]){MONTH}\1{DAY}{TIME}", re.IGNORECASE)
DAY_OR_MONTH_FIRST = re.compile(
    rf"(?:{DAY}([./-]){MONTH}\1|{MONTH}([/-]){DAY}\2){YEAR}{TIME}", re.IGNORECASE
)
WITH_NAME = re.compile(
    rf"(?:{DAY}([ -]){NAME}\1|{NAME} {DAY},? ){YEAR}{TIME}", re.IGNORECASE
)


def show(value: Any) -> str:
    """A value as Python writes it, cut where it is long."""
    brief = reprlib.Repr()
    brief.maxother = brief.maxstring = 60
    return brief.repr(value)


def warn(message: str) -> None:
    """Warn at the user's line, by whatever method that has led here."""
    frame, stacklevel = inspect.currentframe(), 1
    while frame and frame.f_globals.get("__name__", "").split(".")[0] in PACKAGES:
        frame, stacklevel = frame.f_back, stacklevel + 1
    warnings.warn(message, UserWarning, stacklevel)


# ------------------------------------------------------------------------ of X


def check_type(X: Any) -> None:
    """Raise if X is of a type that is no table, with what to make of it."""
    way_out = TABLES
    if isinstance(X, Bunch) and "data" in X:
        way_out = "Pass the table in it, X.data."
    elif isinstance(X, list | tuple) and X and isinstance(X[0], Mapping):
        _refuse_dicts(X[0], "pandas.DataFrame(X)")
    elif isinstance(X, Mapping) and not hasattr(X, "shape"):  # as dok_array has
        are_columns = any(map(_is_column, X.values()))
        way_out = (
            "Pass its columns as pandas.DataFrame(X)."
            if are_columns
            else "It is one row: pass pandas.DataFrame([X])."
        )
    elif isinstance(X, str | bytes | bytearray | PathLike):
        way_out = "Read a file first, for example by pandas.read_csv."
    elif any(hasattr(X, name) for name in ARRAY_LIKE):
        return
    got = f"{show(X)}, of type {type(X).__name__!r}"
    raise TypeError(f"{EXPECTED}, got {got}. {way_out}")


def _refuse_dicts(first: Any, way_out: str) -> None:
    got = f"dicts, the first {show(first)}"
    raise TypeError(f"{EXPECTED}, got {got}. Pass {way_out}.")


def _is_column(value: Any) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str | bytes)


def check_shape(X: Any) -> None:
    """Raise if X has not two dimensions, or no columns."""
    if isinstance(X, list | tuple):  # ragged: scikit-learn says so
        return
    shape = X.shape if hasattr(X, "shape") else np.asarray(X).shape
    if len(shape) == 1:
        _refuse_one_dimension(X, shape)
    if len(shape) == 2 and shape[1] == 0:
        raise ValueError(
            f"X has no columns: 0 feature(s) (shape=({shape[0]}, 0)) while a minimum "
            "of 1 is required. Pass at least one column."
        )
    if len(shape) == 0:
        raise ValueError(
            f"Expected 2D array, got scalar array instead: {show(X)}. {TABLES}"
        )


def _refuse_one_dimension(X: Any, shape: tuple[int]) -> None:
    first = next(iter(X), None) if hasattr(X, "__iter__") else None
    if isinstance(first, Mapping):
        _refuse_dicts(first, "pandas.DataFrame(list(X))")
    raise ValueError(
        f"Expected 2D array, got 1D array instead, of shape {tuple(shape)}. Of one row "
        "of a frame pass table.iloc[[0]], of one column table[['name']]. Reshape your "
        "data if it is an array: X.reshape(1, -1) is one row, X.reshape(-1, 1) one "
        "column."
    )


# ------------------------------------------------------------------ of a column


def explain_text(name: Any, cells: Sequence[tuple[int, Any]]) -> str:
    """What the text in a column of numbers looks like, and what to do about it.

    The cells are the observed ones, with their rows; at least one is text.
    """
    values = [value for _, value in cells]
    texts = [(row, value) for row, value in cells if isinstance(value, str)]
    odd = [(row, value) for row, value in texts if not _is_number(value)]
    row, value = texts[0]
    if date := find_date(values):
        row, value = next(text for text in texts if text[1].strip())
        what, way_out = ", which looks like dates", advise_on_dates(name, date)
    elif odd and 2 * sum(map(_is_number, values)) > len(values):
        row, value = odd[0]
        what, way_out = (
            ", while most of its values are numbers",
            "Set what stands for a missing one to NaN, as pandas.to_numeric("
            f"{_refer_to(name)}, errors='coerce') does with all that is no number. Of "
            "categories, name the column in categorical_features, or leave it out.",
        )
    else:
        what, way_out = (
            "",
            "Convert text that stands for numbers or dates, name the column in "
            'categorical_features (or set it to "from_dtype"), or leave the column '
            "out.",
        )
    return f"text, such as {show(str(value))} in row {row}{what}. {way_out}"


def _is_number(value: Any) -> bool:
    """Whether it is a number or text that is one: "12_345" is a code."""
    try:
        float(value)
    except (TypeError, ValueError, ArithmeticError):
        return False
    return not (isinstance(value, str) and "_" in value)


def find_date(values: Iterable[Any]) -> str | None:
    """The first of the observed values, if they look like dates, blank ones apart."""
    observed = (v for v in values if not (isinstance(v, str) and not v.strip()))
    first = list(islice(observed, N_LOOKED_AT))
    return str(first[0]) if first and all(map(_is_date, first)) else None


def _is_date(value: Any) -> bool:
    patterns = YEAR_FIRST, DAY_OR_MONTH_FIRST, WITH_NAME
    return isinstance(value, str) and any(p.fullmatch(value.strip()) for p in patterns)


def advise_on_dates(name: Any, date: str) -> str:
    """How to read a column of such dates."""
    column = _refer_to(name)
    if not DAY_OR_MONTH_FIRST.fullmatch(date.strip()):
        return f"Read them as dates: pandas.to_datetime({column})."
    return (
        f"Read them as dates: pandas.to_datetime({column}, dayfirst=True), or "
        "dayfirst=False if the month comes first."
    )


def _refer_to(name: Any) -> str:
    return f"X[{name!r}]" if isinstance(name, str) else "column"


def warn_of_dates(values: Iterable[Any], name: Any) -> None:
    """Warn if "from_dtype" takes the observed values of a column for categories."""
    if date := find_date(values):
        warn(
            f"X has text that looks like dates in column {name!r}, such as "
            f'{show(date)}, which "from_dtype" takes for categories. '
            f"{advise_on_dates(name, date)} If categories are meant, name the column "
            "in categorical_features."
        )
