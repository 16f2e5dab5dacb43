"""How well a stream is learnt beside one fit, and what a call costs.

- With `--data`: the novelty protocol of detection.py, on tables cut to 2,000 rows. The
  training rows come in parts of 1,000, of 100 and of 10, in random order, round after
  round, until about 1,000 updates are made; `fit` makes as many. Area under the ROC
  curve: mean over tables of the mean over seeds.
- A call with 1,000, 100 and 10 rows of 20 columns, after 20,000 rows have gone by.
"""

import argparse
from functools import partial
from pathlib import Path

import _report
import numpy as np
from detection import load_table, split
from sklearn.metrics import roc_auc_score

from skae import AutoencoderOutlierDetector

MAX_ROWS = 2_000
N_UPDATES = 1_000
BATCH_SIZE = 128
PART_ROWS = (1_000, 100, 10)


def learn_in_parts(X, n_rows, seed):
    """Pass parts of a table until enough updates are made."""
    rng = np.random.default_rng(seed)
    detector = AutoencoderOutlierDetector(batch_size=BATCH_SIZE, random_state=seed)
    n_updates = 0
    while n_updates < N_UPDATES:
        order = rng.permutation(len(X))
        for rows in np.split(order, range(n_rows, len(X), n_rows)):
            detector.partial_fit(X[rows])
            n_updates += -(-len(rows) // BATCH_SIZE)
    return detector


def compare_detection(paths, n_seeds):
    """Print a line for each table, and the means."""
    makers = {
        "fit": lambda X, seed: AutoencoderOutlierDetector(random_state=seed).fit(X)
    }
    for n_rows in PART_ROWS:
        makers[f"parts of {n_rows}"] = partial(
            lambda X, seed, n_rows: learn_in_parts(X, n_rows, seed), n_rows=n_rows
        )
    figures = np.empty((len(paths), len(makers), n_seeds))
    print("AUROC:", ", ".join(makers))
    for i, path in enumerate(paths):
        train, test, is_outlier = split(*load_table(path, MAX_ROWS))["novelty"]
        for j, make in enumerate(makers.values()):
            for seed in range(n_seeds):
                anomaly = -make(train, seed).score_samples(test)
                figures[i, j, seed] = roc_auc_score(is_outlier, anomaly)
        print(f"{path.stem:20}", *np.round(figures[i].mean(axis=-1), 3), flush=True)
    means = figures.mean(axis=(0, 2))
    print(f"{'mean':20}", *np.round(means, 4), "\n")


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of .npz tables")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()

    _report.print_header(__doc__)
    if arguments.data is not None:
        compare_detection(sorted(arguments.data.glob("*.npz")), arguments.seeds)
    X = _report.make_rows(20_000, 20)
    detector = AutoencoderOutlierDetector(random_state=0).partial_fit(X)
    calls = {
        f"a call with {n_rows} rows": partial(detector.partial_fit, X[:n_rows])
        for n_rows in PART_ROWS
    }
    figures = _report.time_in_turns(calls, arguments.repeats, at_least=0.5)
    _report.print_table(figures, [])


if __name__ == "__main__":
    main()
