"""How well a search by `score(X)` without labels chooses, on tables with labels.

A grid of 12 candidates (widths, masking, score method), and one of 20 (epochs and
scaling, too), is searched as `GridSearchCV` does, in three folds: fit on two thirds of
the training rows, `score` of the third. *Clean* training rows are half of the inliers;
how good a candidate is, its AUROC, is measured on the other half and the outliers.
*Contaminated* ones are all rows, outliers included, and the AUROC is that of the same
rows. Both are means over the folds. Tables are cut to 2,000 rows.

The gain is the AUROC of the chosen candidate minus the mean of the grid, and minus that
of the default. The rank correlation is that of `score` and AUROC over the candidates of
a table. All are means over tables, with standard errors.

Last, a choice between `masking` 0 and 1 on benign tumours of scikit-learn: where both
find malignant ones equally well, does the search choose what flags fewer fresh benign
rows?
"""

import argparse
import itertools
import json
import warnings
from pathlib import Path

import _report
import numpy as np
from detection import load_table, name_table
from scipy.stats import spearmanr
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.model_selection import KFold

from skae import AutoencoderOutlierDetector

MAX_ROWS = 2_000
KINDS = ("clean", "contaminated")
FOLDS = KFold(3, shuffle=True, random_state=0)
METHODS = ("neighbors", "reconstruction")
PLAIN = [
    {"hidden_layer_sizes": widths, "masking": masking}
    for widths in ((8, 2), (64, 8), (256, 32))
    for masking in (0.0, 1.0)
]
VARIED = [
    {"hidden_layer_sizes": (64, 8), "scaling": "robust"},
    {"scaling": "minmax"},
    {"epochs": 5},
    {"masking": 0.0, "epochs": 400},
]
SMALL_GRID, CANDIDATES = (
    [settings | {"score_method": name} for settings in grid for name in METHODS]
    for grid in (PLAIN, PLAIN + VARIED)
)
DEFAULT = {"hidden_layer_sizes": (256, 32), "masking": 1.0, "score_method": "neighbors"}
N_SPLITS = 10  # of the tumours
LEAST_DIFFERENCE, LARGEST_DIFFERENCE = 0.03, 0.01  # of shares flagged, of AUROC


def prepare(X, is_outlier):
    """Training rows, test rows and test labels by kind of training rows."""
    inliers = np.random.default_rng(0).permutation(np.flatnonzero(~is_outlier))
    training, rest = np.array_split(inliers, 2)
    test = np.concatenate([rest, np.flatnonzero(is_outlier)])
    labels = np.where(is_outlier, -1, 1)
    return {
        "clean": (X[training], X[test], labels[test]),
        "contaminated": (X, X, labels),
    }


def search(candidates, memory, X, X_test, y_test, seed=0):
    """Score without labels, and AUROC, of each candidate: means over the folds."""
    figures = np.empty((len(candidates), FOLDS.get_n_splits(), 2))
    for i, candidate in enumerate(candidates):
        detector = AutoencoderOutlierDetector(
            **candidate, memory=memory, random_state=seed
        )
        for fold, (training, held_out) in enumerate(FOLDS.split(X)):
            detector.fit(X[training])
            figures[i, fold] = (
                detector.score(X[held_out]),
                detector.score(X_test, y_test),
            )
    return figures.mean(axis=1)


def evaluate(figures, candidates):
    """Gain over the mean, gain over the default, rank correlation.

    Where several candidates score the same, the mean of their AUROC.
    """
    scores, areas = figures.T
    chosen = areas[scores == scores.max()].mean()
    is_flat = np.ptp(scores) == 0 or np.ptp(areas) == 0
    correlation = 0.0 if is_flat else spearmanr(scores, areas).statistic
    default = areas[candidates.index(DEFAULT)]
    return chosen - areas.mean(), chosen - default, correlation


def print_gains(results, folders):
    """Print a line for each grid, kind of training rows and folder."""
    heads = ("grid", "training rows", "tables", "over the mean", "over the default")
    lines = [(*heads, "rank correlation")]
    for grid, kind in itertools.product((CANDIDATES, SMALL_GRID), KINDS):
        places = [CANDIDATES.index(candidate) for candidate in grid]
        for folder in folders:
            gains = [
                evaluate(np.array(results[table][kind])[places], grid)
                for table in results
                if folder in ("all", table.split("/")[0])
            ]
            means = np.mean(gains, axis=0)
            errors = np.std(gains, axis=0, ddof=1) / np.sqrt(len(gains))
            cells = [
                f"{mean:+.3f} ({error:.3f})"
                for mean, error in zip(means, errors, strict=True)
            ]
            lines.append((str(len(grid)), kind, f"{folder}, {len(gains)}", *cells))
    _report.print_lines(lines)


def compare_masking(memory):
    """Print in how many splits of benign tumours the more cautious one is chosen."""
    X, y = load_breast_cancer(return_X_y=True)
    benign, malignant = X[y == 1], X[y == 0]
    n_chosen = n_splits = 0
    for seed in range(N_SPLITS):
        order = np.random.default_rng(seed).permutation(len(benign))
        training, fresh = np.split(benign[order], [2 * len(benign) // 3])
        X_test = np.concatenate([fresh, malignant])
        y_test = np.repeat([1, -1], [len(fresh), len(malignant)])
        candidates = [{"masking": 0.0}, {"masking": 1.0}]
        scores, _ = search(candidates, memory, training, X_test, y_test, seed).T
        flagged, areas = [], []
        for candidate in candidates:
            detector = AutoencoderOutlierDetector(
                **candidate, memory=memory, random_state=seed
            ).fit(training)
            flagged.append((detector.predict(fresh) == -1).mean())
            areas.append(detector.score(X_test, y_test))
        if (
            abs(np.diff(flagged)[0]) >= LEAST_DIFFERENCE
            and abs(np.diff(areas)[0]) <= LARGEST_DIFFERENCE
        ):
            n_splits += 1
            n_chosen += np.argmax(scores) == np.argmin(flagged)
    print(
        f"\nBenign tumours: of {N_SPLITS} splits, masking 0 and 1 flag shares of fresh "
        f"rows that differ by {LEAST_DIFFERENCE} or more, at AUROC within "
        f"{LARGEST_DIFFERENCE}, in {n_splits}; the one that flags fewer is chosen in "
        f"{n_chosen}."
    )


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="folders of .npz tables"
    )
    parser.add_argument(
        "--cache", help="folder for trainings, so that they are not repeated"
    )
    parser.add_argument("--save", type=Path, help="file for the figures, as JSON")
    parser.add_argument("--quick", action="store_true", help="five small tables")
    arguments = parser.parse_args()
    paths = [path for folder in arguments.data for path in folder.resolve().glob("*")]
    paths = [path for path in paths if path.suffix == ".npz"]
    paths.sort(key=lambda path: (path.stat().st_size, path))
    if not paths:
        parser.error(f"no .npz file in {', '.join(map(str, arguments.data))}")
    _report.print_header(__doc__, ("skae", "tensorflow", "keras", "scikit-learn"))
    warnings.simplefilter("ignore", UndefinedMetricWarning)
    results = {}
    for path in paths[: 5 if arguments.quick else None]:
        prepared = prepare(*load_table(path, MAX_ROWS))
        results[name_table(path)] = {
            kind: search(CANDIDATES, arguments.cache, *rows).tolist()
            for kind, rows in prepared.items()
        }
        if arguments.save:
            arguments.save.write_text(json.dumps(results))
    folders = sorted({table.split("/")[0] for table in results})
    print_gains(results, ["all", *folders] if len(folders) > 1 else folders)
    compare_masking(arguments.cache)


if __name__ == "__main__":
    main()
