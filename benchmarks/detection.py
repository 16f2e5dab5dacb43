"""What the detector finds at its defaults, beside those of scikit-learn and PyOD.

Two protocols on every table of some folders: *novelty* fits on half of the inliers and
scores the other rows; *unsupervised* fits on all rows, outliers included, and scores
the same rows, each by the others where a detector keeps rows. Tables are cut to 10,000
rows, as many outliers among them as their share says.

Means over tables of the mean over seeds; the spread is that of the seeds' means. Skae
is compared with each of the others table by table: mean difference, its standard error
(standard deviation of the differences over the root of their number) and how many
tables skae wins. Where a detector fails on a table, the error is printed and the table
left out.
"""

import argparse
import inspect
import json
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import _report
import numpy as np
from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from skae import AutoencoderOutlierDetector

MAX_ROWS = 10_000
QUICK_TABLES = 5  # the smallest
QUICK_ROWS = 500
N_NEIGHBORS = 5
N_DRAWN_ROWS = 1_000
PROTOCOLS = ("novelty", "unsupervised")
OURS = "skae"
# Those that learn without labels, and neither combine others nor take minutes or
# gigabytes where a table has 10,000 rows.
PYOD = {
    "AutoEncoder": "auto_encoder",
    "VAE": "vae",
    "LUNAR": "lunar",
    "KDE": "kde",
    "ABOD": "abod",
    "ALAD": "alad",
    "CBLOF": "cblof",
    "COPOD": "copod",
    "DIF": "dif",
    "ECOD": "ecod",
    "GMM": "gmm",
    "HBOS": "hbos",
    "HDBSCAN": "hdbscan",
    "IForest": "iforest",
    "INNE": "inne",
    "KNN": "knn",
    "LODA": "loda",
    "LOF": "lof",
    "MCD": "mcd",
    "MO_GAAL": "mo_gaal",
    "OCSVM": "ocsvm",
    "PCA": "pca",
    "QMCD": "qmcd",
    "SO_GAAL": "so_gaal",
    "Sampling": "sampling",
}
# What is measured unless --only asks for others.
CHOSEN = (
    OURS,
    "IsolationForest",
    "LocalOutlierFactor",
    "OneClassSVM",
    "EllipticEnvelope",
    "kNN, all rows",
    "kNN, 1,000 rows",
    "PyOD AutoEncoder",
    "PyOD VAE",
    "PyOD LUNAR",
    "PyOD KDE",
)
DETERMINISTIC = ("LocalOutlierFactor", "OneClassSVM", "kNN, all rows")


class KNN:
    """The distance to the fifth nearest of the training rows, or of some of them."""

    def __init__(self, n_rows=None, seed=None):
        self._n_rows, self._seed = n_rows, seed

    def fit(self, X):
        """Remember the rows, on scaled columns."""
        self._scaler = StandardScaler().fit(X)
        rng = np.random.default_rng(self._seed)
        self._drawn = rng.permutation(len(X))[: self._n_rows]
        n_neighbors = min(N_NEIGHBORS, len(self._drawn) - 1)
        self._neighbors = NearestNeighbors(n_neighbors=n_neighbors)
        self._neighbors.fit(self._scaler.transform(X[self._drawn]))
        return self

    def score_samples(self, X):
        """Minus the distance."""
        return -self._neighbors.kneighbors(self._scaler.transform(X))[0][:, -1]

    def score_training_rows(self, X):
        """Minus the distance, to other rows."""
        scores = self.score_samples(X)
        scores[self._drawn] = -self._neighbors.kneighbors()[0][:, -1]
        return scores


class Scaled:
    """A detector of scikit-learn on scaled columns."""

    def __init__(self, detector):
        self._detector = detector

    def fit(self, X):
        """Fit both."""
        self._scaler = StandardScaler().fit(X)
        self._detector.fit(self._scaler.transform(X))
        return self

    def score_samples(self, X):
        """Scores of the scaled rows."""
        return self._detector.score_samples(self._scaler.transform(X))

    def score_training_rows(self, X):
        """Take what LocalOutlierFactor says of each beside the others."""
        if isinstance(self._detector, LocalOutlierFactor):
            return self._detector.negative_outlier_factor_
        return self.score_samples(X)


class PyOD:
    """A detector of PyOD on scaled columns, with the sign of scikit-learn."""

    def __init__(self, name, seed):
        self._name, self._seed = name, seed

    def fit(self, X):
        """Fit on float32 rows, as PyOD's networks do."""
        kind = getattr(import_module(f"pyod.models.{PYOD[self._name]}"), self._name)
        wanted = {"random_state": self._seed, "verbose": 0}
        accepted = inspect.signature(kind).parameters
        self._detector = kind(**{k: v for k, v in wanted.items() if k in accepted})
        self._scaler = StandardScaler().fit(X)
        self._detector.fit(self._scale(X))
        return self

    def score_samples(self, X):
        """Minus PyOD's score."""
        return -self._detector.decision_function(self._scale(X))

    def score_training_rows(self, X):
        """Minus the scores that PyOD keeps of them."""
        return -self._detector.decision_scores_

    def _scale(self, X):
        return self._scaler.transform(X).astype(np.float32)


def make_detectors(seed):
    """Every detector at its defaults, by name."""
    ours = AutoencoderOutlierDetector(random_state=seed)
    detectors = {
        OURS: ours,
        "skae, 3 networks": AutoencoderOutlierDetector(
            n_estimators=3, random_state=seed
        ),
        "skae, reconstruction": AutoencoderOutlierDetector(
            score_method="reconstruction", random_state=seed
        ),
        "skae, plain": AutoencoderOutlierDetector(
            masking=0.0, score_method="reconstruction", random_state=seed
        ),
        "IsolationForest": IsolationForest(random_state=seed),
        "LocalOutlierFactor": Scaled(LocalOutlierFactor(novelty=True)),
        "OneClassSVM": Scaled(OneClassSVM()),
        "EllipticEnvelope": EllipticEnvelope(random_state=seed),
        "kNN, all rows": KNN(),
        "kNN, 1,000 rows": KNN(N_DRAWN_ROWS, seed),
    }
    if find_spec("pyod"):
        detectors |= {f"PyOD {name}": PyOD(name, seed) for name in PYOD}
    return detectors


def choose_names(only):
    """Name the installed detectors that are asked for, or those of `CHOSEN`."""
    names = list(make_detectors(0))
    if only is None:
        return [name for name in names if name in CHOSEN]
    beginnings = tuple(word for word in only if word not in names)
    return [name for name in names if name in only or name.startswith(beginnings)]


def count_seeds(name, n_seeds):
    """One where nothing is drawn, and for PyOD, whose detectors take long."""
    return 1 if name in DETERMINISTIC or name.startswith("PyOD") else n_seeds


def load_table(path, max_rows):
    """Rows and whether they are outliers, cut to `max_rows` with a constant seed."""
    with np.load(path) as arrays:
        X, is_outlier = arrays["X"].astype(float), arrays["y"] == 1
    if len(X) > max_rows:
        rng = np.random.default_rng(0)
        outliers = rng.permutation(np.flatnonzero(is_outlier))
        inliers = rng.permutation(np.flatnonzero(~is_outlier))
        n_outliers = max(1, round(max_rows * len(outliers) / len(X)))
        rows = np.concatenate([outliers[:n_outliers], inliers[: max_rows - n_outliers]])
        X, is_outlier = X[rows], is_outlier[rows]
    return X, is_outlier


def split(X, is_outlier):
    """Training rows, test rows and test labels of both protocols."""
    inliers = np.random.default_rng(0).permutation(np.flatnonzero(~is_outlier))
    training, rest = np.array_split(inliers, 2)
    test = np.concatenate([rest, np.flatnonzero(is_outlier)])
    return {
        "novelty": (X[training], X[test], is_outlier[test]),
        "unsupervised": (X, X, is_outlier),
    }


def evaluate(detector, X_train, X_test, is_outlier):
    """Area under the ROC curve, average precision, seconds."""
    start = time.perf_counter()
    detector.fit(X_train)
    if X_test is X_train and hasattr(detector, "score_training_rows"):
        scores = detector.score_training_rows(X_test)
    else:
        scores = detector.score_samples(X_test)
    seconds = time.perf_counter() - start
    return [
        float(roc_auc_score(is_outlier, -scores)),
        float(average_precision_score(is_outlier, -scores)),
        seconds,
    ]


class Results:
    """Figures by detector, table, protocol and seed, kept in a file as they come.

    The file has a line of JSON for each; files of several runs can be joined.
    """

    def __init__(self, path):
        self._path = path
        self._figures = {}
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                key, figures = json.loads(line)
                self._figures[tuple(key)] = figures

    def __contains__(self, key):
        return key in self._figures

    def add(self, key, figures):
        """Keep figures, None where a detector failed."""
        self._figures[key] = figures
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps([key, figures]) + "\n")

    def get(self, *key):
        """Return the figures, nan where there are none."""
        figures = self._figures.get(key)
        return [np.nan] * 3 if figures is None else figures


def measure(path, names, n_seeds, max_rows, results):
    """Fit and score one table with everything that has no result yet."""
    table = name_table(path)
    tasks = [
        (name, table, protocol, seed)
        for name in names
        for protocol in PROTOCOLS
        for seed in range(count_seeds(name, n_seeds))
    ]
    tasks = [task for task in tasks if task not in results]
    if not tasks:
        return
    protocols = split(*load_table(path, max_rows))
    for task in tasks:
        name, _, protocol, seed = task
        try:
            figures = evaluate(make_detectors(seed)[name], *protocols[protocol])
        except Exception as error:  # some of PyOD's, on some tables: any may come
            print(f"{name} on {table}, {protocol}: {error!r}", flush=True)
            figures = None
        results.add(task, figures)


def name_table(path):
    """Folder and name."""
    return f"{path.parent.name}/{path.stem}"


def print_tables(names, tables, figures):
    """Print AUROC and average precision of each detector on each table."""
    for i, table in enumerate(tables):
        for j, protocol in enumerate(PROTOCOLS):
            for name, figure in zip(names, figures[:, i, j], strict=True):
                auroc, precision = average(figure, axis=0)[:2]
                print(f"{table:45} {protocol:13} {name:22} {auroc:.4f} {precision:.4f}")


def average(values, axis):
    """Take the mean of what is not nan; nan where all are."""
    n_values = (~np.isnan(values)).sum(axis=axis)
    sums = np.where(n_values > 0, np.nansum(values, axis=axis), np.nan)
    return sums / np.maximum(n_values, 1)


def print_means(title, names, figures):
    """Print a line for each detector.

    Parameters
    ----------
    title : str
        Which tables.
    names : list of str
    figures : ndarray of shape (n_detectors, n_tables, 2, n_seeds, 3)
        By protocol and seed: area, precision, seconds; nan where there are none.
    """
    print(f"\n{title}: means, novelty / unsupervised\n")
    print(
        "| detector | AUROC | spread over seeds | average precision | seconds a fit "
        "| tables |"
    )
    print("|---|---|---|---|---|---|")
    for name, figure in zip(names, figures, strict=True):
        if np.isnan(figure).all():
            continue
        by_table = average(figure, axis=2)
        auroc, precision, seconds = average(by_table, axis=0).T
        counts = (~np.isnan(by_table[..., 0])).sum(axis=0)
        cells = [
            "{:.3f} / {:.3f}".format(*auroc),
            "{:.3f} / {:.3f}".format(*measure_spread(figure)),
            "{:.3f} / {:.3f}".format(*precision),
            "{:.2f} / {:.2f}".format(*seconds),
            "{} / {}".format(*counts),
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")


def measure_spread(figure):
    """Take the largest mean AUROC minus the least, of all seeds, by protocol."""
    by_seed = average(figure[..., 0], axis=0)
    means = average(by_seed, axis=1)[:, np.newaxis]
    return np.ptp(np.where(np.isnan(by_seed), means, by_seed), axis=1)


def print_differences(title, names, figures):
    """Print how far skae is ahead of each of the others; arrays as in `print_means`."""
    print(f"\n{title}: skae minus the other, mean (standard error), tables won\n")
    print("| the other | " + " | ".join(f"AUROC {name}" for name in PROTOCOLS), end="")
    print(" | " + " | ".join(f"AP {name}" for name in PROTOCOLS) + " |")
    print("|---|---|---|---|---|")
    by_table = average(figures, axis=3)
    for name, figure in zip(names, by_table, strict=True):
        if name != OURS and not np.isnan(figure).all():
            differences = by_table[names.index(OURS)] - figure
            cells = [
                describe_differences(differences[:, protocol, kind])
                for kind in range(2)
                for protocol in range(len(PROTOCOLS))
            ]
            print(f"| {name} | " + " | ".join(cells) + " |")


def describe_differences(differences):
    """Mean, standard error and how many are positive, of those that there are."""
    differences = differences[~np.isnan(differences)]
    n_tables = len(differences)
    if n_tables < 2:
        return ""
    error = differences.std(ddof=1) / np.sqrt(n_tables)
    n_won = np.count_nonzero(differences > 0)
    return f"{differences.mean():+.3f} ({error:.3f}) {n_won} of {n_tables}"


def report(names, tables, n_seeds, results, by_table):
    """Print everything, over all tables and over those of each folder."""
    figures = np.array(
        [
            [
                [
                    [results.get(name, table, protocol, k) for k in range(n_seeds)]
                    for protocol in PROTOCOLS
                ]
                for table in tables
            ]
            for name in names
        ]
    )
    if by_table:
        print_tables(names, tables, figures)
    folders = np.array([table.split("/")[0] for table in tables])
    parts = {folder: folders == folder for folder in sorted(set(folders))}
    if len(parts) > 1:
        parts = {"all": np.ones(len(tables), dtype=bool)} | parts
    for part, belongs in parts.items():
        title = f"{part}, {np.count_nonzero(belongs)} tables"
        print_means(title, names, figures[:, belongs])
        if OURS in names and len(names) > 1:
            print_differences(title, names, figures[:, belongs])


def parse_arguments():
    """Options of the command line, and the tables, smallest first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="folders of .npz tables"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--by-table", action="store_true", help="a line for each table")
    parser.add_argument("--quick", action="store_true", help="few small tables, a seed")
    parser.add_argument(
        "--only", nargs="+", help="names of detectors, or how they begin"
    )
    parser.add_argument(
        "--save",
        type=Path,
        help="file for the results; what it holds is not measured again",
    )
    parser.add_argument(
        "--no-fits", action="store_true", help="only print what --save holds"
    )
    arguments = parser.parse_args()
    paths = [
        path for folder in arguments.data for path in folder.resolve().glob("*.npz")
    ]
    if not paths:
        parser.error(f"no .npz file in {', '.join(map(str, arguments.data))}")
    if arguments.quick and arguments.save:
        parser.error("--quick cuts tables; its results are not saved")
    return arguments, sorted(paths, key=lambda path: (path.stat().st_size, path))


def main():
    """Measure and print."""
    arguments, paths = parse_arguments()
    max_rows, n_seeds = MAX_ROWS, arguments.seeds
    if arguments.quick:
        max_rows, n_seeds, paths = QUICK_ROWS, 1, paths[:QUICK_TABLES]
    _report.print_header(
        __doc__, ("skae", "tensorflow", "keras", "scikit-learn", "pyod", "torch")
    )
    names = choose_names(arguments.only)
    results = Results(arguments.save)
    if not arguments.no_fits:
        for path in paths:
            measure(path, names, n_seeds, max_rows, results)
    tables = [name_table(path) for path in paths]
    print(f"Seeds: {n_seeds}; one where nothing is drawn, and for PyOD")
    report(names, tables, n_seeds, results, arguments.by_table)


if __name__ == "__main__":
    main()
