"""Which columns hold categories, and their values as codes and back.

A category is text, a boolean, an int or a float of Python; its code is its place in the
list of its column's values. Equal values are one category: True, 1 and 1.0 are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import isfinite
from numbers import Integral
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from skae._tables._hints import warn

Categories: TypeAlias = list[list[Any] | None]  # of each column; None: it has none

FROM_DTYPE = "from_dtype"
FORMS = "categorical_features must be an array-like of bool, int or str"
MAX_SHOWN = 10  # names in a message


# ------------------------------------------------------------- which columns are chosen


class Known(NamedTuple):
    """The values of a column that `fit` has seen, and where each of them is."""

    values: list[Any]
    places: dict[Any, int]


class Choice(NamedTuple):
    """What the user said in `fit` of the columns, or what `fit` has found in them."""

    features: Any = None  # as `categorical_features`
    categories: Categories | None = None
    is_fit: bool = False  # whether categories are learnt by it

    @property
    def is_from_dtype(self) -> bool:
        return isinstance(self.features, str) and self.features == FROM_DTYPE

    @property
    def is_explicit(self) -> bool:
        """Whether there may be categories in a table of plain numbers."""
        return self.categories is not None or not (
            self.features is None or self.is_from_dtype
        )

    def find(
        self,
        n_features: int,
        names: Sequence[Any] | None,
        is_category: Callable[[int], bool],
    ) -> dict[int, Known | None]:
        """The category columns of a table, and their values if `fit` has seen them."""
        if self.categories is not None:
            found = _find_known(_Same(self.categories))
            return {j: known for j, known in found.items() if j < n_features}
        if self.features is None or n_features == 0:
            return {}
        if self.is_from_dtype:
            return dict.fromkeys(filter(is_category, range(n_features)))
        return dict.fromkeys(_find_columns(self.features, n_features, names))


class _Same:
    """Lists of values that are equal only if they are the same object."""

    def __init__(self, categories: Categories):
        self.categories = categories

    def __hash__(self) -> int:
        return id(self.categories)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.categories is other.categories


@lru_cache(maxsize=8)
def _find_known(same: _Same) -> dict[int, Known]:
    """The lists of a detector, ready to be searched; those used last are kept."""
    pairs = enumerate(same.categories)
    return {j: _make_known(values) for j, values in pairs if values is not None}


def _make_known(values: list[Any]) -> Known:
    return Known(values, {value: place for place, value in enumerate(values)})


def _find_columns(
    features: Any, n_features: int, names: Sequence[Any] | None
) -> set[int]:
    """The columns that a mask, indices or names stand for."""
    items = np.asarray(features, dtype=object)
    if items.ndim != 1:
        raise ValueError(
            f"{FORMS} of one dimension, {FROM_DTYPE!r} or None, got: {features!r}. "
            "Pass a list, also if it is of one column."
        )
    kinds = {_name_type(item) for item in items}
    if not kinds:
        return set()
    if kinds == {"bool"}:
        return _find_masked(items, n_features)
    if kinds == {"int"}:
        return _find_numbered(items, n_features)
    if kinds == {"str"}:
        return _find_by_name(items, names)
    raise ValueError(
        f"{FORMS}, all of one type, got: {', '.join(sorted(kinds))}. Pass a boolean "
        "mask of all columns, or the numbers or the names of some."
    )


def _name_type(item: Any) -> str:
    if isinstance(item, bool | np.bool_):
        return "bool"
    for name, kind in (("int", Integral), ("str", str)):
        if isinstance(item, kind):
            return name
    return type(item).__name__


def _find_masked(items: NDArray, n_features: int) -> set[int]:
    if len(items) != n_features:
        raise ValueError(
            "categorical_features set as a boolean mask must have shape (n_features,) "
            f"= ({n_features},), got: {items.shape}. Pass one boolean a column of X, "
            "or the numbers of the columns."
        )
    return set(np.flatnonzero(items).tolist())


def _find_numbered(items: NDArray, n_features: int) -> set[int]:
    wrong = [int(item) for item in items if not 0 <= item < n_features]
    if wrong:
        raise ValueError(
            "categorical_features set as integer indices must be in [0, n_features - "
            f"1] = [0, {n_features - 1}], got: {_list(wrong)}. The first column of X "
            "is number 0."
        )
    return {int(item) for item in items}


def _find_by_name(items: NDArray, names: Sequence[Any] | None) -> set[int]:
    if names is None:
        raise ValueError(
            "categorical_features should be passed as an array of integers or as a "
            f"boolean mask when X has no names of columns, got names: "
            f"{_list(items.tolist())}. Or pass X as a data frame."
        )
    known = set(names)
    wrong = [item for item in dict.fromkeys(items) if item not in known]
    if wrong:
        raise ValueError(
            f"categorical_features must hold names of columns of X, got: "
            f"{_list(wrong)}. The columns of X are {_list(names)}."
        )
    wanted = set(items)
    return {j for j, name in enumerate(names) if name in wanted}


def _list(items: Sequence[Any]) -> str:
    left_out = len(items) - MAX_SHOWN
    more = [f"and {left_out} more"] if left_out > 0 else []
    return ", ".join([repr(item) for item in items[:MAX_SHOWN]] + more)


# ------------------------------------------------------- from values to codes, and back


def read_values(
    cells: list[Any], known: Known | None
) -> tuple[NDArray[np.float64], list[Any]]:
    """Codes of a column and its values: the known ones, or those that it holds.

    NaN and infinite numbers stay what they are, and an unknown value is the last.
    """
    values, places = known or _make_known(_list_values(cells))
    find, unknown = places.get, len(values)
    if float in set(map(type, cells)):
        codes = [find(cell, unknown) if is_value(cell) else cell for cell in cells]
    else:
        codes = [find(cell, unknown) for cell in cells]
    return np.array(codes, np.float64), values


def warn_if_written_otherwise(cells: list[Any], known: Known | None, name: Any) -> None:
    """Warn if a column holds its categories in another type, case or with blanks."""
    if known is None or not known.values:
        return
    if any(cell in known.places for cell in cells):
        return
    new = [cell for cell in cells if is_value(cell)]
    if not new:
        return
    given, seen = ({isinstance(v, str) for v in of} for of in (new, known.values))
    if given.isdisjoint(seen):
        now, then = ("text", "numbers") if True in given else ("numbers", "text")
        warn(
            f"X has another type in the categories of column {name!r}: {now}, such as "
            f"{new[0]!r}, where fit saw {then}, such as {known.values[0]!r}. All are "
            "taken for new categories. Convert the column to what it was."
        )
        return
    alike = {_fold(value): value for value in known.values}
    example = next((value for value in new if _fold(value) in alike), None)
    if example is not None:
        warn(
            f"X has only new categories in column {name!r}, among them {example!r}, "
            f"where fit saw {alike[_fold(example)]!r}. Check their spelling, case and "
            "blanks."
        )


def _fold(value: Any) -> str:
    """A category without what is easily written in another way."""
    return str(value).strip().casefold()


def _list_values(cells: list[Any]) -> list[Any]:
    """The distinct values of a column: numbers in ascending order, then text.

    Of equal ones it is an int, if one of them is, else a float, whatever comes first.
    """
    found: set[Any] = set()
    types = set(map(type, cells))
    for wanted in (int, float, bool, str):
        if types == {wanted}:
            found = set(cells)
        elif wanted in types:
            found.update([cell for cell in cells if type(cell) is wanted])
    texts = [value for value in found if type(value) is str]
    numbers = [v for v in found if type(v) is not str and isfinite(v)]
    return [_drop_sign(value) for value in sorted(numbers)] + sorted(texts)


def _drop_sign(value: Any) -> Any:
    """A number that is not minus zero."""
    return value + 0.0 if type(value) is float else value


def is_value(cell: Any) -> bool:
    """Whether it is neither missing nor infinite."""
    return type(cell) is not float or isfinite(cell)


def decode_columns(cells: NDArray, categories: Categories | None) -> NDArray:
    """Rows with codes as rows of what the user has.

    They are floats if all values are numbers or booleans, NaN for a missing one, and
    else objects of Python, None for a missing category.
    """
    decoded = np.array(cells, np.float64)
    chosen = [(j, v) for j, v in enumerate(categories or []) if v is not None]
    has_text = any(isinstance(value, str) for _, values in chosen for value in values)
    missing = None if has_text else np.nan
    if has_text:
        decoded = decoded.astype(object)
    for j, values in chosen:
        table = np.array([*values, missing], decoded.dtype)
        codes = cells[:, j]
        is_known = (codes >= 0) & (codes < len(values))
        decoded[:, j] = table[np.where(is_known, codes, len(values)).astype(np.intp)]
    return decoded
