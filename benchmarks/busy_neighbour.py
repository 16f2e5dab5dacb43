"""What one busy process beside it costs the detector, on a machine of few cores.

Scoring 25,000 x 30 and 60,000 x 784 with a detector at its defaults, and, with
`--data`, a fit of the article's network on MNIST (784-128-64-32-64-128-784, 20 epochs):
alone, and while another process keeps one core busy. On two cores, work that is shared
out freely takes 1.5 times as long then, and work that is halved in advance twice as
long.
"""

import argparse
import subprocess
import sys
from contextlib import contextmanager

import _report
import numpy as np

from skae import AutoencoderOutlierDetector

SHAPES = [(25_000, 30), (60_000, 784)]
BOUND = "at most 3"
FIT_BOUND = "at most 2.2"


@contextmanager
def busy_neighbour():
    """Keep a core busy for the length of a block."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def time_beside_neighbour(call):
    """Time a call beside a busy process."""
    with busy_neighbour():
        return _report.time_call(call)


def make_calls(path):
    """Make what is timed: scoring, and a fit if there is MNIST."""
    calls = {}
    for shape in SHAPES:
        X = np.random.default_rng(0).normal(size=shape)
        detector = AutoencoderOutlierDetector(epochs=1, random_state=0).fit(X[:5000])
        name = f"{shape[0]:,} x {shape[1]} scored"
        calls[name] = lambda X=X, detector=detector: detector.score_samples(X)
    if path:
        with np.load(path) as arrays:
            digits = arrays["x_train"].reshape(-1, 784) / 255.0
        article = AutoencoderOutlierDetector(epochs=20, **_report.MNIST_NETWORK)
        calls["a fit on MNIST"] = lambda: article.fit(digits)
    return calls


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="MNIST as Keras keeps it: mnist.npz")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    _report.print_header(__doc__)
    measurements, comparisons = {}, []
    for name, call in make_calls(arguments.data).items():
        beside = f"{name}, one neighbour"
        measurements[name] = lambda call=call: _report.time_call(call)
        measurements[beside] = lambda call=call: time_beside_neighbour(call)
        bound = BOUND if name.endswith("scored") else FIT_BOUND
        comparisons.append((beside, name, bound))
    figures = _report.measure(measurements, arguments.repeats)
    _report.print_table(figures, comparisons)


if __name__ == "__main__":
    main()
