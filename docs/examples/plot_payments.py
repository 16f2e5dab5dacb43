"""
==========================================
Payments: a budget of alarms, and in words
==========================================

A payment has an amount and an hour, and for the rest categories: country, merchant,
channel, device. Each value of a stolen card's payment may be a usual one; what is odd
is that they do not belong together. The team that looks into alarms can take a certain
number a day, and wants to read why. How many frauds does a budget of alarms find, and
what does each alarm say?
"""

# %%
# Payments that follow habits
# ---------------------------
#
# Which merchant it is decides on the amount and the hour, and on how it is paid; the
# channel decides on the device.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skae import AnomalyScoreDisplay, AutoencoderOutlierDetector, ExplanationDisplay

rng = np.random.default_rng(0)
# Of each kind of merchant: how common, the usual amount and hour, how often online.
MERCHANTS = pd.DataFrame(
    {
        "share": [0.4, 0.15, 0.2, 0.1, 0.05, 0.1],
        "amount": [35, 60, 45, 250, 600, 12],
        "hour": [12, 9, 19, 15, 14, 21],
        "online": [0.0, 0.0, 0.0, 0.6, 0.9, 1.0],
    },
    index=["groceries", "fuel", "restaurant", "electronics", "travel", "streaming"],
)
DEVICES = {"chip": ["card"], "tap": ["card", "phone"], "online": ["phone", "laptop"]}
COUNTRIES = ["DE", "FR", "PL", "US"]


def make_payments(n_payments):
    """Draw payments."""
    merchant = rng.choice(MERCHANTS.index, size=n_payments, p=MERCHANTS["share"])
    habits = MERCHANTS.loc[merchant].reset_index(drop=True)
    is_online = rng.uniform(size=n_payments) < habits["online"]
    in_person = rng.choice(["chip", "tap"], size=n_payments, p=[0.3, 0.7])
    channel = np.where(is_online, "online", in_person)
    abroad = rng.choice(COUNTRIES, size=n_payments, p=[0.85, 0.07, 0.05, 0.03])
    return pd.DataFrame(
        {
            "amount": (habits["amount"] * rng.lognormal(0, 0.3, n_payments)).round(2),
            "hour": ((habits["hour"] + rng.normal(0, 2, n_payments)) % 24).round(1),
            "country": np.where(merchant == "streaming", "US", abroad),
            "merchant": merchant,
            "channel": channel,
            "device": [rng.choice(DEVICES[way]) for way in channel],
        }
    )


# %%
# Fraud is a payment with one value of another: an amount at least four times as large,
# or as small, another merchant, another channel. Ten come from a device that was never
# seen before.

train, calibration, later = map(make_payments, (4000, 2000, 2000))
fraud = make_payments(60)
donors = make_payments(60)
changed = np.repeat(["amount", "merchant", "channel", "device"], [20, 15, 15, 10])
for i, column in enumerate(changed):
    if column == "amount":
        ratio = donors["amount"] / fraud.at[i, "amount"]
        others = donors[np.abs(np.log(ratio)) > np.log(4)]
    else:
        others = donors[donors[column] != fraud.at[i, column]]
    fraud.at[i, column] = others[column].iloc[i % len(others)]
fraud.loc[changed == "device", "device"] = "emulator"

# %%
# A budget of alarms
# ------------------
#
# ``categorical_features="from_dtype"`` takes the columns of text. Two thousand other
# payments set the threshold: one in a hundred normal ones may be flagged, on average.

detector = AutoencoderOutlierDetector(
    categorical_features="from_dtype", random_state=0
).fit(train)
detector.calibrate(calibration, false_alarm_rate=0.01)
false_alarms = np.mean(detector.predict(later) == -1)
found = detector.predict(fraud) == -1
print(
    f"{false_alarms:.1%} of normal payments flagged, {found.sum()} of 60 frauds found"
)

figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
AnomalyScoreDisplay.from_estimator(
    detector,
    pd.concat([later, fraud]),
    np.repeat([1, -1], [len(later), len(fraud)]),
    ax=ax,
)
ax.set(yscale="log", title="Later payments, and the threshold of the budget")
plt.show()

# %%
# How large a budget
# ------------------
#
# The p-values say what other budgets would buy: a payment is flagged at a rate if its
# p-value is at most that rate. A device that nobody has seen is found by the smallest
# budget. Not every fraud can be found: a card that is put in where it is mostly tapped
# makes a usual payment, so that of another channel only half is found even by a large
# one.

rates = np.geomspace(0.0005, 0.2, 60)
p_later, p_fraud = detector.p_values(later), detector.p_values(fraud)
for rate in 0.001, 0.01, 0.05:
    print(
        f"promised {rate:.1%}: {np.mean(p_later <= rate):.2%} of normal payments "
        f"flagged, {np.mean(p_fraud <= rate):.0%} of frauds found"
    )

figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
styles = {"device": "C0-", "merchant": "C1--", "channel": "k-.", "amount": "C0:"}
for column, style in styles.items():
    p_values = p_fraud[changed == column]
    found_at = [np.mean(p_values <= rate) for rate in rates]
    ax.plot(1000 * rates, found_at, style, linewidth=2, label=f"another {column}")
ax.set(
    xscale="log",
    ylim=(0, 1.05),
    xlabel="promised false alarms among 1,000 normal payments",
    ylabel="share of frauds found",
    title="What a budget of alarms finds, by what was changed",
)
ax.xaxis.set_major_formatter("{x:g}")
ax.legend(loc="lower right")
plt.show()

# %%
# Each alarm in words
# -------------------
#
# ``explain`` says which column adds most to the anomaly, and what was to be expected
# there, a category by its name. Where just two values contradict each other, an amount
# and a merchant, either may be the one that was changed.

alarms = fraud[found]
contributions, expected = detector.explain(alarms, return_expected=True)
columns = contributions.argmax(axis=1)


def describe(row, column):
    """Put the odd value of an alarm in words."""
    name, observed = alarms.columns[column], alarms.iat[row, column]
    usual = expected[row, column]
    if isinstance(usual, float):
        usual = round(usual)
    return f"{name} {observed}, expected {usual}"


is_right = alarms.columns[columns] == changed[found]
print(f"the changed column is the one named in {is_right.mean():.0%} of the alarms")
for row in np.unique(changed[found], return_index=True)[1]:  # the first of each kind
    print(f"- {describe(row, columns[row])}")

# %%
# The chart of one alarm: each value is a usual one, but the channel does not suit the
# others.

is_channel = changed[found] == "channel"
figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
ExplanationDisplay.from_estimator(detector, alarms[is_channel].iloc[0], ax=ax)
ax.set_title("Why a payment is odd")
plt.show()

# sphinx_gallery_thumbnail_number = 2
