"""Searches and scores on a cluster of two processes; the docs' page has Ray's, too."""

import sys

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skae import AutoencoderOutlierDetector


@pytest.fixture(scope="module")
def X():
    X, y = load_breast_cancer(return_X_y=True)
    return X[y == 1]


@pytest.fixture(scope="module")
def frame(X):
    return pd.DataFrame(X, columns=[f"column {i}" for i in range(X.shape[1])])


@pytest.fixture
def search():
    return GridSearchCV(
        AutoencoderOutlierDetector(epochs=20, random_state=0),
        {"hidden_layer_sizes": [(16, 2), (16, 8)]},
        cv=2,
    )


@pytest.fixture(scope="module")
def fitted_pipeline(frame):
    detector = AutoencoderOutlierDetector((16, 4), epochs=20, random_state=0)
    return make_pipeline(StandardScaler(), detector).fit(frame)


def assert_found_alike(search, X):
    """What a search on a cluster has found is what one in this process finds."""
    there = search.cv_results_["mean_test_score"]
    scores = search.score_samples(X)
    search.fit(X)
    np.testing.assert_allclose(there, search.cv_results_["mean_test_score"], rtol=1e-6)
    np.testing.assert_allclose(scores, search.score_samples(X), rtol=1e-4)


@pytest.fixture(scope="module")
def client():
    """Two worker processes of Dask."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_array_on_dask_is_scored_by_blocks(client, X):
    da = pytest.importorskip("dask.array")
    detector = AutoencoderOutlierDetector((16, 4), epochs=20, random_state=0)
    detector.fit(X)
    rows = da.from_array(X, chunks=(100, -1))
    for method in (detector.score_samples, detector.predict, detector.explain):
        expected = method(X)
        drop_axis = 1 if expected.ndim == 1 else None
        found = rows.map_blocks(method, dtype=expected.dtype, drop_axis=drop_axis)
        assert found.shape == expected.shape
        np.testing.assert_array_equal(found.compute(), expected)


def test_frame_on_dask_is_scored_by_partitions(client, frame, fitted_pipeline):
    dd = pytest.importorskip("dask.dataframe")

    def score(part):
        return pd.Series(fitted_pipeline.score_samples(part), index=part.index)

    parts = dd.from_pandas(frame, npartitions=3)
    found = parts.map_partitions(score, meta=("score", "float64")).compute()
    np.testing.assert_array_equal(found, fitted_pipeline.score_samples(frame))
    assert found.index.equals(frame.index)


def test_workers_of_dask_score_without_tensorflow_and_search_with_it(
    client, X, search, fitted_pipeline, frame
):
    def has_tensorflow():
        return "tensorflow" in sys.modules

    scores = client.run(fitted_pipeline.score_samples, frame)
    assert len(scores) == 2
    for found in scores.values():
        np.testing.assert_array_equal(found, fitted_pipeline.score_samples(frame))
    assert list(client.run(has_tensorflow).values()) == [False, False]
    with joblib.parallel_config(backend="dask"):
        search.fit(X)
    assert list(client.run(has_tensorflow).values()) == [True, True]
    assert_found_alike(search, X)
