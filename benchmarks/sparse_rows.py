"""How much memory scoring a wide sparse table takes, and how long.

A detector with a small network is fitted on the first rows, then it scores all: the
peak of the anonymous memory (`RssAnon` of /proc/self/status, read every 5 ms) of either
call above what it is when the table is made and all libraries are imported. Beside it
the size of the table, and of the same as a dense one. In a fresh process; needs Linux.
"""

import argparse
import time

import _report
import numpy as np
from memory import watch
from scipy import sparse

from skae import AutoencoderOutlierDetector

N_FITTED_ROWS = 5_000


def make_table(n_rows, n_columns, n_entries):
    """Make a CSR table with `n_entries` numbers in each row, at random places."""
    rng = np.random.default_rng(0)
    columns = rng.integers(n_columns, size=(n_rows, n_entries), dtype=np.int32)
    columns.sort(axis=1)
    data = rng.gamma(2.0, size=n_rows * n_entries)
    starts = np.arange(0, n_rows * n_entries + 1, n_entries, dtype=np.int32)
    return sparse.csr_array((data, columns.ravel(), starts), (n_rows, n_columns))


def measure(n_rows, n_columns, n_entries):
    """Find the megabytes of the table, dense and not; peaks and seconds of calls."""
    import tensorflow  # noqa: F401

    X = make_table(n_rows, n_columns, n_entries)
    size = (X.data.nbytes + X.indices.nbytes + X.indptr.nbytes) / 1e6
    detector = AutoencoderOutlierDetector((16, 4), epochs=1, random_state=0)
    peaks, seconds = [], []
    for call, rows in [
        (detector.fit, X[:N_FITTED_ROWS]),
        (detector.score_samples, X),
    ]:
        start = time.perf_counter()
        peaks.append(watch(call, rows))
        seconds.append(time.perf_counter() - start)
    return 8e-6 * n_rows * n_columns, size, peaks, seconds


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=10_000)
    parser.add_argument("--entries", type=int, default=20, help="of a row")
    arguments = parser.parse_args()

    _report.print_header(__doc__)
    dense, size, peaks, seconds = _report.call_in_fresh_process(
        measure, arguments.rows, arguments.columns, arguments.entries
    )
    figures = [
        ("the table if it were dense", dense, None),
        ("the table", size, None),
        (f"peak of a fit on {N_FITTED_ROWS:,} rows", peaks[0], seconds[0]),
        ("peak of scoring all rows", peaks[1], seconds[1]),
    ]
    lines = [(f"{arguments.rows:,} x {arguments.columns:,}", "memory", "time")]
    for name, megabytes, duration in figures:
        shown = "" if duration is None else _report.format_seconds(duration)
        lines.append((name, _report.format_megabytes(megabytes), shown))
    _report.print_lines(lines)


if __name__ == "__main__":
    main()
