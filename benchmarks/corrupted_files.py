"""What becomes of corrupted files in `skae.load`, and what memory they take.

Five files that `skae.save` wrote, by turns, two of them of detectors with columns of
categories, two of detectors that learn from a stream and one of a detector that
calibrates by folds, are cut off, flipped, edited
and rebuilt in random ways, in most of them with a checksum that is right again. Each
must end in a ValueError, or in a detector that works: that scores, explains, is saved
and loaded again. *Wrong* counts everything else; its first cases are printed, and the
exit status is 1. *Memory* is the most that loading one file took beyond twice its
length.
"""

import argparse
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import _report
import numpy as np

import skae

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests" / "files"))
import corruption  # noqa: E402

MAX_SHOWN = 10


def import_keras_by_loading(path, content):
    """Load an activation that Keras must know, so that its import is not counted."""
    header, arrays = corruption.split(content)
    header["values"]["_architecture.activation"] = "softmax"
    path.write_bytes(corruption.join(header, arrays))
    skae.load(path)


def add_stream(path):
    """Write the detector of a file again, after it has learnt from a few more rows."""
    detector = skae.load(path)
    rows = corruption.make_rows(detector, 20).iloc[:19]
    with warnings.catch_warnings(action="ignore"):  # of a stream of few rows
        detector.partial_fit(rows)
    skae.save(detector, path)


def add_folds(path):
    """Write a detector that calibrates by three folds."""
    rows = np.random.default_rng(0).normal(size=(30, 5))
    detector = skae.AutoencoderOutlierDetector((4, 2), epochs=2, calibration_cv=3)
    skae.save(detector.fit(rows), path)


def corrupt_and_load(kind, n_files, seed, contents, path):
    """Count the files of a kind that were refused, that work, and what else."""
    rng = np.random.default_rng(seed)
    n_refused, wrong, memory = 0, [], 0
    for i in range(n_files):
        corrupted = corruption.KINDS[kind](rng, contents[i % len(contents)])
        path.write_bytes(corrupted)
        try:
            refused, peak = corruption.load_and_use(path)
        except Exception:
            wrong.append(f"{kind}, file {i}:\n{traceback.format_exc(limit=-3)}")
        else:
            n_refused += refused
            memory = max(memory, peak - 2 * len(corrupted))
    return n_refused, wrong, memory


def main():
    """Corrupt, load and print; the exit status is 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    _report.print_header(__doc__, ("skae", "numpy", "scikit-learn"))
    fixtures = ROOT / "tests" / "files" / "fixtures"
    contents = [
        (fixtures / f"detector_format_{file_format}.skae").read_bytes()
        for file_format in (3, 4)
    ]
    lines = [("", "files", "refused", "work", "wrong", "memory")]
    all_wrong = []
    kinds = list(corruption.KINDS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corrupted.skae"
        import_keras_by_loading(path, contents[0])
        for content in contents[:2]:
            path.write_bytes(content)
            add_stream(path)
            contents.append(path.read_bytes())
        add_folds(path)
        contents.append(path.read_bytes())
        for i, kind in enumerate(kinds):
            n_files = arguments.files * (i + 1) // len(kinds)
            n_files -= arguments.files * i // len(kinds)
            n_refused, wrong, memory = corrupt_and_load(
                kind, n_files, [arguments.seed, i], contents, path
            )
            n_working = n_files - n_refused - len(wrong)
            figures = n_files, n_refused, n_working, len(wrong)
            lines.append((kind, *map(str, figures), f"{memory / 1e6:.2f} MB"))
            all_wrong += wrong
    _report.print_lines(lines)
    for case in all_wrong[:MAX_SHOWN]:
        print(f"\n{case}")
    sys.exit(bool(all_wrong))


if __name__ == "__main__":
    main()
