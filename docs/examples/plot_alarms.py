"""
==============================================
Alarms with a promise, and the reason for each
==============================================

How sure is an alarm, how many false ones will there be next week, which measurement is
odd, and what would have been normal? Measurements of benign tumours are the normal rows
here; malignant ones are what should raise an alarm.
"""

# %%
# Three kinds of rows
# -------------------
#
# Some normal rows train the network, others only calibrate it, and the rest arrives
# later, with malignant tumours among them.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import false_discovery_control
from sklearn.datasets import load_breast_cancer, make_moons
from sklearn.inspection import DecisionBoundaryDisplay
from sklearn.model_selection import train_test_split

from skae import AnomalyScoreDisplay, AutoencoderOutlierDetector, ExplanationDisplay

X, is_benign = load_breast_cancer(return_X_y=True)
names = load_breast_cancer().feature_names
benign, malignant = X[is_benign == 1], X[is_benign == 0]
train, others = train_test_split(benign, train_size=157, random_state=0)
calibration, later = train_test_split(others, train_size=119, random_state=0)
X_later = np.concatenate([later, malignant[:40]])
y_later = np.repeat([1, -1], [len(later), 40])

detector = AutoencoderOutlierDetector(random_state=0).fit(train)

# %%
# A rate of false alarms that is kept
# -----------------------------------
#
# A threshold drawn through the scores of the training rows promises nothing about later
# ones, which the network has not seen. ``calibrate`` moves it by such rows: at most 5 %
# of normal rows will be flagged, on average over the draw of the calibration rows.


def show(threshold):
    """Print false alarms, and outliers found."""
    alarm = detector.predict(X_later) == -1
    print(
        f"{threshold}: {np.sum(alarm & (y_later == 1))} of {len(later)} benign tumours "
        f"flagged, {np.sum(alarm & (y_later == -1))} of 40 malignant ones"
    )


show("threshold from training rows")
detector.calibrate(calibration, false_alarm_rate=0.05)
show("calibrated to 5 % false alarms")

# %%
# Fewer false alarms mean fewer malignant tumours found: the order of the rows stays,
# and the threshold chooses a point in it.

figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
AnomalyScoreDisplay.from_estimator(detector, X_later, y_later, ax=ax)
ax.set_title("Later rows: the calibrated threshold lets few benign ones through")
plt.show()

# %%
# Which alarms to believe
# -----------------------
#
# A p-value says how probable a score as low is among normal rows. Looking at many rows
# at once, control the share of false ones among the alarms instead: Benjamini and
# Hochberg's procedure chooses rows so that at most 20 % of them are expected to be
# false alarms.

p_values = detector.p_values(X_later)
chosen = false_discovery_control(p_values) <= 0.2
print(
    f"chosen at a false discovery rate of 20 %: {chosen.sum()} rows, of which "
    f"{np.sum(chosen & (y_later == 1))} are benign"
)

# %%
# In the order of the p-values the procedure goes up to the last row that lies below a
# line from 0 to 20 %. The largest p-value that it lets through depends on how many
# rows are odd.

order = np.argsort(p_values)
rank = np.arange(1, len(order) + 1)
figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for label, name, marker in (-1, "malignant", "^"), (1, "benign", "o"):
    is_kind = y_later[order] == label
    color = "C0" if label == 1 else "C1"
    ax.scatter(
        rank[is_kind], p_values[order][is_kind], marker=marker, color=color, label=name
    )
ax.plot(rank, 0.2 * rank / len(rank), color="black", label="0.2 times rank / rows")
ax.axvline(chosen.sum() + 0.5, color="0.5", linestyle=":", label="chosen: left of it")
ax.set(
    yscale="log",
    xlabel="rank of the p-value",
    ylabel="p-value",
    title="Most malignant tumours, and few benign ones, are left of the line",
)
ax.legend(loc="lower right")
plt.show()

# %%
# Why this row
# ------------
#
# ``explain`` shares the anomaly of a row out to its columns. The chart shows the
# largest shares, beside what was observed and what the other columns led to expect.

contributions, expected = detector.explain(malignant[[3]], return_expected=True)
shares = contributions[0] / contributions.sum()
largest = shares.argmax()
print(
    f"{names[largest]}: observed {malignant[3, largest]:.4f}, expected "
    f"{expected[0, largest]:.4f}, {shares[largest]:.0%} of the anomaly"
)

figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
ExplanationDisplay.from_predictions(
    contributions[0],
    observed=malignant[3],
    expected=expected[0],
    feature_names=names,
    max_features=8,
    ax=ax,
)
ax.set_title("Why a malignant tumour is odd")
plt.show()

# %%
# Where the line runs
# -------------------
#
# With two columns the scores can be drawn over the plane, by scikit-learn's own
# display. These rows lie along an arc, which a code of one unit can follow, and the
# line is the calibrated threshold.

X_moons, moon = make_moons(2000, noise=0.06, random_state=0)
arc = X_moons[moon == 0]
train_2d, calibration_2d = train_test_split(arc, random_state=0)
plane = AutoencoderOutlierDetector(
    (64, 32, 1),
    activation="tanh",
    masking=0.0,
    score_method="reconstruction",
    epochs=300,
    random_state=0,
)
plane.fit(train_2d).calibrate(calibration_2d, false_alarm_rate=0.05)

figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
boundary = DecisionBoundaryDisplay.from_estimator(
    plane, arc, response_method="decision_function", cmap="RdBu", levels=20, ax=ax
)
ax.contour(boundary.xx0, boundary.xx1, boundary.response, levels=[0], colors="black")
ax.scatter(*train_2d.T, s=2, color="0.3")
ax.set(
    xlabel="first column",
    ylabel="second column",
    title="Decision function over two columns, and the threshold as a line",
)
figure.colorbar(boundary.surface_, ax=ax, label="decision function")
plt.show()

# sphinx_gallery_thumbnail_number = 4
