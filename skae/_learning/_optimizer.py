"""Keras optimizers as plain values, and back."""

from __future__ import annotations

import importlib
import operator
from typing import TYPE_CHECKING, Any, NamedTuple

from skae._learning._tensorflow import import_keras

if TYPE_CHECKING:
    import keras


class SerializedOptimizer(NamedTuple):
    """Where a Keras optimizer's class is found, and its configuration."""

    module: str
    name: str
    config: dict[str, Any]


def make_plain(optimizer: Any) -> Any:
    """A prototype as plain values; whatever else is given, `fit` will judge."""
    is_prototype = hasattr(optimizer, "get_config") and not isinstance(optimizer, type)
    return serialize_optimizer(optimizer) if is_prototype else optimizer


def serialize_optimizer(optimizer: keras.optimizers.Optimizer) -> SerializedOptimizer:
    """An optimizer as plain values, without its variables."""
    if isinstance(optimizer, type):
        raise ValueError(
            "optimizer must be the name of a Keras optimizer or an instance of one. "
            f"Got the class {optimizer.__name__!r} instead: call it."
        )
    kind = type(optimizer)
    return SerializedOptimizer(
        kind.__module__, kind.__qualname__, optimizer.get_config()
    )


def deserialize_optimizer(
    serialized: SerializedOptimizer,
) -> keras.optimizers.Optimizer:
    """A fresh optimizer from what `serialize_optimizer` returned."""
    import_keras()
    module = importlib.import_module(serialized.module)
    kind = operator.attrgetter(serialized.name)(module)
    return kind.from_config(serialized.config)
