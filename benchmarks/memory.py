"""Whether memory stays bounded in one fit on a large table.

- One fit, of one epoch, on a memory map of float64 rows with 1,000 columns: the peak of
  the anonymous memory (`RssAnon` of /proc/self/status, read every 5 ms) above what it
  is when all libraries are imported. Pages of the file itself do not count: the system
  takes them back when it needs them;
- the same with a fifth of the rows held back;
- the same rows as a stream, `partial_fit` on 10,000 at a time.

Each repeat is a fresh process. The table, 4 GB by default, is written into the folder
for temporary files (TMPDIR). It needs Linux. `long_runs.py` has many fits.
"""

import argparse
import tempfile
import threading
from pathlib import Path

import _report
import numpy as np
from sklearn.utils import gen_batches

from skae import AutoencoderOutlierDetector

N_COLUMNS = 1_000
CHUNK_ROWS = 10_000
STATUS = Path("/proc/self/status")

COMPARISONS = [
    ("peak of a fit on the memory map", None, "at most 600 MB"),
    ("the same, a fifth held back to calibrate", None, "at most 600 MB"),
    ("peak of a stream of its rows", None, "at most 600 MB"),
]


def measure_peak(path, calibration_fraction=0.0):
    """Find the megabytes that a fit adds at most; for a fresh process."""
    import tensorflow  # noqa: F401

    detector = AutoencoderOutlierDetector(
        epochs=1, calibration_fraction=calibration_fraction, random_state=0
    )
    return watch(detector.fit, np.load(path, mmap_mode="r"))


def measure_peak_of_stream(path):
    """Find the megabytes that a stream adds at most; for a fresh process."""
    import tensorflow  # noqa: F401

    def learn(X):
        detector = AutoencoderOutlierDetector(random_state=0)
        for rows in gen_batches(len(X), CHUNK_ROWS):
            detector.partial_fit(X[rows])

    return watch(learn, np.load(path, mmap_mode="r"))


def watch(call, X):
    """Find the megabytes that a call adds at most."""
    before = peak = read_anonymous_memory()
    is_over = threading.Event()

    def read():
        nonlocal peak
        while not is_over.wait(0.005):
            peak = max(peak, read_anonymous_memory())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    call(X)
    is_over.set()
    reader.join()
    return peak - before


def read_anonymous_memory():
    """Read the megabytes of this process that no file stands behind."""
    for line in STATUS.read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"{STATUS} has no line RssAnon")


def write_table(path, n_rows):
    """Write normal rows, a chunk at a time."""
    rng = np.random.default_rng(0)
    table = np.lib.format.open_memmap(path, "w+", np.float64, (n_rows, N_COLUMNS))
    for start in range(0, n_rows, CHUNK_ROWS):
        chunk = table[start : start + CHUNK_ROWS]
        chunk[:] = rng.normal(size=chunk.shape)
    table.flush()


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--gigabytes", type=float, default=4.0, help="of the memory map"
    )
    arguments = parser.parse_args()

    _report.print_header(__doc__)
    figures = {}
    n_rows = int(arguments.gigabytes * 1e9 / (8 * N_COLUMNS))
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "table.npy")
        write_table(path, n_rows)
        for name, measure, *options in (
            ("peak of a fit on the memory map", measure_peak),
            ("the same, a fifth held back to calibrate", measure_peak, 0.2),
            ("peak of a stream of its rows", measure_peak_of_stream),
        ):
            figures[name] = [
                _report.call_in_fresh_process(measure, path, *options)
                for _ in range(arguments.repeats)
            ]
    _report.print_table(figures, COMPARISONS, show=_report.format_megabytes)


if __name__ == "__main__":
    main()
