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


def serialize_optimizer(optimizer: keras.optimizers.Optimizer) -> SerializedOptimizer:
    """An optimizer as plain values, without its variables."""
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
