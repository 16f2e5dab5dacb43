"""What is wrong with the columns of a table of numbers, said by their names."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import assert_all_finite
from sklearn.utils.validation import _check_feature_names, _get_feature_names

from skae._tables._columns import CATEGORY, DATE, DURATION, NUMBER
from skae._tables._moments import Moments
from skae._tables._reading import Table, WeightedTable, read_chunks, read_dense
from skae._tables._sentinels import Sentinel, find_sentinels

# float64 has the seconds since 1970 to 2.4e-7: too coarse for dates that all lie within
# less than this.
MIN_SPREAD = 1e-4
LAST_DATE = 2.5e14  # in seconds since 1970, about 8 million years
MAX_LISTED = 10  # columns in a message

WAYS_TO = {
    NUMBER: "numbers",
    DATE: "dates, for example by astype('datetime64[s]')",
    DURATION: "durations, for example by astype('timedelta64[s]')",
    CATEGORY: "text, booleans or numbers",
}


def check_names(X: Any, seen_by: Any, categories: Any) -> None:
    """Raise if a frame has other columns than those that categories are known of.

    Or has them in another order, before text in the wrong column is the error.
    """
    if categories is None:
        return
    seen = getattr(seen_by, "feature_names_in_", None)
    names = None if seen is None or isinstance(X, np.ndarray) else _get_feature_names(X)
    if seen is not None and names is not None and list(names) != list(seen):
        _check_feature_names(seen_by, X, reset=False)


@contextmanager
def errors_noted(note: str) -> Iterator[None]:
    """Of what is wrong with a table the note says which one it is."""
    try:
        yield
    except (TypeError, ValueError) as error:
        error.add_note(note)
        raise


def check_width(X: Table, categories: Sequence[Any] | None) -> None:
    """Raise if categories are known, but of more or of fewer columns."""
    if categories is not None and X.shape[1] != len(categories):
        raise ValueError(
            f"X has {X.shape[1]} features, but the network to go on from was trained "
            f"on {len(categories)}. Pass the same columns, or start anew: call fit "
            "with warm_start=False."
        )


def check_kinds(
    X: Table, kinds: list[str] | None, seen: list[str] | None, names: Sequence[Any]
) -> None:
    """Raise if a column is of another kind than the one that was fitted on."""
    if kinds == seen:
        return
    numbers = [NUMBER] * len(names)
    pairs = zip(kinds or numbers, seen or numbers, strict=True)
    for j, (kind, expected) in enumerate(pairs):
        if kind != expected and not _find_unobserved(X, np.array([j])).size:
            raise ValueError(
                f"X must hold what the detector was fitted on: column {names[j]!r} "
                f"held {expected}s then and holds {kind}s now. Convert it to "
                f"{WAYS_TO[expected]}, or fit anew."
            )


def check_finite(X: Table, names: Sequence[Any]) -> None:
    """Raise if a cell is infinite; the columns are looked for only then."""
    with np.errstate(invalid="ignore"):
        try:
            assert_all_finite(X, allow_nan=True, input_name="X")
        except ValueError as error:
            raise ValueError(f"{error} {_describe_infinite(X, names)}") from None


def _describe_infinite(X: Table, names: Sequence[Any]) -> str:
    firsts: dict[int, str] = {}  # what there is to say of each column
    n_before = 0
    for chunk in read_chunks(X):
        is_infinite = np.isinf(chunk)
        for j in map(int, np.flatnonzero(is_infinite.any(axis=0))):
            row = np.argmax(is_infinite[:, j])
            cell = f"{chunk[row, j]} in row {n_before + row}"
            firsts.setdefault(j, f"column {names[j]!r} holds {cell}")
        n_before += len(chunk)
    cells = [firsts[j] for j in sorted(firsts)]
    return (
        f"Numbers must be finite, and NaN where one is missing: {_list(cells)}. "
        "Correct these cells, or set them to NaN."
    )


def warn_of_columns(table: WeightedTable, moments: Moments, stacklevel: int) -> None:
    """Warn of columns of which nothing, or the wrong thing, is learnt from a table."""
    names = table.names
    unobserved = np.flatnonzero(moments.total == 0.0)
    if len(unobserved):
        _warn(
            f"X has no observed cell in {_list_names(unobserved, names)}: nothing is "
            "learnt about such a column. A later value there is compared with about 0, "
            "in its own units, and a large one raises an alarm; a category adds "
            "nothing to the mean over the columns. Leave the column out.",
            stacklevel + 1,
        )
    spread = moments.high - moments.low
    is_crowded = (spread > 0.0) & (spread < MIN_SPREAD)
    is_crowded &= [kind == DATE for kind in table.kinds or [NUMBER] * len(spread)]
    if is_crowded.any():
        _warn(
            f"X has dates that all lie within {MIN_SPREAD:g} seconds in "
            f"{_list_names(np.flatnonzero(is_crowded), names)}. They are read as "
            "seconds since 1970, exact to 2.4e-07: pass durations since one of them "
            "instead.",
            stacklevel + 1,
        )


def warn_of_sentinels(table: WeightedTable, moments: Moments, stacklevel: int) -> None:
    """Warn of columns in which one value, which is none, drowns all others."""
    sentinels = find_sentinels(table, moments)
    if sentinels:
        _warn(
            "One value, which looks like the sign of a missing or invalid one, makes "
            f"up the variance of {_describe(sentinels, table)}. Beside "
            "it, all others are nearly the same to the network. Set it to NaN, which "
            "marks a missing cell; if it has been measured, use scaling='robust'.",
            stacklevel + 1,
        )


def _describe(sentinels: Sequence[Sentinel], table: WeightedTable) -> str:
    """Each column by its name, with the value and its share of the variance."""
    parts = []
    for column, value, share, _ in sentinels:
        shown = show_number(value)
        if table.kinds and table.kinds[column] == DATE and abs(value) < LAST_DATE:
            shown = str(np.datetime64(int(value), "s"))
        name = _list_names([column], table.names)
        parts.append(f"{name} (the value {shown} has {_floor(share)} of it)")
    return _list(parts)


def show_number(value: float) -> str:
    """A number in as many digits as tell it from all others."""
    return repr(value).removesuffix(".0")


def _floor(share: float) -> str:
    """A share in percent that is not rounded up to all."""
    return f"{np.floor(share * 1e5) / 1e3:g} %"


def _find_unobserved(X: Table, columns: NDArray[np.intp]) -> NDArray[np.intp]:
    """Those of the columns that hold NaN only."""
    columns = columns[np.isnan(read_dense(X, slice(0, 1))[0, columns])]
    for chunk in read_chunks(X):
        if not len(columns):
            break
        columns = columns[np.isnan(chunk[:, columns]).all(axis=0)]
    return columns


def _list_names(columns: Iterable[int], names: Sequence[Any]) -> str:
    """Columns by their names, or by their numbers where they have none."""
    known = names if len(names) else range(max(columns, default=0) + 1)
    return _list([f"column {known[j]!r}" for j in columns])


def _list(parts: list[str]) -> str:
    """Parts of a sentence, the first ones if they are many."""
    left_out = len(parts) - MAX_LISTED
    more = [f"and {left_out} more"] if left_out > 0 else []
    return ", ".join(parts[:MAX_LISTED] + more)


def _warn(message: str, stacklevel: int) -> None:
    warnings.warn(message, UserWarning, stacklevel=stacklevel + 1)
