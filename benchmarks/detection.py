"""What the detector finds at its defaults, beside those of scikit-learn and PyOD.

Two protocols on every table of a folder: *novelty* fits on half of the inliers and
scores the other rows; *unsupervised* fits on all rows, outliers included, and scores
the same rows. Tables are cut to 10,000 rows, as many outliers among them as their share
says. Means over tables of the mean over seeds; the spread is that of the seeds' means.
Where a detector fails on a table, the error is printed and the table left out.
"""

import argparse
import inspect
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
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from skae import AutoencoderOutlierDetector

MAX_ROWS = 10_000
QUICK_TABLES = 5  # the smallest
QUICK_ROWS = 500
N_NEIGHBORS = 5
# Those that learn without labels, and neither combine others nor take minutes or
# gigabytes where a table has 10,000 rows.
PYOD = {
    "AutoEncoder": "auto_encoder",
    "VAE": "vae",
    "DIF": "dif",
    "LUNAR": "lunar",
    "ALAD": "alad",
    "ABOD": "abod",
    "CBLOF": "cblof",
    "COPOD": "copod",
    "ECOD": "ecod",
    "GMM": "gmm",
    "HBOS": "hbos",
    "HDBSCAN": "hdbscan",
    "IForest": "iforest",
    "INNE": "inne",
    "KDE": "kde",
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
DETERMINISTIC = ("LocalOutlierFactor", "OneClassSVM", "kNN distance")  # one seed does


class KNNDistance:
    """The distance to the fifth nearest of the training rows, on scaled columns."""

    def fit(self, X):
        """Remember the rows."""
        self._scaler = StandardScaler().fit(X)
        self._n_training_rows = len(X)
        self._neighbors = NearestNeighbors(n_neighbors=min(N_NEIGHBORS, len(X) - 1))
        self._neighbors.fit(self._scaler.transform(X))
        return self

    def score_samples(self, X):
        """Minus the distance."""
        return -self._neighbors.kneighbors(self._scaler.transform(X))[0][:, -1]


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

    def _scale(self, X):
        return self._scaler.transform(X).astype(np.float32)


def make_detectors(seed):
    """Every detector at its defaults, by name."""
    detectors = {
        "skae": AutoencoderOutlierDetector(random_state=seed),
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
        "LocalOutlierFactor": make_pipeline(
            StandardScaler(), LocalOutlierFactor(novelty=True)
        ),
        "OneClassSVM": make_pipeline(StandardScaler(), OneClassSVM()),
        "EllipticEnvelope": EllipticEnvelope(random_state=seed),
        "kNN distance": KNNDistance(),
    }
    if find_spec("pyod"):
        detectors |= {f"PyOD {name}": PyOD(name, seed) for name in PYOD}
    return detectors


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
    anomaly = -detector.fit(X_train).score_samples(X_test)
    seconds = time.perf_counter() - start
    return (
        roc_auc_score(is_outlier, anomaly),
        average_precision_score(is_outlier, anomaly),
        seconds,
    )


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of .npz tables"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--by-table", action="store_true", help="a line for each table")
    parser.add_argument("--quick", action="store_true", help="few small tables, a seed")
    parser.add_argument("--only", help="detectors whose names start so")
    arguments = parser.parse_args()
    max_rows, n_seeds = MAX_ROWS, arguments.seeds
    paths = sorted(arguments.data.glob("*.npz"))
    if not paths:
        parser.error(f"no .npz file in {arguments.data}")
    if arguments.quick:
        max_rows, n_seeds = QUICK_ROWS, 1
        paths = sorted(paths, key=lambda path: path.stat().st_size)[:QUICK_TABLES]

    _report.print_header(
        __doc__, ("skae", "tensorflow", "keras", "scikit-learn", "pyod", "torch")
    )
    names = [
        name
        for name in make_detectors(0)
        if arguments.only is None or name.startswith(arguments.only)
    ]
    # (detector, protocol, table, seed, figure)
    figures = np.empty((len(names), 2, len(paths), n_seeds, 3))
    for table, path in enumerate(paths):
        protocols = split(*load_table(path, max_rows))
        for i, name in enumerate(names):
            for j, (protocol, rows) in enumerate(protocols.items()):
                for seed in range(n_seeds):
                    if seed > 0 and name in DETERMINISTIC:
                        figures[i, j, table, seed] = figures[i, j, table, 0]
                        continue
                    detector = make_detectors(seed)[name]
                    try:
                        figures[i, j, table, seed] = evaluate(detector, *rows)
                    except ValueError as error:  # some of PyOD's, on some tables
                        print(f"{name} on {path.stem}, {protocol}: {error}", flush=True)
                        figures[i, j, table, seed] = np.nan
                if arguments.by_table:
                    auroc, precision, _ = figures[i, j, table].mean(axis=0)
                    print(
                        f"{path.stem:20} {protocol:13} {name:22} "
                        f"{auroc:.4f} {precision:.4f}",
                        flush=True,
                    )

    print(f"\n{len(paths)} tables, {n_seeds} seeds; novelty / unsupervised\n")
    print(
        "| detector | AUROC | spread over seeds | average precision | seconds a fit |"
    )
    print("|---|---|---|---|---|")
    for name, figure in zip(names, figures, strict=True):
        auroc, precision, seconds = np.moveaxis(np.nanmean(figure, (1, 2)), -1, 0)
        by_seed = np.ptp(np.nanmean(figure[..., 0], axis=1), axis=1)
        columns = [
            f"{auroc[0]:.4f} / {auroc[1]:.4f}",
            f"{by_seed[0]:.4f} / {by_seed[1]:.4f}",
            f"{precision[0]:.4f} / {precision[1]:.4f}",
            f"{seconds[0]:.2f} / {seconds[1]:.2f}",
        ]
        print(f"| {name} | " + " | ".join(columns) + " |")


if __name__ == "__main__":
    main()
