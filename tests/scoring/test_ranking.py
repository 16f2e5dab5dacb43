"""`score` without labels."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import pairwise_distances
from sklearn.model_selection import GridSearchCV

import skae
from skae import AutoencoderOutlierDetector, make_synthetic_anomalies


def test_score_without_labels_is_the_rank_correlation_with_isolation(
    make_detector, correlated_rows
):
    """From 0 to 1, as the area under the ROC curve; the nearest two other rows."""
    X = correlated_rows[:50]
    fitted = make_detector(score_method="neighbors").fit(correlated_rows[50:])
    # Rows in canonical order, so that the anomalies are the same.
    X, _ = skae._tables._weighting.merge_rows(X, np.ones(50))
    pool = np.concatenate([X, make_synthetic_anomalies(X)])
    distances = pairwise_distances((pool - X.mean(axis=0)) / X.std(axis=0))[:, :50]
    np.fill_diagonal(distances, np.inf)
    isolation = np.sort(distances)[:, :2].mean(axis=1)
    rho = spearmanr(isolation, -fitted.score_samples(pool)).statistic
    assert fitted.score(X) == pytest.approx((1 + rho) / 2, abs=1e-12)


def test_score_without_labels_sees_that_outliers_were_learnt():
    """One row in six is malignant; a network that reproduces all of them is no help."""
    X, y = load_breast_cancer(return_X_y=True)
    rows = np.r_[np.flatnonzero(y == 1)[:250], np.flatnonzero(y == 0)[:50]]
    rows = np.random.default_rng(0).permutation(rows)
    X, labels = X[rows], np.where(y[rows] == 0, -1, 1)
    default, plain = (
        AutoencoderOutlierDetector(random_state=0, **parameters).fit(X[:200])
        for parameters in ({}, {"masking": 0.0, "score_method": "reconstruction"})
    )
    assert default.score(X, labels) > plain.score(X, labels) + 0.05
    assert default.score(X[200:]) > plain.score(X[200:]) + 0.01


def test_search_without_labels_prefers_what_flags_fewer_benign_rows():
    X, y = load_breast_cancer(return_X_y=True)
    benign, fresh = np.split(X[y == 1], [240])
    search = GridSearchCV(
        AutoencoderOutlierDetector((64, 8), random_state=0),
        {"masking": [0.0, 1.0]},
        cv=3,
    ).fit(benign)
    whole, masked = (
        AutoencoderOutlierDetector((64, 8), masking=masking, random_state=0)
        for masking in (0.0, 1.0)
    )
    n_flagged = [(d.fit(benign).predict(fresh) == -1).sum() for d in (whole, masked)]
    assert n_flagged[1] < n_flagged[0]
    assert search.best_params_ == {"masking": 1.0}


@pytest.mark.parametrize("n_rows", [10, 11, 30])
@pytest.mark.parametrize("score_method", ["neighbors", "reconstruction"])
def test_score_without_labels_is_finite_from_10_rows_of_2_columns_on(
    score_method, n_rows, make_detector, correlated_rows
):
    X = correlated_rows[:, :2]
    detector = make_detector(score_method=score_method).fit(X)
    assert 0.0 <= detector.score(X[:n_rows]) <= 1.0


def test_score_of_fewer_rows_without_labels_is_nan_and_a_warning(
    fitted, correlated_rows
):
    X = np.concatenate([correlated_rows[:9], correlated_rows[:9]])
    message = r"at least 10 different rows and 2 columns.*\(9, 5\). Pass labels"
    with pytest.warns(UndefinedMetricWarning, match=message) as seen:
        assert np.isnan(fitted.score(X))
    assert seen[0].filename == __file__


def test_scores_that_are_all_equal_are_chance(make_detector):
    """Each row is so far out that it has the lowest score there is."""
    X = np.random.RandomState(0).normal(size=(30, 3))
    detector = make_detector().fit(1e-20 * X)
    assert len(set(detector.score_samples(1e300 * X))) == 1
    assert detector.score(1e300 * X) == 0.5


@pytest.mark.parametrize("largest", [1e150, 1e300])
def test_score_without_labels_takes_cells_that_overflow(
    largest, fitted, correlated_rows
):
    X = correlated_rows.copy()
    X[0, 0] = largest
    assert 0.0 <= fitted.score(X) <= 1.0


def test_score_without_labels_does_not_depend_on_units(make_detector, correlated_rows):
    units = [2.0**-10, 2.0**10, 1.0, 2.0**30, 2.0**-30]
    scores = [
        make_detector(scaling="standard", epochs=20).fit(X).score(X)
        for X in (correlated_rows, correlated_rows * units)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-9)


@pytest.mark.parametrize("unit", [2.0**-600, 2.0**-900, 2.0**500])
def test_score_without_labels_takes_squares_that_underflow_or_overflow(
    unit, make_detector, correlated_rows
):
    X = np.concatenate([correlated_rows[:30], 3 * correlated_rows[:3]])
    units = [unit, 1.0, 1.0, 1.0, 1.0]
    found = []
    for rows in X, X * units:
        detector = make_detector(epochs=1, scaling="minmax").fit(rows)
        found.append(detector.score(rows))
    assert found[1] == found[0]


def test_score_of_many_rows_without_labels_is_that_of_some(
    monkeypatch, fitted, correlated_rows
):
    whole = fitted.score(correlated_rows)
    monkeypatch.setattr(skae._scoring._ranking, "MAX_ROWS", 100)
    score = fitted.score(correlated_rows)
    assert score != whole
    assert score == pytest.approx(whole, abs=0.1)
    assert score == fitted.score(correlated_rows[::-1])
    weights = np.where(np.arange(200) < 20, 1e6, 1.0)
    few = fitted.score(correlated_rows, sample_weight=weights)
    assert few == pytest.approx(fitted.score(correlated_rows[:20]), abs=0.1)


def test_codes_of_categories_are_no_distances():
    """Isolation is the same whatever order their values have."""
    rng = np.random.default_rng(0)
    kind = rng.integers(5, size=150)
    pool = np.column_stack([rng.normal(size=(150, 2)), kind])
    renamed = pool.copy()
    renamed[:, 2] = np.array([3, 0, 4, 1, 2])[kind]
    isolation, again = (
        skae._scoring._ranking._measure_isolation(rows, 50, np.array([2]))
        for rows in (pool, renamed)
    )
    np.testing.assert_allclose(isolation, again, rtol=1e-12)


def test_two_categories_are_apart_by_their_variance_in_score_without_labels():
    rng = np.random.default_rng(0)
    kind = rng.integers(5, size=150)
    X = np.column_stack([kind + rng.normal(size=150), rng.normal(size=150), kind])
    detector = AutoencoderOutlierDetector(
        (8, 2), epochs=1, categorical_features=[2], random_state=0
    ).fit(X[:100])
    # Rows in canonical order, so that the anomalies are the same.
    X, _ = skae._tables._weighting.merge_rows(X[100:], np.ones(50))
    pool = np.concatenate([X, make_synthetic_anomalies(X)])
    is_kind = pool[:, [2]] == np.arange(5)
    variance = 1 - np.square(is_kind[:50].mean(axis=0)).sum()
    numbers = (pool[:, :2] - X[:, :2].mean(axis=0)) / X[:, :2].std(axis=0)
    cells = np.hstack([numbers, is_kind / np.sqrt(variance)])
    distances = pairwise_distances(cells)[:, :50]
    np.fill_diagonal(distances, np.inf)
    isolation = np.sort(distances)[:, :2].mean(axis=1)
    rho = spearmanr(isolation, -detector.score_samples(pool)).statistic
    assert detector.score(X) == pytest.approx((1 + rho) / 2, abs=1e-12)
