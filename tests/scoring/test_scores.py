"""What makes a row anomalous."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score

from skae import AutoencoderOutlierDetector


def test_reconstruction_is_the_mean_absolute_error_of_the_scaled_rows(
    make_detector, correlated_rows
):
    detector = make_detector(score_method="reconstruction", epochs=30)
    reconstructed = detector.fit(correlated_rows).reconstruct(correlated_rows)
    errors = np.abs(correlated_rows - reconstructed) / correlated_rows.std(axis=0)
    np.testing.assert_allclose(
        detector.score_samples(correlated_rows), -errors.mean(axis=1), rtol=1e-9
    )


@pytest.mark.parametrize("score_method", ["neighbors", "reconstruction"])
def test_scores_never_exceed_zero(score_method, make_detector, correlated_rows):
    detector = make_detector(score_method=score_method).fit(correlated_rows)
    assert (detector.score_samples(correlated_rows) < 0).all()


def test_far_row_that_the_network_reproduces_is_anomalous_by_neighbors_only(
    make_detector,
):
    """A line, and a point on it far beyond the training rows."""
    t = np.random.RandomState(0).normal(size=(300, 1))
    X = t * [1.0, -2.0, 0.5] + 0.1 * np.random.RandomState(1).normal(size=(300, 3))
    far = np.array([[8.0, -16.0, 4.0]])
    parameters = {
        "hidden_layer_sizes": 1,
        "activation": "linear",
        "epochs": 200,
        "learning_rate": 0.01,
        "contamination": 0.01,
    }
    labels = {
        method: make_detector(score_method=method, **parameters).fit(X).predict(far)
        for method in ("neighbors", "reconstruction")
    }
    assert labels == {"neighbors": [-1], "reconstruction": [1]}


def test_column_that_never_varied_is_anomalous_when_it_does(make_detector):
    X = np.random.RandomState(0).normal(size=(100, 3))
    X[:, 1] = 7.0
    detector = make_detector(score_method="neighbors", contamination=0.01).fit(X)
    assert detector.predict(np.median(X, axis=0)[None] + [[0.0, 3.0, 0.0]]) == [-1]


def test_score_method_after_fit_changes_no_score(make_detector, correlated_rows):
    detector = make_detector(score_method="neighbors").fit(correlated_rows)
    before = detector.score_samples(correlated_rows)
    detector.set_params(score_method="reconstruction")
    np.testing.assert_array_equal(detector.score_samples(correlated_rows), before)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share, floor", [(0.0, 0.93), (0.1, 0.88)])
def test_default_finds_malignant_rows(share, floor, seed):
    """Quality floor over seeds 0 to 2, with clean and with contaminated training."""
    X, y = load_breast_cancer(return_X_y=True)
    benign, malignant = X[y == 1], X[y == 0]
    n_odd = int(share * 250)
    detector = AutoencoderOutlierDetector(random_state=seed)
    detector.fit(np.concatenate([benign[:250], malignant[:n_odd]]))
    X_test = np.concatenate([benign[250:], malignant])
    is_benign = np.repeat([1, -1], [len(benign) - 250, len(malignant)])
    assert detector.score(X_test, is_benign) >= floor


@pytest.mark.parametrize("seed", range(3))
def test_default_sees_what_breaks_the_relation_among_contaminated_rows(seed):
    """Generated: 8 columns of 3 factors, 5 % of the training rows with no relation."""
    rng = np.random.default_rng(seed)
    normal = rng.normal(size=(1000, 3)) @ rng.normal(size=(3, 8))
    normal += 0.1 * rng.normal(size=normal.shape)
    odd = rng.permuted(normal[:50], axis=0)
    X, y = np.concatenate([normal, odd]), np.repeat([1, 0], [1000, 50])
    detector = AutoencoderOutlierDetector(random_state=seed).fit(X)
    assert roc_auc_score(y, detector.score_samples(X)) > 0.9


@pytest.mark.parametrize("score_method", ["neighbors", "reconstruction"])
@pytest.mark.parametrize("n_estimators", [1, 3])
def test_explanation_of_a_row_sums_to_its_anomaly(
    score_method, n_estimators, make_detector, correlated_rows
):
    detector = make_detector(score_method=score_method, n_estimators=n_estimators)
    contributions = detector.fit(correlated_rows).explain(correlated_rows)
    assert contributions.shape == correlated_rows.shape
    assert (contributions >= 0).all()
    np.testing.assert_allclose(
        contributions.sum(axis=1), -detector.score_samples(correlated_rows), rtol=1e-12
    )


@pytest.mark.parametrize("value", [1e307, 5e307, 1e308])
@pytest.mark.parametrize("n_estimators", [1, 3])
@pytest.mark.parametrize("score_method", ["neighbors", "reconstruction"])
def test_explanation_sums_to_the_anomaly_of_rows_that_overflow(
    score_method, n_estimators, value, make_detector, correlated_rows
):
    detector = make_detector(
        score_method=score_method, n_estimators=n_estimators, scaling=None
    )
    detector.fit(correlated_rows / correlated_rows.std(axis=0))
    rows = correlated_rows[:3].copy()
    rows[1] = value
    rows[2, :2] = value
    np.testing.assert_allclose(
        detector.explain(rows).sum(axis=1), -detector.score_samples(rows), rtol=1e-6
    )


@pytest.mark.parametrize("score_method", ["neighbors", "reconstruction"])
def test_explanation_names_the_column_that_was_changed(
    score_method, make_detector, correlated_rows
):
    detector = make_detector(score_method=score_method, epochs=100)
    detector.fit(correlated_rows)
    changed = correlated_rows[:100].copy()
    columns = np.arange(100) % 5
    changed[np.arange(100), columns] += 6 * correlated_rows.std(axis=0)[columns]
    named = detector.explain(changed).argmax(axis=1)
    assert (named == columns).mean() >= 0.95


@pytest.mark.parametrize("kind", ["far", "contradicting"])
def test_explanation_names_the_changed_column_more_often_than_the_errors_do(kind):
    """Tumours with one of 30 measurements changed; one odd value spoils many errors."""
    X, y = load_breast_cancer(return_X_y=True)
    train, rows = X[y == 1][:200], X[y == 1][200:].copy()
    numbers, columns = np.arange(len(rows)), np.arange(len(rows)) % 30
    if kind == "far":
        rows[numbers, columns] += 6 * train.std(axis=0)[columns]
    else:  # a usual value, from the other tail
        low, high = np.quantile(train, [0.05, 0.95], axis=0)
        is_high = rows[numbers, columns] > np.median(train, axis=0)[columns]
        rows[numbers, columns] = np.where(is_high, low[columns], high[columns])
    detector = AutoencoderOutlierDetector(random_state=0).fit(train)
    errors = np.abs(rows - detector.reconstruct(rows)) / train.std(axis=0)
    named, largest = detector.explain(rows).argmax(axis=1), errors.argmax(axis=1)
    assert (named == columns).mean() > (0.95 if kind == "far" else 0.7)
    assert (named == columns).mean() > (largest == columns).mean()


@pytest.mark.parametrize("n_changed, share", [(2, 0.95), (3, 0.85)])
def test_explanation_names_all_of_a_few_columns_that_were_changed(n_changed, share):
    X, y = load_breast_cancer(return_X_y=True)
    train, rows = X[y == 1][:200], X[y == 1][200:].copy()
    rng = np.random.default_rng(0)
    changed = np.array([rng.choice(30, n_changed, replace=False) for _ in rows])
    signs = rng.choice([-1, 1], changed.shape)
    rows[np.arange(len(rows))[:, np.newaxis], changed] = (
        np.median(train, axis=0)[changed] + 6 * signs * train.std(axis=0)[changed]
    )
    detector = AutoencoderOutlierDetector(random_state=0).fit(train)
    named = np.argsort(-detector.explain(rows), axis=1)[:, :n_changed]
    is_named = (np.sort(named, axis=1) == np.sort(changed, axis=1)).all(axis=1)
    assert is_named.mean() > share


def test_explanation_names_a_far_value_that_the_network_copies():
    X = np.random.RandomState(0).normal(size=(500, 5))
    detector = AutoencoderOutlierDetector(
        (16, 8), activation="linear", masking=0.0, random_state=0
    ).fit(X)
    changed, columns = X[:100].copy(), np.arange(100) % 5
    changed[np.arange(100), columns] += 6
    assert np.abs(detector.reconstruct(changed) - changed).max() < 1e-3
    named = detector.explain(changed).argmax(axis=1)
    assert (named == columns).mean() >= 0.95


@pytest.mark.parametrize("n_features", [1, 2, 3, 4])
def test_tables_with_few_columns_are_explained(n_features, make_detector):
    X = np.random.RandomState(0).normal(size=(50, n_features))
    X[0] = 6.0
    detector = make_detector().fit(X)
    contributions, expected = detector.explain(X, return_expected=True)
    assert expected.shape == X.shape
    np.testing.assert_array_equal(detector.explain(X), contributions)
    np.testing.assert_allclose(
        contributions.sum(axis=1), -detector.score_samples(X), rtol=1e-12
    )


def test_explanation_of_a_row_does_not_depend_on_its_neighbours(fitted):
    rows = np.random.RandomState(0).normal(size=(300, 5)) * [1, 1e3, 1e-3, 10, 1]
    expected = fitted.explain(rows)
    np.testing.assert_array_equal(fitted.explain(rows[250:260]), expected[250:260])


def test_row_that_is_reproduced_exactly_has_no_contributions(make_detector):
    detector = make_detector().fit(np.ones((20, 3)))
    assert detector.explain(np.ones((2, 3))).sum() == pytest.approx(
        -detector.score_samples(np.ones((2, 3))).sum()
    )


def test_explain_before_fit_is_an_error(make_detector, correlated_rows):
    with pytest.raises(NotFittedError):
        make_detector().explain(correlated_rows)


@pytest.mark.parametrize("score_method", ["neighbors", "reconstruction"])
@pytest.mark.parametrize("activation", ["relu", "relu6", "tanh", "softplus"])
def test_infinite_cell_is_an_error_wherever_it_is(
    score_method, activation, make_detector, correlated_rows
):
    """An infinite cell is told by the score, far finite ones must not be mistaken."""
    detector = make_detector(score_method=score_method, activation=activation)
    detector.fit(correlated_rows)
    far = correlated_rows.copy()
    far[3] = 1e308
    for method in (
        detector.score_samples,
        detector.predict,
        detector.decision_function,
    ):
        assert np.isfinite(method(far)).all()
        for column in range(far.shape[1]):
            infinite = far.copy()
            infinite[150, column] = -np.inf
            with pytest.raises(ValueError, match="contains infinity"):
                method(infinite)
