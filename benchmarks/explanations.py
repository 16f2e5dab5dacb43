"""How often the explanation names the column that was changed.

Half of the inliers of each table are fitted; in each of at most 500 of the others, one
value is changed:

- first kind: to 6 standard deviations above or below the median of a column that is not
  constant;
- second kind: in a column that the others predict (a linear regression of it on them
  has an R2 of at least .5 on rows that it was not fitted on), to the 5 % quantile of
  the column if the value was above the median, otherwise to the 95 % quantile. The
  value is a usual one; it only contradicts the others.

The share of rows in which the largest contribution is that of the changed column, for
`explain` and for the plain absolute residual of each column in scaled units, at the
defaults; and the share in which the two largest are those of two columns, both changed
by the first kind. Means over `--seeds` seeds of the split, the changes and the
detector. Tables are those of a folder and three of scikit-learn, cut to 10,000 inliers.
"""

import argparse
import time
from pathlib import Path

import _report
import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.linear_model import LinearRegression

from skae import AutoencoderOutlierDetector

MAX_ROWS = 10_000
MAX_CHANGED_ROWS = 500
QUICK_TABLES = 5  # the smallest
MIN_R2 = 0.5
TARGETS = {"first": 0.95, "second": 0.75, "two of the first": None}


def load_inliers(data):
    """Rows of normal kind by name of the table."""
    X, y = load_breast_cancer(return_X_y=True)
    tables = {
        "breast_cancer": X[y == 1],
        "digits": load_digits().data,
        "wine": load_wine().data,
    }
    for path in sorted(data.glob("*.npz")) if data else []:
        with np.load(path) as arrays:
            tables[path.stem] = arrays["X"][arrays["y"] == 0].astype(float)
    rng = np.random.default_rng(0)
    return {name: rng.permutation(X)[:MAX_ROWS] for name, X in tables.items()}


def find_predicted_columns(X_train, X_test):
    """Columns in which a linear regression on the others has an R2 of at least .5."""
    predicted = []
    for column in np.flatnonzero(
        (np.ptp(X_train, axis=0) > 0) & (X_test.std(axis=0) > 0)
    ):
        regression = LinearRegression()
        regression.fit(np.delete(X_train, column, axis=1), X_train[:, column])
        others = np.delete(X_test, column, axis=1)
        if regression.score(others, X_test[:, column]) >= MIN_R2:
            predicted.append(column)
    return np.array(predicted, dtype=int)


def change(X, X_train, columns, kind, rng):
    """Rows with a value changed, or two, and the sorted columns of each."""
    if kind == "two of the first":
        found = [rng.choice(columns, size=2, replace=False) for _ in X]
    else:
        found = rng.choice(columns, size=(len(X), 1))
    rows, changed = np.arange(len(X)), X.copy()
    median, deviation = np.median(X_train, axis=0), X_train.std(axis=0)
    low, high = np.quantile(X_train, [0.05, 0.95], axis=0)
    for column in np.transpose(found):
        if kind == "second":
            is_high = X[rows, column] > median[column]
            changed[rows, column] = np.where(is_high, low[column], high[column])
        else:
            sign = rng.choice([-1, 1], size=len(X))
            changed[rows, column] = median[column] + 6 * sign * deviation[column]
    return changed, np.sort(found, axis=1)


def find_largest(contributions, n_columns):
    """Sort the columns of the largest contributions of each row."""
    order = np.argsort(-contributions, axis=1, kind="stable")
    return np.sort(order[:, :n_columns], axis=1)


def measure_plain_residuals(detector, X_train, X):
    """Give the absolute reconstruction error of each cell in standard deviations."""
    scale = X_train.std(axis=0)
    return np.abs(X - detector.reconstruct(X)) / np.where(scale > 0, scale, 1.0)


def evaluate(X, seed):
    """(explain, plain) by kind, the time of explain over scoring's, columns."""
    rng = np.random.default_rng(seed)
    X_train, X_test = np.array_split(rng.permutation(X), 2)
    X_test = X_test[:MAX_CHANGED_ROWS]
    detector = AutoencoderOutlierDetector(random_state=seed).fit(X_train)
    varied = np.flatnonzero(np.ptp(X_train, axis=0) > 0)
    predicted = find_predicted_columns(X_train, X_test)
    shares = {}
    for kind in TARGETS:
        columns = predicted if kind == "second" else varied
        if len(columns) == 0:
            continue
        changed, at_fault = change(X_test, X_train, columns, kind, rng)
        contributions = detector.explain(changed)
        np.testing.assert_allclose(
            contributions.sum(axis=1), -detector.score_samples(changed), rtol=1e-6
        )
        assert contributions.min() >= 0
        residuals = measure_plain_residuals(detector, X_train, changed)
        shares[kind] = [
            np.mean((find_largest(found, at_fault.shape[1]) == at_fault).all(axis=1))
            for found in (contributions, residuals)
        ]
    seconds = [
        _report.time_call(lambda method=method: method(X_test), at_least=0.1)
        for method in (detector.explain, detector.score_samples)
    ]
    return shares, seconds[0] / seconds[1], len(predicted)


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of .npz tables")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="few small tables, a seed")
    arguments = parser.parse_args()
    n_seeds, tables = arguments.seeds, load_inliers(arguments.data)
    if arguments.quick:
        smallest = sorted(tables, key=lambda name: tables[name].size)[:QUICK_TABLES]
        n_seeds, tables = 1, {name: tables[name] for name in smallest}

    _report.print_header(
        __doc__, ("skae", "tensorflow", "keras", "numpy", "scikit-learn")
    )
    start = time.perf_counter()
    print(
        "| table | rows | columns | first: explain | first: plain | columns predicted "
        "| second: explain | second: plain | two: explain | two: plain "
        "| times scoring |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    means = {kind: [] for kind in TARGETS}
    ratios = []
    for name, X in tables.items():
        results = [evaluate(X, seed) for seed in range(n_seeds)]
        cells = [name, *map(str, X.shape)]
        for kind in TARGETS:
            if kind == "second":
                cells.append(f"{np.mean([result[2] for result in results]):.0f}")
            shares = [result[0][kind] for result in results if kind in result[0]]
            if shares:
                means[kind].append(np.mean(shares, axis=0))
                cells += [f"{share:.3f}" for share in means[kind][-1]]
            else:
                cells += ["", ""]
        ratios.append(np.median([result[1] for result in results]))
        cells.append(f"{ratios[-1]:.1f}")
        print("| " + " | ".join(cells) + " |", flush=True)
    print("\n| mean over tables | tables | explain | plain | target |")
    print("|---|---|---|---|---|")
    for kind, target in TARGETS.items():
        explained, plain = np.mean(means[kind], axis=0)
        wanted = "" if target is None else f"at least {target:.2f}"
        print(
            f"| {kind} kind | {len(means[kind])} | {explained:.3f} | {plain:.3f} "
            f"| {wanted} |"
        )
        ahead = np.sum(np.diff(means[kind], axis=1) <= 0)
        reached = ""
        if target is not None:
            reached = f"reached by {np.sum(np.array(means[kind])[:, 0] >= target)}"
        print(f"| of these tables | {reached} | not below plain on {ahead} | | |")
    print(
        f"\nexplain takes {np.median(ratios):.1f} times as long as score_samples "
        f"(median over tables); all of it took {time.perf_counter() - start:.0f} s."
    )


if __name__ == "__main__":
    main()
