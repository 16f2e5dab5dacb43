"""The forward pass in NumPy: a row's result is its own."""

import os
import tracemalloc

import numpy as np
import pytest

from skae import AutoencoderOutlierDetector
from skae._scoring._neighbors import count_references


# Widths on either side of what BLAS treats in its own way.
@pytest.fixture(
    scope="module",
    params=[(3, (32, 8)), (30, (128, 64, 32)), (784, (32, 8)), (257, (100, 17, 1))],
    ids=str,
)
def detector_and_rows(request):
    n_features, hidden_layer_sizes = request.param
    X = np.random.RandomState(0).normal(size=(1000, n_features))
    detector = AutoencoderOutlierDetector(
        hidden_layer_sizes, epochs=1, batch_size=256, random_state=0
    )
    return detector.fit(X), X


@pytest.mark.parametrize("n_rows", [1, 2, 15, 16, 17, 255, 256, 257, 777])
def test_score_of_a_row_is_the_same_in_any_subset(detector_and_rows, n_rows):
    detector, X = detector_and_rows
    rows = np.random.RandomState(n_rows).permutation(len(X))[:n_rows]
    np.testing.assert_array_equal(
        detector.score_samples(X[rows]), detector.score_samples(X)[rows]
    )


def test_score_of_a_row_is_the_same_alone(detector_and_rows):
    detector, X = detector_and_rows
    alone = [detector.score_samples(row[None])[0] for row in X[:50]]
    np.testing.assert_array_equal(alone, detector.score_samples(X)[:50])


def test_memory_order_of_the_rows_does_not_matter(detector_and_rows):
    detector, X = detector_and_rows
    np.testing.assert_array_equal(
        detector.score_samples(np.asfortranarray(X)), detector.score_samples(X)
    )


def test_scoring_needs_memory_for_a_block_only(detector_and_rows):
    detector, X = detector_and_rows
    n_rows = min(200_000, 2**24 // X.shape[1])
    many = np.broadcast_to(X[:1], (n_rows, X.shape[1])).view()
    n_references = count_references(X.shape[1])
    # Of a thread: rows, outputs and the view, layers, and distances.
    block_bytes = 256 * (X.shape[1] * 8 + 2 * 128 + 4 * n_references) * 8
    output_bytes = n_rows * 8
    tracemalloc.start()
    detector.score_samples(many)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < output_bytes + os.cpu_count() * block_bytes + 2**20


@pytest.mark.parametrize("folds", [None, 2])
def test_codes_and_reconstructions_of_finite_rows_are_finite(folds):
    """Even where what lies between overflows."""
    X = np.random.RandomState(0).normal(size=(40, 3))
    detector = AutoencoderOutlierDetector(
        (4, 2), epochs=1, calibration_cv=folds, random_state=0
    ).fit(X)
    largest = np.finfo(np.float64).max
    rows = largest * np.array([[1.0, 1.0, 1.0], [-1.0, 1.0, 0.0], [0.0, 1.0, -1.0]])
    codes = detector.transform(rows)
    _, expected = detector.explain(rows, return_expected=True)
    for values in (
        codes,
        expected,
        detector.reconstruct(rows),
        detector.inverse_transform(np.full(codes.shape, largest)),
    ):
        assert np.isfinite(values).all()
