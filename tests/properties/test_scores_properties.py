"""What holds of the scores of any rows, whatever the detector has learnt."""

import copy
import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from promises import cells, check_rows, make, quiet, refused, tables_like

RNG = np.random.default_rng


def draw_factors(n_rows, n_columns, seed=0):
    rng = RNG(seed)
    rows = rng.normal(size=(n_rows, 2)) @ rng.normal(size=(2, n_columns))
    return rows + 0.1 * rng.normal(size=rows.shape)


def draw_holes():
    rows = draw_factors(60, 3)
    rows[RNG(1).uniform(size=rows.shape) < 0.2] = np.nan
    return rows


def draw_mixed():
    rows = draw_factors(60, 3).astype(object)
    rows[:, 1] = np.array(["a", "b", "c"])[RNG(1).integers(3, size=60)]
    rows[:, 2] = RNG(2).integers(2, size=60)
    return rows


NUMBERS = draw_factors(60, 3)
KINDS = {
    "neighbors": (NUMBERS, {}),
    "error": (NUMBERS, {"score_method": "reconstruction"}),
    "folds": (NUMBERS, {"calibration_cv": 2}),
    "two networks": (
        NUMBERS,
        {"n_estimators": 2, "score_method": "reconstruction"},
    ),
    "robust": (NUMBERS * [1e9, 1e-9, 1.0], {"scaling": "robust"}),
    "minmax": (NUMBERS + [1e9, 0.0, 0.0], {"scaling": "minmax"}),
    "unscaled": (NUMBERS, {"scaling": None, "calibration_fraction": 0.5}),
    "tiny and huge": (NUMBERS * [1e-150, 1e100, 1.0], {}),
    "elu": (NUMBERS, {"activation": "elu"}),
    "holes": (draw_holes(), {}),
    "categories": (draw_mixed(), {"categorical_features": [1, 2]}),
    "one column": (draw_factors(300, 1), {}),
    "two rows of 200 columns": (draw_factors(2, 200), {}),
    "repeated": (np.repeat(NUMBERS[:2], 20, axis=0), {}),
}
OF_CATEGORIES = st.one_of(
    cells, st.text(max_size=2), st.booleans(), st.none(), st.integers(-2, 2)
)


@functools.cache
def fit(kind):
    X, parameters = KINDS[kind]
    with quiet():
        return make(**parameters).fit(X)


def draw_rows(data, kind, max_rows=40):
    X = KINDS[kind][0]
    rows = data.draw(tables_like(X, cells, max_rows))
    if kind == "categories":
        for i in range(data.draw(st.integers(0, 3))):
            rows[i % len(rows), 1] = data.draw(OF_CATEGORIES)
    return rows


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_what_the_methods_say_of_rows_fits_together(kind, data):
    check_rows(fit(kind), draw_rows(data, kind))


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_a_row_scores_the_same_in_any_company(kind, data):
    """In another order, among others, alone, in a long table: to the bit."""
    detector, rows = fit(kind), draw_rows(data, kind)
    rng = RNG(data.draw(st.integers(0, 2**16)))
    with quiet():
        scores, shares = detector.score_samples(rows), detector.explain(rows)
        chosen = rng.integers(len(rows), size=data.draw(st.integers(1, 300)))
        some, some_shares = (
            method(rows[chosen])
            for method in (detector.score_samples, detector.explain)
        )
        last = detector.score_samples(rows[-1:])
    np.testing.assert_array_equal(some, scores[chosen])
    np.testing.assert_array_equal(last, scores[-1:])
    np.testing.assert_allclose(some_shares, shares[chosen], rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_missing_cells_have_no_share_and_rows_of_them_nothing_against_them(kind, data):
    detector, rows = fit(kind), draw_rows(data, kind)
    with quiet():
        shares, scores = detector.explain(rows), detector.score_samples(rows)
    is_missing = np.array([[x is None or x != x for x in row] for row in rows])
    assert not shares[is_missing].any()
    assert not scores[is_missing.all(axis=1)].any()


@functools.cache
def calibrate():
    fresh = draw_factors(30, 3, seed=5)
    return copy.deepcopy(fit("neighbors")).calibrate(fresh, false_alarm_rate=0.1)


@pytest.mark.parametrize("kind", ["folds", "unscaled", "calibrated"])
@given(data=st.data())
def test_p_values_are_probabilities_that_fall_with_the_score(kind, data):
    is_calibrated = kind == "calibrated"
    detector = calibrate() if is_calibrated else fit(kind)
    rows = draw_rows(data, "neighbors" if is_calibrated else kind)
    with quiet():
        p_values, scores = detector.p_values(rows), detector.score_samples(rows)
        labels = detector.predict(rows)
    n = len(detector.calibration_scores_)
    assert ((p_values >= 1 / (n + 1)) & (p_values <= 1)).all()
    if kind != "folds":
        assert (np.diff(p_values[np.argsort(scores, kind="stable")]) >= 0).all()
    if is_calibrated:
        np.testing.assert_array_equal(labels == -1, p_values <= 0.1)


@given(rows=tables_like(NUMBERS, max_rows=60), rate=st.floats(0.02, 0.98))
def test_calibrating_keeps_the_rate_or_is_refused(rows, rate):
    """Of n rows at most (n + 1) rate - 1 are flagged by a threshold from them."""
    detector = copy.deepcopy(fit("neighbors"))
    with refused(detector, "must have at least", "NaN only") as errors:
        detector.calibrate(rows, false_alarm_rate=rate)
        scores = detector.calibration_scores_
        n_flagged = np.sum(scores < detector.offset_)
        assert n_flagged <= max(0.0, rate * (len(scores) + 1) - 1) + 1e-9
        np.testing.assert_array_equal(np.sort(scores), scores)
    n_observed = np.sum(~np.isnan(rows).all(axis=1))
    if abs(rate * (n_observed + 1) - 1.0) > 1e-9:
        assert bool(errors) == (rate * (n_observed + 1) < 1.0)
