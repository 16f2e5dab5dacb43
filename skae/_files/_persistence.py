"""A fitted detector as a file, and back, whoever wrote the file.

Whatever comes out of a file is checked before it is used: parameters against the
estimator's own constraints, what is learnt against one of two tables. Nothing that a
file names is imported or called, but for the names of Keras's own activations.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import reprlib
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from skae._detector import AutoencoderOutlierDetector
from skae._files._container import read_container, write_container
from skae._learning._network import make_keras_activation
from skae._model import FIELDS
from skae._scoring._forward import ACTIVATIONS, Architecture
from skae._scoring._neighbors import count_references
from skae._tables._categories import FROM_DTYPE
from skae._tables._columns import CATEGORY, KINDS
from skae._tables._frequent import MAX_CATEGORIES, make_layout
from skae._tables._layout import Layout
from skae._version import __version__

MAX_LAYERS = 2**14  # of all networks; a layer costs memory beside its weights
FEATURES = {bool, int, str}  # what columns of categories are named by
_PARTS = ("versions", "parameters", "values")  # of the header


def save(estimator: AutoencoderOutlierDetector, path: str | os.PathLike) -> None:
    """Write a fitted detector to a file that is safe to load, whoever sends it.

    The file holds arrays and JSON: the parameters and what was learnt, and no code. Of
    the data it holds up to 512 training rows, scaled, with the centers and scales that
    lead back to their values; none with ``score_method="reconstruction"``. Of columns
    of categories it holds the values in `categories_`, as they are. After `partial_fit`
    it also holds a sample of up to 10,000 rows. It appears under its name when it is
    complete: if writing fails, an older file of that name stays as it was.

    Parameters
    ----------
    estimator : AutoencoderOutlierDetector
        A fitted one, and not an instance of a subclass. Its parameters must be plain:
        activations, loss and optimizer are names, `random_state` is an integer or None,
        and `memory` is None.

    path : str or os.PathLike
        Of the file; any extension will do.

    Raises
    ------
    TypeError
        If the estimator is anything else, such as a pipeline.
    NotFittedError
        If the detector is not fitted.
    ValueError
        If a parameter or attribute is neither an array nor JSON, or is not valid; the
        message names it.
    OSError
        If the file cannot be written.

    See Also
    --------
    load : The way back.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_iris
    >>> import skae
    >>> X, _ = load_iris(return_X_y=True)
    >>> detector = skae.AutoencoderOutlierDetector((8, 2), epochs=5, random_state=0)
    >>> detector = detector.fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     skae.save(detector, Path(folder) / "iris.skae")
    ...     restored = skae.load(Path(folder) / "iris.skae")
    >>> bool((restored.score_samples(X) == detector.score_samples(X)).all())
    True
    """
    if type(estimator) is not AutoencoderOutlierDetector:
        raise TypeError(
            "save takes an AutoencoderOutlierDetector, and not one of a subclass. Got "
            f"an instance of {type(estimator).__name__!r} instead. Of a pipeline, save "
            "the detector alone, or use pickle or skops for the whole."
        )
    check_is_fitted(estimator)
    header, arrays = _encode(estimator)
    try:  # what load would refuse is not written
        _decode(json.loads(json.dumps(header)), arrays)
    except ValueError as error:
        raise ValueError(f"The detector cannot be saved: {error}") from error
    write_container(path, header, arrays)


def load(path: str | os.PathLike) -> AutoencoderOutlierDetector:
    """Read a detector that `save` has written.

    The file need not be trusted. Whatever is in it, nothing of it is run or imported,
    little more memory is taken than the file is long, and what comes out is a detector
    that works, or an error. That it is the detector that you expect, no file can prove.

    Neither Keras nor TensorFlow is imported, unless an activation needs them.

    Parameters
    ----------
    path : str or os.PathLike
        Of the file.

    Returns
    -------
    detector : AutoencoderOutlierDetector
        It scores as the saved one, to the bit on the same machine, and can be fitted
        again. Its parameters are the saved ones as plain Python values;
        `hidden_layer_sizes`, if it was a list or an array, is a tuple, and
        `categorical_features`, if it was a tuple or an array, is a list.

    Raises
    ------
    ValueError
        If the file is not one of `save`, is cut off or damaged, is of a format that
        only a later skae reads, or holds anything that a fitted detector would not.
    OSError
        If the file cannot be read.

    See Also
    --------
    save : Writes such files; with an example.
    """
    with open(path, "rb") as file:
        try:
            return _decode(*read_container(file))
        except ValueError as error:
            raise ValueError(
                f"{os.fspath(path)!r} holds no detector that skae {__version__} can "
                f"load: {error}"
            ) from error


# --------------------------------------------------- the entries of the fitted state


class _Plan(NamedTuple):
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
    unpack: Callable[[NDArray, _Plan], Any] = lambda array, _: array
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


def _read_sizes(value: Any) -> int | tuple[int, ...]:
    return _read_counts(value) if isinstance(value, list) else _read_count(value)


def _read_number(value: Any) -> float:
    if type(value) not in (int, float) or abs(value) > sys.float_info.max:
        raise ValueError("must be a finite number")
    return float(value)


def _read_divisor(value: Any) -> float:
    number = _read_number(value)
    _check_divisors(np.array(number))
    return number


def _read_features(value: Any) -> Any:
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
    if not np.isfinite(array.sum()):
        raise ValueError("must add up to a finite number")


def _check_sorted(array: NDArray) -> None:
    _check_finite(array)
    if not len(array) or (np.diff(array) < 0).any():
        raise ValueError("must hold sorted numbers")


def _check_kinds(array: NDArray[np.uint8]) -> None:
    if (array >= len(KINDS)).any():
        raise ValueError(f"must hold numbers below {len(KINDS)}")


def _pack_weights(networks: list[list[NDArray]]) -> NDArray:
    """A row for each network, of its weights one after the other."""
    return np.stack([np.concatenate([w.ravel() for w in n]) for n in networks])


def _unpack_weights(array: NDArray, plan: _Plan) -> list[list[NDArray]]:
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


def _unpack_curve(array: NDArray[np.float64], _: _Plan) -> list[float]:
    return list(map(float, array))


def _unpack_names(array: NDArray[np.uint8], plan: _Plan) -> NDArray:
    text = array.tobytes().decode("utf-8", "surrogatepass")
    n_names = plan.n_columns
    if text.count("\0") != n_names or not text.endswith("\0"):
        raise ValueError(f"must hold {n_names} names without a null character")
    return np.array(text.split("\0")[:-1], dtype=object)


def _pack_categories(categories: Sequence[list[Any] | None]) -> NDArray[np.uint8]:
    """A line of JSON for each unit: the category that has it, null for the others."""
    units = [
        unit for values in categories if values is not None for unit in (*values, None)
    ]
    text = "".join(f"{json.dumps(unit)}\n" for unit in units)
    return np.frombuffer(text.encode("ascii"), np.uint8)


def _unpack_categories(array: NDArray[np.uint8], plan: _Plan) -> list[list[Any]]:
    """The categories of each column that has some."""
    n_units, is_end = plan.architecture.n_logits, array == ord("\n")
    if np.count_nonzero(is_end) != n_units or not is_end[-1]:
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
_VALUES = {
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
_ARRAYS = {
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
_RECORDS = [  # each as a whole or not at all
    {name for name in _VALUES | _ARRAYS if name.startswith(record)}
    for record in ("_stream.", "_neighborhood.")
]
_PARAMETERS = AutoencoderOutlierDetector._parameter_constraints.keys()
_OPTIONAL = {
    *_PARAMETERS,  # one that is newer than the file is at its default
    *(name for name, entry in (_VALUES | _ARRAYS).items() if entry.is_optional),
}


# ------------------------------------------------------ from a detector to its entries


def _encode(
    detector: AutoencoderOutlierDetector,
) -> tuple[dict[str, dict[str, Any]], dict[str, NDArray]]:
    """Header and arrays, or an error that names what has no place in a file."""
    state = detector.__getstate__()
    skae_version, _ = state.pop("_skae_version"), state.pop("_state_format")
    parameters = {name: state.pop(name) for name in _PARAMETERS}
    model = {f"_{field}": value for field, value in state.pop("_model").items()}
    for field in ("_category_columns", "_category_sizes"):
        del model[field]  # which the kinds of the columns and `categories_` tell
    values = _flatten(state | model)
    for name in {"_stream", "_neighborhood", *_OPTIONAL} & values.keys():
        if values[name] is None:
            del values[name]
    arrays = {
        name: np.asarray(entry.pack(values.pop(name)), entry.dtype)
        for name, entry in _ARRAYS.items()
        if name in values
    }
    arrays = {name: array for name, array in arrays.items() if array.size}
    _check_values(values)
    _check_parameters(detector, parameters)
    versions = {
        "skae": skae_version,
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
    }
    header = {
        "versions": versions,
        "parameters": {name: _to_plain(value) for name, value in parameters.items()},
        "values": {name: _to_plain(value) for name, value in values.items()},
    }
    return header, arrays


def _check_values(values: Mapping[str, Any]) -> None:
    """Raise if there is a value that is unknown, or that JSON cannot hold."""
    for name in values.keys() - _VALUES.keys():
        raise ValueError(
            f"The attribute {name!r} cannot be saved: it is not one that fit sets. "
            "Delete it before saving, or use pickle."
        )
    for name, value in values.items():
        if not _is_plain(value):
            raise ValueError(
                f"The detector was fitted with {name.split('.')[-1]}={value!r}, which "
                "is neither an array nor JSON and cannot be saved. Fit with the name "
                "of a Keras activation, or use pickle."
            )


def _check_parameters(
    detector: AutoencoderOutlierDetector, parameters: Mapping[str, Any]
) -> None:
    """Raise if there is a parameter that no file can hold, or must not."""
    if parameters["memory"] is not None:
        raise ValueError(
            f"memory={parameters['memory']!r} cannot be saved: a cache is trusted like "
            "a pickle, and a file that is not must not name one. Call "
            "set_params(memory=None) first, and set it again after loading."
        )
    for name, value in parameters.items():
        if not _is_plain(value):
            raise ValueError(
                f"{name}={getattr(detector, name)!r} is neither an array nor JSON and "
                f"cannot be saved. Call set_params({name}=...) with a name or a finite "
                "number first, which changes nothing of what was fitted, or use pickle."
            )


def _is_plain(value: Any) -> bool:
    """Whether JSON can hold what `_to_plain` makes of it."""
    value = _to_plain(value)
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, bool | int | str)


def _to_plain(value: Any) -> Any:
    """Numbers and arrays of NumPy or pandas, and tuples, as numbers and lists."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(map(_to_plain, value)) if isinstance(value, tuple | list) else value


def _flatten(state: Mapping[str, Any]) -> dict[str, Any]:
    """A dict of values and dicts as one dict, with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, dict) and value:
            flat |= {f"{name}.{key}": item for key, item in value.items()}
        else:
            flat[name] = value
    return flat


def _unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The way back from `_flatten`."""
    state: dict[str, Any] = {}
    for dotted_name, value in flat.items():
        name, _, key = dotted_name.partition(".")
        if key:
            state.setdefault(name, {})[key] = value
        else:
            state[name] = value
    return state


# -------------------------------------------------- from entries to a working detector


def _decode(
    header: Mapping[str, Any], arrays: Mapping[str, NDArray]
) -> AutoencoderOutlierDetector:
    """A detector, or an error if a fitted one would not have these entries."""
    _check_names(header.keys(), _PARTS)
    for part in _PARTS:
        if not isinstance(header[part], dict):
            raise ValueError(f"{part!r} must be a JSON object.")
    versions, parameters, values = (header[part] for part in _PARTS)
    if "_center" in arrays and "_pivot" not in arrays:  # format 2: no remainder
        arrays = {("_pivot" if n == "_center" else n): a for n, a in arrays.items()}
        arrays["_remainder"] = np.zeros_like(arrays["_pivot"])
    written_by = versions.get("skae")
    _check_names(parameters.keys(), _PARAMETERS, written_by)
    _check_names(values.keys(), _VALUES.keys(), written_by)
    _check_names(arrays.keys(), _ARRAYS.keys(), written_by)
    values = {"_architecture.n_logits": 0} | dict(values)
    if "_neighborhood.references" in arrays and "_neighborhood.center" not in arrays:
        if values["_architecture.n_logits"] == values["_architecture.n_features"]:
            arrays = {**arrays, "_neighborhood.center": np.empty(0)}  # no numbers
    present = values.keys() | arrays.keys()
    for record in _RECORDS:
        for name in record - present if record & present else ():
            raise ValueError(f"{name!r} is missing.")
    detector = _make_detector(parameters)
    values = {name: _read(name, _VALUES[name].read, v) for name, v in values.items()}
    architecture = Architecture(
        *(values[f"_architecture.{field}"] for field in Architecture._fields)
    )
    for activation in {architecture.activation, architecture.output_activation}:
        if activation not in ACTIVATIONS:
            make_keras_activation(activation)  # raises if Keras does not know it
    plan = _Plan(values["n_features_in_"], architecture)
    _check_plan(plan)
    _check_shapes(arrays, plan, values["n_iter_"])
    entries = values | {
        name: _unpack(name, array, plan) for name, array in arrays.items()
    }
    absent = (
        "validation_loss_curve_",
        "calibration_scores_",
        "_stream",
        "_neighborhood",
    )
    state: dict[str, Any] = dict.fromkeys(absent)
    state |= _unflatten(entries | _place_categories(entries, plan))
    state["_model"] = {field: state.pop(f"_{field}") for field in FIELDS}
    detector.__setstate__(detector.__getstate__() | state)
    return detector


def _check_plan(plan: _Plan) -> None:
    """Raise if there cannot be as many columns as the file says."""
    n_units, n_logits = plan.architecture.n_features, plan.architecture.n_logits
    least = plan.n_numbers + min(1, n_logits)
    if n_logits > n_units or not least <= plan.n_columns <= n_units:
        raise ValueError(
            f"n_features_in_ is {plan.n_columns}, but the network has {n_units} "
            f"columns, {n_logits} of them of categories."
        )


def _place_categories(entries: Mapping[str, Any], plan: _Plan) -> dict[str, Any]:
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
    totals, squares = layout.sum_blocks(np.stack([frequencies, frequencies**2]))
    if (frequencies < 0.0).any() or not np.allclose(totals, 1.0, rtol=1e-9, atol=0.0):
        raise ValueError("_pivot must hold frequencies, which add up to 1 in a column.")
    spreads = np.sqrt(np.where(layout.sizes > 1, 1.0 - squares, 1.0))
    if not np.allclose(scale, np.repeat(spreads, layout.sizes), rtol=1e-6, atol=0.0):
        raise ValueError("_scale must hold the spreads of the categories.")
    for name in ("_remainder", "_mask_values"):
        if entries[name][p:].any():
            raise ValueError(f"{name} must be 0 where _pivot holds frequencies.")
    n_most = count_references(layout.n_columns)  # each is as long as the units are many
    references, rows = (
        entries.get(name) for name in ("_neighborhood.references", "_stream.rows")
    )
    if references is not None and len(references) > n_most:
        raise ValueError(f"_neighborhood.references must be at most {n_most} rows.")
    if references is not None:
        _check_codes("_neighborhood.references", references[:, p:], layout)
    if rows is not None:
        _check_codes("_stream.rows", rows[:, layout.columns], layout)


def _check_codes(name: str, codes: NDArray[np.float64], layout: Layout) -> None:
    is_code = (codes >= 0.0) & (codes < layout.sizes) & (codes == np.floor(codes))
    if not (is_code | np.isnan(codes)).all():
        raise ValueError(
            f"{name} must hold codes of categories, or NaN where one is missing."
        )


def _check_names(
    names: Set[str], known: Sequence[str] | Set[str], written_by: Any = None
) -> None:
    """Raise if there is a name that is not known, or not one that has to be."""
    for name in names - set(known):
        raise ValueError(
            f"{reprlib.repr(name)} is unknown to this skae. The file was written by "
            f"skae {reprlib.repr(written_by)}: if that is a later one, upgrade skae."
        )
    for name in set(known) - names - _OPTIONAL:
        raise ValueError(f"{name!r} is missing.")


def _make_detector(parameters: Mapping[str, Any]) -> AutoencoderOutlierDetector:
    """An unfitted detector with valid parameters."""
    if parameters.get("memory") is not None:
        raise ValueError("memory must be None, for a file must not name a cache.")
    parameters = dict(parameters)
    if "hidden_layer_sizes" in parameters:
        parameters["hidden_layer_sizes"] = _read(
            "hidden_layer_sizes", _read_sizes, parameters["hidden_layer_sizes"]
        )
    if "categorical_features" in parameters:
        parameters["categorical_features"] = _read(
            "categorical_features",
            _read_features,
            parameters["categorical_features"],
        )
    detector = AutoencoderOutlierDetector(**parameters)
    detector._validate_params()
    return detector


def _read(name: str, read: Callable[[Any], Any], value: Any) -> Any:
    """A value of the file, or an error that names it."""
    try:
        return read(value)
    except ValueError as error:
        raise ValueError(f"{name} {error}, not {reprlib.repr(value)}.") from error


def _unpack(name: str, array: NDArray, plan: _Plan) -> Any:
    """What the state has for an array of the file, or an error that names it."""
    try:
        _ARRAYS[name].check(array)
        return _ARRAYS[name].unpack(array, plan)
    except ValueError as error:
        raise ValueError(f"{name} {error}.") from error


def _check_shapes(arrays: Mapping[str, NDArray], plan: _Plan, n_iter: int) -> None:
    """Raise if the arrays do not fit their entries, the network or each other."""
    lengths = {
        "n_columns": plan.n_columns,
        "n_numbers": plan.n_numbers,
        "n_units": plan.architecture.n_features,
        "n_weights": sum(map(math.prod, plan.architecture.shapes)),
        "n_iter": n_iter,
    }
    for name, array in arrays.items():
        dtype, dimensions = _ARRAYS[name].dtype, _ARRAYS[name].dimensions
        if array.dtype != np.dtype(dtype) or array.ndim != len(dimensions):
            raise ValueError(
                f"{name} must be an array of type {dtype} and shape {dimensions}, not "
                f"of type {array.dtype.str} and shape {array.shape}."
            )
        expected = tuple(map(lengths.setdefault, dimensions, array.shape))
        if array.shape != expected:
            raise ValueError(f"{name} has shape {array.shape} instead of {expected}.")
