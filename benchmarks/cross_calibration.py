"""Whether `calibration_cv` keeps its promise, what it finds, and what it costs.

For each table of `--rows` rows in all, half of the inliers, drawn anew in each of
`--splits` splits, are fitted on; the other half is fresh.

- rate: the mean share of fresh rows that are flagged at a promised rate, by `predict`
  and by p-values, plus and minus two standard errors over the splits. These share their
  rows, so that their mean scatters about the rate of this table and not more about the
  promised one than a mean of independent draws. Where the rows fitted on are too few
  for a rate, `fit` refuses it, and it is left out.
- found: in tables of at most 500 rows, the mean share of the outliers that are flagged
  at .05 and .1, on average, minus that by `calibration_fraction=0.4`.
- false discoveries: fresh rows with outliers mixed in, so that they are 5 % of all; of
  those that Benjamini-Hochberg at 0.1 chooses by the p-values, the mean share of
  inliers.
- cost: the time of a fit over that of a plain one, by turns, after one of each.

With `--contaminated` only this: outliers of the table are mixed into the rows fitted
on, at most half of those there are. The mean share of fresh inliers that is flagged,
and that of the other outliers, by `calibration_cv` and by `calibration_fraction=0.4`,
over the tables that have outliers enough for each share, plus and minus a standard
error over these.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import _report
import numpy as np
from scipy.stats import false_discovery_control

from skae import AutoencoderOutlierDetector

RATES = (0.01, 0.05, 0.1)
COMPARED_RATES = RATES[1:]
MAX_COMPARED_ROWS = 500
OUTLIER_SHARE = 0.05
MIXED_SHARES = (0, 0.02, 0.05)
MIXED_RATES = (0.05, 0.1)
FDR = 0.1
N_TIMED = 3  # tables
REPEATS = 5


def load_tables(folders, least, most):
    """Give inliers and outliers by name, of the tables of so many rows."""
    tables = {}
    for folder in folders:
        for path in sorted(folder.glob("*.npz")):
            with np.load(path) as arrays:
                X, y = arrays["X"].astype(float), arrays["y"]
            if least <= len(X) <= most:
                tables[path.stem] = X[y == 0], X[y == 1]
    return tables


def flag(detector, rate, scores):
    """Tell which scores are below the threshold that `contamination=rate` gives.

    As in `fit`, without fitting again for each rate.
    """
    calibration_scores = detector.calibration_scores_
    k = int(np.floor(rate * (len(calibration_scores) + 1) + 1e-9))
    return scores < calibration_scores[k - 1]


def evaluate_split(inliers, outliers, n_folds, seed):
    """Figures of one split by name."""
    rng = np.random.default_rng(seed)
    training, fresh = np.array_split(rng.permutation(inliers), 2)
    cross = AutoencoderOutlierDetector(calibration_cv=n_folds, random_state=seed)
    cross.fit(training)
    scores, p_values = cross.score_samples(fresh), cross.p_values(fresh)
    figures = {}
    for rate in RATES:
        if len(training) >= 1 / rate - 1:
            figures["predict", rate] = flag(cross, rate, scores).mean()
            figures["p-values", rate] = np.mean(p_values <= rate)
    n_outliers = round(len(fresh) * OUTLIER_SHARE / (1 - OUTLIER_SHARE))
    drawn = rng.choice(len(outliers), size=min(n_outliers, len(outliers)))
    p_values = np.append(p_values, cross.p_values(outliers[drawn]))
    chosen = false_discovery_control(p_values) <= FDR
    figures["false"] = chosen[: len(fresh)].sum() / max(1, chosen.sum())
    figures["chosen"] = chosen[len(fresh) :].mean()
    if len(inliers) + len(outliers) <= MAX_COMPARED_ROWS:
        held_back = AutoencoderOutlierDetector(
            calibration_fraction=0.4, random_state=seed
        ).fit(training)
        for name, detector in (("cross", cross), ("fraction", held_back)):
            odd, normal = map(detector.score_samples, (outliers, fresh))
            n_least = len(held_back.calibration_scores_)
            rates = [a for a in COMPARED_RATES if n_least >= 1 / a - 1]
            figures["found", name] = np.mean([flag(detector, a, odd) for a in rates])
            figures["alarms", name] = np.mean(
                [flag(detector, a, normal) for a in rates]
            )
        figures["gain"] = figures["found", "cross"] - figures["found", "fraction"]
    return figures


def evaluate_contaminated(inliers, outliers, n_folds, seed):
    """Shares flagged of fresh inliers and of other outliers, by what is mixed in."""
    rng = np.random.default_rng(seed)
    training, fresh = np.array_split(rng.permutation(inliers), 2)
    outliers = rng.permutation(outliers)
    figures = {}
    for share in MIXED_SHARES:
        n_mixed = round(len(training) * share / (1 - share))
        rows = np.concatenate([training, outliers[:n_mixed]])
        for name, settings in (
            ("cross", {"calibration_cv": n_folds}),
            ("fraction", {"calibration_fraction": 0.4}),
        ):
            detector = AutoencoderOutlierDetector(random_state=seed, **settings)
            detector.fit(rows)
            for rate in MIXED_RATES:
                figures[share, name, rate] = [
                    flag(detector, rate, detector.score_samples(X)).mean()
                    for X in (fresh, outliers[len(outliers) // 2 :])
                ]
    return figures


def print_contaminated(tables, n_folds, n_splits):
    """Print what becomes of the promise with outliers among the rows fitted on."""
    most = MIXED_SHARES[-1]
    figures = [
        [evaluate_contaminated(*kinds, n_folds, seed) for seed in range(n_splits)]
        for kinds in tables.values()
        if len(kinds[1]) // 2 >= len(kinds[0]) / 2 * most / (1 - most) + 1
    ]
    print(f"{n_splits} splits, {n_folds} folds, {len(figures)} tables\n")
    print(
        "| outliers mixed in | by | promised | fresh inliers flagged | outliers found |"
    )
    print("|---" * 5 + "|")
    for share, name, rate in figures[0][0]:
        values = np.array(
            [
                np.mean([s[share, name, rate] for s in splits], axis=0)
                for splits in figures
            ]
        )
        errors = values.std(axis=0, ddof=1) / np.sqrt(len(values))
        cells = [
            f"{mean:.3f} ± {error:.3f}"
            for mean, error in zip(values.mean(axis=0), errors, strict=True)
        ]
        print(f"| {share} | {name} | {rate} | {cells[0]} | {cells[1]} |")


def average(splits, key):
    """Give mean and two standard errors of a figure over the splits."""
    values = np.array([figures[key] for figures in splits])
    return values.mean(), 2 * values.std(ddof=1) / np.sqrt(len(values))


def print_costs(tables, n_folds):
    """Time fits on the rows of some tables, small to large."""
    by_size = sorted(tables, key=lambda name: len(tables[name][0]))
    numbers = np.linspace(0, len(by_size) - 1, N_TIMED).astype(int)
    for name in dict.fromkeys(by_size[i] for i in numbers):
        rows = tables[name][0]
        plain = AutoencoderOutlierDetector(random_state=0)
        cross = AutoencoderOutlierDetector(random_state=0, calibration_cv=n_folds)
        times = _report.time_in_turns(
            {"plain": partial(plain.fit, rows), "cross": partial(cross.fit, rows)},
            REPEATS,
        )
        medians = {name: np.median(values) for name, values in times.items()}
        print(
            f"- cost on {len(rows)} rows of {name}: "
            f"{medians['cross'] / medians['plain']:.2f} times "
            f"{_report.format_seconds(medians['plain'])}"
        )


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR")
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--rows", type=int, nargs=2, default=(200, 2000))
    parser.add_argument("--tables", nargs="+", help="only those of these names")
    parser.add_argument("--cost", action="store_true", help="only the cost")
    parser.add_argument(
        "--contaminated", action="store_true", help="only with outliers mixed in"
    )
    arguments = parser.parse_args()
    tables = load_tables(arguments.data, *arguments.rows)
    if arguments.tables:
        tables = {name: tables[name] for name in arguments.tables}
    _report.print_header(
        __doc__, ("skae", "tensorflow", "keras", "numpy", "scipy", "scikit-learn")
    )
    start = time.perf_counter()
    if arguments.cost:
        print_costs(tables, arguments.folds)
        return
    if arguments.contaminated:
        print_contaminated(tables, arguments.folds, arguments.splits)
        return
    print(
        f"{arguments.splits} splits, {arguments.folds} folds\n\n"
        "| table | rows fitted on | "
        + " | ".join(f"rate at {a}; by p-values" for a in RATES)
        + " | false discoveries | chosen | found, more than by a fraction |"
    )
    print("|---" * (5 + len(RATES)) + "|")
    pooled = {}
    for name, kinds in tables.items():
        splits = [
            evaluate_split(*kinds, arguments.folds, seed)
            for seed in range(arguments.splits)
        ]
        for key in splits[0]:
            pooled.setdefault(key, []).append((name, *average(splits, key)))
        cells = [name, str(-(-len(kinds[0]) // 2))]
        for a in RATES:
            if ("predict", a) not in splits[0]:
                cells.append("too few rows")
                continue
            mean, error = average(splits, ("predict", a))
            other, _ = average(splits, ("p-values", a))
            cells.append(f"{mean:.4f} ± {error:.4f}; {other:.4f}")
        mean, error = average(splits, "false")
        cells += [f"{mean:.3f} ± {error:.3f}", f"{average(splits, 'chosen')[0]:.2f}"]
        if "gain" in splits[0]:
            found, gain = (
                average(splits, ("found", "cross"))[0],
                average(splits, "gain"),
            )
            cells.append(f"{found:.3f}, {gain[0]:+.3f} ± {gain[1]:.3f}")
        else:
            cells.append("")
        print("| " + " | ".join(cells) + " |", flush=True)
    print()
    for key, figures in pooled.items():
        means = np.array([mean for _, mean, _ in figures])
        line = f"- {key}: mean over {len(means)} tables {means.mean():.4f}"
        if len(means) > 1:
            line += f" ± {means.std(ddof=1) / np.sqrt(len(means)):.4f} (one error)"
        bound = key[1] if key[0] in ("predict", "p-values") else FDR
        if key == "false" or key[0] in ("predict", "p-values"):
            above = [name for name, mean, error in figures if mean > bound + error]
            line += f"; above by more than two errors on {len(above)} {above or ''}"
        print(line)
    print(f"\nAll of it took {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main()
