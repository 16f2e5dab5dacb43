"""Whether the time per row stays the same when the rows or the columns are many.

All of `fit` with one epoch, and `score_samples`, in seconds per row: for 100,000 and
1,000,000 rows of 30 columns, and for 20,000 rows of 10 to 1,000 columns, with the
default network, whose matrix products grow with the columns in proportion.
"""

import argparse
from functools import partial

import _report

from skae import AutoencoderOutlierDetector

N_COLUMNS = 30
COLUMNS = [10, 30, 100, 300, 1_000]
N_ROWS_OF_COLUMNS = 20_000


def label(method, n_rows, n_columns):
    """Name a figure."""
    return f"{method}, {n_rows:,} x {n_columns:,}"


def list_comparisons(fewer_rows, more_rows):
    """Compare more rows with fewer, and more columns with the fewest."""
    by_rows = [
        (
            label(method, more_rows, N_COLUMNS),
            label(method, fewer_rows, N_COLUMNS),
            "at most 1.1",
        )
        for method in ("fit", "score_samples")
    ]
    by_columns = [
        (
            label(method, N_ROWS_OF_COLUMNS, n_columns),
            label(method, N_ROWS_OF_COLUMNS, COLUMNS[0]),
            "",
        )
        for method in ("fit", "score_samples")
        for n_columns in COLUMNS[1:]
    ]
    return by_rows + by_columns


def measure_shapes(shapes, repeats):
    """Time a row of each shape, first in `fit`, then in `score_samples`."""
    measurements = {"fit": {}, "score_samples": {}}
    for n_rows, n_columns in shapes:
        X = _report.make_rows(n_rows, n_columns)
        detector = AutoencoderOutlierDetector(epochs=1, random_state=0)
        for method, by_shape in measurements.items():
            by_shape[label(method, n_rows, n_columns)] = partial(
                time_per_row, getattr(detector, method), X
            )
    return _report.measure(measurements["fit"] | measurements["score_samples"], repeats)


def time_per_row(method, X):
    """Divide the seconds of a call by the number of rows."""
    return _report.time_call(lambda: method(X)) / len(X)


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--rows", type=int, default=1_000_000, help="compared with a tenth of them"
    )
    arguments = parser.parse_args()

    _report.print_header(__doc__)
    fewer_rows, more_rows = arguments.rows // 10, arguments.rows
    figures = measure_shapes(
        [(fewer_rows, N_COLUMNS), (more_rows, N_COLUMNS)], arguments.repeats
    ) | measure_shapes(
        [(N_ROWS_OF_COLUMNS, n_columns) for n_columns in COLUMNS], arguments.repeats
    )
    _report.print_table(figures, list_comparisons(fewer_rows, more_rows))


if __name__ == "__main__":
    main()
