"""Missing values: NaN cells enter neither the loss nor the score."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.datasets import load_breast_cancer
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.utils import get_tags

import skae
from skae import AutoencoderOutlierDetector
from skae._tables._reading import CHUNK_BYTES
from skae._tables._scaling import fit_scaling

CONFIGURATIONS = [
    {},
    {"score_method": "neighbors", "masking": 1.0},
    {"score_method": "neighbors", "n_estimators": 2, "scaling": "robust"},
    {"scaling": "minmax", "output_activation": "sigmoid"},
    {"early_stopping": True, "tol": 0.0, "n_iter_no_change": 2, "epochs": 500},
    {"calibration_fraction": 0.2, "contamination": 0.1},
    {"calibration_cv": 3, "score_method": "neighbors"},
]


@pytest.fixture(scope="module")
def holed_rows(correlated_rows):
    """The correlated rows without a fifth of their cells (seed 0), none empty."""
    X = correlated_rows.copy()
    is_missing = np.random.RandomState(0).uniform(size=X.shape) < 0.2
    is_missing[is_missing.all(axis=1), 0] = False
    X[is_missing] = np.nan
    return X


@pytest.fixture(scope="module")
def of_holed(make_detector, holed_rows):
    return make_detector(score_method="neighbors", masking=1.0).fit(holed_rows)


def fill(X, scaled_like):
    """X with the means of the columns of another table in its missing cells."""
    return np.where(np.isnan(X), np.nanmean(scaled_like, axis=0), X)


def test_tags_allow_nan():
    assert get_tags(AutoencoderOutlierDetector()).input_tags.allow_nan


@pytest.mark.parametrize("parameters", CONFIGURATIONS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_holed_rows_are_fitted_scored_and_explained(
    dtype, parameters, make_detector, holed_rows
):
    X = holed_rows.astype(dtype)
    detector = make_detector(**parameters).fit(X)
    scores = detector.score_samples(X)
    assert (scores < 0).all()
    contributions, expected = detector.explain(X, return_expected=True)
    assert (contributions[np.isnan(X)] == 0).all()
    assert (contributions >= 0).all()
    np.testing.assert_allclose(contributions.sum(axis=1), -scores, rtol=1e-12)
    assert np.isfinite(expected).all()
    assert np.isfinite(detector.reconstruct(X)).all()
    assert np.isfinite(detector.transform(X)).all()
    assert np.isfinite(detector.loss_curve_).all()


def test_score_is_the_mean_absolute_error_over_the_observed_cells(
    make_detector, holed_rows
):
    X = holed_rows
    detector = make_detector(epochs=30).fit(X)
    errors = np.abs(X - detector.reconstruct(X)) / np.nanstd(X, axis=0)
    np.testing.assert_allclose(
        detector.score_samples(X), -np.nanmean(errors, axis=1), rtol=1e-9
    )


@pytest.mark.parametrize("method", ["reconstruct", "transform"])
def test_network_is_shown_the_mean_of_the_column_for_a_missing_cell(
    method, of_holed, holed_rows
):
    np.testing.assert_allclose(
        getattr(of_holed, method)(holed_rows),
        getattr(of_holed, method)(fill(holed_rows, holed_rows)),
        rtol=1e-9,
    )


def test_reconstruct_fills_a_missing_cell_better_than_the_mean(correlated_rows):
    holed = correlated_rows.copy()
    holed[::2, 1] = np.nan
    detector = AutoencoderOutlierDetector((16, 2), epochs=500, random_state=0).fit(
        holed
    )
    true, mean = correlated_rows[::2, 1], np.nanmean(holed[:, 1])
    error = np.abs(detector.reconstruct(holed)[::2, 1] - true).mean()
    assert error < 0.5 * np.abs(mean - true).mean()


@pytest.mark.parametrize(
    "loss",
    [
        "mean_squared_error",
        "huber",
        "mean_absolute_percentage_error",
        "binary_crossentropy",
        "kl_divergence",
        "squared_hinge",
        "cosine_similarity",
    ],
)
def test_what_is_never_observed_trains_nothing_by_any_loss(
    loss, make_detector, correlated_rows
):
    """The weights that lead to a column of missing cells stay what they were."""
    X = correlated_rows.copy()
    X[:, 2] = np.nan
    common = {
        "loss": loss,
        "scaling": "minmax",
        "output_activation": "sigmoid",
        "hidden_layer_sizes": 4,
    }
    with pytest.warns(UserWarning, match="no observed cell in column 2"):
        kernels = [
            make_detector(learning_rate=rate, **common)
            .fit(X)
            .decoder_.get_layer("decoder_1")
            .get_weights()[0]
            for rate in (1e-30, 0.001)
        ]
    is_unchanged = (kernels[0] == kernels[1]).all(axis=0)
    np.testing.assert_array_equal(is_unchanged, [False, False, True, False, False])


def test_loss_is_the_mean_over_the_observed_cells(make_detector, holed_rows):
    """Of one batch, in the only epoch, before its update."""
    trained = make_detector(epochs=1, batch_size=200).fit(holed_rows)
    untrained = make_detector(epochs=1, batch_size=200, learning_rate=1e-12)
    outputs = untrained.fit(holed_rows).reconstruct(holed_rows)
    errors = (holed_rows - outputs) / np.nanstd(holed_rows, axis=0)
    expected = np.nanmean(errors**2)
    np.testing.assert_allclose(trained.loss_curve_, [expected], rtol=1e-5)


def test_held_out_loss_is_the_mean_over_the_observed_cells(make_detector, holed_rows):
    """198 of the 200 rows are held out; a mean over all cells would be lower."""
    common = {"early_stopping": True, "epochs": 1, "validation_fraction": 0.99}
    with pytest.warns(UserWarning, match="Early stopping did not end"):
        detector = make_detector(**common).fit(holed_rows)
    outputs = detector.reconstruct(holed_rows)
    errors = (holed_rows - outputs) / np.nanstd(holed_rows, axis=0)
    np.testing.assert_allclose(
        detector.validation_loss_curve_, [np.nanmean(errors**2)], rtol=0.02
    )


@pytest.mark.parametrize("score_method", ["neighbors", "reconstruction"])
def test_complete_row_scores_alike_beside_holed_ones(
    score_method, make_detector, correlated_rows, holed_rows
):
    detector = make_detector(score_method=score_method).fit(correlated_rows)
    among = np.where(np.arange(200)[:, np.newaxis] % 2, holed_rows, correlated_rows)
    for method in ("score_samples", "explain", "reconstruct", "transform"):
        np.testing.assert_array_equal(
            getattr(detector, method)(among)[::2],
            getattr(detector, method)(correlated_rows)[::2],
        )


def test_detector_of_complete_rows_scores_holed_ones(
    make_detector, correlated_rows, holed_rows
):
    detector = make_detector(epochs=100, masking=1.0, hidden_layer_sizes=(16, 2))
    detector.fit(correlated_rows)
    odd = np.random.default_rng(0).permuted(holed_rows, axis=0)
    is_observed = ~np.isnan(odd).all(axis=1)
    scores = [detector.score_samples(X) for X in (holed_rows, odd[is_observed])]
    y = np.repeat([1, 0], [200, is_observed.sum()])
    assert roc_auc_score(y, np.concatenate(scores)) > 0.75


class TestRowsWithNothingObserved:
    def test_are_scored_0_with_a_warning(self, of_holed, holed_rows):
        X = holed_rows[:5].copy()
        X[2] = np.nan
        with pytest.warns(UserWarning, match=r"1 row\(s\) of X have no observed cell"):
            scores = of_holed.score_samples(X)
        assert scores[2] == 0
        np.testing.assert_array_equal(
            np.delete(scores, 2), of_holed.score_samples(np.delete(X, 2, axis=0))
        )
        with pytest.warns(UserWarning, match="no observed cell"):
            assert of_holed.predict(X)[2] == 1
        assert (of_holed.explain(X)[2] == 0).all()
        assert np.isfinite(of_holed.reconstruct(X)).all()

    @pytest.mark.parametrize("to_table", [np.asarray, sparse.csr_array])
    def test_are_left_out_by_fit(self, to_table, make_detector, holed_rows):
        X = np.insert(holed_rows, [0, 50], np.nan, axis=0)
        with pytest.warns(UserWarning, match=r"2 row\(s\).*are left out") as record:
            detector = make_detector().fit(to_table(X))
        assert record[0].filename == __file__
        assert detector.offset_ == make_detector().fit(holed_rows).offset_

    def test_are_left_out_by_calibrate(self, make_detector, holed_rows):
        detector = make_detector().fit(holed_rows[:100])
        expected = detector.calibrate(holed_rows[100:], false_alarm_rate=0.1).offset_
        X = np.insert(holed_rows[100:], [0, 50], np.nan, axis=0)
        with pytest.warns(UserWarning, match=r"2 row\(s\).*are left out") as record:
            detector.calibrate(X, false_alarm_rate=0.1)
        assert record[0].filename == __file__
        assert detector.offset_ == expected

    def test_are_an_error_if_there_are_no_others(self, make_detector):
        with pytest.raises(ValueError, match="NaN only"):
            make_detector().fit(np.full((20, 3), np.nan))


@pytest.mark.parametrize("scaling", ["standard", "minmax", "robust", None])
def test_column_with_nothing_observed_is_of_no_account(
    scaling, make_detector, correlated_rows
):
    X = correlated_rows / correlated_rows.std(axis=0)
    X[:, 2] = np.nan
    found = fit_scaling(X, scaling)
    assert (found.center[2], found.scale[2]) == (0.0, 1.0)
    with pytest.warns(UserWarning, match="no observed cell in column 2"):
        detector = make_detector(scaling=scaling, score_method="neighbors").fit(X)
    assert np.isfinite(detector.score_samples(X)).all()
    assert (detector.explain(X)[:, 2] == 0).all()
    assert detector.diagnose(X)[4].figure == "1 of 5 (2)"


@pytest.mark.parametrize("scaling", ["standard", "minmax", "robust"])
def test_scaling_leaves_missing_cells_out(scaling):
    """Of several chunks, in the first of which a column has no observed cell."""
    n_rows, n_columns = 4_000, 1_100
    assert 8 * n_rows * n_columns > 2 * CHUNK_BYTES
    X = np.random.default_rng(0).normal(3.0, 2.0, size=(n_rows, n_columns))
    X[:2_500, 1] = np.nan
    X[::2, 2] = np.nan
    found = fit_scaling(X, scaling)
    center, scale = found.center, found.scale
    for j in range(3):
        observed = X[~np.isnan(X[:, j]), j][:, np.newaxis]
        expected = fit_scaling(observed, scaling)
        np.testing.assert_allclose(center[j], expected.center)
        np.testing.assert_allclose(scale[j], expected.scale)
        np.testing.assert_allclose(
            found.mask_values[j], (observed.mean() - center[j]) / scale[j], atol=1e-12
        )


@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("method", ["fit", "score_samples", "explain", "reconstruct"])
def test_infinity_is_an_error(method, value, make_detector, holed_rows):
    X = holed_rows.copy()
    X[0, 0] = value
    detector = make_detector().fit(holed_rows)
    with pytest.raises(ValueError, match="contains infinity"):
        getattr(detector, method)(X)


@pytest.mark.parametrize("to_frame", [pd.DataFrame, pl.DataFrame])
def test_frames_with_missing_cells_equal_arrays(to_frame, of_holed, holed_rows):
    names = list("abcde")
    X = to_frame(dict(zip(names, holed_rows.T, strict=True)))
    detector = AutoencoderOutlierDetector(**of_holed.get_params()).fit(X)
    assert list(detector.feature_names_in_) == names
    np.testing.assert_allclose(
        detector.score_samples(X), of_holed.score_samples(holed_rows), rtol=1e-5
    )


@pytest.mark.parametrize("to_frame", [pd.DataFrame, pl.DataFrame])
def test_null_of_a_frame_is_a_missing_cell(to_frame, make_detector):
    columns = {"a": [1.0, None, 3.0, 4.0] * 10, "b": [0.0, 1.0, 2.0, None] * 10}
    array = np.array(list(columns.values()), dtype=float).T
    detector = make_detector().fit(array)
    with pytest.warns(UserWarning, match="X has feature names"):
        scores = detector.score_samples(to_frame(columns))
    np.testing.assert_array_equal(scores, detector.score_samples(array))


def test_nullable_integers_of_pandas_may_be_missing(make_detector):
    frame = pd.DataFrame({"a": [1, 2, None, 4] * 10, "b": [3, 1, 2, 5] * 10})
    scores = make_detector().fit(frame.astype("Int64")).score_samples(frame)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(
    "method", ["score_samples", "explain", "reconstruct", "transform", "score"]
)
def test_sparse_rows_with_missing_cells_equal_dense_ones(method, of_holed, holed_rows):
    rows = sparse.csr_array(holed_rows)
    detector = AutoencoderOutlierDetector(**of_holed.get_params()).fit(rows)
    np.testing.assert_array_equal(
        getattr(detector, method)(rows), getattr(of_holed, method)(holed_rows)
    )


def test_score_without_labels_takes_missing_cells(of_holed, holed_rows):
    assert 0.5 < of_holed.score(holed_rows) <= 1.0


def test_diagnosis_of_holed_rows_has_all_its_figures(of_holed, holed_rows):
    assert "nan" not in str(of_holed.diagnose(holed_rows[:100], holed_rows[100:]))


def test_copies_score_holed_rows_alike(of_holed, holed_rows, tmp_path):
    skae.save(of_holed, tmp_path / "holed.skae")
    copies = pickle.loads(pickle.dumps(of_holed)), skae.load(tmp_path / "holed.skae")
    for copy in copies:
        np.testing.assert_array_equal(
            copy.score_samples(holed_rows), of_holed.score_samples(holed_rows)
        )


def test_explanation_of_a_holed_row_is_drawn(of_holed, holed_rows):
    plt = pytest.importorskip("matplotlib.pyplot")
    row = holed_rows[np.isnan(holed_rows).any(axis=1)][:1]
    display = skae.ExplanationDisplay.from_estimator(of_holed, row)
    texts = [display.texts_[i].get_text() for i in np.argsort(display.columns_)]
    is_missing = [text.startswith("missing, expected ") for text in texts]
    np.testing.assert_array_equal(is_missing, np.isnan(row[0]))
    plt.close(display.figure_)


def test_fit_on_holed_rows_is_recalled_from_the_cache(
    tmp_path, make_detector, holed_rows
):
    cached = make_detector(memory=str(tmp_path)).fit(holed_rows)
    (entry,) = tmp_path.rglob("output.pkl")
    made_at = entry.stat().st_mtime_ns
    again = make_detector(memory=str(tmp_path)).fit(holed_rows)
    assert [e.stat().st_mtime_ns for e in tmp_path.rglob("output.pkl")] == [made_at]
    assert again.offset_ == cached.offset_


def test_holed_tumours_are_told_apart_no_worse_than_by_mean_imputation():
    X, y = load_breast_cancer(return_X_y=True)
    X[np.random.RandomState(0).uniform(size=X.shape) < 0.2] = np.nan
    benign = X[y == 1]
    test, is_benign = (
        np.concatenate([benign[250:], X[y == 0]]),
        np.repeat([1, 0], [107, 212]),
    )
    detector = AutoencoderOutlierDetector(random_state=0)
    ours = detector.fit(benign[:250]).score_samples(test)
    imputer = SimpleImputer().fit(benign[:250])
    other = AutoencoderOutlierDetector(random_state=0)
    other.fit(imputer.transform(benign[:250]))
    theirs = other.score_samples(imputer.transform(test))
    assert roc_auc_score(is_benign, ours) > 0.9
    assert roc_auc_score(is_benign, ours) > roc_auc_score(is_benign, theirs) - 0.01
