"""What a grid search costs beyond the trainings that it cannot do without.

A grid of 4 widths and 4 contaminations in 3 folds is 48 fits, but with `memory` only 12
trainings: the contamination does not change the network. Against `GridSearchCV` with an
empty `memory` stand these 12 fits alone, without `memory`. Neither refits, and the
search also scores its 48 candidates on the rows left out.
"""

import argparse
import tempfile

import _report
from sklearn.model_selection import GridSearchCV, KFold

from skae import AutoencoderOutlierDetector

WIDTHS = [(32, 2), (32, 4), (64, 4), (64, 8)]
CONTAMINATIONS = [0.01, 0.02, 0.05, 0.1]
FOLDS = KFold(3)

COMPARISONS = [
    ("grid search with memory", "12 trainings", "at most 1.3"),
    ("grid search without", "12 trainings", ""),
]


def search(X, memory):
    """Fit and score all 48."""
    GridSearchCV(
        AutoencoderOutlierDetector(memory=memory, random_state=0),
        {"hidden_layer_sizes": WIDTHS, "contamination": CONTAMINATIONS},
        cv=FOLDS,
        refit=False,
        error_score="raise",
    ).fit(X)


def search_with_memory(X):
    """Search with nothing remembered from an earlier search."""
    with tempfile.TemporaryDirectory() as folder:
        search(X, folder)


def train(X):
    """Fit the 12."""
    for widths in WIDTHS:
        for rows, _ in FOLDS.split(X):
            AutoencoderOutlierDetector(widths, random_state=0).fit(X[rows])


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", type=int, default=10_000, help="of 30 columns")
    arguments = parser.parse_args()

    _report.print_header(
        __doc__, ("skae", "tensorflow", "keras", "numpy", "scikit-learn", "joblib")
    )
    X = _report.make_rows(arguments.rows, 30)
    calls = {
        "12 trainings": lambda: train(X),
        "grid search with memory": lambda: search_with_memory(X),
        "grid search without": lambda: search(X, None),
    }
    figures = _report.time_in_turns(calls, arguments.repeats)
    _report.print_table(figures, COMPARISONS)


if __name__ == "__main__":
    main()
