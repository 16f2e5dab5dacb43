"""How close an epoch of training comes to the matrix products that it needs.

The network of the classic experiment on MNIST (784-128-64-32-64-128-784) learns in
batches of 256. Counted are the seconds of an epoch after the first:

- bare products: the float32 matrix products of an epoch in NumPy, batch by batch:
  forward, and backward for the gradients of the weights and of the layers' inputs;
- skae: of 20 epochs, from the end of the first to the end of the last, by a Keras
  callback;
- skae, by difference: without a callback, a fit of 30 epochs minus one of 20;
- keras.Model.fit: the same network, loss and optimizer, by the same callback;
- MLPRegressor: the same widths, a linear output, by difference;
- PyOD, same network: its AutoEncoder with the same widths and a linear output, by its
  own hook after each epoch. Its dropout (0.2 by default), batch normalisation (on),
  standardisation (on) and weight decay (1e-5) are off. It drops the last, short batch;
- PyOD, same widths: the same with these four at their defaults.

All learn from the same float32 pixels in [0, 1].
"""

import argparse
import time
import warnings

import _report
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

from skae import AutoencoderOutlierDetector

WIDTHS = (128, 64, 32, 64, 128)
BATCH_SIZE = 256
PYOD_OFF = {
    "dropout_rate": 0,
    "batch_norm": False,
    "preprocessing": False,
    "optimizer_params": {"weight_decay": 0},
}
PEER_EPOCHS = 3  # an epoch of theirs takes as long in a short training as in a long one

COMPARISONS = [
    ("skae", "bare products", "at most 1.6"),
    ("skae, by difference", "bare products", "at most 1.6"),
    ("keras.Model.fit", "skae", "at least 3"),
    ("MLPRegressor", "skae", ""),
    ("PyOD, same network", "skae", "at least 7"),
    ("PyOD, same widths", "skae", "at least 7"),
]


def multiply_matrices(X, weights):
    """Compute the products of one epoch, of whatever values."""
    sizes = [X.shape[1], *(weight.shape[1] for weight in weights)]
    layers = [np.ones((BATCH_SIZE, size), np.float32) for size in sizes]
    weight_gradients = [np.empty_like(weight) for weight in weights]
    input_gradients = [np.empty_like(layer) for layer in layers]
    for start in range(0, len(X), BATCH_SIZE):
        batch = X[start : start + BATCH_SIZE]
        inputs = [batch, *(layer[: len(batch)] for layer in layers[1:])]
        gradients = [gradient[: len(batch)] for gradient in input_gradients]
        for i, weight in enumerate(weights):
            np.matmul(inputs[i], weight, out=inputs[i + 1])
        gradients[-1][:] = inputs[-1]
        for i in reversed(range(len(weights))):
            np.matmul(inputs[i].T, gradients[i + 1], out=weight_gradients[i])
            if i > 0:  # nobody asks for the gradient of the pixels
                np.matmul(gradients[i + 1], weights[i].T, out=gradients[i])


def mean_interval(moments):
    """Give the seconds from one moment to the next."""
    return (moments[-1] - moments[0]) / (len(moments) - 1)


def fit_skae(X, epochs, callbacks=None):
    """Train the detector."""
    detector = AutoencoderOutlierDetector(epochs=epochs, **_report.MNIST_NETWORK)
    detector.fit(X, callbacks=callbacks)


def make_epoch_clock():
    """Make a Keras callback and the list of the ends of epochs that it fills."""
    import keras

    moments = []
    clock = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: moments.append(time.perf_counter())
    )
    return clock, moments


def time_skae(X, epochs):
    """Time an epoch by a callback."""
    clock, moments = make_epoch_clock()
    fit_skae(X, epochs, [clock])
    return mean_interval(moments)


def time_skae_by_difference(X, epochs):
    """Time an epoch by a longer fit: a shorter one may not be compiled as well."""
    n_more = epochs // 2
    short = _report.time_call(lambda: fit_skae(X, epochs))
    long = _report.time_call(lambda: fit_skae(X, epochs + n_more))
    return (long - short) / n_more


def time_keras(X):
    """Time an epoch by a callback."""
    import keras

    layers = [keras.layers.Dense(width, activation="relu") for width in WIDTHS]
    output = keras.layers.Dense(X.shape[1], activation="sigmoid")
    model = keras.Sequential([keras.Input((X.shape[1],)), *layers, output])
    model.compile(optimizer="adam", loss="mean_squared_error")
    clock, moments = make_epoch_clock()
    model.fit(
        X, X, batch_size=BATCH_SIZE, epochs=PEER_EPOCHS, verbose=0, callbacks=[clock]
    )
    return mean_interval(moments)


def time_mlp(X):
    """Time an epoch by a fit of one."""

    def fit(epochs):
        regressor = MLPRegressor(
            hidden_layer_sizes=WIDTHS, batch_size=BATCH_SIZE, max_iter=epochs
        )
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            regressor.fit(X, X)

    long = _report.time_call(lambda: fit(PEER_EPOCHS))
    short = _report.time_call(lambda: fit(1))
    return (long - short) / (PEER_EPOCHS - 1)


def time_pyod(X, autoencoder, parameters):
    """Time an epoch by its own hook."""
    detector = autoencoder(
        hidden_neuron_list=list(_report.MNIST_NETWORK["hidden_layer_sizes"]),
        batch_size=BATCH_SIZE,
        epoch_num=PEER_EPOCHS,
        verbose=0,
        **parameters,
    )
    moments = []
    detector.epoch_update = lambda: moments.append(time.perf_counter())
    detector.fit(X)
    return mean_interval(moments)


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="MNIST in Keras's .npz layout")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", type=int, default=60_000, help="rows to train on")
    parser.add_argument("--epochs", type=int, default=20, help="of skae, at least 2")
    arguments = parser.parse_args()

    _report.print_header(
        __doc__,
        ("skae", "tensorflow", "keras", "numpy", "scikit-learn", "pyod", "torch"),
    )
    with np.load(arguments.data) as arrays:
        images = arrays["x_train"][: arguments.rows]
    X = images.reshape(len(images), -1) / np.float32(255)
    rng = np.random.default_rng(0)
    sizes = [X.shape[1], *WIDTHS, X.shape[1]]
    weights = [
        rng.normal(scale=0.05, size=shape).astype(np.float32)
        for shape in zip(sizes[:-1], sizes[1:], strict=True)
    ]
    measurements = {
        "bare products": lambda: _report.time_call(
            lambda: multiply_matrices(X, weights)
        ),
        "skae": lambda: time_skae(X, arguments.epochs),
        "skae, by difference": lambda: time_skae_by_difference(X, arguments.epochs),
        "keras.Model.fit": lambda: time_keras(X),
        "MLPRegressor": lambda: time_mlp(X),
    }
    if autoencoder := _report.import_pyod_autoencoder():
        measurements |= {
            "PyOD, same network": lambda: time_pyod(X, autoencoder, PYOD_OFF),
            "PyOD, same widths": lambda: time_pyod(X, autoencoder, {}),
        }
    figures = _report.measure(measurements, arguments.repeats)
    _report.print_table(figures, COMPARISONS)


if __name__ == "__main__":
    main()
