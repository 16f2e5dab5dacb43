"""How close scoring comes to the matrix products that it needs.

- 60,000 x 784, float64, with the network of the classic experiment on MNIST
  (784-128-64-32-64-128-784): `score_samples` against the float64 matrix products of the
  forward pass in NumPy, of all rows at once and of blocks of 256. It includes
  scikit-learn's validation of the rows; "without validation" is under
  `sklearn.config_context(assume_finite=True)`. Rows in float32 are scored in float64,
  too. Keras and PyOD compute in float32. "At its defaults" the detector compares rows
  with references, too: over all products that this needs, those of the default network
  and two with the 256 references;
- one row, validation included, of 20 columns (the detector at its defaults) and of 784
  (the network above), against scikit-learn's IsolationForest at its defaults,
  `model_.predict` and PyOD's AutoEncoder of the same widths.
"""

import argparse

import _report
import numpy as np
import sklearn
from sklearn.ensemble import IsolationForest

from skae import AutoencoderOutlierDetector

BLOCK_ROWS = 256
N_REFERENCES = 256  # of the default with more than 128 columns
LATENCY_SECONDS = 0.2  # one row is scored again and again for so long

COMPARISONS = [
    ("rows: skae", "rows: bare products at once", "at most 1.4"),
    ("rows: skae", "rows: bare products in blocks", "at most 1.4"),
    ("rows: skae, without validation", "rows: bare products at once", ""),
    ("rows: skae, without validation", "rows: bare products in blocks", ""),
    ("rows: skae, float32 rows", "rows: skae", ""),
    (
        "rows: skae at its defaults",
        "rows: bare products at its defaults, in blocks",
        "at most 1.4",
    ),
    ("rows: model_.predict", "rows: skae", ""),
    ("rows: PyOD", "rows: skae", ""),
    *(
        (f"one row of {columns}: {peer}", f"one row of {columns}: skae", bound)
        for columns in (20, 784)
        for peer, bound in [
            ("IsolationForest", "at least 10"),
            ("model_.predict", ""),
            ("PyOD", ""),
        ]
    ),
]


def make_multiplication(X, weights, block_rows):
    """Make a function that computes the products of the forward pass."""
    outputs = [np.empty((block_rows, weight.shape[1])) for weight in weights]

    def multiply():
        for start in range(0, len(X), block_rows):
            inputs = X[start : start + block_rows]
            for weight, output in zip(weights, outputs, strict=True):
                inputs = np.matmul(inputs, weight, out=output[: len(inputs)])

    return multiply


def make_default_multiplication(X, weights, n_references):
    """Make the same for the default, which compares rows and residuals, too."""
    multiply_weights = make_multiplication(X, weights, BLOCK_ROWS)
    references = np.random.default_rng(0).normal(size=(X.shape[1], n_references))
    multiply_references = make_multiplication(X, [references], BLOCK_ROWS)

    def multiply():
        multiply_weights()
        multiply_references()
        multiply_references()

    return multiply


def read_kernels(detector):
    """Read the kernels of the dense layers, in float64."""
    weights = detector.model_.get_weights()
    return [weight.astype(np.float64) for weight in weights if weight.ndim == 2]


def score_without_validation(detector, X):
    """Score rows without looking through them for infinite values."""
    with sklearn.config_context(assume_finite=True):
        detector.score_samples(X)


def fit_pyod(X, autoencoder, widths):
    """Fit one epoch: scoring takes no longer after more of them."""
    return autoencoder(
        hidden_neuron_list=list(widths),
        batch_size=BLOCK_ROWS,
        epoch_num=1,
        dropout_rate=0,
        batch_norm=False,
        verbose=0,
    ).fit(X)


def make_latency_calls(X, parameters, autoencoder):
    """Make, for each detector, a function that scores one row."""
    detector = AutoencoderOutlierDetector(epochs=1, **parameters)
    detector.fit(X)
    forest = IsolationForest(random_state=0).fit(X)
    row = X[:1]
    calls = {
        "skae": lambda: detector.score_samples(row),
        "IsolationForest": lambda: forest.score_samples(row),
        "model_.predict": lambda: detector.model_.predict(row, verbose=0),
    }
    if autoencoder:
        pyod = fit_pyod(X, autoencoder, detector.hidden_layer_sizes)
        calls["PyOD"] = lambda: pyod.decision_function(row)
    return {f"one row of {X.shape[1]}: {name}": call for name, call in calls.items()}


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--rows", type=int, default=60_000, help="rows to score at once"
    )
    arguments = parser.parse_args()

    _report.print_header(
        __doc__,
        ("skae", "tensorflow", "keras", "numpy", "scikit-learn", "pyod", "torch"),
    )
    autoencoder = _report.import_pyod_autoencoder()
    X = np.random.default_rng(0).uniform(size=(arguments.rows, 784))
    X_single = X.astype(np.float32)
    detector = AutoencoderOutlierDetector(epochs=1, **_report.MNIST_NETWORK)
    detector.fit(X[:1000])
    kernels = read_kernels(detector)
    default = AutoencoderOutlierDetector(epochs=1, random_state=0).fit(X[:1000])
    calls = {
        "bare products at once": make_multiplication(X, kernels, len(X)),
        "bare products in blocks": make_multiplication(X, kernels, BLOCK_ROWS),
        "skae": lambda: detector.score_samples(X),
        "skae, without validation": lambda: score_without_validation(detector, X),
        "skae, float32 rows": lambda: detector.score_samples(X_single),
        "bare products at its defaults, in blocks": make_default_multiplication(
            X, read_kernels(default), N_REFERENCES
        ),
        "skae at its defaults": lambda: default.score_samples(X),
        "model_.predict": lambda: detector.model_.predict(
            X_single, batch_size=BLOCK_ROWS, verbose=0
        ),
    }
    if autoencoder:
        pyod = fit_pyod(X[:1000], autoencoder, detector.hidden_layer_sizes)
        calls["PyOD"] = lambda: pyod.decision_function(X)
    figures = _report.time_in_turns(
        {f"rows: {name}": call for name, call in calls.items()}, arguments.repeats
    )
    rows_a_second = len(X) / np.median(figures["rows: skae"])

    figures |= _report.time_in_turns(
        make_latency_calls(_report.make_rows(1000, 20), {}, autoencoder)
        | make_latency_calls(X[:1000], _report.MNIST_NETWORK, autoencoder),
        arguments.repeats,
        at_least=LATENCY_SECONDS,
    )
    _report.print_table(figures, COMPARISONS)
    print(f"\nskae scores {rows_a_second:,.0f} rows of 784 columns a second.")


if __name__ == "__main__":
    main()
