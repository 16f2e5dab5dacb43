"""What learning depends on besides the rows: parameters and seeds, as plain values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from skae._learning._optimizer import SerializedOptimizer, serialize_optimizer
from skae._scoring._forward import Activation, Architecture
from skae._tables._layout import Layout
from skae._version import __version__

# Chosen with the widths, the rate and the batches by benchmarks/detection.py. Of few
# rows a network soon knows each; then it takes fresh ones for outliers.
MIN_AUTO_UPDATES = 100
MAX_AUTO_UPDATES = 800  # from 566 rows on
SQUARED_ROWS_PER_UPDATE = 400


class Recipe(NamedTuple):
    """The parameters that training depends on, by the names that a user knows."""

    hidden_layer_sizes: tuple[int, ...]
    activation: Activation
    output_activation: Activation
    loss: str | Callable[..., Any]
    optimizer: str | SerializedOptimizer
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

    def plan_architecture(self, layout: Layout) -> Architecture:
        """The layers of each network on such columns."""
        return Architecture(
            layout.n_units,
            self.hidden_layer_sizes,
            self.activation,
            self.output_activation,
            layout.n_category_units,
        )

    @property
    def brings_its_rate(self) -> bool:
        """Whether the optimizer has a learning rate of its own, and no schedule."""
        return not isinstance(self.optimizer, str)

    def settle(self, n_rows: int, n_samples: int) -> Recipe:
        """The same without anything left open or unused, for so many distinct rows.

        The user passed `n_samples`.
        """
        n_held_out = count_held_out(n_rows, self) if self.early_stopping else 0
        _check_held_out(n_held_out, n_rows, n_samples, self)
        n_training_rows = n_rows - n_held_out
        batch_size = min(int(self.batch_size), n_training_rows)
        epochs = self.epochs
        if epochs == "auto":
            n_updates = n_training_rows**2 / SQUARED_ROWS_PER_UPDATE
            n_updates = min(max(n_updates, MIN_AUTO_UPDATES), MAX_AUTO_UPDATES)
            epochs = max(1, round(n_updates / -(-n_training_rows // batch_size)))
        settled = self._replace(epochs=int(epochs), batch_size=batch_size)
        if not self.early_stopping:
            settled = settled._replace(validation_fraction=0, n_iter_no_change=0, tol=0)
        if self.brings_its_rate:
            settled = settled._replace(
                learning_rate=0, learning_rate_schedule="constant"
            )
        return settled

    @property
    def is_made_of_names(self) -> bool:
        """Whether all that Keras interprets are names: a function may change."""
        kinds = (self.activation, self.output_activation, self.loss, self.optimizer)
        return all(isinstance(kind, str) for kind in kinds)


PARAMETERS = Recipe._fields[:-1]


def make_recipe(parameters: Mapping[str, Any]) -> Recipe:
    """The recipe from `PARAMETERS`, or an error if the widths are none."""
    recipe = Recipe(**parameters)
    optimizer = recipe.optimizer
    return recipe._replace(
        hidden_layer_sizes=_check_sizes(recipe.hidden_layer_sizes),
        masking=float(recipe.masking),
        optimizer=(
            optimizer if isinstance(optimizer, str) else serialize_optimizer(optimizer)
        ),
    )


def count_held_out(n_rows: int, recipe: Recipe) -> int:
    """How many rows early stopping watches."""
    return math.ceil(recipe.validation_fraction * n_rows)


def _check_held_out(
    n_held_out: int, n_rows: int, n_samples: int, recipe: Recipe
) -> None:
    """Raise if early stopping leaves no row to train on."""
    if n_held_out >= n_rows:
        raise ValueError(
            "early_stopping=True needs at least one row to train on besides the "
            f"held-out ones, and equal rows count once. Of n_samples={n_samples} "
            f"row(s), {n_rows} are distinct, besides those that calibration_fraction "
            "or a fold of calibration_cv leaves out, and validation_fraction="
            f"{recipe.validation_fraction!r} holds {n_held_out} back. Pass more "
            "distinct rows, lower validation_fraction or set early_stopping=False."
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
