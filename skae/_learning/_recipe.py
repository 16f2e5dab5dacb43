"""What learning depends on besides the rows: parameters and seeds, as plain values."""

from __future__ import annotations

import importlib
import operator
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from skae._learning._tensorflow import import_keras
from skae._scoring._forward import Activation, Architecture
from skae._version import __version__

if TYPE_CHECKING:
    import keras


class Prototype(NamedTuple):
    """A Keras optimizer without its variables: its class and its configuration."""

    kind: Any  # a class
    config: dict[str, Any]


class Recipe(NamedTuple):
    """The parameters that training depends on, by the names that a user knows."""

    hidden_layer_sizes: tuple[int, ...]
    activation: Activation
    output_activation: Activation
    loss: str | Callable[..., Any]
    optimizer: str | Prototype
    learning_rate: float
    learning_rate_schedule: str
    epochs: int | str
    batch_size: int
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int
    tol: float
    masking: float
    scaling: str | None
    n_estimators: int
    version: str = __version__  # another one may learn otherwise

    def plan_architecture(self, n_features: int) -> Architecture:
        """The layers of each network on so many columns."""
        activations = self.activation, self.output_activation
        return Architecture(n_features, self.hidden_layer_sizes, *activations)

    @property
    def own_learning_rate(self) -> float | None:
        """The rate to train at; None if a prototype brings its own."""
        return self.learning_rate if isinstance(self.optimizer, str) else None

    @property
    def own_schedule(self) -> str:
        """What becomes of the rate; nothing becomes of that of a prototype."""
        is_named = isinstance(self.optimizer, str)
        return self.learning_rate_schedule if is_named else "constant"

    @property
    def is_made_of_names(self) -> bool:
        """Whether all that Keras interprets are names: a function may change."""
        kinds = (self.activation, self.output_activation, self.loss, self.optimizer)
        return all(isinstance(kind, str) for kind in kinds)


def make_recipe(parameters: Mapping[str, Any]) -> Recipe:
    """The recipe among a detector's parameters, or an error if the widths are none."""
    own = {name: parameters[name] for name in Recipe._fields if name in parameters}
    optimizer = own["optimizer"]
    if not isinstance(optimizer, str):
        optimizer = Prototype(type(optimizer), optimizer.get_config())
    return Recipe(**own)._replace(
        hidden_layer_sizes=_check_sizes(own["hidden_layer_sizes"]),
        masking=float(own["masking"]),
        optimizer=optimizer,
    )


def _check_sizes(hidden_layer_sizes: Any) -> tuple[int, ...]:
    sizes = np.atleast_1d(np.asarray(hidden_layer_sizes, dtype=object))
    if sizes.ndim != 1 or not len(sizes) or not all(map(_is_width, sizes)):
        raise ValueError(
            "hidden_layer_sizes must be a positive integer or a non-empty sequence of "
            "positive integers, the widths of the encoder's layers, the code last. Got "
            f"{hidden_layer_sizes!r} instead."
        )
    return tuple(map(int, sizes))


def _is_width(size: object) -> bool:
    return isinstance(size, Integral) and not isinstance(size, bool) and int(size) >= 1


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


class Seeds(NamedTuple):
    """Seeds of held-out rows, of each network twice, of two samples of the rows."""

    split: int
    weights: list[int]
    shuffling: list[int]
    sample: int
    calibration: int


def draw_seed(rng: np.random.RandomState) -> int:
    """One seed for all that follows."""
    return int(rng.randint(np.iinfo(np.int32).max))


def draw_seeds(rng: np.random.RandomState, n_networks: int) -> Seeds:
    """One seed for each consumer of randomness."""
    drawn = rng.randint(np.iinfo(np.int32).max, size=3 + 2 * n_networks)
    split, *networks, sample, calibration = map(int, drawn)
    return Seeds(split, networks[::2], networks[1::2], sample, calibration)
