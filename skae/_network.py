"""From a layer plan to `keras.Model`s."""

from __future__ import annotations

import importlib
import operator
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skae._tensorflow import import_keras

if TYPE_CHECKING:
    import keras

Activation = str | Callable[..., Any]


class Architecture(NamedTuple):
    """The layer plan: an encoder whose last width is the code, and its mirror image."""

    n_features: int
    hidden_layer_sizes: tuple[int, ...]
    activation: Activation
    output_activation: Activation

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


def plan_architecture(
    n_features: int,
    hidden_layer_sizes: Any,
    activation: Activation,
    output_activation: Activation,
) -> Architecture:
    """The layer plan, or an error if the widths are none."""
    sizes = np.atleast_1d(np.asarray(hidden_layer_sizes, dtype=object))
    if sizes.ndim != 1 or not len(sizes) or not all(map(_is_width, sizes)):
        raise ValueError(
            "hidden_layer_sizes must be a positive integer or a non-empty sequence of "
            "positive integers, the widths of the encoder's layers, the code last. Got "
            f"{hidden_layer_sizes!r} instead."
        )
    return Architecture(
        n_features, tuple(map(int, sizes)), activation, output_activation
    )


def _is_width(size: object) -> bool:
    return isinstance(size, Integral) and not isinstance(size, bool) and int(size) >= 1


def draw_initial_weights(
    architecture: Architecture, seed: int
) -> list[NDArray[np.float32]]:
    """Kernel and bias of each layer: Glorot uniform and zero, as Keras's `Dense`.

    Drawn by NumPy, so that they depend on the seed alone: not on a global generator
    and not on Keras's version.

    Source: Glorot & Bengio (2010), "Understanding the difficulty of training deep
    feedforward neural networks", AISTATS.
    """
    rng = np.random.RandomState(seed)
    weights = []
    widths = architecture.widths
    for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
        limit = np.sqrt(6.0 / (n_in + n_out))
        kernel = rng.uniform(-limit, limit, size=(n_in, n_out))
        weights += [kernel.astype(np.float32), np.zeros(n_out, np.float32)]
    return weights


def build_training_model(
    architecture: Architecture,
    loss: str | Callable[..., Any],
    optimizer: str | keras.optimizers.Optimizer,
) -> keras.Model:
    """A compiled autoencoder on scaled rows, all weights zero.

    Every layer states float32, so that the user's global precision changes nothing.
    """
    keras = import_keras()
    rows = keras.Input((architecture.n_features,), dtype="float32", name="rows")
    layers = _make_dense_layers(architecture)
    model = keras.Model(rows, _chain(layers, rows), name="autoencoder")
    model.compile(
        optimizer=(
            _interpret("optimizer", optimizer, _make_named_optimizer)
            if isinstance(optimizer, str)
            else type(optimizer).from_config(optimizer.get_config())
        ),
        loss=_interpret("loss", loss, keras.losses.get),
        auto_scale_loss=False,
        jit_compile=False,
    )
    model.optimizer.build(model.trainable_variables)
    return model


def build_models_in_user_units(
    architecture: Architecture,
    networks: Sequence[Sequence[NDArray[np.float32]]],
    center: NDArray[np.float64],
    scale: NDArray[np.float64],
) -> dict[str, keras.Model]:
    """The autoencoder, its encoder and its decoder, which share their layers.

    Of several networks the codes are concatenated and the outputs averaged. The scaling
    is a layer and computes in float64, so that a large offset does not swallow a small
    spread.
    """
    keras = import_keras()
    n_encoder, n_codes = architecture.n_encoder_layers, architecture.n_codes
    rows = keras.Input((architecture.n_features,), dtype="float64", name="rows")
    codes = keras.Input((len(networks) * n_codes,), dtype="float64", name="codes")
    scaled_rows = _make_rescaling("scale", 1.0 / scale, -center / scale)(rows)
    unscale = _make_rescaling("unscale", scale, center)
    member_codes, reconstructions, decoded = [], [], []
    for i, weights in enumerate(networks):
        prefix = f"network_{i + 1}_" if len(networks) > 1 else ""
        layers = _make_dense_layers(architecture, prefix)
        member_codes.append(_chain(layers[:n_encoder], scaled_rows))
        reconstructions.append(_chain(layers[n_encoder:], member_codes[-1]))
        own_codes = codes[:, i * n_codes : (i + 1) * n_codes]
        decoded.append(_chain(layers[n_encoder:], own_codes))
        for layer, kernel, bias in zip(
            layers, weights[::2], weights[1::2], strict=True
        ):
            layer.set_weights([kernel, bias])

    def average(outputs: list[Any], name: str) -> Any:
        if len(outputs) == 1:
            return outputs[0]
        return keras.layers.Average(dtype="float64", name=name)(outputs)

    joined_codes = member_codes[0]
    if len(networks) > 1:
        concatenate = keras.layers.Concatenate(dtype="float32", name="all_codes")
        joined_codes = concatenate(member_codes)
    reconstruction = unscale(average(reconstructions, "average_reconstruction"))
    decoded_rows = unscale(average(decoded, "average_decoded"))
    return {
        "encoder": keras.Model(rows, joined_codes, name="encoder"),
        "decoder": keras.Model(codes, decoded_rows, name="decoder"),
        "autoencoder": keras.Model(rows, reconstruction, name="autoencoder"),
    }


def make_keras_activation(activation: Activation) -> Callable[[NDArray], NDArray]:
    """An activation of Keras as a function from array to array, in float32."""
    keras = import_keras()
    function = _interpret_activation(activation)

    def activate(values: NDArray) -> NDArray:
        tensor = keras.ops.convert_to_tensor(values, dtype="float32")
        return np.asarray(keras.ops.convert_to_numpy(function(tensor)), np.float64)

    return activate


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


def _make_dense_layers(
    architecture: Architecture, prefix: str = ""
) -> list[keras.layers.Layer]:
    """The dense layers, unbuilt; a zero initializer draws from no generator."""
    layers = import_keras().layers
    n_encoder = architecture.n_encoder_layers
    n_layers = len(architecture.activations)
    names = [f"{prefix}encoder_{i + 1}" for i in range(n_encoder)]
    names += [f"{prefix}decoder_{i + 1}" for i in range(n_layers - n_encoder)]
    return [
        layers.Dense(
            units,
            activation=_interpret_activation(activation),
            kernel_initializer="zeros",
            dtype="float32",
            name=name,
        )
        for units, activation, name in zip(
            architecture.widths[1:], architecture.activations, names, strict=True
        )
    ]


def _make_rescaling(
    name: str, scale: NDArray[np.float64], offset: NDArray[np.float64]
) -> keras.layers.Layer:
    """A layer in float64 that multiplies each column with its scale and adds an offset.

    Not Keras's `Rescaling`, which looks at the global image data format.
    """
    layer = import_keras().layers.EinsumDense(
        "bd,d->bd",
        output_shape=(len(scale),),
        bias_axes="d",
        kernel_initializer="zeros",
        dtype="float64",
        name=name,
    )
    layer.build((None, len(scale)))
    layer.set_weights([scale, offset])
    return layer


def _chain(layers: Sequence[Any], inputs: Any) -> Any:
    """The output of layers applied one after another."""
    outputs = inputs
    for layer in layers:
        outputs = layer(outputs)
    return outputs


def _interpret_activation(activation: Activation) -> Callable[..., Any]:
    """A function that Keras can trace and that keeps the shape of its argument."""
    import tensorflow as tf

    function: Callable[..., Any] = _interpret(
        "activation", activation, import_keras().activations.get
    )
    try:
        traced = tf.function(function, autograph=False).get_concrete_function(
            tf.TensorSpec((3, 4), tf.float32)
        )
        output_shape = tuple(traced.output_shapes)
    except Exception as error:  # whatever the user's function raises
        raise ValueError(
            "activation and output_activation must be functions of one tensor that "
            f"TensorFlow can trace; {activation!r} failed: {error}"
        ) from error
    if output_shape != (3, 4):
        raise ValueError(
            "activation and output_activation must map an array to one of the same "
            f"shape; {activation!r} maps (3, 4) to {output_shape}."
        )
    return function


def _make_named_optimizer(name: str) -> keras.optimizers.Optimizer:
    """An optimizer that is always called alike: TensorFlow caches kernels by name."""
    return import_keras().optimizers.get({"class_name": name, "config": {"name": name}})


def _interpret(parameter: str, value: Any, get: Callable[[Any], Any]) -> Any:
    """What Keras understands by a parameter, or an error that names the parameter."""
    try:
        return get(value)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"The {parameter!r} parameter, if a string, must be a name that Keras "
            f"knows. Got {value!r} instead."
        ) from error
