"""How many fresh normal rows are flagged where few rows were fitted on.

Tables of numbers that follow 10 hidden factors, and of categories; three draws each, of
which the least and the largest share of 2,000 fresh rows is printed that are flagged at
`contamination=0.05`, without a promise and with `calibration_cv=5`.
"""

import argparse

import _report
import numpy as np
import pandas as pd

from skae import AutoencoderOutlierDetector

N_FRESH = 2000
CONTAMINATION = 0.05


def make_numbers(n_columns):
    """Return a function that draws rows of so many columns, half noise."""

    def make(n_rows, rng):
        mixing = np.random.default_rng(n_columns).normal(size=(10, n_columns))
        rows = rng.normal(size=(n_rows, 10)) @ mixing
        return pd.DataFrame(rows + 0.5 * rng.normal(size=rows.shape))

    return make


def make_dependent_categories(n_rows, rng):
    """10 columns of 20 categories; of a group of rows, a fifth of the cells differ."""
    group = rng.integers(20, size=n_rows)
    columns = {}
    for j in range(10):
        is_noise = rng.uniform(size=n_rows) < 0.2
        values = np.where(is_noise, rng.integers(20, size=n_rows), group * (j + 1) % 20)
        columns[f"c{j}"] = values.astype(str)
    return pd.DataFrame(columns)


def make_independent_categories(n_rows, rng):
    """20 columns of 5 categories."""
    values = rng.integers(5, size=(n_rows, 20)).astype(str)
    return pd.DataFrame(values).rename(columns="c{}".format)


TABLES = {
    "400 x 30 numbers": (400, make_numbers(30)),
    "400 x 300 numbers": (400, make_numbers(300)),
    "4,000 x 300 numbers": (4000, make_numbers(300)),
    "1,000 x 10 columns of 20 categories": (1000, make_dependent_categories),
    "4,000 x 10 columns of 20 categories": (4000, make_dependent_categories),
    "1,000 x 20 independent columns of 5 categories": (
        1000,
        make_independent_categories,
    ),
}


def measure_share(n_rows, make, calibration_cv, seed):
    """Return the share of fresh rows that are flagged."""
    rng = np.random.default_rng(seed)
    X, X_fresh = make(n_rows, rng), make(N_FRESH, rng)
    detector = AutoencoderOutlierDetector(
        contamination=CONTAMINATION,
        calibration_cv=calibration_cv,
        categorical_features="from_dtype",
        random_state=seed,
    )
    return np.mean(detector.fit(X).predict(X_fresh) == -1)


def main():
    """Print a line for each table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--draws", type=int, default=3)
    arguments = parser.parse_args()
    _report.print_header(__doc__)
    print("| table | without a promise | calibration_cv=5 |\n|---|---|---|")
    for name, (n_rows, make) in TABLES.items():
        cells = []
        for folds in (None, 5):
            shares = [
                measure_share(n_rows, make, folds, s) for s in range(arguments.draws)
            ]
            cells.append(f"{min(shares):.3f} to {max(shares):.3f}")
        print(f"| {name} | {cells[0]} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    main()
