"""Where the threshold lies, and what a p-value promises."""

import pickle
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import betabinom, binomtest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skae import AutoencoderOutlierDetector
from skae._scoring._threshold import (
    CalibrationRows,
    assign_folds,
    compute_conformal_offset,
    compute_cross_p_values,
    compute_offset,
    compute_p_values,
    count_needed_rows,
    draw_line,
    hold_back,
)
from skae._tables._reading import WeightedTable


@pytest.fixture
def calibrated(make_detector, correlated_rows):
    detector = make_detector().fit(correlated_rows[:100])
    return detector.calibrate(correlated_rows[100:], false_alarm_rate=0.1)


@pytest.mark.parametrize("contamination", [0.01, 0.1, 0.5])
def test_float_flags_its_share(contamination):
    scores = np.random.RandomState(0).normal(size=1000)
    offset = compute_offset(scores, contamination)
    assert (scores < offset).mean() == contamination


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.gamma(5.0, size=1000),
        lambda rng: rng.lognormal(sigma=0.5, size=1000),
        lambda rng: rng.chisquare(20, size=1000),
    ],
)
def test_auto_flags_few_normal_rows(draw):
    """Scores like those of a detector on clean data, in 20 draws."""
    shares = []
    for seed in range(20):
        scores = -draw(np.random.RandomState(seed))
        shares.append((scores < compute_offset(scores, "auto")).mean())
    assert 0.01 <= min(shares) and np.mean(shares) <= 0.012
    assert max(shares) <= 0.03


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_auto_flags_rows_that_stand_apart_whatever_their_share(share):
    rng = np.random.RandomState(0)
    n_odd = int(1000 * share)
    normal, odd = rng.lognormal(sigma=0.3, size=1000), rng.normal(8, 1, size=n_odd)
    scores = -np.concatenate([normal, odd])
    is_flagged = scores < compute_offset(scores, "auto")
    assert is_flagged[1000:].mean() > 0.95
    assert is_flagged[:1000].mean() < 0.02


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
def test_auto_keeps_normal_rows_few_among_the_flagged_ones(share):
    """Outliers that overlap with normal rows of the presumed kind, in 20 draws."""
    n_odd = int(2000 * share)
    false_shares, detected = [], []
    for seed in range(20):
        log_anomalies = 0.3 * np.random.RandomState(seed).normal(size=2000)
        log_anomalies[:n_odd] += 1.0
        is_flagged = -np.exp(log_anomalies) < compute_offset(
            -np.exp(log_anomalies), "auto"
        )
        false_shares.append(is_flagged[n_odd:].sum() / is_flagged.sum())
        detected.append(is_flagged[:n_odd].mean())
    assert np.mean(false_shares) < 0.15
    assert np.mean(detected) > 0.7


@pytest.mark.parametrize("n_samples", [2, 5, 30])
def test_auto_flags_a_row_but_not_most_of_a_few(n_samples):
    scores = -np.random.RandomState(0).lognormal(size=n_samples)
    assert 1 <= (scores < compute_offset(scores, "auto")).sum() <= n_samples / 2


def test_auto_flags_the_worst_row_even_if_none_stands_apart():
    scores = np.linspace(-2.0, -1.0, 50)
    assert (scores < compute_offset(scores, "auto")).sum() == 1


@pytest.mark.parametrize("scores", [np.zeros(50), np.full(50, -3.0), np.zeros(1)])
def test_auto_flags_nothing_among_equal_rows(scores):
    offset = compute_offset(scores, "auto")
    assert np.isfinite(offset)
    assert not (scores < offset).any()


def test_auto_is_finite_where_some_rows_are_reproduced_exactly():
    scores = -np.concatenate([np.zeros(10), np.linspace(1.0, 2.0, 90)])
    assert np.isfinite(compute_offset(scores, "auto"))


@pytest.mark.parametrize("draw", ["continuous", "tied"])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1, 0.29])
def test_mean_rate_of_false_alarms_keeps_the_promise(rate, draw):
    """Over 5,000 draws of 150 calibration scores and one new score (seed 0)."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(5000, 151))
    if draw == "tied":
        scores = np.round(scores)
    alarms = [
        new < compute_conformal_offset(np.sort(row[:-1]), rate)
        for row in scores
        for new in row[-1:]
    ]
    test = binomtest(sum(alarms), len(alarms), rate, alternative="greater")
    assert test.pvalue > 0.01
    if draw == "continuous":  # and no row too few is flagged
        exact = np.floor(rate * 151) / 151
        assert binomtest(sum(alarms), len(alarms), exact).pvalue > 0.01


def test_rate_of_many_new_scores_is_beta_distributed_over_the_calibration_draws():
    rng = np.random.default_rng(0)
    counts = []
    for _ in range(2000):
        offset = compute_conformal_offset(np.sort(rng.normal(size=99)), 0.1)
        counts.append((rng.normal(size=50) < offset).sum())
    expected = betabinom(50, 10, 90)
    assert abs(np.mean(counts) - expected.mean()) < 4 * expected.std() / np.sqrt(2000)
    assert abs(np.std(counts) / expected.std() - 1) < 0.1


@pytest.mark.parametrize("n_rows", [1, 9, 19, 99, 152])
@pytest.mark.parametrize("numerator", [1, 2, 9, 29, 49])
def test_flagged_are_the_scores_with_a_p_value_of_at_most_the_rate(n_rows, numerator):
    """Also where rate * (n + 1) is an integer that floating point misses."""
    rng = np.random.default_rng(0)
    calibration_scores = np.sort(rng.integers(-30, 0, size=n_rows).astype(float))
    scores = np.arange(-31.0, 1.0)
    p_values = compute_p_values(scores, calibration_scores)
    exact = numerator / (n_rows + 1)
    for rate in {exact, np.nextafter(exact, 0), numerator / 100}:
        if 1 / (n_rows + 1) <= rate < 1:
            offset = compute_conformal_offset(calibration_scores, rate)
            np.testing.assert_array_equal(scores < offset, p_values <= rate)


def test_cross_p_value_compares_the_scores_by_each_network_with_its_own_fold():
    calibration_scores = np.array([-3.0, -2.0, -2.0, -1.0])
    folds = np.array([0, 1, 0, 1])
    scores = [np.array([-4.0, -2.0, 0.0]), np.array([-1.5, -2.5, -1.0])]
    p_values = compute_cross_p_values(scores, calibration_scores, folds)
    np.testing.assert_array_equal(p_values, np.array([2, 3, 5]) / 5)
    np.testing.assert_array_equal(  # networks that agree
        compute_cross_p_values([scores[0]] * 2, calibration_scores, folds),
        compute_p_values(scores[0], calibration_scores),
    )


def test_p_value_counts_ties_as_being_as_odd():
    p_values = compute_p_values(
        np.array([-9.0, -3.0, -2.0, -1.0, 0.0]), np.array([-3.0, -2.0, -2.0, -1.0])
    )
    np.testing.assert_array_equal(p_values, [0.2, 0.4, 0.8, 1.0, 1.0])


@pytest.mark.parametrize("n_rows", [1, 2, 9, 19, 48, 99, 999])
def test_needed_rows_are_the_fewest_that_can_keep_the_promise(n_rows):
    rate = 1 / (n_rows + 1)
    assert count_needed_rows(rate) == n_rows
    assert count_needed_rows(np.nextafter(rate, 0)) == n_rows + 1
    compute_conformal_offset(np.arange(float(n_rows)), rate)
    with pytest.raises(ValueError, match=f"at least {n_rows} calibration scores"):
        compute_conformal_offset(np.arange(float(n_rows - 1)), rate)


def test_calibrate_keeps_the_sorted_scores_of_its_rows(make_detector, correlated_rows):
    detector = make_detector().fit(correlated_rows[:100])
    offset = detector.offset_
    assert detector.calibration_scores_ is None
    assert detector.calibrate(correlated_rows[100:]) is detector
    np.testing.assert_array_equal(
        detector.calibration_scores_,
        np.sort(detector.score_samples(correlated_rows[100:])),
    )
    assert detector.offset_ == offset  # no rate, no move


def test_row_is_flagged_if_its_p_value_is_at_most_the_rate(calibrated, correlated_rows):
    flagged = calibrated.predict(correlated_rows) == -1
    np.testing.assert_array_equal(flagged, calibrated.p_values(correlated_rows) <= 0.1)
    assert 0 < flagged[100:].sum() <= 10


def test_calibration_on_shifted_rows_follows_them(calibrated, correlated_rows):
    shifted = correlated_rows + 2 * correlated_rows.std(axis=0)
    assert (calibrated.predict(shifted[:100]) == -1).mean() > 0.5
    calibrated.calibrate(shifted[100:], false_alarm_rate=0.1)
    assert (calibrated.predict(shifted[:100]) == -1).mean() < 0.3
    assert calibrated.p_values(shifted[:100]).mean() > 0.3


def test_p_values_are_in_0_exclusive_to_1(calibrated, correlated_rows):
    rows = np.vstack([correlated_rows, np.full(5, 1e300), np.full(5, -1e30)])
    p_values = calibrated.p_values(rows)
    assert p_values.dtype == np.float64
    assert p_values.min() == p_values[-1] == p_values[-2] == 1 / 101
    assert p_values.max() <= 1


def test_p_values_before_calibration_are_an_error_that_says_how(
    make_detector, correlated_rows
):
    detector = make_detector()
    with pytest.raises(NotFittedError, match="not fitted yet"):
        detector.p_values(correlated_rows)
    with pytest.raises(
        NotFittedError, match=r"calibrate\(X\).*or set calibration_fraction.*before fit"
    ):
        detector.fit(correlated_rows).p_values(correlated_rows)


def test_later_fit_forgets_the_calibration(calibrated, correlated_rows):
    calibrated.fit(correlated_rows)
    assert calibrated.calibration_scores_ is None


@pytest.mark.parametrize(
    "rows, rate, message",
    [
        (np.ones((20, 4)), 0.1, "X has 4 features, but.* is expecting 5"),
        (np.full((20, 5), np.nan), 0.1, "NaN"),
        (np.ones((2, 5)), None, "at least 9 rows.*it has 2"),
        (np.ones((2, 5)), 0.01, "at least 99 rows.*false_alarm_rate=0.01; it has 2"),
        (np.ones((18, 5)), 0.05, "at least 19 rows.*it has 18"),
        *[
            (np.ones((50, 5)), rate, r"false_alarm_rate must be a float in \(0, 1\)")
            for rate in (0, 0.0, 1, 1.5, -0.1, np.nan, "0.1", True)
        ],
    ],
)
def test_calibration_that_fails_changes_nothing(calibrated, rows, rate, message):
    before = pickle.dumps(calibrated)
    with pytest.raises(ValueError, match=message):
        calibrated.calibrate(rows, false_alarm_rate=rate)
    assert pickle.dumps(calibrated) == before


def test_calibrate_before_fit_is_an_error(make_detector, correlated_rows):
    with pytest.raises(NotFittedError):
        make_detector().calibrate(correlated_rows)


def test_just_enough_rows_calibrate(make_detector, correlated_rows):
    detector = make_detector().fit(correlated_rows[:100])
    detector.calibrate(correlated_rows[100:119], false_alarm_rate=0.05)
    assert detector.offset_ == detector.calibration_scores_[0]
    assert len(detector.calibrate(correlated_rows[100:109]).calibration_scores_) == 9


# ------------------------------------------------------------------- rows that tie


def flag(scores, contamination, weights=None):
    """The share of the rows that are flagged, by weight."""
    offset = compute_offset(scores, contamination, weights)
    is_flagged = scores < offset
    return np.average(is_flagged, weights=weights)


@pytest.mark.parametrize("is_merged", [False, True])
@pytest.mark.parametrize(
    "contamination, share, tied",
    [(0.01, 0, 20), (0.09, 0, 20), (0.15, 20, 20), (0.3, 20, 30), (0.4, 50, 30)],
)
def test_ties_are_flagged_all_or_none_whichever_is_nearer(
    contamination, share, tied, is_merged
):
    scores, counts = np.array([-1.0, -3.0, -2.0]), np.array([2500, 1000, 1500])
    weights = counts.astype(float)
    if not is_merged:
        scores, weights = np.repeat(scores, counts), None
    with pytest.warns(
        UserWarning,
        match=f"contamination={contamination} .*; {share} % are.*{tied} % share one",
    ):
        assert flag(scores, contamination, weights) == share / 100


@pytest.mark.parametrize("contamination", [0.2, 0.5])
def test_share_that_ties_allow_draws_no_warning(contamination):
    scores = np.repeat([-3.0, -2.0, -1.0], [1000, 1500, 2500])
    assert flag(scores, contamination) == contamination


def test_few_ties_draw_no_warning():
    """Two rows more or less of 100."""
    scores = -np.random.RandomState(0).lognormal(size=2000)
    order = np.argsort(scores)
    for n_alike in (2, 4):
        tied = scores.copy()
        tied[order[100 - n_alike // 2 : 100 + n_alike // 2]] = scores[order[100]]
        assert abs(flag(tied, 0.05) - 0.05) < 0.0011


@pytest.mark.parametrize("n_flagged, is_warned", [(120, False), (121, True)])
def test_ties_draw_a_warning_beyond_two_standard_deviations(n_flagged, is_warned):
    """Of the count of 100 rows that are asked for."""
    scores = np.repeat([-3.0, -1.0], [n_flagged, 10_000 - n_flagged])
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        assert flag(scores, 0.01) == n_flagged / 10_000
    assert bool(record) is is_warned


@pytest.mark.parametrize("unit", [1.0, 1 / 8, 1e-3])
def test_heavy_row_is_flagged_with_all_its_weight_or_not_at_all(unit):
    scores, weights = np.array([-9.0, -2.0, -1.0, -0.5]), [300.0, 1.0, 500.0, 199.0]
    with pytest.warns(UserWarning, match="0 % are flagged, because 30 % share"):
        assert flag(scores, 0.1, unit * np.array(weights)) == 0.0


def test_least_of_few_rows_is_flagged_whatever_the_share():
    scores = -np.random.RandomState(0).lognormal(size=30)
    assert flag(scores, 0.001) == pytest.approx(1 / 30)


@pytest.mark.parametrize("n_least, n_flagged", [(1, 1), (2, 0)])
def test_least_score_of_two_rows_is_not_that_of_one(n_least, n_flagged):
    scores = np.repeat([-3.0, -1.0], [n_least, 100 - n_least])
    assert flag(scores, 0.001) == n_flagged / 100


def test_threshold_is_midway_between_two_scores():
    assert compute_offset(np.array([-1.0, -1.0, -3.0, -1.0]), 0.25) == -2.0


def test_none_that_are_flagged_are_so_elsewhere():
    """Where their scores differ in the last digit."""
    scores = np.repeat([-3.0, -1.0], 500)
    with pytest.warns(UserWarning, match="0 % are flagged"):
        offset = compute_offset(scores, 0.01)
    assert not (scores * (1 + 1e-12) < offset).any()


def test_neighbouring_floats_are_told_apart():
    scores = -np.array([1.0, np.nextafter(1.0, 0.0), *np.linspace(0.9, 0.5, 8)])
    assert flag(scores, 0.1) == 0.1


def test_fit_says_which_share_of_equal_rows_is_flagged(make_detector):
    X = np.repeat(np.eye(3), [250, 150, 100], axis=0)
    with pytest.warns(UserWarning, match="0 % are flagged") as record:
        detector = make_detector(contamination=0.01).fit(X)
    assert record[0].filename == __file__
    assert (detector.predict(X) == 1).all()
    detector.set_params(contamination="auto").fit(X)
    assert np.mean(detector.predict(X) == -1) <= 0.2


# ------------------------------------------------------- rows held back inside fit


def test_held_back_rows_calibrate_straight_after_fit(make_detector, correlated_rows):
    detector = make_detector(calibration_fraction=0.2, contamination=0.05)
    detector.fit(correlated_rows)
    scores = detector.calibration_scores_
    assert len(scores) == 40
    assert (np.diff(scores) >= 0).all()
    assert set(scores) < set(detector.score_samples(correlated_rows))
    assert detector.offset_ == scores[1]  # floor(0.05 * 41) = 2
    assert detector.p_values(correlated_rows[:3]).shape == (3,)


@pytest.mark.parametrize("n_alike", [500, 501, 600, 800, 990, 1000])
def test_auto_flags_few_where_half_of_the_scores_are_alike(n_alike):
    """They tell nothing of the spread of the others."""
    others = 1.3 + np.random.RandomState(0).uniform(size=1000 - n_alike)
    scores = -np.r_[np.full(n_alike, 1.3), others]
    n_flagged = (scores < compute_offset(scores, "auto")).sum()
    assert n_flagged <= 10


def test_auto_flags_few_rows_of_rare_events(make_detector):
    X = np.random.RandomState(0).poisson(0.1, size=(1000, 6))
    detector = make_detector().fit(X)
    assert (detector.predict(X) == -1).mean() < 0.05


def test_auto_is_applied_to_the_held_back_scores(make_detector, correlated_rows):
    detector = make_detector(calibration_fraction=0.5).fit(correlated_rows)
    assert detector.offset_ == compute_offset(detector.calibration_scores_, "auto")


@pytest.mark.parametrize("early_stopping", [False, True])
def test_nothing_is_learnt_from_held_back_rows(
    early_stopping, make_detector, correlated_rows
):
    """Fitting on the rows that remain gives the same network and the same scores."""
    parameters = {
        "early_stopping": early_stopping,
        "scaling": "minmax",
        "n_iter_no_change": 2,
        "tol": 10.0,
    }
    detector = make_detector(calibration_fraction=0.25, **parameters)
    scores = detector.fit(correlated_rows).score_samples(correlated_rows)
    held_back = np.isin(scores, detector.calibration_scores_)
    assert held_back.sum() == 50
    plain = make_detector(**parameters).fit(correlated_rows[~held_back])
    np.testing.assert_array_equal(plain.score_samples(correlated_rows), scores)
    assert plain.validation_loss_curve_ == detector.validation_loss_curve_
    assert plain.offset_ != detector.offset_


@pytest.mark.parametrize("contamination, n_needed", [("auto", 9), (0.05, 19)])
def test_too_few_held_back_rows_are_an_error_before_the_training(
    contamination, n_needed, make_detector, correlated_rows
):
    detector = make_detector(contamination=contamination, calibration_fraction=0.1)
    rows = correlated_rows[: 10 * (n_needed - 1)]
    with pytest.raises(
        ValueError, match=f"hold back at least {n_needed} rows.*holds {n_needed - 1}"
    ):
        detector.fit(rows)
    assert not hasattr(detector, "offset_")
    detector.fit(correlated_rows[: 10 * n_needed])


def test_rows_that_an_earlier_fit_may_have_seen_are_not_held_back(
    make_detector, correlated_rows
):
    detector = make_detector(warm_start=True, calibration_fraction=0.2)
    detector.fit(correlated_rows)
    before = repr(detector.__getstate__())
    with pytest.raises(ValueError, match="(?s)calibration_fraction=0.2.*calibrate"):
        detector.fit(correlated_rows)
    assert repr(detector.__getstate__()) == before
    detector.set_params(calibration_fraction=0).fit(correlated_rows)


def test_rate_that_no_table_can_keep_is_an_error_that_says_so(
    calibrated, make_detector, correlated_rows
):
    with pytest.raises(ValueError, match="at least 9{15}"):
        calibrated.calibrate(correlated_rows, false_alarm_rate=1e-310)
    hopeless = make_detector(contamination=1e-310, calibration_fraction=0.2)
    with pytest.raises(ValueError, match="at least 9{15}"):
        hopeless.fit(correlated_rows)


def test_all_rows_held_back_are_an_error(make_detector, correlated_rows):
    with pytest.raises(ValueError, match="leave one to train on"):
        make_detector(calibration_fraction=0.999).fit(correlated_rows)


def test_calibration_survives_clone_pickle_and_pipeline(make_detector, correlated_rows):
    pipeline = make_pipeline(StandardScaler(), make_detector(calibration_fraction=0.3))
    pipeline.fit(correlated_rows)
    rows = pipeline[:-1].transform(correlated_rows)
    expected = pipeline[-1].p_values(rows)
    assert len(pipeline[-1].calibration_scores_) == 60
    restored = pickle.loads(pickle.dumps(pipeline))
    np.testing.assert_array_equal(restored[-1].p_values(rows), expected)
    fitted_again = clone(pipeline).fit(correlated_rows)
    np.testing.assert_array_equal(fitted_again[-1].p_values(rows), expected)


def test_pickle_of_a_calibrated_detector_keeps_its_scores(calibrated, correlated_rows):
    restored = pickle.loads(pickle.dumps(calibrated))
    np.testing.assert_array_equal(
        restored.p_values(correlated_rows), calibrated.p_values(correlated_rows)
    )


def test_calibration_fraction_can_be_searched(make_detector, correlated_rows):
    search = GridSearchCV(
        make_detector(epochs=2), {"calibration_fraction": [0.0, 0.2, 0.4]}, cv=2
    ).fit(correlated_rows)
    search.best_estimator_.set_params(calibration_fraction=0.2).fit(correlated_rows)
    assert len(search.best_estimator_.calibration_scores_) == 40


def test_rows_left_out_are_flagged_at_the_rate(make_detector):
    """Generated, 3,000 rows of 6 columns of 2 factors: within 3 standard errors."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 2)) @ rng.normal(size=(2, 6))
    X += 0.3 * rng.normal(size=X.shape)
    detector = make_detector(calibration_fraction=0.5, contamination=0.1)
    flagged = cross_val_predict(detector, X, method="predict", cv=3) == -1
    error = np.sqrt(0.09 / 3000 + 0.09 / 1000 / 3)  # of the rows, of the calibrations
    assert abs(flagged.mean() - 0.1) < 3 * error


def test_global_random_state_is_left_alone(make_detector, correlated_rows):
    before = np.random.get_state()[1].copy()
    make_detector(calibration_fraction=0.2).fit(correlated_rows)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_parameter_outside_its_range_is_refused(correlated_rows):
    with pytest.raises(ValueError, match="'calibration_fraction' parameter"):
        AutoencoderOutlierDetector(calibration_fraction=1.0).fit(correlated_rows)


@pytest.mark.parametrize("counts", [[1000] * 3, [100] * 10, [500] * 6])
def test_distinct_rows_in_equal_numbers_are_not_taken_for_single_ones(
    counts, make_detector
):
    X = np.repeat(
        np.random.RandomState(0).normal(size=(len(counts), 3)), counts, axis=0
    )
    with pytest.warns(UserWarning, match="0 % are flagged"):
        detector = make_detector(contamination=0.01).fit(X)
    assert (detector.predict(X) == 1).all()


def make_table(n_rows, weights=None):
    X = np.arange(2.0 * n_rows).reshape(n_rows, 2)
    return WeightedTable(X, np.ones(n_rows) if weights is None else np.array(weights))


def test_as_many_rows_as_the_rate_needs_are_enough_for_folds():
    assert len(assign_folds(make_table(9), 3, 0.1, seed=0).counts) == 9
    with pytest.raises(ValueError, match="at least 9 rows.*n_samples=8"):
        assign_folds(make_table(8), 3, 0.1, seed=0)


def test_weights_that_calibrate_add_up_to_less_than_a_billion():
    table = make_table(2, [5e8, 499_999_999.0])
    _, calibration = hold_back(table, 0.2, 0.1, seed=0, goes_on=False)
    assert calibration.counts.sum() == 200_000_000
    assert assign_folds(table, 2, 0.1, seed=0).counts.sum() == 999_999_999
    for work in (
        lambda table: hold_back(table, 0.2, 0.1, seed=0, goes_on=False),
        lambda table: assign_folds(table, 2, 0.1, seed=0),
    ):
        with pytest.raises(ValueError, match=r"less than 1e9.*add up to 1e\+09"):
            work(make_table(2, [5e8, 5e8]))


# ------------------------------------------------------- whose scores draw the line


def test_each_row_calibrates_by_the_network_that_has_not_seen_its_fold():
    """Networks that give each row their own number."""
    members = [
        SimpleNamespace(score=lambda X, fold=fold: np.full(len(X), -1.0 - fold))
        for fold in range(3)
    ]
    model = SimpleNamespace(score_method="reconstruction", members=members)
    table, folds = make_table(600), np.random.RandomState(0).randint(3, size=600)
    calibration = CalibrationRows(table.X, np.ones(600, int), folds)
    line = draw_line(model, table, calibration, 0.1)
    np.testing.assert_array_equal(line.calibration_scores, -1.0 - line.folds)


@pytest.mark.parametrize(
    "score_method, n_columns", [("neighbors", 2), ("reconstruction", None)]
)
def test_auto_of_distances_depends_on_the_number_of_columns(score_method, n_columns):
    scores = -np.random.RandomState(0).lognormal(sigma=0.5, size=500)
    scores[:25] *= 5.0
    model = SimpleNamespace(score_method=score_method, score=lambda X: scores)
    table = make_table(500)
    expected = compute_offset(scores, "auto", n_columns=n_columns)
    assert draw_line(model, table, None, "auto").offset == expected
    calibration = CalibrationRows(table.X, np.ones(500, int))
    assert draw_line(model, table, calibration, "auto").offset == expected
    assert expected != compute_offset(scores, "auto", n_columns=500)
