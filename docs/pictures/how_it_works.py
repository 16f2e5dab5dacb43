"""The pictures of the chapter "How it works"; each function draws one."""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import train_test_split

from skae import AutoencoderOutlierDetector


def draw_network():
    """Draw the layers of the default network for 30 columns as bars of units."""
    _, ax = plt.subplots(figsize=(7.5, 2.9), layout="constrained")
    names = ["the row", "", "the code", "", "the row\nagain"]
    widths = np.array([30, 256, 32, 256, 30])
    heights = 0.25 + widths / 256
    for x, (name, width, height) in enumerate(zip(names, widths, heights, strict=True)):
        color = {"the code": "C1", "": "0.75"}.get(name, "C0")
        ax.bar(x, height, bottom=-height / 2, width=0.28, color=color)
        ax.text(x, 0, width, ha="center", va="center", fontsize=11)
        ax.text(x, -0.82, name, ha="center", va="top")
    for x, (left, right) in enumerate(zip(heights, heights[1:], strict=False)):
        for side in -1, 1:
            ends = [side * left / 2, side * right / 2]
            ax.plot([x + 0.14, x + 0.86], ends, color="0.6", linewidth=0.8)
    for x, name in (0.5, "encoder"), (2.5, "decoder"):
        ax.annotate("", (x + 1.3, 0.8), (x - 0.3, 0.8), arrowprops={"arrowstyle": "->"})
        ax.text(x + 0.5, 0.83, name, ha="center", va="bottom")
    ax.set(xlim=(-0.5, 4.5), ylim=(-1.15, 1.0))
    ax.axis("off")


def draw_masking():
    """Draw digits, what the network is shown of them, and what it gives back."""
    images = load_digits().data / 16
    detector = AutoencoderOutlierDetector(
        scaling=None, output_activation="sigmoid", random_state=0
    ).fit(images[:1500])
    rows = images[[1502, 1510, 1517]]
    is_masked = np.random.default_rng(0).uniform(size=rows.shape) < 0.5
    shown = np.where(is_masked, np.nan, rows)
    given_back = detector.reconstruct(shown)
    colors = plt.get_cmap("gray_r").with_extremes(bad="#9ecae1")
    figure, axes = plt.subplots(3, 3, figsize=(4.5, 4.7), layout="constrained")
    titles = ["the row", "as it is shown", "as given back"]
    for column, (title, pictures) in enumerate(
        zip(titles, [rows, shown, given_back], strict=True)
    ):
        axes[0, column].set_title(title, fontsize=10)
        for line, picture in enumerate(pictures):
            ax = axes[line, column]
            ax.imshow(picture.reshape(8, 8), cmap=colors, vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])


def make_band():
    """Rows along a line in two columns, one far out on it, one beside it."""
    rng = np.random.default_rng(0)
    position = rng.normal(size=600)
    X = np.c_[position, position] + 0.15 * rng.normal(size=(600, 2))
    return X, np.array([[6.5, 6.5], [-1.0, 1.0]])


PLAIN = {
    "hidden_layer_sizes": (1,),
    "activation": "linear",
    "masking": 0.0,
    "score_method": "reconstruction",
}


def draw_far_out():
    """Draw where a plain autoencoder and the default see an outlier."""
    X, strange = make_band()
    detectors = {
        "a plain autoencoder, by its error": PLAIN,
        "the default, by its score": {},
    }
    _, axes = plt.subplots(1, 2, figsize=(8.2, 4.3), sharey=True, layout="compressed")
    grid = np.stack(np.meshgrid(np.linspace(-5, 9, 141), np.linspace(-5, 9, 141)))
    for ax, (title, parameters) in zip(axes, detectors.items(), strict=True):
        detector = AutoencoderOutlierDetector(
            contamination=0.02, random_state=0, **parameters
        ).fit(X)
        decision = detector.decision_function(grid.reshape(2, -1).T).reshape(141, 141)
        ax.contourf(*grid, decision, levels=[0, np.inf], colors=["#c6dbef"])
        ax.scatter(*X.T, s=4, color="0.3")
        for name, row in zip("AB", strange, strict=True):
            odd = detector.predict(row[np.newaxis])[0] == -1
            label = f"{name}: {'outlier' if odd else 'taken for normal'}"
            ax.scatter(*row, s=50, color="C1", edgecolor="black", zorder=3)
            ax.annotate(label, row, (-9, 3), textcoords="offset points", ha="right")
        ax.set(title=title, xlim=(-5, 9), ylim=(-5, 9), aspect="equal")
        ax.set_xlabel("first column")
    axes[0].set_ylabel("second column")


def split_tumours():
    """Return the rows and the detector of the chapter."""
    X, y = load_breast_cancer(return_X_y=True)
    train, fresh = train_test_split(X[y == 1], train_size=250, random_state=0)
    detector = AutoencoderOutlierDetector(contamination=0.05, random_state=0).fit(train)
    return train, fresh, X[y == 0], detector


def draw_view():
    """Draw rows by how far out their values are, and what the network misses."""
    train, fresh, odd, detector = split_tumours()

    def scale(rows):
        return (rows - train.mean(axis=0)) / train.std(axis=0)

    def miss(rows):
        return scale(rows) - scale(detector.reconstruct(rows))

    typical = np.sqrt(np.mean(miss(train) ** 2, axis=0))
    typical += 0.1 * typical.mean() + 0.1 + 40 / len(train)
    _, ax = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    for rows, color, name in (
        (odd, "C1", "malignant"),
        (fresh, "C0", "benign, not seen in fit"),
    ):
        values = np.abs(scale(rows)).mean(axis=1)
        misses = np.abs(miss(rows) / typical).mean(axis=1)
        ax.scatter(values, misses, s=14, color=color, alpha=0.6, label=name)
    for set_scale, set_ticks in (
        (ax.set_xscale, ax.set_xticks),
        (ax.set_yscale, ax.set_yticks),
    ):
        set_scale("log")
        set_ticks([0.3, 1, 3, 10], ["0.3", "1", "3", "10"])
        set_ticks([], minor=True)
    ax.set(
        xlabel="how far its values are from the mean",
        ylabel="what the network misses of it",
    )
    ax.legend()


def draw_neighbours():
    """Draw two rows and the nearest training rows that they are compared with."""
    X, strange = make_band()
    X = X[:300]
    usual = np.array([[0.4, 0.5]])
    _, ax = plt.subplots(figsize=(5.2, 5.0), layout="compressed")
    ax.scatter(*X.T, s=8, color="0.6", label="references")
    for name, row, side in (
        ("an odd row", strange[1], 9),
        ("a usual one", usual[0], -18),
    ):
        nearest = X[np.argsort(np.abs(X - row).sum(axis=1))[:12]]
        for other in nearest:
            ax.plot(*np.stack([row, other]).T, color="C1", linewidth=0.7)
        ax.scatter(*row, s=50, color="C1", edgecolor="black", zorder=3)
        ax.annotate(name, row, (24, side), textcoords="offset points", ha="center")
    ax.set(xlim=(-2.5, 2.5), ylim=(-2.5, 2.5), aspect="equal")
    ax.set(xlabel="first column", ylabel="second column")
    ax.legend(loc="lower right")
