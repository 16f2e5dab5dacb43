"""How many rows `contamination="auto"` flags, on clean and on contaminated tables.

Both protocols of detection.py. *Novelty*: the shares of fresh inliers and of outliers
that are flagged. *Unsupervised*: the F1 of the flagged training rows. Beside them the
figures of `contamination=0.1`, for which the same fit is given the other threshold.
Means over seeds by table.
"""

import argparse
from pathlib import Path

import _report
import numpy as np
from detection import MAX_ROWS, load_table, split
from sklearn.metrics import f1_score

from skae import AutoencoderOutlierDetector


def evaluate(path, seed):
    """Shares of fresh inliers and of outliers, F1; each by "auto" and by a tenth."""
    protocols = split(*load_table(path, MAX_ROWS))
    detector = AutoencoderOutlierDetector(random_state=seed)

    figures = []
    for protocol, (X_train, X_test, is_outlier) in protocols.items():
        train_scores = detector.fit(X_train).score_samples(X_train)
        scores = detector.score_samples(X_test)
        offsets = detector.offset_, np.quantile(train_scores, 0.1)
        flagged = [scores < offset for offset in offsets]
        if protocol == "novelty":
            for kind in (~is_outlier, is_outlier):
                figures += [is_flagged[kind].mean() for is_flagged in flagged]
        else:
            figures += [f1_score(is_outlier, is_flagged) for is_flagged in flagged]
    return figures


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of .npz tables"
    )
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    paths = sorted(arguments.data.glob("*.npz"))
    if not paths:
        parser.error(f"no .npz file in {arguments.data}")

    _report.print_header(__doc__, ("skae", "tensorflow", "keras", "scikit-learn"))
    print(
        "| table | fresh inliers: auto | a tenth | outliers: auto | a tenth "
        "| F1: auto | a tenth |"
    )
    print("|---|---|---|---|---|---|---|")
    figures = []
    for path in paths:
        seeds = range(arguments.seeds)
        figures.append(np.mean([evaluate(path, seed) for seed in seeds], axis=0))
        columns = " | ".join(f"{figure:.3f}" for figure in figures[-1])
        print(f"| {path.stem} | {columns} |", flush=True)
    for name, average in (("median", np.median), ("mean", np.mean)):
        columns = " | ".join(f"{figure:.3f}" for figure in average(figures, axis=0))
        print(f"| {name} | {columns} |")
    print("\nWanted: fresh inliers, median, at most 0.05; F1, mean, auto not below.")


if __name__ == "__main__":
    main()
