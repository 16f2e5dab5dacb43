"""
==============================================
Alarms with a promise, and the reason for each
==============================================

The person on call asks how sure an alarm is, how many false ones there will be next
week, which measurement is odd, and what would have been normal. Measurements of benign
tumours are the normal rows here; malignant ones are what should raise an alarm.

Run it from a shell with ``python plot_alarms.py``; ``--help`` lists the options.
"""

# %%
# Three kinds of rows
# -------------------
#
# Some normal rows train the network, others only calibrate it, and the rest arrives
# later, with malignant tumours among them.

import argparse

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import false_discovery_control
from sklearn.datasets import load_breast_cancer, make_moons
from sklearn.inspection import DecisionBoundaryDisplay
from sklearn.model_selection import train_test_split

from skae import AnomalyScoreDisplay, AutoencoderOutlierDetector, ExplanationDisplay

parser = argparse.ArgumentParser(
    description="Calibrate alarms, control false discoveries, explain an alarm."
)
parser.add_argument(
    "--output", default="alarms.png", help="picture to write (default: %(default)s)"
)
arguments = parser.parse_args()

X, is_benign = load_breast_cancer(return_X_y=True, as_frame=True)
benign, malignant = X[is_benign == 1], X[is_benign == 0]
train, others = train_test_split(benign, train_size=157, random_state=0)
calibration, later = train_test_split(others, train_size=119, random_state=0)
X_later = np.concatenate([later, malignant.iloc[:40]])
y_later = np.repeat([1, -1], [len(later), 40])

detector = AutoencoderOutlierDetector(random_state=0).fit(train.to_numpy())

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
detector.calibrate(calibration.to_numpy(), false_alarm_rate=0.05)
show("calibrated to 5 % false alarms")

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
# Why this row
# ------------
#
# ``explain`` shares the anomaly of a row out to its columns. The chart shows the
# largest shares, beside what was observed and what the other columns led to expect.
# A detector that was fitted on a data frame knows the names of the columns.

named = AutoencoderOutlierDetector(random_state=0).fit(train)
odd = malignant.iloc[[3]]

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

# %%
# Pictures
# --------

figure = plt.figure(figsize=(13, 8), layout="constrained")
grid = figure.add_gridspec(2, 2, width_ratios=[1, 1.15])
histogram = figure.add_subplot(grid[0, 0])
AnomalyScoreDisplay.from_estimator(detector, X_later, y_later, ax=histogram)
histogram.set_title("later rows, and the calibrated threshold")

map_ = figure.add_subplot(grid[1, 0])
boundary = DecisionBoundaryDisplay.from_estimator(
    plane, arc, response_method="decision_function", cmap="RdBu", levels=20, ax=map_
)
map_.contour(boundary.xx0, boundary.xx1, boundary.response, levels=[0], colors="black")
map_.scatter(*train_2d.T, s=2, color="0.3")
map_.set_title("decision function on two columns, and its zero")

bars = figure.add_subplot(grid[:, 1])
ExplanationDisplay.from_estimator(named, odd, max_features=12, ax=bars)
bars.set_title("why a malignant tumour is odd")

figure.savefig(arguments.output, dpi=100)
print(f"picture: {arguments.output}")
