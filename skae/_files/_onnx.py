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
from skae._scoring._neighbors import (
    CLIP,
    MAX_COLUMNS_OF_ABSOLUTE,
    SAME_CELL,
    References,
    count_neighbors,
)
from skae._tables._categories import MAX_SHOWN
from skae._tables._scaling import Scaling


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
    for example by `SimpleImputer` in the pipeline. Dates and durations must be given as
    what they are read as, seconds in float64. A detector with columns of categories
    does not convert. The other steps of a pipeline are as precise as skl2onnx has them.

    Needs the package skl2onnx, which ``pip install "skae[onnx]"`` brings.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.
    ValueError
        From ``skl2onnx.to_onnx``, if an activation is not among those that are scored
        in NumPy, if the detector has columns of categories or is not the last step of
        its pipeline, or if the inputs have another number of columns.
    NotFittedError
        From ``skl2onnx.to_onnx``, if the detector is not fitted.

    See Also
    --------
    save : A file for skae itself.

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
    _check_is_of_numbers(operator.raw_operator)
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


def _check_is_of_numbers(detector: AutoencoderOutlierDetector) -> None:
    """Raise, with their names, if there are columns of categories."""
    columns = detector._model.layout.columns.tolist()
    if columns:
        shown = ", ".join(repr(detector._names[j]) for j in columns[:MAX_SHOWN])
        more = ", ..." if len(columns) > MAX_SHOWN else ""
        raise ValueError(
            "Only a detector of numbers converts to ONNX. This one was fitted with "
            f"categories in {len(columns)} column(s): {shown}{more}. Fit without "
            "categorical_features on rows in which a step of the pipeline, such as "
            "OneHotEncoder, has made numbers of them, or decide in Python: skae.load "
            "and what it loads need no TensorFlow."
        )


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a detector to the container of skl2onnx."""
    members: Sequence[Model] = operator.raw_operator._model.members
    graph = _Graph(scope, container, members[0].architecture.n_features)
    # A frame comes as one input for each column.
    rows = graph.join([graph.cast(x.full_name, np.float64) for x in operator.inputs])
    anomaly = graph.average([_add_model(graph, model, rows) for model in members])
    anomaly = graph.add("Min", anomaly, np.finfo(np.float64).max)  # a sum rounds up
    labels, scores = (output.full_name for output in operator.outputs)
    offset = operator.raw_operator.offset_
    decision = graph.add("Sub", graph.add("Neg", anomaly), offset)
    graph.name(decision, scores)
    is_outlier = graph.add("Less", decision, 0.0)
    graph.name(graph.add("Where", is_outlier, np.array(-1), np.array(1)), labels)


def _add_model(graph: _Graph, model: Model, rows: str) -> str:
    """The anomaly of rows by one Model."""
    architecture = model.architecture
    activations = [_find_activation(a, architecture) for a in architecture.activations]
    rows = graph.scale(rows, model.scaling)
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
    return _add_anomaly(graph, model, rows, outputs)


def _add_anomaly(graph: _Graph, model: Model, rows: str, outputs: Sequence[str]) -> str:
    """The anomaly of scaled rows, as `_scoring` computes it."""
    if model.references is None:
        errors = [graph.add("Abs", graph.add("Sub", rows, out)) for out in outputs]
        total = graph.sum_rows(graph.average(errors))
        anomaly = graph.add("Mul", total, 1.0 / graph.n_features)
    else:
        residuals = graph.add("Sub", rows, graph.average(outputs))
        anomaly = _add_neighbors(graph, model.references, rows, residuals)
        # Not a number, or infinite: what is clipped must not be forgotten.
        lost = graph.sum_rows(graph.add("Sub", residuals, residuals))
        anomaly = graph.add("Add", anomaly, lost)
    # A row so far out that its error overflows is the least normal of all.
    largest = np.finfo(np.float64).max
    limited = graph.add("Min", anomaly, largest)
    return graph.add("Where", graph.add("IsNaN", anomaly), largest, limited)


def _add_neighbors(
    graph: _Graph, references: References, rows: str, residuals: str
) -> str:
    """The mean distance of each row to its nearest references, over its columns."""
    hood, (n_references, n_features) = references.hood, references.rows.shape
    is_wide = n_features > MAX_COLUMNS_OF_ABSOLUTE
    centered = graph.add("Sub", rows, hood.center)
    cells = graph.clip(graph.add("Mul", centered, 1.0 / hood.spread))
    misses = graph.clip(graph.add("Mul", residuals, 1.0 / hood.residual_scale))
    tolerance = graph.add("Add", graph.add("Abs", rows), references.offsets)
    tolerance = graph.add("Mul", tolerance, SAME_CELL)
    distances, by_cells, differing = graph.scan(
        _make_comparison(graph, rows, cells, misses, tolerance, is_wide),
        # A reference with a missing cell is no row that comes here.
        np.where(np.isnan(references.rows), np.inf, references.rows),
        references.cells.values,
        references.residuals.values,
    )
    if is_wide:
        distances = graph.add("Sqrt", distances)
    is_same = graph.add("Less", differing, 0.5)
    by_cells = graph.add("Where", is_same, by_cells, np.inf)
    original = graph.add("ArgMin", by_cells, axis=1, keepdims=1)
    is_original = graph.add("Equal", np.arange(n_references), original)
    is_skipped = graph.add("And", is_original, is_same)
    distances = graph.add("Where", is_skipped, np.inf, distances)
    n_nearest = min(count_neighbors(n_features), n_references)
    nearest = graph.take_smallest(distances, n_nearest)
    is_other = graph.add("Less", nearest, np.inf)
    total = graph.sum_rows(graph.add("Where", is_other, nearest, 0.0))
    count = graph.sum_rows(graph.cast(is_other, np.float64))
    n_units = np.sqrt(n_features) if is_wide else n_features
    divisor = graph.add("Mul", graph.add("Max", count, 1.0), float(n_units))
    return graph.add("Div", total, divisor)


def _make_comparison(
    graph: _Graph, rows: str, cells: str, misses: str, tolerance: str, is_wide: bool
) -> Any:
    """A graph that compares all rows with one reference.

    Its outputs are distances, those by the cells alone, and how many cells of a row
    differ from the reference's.
    """
    from onnx import TensorProto, helper

    ones = graph.store(np.ones((graph.n_features, 1)))
    nodes: list[Any] = []

    def add(kind: str, *inputs: str, **attributes: Any) -> str:
        output = graph.name_anew(f"reference_{kind.lower()}")
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    names = [graph.name_anew(f"reference_{i}") for i in range(3)]
    sums = []
    for values, own in zip((cells, misses), names[1:], strict=True):
        difference = add("Abs", add("Sub", values, own))
        if is_wide:
            difference = add("Mul", difference, difference)
        sums.append(add("MatMul", difference, ones))
    is_other = add("Greater", add("Abs", add("Sub", rows, names[0])), tolerance)
    n_differing = add("MatMul", add("Cast", is_other, to=TensorProto.DOUBLE), ones)
    outputs = [add("Add", *sums), sums[0], n_differing]
    kind = TensorProto.DOUBLE
    return helper.make_graph(
        nodes,
        "compare",
        [helper.make_tensor_value_info(n, kind, [graph.n_features]) for n in names],
        [helper.make_tensor_value_info(n, kind, [None, 1]) for n in outputs],
    )


class _Graph:
    """Adds nodes to the container of skl2onnx, and names what they compute."""

    def __init__(self, scope: Any, container: Any, n_features: int):
        self._scope = scope
        self._container = container
        self.n_features = n_features

    def add(self, kind: str, *inputs: str | float | NDArray, **attributes: Any) -> str:
        """The name of what an operator makes of names and of numbers."""
        return self._add_node(kind, inputs, attributes)[0]

    def cast(self, x: str | NDArray, dtype: type) -> str:
        return self.add("Cast", x, to=_get_onnx_type(dtype))

    def join(self, columns: Sequence[str]) -> str:
        """Columns side by side."""
        if len(columns) == 1:
            return columns[0]
        return self.add("Concat", *columns, axis=1)

    def clip(self, x: str) -> str:
        return self.add("Min", self.add("Max", x, -CLIP), CLIP)

    def average(self, values: Sequence[str]) -> str:
        """The mean of what has been computed by several networks or models."""
        if len(values) == 1:
            return values[0]
        shares = [self.add("Mul", value, 1.0 / len(values)) for value in values]
        total = shares[0]
        for other in shares[1:]:
            total = self.add("Add", total, other)
        return total

    def sum_rows(self, x: str) -> str:
        """The sum of each row, as a column."""
        return self.add("ReduceSum", x, np.array([1]), keepdims=1)

    def take_smallest(self, x: str, n: int) -> str:
        """The smallest values of each row."""
        attributes = {"axis": 1, "largest": 0}
        return self._add_node("TopK", [x, np.array([n])], attributes, n_outputs=2)[0]

    def scan(self, body: Any, *values: NDArray) -> list[str]:
        """What a graph makes of each row of some values, as columns."""
        attributes = {
            "body": body,
            "num_scan_inputs": len(values),
            "scan_output_axes": [1] * len(body.output),
        }
        columns = self._add_node("Scan", values, attributes, len(body.output))
        return [self.add("Reshape", x, np.array([-1, len(values[0])])) for x in columns]

    def name_anew(self, name: str) -> str:
        unique: str = self._scope.get_unique_variable_name(name)
        return unique

    def _add_node(
        self,
        kind: str,
        inputs: Sequence[str | float | NDArray],
        attributes: dict[str, Any],
        n_outputs: int = 1,
    ) -> list[str]:
        names = [x if isinstance(x, str) else self.store(x) for x in inputs]
        outputs = [self.name_anew(kind.lower()) for _ in range(n_outputs)]
        name = self._scope.get_unique_operator_name(kind)
        self._container.add_node(kind, names, outputs, name=name, **attributes)
        return outputs

    def scale(self, rows: str, scaling: Scaling) -> str:
        centered = self.add("Sub", rows, scaling.pivot)
        centered = self.add("Sub", centered, scaling.remainder)
        return self.add("Mul", centered, 1.0 / scaling.scale)

    def add_layer(
        self, rows: str, kernel: NDArray[np.float32], bias: NDArray[np.float32]
    ) -> str:
        """A dense layer without its activation; stored as it is, in float32."""
        product = self.add("MatMul", rows, self.cast(kernel, np.float64))
        return self.add("Add", product, self.cast(bias, np.float64))

    def name(self, x: str, name: str) -> None:
        """Give what has been computed the name of an output."""
        operator = self._scope.get_unique_operator_name("Identity")
        self._container.add_node("Identity", x, name, name=operator)

    def store(self, value: float | NDArray) -> str:
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
