"""The explanation of a malignant tumour."""

from matplotlib import pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from skae import AutoencoderOutlierDetector, ExplanationDisplay

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
train, _ = train_test_split(X[y == 1], train_size=250, random_state=0)
detector = AutoencoderOutlierDetector(contamination=0.05, random_state=0).fit(train)
_, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
ExplanationDisplay.from_estimator(detector, X[y == 0].iloc[0], max_features=6, ax=ax)
