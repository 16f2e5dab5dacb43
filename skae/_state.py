"""What a fitted detector holds: plain arrays, and what is made of them on demand."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skae._forward import ACTIVATIONS, Layer, make_layers
from skae._network import (
    Architecture,
    SerializedOptimizer,
    build_models_in_user_units,
    deserialize_optimizer,
    make_keras_activation,
    serialize_optimizer,
)
from skae._scoring import ScoreStatistics
from skae._stream import Stream
from skae._version import __version__

if TYPE_CHECKING:
    import keras

STATE_FORMAT = 1
_DERIVED = ("_networks", "_models")  # from the weights, when first needed
_RECORDS: dict[str, Any] = {  # plain dicts in the state
    "_architecture": Architecture,
    "_score_statistics": ScoreStatistics,
    "_stream": Stream,
}


class PlainState(BaseEstimator):
    """Fitted state as plain arrays: it pickles small, and scores without Keras."""

    n_features_in_: int
    offset_: float
    n_iter_: int
    loss_curve_: list[float]
    validation_loss_curve_: list[float] | None
    calibration_scores_: NDArray[np.float64] | None
    _center: NDArray[np.float64]
    _scale: NDArray[np.float64]
    _mask_values: NDArray[np.float64]
    _architecture: Architecture
    _weights: list[list[NDArray[np.float32]]]
    _score_method: str
    _score_statistics: ScoreStatistics
    _stream: Stream | None = None  # of `partial_fit` alone

    @cached_property
    def _networks(self) -> list[list[Layer]]:
        """The networks for the forward pass in NumPy."""
        activations = [_find_activation(a) for a in self._architecture.activations]
        return [make_layers(weights, activations) for weights in self._weights]

    @property
    def model_(self) -> keras.Model:
        """The autoencoder as a Keras model, in the units of X."""
        return self._models["autoencoder"]

    @property
    def encoder_(self) -> keras.Model:
        """The encoder as a Keras model, from rows in the units of X to codes."""
        return self._models["encoder"]

    @property
    def decoder_(self) -> keras.Model:
        """The decoder as a Keras model, from codes to rows in the units of X."""
        return self._models["decoder"]

    @cached_property
    def _models(self) -> dict[str, keras.Model]:
        check_is_fitted(self)
        return build_models_in_user_units(
            self._architecture, self._weights, self._center, self._scale
        )

    @property
    def optimizer(self) -> str | keras.optimizers.Optimizer:
        """The parameter; a prototype comes out of a pickle when it is asked for."""
        optimizer = self.__dict__["optimizer"]
        if isinstance(optimizer, SerializedOptimizer):
            optimizer = self.__dict__["optimizer"] = deserialize_optimizer(optimizer)
        return optimizer

    @optimizer.setter
    def optimizer(self, optimizer: str | keras.optimizers.Optimizer) -> None:
        self.__dict__["optimizer"] = optimizer

    def __getstate__(self) -> dict[str, Any]:
        """Parameters and plain arrays, without what is derived from them.

        Of skae's own types only an optimizer's is left: with skops, a reader must agree
        to each type in a file, and only that one imports what the file names.
        """
        state = {k: v for k, v in super().__getstate__().items() if k not in _DERIVED}
        if not isinstance(state["optimizer"], str | SerializedOptimizer):
            state["optimizer"] = serialize_optimizer(state["optimizer"])
        for name in _RECORDS.keys() & state.keys():
            state[name] = state[name]._asdict()
        return state | {"_skae_version": __version__, "_state_format": STATE_FORMAT}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        version, state_format = state.pop("_skae_version"), state.pop("_state_format")
        if state_format > STATE_FORMAT:
            raise ValueError(
                f"This detector was pickled by skae {version} in state format "
                f"{state_format}; skae {__version__} reads formats up to "
                f"{STATE_FORMAT}. Upgrade skae to at least {version}."
            )
        for name in _RECORDS.keys() & state.keys():
            state[name] = _RECORDS[name](**state[name])
        if "_score_statistics" in state:  # an older file does not have the means
            state.setdefault("_mask_values", state["_score_statistics"].center)
        super().__setstate__(state)

    @contextlib.contextmanager
    def _unchanged_on_failure(self) -> Iterator[None]:
        """Forget what an earlier fit derived; if the block fails, nothing at all."""
        before = self.__dict__.copy()
        for name in _DERIVED:
            self.__dict__.pop(name, None)
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise


def _find_activation(activation: str | Callable) -> Callable[[NDArray], NDArray]:
    """An activation's NumPy form, or Keras's own behind NumPy arrays."""
    if isinstance(activation, str) and activation in ACTIVATIONS:
        return ACTIVATIONS[activation]
    return make_keras_activation(activation)
