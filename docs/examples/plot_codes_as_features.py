"""
==================================
Codes as features for a classifier
==================================

A fitted autoencoder is a transformer, too: its codes are new features. Do they help a
classifier that has few labels, when there are many rows without any? Beside the rows as
they are, and beside as many principal components?
"""

# %%
# Many images, few labels
# -----------------------
#
# Of scikit-learn's digits 1,000 have no label. The network and the PCA learn from them;
# the classifier from 20 to 400 others.

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline, make_union

from skae import AutoencoderOutlierDetector

X, y = load_digits(return_X_y=True)
X = X / 16  # pixels in [0, 1]
unlabelled, X, _, y = train_test_split(X, y, train_size=1000, random_state=0)
autoencoder = AutoencoderOutlierDetector((256, 32), scaling=None, random_state=0)
autoencoder.fit(unlabelled)
pca = PCA(32, random_state=0).fit(unlabelled)
print(f"{X.shape[1]} pixels, {autoencoder.transform(X).shape[1]} code units")

# %%
# Four pipelines
# --------------
#
# ``FrozenEstimator`` keeps what was learnt without labels from being fitted anew. Only
# the classifier sees the labelled rows. (To learn codes from the rows of each fit, put
# the detector itself into the pipeline.)
#
# They do not help here. The code units alone are worse than the pixels, by .05 to .07,
# and beside the pixels they add nothing. Nor do principal components: a linear
# classifier does well with the pixels themselves. The codes were learnt to tell
# outliers; try them beside what you have, and expect no more than that.

classifier = LogisticRegression(solver="newton-cg")
codes = FrozenEstimator(autoencoder)
pipelines = {
    "pixels": classifier,
    "32 principal components": make_pipeline(FrozenEstimator(pca), classifier),
    "32 code units": make_pipeline(codes, classifier),
    "pixels and code units": make_pipeline(
        make_union("passthrough", codes), classifier
    ),
}
rows = []
for seed in range(4):
    for n_labels in 20, 50, 100, 200, 400:
        X_train, X_test, y_train, y_test = train_test_split(
            X, y, train_size=n_labels, stratify=y, random_state=seed
        )
        for name, pipeline in pipelines.items():
            fitted = clone(pipeline).fit(X_train, y_train)
            rows.append((name, n_labels, fitted.score(X_test, y_test)))
results = pd.DataFrame(rows, columns=["features", "labels", "accuracy"])
by_features = results.groupby(["labels", "features"], sort=False)["accuracy"]
accuracy, spread = by_features.mean().unstack(), by_features.std().unstack()
print("mean accuracy over four draws of the labelled rows")
print(accuracy.round(3).T.to_string())
print("standard deviation over the draws")
print(spread.round(3).T.to_string())

# %%

figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
styles = ["ko-", "C0s--", "C1^-", "C1v:"]
for (name, curve), style in zip(accuracy.items(), styles, strict=True):
    ax.plot(curve.index, curve, style, label=name)
ax.set(
    xscale="log",
    xticks=accuracy.index,
    xlabel="labelled images",
    ylabel="accuracy on others",
    title="Codes are no better features than the pixels here",
)
ax.xaxis.set_major_formatter("{x:g}")
ax.minorticks_off()
ax.legend()
plt.show()
