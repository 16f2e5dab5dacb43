"""How long a fit on a small table takes, the first one and the later ones.

Two tables, of 1,000 x 20 and of 10,000 x 30 rows and columns, in float64:

- 1,000 x 20: 20 epochs of batches of 256 with the default widths of skae, one network,
  no masking, scored by the reconstruction error. PyOD's AutoEncoder has these widths,
  epochs, batches and standardisation; its dropout (0.2 by default), batch normalisation
  (on) and weight decay (1e-5) are off. It drops the last, short batch: 3 updates an
  epoch instead of 4;
- the same, the very first fit of a fresh process that has imported TensorFlow;
- 10,000 x 30: everyone at their defaults. PyOD's are 10 epochs of batches of 32; skae's
  are about 1,000 updates on batches of 128. Its fit and the scores of the same rows
  stand against those of scikit-learn's IsolationForest;
- 10,000 x 30 with five networks and with one.

Except for the very first fit, one fit of each kind came before those that are counted.
"""

import argparse

import _report
from sklearn.ensemble import IsolationForest

from skae import AutoencoderOutlierDetector

COMPARISONS = [
    ("1,000 x 20: skae", None, "at most 40 ms"),
    ("1,000 x 20: PyOD", "1,000 x 20: skae", "at least 3"),
    ("1,000 x 20: skae, the very first fit", None, "at most 0.5 s"),
    ("10,000 x 30: PyOD", "10,000 x 30: skae", "at least 3"),
    (
        "10,000 x 30: skae, fit and score",
        "10,000 x 30: IsolationForest, fit and score",
        "",
    ),
    (
        "10,000 x 30: skae, n_estimators=5",
        "10,000 x 30: skae, n_estimators=1",
        "at most 5",
    ),
]


def fit_skae(X):
    """Fit 20 epochs of batches of 256."""
    AutoencoderOutlierDetector(epochs=20, **_report.PLAIN_AUTOENCODER).fit(X)


def fit_pyod(X, autoencoder):
    """Fit 20 epochs of batches of 256, with the widths of skae."""
    autoencoder(
        hidden_neuron_list=list(AutoencoderOutlierDetector().hidden_layer_sizes),
        epoch_num=20,
        batch_size=256,
        dropout_rate=0,
        batch_norm=False,
        optimizer_params={"weight_decay": 0},
        verbose=0,
    ).fit(X)


def time_first_fit():
    """Time a fit; to be called in a fresh process."""
    import tensorflow  # noqa: F401  (imports Keras)

    X = _report.make_rows(1_000, 20)
    return _report.time_call(lambda: fit_skae(X))


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats

    _report.print_header(
        __doc__,
        ("skae", "tensorflow", "keras", "numpy", "scikit-learn", "pyod", "torch"),
    )
    autoencoder = _report.import_pyod_autoencoder()

    X = _report.make_rows(1_000, 20)
    calls = {"1,000 x 20: skae": lambda: fit_skae(X)}
    if autoencoder:
        calls["1,000 x 20: PyOD"] = lambda: fit_pyod(X, autoencoder)
    figures = _report.time_in_turns(calls, repeats)
    figures["1,000 x 20: skae, the very first fit"] = [
        _report.call_in_fresh_process(time_first_fit) for _ in range(repeats)
    ]

    Y = _report.make_rows(10_000, 30)
    default = AutoencoderOutlierDetector(random_state=0)
    one = AutoencoderOutlierDetector(n_estimators=1, random_state=0)
    five = AutoencoderOutlierDetector(n_estimators=5, random_state=0)
    forest = IsolationForest(random_state=0)
    calls = {
        "10,000 x 30: skae": lambda: default.fit(Y),
        "10,000 x 30: skae, n_estimators=1": lambda: one.fit(Y),
        "10,000 x 30: skae, n_estimators=5": lambda: five.fit(Y),
        "10,000 x 30: skae, fit and score": lambda: default.fit(Y).score_samples(Y),
        "10,000 x 30: IsolationForest, fit and score": lambda: forest.fit(
            Y
        ).score_samples(Y),
    }
    if autoencoder:
        calls["10,000 x 30: PyOD"] = lambda: autoencoder(verbose=0).fit(Y)
    figures |= _report.time_in_turns(calls, repeats)
    _report.print_table(figures, COMPARISONS)


if __name__ == "__main__":
    main()
