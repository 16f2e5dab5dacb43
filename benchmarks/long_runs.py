"""Whether time and memory stay flat over thousands of operations in one process.

- 2,000 fits that go round 30 combinations of widths and columns, with one parameter or
  another changed;
- 1,000,000 rows scored one by one;
- a stream of 10,000 calls of `partial_fit`, of 20 rows each, scored and, every
  hundredth time, calibrated in between.

Each runs in a fresh process. *First* and *last* are means over the tenth of the
operations that follows the first tenth, in which everything is built for the first
time, and over the last tenth. *Memory* is the resident memory then.
"""

import argparse
import gc
import time
from itertools import product

import _report
import numpy as np
import psutil

from skae import AutoencoderOutlierDetector

ARCHITECTURES = list(
    product([(8,), (16, 2), (32, 4), (64, 4), (64, 32, 8)], [5, 10, 20, 30, 50, 80])
)
CHANGES = [
    {},
    {"early_stopping": True},
    {"score_method": "reconstruction", "masking": 0.0},
    {"calibration_fraction": 0.2},
    {"n_estimators": 2},
    {"scaling": "minmax", "activation": "tanh"},
    {"optimizer": "rmsprop", "loss": "mean_absolute_error"},
]
N_TENTHS = 10


def make_fits():
    """Return a function that makes the i-th fit."""
    tables = {d: _report.make_rows(300, d) for _, d in ARCHITECTURES}

    def fit(i):
        widths, n_columns = ARCHITECTURES[i % len(ARCHITECTURES)]
        changes = CHANGES[i % len(CHANGES)]
        detector = AutoencoderOutlierDetector(
            widths, epochs=2, tol=1e9, n_iter_no_change=1, random_state=i, **changes
        )
        detector.fit(tables[n_columns])

    return fit


def make_scores():
    """Return a function that scores the i-th row alone."""
    X = _report.make_rows(1_000, 20)
    detector = AutoencoderOutlierDetector(random_state=0).fit(X)
    return lambda i: detector.score_samples(X[i % 1_000 : i % 1_000 + 1])


def make_stream():
    """Return a function that makes the i-th call of a stream."""
    X = _report.make_rows(20_000, 20)
    detector = AutoencoderOutlierDetector(random_state=0)

    def learn(i):
        rows = X[20 * i % 20_000 :][:20]
        detector.partial_fit(rows).predict(rows)
        if i % 100 == 0:
            detector.calibrate(X[:200], false_alarm_rate=0.05)

    return learn


RUNS = {
    "a fit, of 30 architectures": (make_fits, "fits", 2_000),
    "one row scored": (make_scores, "scores", 1_000_000),
    "a call of partial_fit, 20 rows": (make_stream, "calls", 10_000),
}


def run(name, n_operations):
    """List, for each tenth, seconds per operation and megabytes; for a fresh process.

    The first operation is for what is imported and built once.
    """
    import tensorflow  # noqa: F401

    make, *_ = RUNS[name]
    operate, process, tenths = make(), psutil.Process(), []
    operate(0)
    for numbers in np.array_split(np.arange(1, n_operations + 1), N_TENTHS):
        start = time.perf_counter()
        for i in numbers.tolist():
            operate(i)
        seconds = (time.perf_counter() - start) / len(numbers)
        gc.collect()
        tenths.append((seconds, process.memory_info().rss / 1e6))
    return tenths


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for _, kind, n_operations in RUNS.values():
        parser.add_argument(f"--{kind}", type=int, default=n_operations)
    arguments = vars(parser.parse_args())

    _report.print_header(__doc__)
    lines = [("", "number", "first", "last", "ratio", "memory", "last", "gained")]
    for name, (_, kind, _) in RUNS.items():
        tenths = _report.call_in_fresh_process(run, name, arguments[kind])
        (_, _), (first, memory), *_, (last, last_memory) = tenths
        lines.append(
            (
                name,
                f"{arguments[kind]:,}",
                _report.format_seconds(first),
                _report.format_seconds(last),
                f"{last / first:.2f}",
                _report.format_megabytes(memory),
                _report.format_megabytes(last_memory),
                f"{last_memory - memory:+.0f} MB",
            )
        )
    _report.print_lines(lines)


if __name__ == "__main__":
    main()
