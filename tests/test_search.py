"""Pipelines and searches, as scikit-learn's users write them."""

import contextlib
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer

from skae import AutoencoderOutlierDetector


@pytest.fixture(scope="module")
def table():
    """Benign rows with one malignant row to ten; -1 marks the malignant."""
    X, y = load_breast_cancer(return_X_y=True)
    rows = np.r_[np.flatnonzero(y == 1)[:200], np.flatnonzero(y == 0)[:20]]
    return X[rows], np.where(y[rows] == 0, -1, 1)


def search(table, n_jobs, y=None):
    pipeline = make_pipeline(
        QuantileTransformer(n_quantiles=50, output_distribution="normal"),
        AutoencoderOutlierDetector(epochs=20, random_state=0),
    )
    X, labels = table
    folds = StratifiedKFold(2, shuffle=True, random_state=0).split(X, labels)
    grid = {"autoencoderoutlierdetector__hidden_layer_sizes": [(16, 2), (16, 8)]}
    scoring = None
    if y is not None:
        grid["autoencoderoutlierdetector__contamination"] = [0.02, 0.1]
        scoring = make_scorer(f1_score, pos_label=-1)
    searched = GridSearchCV(
        pipeline, grid, cv=list(folds), scoring=scoring, n_jobs=n_jobs
    )
    return searched.fit(X, y)


def test_search_with_labels_finds_the_contamination(table):
    found = search(table, 1, y=table[1])
    assert found.best_params_["autoencoderoutlierdetector__contamination"] == 0.1
    assert found.best_score_ > 0.3  # flagging at random has an F1 of 0.1


@pytest.mark.parametrize("supervised", [False, True])
def test_search_in_two_processes_equals_the_search_in_one(table, supervised):
    y = table[1] if supervised else None
    alone, parallel = search(table, 1, y), search(table, 2, y)
    np.testing.assert_array_equal(
        alone.cv_results_["mean_test_score"], parallel.cv_results_["mean_test_score"]
    )
    assert alone.best_params_ == parallel.best_params_
    assert np.isfinite(alone.cv_results_["mean_test_score"]).all()
    np.testing.assert_array_equal(
        alone.score_samples(table[0]), parallel.score_samples(table[0])
    )


def test_search_in_two_processes_is_silent_and_leaves_none_behind(
    run_in_fresh_process,
):
    mark = uuid.uuid4().hex  # in the environment of the process and of its children
    out, err = run_in_fresh_process(
        "import os, numpy as np\n"
        "from sklearn.model_selection import GridSearchCV\n"
        "from skae import AutoencoderOutlierDetector\n"
        "X = np.random.RandomState(0).normal(size=(100, 5))\n"
        "grid = {'hidden_layer_sizes': [2, 3]}\n"
        "detector = AutoencoderOutlierDetector(epochs=5, random_state=0)\n"
        "GridSearchCV(detector, grid, cv=2, n_jobs=2).fit(X)\n",
        SKAE_TEST_MARK=mark,
    )
    assert (out, err) == ("", "")
    patience = time.monotonic() + 30  # the workers end just after their parent
    while (left := processes_with(mark)) and time.monotonic() < patience:
        time.sleep(0.1)
    assert left == []


def processes_with(mark):
    """Processes, on Linux, that have this string in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile, or not ours
            if mark.encode() in (process / "environ").read_bytes():
                found.append(process.name)
    return found


def test_scores_serve_as_cross_validation_scores(table):
    X, y = table
    detector = AutoencoderOutlierDetector((32, 8), epochs=50, random_state=0)
    folds = StratifiedKFold(2, shuffle=True, random_state=0)
    assert cross_val_score(detector, X, y, cv=folds).min() > 0.8
