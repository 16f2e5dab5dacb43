"""The table of the chapter on parameters, drawn: the page is the only source."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

PAGE = Path("../parameters.md")  # seen from the folder of this file


def read_figures():
    """Parameter, value, and for both protocols mean, standard error and median."""
    line = re.compile(
        r"^\| `(\w+)` \| `(.+?)`" + 2 * r" \| (\S+) \((\S+)\) (\S+)" + r" \|", re.M
    )
    for name, value, *figures in line.findall(PAGE.read_text(encoding="utf-8")):
        yield name, value, np.array(figures, dtype=float).reshape(2, 3)


settings = list(read_figures())
labels = [f"{name}={value}" for name, value, _ in settings]
lines = -np.arange(len(settings))
_, axes = plt.subplots(
    1, 2, figsize=(8.6, 0.24 * len(settings) + 1), sharey=True, layout="constrained"
)
for k, (ax, title) in enumerate(zip(axes, ["novelty", "unsupervised"], strict=True)):
    means, errors, medians = np.array([figures[k] for *_, figures in settings]).T
    clear = np.abs(means) > 2 * errors
    colors = np.where(clear, np.where(means < 0, "C3", "C2"), "0.5")
    ax.axvline(0, color="black", linewidth=0.8)
    ax.hlines(lines, means - 2 * errors, means + 2 * errors, color=colors)
    ax.scatter(means, lines, color=colors, s=18)
    ax.scatter(medians, lines, marker="|", color="black", s=40)
    ax.set(title=title, xlabel="AUROC minus that of the default")
    ax.grid(axis="x", alpha=0.3)
    for i, (above, below) in enumerate(pairwise(settings)):
        if above[0] != below[0]:
            ax.axhline(-i - 0.5, color="0.9", linewidth=0.8, zorder=0)
axes[0].set_yticks(lines, labels, fontsize=8)
axes[0].set_ylim(lines[-1] - 0.8, 0.8)
