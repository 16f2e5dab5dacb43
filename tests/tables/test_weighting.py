"""Sample weights: what a row counts, wherever rows are counted."""

import re

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.fixes import parse_version

import skae._tables._reading
import skae._tables._weighting
from skae._tables._scaling import fit_scaling
from skae._tables._weighting import draw_by_weight, merge_rows

CONFIGURATIONS = [
    {},
    {"masking": 1.0, "score_method": "neighbors", "contamination": 0.1},
    {"early_stopping": True, "n_iter_no_change": 2},
    {"calibration_fraction": 0.3, "contamination": 0.1},
    {"calibration_cv": 3, "contamination": 0.1},
    {"scaling": "robust", "n_estimators": 2},
    {"scaling": "minmax", "output_activation": "sigmoid"},
    {"optimizer": "rmsprop", "loss": "mean_absolute_error", "scaling": None},
]


@pytest.fixture(scope="module")
def weights():
    """Whole numbers from 0 to 4 for 200 rows (seed 0)."""
    return np.random.RandomState(0).randint(5, size=200)


def repeat(X, weights):
    """Each row as often as it weighs, in random order (seed 1)."""
    repeated = np.repeat(X, weights, axis=0)
    return repeated[np.random.RandomState(1).permutation(len(repeated))]


@pytest.mark.filterwarnings("ignore:Early stopping did not end")
@pytest.mark.parametrize("parameters", CONFIGURATIONS, ids=str)
def test_weight_is_repetition_to_the_bit(
    parameters, make_detector, correlated_rows, weights
):
    scale = "scaling" in parameters and parameters["scaling"] is None
    X = StandardScaler().fit_transform(correlated_rows) if scale else correlated_rows
    detector = make_detector(**parameters)
    weighted = clone(detector).fit(X, sample_weight=weights)
    repeated = clone(detector).fit(repeat(X, weights))
    np.testing.assert_array_equal(weighted.score_samples(X), repeated.score_samples(X))
    np.testing.assert_array_equal(weighted.transform(X), repeated.transform(X))
    assert weighted.offset_ == repeated.offset_
    assert weighted.loss_curve_ == repeated.loss_curve_
    assert weighted.validation_loss_curve_ == repeated.validation_loss_curve_


@pytest.mark.parametrize(
    "make_table", [csr_array, np.float32], ids=["sparse", "float32"]
)
def test_weight_is_repetition_in_other_tables(
    make_table, make_detector, correlated_rows, weights
):
    X = np.where(
        correlated_rows < np.median(correlated_rows, axis=0), 0, correlated_rows
    )
    weighted = make_detector().fit(make_table(X), sample_weight=weights)
    repeated = make_detector().fit(make_table(repeat(X, weights)))
    np.testing.assert_array_equal(weighted.score_samples(X), repeated.score_samples(X))


def test_weight_is_repetition_where_cells_are_missing(
    make_detector, correlated_rows, weights
):
    X = correlated_rows.copy()
    X[np.random.RandomState(0).uniform(size=X.shape) < 0.2] = np.nan
    X[:5] = np.nan
    weights = np.r_[np.zeros(5), weights[5:]]  # left out before anybody warns
    weighted = make_detector(scaling="robust").fit(X, sample_weight=weights)
    repeated = make_detector(scaling="robust").fit(repeat(X, weights.astype(int)))
    np.testing.assert_array_equal(
        weighted.score_samples(X[5:]), repeated.score_samples(X[5:])
    )
    assert weighted.offset_ == repeated.offset_


def test_unit_of_the_weights_does_not_matter(make_detector, correlated_rows, weights):
    detector = make_detector(contamination=0.1)
    once = clone(detector).fit(correlated_rows, sample_weight=weights)
    eightfold = clone(detector).fit(correlated_rows, sample_weight=weights / 8)
    np.testing.assert_array_equal(
        once.score_samples(correlated_rows), eightfold.score_samples(correlated_rows)
    )
    assert once.offset_ == eightfold.offset_


def test_order_of_the_rows_does_not_matter(make_detector, correlated_rows):
    detector = make_detector(masking=1.0)
    expected = clone(detector).fit(correlated_rows)
    other = clone(detector).fit(correlated_rows[::-1])
    np.testing.assert_array_equal(
        other.score_samples(correlated_rows), expected.score_samples(correlated_rows)
    )
    assert other.offset_ == expected.offset_


def test_weights_move_the_network_the_scaling_and_the_threshold(make_detector):
    """Of two groups that follow opposite relations, the heavy one is learnt."""
    rng = np.random.RandomState(0)
    x = rng.normal(size=(200, 1))
    one, other = np.hstack([x, x, x]), np.hstack([x, -x, 5 + x])
    X = np.r_[one, other] + 0.05 * rng.normal(size=(400, 3))
    heavy_first = np.repeat([20.0, 1.0], 200)
    detector = make_detector(
        hidden_layer_sizes=(16, 1), epochs=60, contamination=0.05, learning_rate=0.01
    )
    scores = detector.fit(X, sample_weight=heavy_first).score_samples(X)
    assert scores[:200].mean() > 2 * scores[200:].mean()
    share = heavy_first[detector.predict(X) == -1].sum() / heavy_first.sum()
    assert share == pytest.approx(0.05, abs=0.005)
    scores = detector.fit(X, sample_weight=heavy_first[::-1]).score_samples(X)
    assert scores[200:].mean() > 2 * scores[:200].mean()


@pytest.mark.parametrize("scaling", ["standard", "minmax", "robust", None])
def test_scaling_by_weight_is_that_of_repeated_rows(scaling, correlated_rows, weights):
    X, weights = correlated_rows, weights + 1
    weighted = fit_scaling(X, scaling, weights.astype(float))
    repeated = fit_scaling(np.repeat(X, weights, axis=0), scaling)
    if scaling == "robust":  # between two rows the quartiles are chosen otherwise
        np.testing.assert_allclose(weighted.scale, repeated.scale, rtol=0.05)
    else:
        np.testing.assert_allclose(weighted.center, repeated.center, rtol=1e-12)
        np.testing.assert_allclose(weighted.scale, repeated.scale, rtol=1e-12)


def test_merged_rows_are_distinct_and_their_weights_add_up():
    X = np.array([[0.0, 1.0], [2.0, np.nan], [-0.0, 1.0], [2.0, np.nan], [0.0, 2.0]])
    merged, weights = merge_rows(X, np.array([1.0, 2.0, 3.0, 0.5, 7.0]))
    found = {
        repr(row.tolist()): w for row, w in zip(merged + 0.0, weights, strict=True)
    }
    assert found == {"[0.0, 1.0]": 4.0, "[2.0, nan]": 2.5, "[0.0, 2.0]": 7.0}


@pytest.mark.parametrize("n_columns", [1, 2, 3, 7, 8, 9, 17, 129])
def test_equal_rows_are_found_wherever_they_lie(n_columns):
    """Across the blocks in which a table is read, the last of which has one row."""
    n_rows = 2 * (skae._tables._weighting.BLOCK_CELLS // n_columns) + 1
    distinct = np.random.RandomState(0).normal(size=(50, n_columns))
    merged, weights = merge_rows(
        np.resize(distinct, (n_rows, n_columns)), np.ones(n_rows)
    )
    assert merged.shape == distinct.shape
    assert weights.sum() == n_rows


@pytest.mark.parametrize("size", [1e300, np.finfo(float).max])
def test_cells_whose_range_overflows_are_merged(size):
    X = np.array([[size, 1.0], [-size, 2.0], [size, 1.0], [-size, 3.0]])
    merged, weights = merge_rows(X, np.ones(4))
    other, _ = merge_rows(X[::-1], np.ones(4))
    np.testing.assert_array_equal(merged, other)
    assert sorted(weights) == [1, 1, 2]


def test_different_rows_are_not_merged():
    """All 2^16 rows of zeros and ones, whose bits differ in few places."""
    X = np.unpackbits(np.arange(2**16, dtype=">u2").view(np.uint8)).reshape(-1, 16)
    merged, _ = merge_rows(X.astype(float), np.ones(2**16))
    assert len(merged) == 2**16


@pytest.mark.parametrize("tiny", [1e-20, 5e-324, -1e-300])
def test_cells_next_to_zero_are_not_merged_with_it(tiny):
    X = np.array([[0.0], [tiny], [-0.0], [5.0], [5.0]])
    merged, weights = merge_rows(X, np.ones(5))
    found = dict(zip(merged[:, 0].tolist(), weights.tolist(), strict=True))
    assert found == {0.0: 2.0, tiny: 1.0, 5.0: 2.0}


@pytest.mark.parametrize("unit", [1e-3, 7.0, 1e6])
def test_canonical_order_does_not_depend_on_units(unit, correlated_rows):
    merged, _ = merge_rows(correlated_rows, np.ones(200))
    other, _ = merge_rows(correlated_rows * unit + 3.0, np.ones(200))
    np.testing.assert_allclose(other, merged * unit + 3.0, rtol=1e-12)


@pytest.mark.parametrize("change", [lambda X: X + 2.0**40, lambda X: X * 2.0**-30])
def test_canonical_order_of_gaps_does_not_depend_on_units(change):
    """A gap is no lowest value, nor is one in one column one in another."""
    X = np.array(np.meshgrid([0.0, 1.0, np.nan], [0.0, 3.0, np.nan], [0.0, np.nan]))
    X = X.reshape(3, -1).T[:-1]
    merged, _ = merge_rows(X, np.ones(len(X)))
    other, _ = merge_rows(change(X), np.ones(len(X)))
    np.testing.assert_array_equal(other, change(merged))


def test_canonical_order_of_cells_far_below_the_range_does_not_depend_on_units():
    """As near to each other as these are, the random line has them in one place."""
    X = np.array([[1e11, 1.0], [2e-11, 2.0], [1e-21, 2.0], [3e-6, 2.0], [0.0, 1.0]])
    weights = np.arange(5.0)
    merged, merged_weights = merge_rows(X, weights)
    for exponent in range(1, 9):
        unit = np.array([2.0**exponent, 1.0])
        scaled, scaled_weights = merge_rows(X * unit, weights)
        np.testing.assert_array_equal(scaled, merged * unit)
        np.testing.assert_array_equal(scaled_weights, merged_weights)


def test_rows_are_drawn_by_weight():
    weights = np.array([1.0, 2.5, 0.5])
    draws = [
        np.bincount(
            draw_by_weight(weights, 4, np.random.RandomState(seed)), minlength=3
        )
        for seed in range(200)
    ]
    assert np.all(np.sum(draws, axis=1) == 4)
    np.testing.assert_allclose(np.mean(draws, axis=0), weights, atol=0.1)
    assert {draw[0] for draw in draws} == {1}


def test_large_tables_are_not_merged_and_agree_on_average(
    monkeypatch, make_detector, correlated_rows, weights
):
    """Mean scores over 20 seeds, after about 320 updates of 20 rows."""
    monkeypatch.setattr(skae._tables._reading, "COPIED_CELLS", 0)
    means = []
    for X, sample_weight in (
        (correlated_rows, weights),
        (repeat(correlated_rows, weights), None),
    ):
        n_rows = len(X) if sample_weight is None else np.count_nonzero(weights)
        epochs = round(6400 / n_rows)
        scores = [
            make_detector(random_state=seed, epochs=epochs, batch_size=20)
            .fit(X, sample_weight=sample_weight)
            .score_samples(correlated_rows)
            for seed in range(20)
        ]
        means.append(np.mean(scores, axis=0))
    np.testing.assert_allclose(means[0].mean(), means[1].mean(), rtol=0.03)
    assert np.corrcoef(means)[0, 1] > 0.99


@pytest.mark.parametrize("scaling", ["standard", "minmax", "robust", None])
@pytest.mark.parametrize("make_table", [np.asarray, csr_array])
def test_rows_of_a_large_table_are_chosen_without_a_copy(
    make_table, scaling, monkeypatch, make_detector, correlated_rows
):
    """The result is that of a table that never held the others."""
    monkeypatch.setattr(skae._tables._reading, "COPIED_CELLS", 0)
    X = StandardScaler().fit_transform(correlated_rows)
    weights = np.tile([1.0, 0.0, 2.0, 1.0], 50)
    detector = make_detector(scaling=scaling, calibration_fraction=0.2)
    chosen = clone(detector).fit(make_table(X), sample_weight=weights)
    expected = clone(detector).fit(
        make_table(X[weights > 0]), sample_weight=weights[weights > 0]
    )
    np.testing.assert_array_equal(chosen.score_samples(X), expected.score_samples(X))
    np.testing.assert_array_equal(
        chosen.calibration_scores_, expected.calibration_scores_
    )


@pytest.mark.parametrize(
    "sample_weight, message",
    [
        (np.zeros(200), "at least one positive weight; all are zero"),
        (-np.ones(200), "Negative values in data passed to `sample_weight`"),
        (np.full(200, np.nan), "sample_weight contains NaN"),
        (np.tile([np.inf, -np.inf], 100), "sample_weight contains infinity"),
        (np.nan, "sample_weight must add up to at most .* is nan"),
        (np.full(200, 1e308), "must add up to at most 1e\\+100"),
        (np.full(200, 1e300), "must add up to at most 1e\\+100"),
        ([], "minimum of 1 is required"),
        (np.ones(199), "sample_weight.shape == "),
        (np.ones((200, 1)), "1D array"),
        (1j, "sample_weight must hold a finite number for each row"),
        (["heavy"] * 200, "sample_weight must hold a finite number for each row"),
        ([[1.0], [1.0, 2.0]], "sample_weight must hold a finite number"),
        ([10**400] * 200, "sample_weight must hold a finite number"),
    ],
)
def test_bad_weights_are_an_error_and_change_nothing(
    sample_weight, message, make_detector, correlated_rows
):
    detector = make_detector().fit(correlated_rows)
    before = repr(detector.__getstate__())
    with pytest.raises(ValueError, match=message):
        detector.fit(correlated_rows, sample_weight=sample_weight)
    with pytest.raises(ValueError, match=message):
        detector.partial_fit(correlated_rows, sample_weight=sample_weight)
    assert repr(detector.__getstate__()) == before


def test_p_values_need_weights_that_count_rows(make_detector, correlated_rows):
    detector = make_detector(calibration_fraction=0.2)
    with pytest.raises(
        ValueError, match="in whole numbers.*add up to 100, and one is 0.5.*calibrate"
    ):
        detector.fit(correlated_rows, sample_weight=np.full(200, 0.5))


def test_heavy_rows_are_held_back_as_often_as_they_were_seen(
    make_detector, correlated_rows, weights
):
    detector = make_detector(calibration_fraction=0.25)
    detector.fit(correlated_rows, sample_weight=weights)
    scores = detector.calibration_scores_
    assert len(scores) == np.ceil(0.25 * weights.sum())
    assert len(np.unique(scores)) < len(scores)


def test_weights_are_routed_through_pipelines_and_searches(
    make_detector, correlated_rows, weights
):
    """With the weights as an argument of the outermost fit alone."""
    X = correlated_rows
    with config_context(enable_metadata_routing=True):
        detector = make_detector().set_fit_request(sample_weight=True)
        pipeline = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=True), detector
        )
        scaled = StandardScaler().fit(X, sample_weight=weights).transform(X)
        expected = clone(detector).fit(scaled, sample_weight=weights)
        pipeline.fit(X, sample_weight=weights)
        np.testing.assert_array_equal(
            pipeline.score_samples(X), expected.score_samples(scaled)
        )
        detector.set_score_request(sample_weight=True)
        search = GridSearchCV(detector, {"contamination": [0.1]}, cv=2)
        search.fit(X, sample_weight=weights)
        weighted = clone(detector).fit(X, sample_weight=weights)
        np.testing.assert_array_equal(
            search.best_estimator_.score_samples(X), weighted.score_samples(X)
        )


@pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.8"),
    reason="there pipelines pass no weights on to `score`",
)
@pytest.mark.parametrize("labelled", [False, True])
def test_weights_reach_the_scores_of_a_search_over_a_pipeline(
    labelled, make_detector, correlated_rows, weights
):
    X, y = correlated_rows, np.where(np.arange(200) % 10 == 0, -1, 1)
    y = y if labelled else None
    folds = [(np.arange(100), np.arange(100, 200)), (np.arange(100, 200), range(100))]
    with config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=False),
            make_detector()
            .set_fit_request(sample_weight=True)
            .set_score_request(sample_weight=True),
        )
        search = GridSearchCV(
            pipeline, {"autoencoderoutlierdetector__epochs": [1, 2]}, cv=folds
        )
        search.fit(X, y, sample_weight=weights)
        for i, epochs in enumerate([1, 2]):
            for j, (train, test) in enumerate(folds):
                scaler = StandardScaler().fit(X[train])
                detector = make_detector(epochs=epochs).fit(
                    scaler.transform(X[train]), sample_weight=weights[train]
                )
                score = detector.score(
                    scaler.transform(X[test]),
                    None if y is None else y[test],
                    sample_weight=weights[test],
                )
                assert search.cv_results_[f"split{j}_test_score"][i] == score


def test_plain_pipeline_hands_weights_to_the_score(
    make_detector, correlated_rows, weights
):
    X, y = correlated_rows, np.where(np.arange(200) % 10 == 0, -1, 1)
    pipeline = make_pipeline(StandardScaler(), make_detector()).fit(X)
    scaler, detector = pipeline
    score = pipeline.score(X, y, sample_weight=weights)
    assert score == detector.score(scaler.transform(X), y, sample_weight=weights)
    assert score != pipeline.score(X, y)


@pytest.mark.parametrize("kind", [np.asarray, csr_array, pd.DataFrame])
@pytest.mark.parametrize("labelled", [False, True])
def test_whole_weights_in_a_score_equal_repeated_rows(
    labelled, kind, fitted, correlated_rows, weights
):
    X, y = correlated_rows, np.where(np.arange(200) % 10 == 0, -1, 1)
    detector = clone(fitted).fit(kind(X))
    repeated = np.repeat(np.arange(200), weights)
    repeated = np.random.RandomState(0).permutation(repeated)
    y, y_repeated = (y, y[repeated]) if labelled else (None, None)
    score = detector.score(kind(X), y, sample_weight=weights)
    assert score == detector.score(kind(X[repeated]), y_repeated)
    # The ratios decide.
    assert score == detector.score(kind(X), y, sample_weight=weights / 4)
    assert score != detector.score(kind(X), y)


@pytest.mark.parametrize("copied", [True, False])
def test_rows_of_weight_zero_do_not_count_in_a_score(
    copied, monkeypatch, fitted, correlated_rows
):
    if not copied:  # as a table that is too large
        monkeypatch.setattr(skae._tables._reading, "COPIED_CELLS", 0)
    X, y = correlated_rows, np.where(np.arange(200) % 10 == 0, -1.0, 1.0)
    counts = np.arange(200) >= 50
    y[~counts] = np.nan  # labels that are not known
    assert fitted.score(X, y, sample_weight=counts) == fitted.score(X[50:], y[50:])
    assert fitted.score(X, sample_weight=counts) == fitted.score(X[50:])
    with pytest.warns(UndefinedMetricWarning, match=r"only \[1.0\]"):
        fitted.score(X, y, sample_weight=counts & (y != -1))


def test_score_without_labels_does_not_depend_on_the_order_of_rows(
    fitted, correlated_rows
):
    assert fitted.score(correlated_rows) == fitted.score(correlated_rows[::-1])


@pytest.mark.parametrize(
    "sample_weight, message",
    [
        (np.full(200, -1.0), "Negative values in data passed to `sample_weight`"),
        (np.full(200, np.nan), "sample_weight contains NaN"),
        (np.ones(3), "sample_weight.shape == (3,), expected (200,)"),
        (np.zeros(200), "at least one positive weight; all are zero"),
    ],
)
@pytest.mark.parametrize("y", [None, np.resize([1, -1], 200)], ids=["alone", "labels"])
def test_weights_of_a_score_are_checked_as_in_fit(
    y, sample_weight, message, fitted, correlated_rows
):
    for use in (
        lambda: fitted.score(correlated_rows, y, sample_weight=sample_weight),
        lambda: clone(fitted).fit(correlated_rows, sample_weight=sample_weight),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            use()
