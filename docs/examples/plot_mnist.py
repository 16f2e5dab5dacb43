"""
=========================================
Tell handwritten digits from other images
=========================================

An autoencoder that has learnt to reproduce handwritten digits reproduces nothing else:
shown noise, it draws strokes. Its error is the anomaly score, and a threshold on the
error tells digits from other images.

The parameters are those of the classic experiment on MNIST: layers of 128, 64 and 32
units and their mirror image, relu, a sigmoid output for pixels in [0, 1], Adam on the
mean squared error, 20 epochs of batches of 256, and the mean absolute error as score.

Run it from a shell with ``python plot_mnist.py``; ``--help`` lists the options. With a
network connection it takes MNIST. There the mean error is 0.033 on the 10,000 test
digits and 0.454 on 1,000 images of noise; flagged are 67 of the digits and all of the
noise:

.. image:: /images/mnist.png
   :alt: Histogram of the errors of MNIST's test digits, nearly all below 0.1, and far
         to the right the error of noise

"""

# %%
# The digits
# ----------
#
# MNIST comes from a file, from the cache of Keras or, if its server answers, from the
# network. Without any of them the small digits of scikit-learn stand in, as they do on
# this page.

import argparse
import contextlib
import os
import socket
import sys
import threading
import urllib.request
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skae import AnomalyScoreDisplay, AutoencoderOutlierDetector

MNIST_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
PATIENCE = 4  # seconds that a server may take to answer


def load_images(path):
    """Training and test images with values in [0, 1], and where they come from."""
    if path is not None:
        try:
            return *read_npz(path), str(path)
        except Exception as error:  # zipfile, zlib and NumPy raise many kinds
            sys.exit(
                f"{path} must be an .npz file with the arrays x_train and x_test, as "
                f"keras.datasets.mnist keeps it; reading it failed: {error}"
            )
    cached = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    with contextlib.suppress(Exception):
        return *read_npz(cached / "datasets" / "mnist.npz"), "MNIST"
    if (images := download_mnist()) is not None:
        return *images, "MNIST"
    print("MNIST is neither cached nor within reach: using scikit-learn's digits.")
    images = load_digits().images / 16
    return *train_test_split(images, random_state=0), "load_digits"


def read_npz(path):
    """Training and test images of a file in Keras's layout."""
    with np.load(path) as arrays:
        return scale_pixels(arrays["x_train"]), scale_pixels(arrays["x_test"])


def scale_pixels(images):
    """Bytes as numbers in [0, 1]."""
    return images / np.float32(255)


def download_mnist():
    """Training and test images, cached by Keras for the next time; None on failure."""
    if not server_answers():
        return None
    import keras  # takes seconds, so only now

    socket.setdefaulttimeout(PATIENCE)  # Keras sets none: a stalled download must end
    try:
        (train, _), (test, _) = keras.datasets.mnist.load_data()
    except Exception as error:  # Keras raises nothing more special
        print(f"The download of MNIST failed: {error}")
        return None
    finally:
        socket.setdefaulttimeout(None)
    return scale_pixels(train), scale_pixels(test)


def server_answers():
    """Whether the server of MNIST answers in time.

    The look-up of its name knows no time limit, so that it waits in a thread of its
    own, which the end of the program does not wait for.
    """
    answered = threading.Event()

    def ask():
        request = urllib.request.Request(MNIST_URL, method="HEAD")
        with contextlib.suppress(Exception):
            urllib.request.urlopen(request, timeout=PATIENCE).close()
            answered.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return answered.is_set()


parser = argparse.ArgumentParser(
    description="Train an autoencoder on handwritten digits and show it noise."
)
parser.add_argument("--data", type=Path, help="MNIST in Keras's .npz layout")
parser.add_argument(
    "--output", default="mnist.png", help="picture to write (default: %(default)s)"
)
arguments = parser.parse_args()

train_images, test_images, source = load_images(arguments.data)
image_shape = train_images.shape[1:]
X_train = train_images.reshape(len(train_images), -1)
X_test = test_images.reshape(len(test_images), -1)
X_noise = np.random.default_rng(0).uniform(size=(1000, X_train.shape[1]))
print(f"data: {source}, {len(X_train):,} training and {len(X_test):,} test digits")

# %%
# Fit and flag
# ------------
#
# Nothing but digits is needed to fit the detector. ``contamination`` places the
# threshold: 1 % of the training digits lie beyond it, and about as many of the test
# digits do if there were plenty to learn from.

# An epoch is 235 updates on MNIST, but 6 on the small digits: they need more of them.
epochs = 20 if len(X_train) > 10_000 else 200

detector = AutoencoderOutlierDetector(
    hidden_layer_sizes=(128, 64, 32),
    activation="relu",
    output_activation="sigmoid",
    scaling=None,
    optimizer="adam",
    loss="mean_squared_error",
    learning_rate=0.001,
    learning_rate_schedule="constant",
    epochs=epochs,
    batch_size=256,
    masking=0.0,
    score_method="reconstruction",
    contamination=0.01,
    verbose=int(sys.stdout.isatty()),  # a progress bar belongs on a screen only
    random_state=0,
)
detector.fit(X_train)

for name, X in ("test digits", X_test), ("noise images", X_noise):
    error = -detector.score_samples(X).mean()
    flagged = np.sum(detector.predict(X) == -1)
    print(f"{name}: mean error {error:.4f}, flagged {flagged:,} of {len(X):,}")

# %%
# Look at the errors
# ------------------
#
# The error of the noise lies far to the right of those of the digits. The images below
# are a digit and the noise, and what the network makes of them.

figure, axes = plt.subplot_mosaic(
    [["errors"] * 4, [0, 1, 2, 3]],
    height_ratios=[3, 2],
    figsize=(8, 6),
    layout="constrained",
)
display = AnomalyScoreDisplay.from_estimator(
    detector, X_test, marked={"image of noise": X_noise[0]}, ax=axes["errors"]
)
display.ax_.set_ylabel("number of test digits")
display.ax_.legend(loc="upper center")

panels = []
for title, row in ("test digit", X_test[:1]), ("image of noise", X_noise[:1]):
    error = -detector.score_samples(row)[0]
    panels.append((title, "", row))
    reconstructed = detector.reconstruct(row)
    panels.append(("its reconstruction", f"error {error:.3f}", reconstructed))
for i, (title, caption, row) in enumerate(panels):
    axes[i].imshow(row.reshape(image_shape), cmap="gray", vmin=0, vmax=1)
    axes[i].set(title=title, xlabel=caption, xticks=[], yticks=[])

figure.savefig(arguments.output, dpi=120)
print(f"picture: {arguments.output}")
