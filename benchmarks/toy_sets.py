"""What the detector makes of toy sets in two dimensions, beside scikit-learn's.

The sets of scikit-learn's comparison of outlier detectors: one blob, two, two of
unequal spread, two moons, and rows without any form; 255 rows each, and 45 outliers
drawn uniformly from a square. Drawn: what each detector takes for normal, with the area
under the ROC curve.

Printed, as means over draws of the outliers, on the four sets that have a form:

- the area under the ROC curve, told 15 % of outliers;
- islands: connected parts of the region taken for normal, on a grid of 150 x 150
  points, that are nearest to no row; a sum over the four sets;
- rows that contamination="auto" flags on the first two sets, over the 45 outliers.
"""

import argparse

import _report
import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import label
from sklearn.covariance import EllipticEnvelope
from sklearn.datasets import make_blobs, make_moons
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor
from sklearn.svm import OneClassSVM

from skae import AutoencoderOutlierDetector

N_INLIERS, N_OUTLIERS = 255, 45
CONTAMINATION = N_OUTLIERS / (N_INLIERS + N_OUTLIERS)
IS_OUTLIER = np.repeat([False, True], [N_INLIERS, N_OUTLIERS])
N_DRAWS, N_DRAWS_OF_AUTO = 5, 10
REACH, N_STEPS = 7.0, 150  # of the grid
AXIS = np.linspace(-REACH, REACH, N_STEPS)
SHAPED = ("one blob", "two blobs", "unequal blobs", "moons")


def make_inliers():
    """Draw the rows of each set, by name."""

    def blobs(*centers, spreads):
        rows, _ = make_blobs(
            N_INLIERS, centers=centers, cluster_std=spreads, random_state=0
        )
        return rows

    moons, _ = make_moons(N_INLIERS, noise=0.05, random_state=0)
    uniform = np.random.RandomState(42).uniform(-7, 7, (N_INLIERS, 2))
    return {
        "one blob": blobs((0, 0), (0, 0), spreads=0.5),
        "two blobs": blobs((2, 2), (-2, -2), spreads=0.5),
        "unequal blobs": blobs((2, 2), (-2, -2), spreads=(1.5, 0.3)),
        "moons": 4.0 * (moons - [0.5, 0.25]),
        "no form": uniform,
    }


def add_outliers(inliers, draw):
    """Put the outliers of one draw behind the rows of a set."""
    outliers = np.random.RandomState(100 + draw).uniform(-6, 6, (N_OUTLIERS, 2))
    return np.concatenate([inliers, outliers])


def make_detectors(draw):
    """Make those of scikit-learn's comparison, with its parameters, and ours."""
    return {
        "skae": AutoencoderOutlierDetector(
            contamination=CONTAMINATION, random_state=draw
        ),
        "IsolationForest": IsolationForest(
            contamination=CONTAMINATION, random_state=draw
        ),
        "LocalOutlierFactor": LocalOutlierFactor(
            n_neighbors=35, contamination=CONTAMINATION, novelty=True
        ),
        "OneClassSVM": OneClassSVM(nu=CONTAMINATION, gamma=0.1),
        "EllipticEnvelope": EllipticEnvelope(
            contamination=CONTAMINATION, random_state=draw
        ),
    }


def find_region(detector):
    """Tell whether each point of the grid is taken for normal, (y, x)."""
    points = np.stack(np.meshgrid(AXIS, AXIS), axis=-1).reshape(-1, 2)
    return (detector.decision_function(points) >= 0).reshape(N_STEPS, N_STEPS)


def count_islands(is_normal, X):
    """Count the connected parts in which no row has its nearest point."""
    parts, n_parts = label(is_normal)
    steps = np.rint((X + REACH) / (AXIS[1] - AXIS[0])).astype(int)
    x, y = np.clip(steps, 0, N_STEPS - 1).T
    return n_parts - len(set(parts[y, x]) - {0})


def compute_area(detector, X):
    """Take the area under the ROC curve over the rows that it was fitted to."""
    if isinstance(detector, LocalOutlierFactor):
        scores = detector.negative_outlier_factor_  # of each beside the others
    else:
        scores = detector.score_samples(X)
    return roc_auc_score(IS_OUTLIER, -scores)


def print_figures(sets):
    """Print areas and islands of ours and IsolationForest, and what "auto" flags."""
    print("| detector | " + " | ".join(f"AUROC, {name}" for name in SHAPED), end="")
    print(" | mean | islands, sum (by set) |\n" + "|---" * (len(SHAPED) + 3) + "|")
    for name in ("skae", "IsolationForest"):
        figures = np.empty((N_DRAWS, len(SHAPED), 2))
        for draw in range(N_DRAWS):
            for i, shape in enumerate(SHAPED):
                X = add_outliers(sets[shape], draw)
                detector = make_detectors(draw)[name].fit(X)
                n_islands = count_islands(find_region(detector), X)
                figures[draw, i] = compute_area(detector, X), n_islands
        areas, islands = figures.mean(axis=0).T
        cells = [f"{area:.3f}" for area in (*areas, areas.mean())]
        by_set = ", ".join(f"{count:.1f}" for count in islands)
        cells.append(f"{islands.sum():.1f} ({by_set})")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    print()
    for shape in SHAPED[:2]:
        ratios = []
        for draw in range(N_DRAWS_OF_AUTO):
            detector = AutoencoderOutlierDetector(random_state=draw)
            labels = detector.fit_predict(add_outliers(sets[shape], draw))
            ratios.append(np.count_nonzero(labels == -1) / N_OUTLIERS)
        figures = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f'"auto", {shape}: flagged over true: {figures}', flush=True)


def draw_comparison(sets, path):
    """Draw each set with the region of each detector."""
    names = list(make_detectors(0))
    figure, grid = plt.subplots(
        len(sets),
        len(names),
        figsize=(10, 10.4),
        sharex=True,
        sharey=True,
        gridspec_kw={"wspace": 0.04, "hspace": 0.04},
    )
    for (shape, inliers), axes in zip(sets.items(), grid, strict=True):
        X = add_outliers(inliers, 0)
        for ax, (name, detector) in zip(axes, make_detectors(0).items(), strict=True):
            draw_region(ax, detector.fit(X), X)
            if shape in SHAPED:
                write_in_corner(ax, f"{compute_area(detector, X):.3f}")
            if ax in grid[0]:
                ax.set_title(name, fontsize=11)
        axes[0].set_ylabel(shape, fontsize=11)
    figure.savefig(path, dpi=90, bbox_inches="tight")
    plt.close(figure)


def draw_region(ax, detector, X):
    """Draw the rows, and what the detector takes for normal."""
    is_normal = find_region(detector)
    ax.contourf(AXIS, AXIS, is_normal, [0.5, 1.5], colors=["#cfe3f5"])
    ax.contour(AXIS, AXIS, is_normal, [0.5], colors="#20506f", linewidths=0.8)
    ax.scatter(*X[~IS_OUTLIER].T, s=4, color="#20506f", linewidths=0)
    ax.scatter(*X[IS_OUTLIER].T, s=7, color="#d9541e", linewidths=0)
    ax.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), xticks=[], yticks=[])
    ax.set_aspect("equal")


def write_in_corner(ax, text):
    """Write on white, so that no point stands between the letters."""
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    place = {"ha": "right", "va": "bottom", "transform": ax.transAxes}
    ax.text(0.98, 0.03, text, fontsize=10, bbox=box, **place)


def main():
    """Print the figures and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--output", default="toy_sets.png", help="picture to write (%(default)s)"
    )
    arguments = parser.parse_args()
    _report.print_header(__doc__, ("skae", "tensorflow", "keras", "scikit-learn"))
    sets = make_inliers()
    print_figures(sets)
    draw_comparison(sets, arguments.output)


if __name__ == "__main__":
    main()
