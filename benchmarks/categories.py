"""How well outliers are found where columns hold categories, beside one-hot encodings.

Tables are CSV files whose last column, `outlier`, is 1 for an outlier; columns of text
are categories. Two protocols on each: *novelty* fits on a random half of the inliers
and scores all other rows; *unsupervised* fits on all rows and scores them. Means over
`--seeds` seeds of the half and the detector, then over tables. All detectors are at
their defaults; *one-hot* is a `OneHotEncoder(handle_unknown="ignore")` in front, and
for kNN, the distance to the fifth neighbour, a `StandardScaler` of the numbers.
*Surprisal* is the sum, over the columns of text, of minus the logarithms of the
categories' frequencies, each counted once more, and of unseen ones together.

Besides, on generated tables:

- 4 columns of numbers and 6 of categories that follow from three factors with little
  noise. In fresh rows, two at a time, the categories of one column are exchanged, so
  that its frequencies stay, where neither has a probability above .01 given the
  factors of its new row: how often is the largest contribution of `explain` that of
  the changed column, and what is the area under the ROC curve of telling such rows?
- 10,000 rows of 20 columns of numbers and 10 of 10 categories each: how long does a fit
  take, beside one on 30 columns of numbers?
- 200,000 rows of 4 columns of numbers and one of 100,000 categories, each in two rows:
  the peak of a fit above the table (`memory.py`), and the size of the file (Linux).
"""

import argparse
import tempfile
from pathlib import Path

import _report
import numpy as np
import pandas as pd
from detection import PROTOCOLS, evaluate
from memory import STATUS, watch
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import skae
from skae import AutoencoderOutlierDetector

N_NEIGHBORS = 5
NUMBERS = make_column_selector(dtype_include="number")
CATEGORIES = make_column_selector(dtype_exclude="number")
N_FACTORS, N_NUMBERS, N_CATEGORICAL, N_CATEGORIES = 3, 4, 6, 5
NOISE = 0.1
MAX_PROBABILITY = 0.01  # of an exchanged category, given the factors
COMPARISONS = [
    ("20 columns of numbers, 10 of categories", "30 columns of numbers", "at most 2")
]


def encode(numbers="passthrough"):
    """Make the one-hot encoding."""
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_column_transformer((encoder, CATEGORIES), (numbers, NUMBERS))


class KNN:
    """The distance to the fifth nearest of the training rows, encoded."""

    def fit(self, X):
        """Remember the rows."""
        self._encoder = encode(make_pipeline(StandardScaler(), SimpleImputer()))
        self._neighbors = NearestNeighbors(n_neighbors=min(N_NEIGHBORS, len(X) - 1))
        self._neighbors.fit(self._encoder.fit_transform(X))
        return self

    def score_samples(self, X):
        """Minus the distance."""
        return -self._neighbors.kneighbors(self._encoder.transform(X))[0][:, -1]

    def score_training_rows(self, X):
        """Minus the distance, to other rows."""
        return -self._neighbors.kneighbors()[0][:, -1]


class Surprisal:
    """The sum of minus the logarithms of the categories' frequencies."""

    def fit(self, X):
        """Count."""
        counts = {column: X[column].value_counts() for column in CATEGORIES(X)}
        self._logs = {
            column: np.log((count + 1) / (count.sum() + len(count) + 1)).to_dict()
            for column, count in counts.items()
        }
        self._unseen = {
            column: -np.log(count.sum() + len(count) + 1)
            for column, count in counts.items()
        }
        return self

    def score_samples(self, X):
        """Minus the sum."""
        scores = np.zeros(len(X))
        for column, logs in self._logs.items():
            known = X[column].map(logs).astype(float)
            scores += known.fillna(self._unseen[column]).to_numpy()
        return scores


def make_detectors(seed):
    """Every detector by name."""
    return {
        "skae": AutoencoderOutlierDetector(
            categorical_features="from_dtype", random_state=seed
        ),
        "one-hot, skae": make_pipeline(
            encode(), AutoencoderOutlierDetector(random_state=seed)
        ),
        "one-hot, IsolationForest": make_pipeline(
            encode(), IsolationForest(random_state=seed)
        ),
        "one-hot, kNN": KNN(),
        "surprisal": Surprisal(),
    }


def load_table(path):
    """Rows as a frame, and whether they are outliers."""
    table = pd.read_csv(path)
    return table.drop(columns="outlier"), table["outlier"].to_numpy() == 1


def split(X, is_outlier, seed):
    """Training rows, test rows and test labels of both protocols."""
    inliers = np.random.default_rng(seed).permutation(np.flatnonzero(~is_outlier))
    training, rest = np.array_split(inliers, 2)
    test = np.concatenate([rest, np.flatnonzero(is_outlier)])
    return {
        "novelty": (X.iloc[training], X.iloc[test], is_outlier[test]),
        "unsupervised": (X, X, is_outlier),
    }


def measure_table(path, n_seeds):
    """Areas and precisions, of shape (n_detectors, 2 protocols, 2)."""
    X, is_outlier = load_table(path)
    figures = [
        [
            [evaluate(detector, *rows)[:2] for rows in protocols.values()]
            for detector in make_detectors(seed).values()
        ]
        for seed in range(n_seeds)
        for protocols in [split(X, is_outlier, seed)]
    ]
    return np.mean(figures, axis=0)


def measure_tables(paths, n_seeds):
    """Print a line for each table, and the means."""
    names = list(make_detectors(0))
    print(f"AUROC, AP: {' / '.join(PROTOCOLS)}; {n_seeds} seeds\n")
    print("| table | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    figures = []
    for path in paths:
        figures.append(measure_table(path, n_seeds))
        print_line(path.stem, figures[-1])
    print_line(f"**mean of {len(paths)}**", np.mean(figures, axis=0))


def print_line(name, figures):
    """Print a figure of shape (n_detectors, 2 protocols, 2) as a line of a table."""
    cells = [
        ", ".join(f"{first:.3f} / {second:.3f}" for first, second in figure.T)
        for figure in figures
    ]
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


class Relations:
    """Columns that follow from factors, drawn once."""

    def __init__(self, rng):
        self._rng = rng
        self._numbers = rng.normal(size=(N_FACTORS, N_NUMBERS))
        shape = N_CATEGORICAL, N_FACTORS, N_CATEGORIES
        self._categories = rng.normal(size=shape)

    def draw(self, n_rows):
        """Rows as a frame, and the probabilities of all categories of each."""
        factors = self._rng.normal(size=(n_rows, N_FACTORS))
        numbers = factors @ self._numbers
        numbers += self._rng.normal(scale=NOISE, size=numbers.shape)
        logits = np.einsum("nf,cfk->nck", factors, self._categories) / NOISE
        odds = np.exp(logits - logits.max(axis=2, keepdims=True))
        probabilities = odds / odds.sum(axis=2, keepdims=True)
        drawn = self._rng.uniform(size=(n_rows, N_CATEGORICAL, 1))
        last = N_CATEGORIES - 1
        codes = (probabilities.cumsum(axis=2)[..., :last] < drawn).sum(axis=2)
        X = pd.DataFrame(numbers, columns=[f"n{j}" for j in range(N_NUMBERS)])
        for j in range(N_CATEGORICAL):
            X[f"c{j}"] = np.array(list("abcde"))[codes[:, j]]
        return X, codes, probabilities


def exchange(X, codes, probabilities, rng):
    """Rows with a category exchanged with that of another row, and the columns."""
    changed, found = X.copy(), []
    for first, second in rng.permutation(len(X)).reshape(-1, 2):
        columns = [
            j
            for j in range(N_CATEGORICAL)
            if probabilities[first, j, codes[second, j]] <= MAX_PROBABILITY
            and probabilities[second, j, codes[first, j]] <= MAX_PROBABILITY
        ]
        if columns:
            j = N_NUMBERS + rng.choice(columns)
            changed.iloc[first, j], changed.iloc[second, j] = (
                X.iloc[second, j],
                X.iloc[first, j],
            )
            found += [(first, j), (second, j)]
    rows, columns = np.transpose(found)
    return rows, changed.iloc[rows], columns


def measure_contradictions(seed, n_train=2000, n_test=1000):
    """How often the changed column is named, and the area of telling such rows."""
    rng = np.random.default_rng(seed)
    relations = Relations(rng)
    X_train, *_ = relations.draw(n_train)
    X, codes, probabilities = relations.draw(n_test)
    rows, changed, columns = exchange(X, codes, probabilities, rng)
    detector = make_detectors(seed)["skae"].fit(X_train)
    named = detector.explain(changed).argmax(axis=1) == columns
    scores = detector.score_samples(pd.concat([X, changed]))
    area = roc_auc_score(np.repeat([0, 1], [len(X), len(changed)]), -scores)
    return named.mean(), area


def make_timed_tables():
    """Two tables of 10,000 rows and 30 columns, one of numbers alone."""
    numbers = pd.DataFrame(_report.make_rows(10_000, 30)).rename(columns="x{}".format)
    mixed = numbers.copy()
    for name in mixed.columns[20:]:
        mixed[name] = pd.qcut(numbers[name], 10, labels=list("abcdefghij")).astype(str)
    return {
        "30 columns of numbers": numbers,
        "20 columns of numbers, 10 of categories": mixed,
    }


def measure_many_categories(n_rows, n_categories):
    """Megabytes that a fit adds at most, and of the file; for a fresh process."""
    import tensorflow  # noqa: F401

    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(n_rows, 4)), columns=list("abcd"))
    X["id"] = [f"id{i}" for i in rng.permutation(np.arange(n_rows) % n_categories)]
    detector = make_detectors(0)["skae"]
    peak = watch(detector.fit, X)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "detector.skae"
        skae.save(detector, path)
        return peak, path.stat().st_size / 1e6


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of .csv tables")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5, help="of the timed fits")
    arguments = parser.parse_args()
    paths = sorted(arguments.data.glob("*.csv")) if arguments.data else []
    if arguments.data and not paths:
        parser.error(f"no .csv file in {arguments.data}")

    _report.print_header(__doc__, ("skae", "tensorflow", "keras", "scikit-learn"))
    if paths:
        measure_tables(paths, arguments.seeds)

    results = [measure_contradictions(seed) for seed in range(arguments.seeds)]
    named, area = np.mean(results, axis=0)
    print(f"\ncontradicting category: named {named:.3f}, AUROC {area:.3f}\n")

    tables = make_timed_tables()
    calls = {
        name: lambda X=X: make_detectors(0)["skae"].fit(X) for name, X in tables.items()
    }
    figures = _report.time_in_turns(calls, arguments.repeats)
    _report.print_table(figures, COMPARISONS)
    if STATUS.exists():
        peak, size = _report.call_in_fresh_process(
            measure_many_categories, 200_000, 100_000
        )
        print(
            f"\n100,000 categories in 200,000 rows: peak of a fit "
            f"{_report.format_megabytes(peak)}, file {size:.2f} MB"
        )


if __name__ == "__main__":
    main()
