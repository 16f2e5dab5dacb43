"""
============================
A grid search without labels
============================

Nobody has labelled an outlier. Can a grid search choose the parameters of a detector
all the same? Here labels exist, and are only used to check what it has chosen.
"""

# %%
# Twelve candidates
# -----------------
#
# Measurements of benign tumours to search and fit on; others, with malignant ones among
# them, to check with.

import tempfile

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, train_test_split

from skae import AutoencoderOutlierDetector

X, is_benign = load_breast_cancer(return_X_y=True)
train, fresh = train_test_split(X[is_benign == 1], train_size=250, random_state=0)
test = np.concatenate([fresh, X[is_benign == 0]])
is_odd = np.repeat([False, True], [len(fresh), len(test) - len(fresh)])

cache = tempfile.TemporaryDirectory()  # candidates that differ in the score train once
detector = AutoencoderOutlierDetector(memory=cache.name, random_state=0)
grid = {
    "hidden_layer_sizes": [(2,), (64, 8), (256, 32)],
    "masking": [0.0, 1.0],
    "score_method": ["neighbors", "reconstruction"],
}

# %%
# What is searched by
# -------------------
#
# Without labels ``score`` judges a candidate by how well it ranks held-out rows, and
# synthetic anomalies with cells of several of them, as they are isolated.

search = GridSearchCV(detector, grid, cv=3).fit(train)
results = pd.DataFrame(search.cv_results_["params"])
results["without labels"] = search.cv_results_["mean_test_score"]
results["true area"] = [
    roc_auc_score(
        is_odd, -clone(detector).set_params(**params).fit(train).score_samples(test)
    )
    for params in search.cv_results_["params"]
]
cache.cleanup()
print(
    results.sort_values("without labels", ascending=False)
    .round(3)
    .to_string(index=False)
)

# %%
# What it is worth
# ----------------
#
# On this table nothing: the two columns have no order in common, and the chosen
# candidate is behind the default by .007. By the score without labels the candidates
# with ``score_method="reconstruction"`` are the worst; with labels, the best and the
# worst are both among them.
#
# Over many tables it is worth a little. There such a search tells the worst candidates,
# and is better than a candidate drawn at random, but loses a little to the default. So
# take the defaults, unless you know what your outliers are like and can judge by that.

chosen = results.loc[search.best_index_]
is_default = (
    (results["hidden_layer_sizes"] == (256, 32))
    & (results["masking"] == 1.0)
    & (results["score_method"] == "neighbors")
)
default = results[is_default].iloc[0]
correlation = spearmanr(results["without labels"], results["true area"]).statistic
print(f"true area of the chosen candidate: {chosen['true area']:.3f}")
print(f"of the default: {default['true area']:.3f}")
print(f"mean of all candidates: {results['true area'].mean():.3f}")
print(
    f"worst: {results['true area'].min():.3f}, best: {results['true area'].max():.3f}"
)
print(f"rank correlation of the two columns: {correlation:.2f}")

# %%

figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for method, marker in ("neighbors", "o"), ("reconstruction", "^"):
    part = results[results["score_method"] == method]
    ax.scatter(part["without labels"], part["true area"], marker=marker, label=method)
for name, candidate, shift in ("chosen", chosen, -14), ("default", default, 8):
    ax.annotate(
        name,
        (candidate["without labels"], candidate["true area"]),
        xytext=(0, shift),
        textcoords="offset points",
        ha="center",
    )
ax.set(
    xlabel="score without labels, mean over the folds",
    ylabel="true area under the ROC curve",
    title="What looks best without labels is not what is best",
)
ax.legend(title="score_method")
plt.show()
