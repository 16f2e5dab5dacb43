"""A fitted detector as an ONNX graph, by skl2onnx: imported inside functions alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from skae._detector import AutoencoderOutlierDetector
from skae._model import Model
from skae._scoring._forward import Architecture


def register_onnx_converter() -> None:
    """Teach skl2onnx to convert the detector, alone and at the end of a pipeline.

    Call it once in a process; afterwards ``skl2onnx.to_onnx(detector, X[:1])`` gives an
    ONNX model of the whole decision: scaling, networks, score and threshold. Its
    outputs are those of scikit-learn's own outlier detectors there, ``label``, what
    `predict` returns, and ``scores``, what `decision_function` returns, both of shape
    (n_samples, 1). ``scores + offset_`` is what `score_samples` returns.

    The graph computes in float64 whatever the type of its input is, as scoring does:
    the scores are equal within 1e-12, relative to the largest, and so are the labels,
    but of rows that lie on the threshold to within that; with "gelu" as an activation
    it is 1e-6, because runtimes have its error function in float32 only. It refuses
    nothing: a row with an infinite value gets the lowest score and is an outlier. So
    is a row with a NaN, unlike here, where it is a missing value: fill it in before,
    for example by `SimpleImputer` in the pipeline. The other steps of a pipeline are
    as precise as skl2onnx has them.

    Needs the package skl2onnx, which ``pip install "skae[onnx]"`` brings.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.
    ValueError
        From ``skl2onnx.to_onnx``, if an activation is not among those that are scored
        in NumPy, if the detector is not the last step of its pipeline, or if the inputs
        have another number of columns.
    NotFittedError
        From ``skl2onnx.to_onnx``, if the detector is not fitted.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> import skae
    >>> X, _ = load_iris(return_X_y=True)
    >>> detector = skae.AutoencoderOutlierDetector((8, 2), epochs=5, random_state=0)
    >>> detector = detector.fit(X)
    >>> import onnxruntime, skl2onnx  # doctest: +SKIP
    >>> skae.register_onnx_converter()  # doctest: +SKIP
    >>> model = skl2onnx.to_onnx(detector, X[:1])  # doctest: +SKIP
    >>> session = onnxruntime.InferenceSession(
    ...     model.SerializeToString()
    ... )  # doctest: +SKIP
    >>> labels, scores = session.run(["label", "scores"], {"X": X})  # doctest: +SKIP
    >>> bool((labels.ravel() == detector.predict(X)).all())  # doctest: +SKIP
    True
    """
    try:
        from skl2onnx import update_registered_converter
    except ImportError as error:
        raise ImportError(
            "register_onnx_converter needs the package skl2onnx, which is not "
            'installed. Run: pip install "skae[onnx]"'
        ) from error
    update_registered_converter(
        AutoencoderOutlierDetector,
        "SkaeAutoencoderOutlierDetector",
        _set_output_types,
        _convert,
    )


def _set_output_types(operator: Any) -> None:
    """Type and shape of the labels and the scores, for skl2onnx."""
    from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType

    labels, scores = operator.outputs
    if labels.is_leaf is None:  # it is fed to another step
        raise ValueError(
            "The detector must be the last step of what is converted to ONNX, where it "
            "gives labels and scores; here another step takes its codes. Convert the "
            "pipeline up to the detector."
        )
    check_is_fitted(operator.raw_operator)
    widths = [x.get_second_dimension() for x in operator.inputs]
    n_features = operator.raw_operator.n_features_in_
    if all(isinstance(width, int) for width in widths) and sum(widths) != n_features:
        raise ValueError(
            f"The inputs must have {n_features} columns in all, as many as the "
            f"detector was fitted on. Got {sum(widths)} instead. Give to_onnx rows of "
            "the table that the detector was fitted on."
        )
    n_rows = operator.inputs[0].get_first_dimension()
    labels.type = Int64TensorType([n_rows, 1])
    scores.type = DoubleTensorType([n_rows, 1])


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a detector to the container of skl2onnx."""
    model: Model = operator.raw_operator._model
    architecture = model.architecture
    activations = [_find_activation(a, architecture) for a in architecture.activations]
    graph = _Graph(scope, container)
    # A frame comes as one input for each column.
    rows = graph.join([graph.cast(x.full_name, np.float64) for x in operator.inputs])
    rows = graph.scale(rows, model.center, model.scale)
    outputs = []
    for weights in model.weights:
        layer_outputs = rows
        for kernel, bias, activate in zip(
            weights[::2], weights[1::2], activations, strict=True
        ):
            layer_outputs = activate(
                graph, graph.add_layer(layer_outputs, kernel, bias)
            )
        outputs.append(layer_outputs)
    anomaly = _add_anomaly(graph, model, rows, outputs)
    labels, scores = (output.full_name for output in operator.outputs)
    offset = operator.raw_operator.offset_
    decision = graph.add("Sub", graph.add("Neg", anomaly), offset)
    graph.name(decision, scores)
    is_outlier = graph.add("Less", decision, 0.0)
    graph.name(graph.add("Where", is_outlier, np.array(-1), np.array(1)), labels)


def _add_anomaly(graph: _Graph, model: Model, rows: str, outputs: Sequence[str]) -> str:
    """The anomaly of scaled rows, as `_scoring` computes it."""
    center, deviation, residuals = model.score_statistics
    total: str | NDArray = np.zeros((1, 1))
    for output, scale in zip(outputs, residuals, strict=True):
        errors = graph.add("Abs", graph.add("Sub", rows, output))
        if model.score_method == "reconstruction":
            anomaly = graph.average(errors, np.ones(len(center)))
        else:
            deviations = graph.add("Abs", graph.add("Sub", output, center))
            anomaly = graph.add(
                "Add",
                graph.average(deviations, np.full(len(center), 1.0 / deviation)),
                graph.average(errors, 1.0 / scale),
            )
        total = graph.add("Add", total, anomaly)
    mean = graph.add("Mul", total, 1.0 / len(outputs))
    # A row so far out that its error overflows is the least normal of all.
    largest = np.finfo(np.float64).max
    limited = graph.add("Min", mean, largest)
    return graph.add("Where", graph.add("IsNaN", mean), largest, limited)


class _Graph:
    """Adds nodes to the container of skl2onnx, and names what they compute."""

    def __init__(self, scope: Any, container: Any):
        self._scope = scope
        self._container = container

    def add(self, kind: str, *inputs: str | float | NDArray) -> str:
        """The name of what an operator makes of names and of numbers."""
        return self._add_node(kind, inputs, {})

    def cast(self, x: str | NDArray, dtype: type) -> str:
        return self._add_node("Cast", [x], {"to": _get_onnx_type(dtype)})

    def join(self, columns: Sequence[str]) -> str:
        """Columns side by side."""
        if len(columns) == 1:
            return columns[0]
        return self._add_node("Concat", columns, {"axis": 1})

    def _add_node(
        self,
        kind: str,
        inputs: Sequence[str | float | NDArray],
        attributes: dict[str, int],
    ) -> str:
        names = [x if isinstance(x, str) else self._store(x) for x in inputs]
        output = self._scope.get_unique_variable_name(kind.lower())
        name = self._scope.get_unique_operator_name(kind)
        self._container.add_node(kind, names, output, name=name, **attributes)
        return output

    def scale(
        self, rows: str, center: NDArray[np.float64], scale: NDArray[np.float64]
    ) -> str:
        return self.add("Mul", self.add("Sub", rows, center), 1.0 / scale)

    def add_layer(
        self, rows: str, kernel: NDArray[np.float32], bias: NDArray[np.float32]
    ) -> str:
        """A dense layer without its activation; stored as it is, in float32."""
        product = self.add("MatMul", rows, self.cast(kernel, np.float64))
        return self.add("Add", product, self.cast(bias, np.float64))

    def average(self, terms: str, factors: NDArray[np.float64]) -> str:
        """The mean over the columns of terms times the columns' factors."""
        return self.add("MatMul", terms, (factors / len(factors))[:, np.newaxis])

    def name(self, x: str, name: str) -> None:
        """Give what has been computed the name of an output."""
        operator = self._scope.get_unique_operator_name("Identity")
        self._container.add_node("Identity", x, name, name=operator)

    def _store(self, value: float | NDArray) -> str:
        array = np.asarray(value)
        name = self._scope.get_unique_variable_name("constant")
        kind = _get_onnx_type(array.dtype)
        self._container.add_initializer(name, kind, array.shape, array.ravel())
        return name


def _get_onnx_type(dtype: type | np.dtype) -> int:
    """ONNX's number for a type of numbers."""
    from onnx.helper import np_dtype_to_tensor_dtype

    return int(np_dtype_to_tensor_dtype(np.dtype(dtype)))


# The activations of `_forward` by operators that runtimes have in float64.


def _linear(graph: _Graph, h: str) -> str:
    return h


def _relu(graph: _Graph, h: str) -> str:
    return graph.add("Max", h, 0.0)


def _relu6(graph: _Graph, h: str) -> str:
    return graph.add("Min", _relu(graph, h), 6.0)


def _leaky_relu(graph: _Graph, h: str) -> str:
    return graph.add("Max", h, graph.add("Mul", h, 0.2))


def _elu(graph: _Graph, h: str) -> str:
    below = graph.add("Sub", _exponential(graph, graph.add("Min", h, 0.0)), 1.0)
    return graph.add("Where", graph.add("Greater", h, 0.0), h, below)


def _selu(graph: _Graph, h: str) -> str:
    below = graph.add("Sub", _exponential(graph, graph.add("Min", h, 0.0)), 1.0)
    below = graph.add("Mul", below, 1.6732632423543772)
    is_above = graph.add("Greater", h, 0.0)
    return graph.add("Mul", graph.add("Where", is_above, h, below), 1.0507009873554805)


def _gelu(graph: _Graph, h: str) -> str:
    z = graph.cast(graph.add("Mul", h, np.sqrt(0.5)), np.float32)
    erf = graph.cast(graph.add("Erf", z), np.float64)
    return graph.add("Mul", graph.add("Mul", h, 0.5), graph.add("Add", erf, 1.0))


def _sigmoid(graph: _Graph, h: str) -> str:
    half = graph.add("Mul", _tanh(graph, graph.add("Mul", h, 0.5)), 0.5)
    return graph.add("Add", half, 0.5)


def _hard_sigmoid(graph: _Graph, h: str) -> str:
    return graph.add("Div", _relu6(graph, graph.add("Add", h, 3.0)), 6.0)


def _tanh(graph: _Graph, h: str) -> str:
    return graph.add("Tanh", h)


def _softplus(graph: _Graph, h: str) -> str:
    tail = _exponential(graph, graph.add("Neg", graph.add("Abs", h)))
    log = graph.add("Log", graph.add("Add", tail, 1.0))
    return graph.add("Add", _relu(graph, h), log)


def _softsign(graph: _Graph, h: str) -> str:
    return graph.add("Div", h, graph.add("Add", graph.add("Abs", h), 1.0))


def _silu(graph: _Graph, h: str) -> str:
    return graph.add("Mul", h, _sigmoid(graph, h))


def _mish(graph: _Graph, h: str) -> str:
    return graph.add("Mul", h, _tanh(graph, _softplus(graph, h)))


def _exponential(graph: _Graph, h: str) -> str:
    return graph.add("Exp", h)


_ACTIVATIONS: dict[str, Callable[[_Graph, str], str]] = {
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


def _find_activation(
    activation: Any, architecture: Architecture
) -> Callable[[_Graph, str], str]:
    """What adds an activation to a graph, or an error that names it."""
    if isinstance(activation, str) and activation in _ACTIVATIONS:
        return _ACTIVATIONS[activation]
    is_hidden = activation is architecture.activation
    parameter = "activation" if is_hidden else "output_activation"
    raise ValueError(
        f"{parameter} must be one of those that convert to ONNX, "
        f"{', '.join(map(repr, _ACTIVATIONS))}. Got {activation!r} instead. Fit with "
        "one of these, or export the network alone by Keras: detector.model_.export."
    )
