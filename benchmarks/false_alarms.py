"""Whether calibrated alarms keep their promise on fresh rows.

For each table a detector is fitted at its defaults on half of the inliers. The other
half is split `--splits` times at random: half of it calibrates, the rest is fresh.

- rate: the mean share of fresh rows that `calibrate(false_alarm_rate=a)` flags. The
  promise is that its expectation is at most a; exactly it is floor(a (n + 1)) / (n + 1)
  for n calibration rows without ties. The number of flagged rows of one split is
  beta-binomial; the band is a plus or minus 2.6 standard errors of a mean of so many
  independent ones. Splits of one half share their rows, so that their mean scatters
  about the rate of this half, and not more about a than a mean of independent draws of
  that many rows does. Tables with too few rows for a rate are left out of it.
- p-values: of one fresh row a split, pooled over the splits; the largest excess of
  their distribution over the uniform one, and the one-sided Kolmogorov-Smirnov test of
  it. Splits of one table are not independent, so that its p-value is rough.
- false discoveries: the fresh rows of a split with outliers of the table mixed in, so
  that they are 5 % of all; of those that Benjamini-Hochberg at 0.1 chooses (by
  `scipy.stats.false_discovery_control`), the mean share that are inliers, plus and
  minus two standard errors over the splits, and the share of outliers that are chosen.

Tables are those of a folder and three of scikit-learn, cut to 10,000 rows.
"""

import argparse
import time
from pathlib import Path

import _report
import numpy as np
from scipy.stats import betabinom, false_discovery_control, kstest
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

from skae import AutoencoderOutlierDetector

RATES = (0.01, 0.05, 0.1)
MAX_ROWS = 10_000
QUICK_TABLES = 5  # the smallest
QUICK_SPLITS = 20
OUTLIER_SHARE = 0.05
FDR = 0.1
BAND = 2.6  # standard errors: 99 % of a normal distribution


def load_tables(data):
    """Inliers and outliers by name of the table."""
    X, y = load_breast_cancer(return_X_y=True)
    tables = {"breast_cancer": (X[y == 1], X[y == 0])}
    X, y = load_wine(return_X_y=True)
    tables["wine"] = X[y != 2], X[y == 2]
    X, y = load_digits(return_X_y=True)
    tables["digits"] = X[y != 9], X[y == 9]
    for path in sorted(data.glob("*.npz")) if data else []:
        with np.load(path) as arrays:
            X, y = arrays["X"].astype(float), arrays["y"]
        tables[path.stem] = X[y == 0], X[y == 1]
    rng = np.random.default_rng(0)
    return {
        name: tuple(rng.permutation(rows)[:MAX_ROWS] for rows in kinds)
        for name, kinds in tables.items()
    }


def evaluate(inliers, outliers, n_splits):
    """Figures of one table over its splits, all from one fit."""
    rng = np.random.default_rng(0)
    training, rest = np.array_split(rng.permutation(inliers), 2)
    detector = AutoencoderOutlierDetector(random_state=0).fit(training)
    scores = detector.score_samples(rest)
    n_calibration = len(rest) // 2
    n_fresh = len(rest) - n_calibration
    n_outliers = round(n_fresh * OUTLIER_SHARE / (1 - OUTLIER_SHARE))
    rates = {a: [] for a in RATES if n_calibration >= 1 / a - 1}
    one_p_value, false_shares, found_shares = [], [], []
    for _ in range(n_splits):
        calibration, fresh = np.split(rng.permutation(len(rest)), [n_calibration])
        for rate, shares in rates.items():
            detector.calibrate(rest[calibration], false_alarm_rate=rate)
            shares.append(np.mean(scores[fresh] < detector.offset_))
        one_p_value.append(detector.p_values(rest[fresh[:1]])[0])
        drawn = rng.choice(len(outliers), size=min(n_outliers, len(outliers)))
        p_values = detector.p_values(np.vstack([rest[fresh], outliers[drawn]]))
        chosen = false_discovery_control(p_values) <= FDR
        false_shares.append(chosen[:n_fresh].sum() / max(1, chosen.sum()))
        found_shares.append(chosen[n_fresh:].mean() if len(drawn) else np.nan)
    return n_calibration, n_fresh, rates, one_p_value, false_shares, found_shares


def compute_band(rate, n_calibration, n_fresh, n_splits):
    """Give the expected share of flagged rows without ties, and the upper limit."""
    k = np.floor(rate * (n_calibration + 1) + 1e-9)
    flagged = betabinom(n_fresh, k, n_calibration + 1 - k)
    error = flagged.std() / n_fresh / np.sqrt(n_splits)
    return k / (n_calibration + 1), rate + BAND * error


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of .npz tables")
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="few small tables, splits")
    arguments = parser.parse_args()
    n_splits, tables = arguments.splits, load_tables(arguments.data)
    if arguments.quick:
        smallest = sorted(tables, key=lambda name: tables[name][0].size)[:QUICK_TABLES]
        n_splits, tables = QUICK_SPLITS, {name: tables[name] for name in smallest}

    _report.print_header(
        __doc__, ("skae", "tensorflow", "keras", "numpy", "scipy", "scikit-learn")
    )
    start = time.perf_counter()
    print(
        "| table | calibration rows | fresh rows | "
        + " | ".join(f"rate at {a} (expected, at most)" for a in RATES)
        + " | false discoveries | outliers found |"
    )
    print("|---" * (5 + len(RATES)) + "|")
    pooled, above, worst_fdr = [], {a: [0, 0, []] for a in RATES}, []
    for name, kinds in tables.items():
        n_calibration, n_fresh, rates, p_values, false_shares, found = evaluate(
            *kinds, n_splits
        )
        cells = [name, str(n_calibration), str(n_fresh)]
        for a in RATES:
            if a not in rates:
                cells.append("too few rows")
                continue
            expected, limit = compute_band(a, n_calibration, n_fresh, n_splits)
            mean = np.mean(rates[a])
            above[a][0] += mean > limit
            above[a][1] += 1
            above[a][2].append(mean)
            cells.append(f"{mean:.4f} ({expected:.4f}, {limit:.4f})")
        error = np.std(false_shares, ddof=1) / np.sqrt(n_splits)
        worst_fdr.append((np.mean(false_shares), error))
        cells.append(f"{np.mean(false_shares):.3f} ± {2 * error:.3f}")
        cells.append(f"{np.mean(found):.2f}")
        pooled += p_values
        print("| " + " | ".join(cells) + " |", flush=True)
    print()
    for a, (n_above, n_tables, means) in above.items():
        print(
            f"- rate {a}: mean over {n_tables} tables {np.mean(means):.4f}; above the "
            f"band on {n_above}"
        )
    test = kstest(pooled, "uniform", alternative="greater")
    print(
        f"- {len(pooled)} p-values of fresh rows, one a split: their distribution "
        f"exceeds the uniform one by {test.statistic:.4f} (p = {test.pvalue:.2f})"
    )
    n_kept = sum(mean <= FDR + 2 * error for mean, error in worst_fdr)
    print(
        f"- false discoveries: mean over tables {np.mean(worst_fdr, axis=0)[0]:.3f}; "
        f"at most {FDR} plus two standard errors on {n_kept} of {len(worst_fdr)} tables"
    )
    print(f"\nAll of it took {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main()
