"""Fixtures shared by all tests; a fitted detector here must never be changed."""

import os

# scikit-learn's array API checks are skipped without it; read when SciPy is imported.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

import subprocess
import sys

import numpy as np
import pytest

from skae import AutoencoderOutlierDetector


@pytest.fixture(scope="session")
def correlated_rows():
    """200 rows of 5 columns that follow 2 hidden factors, in unlike units (seed 0)."""
    rng = np.random.RandomState(0)
    factors = rng.normal(size=(200, 2))
    rows = factors @ rng.normal(size=(2, 5)) + 0.1 * rng.normal(size=(200, 5))
    rows = rows * [1.0, 1e3, 1e-3, 10.0, 1.0] + [0.0, 5e4, 0.0, -3.0, 1.0]
    rows.flags.writeable = False  # frames of pandas 2 are views, and write through
    return rows


@pytest.fixture(scope="session")
def make_detector():
    """A quick and plain detector: small network, few epochs, nothing masked, seed 0."""

    def make(**parameters):
        article = {
            "learning_rate": 0.001,
            "learning_rate_schedule": "constant",
            "masking": 0.0,
            "score_method": "reconstruction",
        }
        quick = {"hidden_layer_sizes": (8, 2), "epochs": 5, "batch_size": 32}
        return AutoencoderOutlierDetector(
            **article | quick | {"random_state": 0} | parameters
        )

    return make


@pytest.fixture(scope="session")
def fitted(make_detector, correlated_rows):
    return make_detector(epochs=30).fit(correlated_rows)


@pytest.fixture(scope="session")
def run_in_fresh_process():
    """Run a Python program in a process of its own; return (stdout, stderr)."""

    def run(program, *arguments, **environment):
        finished = subprocess.run(
            [sys.executable, "-W", "error", "-c", program, *map(str, arguments)],
            capture_output=True,
            text=True,
            env=os.environ | environment,
            timeout=300,
        )
        assert finished.returncode == 0, finished.stderr
        return finished.stdout, finished.stderr

    return run
