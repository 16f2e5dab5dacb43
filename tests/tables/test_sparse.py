"""Sparse tables give what dense ones give, to the bit."""

import numpy as np
import pytest
from scipy import sparse

from skae import AutoencoderOutlierDetector, ExplanationDisplay
from skae._tables._reading import CHUNK_BYTES
from skae._tables._scaling import fit_scaling

FORMATS = ["bsr", "coo", "csc", "csr", "dia", "dok", "lil"]
METHODS = [
    "score_samples",
    "decision_function",
    "predict",
    "p_values",
    "transform",
    "reconstruct",
    "explain",
    "score",
    "diagnose",
]


@pytest.fixture(scope="module")
def counts():
    """300 rows of 6 columns, four cells in five of them zero (seed 0)."""
    rng = np.random.RandomState(0)
    level = rng.gamma(2.0, size=(300, 1))
    return rng.poisson(0.2 * level, size=(300, 6)).astype(float)


@pytest.fixture(scope="module")
def fitted(make_detector, counts):
    return make_detector(calibration_fraction=0.2).fit(counts)


@pytest.mark.parametrize("kind", ["array", "matrix"])
@pytest.mark.parametrize("method", METHODS)
def test_each_method_returns_of_sparse_rows_what_it_returns_of_dense_ones(
    method, kind, fitted, counts
):
    rows = getattr(sparse, f"csr_{kind}")(counts)
    dense, of_sparse = (getattr(fitted, method)(X) for X in (counts, rows))
    if method == "diagnose":
        assert of_sparse == dense
    else:
        assert not sparse.issparse(of_sparse)
        np.testing.assert_array_equal(of_sparse, dense)


@pytest.mark.filterwarnings("ignore:Constructing a DIA matrix")
@pytest.mark.parametrize("sparse_format", FORMATS)
def test_each_format_is_fitted_and_scored_like_dense_rows(
    sparse_format, make_detector, counts
):
    rows = sparse.coo_array(counts).asformat(sparse_format)
    dense, of_sparse = (make_detector().fit(X) for X in (counts, rows))
    assert of_sparse.offset_ == dense.offset_
    np.testing.assert_array_equal(
        of_sparse.score_samples(rows), dense.score_samples(counts)
    )


@pytest.mark.parametrize(
    "parameters",
    [
        {"scaling": "minmax", "output_activation": "sigmoid"},
        {"scaling": "robust"},
        {"scaling": None},
        {"early_stopping": True, "tol": 0.0, "n_iter_no_change": 2, "epochs": 500},
        {"calibration_fraction": 0.3},
        {"calibration_cv": 3},
        {"n_estimators": 2, "score_method": "neighbors"},
        {"masking": 1.0, "learning_rate_schedule": "cosine"},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fit_on_sparse_rows_equals_fit_on_dense_ones(
    dtype, parameters, make_detector, counts
):
    X = counts.astype(dtype)
    dense = make_detector(**parameters).fit(X)
    of_sparse = make_detector(**parameters).fit(sparse.csr_array(X))
    assert of_sparse.loss_curve_ == dense.loss_curve_
    assert of_sparse.validation_loss_curve_ == dense.validation_loss_curve_
    assert of_sparse.offset_ == dense.offset_
    np.testing.assert_array_equal(of_sparse.score_samples(X), dense.score_samples(X))


def test_calibration_on_sparse_rows_equals_that_on_dense_ones(make_detector, counts):
    detector = make_detector().fit(counts)
    dense = detector.calibrate(counts, false_alarm_rate=0.1).offset_
    detector.calibrate(sparse.csc_array(counts), false_alarm_rate=0.2)
    assert detector.offset_ != dense
    detector.calibrate(sparse.csc_array(counts), false_alarm_rate=0.1)
    assert detector.offset_ == dense


def test_too_few_sparse_calibration_rows_are_an_error(fitted, counts):
    with pytest.raises(ValueError, match="at least 99 rows .* it has 5"):
        fitted.calibrate(sparse.csr_array(counts[:5]), false_alarm_rate=0.01)


def test_entries_given_twice_are_added_up(make_detector, counts):
    coordinates = sparse.coo_array(counts)
    halves = np.tile(coordinates.data / 2, 2)
    places = (np.tile(coordinates.row, 2), np.tile(coordinates.col, 2))
    ends = np.searchsorted(np.sort(places[0]), np.arange(301))
    order = np.argsort(places[0], kind="stable")
    twice = sparse.csr_array((halves[order], places[1][order], ends), counts.shape)
    assert not twice.has_canonical_format
    dense, of_sparse = (make_detector().fit(X) for X in (counts, twice))
    np.testing.assert_array_equal(
        of_sparse.score_samples(twice), dense.score_samples(counts)
    )
    assert of_sparse.score(twice) == dense.score(counts)


def test_sparse_rows_are_left_as_they_were(make_detector, counts):
    rows = sparse.csr_array(counts)
    data, indices = rows.data.copy(), rows.indices.copy()
    make_detector().fit(rows).explain(rows)
    np.testing.assert_array_equal(rows.data, data)
    np.testing.assert_array_equal(rows.indices, indices)


def test_sparse_fit_is_recalled_from_the_cache(tmp_path, make_detector, counts):
    rows = sparse.csr_array(counts)
    cached = make_detector(memory=str(tmp_path), contamination=0.1).fit(rows)
    (entry,) = tmp_path.rglob("output.pkl")
    made_at = entry.stat().st_mtime_ns
    again = make_detector(memory=str(tmp_path), contamination=0.2).fit(rows)
    assert [e.stat().st_mtime_ns for e in tmp_path.rglob("output.pkl")] == [made_at]
    np.testing.assert_array_equal(
        again.score_samples(rows), cached.score_samples(counts)
    )


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_entry_is_an_error(value, make_detector, counts):
    rows = sparse.csr_array(counts)
    rows.data[3] = value
    with pytest.raises(ValueError, match="contains infinity"):
        make_detector().fit(rows)


@pytest.mark.parametrize("scaling", ["standard", "minmax", "robust"])
def test_scaling_is_read_off_more_rows_than_are_dense_at_once(scaling):
    """Of 5,000 columns a few hundred rows are; two columns differ, at the far end."""
    n_rows, n_columns = 2_000, 5_000
    assert 8 * n_rows * n_columns > 2 * CHUNK_BYTES
    columns = np.zeros((n_rows, 2))
    columns[-900:] = np.random.RandomState(0).normal(size=(900, 2))
    rows = sparse.hstack([columns, sparse.csr_array((n_rows, n_columns - 2))], "csr")
    wide, narrow = fit_scaling(rows, scaling), fit_scaling(columns, scaling)
    for of_wide, of_narrow in zip(wide[:4], narrow[:4], strict=True):
        np.testing.assert_allclose(of_wide[:2], of_narrow, rtol=1e-12)


def test_wide_sparse_table_is_fitted_and_scored():
    """5,000 columns, more than are scaled once and for all."""
    values = np.random.RandomState(0).uniform(size=(1_200, 5_000))
    rows = sparse.csr_array(np.where(values < 0.002, 500 * values, 0.0))
    detector = AutoencoderOutlierDetector((4, 2), epochs=1, random_state=0).fit(rows)
    some = rows[:40]
    np.testing.assert_array_equal(
        detector.score_samples(some), detector.score_samples(some.toarray())
    )


def test_explanation_of_a_sparse_row_is_drawn(fitted, counts):
    plt = pytest.importorskip("matplotlib.pyplot")
    displays = [
        ExplanationDisplay.from_estimator(fitted, row)
        for row in (counts[:1], sparse.csr_matrix(counts[:1]))
    ]
    dense, of_sparse = ([t.get_text() for t in d.texts_] for d in displays)
    assert of_sparse == dense
    plt.close("all")
