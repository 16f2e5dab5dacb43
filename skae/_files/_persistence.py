"""A fitted detector as a file, and back, whoever wrote the file.

Whatever comes out of a file is checked before it is used: parameters against the
estimator's own constraints, what is learnt against one of two tables. Nothing that a
file names is imported or called, but for the names of Keras's own activations.
"""

from __future__ import annotations

import json
import math
import os
import reprlib
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from skae._detector import AutoencoderOutlierDetector
from skae._files._container import read_container, write_container
from skae._files._entries import (
    ARRAYS,
    MAX_LAYERS,
    VALUES,
    Plan,
    check_plan,
    place_categories,
    read_features,
    read_sizes,
)
from skae._learning._network import make_keras_activation
from skae._model import FIELDS
from skae._scoring._forward import ACTIVATIONS, Architecture
from skae._version import __version__

_PARTS = ("versions", "parameters", "values")  # of the header


def save(estimator: AutoencoderOutlierDetector, path: str | os.PathLike) -> None:
    """Write a fitted detector to a file that is safe to load, whoever sends it.

    The file holds arrays and JSON: the parameters and what was learnt, and no code. Of
    the data it holds up to 512 training rows, scaled, with the centers and scales that
    lead back to their values, for each fold of `calibration_cv`; none with
    ``score_method="reconstruction"``. Of columns of categories it holds the values in
    `categories_`, as they are. After `partial_fit` it also holds a sample of up to
    10,000 rows. It appears under its name when it is complete: if writing fails, an
    older file of that name stays as it was.

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
        If the file is not one of `save`, is cut off, damaged or changed while it is
        read, is of a format that only a later skae reads, or holds anything that a
        fitted detector would not.
    OSError
        If the file cannot be read.

    See Also
    --------
    save : Writes such files.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import skae
    >>> rows = np.random.default_rng(0).normal(size=(50, 3))
    >>> detector = skae.AutoencoderOutlierDetector((8, 2), epochs=5).fit(rows)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     skae.save(detector, Path(folder) / "rows.skae")
    ...     skae.load(Path(folder) / "rows.skae")
    AutoencoderOutlierDetector(epochs=5, hidden_layer_sizes=(8, 2))
    """
    with open(os.fspath(path), "rb") as file:
        try:
            return _decode(*read_container(file))
        except ValueError as error:
            raise ValueError(
                f"{os.fspath(path)!r} holds no detector that skae {__version__} can "
                f"load: {error}"
            ) from error


_RECORDS = [  # each as a whole or not at all
    {name for name in VALUES | ARRAYS if name.startswith(record)}
    for record in ("_stream.", "_neighborhood.")
]
_OF_A_FOLD = {  # of the second and later; the first has its entries without a prefix
    name
    for name in VALUES | ARRAYS
    if name.split(".")[0].removeprefix("_") in FIELDS
    and not name.startswith("_architecture.")
}
_PARAMETERS = AutoencoderOutlierDetector._parameter_constraints.keys()
_OPTIONAL = {
    *_PARAMETERS,  # one that is newer than the file is at its default
    *(name for name, entry in (VALUES | ARRAYS).items() if entry.is_optional),
}
_N_LOGITS = "_architecture.n_logits"  # 0 where a file does not say, as of old


# ------------------------------------------------------ from a detector to its entries


def _encode(
    detector: AutoencoderOutlierDetector,
) -> tuple[dict[str, dict[str, Any]], dict[str, NDArray]]:
    """Header and arrays, or an error that names what has no place in a file."""
    state = detector.__getstate__()
    skae_version, _ = state.pop("_skae_version"), state.pop("_state_format")
    parameters = {name: state.pop(name) for name in _PARAMETERS}
    plain = state.pop("_model")
    first, *others = plain.get("members", [plain])
    values, arrays = _take_apart(state | _underline(first))
    for number, member in enumerate(others, 2):  # of the same architecture
        del member["architecture"]
        for entries, own in zip(
            (values, arrays), _take_apart(_underline(member)), strict=True
        ):
            entries |= {f"fold_{number}/{name}": own[name] for name in own}
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


def _underline(model: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a Model as entries.

    Without those that the kinds of the columns and `categories_` tell.
    """
    told = {"category_columns", "category_sizes"}
    return {f"_{field}": value for field, value in model.items() if field not in told}


def _take_apart(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """Values and arrays, or an error if there is another value."""
    values = _flatten(state)
    for name in {"_stream", "_neighborhood", *_OPTIONAL} & values.keys():
        if values[name] is None:
            del values[name]
    arrays = {
        name: np.asarray(entry.pack(values.pop(name)), entry.dtype)
        for name, entry in ARRAYS.items()
        if name in values
    }
    arrays = {name: array for name, array in arrays.items() if array.size}
    _check_values(values)
    return values, arrays


def _check_values(values: Mapping[str, Any]) -> None:
    """Raise if there is a value that is unknown, or that JSON cannot hold."""
    for name in values.keys() - VALUES.keys():
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
    written_by = versions.get("skae")
    _check_names(parameters.keys(), _PARAMETERS, written_by)
    detector = _make_detector(parameters)
    (values, arrays), *folds = _split_by_fold(values, arrays, written_by)
    state = _decode_state(values, arrays, written_by)
    if folds:
        members = [state["_model"]]
        for own_values, own_arrays in folds:
            _check_names(own_values.keys() | own_arrays.keys(), _OF_A_FOLD, written_by)
            own_state = _decode_state(
                _without(values, _OF_A_FOLD) | own_values,
                _without(arrays, _OF_A_FOLD) | own_arrays,
                written_by,
            )
            members.append(own_state["_model"])
        state["_model"] = {"members": members}
    _check_folds(state)
    detector.__setstate__(detector.__getstate__() | state)
    return detector


def _split_by_fold(
    values: Mapping[str, Any], arrays: Mapping[str, NDArray], written_by: Any
) -> list[tuple[dict[str, Any], dict[str, NDArray]]]:
    """Values and arrays that are of no fold or the first, of the second, and so on."""
    found = {name.rpartition("/")[0] for name in values.keys() | arrays.keys()} | {""}
    folds = ["", *(f"fold_{number}" for number in range(2, len(found) + 1))]
    _check_names(found, folds, written_by)
    parts: list[tuple[dict[str, Any], dict[str, NDArray]]] = [({}, {}) for _ in folds]
    for i, entries in enumerate((values, arrays)):
        for name, entry in entries.items():
            fold, _, own_name = name.rpartition("/")
            parts[folds.index(fold)][i][own_name] = entry
    return parts


def _without(entries: Mapping[str, Any], names: Set[str]) -> dict[str, Any]:
    """The entries of other names."""
    return {name: entry for name, entry in entries.items() if name not in names}


def _check_folds(state: Mapping[str, Any]) -> None:
    """Raise if the networks of folds are too many, or are not those of the scores."""
    members = state["_model"].get("members", [state["_model"]])
    counts = {len(member["weights"]) for member in members}
    n_layers = sum(len(network) // 2 for m in members for network in m["weights"])
    kinds = {member["neighborhood"] is None for member in members}
    if len(counts) > 1 or len(kinds) > 1 or n_layers > MAX_LAYERS:
        raise ValueError(
            "The networks of all folds must be as many, all with references or none, "
            f"and have at most {MAX_LAYERS} layers, not {n_layers}."
        )
    folds = state["_calibration_folds"]
    if folds is None:
        return
    is_complete = np.array_equal(np.unique(folds), np.arange(len(members)))
    if state["calibration_scores_"] is None or not is_complete:
        raise ValueError(
            f"_calibration_folds must tell which of {len(members)} networks each of "
            "calibration_scores_ comes from."
        )


def _decode_state(
    values: Mapping[str, Any], arrays: Mapping[str, NDArray], written_by: Any
) -> dict[str, Any]:
    """What was learnt, with one Model, or an error if it cannot be."""
    values, arrays = _complete(values, arrays)
    _check_names(values.keys(), VALUES.keys(), written_by)
    _check_names(arrays.keys(), ARRAYS.keys(), written_by)
    present = values.keys() | arrays.keys()
    for record in _RECORDS:
        for name in record - present if record & present else ():
            raise ValueError(f"{name!r} is missing.")
    values = {name: _read(name, VALUES[name].read, v) for name, v in values.items()}
    architecture = Architecture(
        *(values[f"_architecture.{field}"] for field in Architecture._fields)
    )
    for activation in {architecture.activation, architecture.output_activation}:
        if activation not in ACTIVATIONS:
            make_keras_activation(activation)  # raises if Keras does not know it
    plan = Plan(values["n_features_in_"], architecture)
    check_plan(plan)
    _check_shapes(arrays, plan, values["n_iter_"])
    entries = values | {
        name: _unpack(name, array, plan) for name, array in arrays.items()
    }
    absent = (
        "validation_loss_curve_",
        "calibration_scores_",
        "_calibration_folds",
        "_stream",
        "_neighborhood",
    )
    state: dict[str, Any] = dict.fromkeys(absent)
    state |= _unflatten(entries | place_categories(entries, plan))
    state["_model"] = {field: state.pop(f"_{field}") for field in FIELDS}
    return state


def _complete(
    values: Mapping[str, Any], arrays: Mapping[str, NDArray]
) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """Values and arrays, with what a file of its format need not say."""
    values, arrays = {_N_LOGITS: 0, **values}, dict(arrays)
    if "_center" in arrays and "_pivot" not in arrays:  # format 2: no remainder
        arrays["_pivot"] = arrays.pop("_center")
        arrays["_remainder"] = np.zeros_like(arrays["_pivot"])
    has_numbers = values[_N_LOGITS] != values.get("_architecture.n_features")
    if "_neighborhood.references" in arrays and not has_numbers:
        arrays.setdefault("_neighborhood.center", np.empty(0))
    return values, arrays


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
            "hidden_layer_sizes", read_sizes, parameters["hidden_layer_sizes"]
        )
    if "categorical_features" in parameters:
        parameters["categorical_features"] = _read(
            "categorical_features",
            read_features,
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


def _unpack(name: str, array: NDArray, plan: Plan) -> Any:
    """What the state has for an array of the file, or an error that names it."""
    try:
        ARRAYS[name].check(array)
        return ARRAYS[name].unpack(array, plan)
    except ValueError as error:
        raise ValueError(f"{name} {error}.") from error


def _check_shapes(arrays: Mapping[str, NDArray], plan: Plan, n_iter: int) -> None:
    """Raise if the arrays do not fit their entries, the network or each other."""
    lengths = {
        "n_columns": plan.n_columns,
        "n_numbers": plan.n_numbers,
        "n_units": plan.architecture.n_features,
        "n_weights": sum(map(math.prod, plan.architecture.shapes)),
        "n_iter": n_iter,
    }
    for name, array in arrays.items():
        dtype, dimensions = ARRAYS[name].dtype, ARRAYS[name].dimensions
        if array.dtype != np.dtype(dtype) or array.ndim != len(dimensions):
            raise ValueError(
                f"{name} must be an array of type {dtype} and shape {dimensions}, not "
                f"of type {array.dtype.str} and shape {array.shape}."
            )
        expected = tuple(map(lengths.setdefault, dimensions, array.shape))
        if array.shape != expected:
            raise ValueError(f"{name} has shape {array.shape} instead of {expected}.")
