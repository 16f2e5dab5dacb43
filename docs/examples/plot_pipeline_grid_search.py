"""
==============================================
Choose the network and the threshold by search
==============================================

The detector is an estimator like any other: it takes its place in a pipeline, and a
grid search chooses its parameters, with labels or without. The rows here are
measurements of tumours in unlike units, with gaps. Benign tumours are the normal rows,
a few malignant ones the outliers among them.

Run it from a shell with ``python plot_pipeline_grid_search.py``; ``--help`` lists the
options.
"""

# %%
# A table with gaps
# -----------------
#
# Some columns are in the thousands, others below 0.1. That needs no step of its own:
# the detector scales its columns itself. The gaps do, so the pipeline fills them first.

import argparse
import tempfile

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.impute import SimpleImputer
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.pipeline import Pipeline

from skae import AnomalyScoreDisplay, AutoencoderOutlierDetector

parser = argparse.ArgumentParser(
    description="Search for the parameters of a detector, with and without labels."
)
parser.add_argument(
    "--output",
    default="grid_search.png",
    help="picture to write (default: %(default)s)",
)
arguments = parser.parse_args()

rng = np.random.default_rng(0)
X, is_benign = load_breast_cancer(return_X_y=True, as_frame=True)
benign, malignant = np.flatnonzero(is_benign), np.flatnonzero(is_benign == 0)
rows = np.append(benign, rng.choice(malignant, size=40, replace=False))
X = X.iloc[rows].mask(rng.uniform(size=(len(rows), X.shape[1])) < 0.01)
y = np.where(is_benign.iloc[rows], 1, -1)  # scikit-learn's labels of in- and outliers
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
print(f"{len(X)} rows, of which {np.mean(y == -1):.0%} are outliers")

cache = tempfile.TemporaryDirectory()
pipeline = Pipeline(
    [
        ("fill", SimpleImputer(strategy="median")),
        # Points of a grid that differ in contamination alone train once.
        ("detect", AutoencoderOutlierDetector(memory=cache.name, random_state=0)),
    ]
)
hidden_layer_sizes = [(2,), (16, 4), (64, 8), (256, 32)]

# %%
# Search with labels
# ------------------
#
# Fitting does not look at the labels; they only judge. What to judge by, matters:
#
# - The F1 score of the outliers depends on the threshold, and so on ``contamination``.
#   ``make_scorer`` has to be told that outliers, labelled -1, are the class to find.
# - Plain ``"f1"`` is the score of the class 1, the inliers. It is high for a detector
#   that flags nothing at all.
# - The area under the ROC curve compares scores with each other and never with a
#   threshold: every ``contamination`` is as good as any other. It compares networks.
#
# An integer ``cv`` stratifies its folds for classifiers only, which a detector is not.
# Passing ``StratifiedKFold`` gives every fold its share of the few outliers.
#
# Here the outliers are among the training rows, unlabelled. The four networks differ
# little by the area under the curve, since each row is compared with other rows,
# whatever the network. The threshold matters far more: the F1 score is best where
# ``contamination`` is near the true share, a tenth, or above. The widest network, the
# default, fits so few rows most closely, so that more fresh rows are flagged, and does
# best with the smallest ``contamination``.

folds = StratifiedKFold(n_splits=5, shuffle=True, random_state=0)
search = GridSearchCV(
    pipeline,
    {
        "detect__hidden_layer_sizes": hidden_layer_sizes,
        "detect__contamination": [0.02, 0.05, 0.1, 0.15, 0.2, 0.3],
    },
    scoring={
        "outlier_f1": make_scorer(f1_score, pos_label=-1),
        "f1": "f1",
        "roc_auc": "roc_auc",
    },
    refit="outlier_f1",
    cv=folds,
)
search.fit(X_train, y_train)

results = pd.DataFrame(search.cv_results_)
for metric in search.scoring:
    print(f"\n{metric}, mean over the folds")
    table = results.pivot(
        index="param_detect__hidden_layer_sizes",
        columns="param_detect__contamination",
        values=f"mean_test_{metric}",
    )
    print(
        table.rename_axis(index="hidden_layer_sizes", columns="contamination").round(3)
    )

print(f"\nchosen with labels: {search.best_params_}")
print(f"their outlier_f1 on the test rows: {search.score(X_test, y_test):.3f}")

# %%
# Search without labels
# ---------------------
#
# Without labels the detector's own ``score`` judges: by how far it ranks the held-out
# rows, and synthetic anomalies with cells of several of them, as they are isolated,
# that is, by the mean distance to the two nearest other rows. 1 is perfect, 0.5 is
# chance. It compares networks, not thresholds.
#
# It chooses ``(64, 8)``, but three of the four networks are within .003 of each other.
# The widest, the default, comes last by .01, though it is the second best by the area
# with labels. Such a search spares one the worst candidates and does not improve on the
# default; even a few labels are worth having.

blind_search = GridSearchCV(
    pipeline, {"detect__hidden_layer_sizes": hidden_layer_sizes}, cv=5
)
blind_search.fit(X_train)
print("\nscore without labels, mean over the folds")
for sizes, score in zip(
    hidden_layer_sizes, blind_search.cv_results_["mean_test_score"], strict=True
):
    print(f"{sizes}: {score:.3f}")

print(f"chosen without labels: {blind_search.best_params_}")

# %%
# What the search with labels has found
# -------------------------------------
#
# On the left the three metrics of the chosen network: only the F1 score of the outliers
# sees where the threshold should lie. On the right the chosen threshold among the test
# rows, which no search has seen.

chosen = results[
    results["param_detect__hidden_layer_sizes"]
    == search.best_params_["detect__hidden_layer_sizes"]
]
figure, (left, right) = plt.subplots(ncols=2, figsize=(10, 4), layout="constrained")
for metric in search.scoring:
    left.plot(
        chosen["param_detect__contamination"],
        chosen[f"mean_test_{metric}"],
        marker="o",
        label=metric,
    )
left.set(xlabel="contamination", ylabel="mean over the folds", ylim=(0, 1))
left.legend()
AnomalyScoreDisplay.from_estimator(search.best_estimator_, X_test, y_test, ax=right)

figure.savefig(arguments.output, dpi=120)
print(f"picture: {arguments.output}")
cache.cleanup()
