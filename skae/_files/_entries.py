"""What is in the file of a detector: each entry, its form, and the check of it.

Each entry of the fitted state is in one of two tables, of values and of arrays. What is
in a file that anyone may have written is only used once it has passed.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skae._scoring._forward import Architecture
from skae._scoring._neighbors import count_references
from skae._tables._categories import FROM_DTYPE
from skae._tables._columns import CATEGORY, KINDS
from skae._tables._frequent import MAX_CATEGORIES, make_layout
from skae._tables._layout import Layout
from skae._tables._scaling import MIN_VARIANCE

MAX_LAYERS = 2**14  # of all networks; a layer costs memory beside its weights
FEATURES = {bool, int, str}  # what columns of categories are named by


class Plan(NamedTuple):
    """What the sizes of all arrays follow from."""

    n_columns: int
    architecture: Architecture

    @property
    def n_numbers(self) -> int:
        return self.architecture.n_features - self.architecture.n_logits

    @property
    def n_categorical(self) -> int:
        return self.n_columns - self.n_numbers


class _Value(NamedTuple):
    """A plain value: how what the file has for it is checked and read."""

    read: Callable[[Any], Any]
    is_optional: bool = False


class _Array(NamedTuple):
    """An array: its form in the file, the check of it, and how it gets in and out."""

    dtype: str
    dimensions: tuple[str, ...]  # those of one name are of one length
    check: Callable[[NDArray], None]
    pack: Callable[[Any], Any] = np.asarray
    unpack: Callable[[NDArray, Plan], Any] = lambda array, _: array
    is_optional: bool = False


def _read_count(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError("must be a positive integer")
    return value


def _read_count_or_zero(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("must be an integer of at least 0")
    return value


def _read_seed(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**31:
        raise ValueError("must be an integer from 0 to 2^31 - 1")
    return value


def _read_not_negative(value: Any) -> float:
    number = _read_number(value)
    if number < 0:
        raise ValueError("must be a number of at least 0")
    return number


def _read_counts(value: Any) -> tuple[int, ...]:
    if type(value) is not list or not value:
        raise ValueError("must be a list of positive integers")
    return tuple(map(_read_count, value))


def read_sizes(value: Any) -> int | tuple[int, ...]:
    return _read_counts(value) if isinstance(value, list) else _read_count(value)


def _read_number(value: Any) -> float:
    if type(value) not in (int, float) or abs(value) > sys.float_info.max:
        raise ValueError("must be a finite number")
    return float(value)


def _read_divisor(value: Any) -> float:
    number = _read_number(value)
    _check_divisors(np.array(number))
    return number


def read_features(value: Any) -> Any:
    """What `categorical_features` may be, once it is of plain values."""
    items = value if isinstance(value, list) else []
    kinds = set(map(type, items))
    if value not in (None, FROM_DTYPE, items) or len(kinds) > 1 or kinds - FEATURES:
        raise ValueError(
            f"must be None, {FROM_DTYPE!r} or a list of booleans, of integers or of "
            "names"
        )
    return value


def _read_text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("must be a string")
    return value


def _read_container(value: Any) -> str:
    if value not in ("default", "pandas", "polars"):
        raise ValueError("must be 'default', 'pandas' or 'polars'")
    return _read_text(value)


def _check_finite(array: NDArray) -> None:
    if not np.isfinite(array).all():
        raise ValueError("must hold finite numbers")


def _check_cells(array: NDArray) -> None:
    if np.isinf(array).any():
        raise ValueError("must hold finite numbers, or NaN where one is missing")


def _check_divisors(array: NDArray) -> None:
    """Positive numbers whose reciprocals are numbers too."""
    _check_finite(array)
    if not (array >= np.finfo(np.float64).tiny).all():
        raise ValueError("must hold positive numbers")


def _check_weights(array: NDArray) -> None:
    _check_divisors(array)
    with np.errstate(over="ignore"):
        total = array.sum()
    if not np.isfinite(total):
        raise ValueError("must add up to a finite number")


def _check_sorted(array: NDArray) -> None:
    _check_finite(array)
    if not len(array) or (np.diff(array) < 0).any():
        raise ValueError("must hold sorted numbers")


def _check_numbers(array: NDArray) -> None:
    """Whole numbers from 0."""
    _check_finite(array)
    if (array != np.rint(array)).any() or ((array < 0) | (array >= MAX_LAYERS)).any():
        raise ValueError(f"must hold whole numbers from 0 to {MAX_LAYERS - 1}")


def _check_kinds(array: NDArray[np.uint8]) -> None:
    if (array >= len(KINDS)).any():
        raise ValueError(f"must hold numbers below {len(KINDS)}")


def _pack_weights(networks: list[list[NDArray]]) -> NDArray:
    """A row for each network, of its weights one after the other."""
    return np.stack([np.concatenate([w.ravel() for w in n]) for n in networks])


def _unpack_weights(array: NDArray, plan: Plan) -> list[list[NDArray]]:
    """Kernel and bias of each layer of each network."""
    shapes = plan.architecture.shapes
    n_layers = len(array) * len(shapes) // 2
    if n_layers > MAX_LAYERS:
        raise ValueError(f"must make up at most {MAX_LAYERS} layers, not {n_layers}")
    ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    return [
        [w.reshape(s) for w, s in zip(np.split(row, ends), shapes, strict=True)]
        for row in array
    ]


def _pack_names(names: NDArray) -> NDArray[np.uint8]:
    """Names in UTF-8, each with a null character after it."""
    text = "".join(f"{name}\0" for name in names)
    return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)


def _unpack_curve(array: NDArray[np.float64], _: Plan) -> list[float]:
    return list(map(float, array))


def _unpack_names(array: NDArray[np.uint8], plan: Plan) -> NDArray:
    text = array.tobytes().decode("utf-8", "surrogatepass")
    n_names = plan.n_columns
    if text.count("\0") != n_names or not text.endswith("\0"):
        raise ValueError(f"must hold {n_names} names without a null character")
    names = text.split("\0")[:-1]
    if len(set(names)) < n_names:
        raise ValueError("must hold a name of its own for each column")
    return np.array(names, dtype=object)


def _pack_categories(categories: Sequence[list[Any] | None]) -> NDArray[np.uint8]:
    """A line of JSON for each unit: the category that has it, null for the others."""
    units = [
        unit for values in categories if values is not None for unit in (*values, None)
    ]
    text = "".join(f"{json.dumps(unit)}\n" for unit in units)
    return np.frombuffer(text.encode("ascii"), np.uint8)


def _unpack_categories(array: NDArray[np.uint8], plan: Plan) -> list[list[Any]]:
    """The categories of each column that has some."""
    n_units, end = plan.architecture.n_logits, ord("\n")
    if np.count_nonzero(array == end) != n_units or array[-1] != end:
        raise ValueError(f"must hold {n_units} lines")
    columns: list[list[Any]] = [[]]
    for line in io.BytesIO(array):  # type: ignore[arg-type]
        unit = _read_category(line)
        if unit is None:
            columns.append([])
        else:
            columns[-1].append(unit)
    if columns.pop() or len(columns) != plan.n_categorical:
        raise ValueError(f"must hold the categories of {plan.n_categorical} columns")
    for values in columns:
        _check_categories(values)
    return columns


def _read_category(line: bytes) -> Any:
    """Text, a boolean, an integer or a float; or None."""
    if line[:1] not in b'"-0123456789tfn':  # no list and no object, however deep
        raise ValueError("must hold text, booleans and finite numbers as JSON")
    value = json.loads(line)
    if isinstance(value, int | float) and not abs(value) <= sys.float_info.max:
        raise ValueError("must hold finite numbers")
    return value


def _check_categories(values: list[Any]) -> None:
    """Raise if they are not what `fit` makes of a column."""
    if len(values) > MAX_CATEGORIES:
        raise ValueError(f"must hold at most {MAX_CATEGORIES} categories of a column")
    keys = [(isinstance(value, str), value) for value in values]
    if not all(key < after for key, after in itertools.pairwise(keys)):
        raise ValueError("must hold numbers in ascending order, then text in order")


# All of what is learnt; a dot leads into a dict. What a later release adds must be
# optional, for the sake of files that do not have it.
VALUES = {
    "n_features_in_": _Value(_read_count),
    "n_iter_": _Value(_read_count),
    "offset_": _Value(_read_number),
    "_architecture.n_features": _Value(_read_count),
    "_architecture.hidden_layer_sizes": _Value(_read_counts),
    "_architecture.activation": _Value(_read_text),
    "_architecture.output_activation": _Value(_read_text),
    "_architecture.n_logits": _Value(_read_count_or_zero, is_optional=True),
    "_neighborhood.spread": _Value(_read_divisor, is_optional=True),
    "_stream.seed": _Value(_read_seed, is_optional=True),
    "_stream.n_calls": _Value(_read_seed, is_optional=True),
    "_stream.min_rows": _Value(_read_seed, is_optional=True),
    "_stream.left_out": _Value(_read_not_negative, is_optional=True),
    "_stream.optimizer": _Value(_read_text, is_optional=True),
    "_sklearn_output_config.transform": _Value(_read_container, is_optional=True),
}
ARRAYS = {
    "_pivot": _Array("f8", ("n_units",), _check_finite),
    "_remainder": _Array("f8", ("n_units",), _check_finite),
    "_scale": _Array("f8", ("n_units",), _check_divisors),
    "_mask_values": _Array("f8", ("n_units",), _check_finite),
    "_weights": _Array(
        "f4",
        ("n_networks", "n_weights"),
        _check_finite,
        _pack_weights,
        _unpack_weights,
    ),
    "_neighborhood.references": _Array(
        "f8", ("n_references", "n_columns"), _check_cells, is_optional=True
    ),
    "_neighborhood.center": _Array(
        "f8", ("n_numbers",), _check_finite, is_optional=True
    ),
    "_neighborhood.residual_scale": _Array(
        "f8", ("n_columns",), _check_divisors, is_optional=True
    ),
    "loss_curve_": _Array("f8", ("n_iter",), _check_finite, unpack=_unpack_curve),
    "validation_loss_curve_": _Array(
        "f8", ("n_iter",), _check_finite, unpack=_unpack_curve, is_optional=True
    ),
    "calibration_scores_": _Array(
        "f8", ("n_calibration_samples",), _check_sorted, is_optional=True
    ),
    "_calibration_folds": _Array(
        "f8",
        ("n_calibration_samples",),
        _check_numbers,
        unpack=lambda array, _: array.astype(np.intp),
        is_optional=True,
    ),
    "_stream.rows": _Array(
        "f8", ("n_past_samples", "n_columns"), _check_cells, is_optional=True
    ),
    "_stream.weights": _Array(
        "f8", ("n_past_samples",), _check_weights, is_optional=True
    ),
    "_stream.priorities": _Array(
        "f8", ("n_past_samples",), _check_divisors, is_optional=True
    ),
    "_stream.optimizer_states": _Array(
        "f8", ("n_networks", "n_optimizer_values"), _check_finite, is_optional=True
    ),
    "feature_names_in_": _Array(
        "u1", ("n_bytes",), _check_finite, _pack_names, _unpack_names, is_optional=True
    ),
    "_column_kinds": _Array(
        "u1",
        ("n_columns",),
        _check_kinds,
        lambda kinds: [KINDS.index(kind) for kind in kinds],
        lambda array, _: [KINDS[number] for number in array],
        is_optional=True,
    ),
    "categories_": _Array(
        "u1",
        ("n_bytes_of_categories",),
        _check_finite,
        _pack_categories,
        _unpack_categories,
        is_optional=True,
    ),
}


def check_plan(plan: Plan) -> None:
    """Raise if there cannot be as many columns as the file says."""
    n_units, n_logits = plan.architecture.n_features, plan.architecture.n_logits
    least = plan.n_numbers + min(1, n_logits)
    if n_logits > n_units or not least <= plan.n_columns <= n_units:
        raise ValueError(
            f"n_features_in_ is {plan.n_columns}, but the network has {n_units} "
            f"columns, {n_logits} of them of categories."
        )


def place_categories(entries: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """The categories of each column of the table, and which units they have."""
    columns = iter(entries.get("categories_", []))
    kinds = entries.get("_column_kinds") or []
    n_categorical = kinds.count(CATEGORY)
    if n_categorical != plan.n_categorical:
        raise ValueError(
            f"_column_kinds has {n_categorical} columns of categories instead of "
            f"{plan.n_categorical}."
        )
    layout, categories = Layout.of_numbers(plan.n_columns), None
    if n_categorical:
        if "categories_" not in entries:
            raise ValueError("'categories_' is missing.")
        categories = [next(columns) if kind == CATEGORY else None for kind in kinds]
        layout = make_layout(categories) or layout
        _check_blocks(entries, layout)
    return {
        "categories_": categories,
        "_category_columns": layout.columns,
        "_category_sizes": layout.sizes,
    }


def _check_blocks(entries: Mapping[str, Any], layout: Layout) -> None:
    """Raise if numbers of categories are none that `fit` leaves."""
    p = layout.n_numbers
    frequencies, scale = entries["_pivot"][p:], entries["_scale"][p:]
    shares = np.clip(frequencies, 0.0, 1.0)
    totals, squares = layout.sum_blocks(np.stack([shares, np.square(shares)]))
    if (shares != frequencies).any() or not np.allclose(totals, 1.0, rtol=1e-9):
        raise ValueError("_pivot must hold frequencies, which add up to 1 in a column.")
    spreads = np.sqrt(np.maximum(1.0 - squares, MIN_VARIANCE))
    if not np.allclose(scale, np.repeat(spreads, layout.sizes), rtol=1e-6):
        raise ValueError("_scale must hold the spreads of the categories.")
    for name in ("_remainder", "_mask_values"):
        if entries[name][p:].any():
            raise ValueError(f"{name} must be 0 where _pivot holds frequencies.")
    _check_rows(entries, layout)


def _check_rows(entries: Mapping[str, Any], layout: Layout) -> None:
    """Raise if rows hold codes of no category, or are more than `fit` keeps."""
    references, rows = (
        entries.get(name) for name in ("_neighborhood.references", "_stream.rows")
    )
    if references is not None:
        n_most = count_references(layout.n_columns)
        if len(references) > n_most:  # a code of 8 bytes becomes a block of units
            raise ValueError(f"_neighborhood.references must be at most {n_most} rows.")
        codes = references[:, layout.n_numbers :]
        _check_codes("_neighborhood.references", codes, layout)
    if rows is not None:
        _check_codes("_stream.rows", rows[:, layout.columns], layout)


def _check_codes(name: str, codes: NDArray[np.float64], layout: Layout) -> None:
    is_code = (codes >= 0.0) & (codes < layout.sizes) & (codes == np.floor(codes))
    if not (is_code | np.isnan(codes)).all():
        raise ValueError(
            f"{name} must hold codes of categories, or NaN where one is missing."
        )
