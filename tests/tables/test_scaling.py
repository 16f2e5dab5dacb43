"""Centers and scales: one way to them, as exact as float64, wherever 0 is."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

import skae._tables._reading
from skae import AutoencoderOutlierDetector
from skae._tables._moments import compute_moments
from skae._tables._scaling import fit_scaling


@pytest.fixture(scope="module")
def timestamps():
    """2,000 rows of nanoseconds since 1970, within less than one of 1e6, and of noise.

    A float64 of that size is good to 256 only.
    """
    rng = np.random.default_rng(0)
    times = 1_750_000_000_000_000_000 + np.sort(rng.integers(0, 700_000, 2000))
    return np.c_[times, rng.normal(size=(2000, 3))]


def compute_exactly(values, weights):
    """Mean minus the first value, and standard deviation, in rational numbers."""
    shifted = [int(v) - int(values[0]) for v in values]
    total = sum(map(int, weights))
    mean = math.fsum(w * v for w, v in zip(weights, shifted, strict=True)) / total
    squares = (w * (v - mean) ** 2 for w, v in zip(weights, shifted, strict=True))
    return mean, math.sqrt(math.fsum(squares) / total)


# ---------------------------------------------------------------- one way to moments


@pytest.mark.parametrize("chunk_bytes", [2**24, 3_000, 32])
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("has_gaps", [False, True])
def test_moments_are_exact_by_every_route(
    has_gaps, is_weighted, chunk_bytes, timestamps, monkeypatch
):
    """The first 600 rows lack a column's cells, and so do all chunks before these."""
    monkeypatch.setattr(skae._tables._reading, "CHUNK_BYTES", chunk_bytes)
    X, weights = timestamps[:1200].copy(), np.ones(1200)
    if is_weighted:
        weights = np.random.default_rng(1).integers(1, 5, 1200).astype(float)
    is_observed = np.ones(1200, bool)
    if has_gaps:
        is_observed[:600] = False
        X[:600, 0] = np.nan
    found = fit_scaling(X, "standard", weights if is_weighted else None)
    times, weights = X[is_observed, 0], weights[is_observed]
    mean, deviation = compute_exactly(times, weights)
    assert found.pivot[0] in times
    assert float(found.pivot[0] - times[0]) + found.remainder[0] == pytest.approx(
        mean, rel=1e-12
    )
    assert found.scale[0] == pytest.approx(deviation, rel=1e-12)
    assert (found.mask_values == 0.0).all()


def test_column_that_the_sample_of_rows_misses_has_its_first_value_as_pivot():
    X = np.full((10_000, 2), np.nan)
    X[:, 1] = 1.0
    X[[4_001, 9_001], 0] = [5.0, 7.0]
    moments = compute_moments(X)
    assert (moments.pivot[0], moments.mean[0], moments.deviation[0]) == (5.0, 1.0, 1.0)
    assert (moments.low[0], moments.high[0], moments.total[0]) == (5.0, 7.0, 2.0)


@pytest.mark.parametrize("scaling", ["standard", "minmax", "robust", None])
def test_table_is_read_once(scaling, monkeypatch):
    """Besides a sample of its rows, and its columns for the quartiles."""
    n_read = 0
    make_dense = skae._tables._reading._make_dense

    def count(values):
        nonlocal n_read
        n_read += len(values)
        return make_dense(values)

    monkeypatch.setattr(skae._tables._reading, "_make_dense", count)
    X = np.random.default_rng(0).normal(size=(2000, 3))
    X[5, 1] = np.nan
    fit_scaling(X, scaling, np.arange(1.0, 2001.0))
    n_times = 2 if scaling == "robust" else 1
    assert n_read <= n_times * (len(X) + 256)


def add_row(X):
    return np.r_[X, X[:1]]


def punch(X):
    X = X.copy()
    X[3, 1] = np.nan
    return X


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    "change",
    [
        lambda X: X,
        add_row,
        punch,
        lambda X: X[::2],
        sparse.csr_array,
        lambda X: pd.DataFrame(X),
    ],
    ids="as it is,repeated row,gap,fewer rows,sparse,frame".split(","),
)
def test_times_in_nanoseconds_are_told_apart(change, method, timestamps):
    """Rows of the hour before and after; their other columns are normal."""
    X = change(timestamps)
    if method == "fit":
        detector = AutoencoderOutlierDetector((32, 4), epochs=20, random_state=0).fit(X)
    else:
        detector = AutoencoderOutlierDetector((32, 4), random_state=0)
        edges = np.linspace(0, X.shape[0], 5).astype(int)
        for start, stop in zip(edges[:-1], edges[1:], strict=True):
            rows = slice(start, stop)
            detector.partial_fit(X.iloc[rows] if hasattr(X, "iloc") else X[rows])
    assert detector._model.scale[0] == pytest.approx(2e5, rel=0.05)
    rng = np.random.default_rng(1)
    fresh = timestamps[rng.permutation(2000)[:400]]
    fresh[:, 1:] = rng.normal(size=(400, 3))
    odd = fresh.copy()
    odd[:, 0] += rng.choice([-1_200_000, 1_200_000], size=400)
    rows = np.r_[fresh, odd]
    rows = pd.DataFrame(rows) if isinstance(X, pd.DataFrame) else rows
    area = roc_auc_score(np.repeat([1, 0], 400), detector.score_samples(rows))
    assert area >= 0.95


def test_rows_come_back_in_their_own_units(timestamps):
    """A time to within the gap between two float64 numbers of its size."""
    scaling = fit_scaling(timestamps, "standard")
    z = (timestamps - scaling.pivot - scaling.remainder) / scaling.scale
    np.testing.assert_allclose(z.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(z.std(axis=0), 1.0, rtol=1e-12)
    back = scaling.undo(z.copy())
    assert np.abs(back - timestamps)[:, 0].max() <= 256
    np.testing.assert_allclose(back[:, 1:], timestamps[:, 1:], atol=1e-14)


# -------------------------------------------------------- units and offsets, to the bit


def make_tables():
    """Whole numbers of several kinds, one column among them that has a fraction."""
    rng = np.random.default_rng(0)
    n = 150
    yield np.c_[
        rng.integers(0, 700_000, n),
        rng.integers(0, 100, n),
        rng.integers(0, 2, n),
        rng.normal(size=n),
    ]
    yield rng.integers(0, 20_000, (400, 1)).astype(float)  # rows close to each other
    yield rng.integers(0, 2, (n, 4)).astype(float)
    yield (rng.uniform(size=(n, 3)) < 0.05).astype(float)


SHIFTS = [2.0**20, 2.0**40, 2.0**52 - 1_000_000, -(2.0**40), -(2.0**52) + 5]
EXPONENTS = [100, -100, 17, -3]


@pytest.mark.parametrize("scaling", ["standard", "minmax"])
@pytest.mark.parametrize("has_gaps", [False, True])
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("i_table", range(4))
def test_neither_units_nor_whole_offsets_change_a_digit(
    i_table, is_weighted, has_gaps, scaling, make_detector
):
    """Powers of two as units, of all columns and of one; whole numbers as offsets."""
    rng = np.random.default_rng(1)
    X = list(make_tables())[i_table]
    if has_gaps:
        X[rng.uniform(size=X.shape) < 0.1] = np.nan
        X = X[~np.isnan(X).all(axis=1)]
    weights = rng.integers(1, 4, len(X)) if is_weighted else None
    detector = make_detector(
        scaling=scaling, score_method="neighbors", masking=1.0, epochs=2
    )

    def run(change):
        table = change(X)
        fitted = clone(detector).fit(table[:-30], sample_weight=weights_of_fit)
        return np.append(fitted.score_samples(table), fitted.offset_)

    def shift(shift):
        whole = (np.isnan(X) | (X == np.rint(X))).all(axis=0)
        return lambda X: np.where(whole, X + shift, X)

    weights_of_fit = None if weights is None else weights[:-30]
    expected = run(lambda X: X)
    for offset in SHIFTS:
        np.testing.assert_array_equal(run(shift(offset)), expected, err_msg=offset)
    for exponent in EXPONENTS:
        np.testing.assert_array_equal(
            run(lambda X, e=exponent: X * 2.0**e), expected, err_msg=exponent
        )
    one = 2.0 ** np.r_[-33, np.zeros(X.shape[1] - 1)]
    np.testing.assert_array_equal(run(lambda X: X * one), expected)


def test_offset_of_a_stream_changes_no_digit(make_detector):
    X = next(make_tables())[:, :3]
    scores = []
    for shift in (0.0, 2.0**40):
        detector = make_detector(score_method="neighbors", masking=1.0)
        for rows in np.array_split(X + shift, 3):
            detector.partial_fit(rows)
        scores.append(detector.score_samples(X + shift))
    np.testing.assert_array_equal(*scores)


# ------------------------------------------------------------------- what is no spread


def waver(value, kind, n_rows=500):
    """A value that is constant but for the last digit of its kind of float."""
    steps = np.random.default_rng(0).integers(-1, 2, size=n_rows)
    return (kind(value) + steps * np.spacing(kind(value))).astype(kind)


@pytest.mark.parametrize("scaling", ["standard", "minmax", "robust"])
@pytest.mark.parametrize("value", [14.62, -3.3e-7, 146_200.3, 3.1e9])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_last_digit_of_the_input_is_no_spread(kind, value, scaling, make_detector):
    """Whatever it is worth: later rows may differ by more of it, and not by much."""
    rng = np.random.default_rng(1)
    X = np.c_[waver(value, kind), rng.normal(size=(500, 3)).astype(kind)]
    assert X.dtype == kind
    detector = make_detector(
        scaling=scaling,
        score_method="neighbors",
        masking=1.0,
        contamination=0.05,
        epochs=10,
    ).fit(X)
    labels = detector.predict(X)
    moved = X.copy()
    moved[:, 0] += 16 * np.spacing(np.abs(X[:, 0]))
    assert (detector.predict(moved) != labels).mean() < 0.02
    moved[:, 0] = X[:, 0] * 1e3 + 50.0
    assert (detector.predict(moved) == -1).all()


def test_float32_column_of_a_frame_is_judged_by_its_own_precision():
    """Beside columns in float64 it comes as one of them."""
    X = np.c_[waver(14.62, np.float32), waver(14.62, np.float64)].astype(float)
    X = np.c_[X, np.random.default_rng(0).normal(size=500)]
    finer = X[:, :1] + 1e-12 * np.arange(500)[:, np.newaxis]  # is none of float32
    scale = fit_scaling(np.c_[X, finer], "standard").scale
    np.testing.assert_array_equal(scale[:2], 1.0)
    assert scale[3] < 1e-5


@pytest.mark.parametrize(
    "kind, offset",
    [(np.float64, 2.0**50), (np.float64, 2.0**30), (np.float32, 2.0**23)],
)
def test_whole_numbers_are_never_noise(kind, offset):
    """Of these offsets, 0 and 1 are as far apart as neighbours of float32, or less."""
    X = np.random.default_rng(0).integers(0, 2, (300, 2)).astype(kind)
    X[5, 0] = np.nan
    scale = fit_scaling(X, "standard").scale
    np.testing.assert_array_equal(
        fit_scaling(X + kind(offset), "standard").scale, scale
    )
    coarse = fit_scaling(128 * X + kind(offset), "standard").scale
    np.testing.assert_array_equal(coarse, 128 * scale)


@pytest.mark.parametrize("value", [2.0**53 + 10.0, -7.7e60, 1.3e150])
def test_numbers_that_are_not_exact_are_no_whole_numbers(value):
    X = waver(value, np.float64)[:, np.newaxis]
    assert fit_scaling(X, "standard").scale == 4096 * np.spacing(abs(value))


def test_constant_column_keeps_its_raw_unit():
    X = np.full((50, 4), [0.1, 1e12, -3.0, 0.0])
    found = fit_scaling(X, "standard")
    np.testing.assert_array_equal(found.scale, 1.0)
    np.testing.assert_array_equal(found.center, X[0])


# ------------------------------------------------------------------- robust, and sizes


@pytest.fixture(scope="module")
def related_rows():
    """2,000 rows of 8 columns that follow 3 hidden factors (seed 0), and 500 fresh."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2500, 3)) @ rng.normal(size=(3, 8))
    X += 0.3 * rng.normal(size=X.shape)
    return X[:2000], X[2000:]


@pytest.mark.parametrize("value", [-999.0, 1e20, 9.97e36, 1e200, -1.7e308])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_robust_scaling_lives_with_one_odd_value(method, value, related_rows):
    X, fresh = related_rows[0].copy(), related_rows[1]
    X[7, 2] = value
    detector = AutoencoderOutlierDetector(
        (32, 4), scaling="robust", contamination=0.02, epochs=20, random_state=0
    )
    getattr(detector, method)(X)
    odd = fresh.copy()
    odd[:, 2] += 8.0 * related_rows[0][:, 2].std()
    assert (detector.predict(fresh) == -1).mean() < 0.06
    assert (detector.predict(odd) == -1).mean() > 0.98
    assert detector.predict(X[7:8]) == -1
    holed = fresh.copy()
    holed[:, 2] = np.nan
    assert (detector.predict(holed) == -1).mean() < 0.2


def test_robust_scaling_has_room_for_many_odd_values(related_rows):
    """They are references, too: 15 % of the rows are no outliers."""
    X, fresh = related_rows[0].copy(), related_rows[1].copy()
    X[:300, 2] = fresh[:250, 2] = -99_999.0
    detector = AutoencoderOutlierDetector(
        (32, 4), scaling="robust", contamination=0.02, epochs=20, random_state=0
    ).fit(X)
    assert (detector.predict(X) == -1).mean() == 0.02
    assert (detector.predict(fresh) == -1).mean() < 0.15


def test_robust_scaling_of_one_value_and_overflow_is_an_error():
    """The deviation would have to do in the stead of the quartiles."""
    X = np.zeros((100, 2))
    X[:, 1] = np.arange(100.0)
    X[3, 0] = 1e200
    with pytest.raises(ValueError, match=r"overflows in column\(s\) \[0\]"):
        fit_scaling(X, "robust")
    with pytest.raises(ValueError, match=r"overflows in column\(s\) \['flow'\]"):
        fit_scaling(X, "robust", names=["flow", "level"])


@pytest.mark.parametrize("exponent", [-30, -3, 30])
def test_unit_of_whole_numbers_with_an_offset_changes_no_digit(exponent, make_detector):
    """In float32 their neighbours are a tenth of a step to a step away."""
    rng = np.random.default_rng(0)
    X = np.c_[5_000_000 + rng.integers(0, 6, 300), rng.integers(0, 50, 300)]
    X = X.astype(float)
    detector = make_detector(score_method="neighbors").fit(X)
    scaled = X * [2.0**exponent, 1.0]
    other = make_detector(score_method="neighbors").fit(scaled)
    np.testing.assert_array_equal(
        other.score_samples(scaled), detector.score_samples(X)
    )


@pytest.mark.parametrize("unit", [2.0**-450, 2.0**-600, 2.0**-900])
def test_squares_that_underflow_are_no_lack_of_spread(unit):
    X = np.random.default_rng(0).normal(size=(40, 2))
    expected = compute_moments(X).deviation * [1.0, unit]
    scaled = X * [1.0, unit]
    both = compute_moments(X * unit).deviation / unit
    np.testing.assert_array_equal(both, compute_moments(X).deviation)
    np.testing.assert_array_equal(compute_moments(scaled).deviation, expected)
    np.testing.assert_array_equal(fit_scaling(scaled, "standard").scale, expected)


@pytest.mark.parametrize("scaling", ["minmax", "robust"])
def test_mean_that_overflows_is_refused_like_a_spread(scaling, make_detector):
    """Of rows that weigh 3, with a range that does not overflow."""
    largest = np.finfo(np.float64).max
    X = np.c_[np.tile([0.0, 0.6, 1.0], 5) * largest, np.arange(15.0)]
    with pytest.raises(ValueError, match=r"overflows in column\(s\) \[0\]"):
        make_detector(scaling=scaling).fit(X, sample_weight=np.tile([1, 3, 3], 5))


def test_sparse_and_dense_rows_have_one_robust_scaling():
    rows = sparse.random(400, 6, 0.3, format="csr", random_state=0)
    rows.data += 1.234
    one, other = fit_scaling(rows, "robust"), fit_scaling(rows.toarray(), "robust")
    for left, right in zip(one[:4], other[:4], strict=True):
        np.testing.assert_array_equal(left, right)
