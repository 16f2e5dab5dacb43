"""From a layer plan to `keras.Model`s."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from skae._learning._tensorflow import import_keras
from skae._model import AnyModel, Model
from skae._scoring._forward import Activation, Architecture
from skae._tables._scaling import Scaling

if TYPE_CHECKING:
    import keras


MIN_FREQUENCY = 1e-6  # of a category, for the first weights

# What Keras's namespaces hold beside what can be named, and the names they lack.
HELPERS = {"deserialize", "get", "legacy", "schedules", "serialize"}
SHORT_NAMES = {"losses": ["mse", "mae", "mape", "msle", "bce", "kld"]}


def draw_initial_weights(
    architecture: Architecture, frequencies: NDArray[np.float64], seed: int
) -> list[NDArray[np.float32]]:
    """Kernel and bias of each layer: Glorot uniform and zero, as Keras's `Dense`.

    Drawn by NumPy, so that they depend on the seed alone: not on a global generator
    and not on Keras's version. Of categories the biases are such that the frequencies
    are expected.

    Source: Glorot & Bengio (2010), "Understanding the difficulty of training deep
    feedforward neural networks", AISTATS.
    """
    rng = np.random.RandomState(seed)
    weights = []
    for shape in architecture.shapes[::2]:
        limit = np.sqrt(6.0 / sum(shape))
        kernel = rng.uniform(-limit, limit, size=shape)
        weights += [kernel.astype(np.float32), np.zeros(shape[1], np.float32)]
    logits = np.log(np.maximum(frequencies, MIN_FREQUENCY))
    weights[-1][len(weights[-1]) - len(logits) :] = logits
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
    outputs = _chain(_make_dense_layers(architecture), rows)
    outputs = _activate_numbers(architecture, outputs)
    model = keras.Model(rows, outputs, name="autoencoder")
    model.compile(
        optimizer=(
            _interpret("optimizer", optimizer, "optimizers", _make_named_optimizer)
            if isinstance(optimizer, str)
            else type(optimizer).from_config(optimizer.get_config())
        ),
        loss=_interpret("loss", loss, "losses", keras.losses.get),
        auto_scale_loss=False,
        jit_compile=False,
    )
    model.optimizer.build(model.trainable_variables)
    return model


_keras_models: WeakKeyDictionary[AnyModel, dict[str, keras.Model]] = WeakKeyDictionary()


def get_keras_models(model: AnyModel) -> dict[str, keras.Model]:
    """The autoencoder, its encoder and its decoder, built when first asked for."""
    import_keras()  # raises in a forked child, where models of the parent would wait
    models = _keras_models.get(model)
    if models is None:
        models = _build_models_in_user_units(model.members)
    return _keras_models.setdefault(model, models)  # all that have it, have the same


def _build_models_in_user_units(members: Sequence[Model]) -> dict[str, keras.Model]:
    """Three models that share their layers, by name.

    Of several networks the codes are concatenated and the outputs averaged.
    """
    keras = import_keras()
    n_features = members[0].architecture.n_features
    n_codes = [member.n_codes for member in members]
    rows = keras.Input((n_features,), dtype="float64", name="rows")
    codes = keras.Input((sum(n_codes),), dtype="float64", name="codes")
    ends = np.cumsum(n_codes)
    built = [
        _build_member(
            member,
            rows,
            codes[:, end - member.n_codes : end] if len(members) > 1 else codes,
            f"fold_{i + 1}_" if len(members) > 1 else "",
        )
        for i, (member, end) in enumerate(zip(members, ends, strict=True))
    ]
    member_codes, reconstructions, decoded = zip(*built, strict=True)
    joined_codes = _join(member_codes, "codes_of_folds")
    reconstruction = _average(reconstructions, "average_of_folds")
    decoded_rows = _average(decoded, "average_decoded_of_folds")
    return {
        "encoder": keras.Model(rows, joined_codes, name="encoder"),
        "decoder": keras.Model(codes, decoded_rows, name="decoder"),
        "autoencoder": keras.Model(rows, reconstruction, name="autoencoder"),
    }


def _build_member(
    model: Model, rows: Any, codes: Any, prefix: str
) -> tuple[Any, Any, Any]:
    """Codes and reconstructions of rows, and rows decoded from codes."""
    keras = import_keras()
    architecture, networks = model.architecture, model.weights
    n_encoder, n_codes = architecture.n_encoder_layers, architecture.n_codes
    to_scaled, to_user_units = _make_scaling(model.scaling, prefix)
    scaled_rows = to_scaled(rows)
    own_codes: list[Any] = []
    reconstructions: list[Any] = []
    decoded: list[Any] = []
    for i, weights in enumerate(networks):
        name = f"{prefix}network_{i + 1}_" if len(networks) > 1 else prefix
        # Where clones start; the seed spares the global generators.
        initializer = keras.initializers.GlorotUniform(seed=i)
        layers = _make_dense_layers(architecture, name, initializer)
        own_codes.append(_chain(layers[:n_encoder], scaled_rows))
        given = own_codes[-1], codes[:, i * n_codes : (i + 1) * n_codes]
        for inputs, outputs in zip(given, (reconstructions, decoded), strict=True):
            chained = _chain(layers[n_encoder:], inputs)
            outputs.append(_activate_numbers(architecture, chained))
        for layer, kernel, bias in zip(
            layers, weights[::2], weights[1::2], strict=True
        ):
            layer.set_weights([kernel, bias])
    return (
        _join(own_codes, f"{prefix}all_codes"),
        to_user_units(_average(reconstructions, f"{prefix}average_reconstruction")),
        to_user_units(_average(decoded, f"{prefix}average_decoded")),
    )


def _average(outputs: Sequence[Any], name: str) -> Any:
    """The mean of what several networks or models give."""
    if len(outputs) == 1:
        return outputs[0]
    return import_keras().layers.Average(dtype="float64", name=name)(list(outputs))


def _join(codes: Sequence[Any], name: str) -> Any:
    """Codes side by side."""
    if len(codes) == 1:
        return codes[0]
    concatenate = import_keras().layers.Concatenate(dtype="float32", name=name)
    return concatenate(list(codes))


def make_keras_activation(activation: Activation) -> Callable[[NDArray], NDArray]:
    """An activation of Keras as a function from array to array, in float32."""
    import_keras()
    function = _interpret_activation(activation)

    def activate(values: NDArray) -> NDArray:
        keras = import_keras()  # raises in a forked child
        tensor = keras.ops.convert_to_tensor(values, dtype="float32")
        return np.asarray(keras.ops.convert_to_numpy(function(tensor)), np.float64)

    return activate


def _make_dense_layers(
    architecture: Architecture,
    prefix: str = "",
    initializer: str | keras.initializers.Initializer = "zeros",
) -> list[keras.layers.Layer]:
    """The dense layers, unbuilt; a zero initializer draws from no generator."""
    layers = import_keras().layers
    n_encoder, activations = architecture.n_encoder_layers, architecture.activations
    names = [f"{prefix}encoder_{i + 1}" for i in range(n_encoder)]
    names += [f"{prefix}decoder_{i + 1}" for i in range(len(activations) - n_encoder)]
    parameters = ["activation"] * (len(names) - 1) + ["output_activation"]
    if architecture.n_logits:  # `_activate_numbers` follows
        activations = (*activations[:-1], "linear")
    return [
        layers.Dense(
            units,
            activation=_interpret_activation(activation, parameter),
            kernel_initializer=initializer,
            dtype="float32",
            name=name,
        )
        for units, activation, name, parameter in zip(
            architecture.widths[1:], activations, names, parameters, strict=True
        )
    ]


def _activate_numbers(architecture: Architecture, outputs: Any) -> Any:
    """The outputs with the activation that the last layer of categories lacks."""
    n_logits, activation = architecture.n_logits, architecture.output_activation
    if not n_logits or activation == "linear":
        return outputs
    layers, n_numbers = import_keras().layers, architecture.n_features - n_logits
    function = _interpret_activation(activation, "output_activation")
    activate = layers.Activation(function, dtype="float32")
    parts = [activate(outputs[:, :n_numbers]), outputs[:, n_numbers:]]
    return layers.Concatenate(dtype="float32")(parts)


def _make_scaling(
    scaling: Scaling, prefix: str = ""
) -> tuple[keras.Model, keras.Model]:
    """Two layers in float64: from the user's units to the network's, and back.

    The numbers are constants of the graph: no training moves them, and clones and files
    hold them in full. What is near the pivot is exact, since the pivot goes first.
    """
    # Not Keras's `Normalization`: from a file it has its numbers in float32, and it
    # raises scales below 1e-7. Nor `Rescaling`: it looks at the image data format.
    keras = import_keras()
    add, subtract, multiply = keras.ops.add, keras.ops.subtract, keras.ops.multiply
    pivot, remainder, scale = scaling.pivot, scaling.remainder, scaling.scale
    rows = keras.Input(pivot.shape, dtype="float64", name="rows")
    outputs = keras.Input(pivot.shape, dtype="float64", name="outputs")
    scaled = multiply(subtract(subtract(rows, pivot), remainder), 1.0 / scale)
    layout, p = scaling.layout, scaling.layout.n_numbers
    numbers = outputs[:, :p] if layout.has_categories else outputs
    unscaled = add(add(multiply(numbers, scale[:p]), remainder[:p]), pivot[:p])
    if layout.has_categories:  # of which come probabilities
        blocks = [
            _make_probabilities(outputs[:, p + start : p + start + size])
            for start, size in zip(layout.starts, layout.sizes, strict=True)
        ]
        unscaled = keras.ops.concatenate([unscaled, *blocks] if p else blocks, axis=1)
    return (
        keras.Model(rows, scaled, name=f"{prefix}scale"),
        keras.Model(outputs, unscaled, name=f"{prefix}unscale"),
    )


def _make_probabilities(logits: Any) -> Any:
    """Softmax, of which Keras warns if there is one logit alone."""
    ops = import_keras().ops
    return ops.ones_like(logits) if logits.shape[1] == 1 else ops.softmax(logits)


def _chain(layers: Sequence[Any], inputs: Any) -> Any:
    """The output of layers applied one after another."""
    outputs = inputs
    for layer in layers:
        outputs = layer(outputs)
    return outputs


def _interpret_activation(
    activation: Activation, parameter: str = "activation' or 'output_activation"
) -> Callable[..., Any]:
    """A function that Keras can trace and that keeps the shape of its argument."""
    import tensorflow as tf

    function: Callable[..., Any] = _interpret(
        parameter, activation, "activations", import_keras().activations.get
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


def _interpret(
    parameter: str, value: Any, namespace: str, get: Callable[[Any], Any]
) -> Any:
    """What Keras understands by a parameter, or an error that names the parameter."""
    try:
        return get(value)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"The '{parameter}' parameter, if a string, must be a name that Keras "
            f"knows. Got {value!r} instead.{_suggest(value, namespace)}"
        ) from error


def _suggest(value: Any, namespace: str) -> str:
    """The name of a namespace of Keras that is most like a wrong one."""
    names = {n.lower() for n in dir(getattr(import_keras(), namespace)) if n[0] != "_"}
    known = sorted(names - HELPERS) + SHORT_NAMES.get(namespace, [])
    alike = get_close_matches(str(value).lower(), known, n=1)
    return f" Did you mean {alike[0]!r}?" if alike else ""
