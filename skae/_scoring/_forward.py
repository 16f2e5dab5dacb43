"""The forward pass of a dense network in NumPy: float64, block by block.

A row's result must not depend on the rows around it, to the bit, although BLAS picks
its kernels, and with them the order of its sums, by the shape of a product. Products of
any number of rows were equal to the bit, with one thread and with two, on OpenBLAS's
kernels for Nehalem, Haswell and SkylakeX, where the numbers of rows and of columns were
multiples of 16 and no sum had more than 256 terms; longer sums are added up here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from skae._scoring._threads import BLOCK_ROWS, share_out
from skae._tables._layout import Layout
from skae._tables._scaling import ScaledRows

MULTIPLE = 16
MAX_TERMS = 256
LARGEST = float(np.finfo(np.float64).max) * (1.0 - 1e-9)  # room for rounding

Activation = str | Callable[..., Any]  # as Keras has it
Activate = Callable[[NDArray[np.float64]], NDArray[np.float64]]


class Architecture(NamedTuple):
    """The layer plan: an encoder whose last width is the code, and its mirror image."""

    n_features: int
    hidden_layer_sizes: tuple[int, ...]
    activation: Activation
    output_activation: Activation
    n_logits: int = 0  # of the outputs, the last ones: they have no activation

    @property
    def widths(self) -> tuple[int, ...]:
        """Columns before the first layer and after each layer."""
        mirrored = self.hidden_layer_sizes[-2::-1]
        return (
            self.n_features,
            *self.hidden_layer_sizes,
            *mirrored,
            self.n_features,
        )

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of kernel and bias of each layer, one after the other."""
        pairs = zip(self.widths[:-1], self.widths[1:], strict=True)
        return [shape for n_in, n_out in pairs for shape in ((n_in, n_out), (n_out,))]

    @property
    def activations(self) -> tuple[Activation, ...]:
        """One activation for each layer."""
        n_hidden = len(self.widths) - 2
        return (self.activation,) * n_hidden + (self.output_activation,)

    @property
    def n_encoder_layers(self) -> int:
        return len(self.hidden_layer_sizes)

    @property
    def n_codes(self) -> int:
        return self.hidden_layer_sizes[-1]


class Layer(NamedTuple):
    """A dense layer, filled up with zeros to multiples of 16."""

    kernel: NDArray[np.float64]
    bias: NDArray[np.float64]
    width: int  # without the filling
    n_activated: int  # of the width, from the first on
    activate: Activate  # may overwrite its argument; returns the result


def make_layers(
    weights: Sequence[NDArray[np.float32]],
    activations: Sequence[Activate],
    n_logits: int = 0,
) -> list[Layer]:
    """The layers of a network from kernel and bias of each, and its activations."""
    layers: list[Layer] = []
    for kernel, bias, activate in zip(
        weights[::2], weights[1::2], activations, strict=True
    ):
        padded_bias, width = pad(bias[np.newaxis])[0], len(bias)
        layers.append(Layer(pad(kernel), padded_bias, width, width, activate))
    layers[-1] = layers[-1]._replace(n_activated=layers[-1].width - n_logits)
    return layers


def make_networks(
    architecture: Architecture,
    weights: Sequence[Sequence[NDArray[np.float32]]],
    make_activation: Callable[[Activation], Activate],
) -> list[list[Layer]]:
    """The layers of each network; `make_activation` makes what NumPy does not know."""
    activations = [
        ACTIVATIONS[activation]
        if isinstance(activation, str) and activation in ACTIVATIONS
        else make_activation(activation)
        for activation in architecture.activations
    ]
    n_logits = architecture.n_logits
    return [make_layers(network, activations, n_logits) for network in weights]


class Hiding(NamedTuple):
    """A network that predicts a group of units from the others.

    Only what the group adds to the first layer, and its part of the last one, differ
    from the network: the rest is computed once for all groups.
    """

    units: NDArray[np.intp]
    kernel: NDArray[np.float64]  # from the group to the first layer
    last: Layer

    @classmethod
    def of(cls, layers: Sequence[Layer], units: NDArray[np.intp]) -> Hiding:
        """The group must be one of logits."""
        last, width = layers[-1], len(units)
        kernel = pad(last.kernel[:, units])
        bias = pad(last.bias[np.newaxis, units])[0]
        part = Layer(kernel, bias, width, 0, last.activate)
        return cls(units, pad(layers[0].kernel[units]), part)


def make_hidings(
    networks: Sequence[Sequence[Layer]], layout: Layout
) -> list[list[Hiding]]:
    """What predicts the groups of categories, of each network; [] if there are none."""
    groups = layout.groups
    if not groups:
        return []
    return [[Hiding.of(layers, units) for units in groups] for layers in networks]


def iterate_forward(
    rows: ScaledRows,
    networks: Sequence[Sequence[Layer]],
    part: slice,
    hidings: Sequence[Sequence[Hiding]] = (),
) -> Iterator[tuple[slice, NDArray[np.float64], list[NDArray[np.float64]]]]:
    """Yield (slice of rows, the rows, what came out of each network) by blocks.

    Of a part of the rows that consists of whole blocks.
    For a missing cell, which is NaN, the networks are shown the mask value of its
    column. With `hidings` of each network, the outputs of their units are predictions
    from the others. The arrays are buffers: the next block overwrites them, the caller
    may as well.
    """
    n_features = rows.shape[1]
    n_buffer_rows = min(BLOCK_ROWS, _round_up(part.stop - part.start))
    inputs = np.zeros((n_buffer_rows, _round_up(n_features)))
    buffers = [
        [np.empty((n_buffer_rows, len(layer.bias))) for layer in layers]
        for layers in networks
    ]
    for start in range(part.start, part.stop, BLOCK_ROWS):
        block = slice(start, min(start + BLOCK_ROWS, part.stop))
        n_block_rows = block.stop - start
        block_inputs = rows.read(block, out=inputs[:n_block_rows, :n_features])
        is_missing = np.isnan(block_inputs)
        if has_missing := is_missing.any():
            np.copyto(block_inputs, rows.scaling.mask_values, where=is_missing)
        filled = inputs[: _round_up(n_block_rows)]
        outputs = [
            _run_through(layers, filled, layer_buffers)[:n_block_rows]
            for layers, layer_buffers in zip(networks, buffers, strict=True)
        ]
        for output, layers, hiding in zip(outputs, networks, hidings, strict=False):
            _predict(hiding, layers, filled, output)
        if has_missing:
            block_inputs[is_missing] = np.nan
        yield block, block_inputs, outputs


def run_forward(
    rows: ScaledRows,
    networks: Sequence[Sequence[Layer]],
    hidings: Sequence[Sequence[Hiding]] = (),
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """All rows, and all that comes out of each network, (n_networks, n_rows, ...)."""
    inputs = np.empty(rows.shape)
    outputs = np.empty((len(networks), *rows.shape))

    def work(part: slice) -> None:
        for block, block_inputs, block_outputs in iterate_forward(
            rows, networks, part, hidings
        ):
            inputs[block] = block_inputs
            outputs[:, block] = block_outputs

    share_out(rows.shape[0], rows.shape[1], work)
    return inputs, outputs


def _predict(
    hidings: Sequence[Hiding],
    layers: Sequence[Layer],
    filled: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Write to `out` what is expected of each group of units while it is hidden.

    It is hidden by zeros, which must be its mask values.
    """
    shown = multiply(filled, layers[0].kernel)
    shown += layers[0].bias
    for units, kernel, last in hidings:
        given = multiply(pad(filled[:, units]), kernel)
        hidden = _activate(layers[0], np.subtract(shown, given, out=given))
        for layer in layers[1:-1]:
            hidden = _activate(layer, multiply(hidden, layer.kernel) + layer.bias)
        out[:, units] = (multiply(hidden, last.kernel) + last.bias)[
            : len(out), : last.width
        ]


def _run_through(
    layers: Sequence[Layer],
    filled: NDArray[np.float64],
    buffers: Sequence[NDArray[np.float64]],
) -> NDArray[np.float64]:
    """What comes out of the last layer, without the filling of its columns."""
    outputs = filled
    for layer, buffer in zip(layers, buffers, strict=True):
        outputs = _apply(layer, outputs, buffer[: len(filled)])
    return outputs[:, : layers[-1].width]


def _apply(
    layer: Layer, inputs: NDArray[np.float64], out: NDArray[np.float64]
) -> NDArray[np.float64]:
    multiply(inputs, layer.kernel, out)
    out += layer.bias
    return _activate(layer, out)


def _activate(layer: Layer, out: NDArray[np.float64]) -> NDArray[np.float64]:
    """The outputs of a layer in their place."""
    if layer.n_activated:
        # The filling stays zero, and an activation such as softmax does not see it.
        values = out[:, : layer.n_activated]
        activated = layer.activate(values)
        if activated is not values:
            values[...] = activated
    return out


@np.errstate(over="ignore", invalid="ignore")
def keep_finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """What overflows as the largest number there is, and what is no number as 0.

    Overwrites the values. They come from finite rows, and must be of use as such.
    """
    if not np.isfinite(values.sum()):
        np.nan_to_num(values, copy=False, posinf=LARGEST, neginf=-LARGEST)
    return values


def multiply(
    inputs: NDArray[np.float64],
    kernel: NDArray[np.float64],
    out: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """The product of padded matrices, a row of which is its own to the bit."""
    out = np.matmul(inputs[:, :MAX_TERMS], kernel[:MAX_TERMS], out=out)
    for start in range(MAX_TERMS, len(kernel), MAX_TERMS):
        terms = slice(start, start + MAX_TERMS)
        out += np.matmul(inputs[:, terms], kernel[terms])
    return out


def pad(values: NDArray) -> NDArray[np.float64]:
    """The same matrix, filled up with zeros to multiples of 16; itself if it is so."""
    is_full = not (len(values) % MULTIPLE or values.shape[1] % MULTIPLE)
    if is_full and values.dtype == np.float64 and values.flags.c_contiguous:
        return values
    padded = np.zeros((_round_up(len(values)), _round_up(values.shape[1])))
    padded[: len(values), : values.shape[1]] = values
    return padded


def _round_up(n: int) -> int:
    return -(-n // MULTIPLE) * MULTIPLE


def _linear(h: NDArray) -> NDArray:
    return h


def _relu(h: NDArray) -> NDArray:
    return np.maximum(h, 0.0, out=h)


def _relu6(h: NDArray) -> NDArray:
    return np.clip(h, 0.0, 6.0, out=h)


def _leaky_relu(h: NDArray) -> NDArray:
    return np.maximum(h, 0.2 * h, out=h)


def _elu(h: NDArray) -> NDArray:
    return np.where(h > 0, h, np.expm1(np.minimum(h, 0.0)))


def _selu(h: NDArray) -> NDArray:
    # Klambauer et al. (2017), "Self-normalizing neural networks", NeurIPS.
    return 1.0507009873554805 * np.where(
        h > 0, h, 1.6732632423543772 * np.expm1(np.minimum(h, 0.0))
    )


def _gelu(h: NDArray) -> NDArray:
    return 0.5 * h * (1.0 + erf(h / np.sqrt(2.0)))


def _sigmoid(h: NDArray) -> NDArray:
    # By tanh, which NumPy vectorises: a third of the time of scipy.special.expit.
    h *= 0.5
    np.tanh(h, out=h)
    h *= 0.5
    h += 0.5
    return h


def _hard_sigmoid(h: NDArray) -> NDArray:
    return _relu6(h + 3.0) / 6.0


def _tanh(h: NDArray) -> NDArray:
    return np.tanh(h, out=h)


def _softplus(h: NDArray) -> NDArray:
    return np.logaddexp(h, 0.0, out=h)


def _softsign(h: NDArray) -> NDArray:
    return h / (1.0 + np.abs(h))


def _silu(h: NDArray) -> NDArray:
    return h * _sigmoid(h.copy())


def _mish(h: NDArray) -> NDArray:
    return h * np.tanh(np.logaddexp(h, 0.0))


def _exponential(h: NDArray) -> NDArray:
    return np.exp(h, out=h)


# Keras's names (and its parameters: the slope 0.2 of leaky_relu, gelu by the error
# function). Every other activation is computed by Keras.
ACTIVATIONS: dict[str, Callable[[NDArray], NDArray]] = {
    "elu": _elu,
    "exponential": _exponential,
    "gelu": _gelu,
    "hard_sigmoid": _hard_sigmoid,
    "leaky_relu": _leaky_relu,
    "linear": _linear,
    "mish": _mish,
    "relu": _relu,
    "relu6": _relu6,
    "selu": _selu,
    "sigmoid": _sigmoid,
    "silu": _silu,
    "softplus": _softplus,
    "softsign": _softsign,
    "swish": _silu,
    "tanh": _tanh,
}

# Where the outputs of an activation lie, for those that do not reach every number.
OUTPUT_RANGES: dict[str, tuple[float, float]] = {
    "elu": (-1.0, np.inf),
    "exponential": (0.0, np.inf),
    "gelu": (-0.17, np.inf),
    "hard_sigmoid": (0.0, 1.0),
    "hard_tanh": (-1.0, 1.0),
    "log_sigmoid": (-np.inf, 0.0),
    "mish": (-0.31, np.inf),
    "relu": (0.0, np.inf),
    "relu6": (0.0, 6.0),
    "selu": (-1.76, np.inf),
    "sigmoid": (0.0, 1.0),
    "silu": (-0.28, np.inf),
    "softmax": (0.0, 1.0),
    "softplus": (0.0, np.inf),
    "softsign": (-1.0, 1.0),
    "sparse_sigmoid": (0.0, 1.0),
    "swish": (-0.28, np.inf),
    "tanh": (-1.0, 1.0),
}
