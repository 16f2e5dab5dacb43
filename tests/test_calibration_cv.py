"""Folds that calibrate: what `calibration_cv` promises, and what works as ever."""

import copy
import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

import skae
from skae import AutoencoderOutlierDetector

CONFIGURATIONS = [
    {"contamination": 0.1},
    {"score_method": "neighbors", "masking": 1.0, "n_estimators": 2},
]
# They ask that a float `contamination` be the share of the rows given to `fit` that is
# flagged. Calibrated, it is the rate that is promised for new rows: those that `fit`
# was given are known to most networks, and fewer of them are flagged.
CHECKS_OF_THE_SHARE = {"check_outliers_train", "check_outliers_fit_predict"}


@pytest.fixture(scope="module")
def calibrated(make_detector, correlated_rows):
    detector = make_detector(calibration_cv=3, contamination=0.1)
    return detector.fit(correlated_rows[:150])


@pytest.fixture(scope="module", params=CONFIGURATIONS, ids=str)
def each_calibrated(request, make_detector, correlated_rows):
    detector = make_detector(calibration_cv=3, **request.param)
    return detector.fit(correlated_rows[:150])


def draw_rows(rng, n_rows):
    rows = rng.normal(size=(n_rows, 2)) @ np.array([[1.0, 2, 3, 0], [0, 1, -1, 2]])
    return rows + 0.3 * rng.normal(size=rows.shape)


# ------------------------------------------------------------------ the promise


@pytest.mark.parametrize("score_method", ["neighbors", "reconstruction"])
def test_new_normal_rows_are_flagged_at_most_at_the_promised_rate(
    score_method, make_detector
):
    """Over 30 draws of 60 rows to fit on (seed 0), by `predict` and by p-values."""
    rng = np.random.default_rng(0)
    detector = make_detector(
        calibration_cv=3, contamination=0.1, score_method=score_method, epochs=20
    )
    shares = []
    for _ in range(30):
        detector.fit(draw_rows(rng, 60))
        fresh = draw_rows(rng, 1000)
        by_p_value = np.mean(detector.p_values(fresh) <= 0.1)
        shares.append([np.mean(detector.predict(fresh) == -1), by_p_value])
    means = np.mean(shares, axis=0)
    errors = np.std(shares, axis=0, ddof=1) / np.sqrt(30)
    assert (means < 0.1 + 2 * errors).all()
    assert (means > 0.05).all()


def test_no_row_is_lost_and_each_calibrates(calibrated):
    scores = calibrated.calibration_scores_
    assert len(scores) == 150
    assert (np.diff(scores) >= 0).all()
    assert (scores < calibrated.offset_).sum() == 14  # floor(0.1 * 151) - 1


def test_float_contamination_sets_the_threshold_by_rank(make_detector, correlated_rows):
    for rate, rank in ((0.05, 10), (0.1, 20), (0.3, 60)):
        detector = make_detector(calibration_cv=3, contamination=rate)
        detector.fit(correlated_rows)
        assert detector.offset_ == detector.calibration_scores_[rank - 1]


def test_auto_takes_the_scores_of_networks_that_have_not_seen_the_row(make_detector):
    """Of rows that a network can learn by heart."""
    X = np.random.RandomState(0).normal(size=(40, 10))
    plain = make_detector(hidden_layer_sizes=(64, 10), epochs=300, learning_rate=0.01)
    cross = clone(plain).set_params(calibration_cv=4).fit(X)
    assert cross.offset_ < 2 * plain.fit(X).offset_  # scores are negative
    assert np.median(cross.calibration_scores_) < 2 * np.median(cross.score_samples(X))


def test_equal_rows_are_unseen_together(make_detector):
    """Each row ten times: one copy in training would give the others away."""
    X = np.repeat(np.random.RandomState(0).normal(size=(20, 10)), 10, axis=0)
    detector = make_detector(
        hidden_layer_sizes=(64, 10), epochs=100, learning_rate=0.01, calibration_cv=4
    ).fit(X)
    assert len(detector.calibration_scores_) == 200
    assert len(np.unique(detector.calibration_scores_)) == 20
    seen = np.sort(detector.score_samples(X))
    assert np.median(detector.calibration_scores_) < 2 * np.median(seen)


def test_labels_are_the_sign_of_the_decision(each_calibrated, correlated_rows):
    decision = each_calibrated.decision_function(correlated_rows)
    np.testing.assert_array_equal(
        decision,
        each_calibrated.score_samples(correlated_rows) - each_calibrated.offset_,
    )
    np.testing.assert_array_equal(
        each_calibrated.predict(correlated_rows), np.where(decision < 0, -1, 1)
    )


def test_p_values_lie_between_those_of_the_lowest_and_the_highest(
    calibrated, correlated_rows
):
    p_values = calibrated.p_values(correlated_rows)
    assert p_values.min() >= 1 / 151 and p_values.max() <= 1
    np.testing.assert_allclose(p_values * 151, np.rint(p_values * 151))
    far = correlated_rows.mean(axis=0) + 1e3 * correlated_rows.std(axis=0)
    assert calibrated.p_values([far]) == [1 / 151]


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"calibration_fraction": 0.2}, "calibration_cv=3.*calibration_fraction=0"),
        ({"warm_start": True}, "calibration_cv=3.*warm_start=True.*calibrate"),
        ({"calibration_cv": 1}, "'calibration_cv' parameter.*Got 1"),
        ({"calibration_cv": 2.5}, "'calibration_cv' parameter.*Got 2.5"),
        ({"calibration_cv": 201}, "calibration_cv=201.*n_samples=200.*lower"),
        ({"contamination": 0.001}, "contamination=0.001.*999 rows.*n_samples=200"),
    ],
    ids=str,
)
def test_what_folds_cannot_do_is_an_error(
    parameters, message, make_detector, correlated_rows
):
    detector = make_detector(**{"calibration_cv": 3} | parameters)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        detector.fit(correlated_rows)
    assert not hasattr(detector, "offset_")


def test_equal_rows_do_not_make_a_fold(make_detector):
    X = np.repeat(np.eye(3), 10, axis=0)
    with pytest.raises(ValueError, match="n_samples=30 row.s., 3 are distinct"):
        make_detector(calibration_cv=4).fit(X)
    assert len(make_detector(calibration_cv=3).fit(X).calibration_scores_) == 30


@pytest.mark.parametrize(
    "left_out", [{"calibration_cv": 5}, {"calibration_fraction": 0.3}]
)
def test_too_few_rows_for_early_stopping_are_those_that_are_not_left_out(
    left_out, make_detector
):
    """Of six different rows, the first fold of five has two."""
    detector = make_detector(
        early_stopping=True, validation_fraction=0.8, contamination=0.4, **left_out
    )
    message = f"n_samples=6 row.s., 4 are distinct, besides .*{min(left_out)}.*holds 4"
    with pytest.raises(ValueError, match=message):
        detector.fit(np.eye(6))


def test_fractional_weights_are_an_error(make_detector, correlated_rows):
    weights = np.full(200, 1.5)
    with pytest.raises(ValueError, match="(?s)calibration_cv.*whole numbers.*1.5"):
        make_detector(calibration_cv=3).fit(correlated_rows, sample_weight=weights)


def test_uncalibrated_detector_names_the_parameter(fitted, correlated_rows):
    with pytest.raises(NotFittedError, match="calibration_cv, for example to 5"):
        fitted.p_values(correlated_rows)


def test_failed_fit_leaves_the_detector_as_it_was(make_detector, correlated_rows):
    detector = make_detector(calibration_cv=3).fit(correlated_rows)
    before = detector.p_values(correlated_rows)
    with pytest.raises(ValueError, match="calibration_cv=3"):
        detector.fit(correlated_rows[:2])
    np.testing.assert_array_equal(detector.p_values(correlated_rows), before)


# ------------------------------------------------------------------ every method


def test_explanations_add_up_to_the_score(each_calibrated, correlated_rows):
    contributions, expected = each_calibrated.explain(
        correlated_rows, return_expected=True
    )
    assert (contributions >= 0).all()
    np.testing.assert_allclose(
        contributions.sum(axis=1), -each_calibrated.score_samples(correlated_rows), 1e-6
    )
    assert expected.shape == correlated_rows.shape


def test_codes_of_all_networks_are_side_by_side(each_calibrated, correlated_rows):
    codes = each_calibrated.transform(correlated_rows)
    n_networks = 3 * each_calibrated.n_estimators
    assert codes.shape == (200, 2 * n_networks)
    assert len(each_calibrated.get_feature_names_out()) == 2 * n_networks
    scale = correlated_rows.std(axis=0)
    np.testing.assert_allclose(
        each_calibrated.inverse_transform(codes) / scale,
        each_calibrated.reconstruct(correlated_rows) / scale,
        rtol=1e-9,
    )
    with pytest.raises(ValueError, match=f"has 2 columns.*has {2 * n_networks}"):
        each_calibrated.inverse_transform(codes[:, :2])


def test_keras_models_are_those_of_all_folds(each_calibrated, correlated_rows):
    scale = correlated_rows.std(axis=0)
    codes = each_calibrated.transform(correlated_rows)
    rows = each_calibrated.reconstruct(correlated_rows) / scale
    close = {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(
        np.asarray(each_calibrated.model_(correlated_rows)) / scale, rows, **close
    )
    np.testing.assert_allclose(
        each_calibrated.encoder_(correlated_rows), codes, **close
    )
    np.testing.assert_allclose(
        np.asarray(each_calibrated.decoder_(codes)) / scale, rows, **close
    )


def test_infinite_and_distant_cells_are_what_they_are_to_one_network(
    each_calibrated, correlated_rows
):
    X = correlated_rows[:3].copy()
    X[0] = 1e308
    assert np.isfinite(each_calibrated.score_samples(X)).all()
    X[1, 2] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        each_calibrated.score_samples(X)
    with pytest.raises(ValueError, match="infinity"):
        each_calibrated.p_values(X)


def test_row_without_an_observed_cell_scores_zero_with_a_warning(calibrated):
    X = np.full((1, 5), np.nan)
    with pytest.warns(UserWarning, match="no observed cell"):
        assert calibrated.score_samples(X) == [0.0]
    with pytest.warns(UserWarning, match="no observed cell") as caught:
        assert calibrated.p_values(X) == [1.0]
    assert caught[0].filename == __file__


def test_score_of_a_row_does_not_depend_on_the_others(each_calibrated, correlated_rows):
    together = each_calibrated.score_samples(correlated_rows)
    alone = [each_calibrated.score_samples([row])[0] for row in correlated_rows[:20]]
    np.testing.assert_array_equal(alone, together[:20])


def test_diagnosis_compares_seen_with_unseen_scores(calibrated, correlated_rows):
    findings = {
        f.name.split()[0]: f for f in calibrated.diagnose(correlated_rows[:150])
    }
    assert "150" in findings["calibration"].figure
    assert "of 150" in findings["other"].figure
    assert "of 6" in findings["code"].figure


def test_curves_are_those_of_all_networks(make_detector, correlated_rows):
    detector = make_detector(
        calibration_cv=3, early_stopping=True, epochs=300, tol=1.0, n_iter_no_change=2
    ).fit(correlated_rows)
    assert len(detector.loss_curve_) == detector.n_iter_ < 300
    assert len(detector.validation_loss_curve_) == detector.n_iter_


# ------------------------------------------------------------------ other rows


def test_calibrate_takes_the_place_of_the_folds(calibrated, correlated_rows):
    detector = copy.deepcopy(calibrated)
    detector.calibrate(correlated_rows[150:], false_alarm_rate=0.1)
    scores = detector.score_samples(correlated_rows)
    np.testing.assert_array_equal(np.sort(scores[150:]), detector.calibration_scores_)
    np.testing.assert_array_equal(
        scores < detector.offset_, detector.p_values(correlated_rows) <= 0.1
    )


def test_stream_goes_on_from_one_network_and_forgets_the_others(
    calibrated, correlated_rows
):
    detector = copy.deepcopy(calibrated)
    offset = detector.offset_
    detector.partial_fit(correlated_rows[150:])
    assert detector.calibration_scores_ is None
    assert detector.offset_ == offset  # until 100 rows have come
    assert detector.transform(correlated_rows).shape == (200, 2)
    with pytest.raises(NotFittedError, match="partial_fit forgets"):
        detector.p_values(correlated_rows)
    first = calibrated.transform(correlated_rows)[:, :2]
    distance = np.abs(detector.transform(correlated_rows) - first).mean()
    assert 0 < distance < 0.5 * np.abs(first).mean()
    detector.partial_fit(correlated_rows[:100])
    assert detector.offset_ != offset


def test_fit_forgets_the_folds_of_the_last(make_detector, correlated_rows):
    detector = make_detector(calibration_cv=3).fit(correlated_rows)
    plain = make_detector().fit(correlated_rows)
    detector.set_params(calibration_cv=None).fit(correlated_rows)
    assert detector.calibration_scores_ is None
    np.testing.assert_array_equal(
        detector.score_samples(correlated_rows), plain.score_samples(correlated_rows)
    )


def test_warm_start_goes_on_from_the_network_of_one_fold(
    make_detector, correlated_rows
):
    detector = make_detector(calibration_cv=3).fit(correlated_rows)
    n_columns = detector.transform(correlated_rows).shape[1]
    detector.set_params(calibration_cv=None, warm_start=True).fit(correlated_rows)
    assert detector.transform(correlated_rows).shape == (200, n_columns // 3)


# ------------------------------------------------------------------ tables


def test_column_observed_in_one_fold_alone_is_learnt_by_the_others(
    make_detector, correlated_rows
):
    X = correlated_rows.copy()
    X[1:, 0] = np.nan
    detector = make_detector(calibration_cv=3).fit(X)
    assert np.isfinite(detector.score_samples(X)).all()


def test_a_warning_of_columns_is_given_once_at_the_call(make_detector, correlated_rows):
    X = np.c_[correlated_rows, np.full(200, np.nan)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_detector(calibration_cv=3).fit(X)
    assert len(caught) == 1 and caught[0].filename == __file__


def test_early_stopping_that_runs_out_is_warned_of_once(make_detector, correlated_rows):
    detector = make_detector(calibration_cv=3, early_stopping=True, tol=0.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        detector.fit(correlated_rows)
    assert [warning.category for warning in caught] == [ConvergenceWarning]
    assert caught[0].filename == __file__ and "epochs=5" in str(caught[0].message)


# ------------------------------------------------------------------ surroundings


def test_callbacks_see_each_network(make_detector, correlated_rows):
    import keras

    class Count(keras.callbacks.Callback):
        n_trainings = 0

        def on_train_begin(self, logs=None):
            self.n_trainings += 1

    count = Count()
    detector = make_detector(calibration_cv=3, n_estimators=2)
    detector.fit(correlated_rows, callbacks=[count])
    assert count.n_trainings == 6


def test_cache_serves_other_thresholds(tmp_path, make_detector, correlated_rows):
    def fit(contamination):
        return make_detector(
            memory=str(tmp_path), calibration_cv=3, contamination=contamination
        ).fit(correlated_rows)

    first = fit(0.1)
    made = {e: e.stat().st_mtime_ns for e in tmp_path.rglob("output.pkl")}
    second = fit(0.2)
    assert len(made) == 3
    assert {e: e.stat().st_mtime_ns for e in tmp_path.rglob("output.pkl")} == made
    np.testing.assert_array_equal(first.calibration_scores_, second.calibration_scores_)
    assert first.offset_ < second.offset_


@pytest.mark.parametrize(
    "copy_of",
    [
        copy.deepcopy,
        lambda detector: pickle.loads(pickle.dumps(detector)),
        lambda detector: skops.io.loads(
            skops.io.dumps(detector),
            trusted=["skae._detector.AutoencoderOutlierDetector"],
        ),
    ],
    ids=["deepcopy", "pickle", "skops"],
)
def test_copies_are_equal_to_the_bit(copy_of, each_calibrated, correlated_rows):
    copied = copy_of(each_calibrated)
    for name in ("score_samples", "p_values", "explain", "transform"):
        np.testing.assert_array_equal(
            getattr(copied, name)(correlated_rows),
            getattr(each_calibrated, name)(correlated_rows),
        )


def test_joblib_and_files_bring_everything_back(
    each_calibrated, correlated_rows, tmp_path
):
    joblib.dump(each_calibrated, tmp_path / "detector.joblib")
    skae.save(each_calibrated, tmp_path / "detector.skae")
    for restored in (
        joblib.load(tmp_path / "detector.joblib"),
        skae.load(tmp_path / "detector.skae"),
    ):
        assert restored.get_params() == each_calibrated.get_params()
        assert restored.offset_ == each_calibrated.offset_
        for name in ("score_samples", "p_values", "explain", "transform"):
            np.testing.assert_array_equal(
                getattr(restored, name)(correlated_rows),
                getattr(each_calibrated, name)(correlated_rows),
            )
        restored.partial_fit(correlated_rows)


def test_clone_pipeline_and_search_fit_it_anew(make_detector, correlated_rows):
    frame = pd.DataFrame(correlated_rows, columns=list("abcde"))
    detector = make_detector(calibration_cv=3, epochs=2)
    pipeline = make_pipeline(StandardScaler(), detector).fit(frame)
    again = clone(pipeline).fit(frame)
    np.testing.assert_array_equal(pipeline.predict(frame), again.predict(frame))
    search = GridSearchCV(
        make_detector(epochs=2),
        {"calibration_cv": [2, 3], "n_estimators": [1, 2]},
        cv=2,
    ).fit(frame)
    assert len(search.best_estimator_.calibration_scores_) == 200


def test_checks_of_scikit_learn_pass_but_for_the_share_of_known_rows():
    detector = AutoencoderOutlierDetector((8, 2), epochs=20, calibration_cv=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for estimator, check in estimator_checks_generator(detector):
            if check.func.__name__ not in CHECKS_OF_THE_SHARE:
                check(estimator)


def test_folds_of_rows_with_categories():
    """Scores add up, categories are elected, and files hold all of it."""
    rng = np.random.default_rng(0)
    kind = rng.integers(3, size=120)
    X = np.column_stack([kind + rng.normal(size=120) / 9, 10.0 * kind, kind == 1])
    detector = AutoencoderOutlierDetector(
        (8, 2),
        epochs=100,
        calibration_cv=3,
        categorical_features=[1, 2],
        random_state=0,
    ).fit(X)
    contributions, expected = detector.explain(X, return_expected=True)
    scores = detector.score_samples(X)
    np.testing.assert_allclose(contributions.sum(axis=1), -scores, rtol=1e-9)
    for rows in (expected, detector.reconstruct(X)):
        assert set(rows[:, 1]) <= {0.0, 10.0, 20.0}
        assert np.mean(rows[:, 1] == X[:, 1]) > 0.8
    assert np.ptp(detector.p_values(X)) > 0.5
    restored = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(restored.score_samples(X), scores)


@pytest.fixture(scope="module")
def frame():
    """Numbers and text that depend on each other, rare text and gaps; seed 0."""
    rng = np.random.default_rng(0)
    kind = rng.integers(3, size=120)
    frame = pd.DataFrame(
        {
            "x": kind + rng.normal(size=120) / 9,
            "kind": np.array(["a", "b", "c"])[kind],
            "rare": [f"r{i // 2}" for i in range(120)],
            "id": [f"i{i}" for i in range(120)],
        }
    )
    frame.loc[::9, "kind"] = None
    return frame


def make_of_categories(**parameters):
    return AutoencoderOutlierDetector(
        (8, 2),
        epochs=20,
        calibration_cv=3,
        categorical_features="from_dtype",
        **({"random_state": 0} | parameters),
    )


def test_whole_weights_are_repeats_with_categories_too(frame):
    weights = np.random.default_rng(0).integers(0, 3, 120)
    weighted = make_of_categories().fit(frame, sample_weight=weights)
    repeated = make_of_categories().fit(frame.loc[np.repeat(frame.index, weights)])
    assert weighted.offset_ == repeated.offset_
    np.testing.assert_array_equal(
        weighted.score_samples(frame), repeated.score_samples(frame)
    )


def test_category_that_a_fold_alone_has_is_new_to_its_network():
    """As it would be in a new row; or the rows that calibrate are odder than those."""
    rng = np.random.default_rng(0)

    def draw(n_rows):
        rows = rng.normal(size=(n_rows, 2)) @ [[1.0, 2.0], [0.0, 1.0]]
        rows += 0.3 * rng.normal(size=rows.shape)
        return np.column_stack([rows, rng.integers(60, size=n_rows)])

    rates = []
    for seed in range(10):
        detector = make_of_categories(contamination=0.1, random_state=seed)
        detector.set_params(epochs=10, batch_size=32, categorical_features=[2])
        detector.set_params(calibration_cv=5).fit(draw(100))
        rates.append(np.mean(detector.p_values(draw(300)) <= 0.1))
    assert 0.075 < np.mean(rates) < 0.11  # .05 where networks know them


def test_categories_of_folds_are_saved_and_are_those_of_the_keras_models(
    frame, tmp_path
):
    detector = make_of_categories().fit(frame)
    skae.save(detector, tmp_path / "folds.skae")
    restored = skae.load(tmp_path / "folds.skae")
    odd = frame.head(30).assign(kind="new")
    for rows in (frame, odd):
        np.testing.assert_array_equal(
            restored.score_samples(rows), detector.score_samples(rows)
        )
        np.testing.assert_array_equal(restored.p_values(rows), detector.p_values(rows))
        alone = [detector.score_samples(rows[i : i + 1])[0] for i in range(9)]
        np.testing.assert_array_equal(alone, detector.score_samples(rows)[:9])
    codes = detector.transform(frame)
    probabilities = np.asarray(detector.decoder_(codes))[:, 1:4]
    decoded = detector.inverse_transform(codes)[:, 1]
    assert (np.array(["a", "b", "c"])[probabilities.argmax(axis=1)] == decoded).all()
