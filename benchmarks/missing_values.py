"""How well outliers are found when a fifth of the entries is missing.

The novelty protocol of detection.py on every table of a folder: fit on half of the
inliers, score the other rows. In the second round of each detector, entries of all
rows, drawn at random by a constant seed, are removed. skae takes the rows as they are;
in front of IsolationForest stands a mean imputation. Area under the ROC curve: means
over tables of the mean over seeds.
"""

import argparse
from pathlib import Path

import _report
import numpy as np
from detection import MAX_ROWS, evaluate, load_table, split
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

from skae import AutoencoderOutlierDetector


def make_detectors(seed):
    """Every detector at its defaults, by name."""
    return {
        "skae": AutoencoderOutlierDetector(random_state=seed),
        "SimpleImputer, skae": make_pipeline(
            SimpleImputer(), AutoencoderOutlierDetector(random_state=seed)
        ),
        "SimpleImputer, IsolationForest": make_pipeline(
            SimpleImputer(), IsolationForest(random_state=seed)
        ),
    }


def remove(X, share):
    """Take a share of the entries away; each row keeps at least one."""
    rng = np.random.default_rng(0)
    is_missing = rng.uniform(size=X.shape) < share
    kept = rng.integers(X.shape[1], size=len(X))
    is_missing[np.arange(len(X)), kept] = False
    return np.where(is_missing, np.nan, X)


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of .npz tables"
    )
    parser.add_argument("--share", type=float, default=0.2, help="of missing entries")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max-rows", type=int, default=MAX_ROWS, help="of a table")
    arguments = parser.parse_args()
    paths = sorted(arguments.data.glob("*.npz"))
    if not paths:
        parser.error(f"no .npz file in {arguments.data}")

    _report.print_header(__doc__, ("skae", "tensorflow", "keras", "scikit-learn"))
    names = list(make_detectors(0))
    # (table, detector, full or with missing entries, seed)
    figures = np.empty((len(paths), len(names), 2, arguments.seeds))
    print(f"table, then full and with missing entries: {', '.join(names)}\n")
    for table, path in enumerate(paths):
        X, is_outlier = load_table(path, arguments.max_rows)
        for i, rows in enumerate((X, remove(X, arguments.share))):
            train, test, y = split(rows, is_outlier)["novelty"]
            for j, name in enumerate(names):
                for seed in range(arguments.seeds):
                    detector = make_detectors(seed)[name]
                    figures[table, j, i, seed] = evaluate(detector, train, test, y)[0]
        means = figures[table].mean(axis=-1).ravel()
        print(f"{path.stem:20}", *(f"{mean:.3f}" for mean in means), flush=True)

    print(f"\nAUROC, {len(paths)} tables, {arguments.seeds} seeds\n")
    rows = [
        ("detector", "full", f"{arguments.share:.0%} missing", "lost", "over seeds")
    ]
    for name, figure in zip(names, np.moveaxis(figures, 1, 0), strict=True):
        full, holed = figure.mean(axis=(0, 2))
        spread = np.ptp(figure[:, 1].mean(axis=0))
        cells = (f"{value:.4f}" for value in (full, holed, full - holed, spread))
        rows.append((name, *cells))
    _report.print_lines(rows)


if __name__ == "__main__":
    main()
