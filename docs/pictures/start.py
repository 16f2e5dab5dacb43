"""The histogram of the first page: benign and malignant tumours."""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from skae import AnomalyScoreDisplay, AutoencoderOutlierDetector

X, y = load_breast_cancer(return_X_y=True)
normal, odd = X[y == 1], X[y == 0]
train, fresh = train_test_split(normal, train_size=250, random_state=0)
X_test = np.concatenate([fresh, odd])
y_test = np.repeat([1, -1], [len(fresh), len(odd)])
detector = AutoencoderOutlierDetector(contamination=0.05, random_state=0).fit(train)

_, ax = plt.subplots(figsize=(7.5, 3.4), layout="constrained")
display = AnomalyScoreDisplay.from_estimator(detector, X_test, y_test, ax=ax)
names = ["benign, not seen in fit", "malignant", "threshold"]
ax.legend(ax.get_legend_handles_labels()[0], names)
