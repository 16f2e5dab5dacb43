"""
==============================================
Choose the network and the threshold by search
==============================================

The detector is an estimator like any other: it takes its place in a pipeline, and a
grid search chooses its parameters. What should the search judge by, when a few rows
have labels? The rows here are measurements of tumours in unlike units, with gaps.
Benign tumours are the normal rows, a few malignant ones the outliers among them.
"""

# %%
# A table with gaps
# -----------------
#
# Some columns are in the thousands, others below 0.1. That needs no step of its own:
# the detector scales its columns itself, and takes gaps as they are. A step in front
# that fills them shows how a pipeline is searched.

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

# %%
# Search
# ------
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

grid = {
    "detect__hidden_layer_sizes": [(2,), (16, 4), (64, 8), (256, 32)],
    "detect__contamination": [0.02, 0.05, 0.1, 0.15, 0.2, 0.3],
}
search = GridSearchCV(
    pipeline,
    grid,
    scoring={
        "outlier_f1": make_scorer(f1_score, pos_label=-1),
        "f1": "f1",
        "roc_auc": "roc_auc",
    },
    refit="outlier_f1",
    cv=StratifiedKFold(n_splits=5, shuffle=True, random_state=0),
)
search.fit(X_train, y_train)
cache.cleanup()

results = pd.DataFrame(search.cv_results_)


def tabulate(metric):
    """Make a table of the means over the folds, networks by thresholds."""
    table = results.pivot(
        index="param_detect__hidden_layer_sizes",
        columns="param_detect__contamination",
        values=f"mean_test_{metric}",
    )
    return table.rename_axis(index="hidden_layer_sizes", columns="contamination")


for metric in search.scoring:
    print(f"{metric}, mean over the folds\n{tabulate(metric).round(3)}\n")
print(f"chosen: {search.best_params_}")
print(f"outlier_f1 on the test rows: {search.score(X_test, y_test):.3f}")

# %%
# What mattered
# -------------
#
# The outliers are among the training rows, unlabelled. The four networks differ little
# by the area under the curve, since each row is compared with other rows, whatever the
# network. The threshold matters far more. The widest network, the default, fits so few
# rows most closely, so that more fresh rows are flagged: its best ``contamination``,
# a tenth, is the smallest of the four.

figure, axes = plt.subplots(1, 2, figsize=(8, 4), sharey=True, layout="constrained")
for ax, metric in zip(axes, ["outlier_f1", "roc_auc"], strict=True):
    table = tabulate(metric)
    image = ax.imshow(table, cmap="cividis", aspect="auto", vmin=0.2, vmax=1)
    for (i, j), value in np.ndenumerate(table):
        color = "white" if value < 0.6 else "black"
        ax.text(j, i, f"{value:.2f}", ha="center", va="center", color=color)
    ax.set_xticks(range(table.shape[1]), table.columns)
    ax.set_yticks(range(table.shape[0]), map(str, table.index))
    ax.set(xlabel="contamination", title=metric)
axes[0].set_ylabel("hidden_layer_sizes")
figure.colorbar(image, ax=axes, label="mean over the folds")
figure.suptitle("The F1 score of the outliers sees the threshold, the area does not")
plt.show()

# %%
# The chosen threshold among the test rows, which no search has seen.

figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
AnomalyScoreDisplay.from_estimator(search, X_test, y_test, ax=ax)
ax.set_title("Test rows, and the threshold that the search has chosen")
plt.show()
