"""
=========================
The same decision in ONNX
=========================

A machine at the edge decides without Python. Does the converted detector decide as the
fitted one does, row by row?

It needs the extra ``onnx``: ``python -m pip install "skae[onnx]"``.
"""

# %%
# Fit and calibrate
# -----------------
#
# Readings of two sensors that depend on each other, so that the decision can be drawn.

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
import skl2onnx
from sklearn.model_selection import train_test_split

from skae import AutoencoderOutlierDetector, register_onnx_converter

rng = np.random.default_rng(0)
angle = rng.uniform(0, 1.5 * np.pi, size=1500)
X = np.column_stack([20 + 5 * np.cos(angle), 300 + 80 * np.sin(angle)])
X += rng.normal(size=X.shape) * [0.4, 6.0]
train, calibration = train_test_split(X, train_size=1000, random_state=0)
detector = AutoencoderOutlierDetector(random_state=0).fit(train)
detector = detector.calibrate(calibration, false_alarm_rate=0.01)

# %%
# Convert
# -------
#
# The graph holds the whole decision: scaling, network, references, score, threshold.
# The row given to ``to_onnx`` tells the type of the input.

register_onnx_converter()
graph = skl2onnx.to_onnx(detector, train[:1])
print(f"{len(graph.SerializeToString()) / 1024:.0f} KiB")
print("operators:", *sorted({node.op_type for node in graph.graph.node}))

# %%
# Compare
# -------
#
# 40,000 points of the plane, decided by both. ``scores`` is the decision function.

session = onnxruntime.InferenceSession(graph.SerializeToString())
x, y = np.linspace(10, 30, 200), np.linspace(150, 450, 200)
plane = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
labels, scores = session.run(["label", "scores"], {"X": plane})
labels, scores = labels.ravel(), scores.ravel()

decision = detector.decision_function(plane)
print(f"labels that differ: {np.sum(labels != detector.predict(plane))}")
print(f"largest difference of scores: {np.abs(scores - decision).max():.0e}")
print(f"largest score: {np.abs(decision).max():.1f}")

# %%

figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
shape = len(y), len(x)
filled = ax.contourf(x, y, scores.reshape(shape), levels=20, cmap="cividis_r")
ax.contour(x, y, scores.reshape(shape), levels=[0], colors="C1", linewidths=5)
ax.contour(x, y, decision.reshape(shape), levels=[0], colors="black", linestyles="--")
ax.scatter(*train.T, s=2, color="white")
ax.plot([], [], color="C1", linewidth=5, label="threshold by onnxruntime")
ax.plot([], [], "k--", label="threshold by skae")
ax.legend(loc="upper right")
ax.set(
    xlabel="temperature [°C]",
    ylabel="pressure [kPa]",
    title="The lines of the two decisions lie on each other",
)
figure.colorbar(filled, ax=ax, label="decision function by onnxruntime")
plt.show()

# %%
# What the graph does not do
# --------------------------
#
# It refuses nothing and knows no missing cells: a row with NaN gets the lowest score,
# and is flagged, where the detector would score it by its other cells. P-values and
# explanations stay in Python, where ``skae.load`` needs neither Keras nor TensorFlow.
# A detector with columns of categories does not convert.

holed = np.array([[20.0, np.nan]])
label, score = session.run(["label", "scores"], {"X": holed})
print(f"onnxruntime: {label.item()}, skae: {detector.predict(holed).item()}")
