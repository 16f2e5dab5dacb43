"""The distance to the nearest references, as the networks see them."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, make_blobs, make_moons
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from skae import AutoencoderOutlierDetector
from skae._scoring import _neighbors


@pytest.fixture
def make_detector(make_detector):
    """Quick, by the neighbours, with masked training."""

    def make(**parameters):
        return make_detector(
            **{"score_method": "neighbors", "masking": 1.0, "epochs": 20} | parameters
        )

    return make


def compute_by_hand(detector, X, references, X_fit):
    """Minus the scores, by loops, from the reconstructions and the reference rows."""
    center, scale = np.nanmean(X_fit, axis=0), np.nanstd(X_fit, axis=0)

    def standardise(rows):
        return (rows - center) / scale

    z_fit = standardise(X_fit)
    rms = np.sqrt(
        np.nanmean((z_fit - standardise(detector.reconstruct(X_fit))) ** 2, 0)
    )
    s = rms + 0.1 * rms.mean() + 0.1 + 40 / len(X_fit)

    def see(rows):
        z, net = standardise(rows), standardise(detector.reconstruct(rows))
        return np.clip(z, -20, 20), np.clip((z - net) / s, -20, 20), net

    q_z, q_r, q_net = see(references)
    is_gap = np.isnan(references)
    q_z[is_gap], q_r[is_gap] = q_net[is_gap], 0.0
    anomalies = []
    for row, z, r in zip(X, *see(X)[:2], strict=True):
        distances = np.nansum(np.abs(z - q_z) + np.abs(r - q_r), axis=1)
        same = np.flatnonzero(
            [np.array_equal(row, q, equal_nan=True) for q in references]
        )
        distances = np.delete(distances, same[:1])
        anomalies.append(np.sort(distances)[:12].mean() / (~np.isnan(row)).sum())
    return np.array(anomalies)


@pytest.mark.parametrize("has_gaps", [False, True])
@pytest.mark.parametrize("n_estimators", [1, 2])
def test_score_is_the_formula_of_the_docstring(
    n_estimators, has_gaps, make_detector, correlated_rows
):
    X = correlated_rows.copy()
    if has_gaps:
        X[np.random.RandomState(0).uniform(size=X.shape) < 0.2] = np.nan
        X = X[~np.isnan(X).all(axis=1)]
    detector = make_detector(n_estimators=n_estimators).fit(X)
    model = detector._model
    references = model.neighborhood.references * model.scale + model.center
    # By way of scaled rows the last digit may differ: the training rows themselves.
    nearest = np.nanargmin(
        [
            np.where((np.isnan(X) == np.isnan(q)).all(1), np.nansum(abs(X - q), 1), 9e9)
            for q in references
        ],
        axis=1,
    )
    fresh = X[:50] * 1.1
    expected = compute_by_hand(detector, np.r_[X, fresh], X[nearest], X)
    np.testing.assert_allclose(
        detector.score_samples(np.r_[X, fresh]), -expected, rtol=1e-6
    )


@pytest.mark.parametrize("n_columns", [5, 300])
def test_references_are_the_less_suspicious_rows_and_never_too_many(
    n_columns, make_detector
):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(3000, n_columns))
    X[:150] *= 5.0  # 5 %
    detector = make_detector(epochs=1).fit(X)
    references = detector._model.neighborhood.references
    assert len(references) <= 512
    assert 2 * references.size <= 500_000
    assert np.abs(references).max() < 5.5 / X.std(axis=0).min()


def test_reconstruction_keeps_no_row(make_detector, correlated_rows):
    detector = make_detector(score_method="reconstruction").fit(correlated_rows)
    assert detector._model.neighborhood is None
    detector = make_detector().fit(correlated_rows)
    assert len(detector._model.neighborhood.references) == 180


@pytest.mark.parametrize(
    "copy",
    [
        lambda X: X.copy(),
        lambda X: X.astype(np.float32),
        lambda X: np.array([[float(f"{x:.12g}") for x in row] for row in X]),
        lambda X: np.where(X == 0.0, -0.0, X),
        lambda X: X * (1 + 1e-9),
    ],
    ids=["copy", "float32", "%.12g", "-0", "rounding"],
)
@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_copy_of_a_training_row_is_judged_as_that_row(copy, offset, make_detector):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(200, 2)) @ rng.normal(size=(2, 5)) + offset
    X[::3, 1] = 0.0
    X[::7, 3] = np.nan
    detector = make_detector(contamination=0.1).fit(X)
    labels = detector.predict(X)
    assert (labels == -1).mean() == 0.1
    assert (detector.predict(copy(X)) != labels).mean() <= (0.01 if offset else 0.0)


@pytest.mark.parametrize("offset", [1e3, 1e6, 1e9])
def test_rows_far_from_0_are_no_copies_of_each_other(offset, make_detector):
    """Though they differ by little of their values: the scores stay what they were."""
    X = np.random.RandomState(0).normal(size=(400, 3))
    detector = make_detector(epochs=2)
    expected = clone(detector).fit(X).score_samples(X)
    scores = detector.fit(X + offset).score_samples(X + offset)
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


def test_whole_numbers_are_copies_only_if_they_are_equal(make_detector):
    """Of 20,000 that lie close to each other, wherever 0 is."""
    X = np.random.RandomState(0).randint(20_000, size=(600, 1)).astype(float)
    detector = make_detector(epochs=2)
    scores = [
        clone(detector).fit(X + offset).score_samples(X + offset)
        for offset in (0.0, 2.0**30, 2.0**45)
    ]
    np.testing.assert_array_equal(scores[1:], [scores[0]] * 2)


def test_large_whole_numbers_in_float32_are_copies(make_detector):
    """Above 2^24 they are rounded there."""
    X = np.random.RandomState(0).randint(10**9, size=(200, 2)).astype(float)
    detector = make_detector(contamination=0.1).fit(X)
    copies = X.astype(np.float32)
    assert (copies != X).any()
    np.testing.assert_array_equal(detector.predict(copies), detector.predict(X))


def test_row_that_is_the_only_reference_scores_0(make_detector):
    detector = make_detector(epochs=1).fit(np.array([[1.0, 2.0]]))
    assert detector.score_samples([[1.0, 2.0]]) == 0.0
    assert detector.score_samples([[1.0, 3.0]]) < 0.0


@pytest.mark.parametrize(
    "X",
    [
        np.repeat(np.eye(3), [2500, 1500, 1000], axis=0),
        np.random.RandomState(0).binomial(1, [0.5, 0.5, 0.8, 0.3], size=(2000, 4)),
    ],
    ids=["three rows", "binary"],
)
def test_no_row_that_was_never_seen_is_more_normal_than_a_tenth_of_the_data(X):
    X = np.asarray(X, float)
    detector = AutoencoderOutlierDetector(random_state=0).fit(X)
    rows, counts = np.unique(X, axis=0, return_counts=True)
    common = detector.score_samples(rows[counts >= 0.1 * len(X)])
    grid = np.stack(np.meshgrid(*[[-1.0, 0.0, 0.5, 1.0, 2.0]] * X.shape[1]), -1)
    grid = grid.reshape(-1, X.shape[1])
    is_seen = (grid[:, None] == rows).all(axis=2).any(axis=1)
    assert detector.score_samples(grid[~is_seen]).max() < common.min()


def test_weight_of_a_row_makes_it_many_neighbours(make_detector):
    X = np.random.RandomState(0).normal(size=(100, 3))
    weights = np.r_[50.0, np.ones(99)]
    detector = make_detector().fit(X, sample_weight=weights)
    references = detector._model.neighborhood.references
    z = (X[0] - detector._model.center) / detector._model.scale
    assert np.isclose(references, z).all(axis=1).sum() == 50


def test_score_does_not_grow_with_the_columns():
    X = np.random.RandomState(0).normal(size=(500, 4))
    scores = [
        AutoencoderOutlierDetector(epochs=1, random_state=0)
        .fit(np.tile(X, repeats))
        .score_samples(np.tile(X, repeats))
        .mean()
        for repeats in (1, 30, 60)
    ]
    assert np.ptp(scores) < 0.5 * np.abs(scores).min()


@pytest.mark.parametrize("n_columns", [3, 200])
def test_score_of_a_row_is_its_own_to_the_bit(n_columns, make_detector):
    """In rows narrow and wide, with gaps, copies of references among them (seed 0)."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(700, n_columns))
    X[rng.uniform(size=X.shape) < 0.1] = np.nan
    X[np.isnan(X).all(axis=1), 0] = 0.0
    detector = make_detector(epochs=1, n_estimators=2).fit(X)
    scores = detector.score_samples(X)
    order = rng.permutation(len(X))
    np.testing.assert_array_equal(detector.score_samples(X[order]), scores[order])
    for n_rows in (1, 17, 300):
        np.testing.assert_array_equal(
            detector.score_samples(X[-n_rows:]), scores[-n_rows:]
        )


@pytest.mark.parametrize("n_columns", [5, 200])
def test_infinite_cell_is_refused_before_it_is_clipped(n_columns, make_detector):
    X = np.random.RandomState(0).normal(size=(50, n_columns))
    detector = make_detector(epochs=1).fit(X)
    X[7, 3] = -np.inf
    with pytest.raises(ValueError, match="infinity"):
        detector.score_samples(X)
    X[7, 3] = -1e300
    assert np.isfinite(detector.score_samples(X)).all()


@pytest.mark.parametrize("n_columns", [5, 200])
def test_explanation_sums_to_the_anomaly_with_gaps_too(n_columns, make_detector):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(300, 3)) @ rng.normal(size=(3, n_columns))
    X[rng.uniform(size=X.shape) < 0.1] = np.nan
    X[np.isnan(X).all(axis=1), 0] = 0.0
    detector = make_detector(n_estimators=2).fit(X)
    contributions = detector.explain(X)
    assert (contributions >= 0.0).all()
    assert (contributions[np.isnan(X)] == 0.0).all()
    np.testing.assert_allclose(
        contributions.sum(axis=1), -detector.score_samples(X), rtol=1e-9
    )


@pytest.mark.parametrize("scaling", [None, "standard", "minmax"])
def test_offset_of_all_cells_hides_no_row_behind_the_clip(scaling):
    """Two clusters, far from 0 beside their distance; rows in the gap between them."""
    rng = np.random.RandomState(0)
    X = np.r_[rng.normal(-3, 0.3, (200, 2)), rng.normal(3, 0.3, (200, 2))] + 100.0
    detector = AutoencoderOutlierDetector(
        scaling=scaling, contamination=0.02, random_state=0
    )
    gap = 100.0 + rng.uniform(-1, 1, size=(100, 2))
    assert (detector.fit(X).predict(gap) == -1).all()


def test_explanation_of_a_reference_is_that_of_a_row_next_to_it(make_detector):
    """A hidden cell does not make it a stranger to itself.

    Not quite: the row next to it has it as one of ten neighbours, at no distance.
    """
    X = np.random.RandomState(0).normal(size=(40, 400))
    detector = make_detector().fit(X)
    np.testing.assert_allclose(
        detector.explain(X), detector.explain(X + 1e-4), rtol=0.2, atol=0.02
    )


def test_stream_compares_with_its_sample(make_detector, correlated_rows):
    detector = make_detector()
    for rows in np.array_split(correlated_rows, 4):
        detector.partial_fit(rows)
    assert len(detector._model.neighborhood.references) == 180
    assert (detector.predict(correlated_rows) == -1).mean() < 0.5


def test_refit_anew_forgets_the_references(make_detector, correlated_rows):
    detector = make_detector().fit(correlated_rows).fit(correlated_rows[:50])
    expected = clone(detector).fit(correlated_rows[:50])
    np.testing.assert_array_equal(
        detector.score_samples(correlated_rows), expected.score_samples(correlated_rows)
    )


# ------------------------------------------------------------------ quality floors


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_one_column_flags_no_row_within_one_deviation(seed):
    """N(20, 3), 500 rows, a share of .02."""
    X = np.random.default_rng(seed).normal(20.0, 3.0, size=(500, 1))
    detector = AutoencoderOutlierDetector(contamination=0.02, random_state=seed)
    flagged = X[detector.fit_predict(X) == -1]
    assert np.abs(flagged - 20.0).min() > 3.0


def test_wide_rows_without_the_factors_are_less_normal():
    """100 rows of 5,000 columns of 5 factors, against rows of the same margins.

    Mean over seeds 0 to 3; .958, of which the worst is .949.
    """
    areas = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(200, 5)) @ rng.normal(size=(5, 5000))
        X += 0.5 * rng.normal(size=X.shape)
        odd = rng.permuted(X[:100], axis=0)
        detector = AutoencoderOutlierDetector(random_state=seed).fit(X[:100])
        scores = detector.score_samples(np.r_[X[100:], odd])
        areas.append(roc_auc_score(np.repeat([1, 0], 100), scores))
    assert np.mean(areas) >= 0.95


@pytest.mark.slow
def test_few_rows_flag_few_fresh_ones():
    """250 benign rows at .05, mean of 10 splits."""
    X, y = load_breast_cancer(return_X_y=True)
    benign, malignant = X[y == 1], X[y == 0]
    flagged, areas = [], []
    for seed in range(10):
        train, fresh = train_test_split(benign, train_size=250, random_state=seed)
        detector = AutoencoderOutlierDetector(contamination=0.05, random_state=seed)
        detector.fit(train)
        flagged.append((detector.predict(fresh) == -1).mean())
        y_test = np.repeat([1, -1], [len(fresh), len(malignant)])
        areas.append(detector.score(np.r_[fresh, malignant], y_test))
    assert np.mean(flagged) <= 0.10
    assert np.mean(areas) >= 0.95


def make_toy_set(kind, draw):
    """255 rows of scikit-learn's comparison of detectors, and 45 strewn ones."""
    blobs = {"random_state": 0, "n_samples": 255, "n_features": 2}
    two = [[2, 2], [-2, -2]]
    inliers = {
        "one blob": lambda: make_blobs(
            centers=[[0, 0], [0, 0]], cluster_std=0.5, **blobs
        )[0],
        "two": lambda: make_blobs(centers=two, cluster_std=0.5, **blobs)[0],
        "unequal": lambda: make_blobs(centers=two, cluster_std=[1.5, 0.3], **blobs)[0],
        "moons": lambda: (
            4.0
            * (make_moons(255, noise=0.05, random_state=0)[0] - np.array([0.5, 0.25]))
        ),
    }[kind]
    odd = np.random.RandomState(100 + draw).uniform(-6, 6, size=(45, 2))
    return np.r_[inliers(), odd], np.repeat([1, -1], [255, 45])


@pytest.mark.slow
def test_toy_sets_are_told_apart_as_well_as_by_isolation_forest():
    """Mean over four sets and 3 draws."""
    areas = {"skae": [], "forest": []}
    for kind in ("one blob", "two", "unequal", "moons"):
        for draw in range(3):
            X, y = make_toy_set(kind, draw)
            for name, detector in (
                (
                    "skae",
                    AutoencoderOutlierDetector(contamination=0.15, random_state=0),
                ),
                ("forest", IsolationForest(contamination=0.15, random_state=0)),
            ):
                areas[name].append(roc_auc_score(y, detector.fit(X).score_samples(X)))
    assert np.mean(areas["skae"]) >= np.mean(areas["forest"])


def test_bounds_of_wide_tables():
    assert _neighbors.count_references(30) == 512
    assert _neighbors.count_references(784) == 256
    assert _neighbors.count_references(5000) == 50
    assert _neighbors.count_references(10**6) == 1
    assert _neighbors.count_neighbors(5000) == 2
    assert _neighbors.count_neighbors(5051) == 1  # of 49 references
    assert _neighbors.count_neighbors(10**6) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["one blob", "two"])
@pytest.mark.parametrize("draw", range(3))
def test_auto_flags_about_the_strewn_rows_in_two_columns(kind, draw):
    """Within 1/3 and 2 times the 45 of them."""
    X, _ = make_toy_set(kind, draw)
    labels = AutoencoderOutlierDetector(random_state=draw).fit_predict(X)
    assert 15 <= (labels == -1).sum() <= 90
