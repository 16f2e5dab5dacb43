"""How much each parameter matters: one at a time, all others at their defaults.

The protocols are those of `detection.py`: *novelty* fits on half of the inliers and
scores the other rows, *unsupervised* fits on all rows and scores the same. Tables are
those of 300 to 2,000 rows.

Each line is a value of a parameter: the AUROC minus that of the default, its mean over
the tables, the standard error (standard deviation of the differences over the root of
their number) and the median, in both protocols; the share of fresh inliers flagged at
``contamination=0.05``, in novelty, the mean of the tables; and the processor time of a
fit over the default's, the sum of the tables.
"""

import argparse
import time
import warnings
from pathlib import Path

import _report
import numpy as np
from detection import PROTOCOLS, Results, load_table, name_table, split
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score

from skae import AutoencoderOutlierDetector

LEAST_ROWS, MOST_ROWS = 300, 2_000
QUICK_TABLES = 3
VALUES = {
    "hidden_layer_sizes": [(16, 2), (64, 8), (128, 64, 32), (256, 8), (512, 64)],
    "masking": [0.0, 0.25, 0.5, 0.75],
    "score_method": ["reconstruction"],
    "epochs": [10, 50, 200, 1000],
    "batch_size": [32, 64, 128],
    "learning_rate": [0.0006, 0.002, 0.02],
    "learning_rate_schedule": ["constant"],
    "activation": ["tanh", "elu"],
    "scaling": ["robust", "minmax"],
    "loss": ["mean_absolute_error"],
    "early_stopping": [True],
    "n_estimators": [3],
    "calibration_fraction": [0.2, 0.4],
    "calibration_cv": [5],
}
DEFAULT = ("default", "")


def list_settings():
    """Name the default and each value of each parameter, with what to set."""
    settings = {DEFAULT: {}}
    for name, values in VALUES.items():
        settings |= {(name, repr(value)): {name: value} for value in values}
    return settings


def evaluate(parameters, seed, X_train, X_test, is_outlier):
    """Return the area under the ROC curve, the share of inliers flagged, seconds."""
    detector = AutoencoderOutlierDetector(
        contamination=0.05, random_state=seed, **parameters
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of rows that share a score
        warnings.simplefilter("ignore", ConvergenceWarning)
        clone(detector).set_params(epochs=1).fit(X_train)  # compiles
        start = time.process_time()  # which neighbours on the machine do not lengthen
        detector.fit(X_train)
        seconds = time.process_time() - start
    scores = detector.score_samples(X_test)
    flagged = np.mean(scores[~is_outlier] < detector.offset_)
    return [float(roc_auc_score(is_outlier, -scores)), float(flagged), seconds]


def measure(path, n_seeds, results):
    """Fit and score one table with all that has no result yet."""
    protocols = split(*load_table(path, MOST_ROWS))
    for seed in range(n_seeds):
        for (name, value), parameters in list_settings().items():
            for protocol in PROTOCOLS:
                key = (name, value, name_table(path), protocol, seed)
                if key not in results:
                    figures = evaluate(parameters, seed, *protocols[protocol])
                    results.add(key, figures)


def report(tables, n_seeds, results):
    """Print a line for each value."""
    figures = {
        setting: np.array(
            [
                [
                    [results.get(*setting, table, protocol, k) for k in range(n_seeds)]
                    for protocol in PROTOCOLS
                ]
                for table in tables
            ]
        ).mean(axis=2)
        for setting in list_settings()
    }
    default = figures[DEFAULT]
    areas = default[..., 0].mean(axis=0)
    print("\nAUROC of the default: {:.3f} novelty, {:.3f} unsupervised".format(*areas))
    print("\n| parameter | value | novelty | unsupervised | flagged | time |")
    print("|---|---|---|---|---|---|")
    for (name, value), figure in figures.items():
        cells = [f"`{name}`" if value else name, f"`{value}`" if value else ""]
        cells += [describe(figure[:, k, 0] - default[:, k, 0]) for k in range(2)]
        cells.append(f"{figure[:, 0, 1].mean():.3f}")
        cells.append(f"{figure[..., 2].sum() / default[..., 2].sum():.1f}")
        print("| " + " | ".join(cells) + " |")


def describe(differences):
    """Give mean, standard error and median."""
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    return f"{differences.mean():+.3f} ({error:.3f}) {np.median(differences):+.3f}"


def count_rows(path):
    """Count the rows of a table."""
    with np.load(path) as arrays:
        return len(arrays["X"])


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="folders of .npz tables"
    )
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="three tables")
    parser.add_argument("--save", type=Path, help="file for the results, read again")
    arguments = parser.parse_args()
    paths = [
        path
        for folder in arguments.data
        for path in sorted(folder.resolve().glob("*.npz"))
        if LEAST_ROWS <= count_rows(path) <= MOST_ROWS
    ]
    if not paths:
        parser.error(f"no table of {LEAST_ROWS} to {MOST_ROWS} rows")
    paths = paths[: QUICK_TABLES if arguments.quick else None]
    _report.print_header(__doc__, ("skae", "tensorflow", "keras", "scikit-learn"))
    results = Results(arguments.save)
    for path in paths:
        measure(path, arguments.seeds, results)
    print(f"{len(paths)} tables: " + ", ".join(name_table(path) for path in paths))
    report([name_table(path) for path in paths], arguments.seeds, results)


if __name__ == "__main__":
    main()
