"""Learning from rows that come in parts, and going on from where a fit ended."""

import pickle

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score

import skae
from skae import AutoencoderOutlierDetector
from skae._tables._reading import WeightedTable
from skae._tables._sample import add_rows, start_stream


@pytest.fixture(scope="module")
def stream():
    """30 parts of 50 rows, of 6 columns that follow 2 hidden factors (seed 0)."""
    rng = np.random.RandomState(0)
    rows = rng.normal(size=(1500, 2)) @ rng.normal(size=(2, 6))
    return np.split(rows + 0.1 * rng.normal(size=rows.shape), 30)


def fit_in_parts(detector, parts):
    for part in parts:
        detector.partial_fit(part)
    return detector


def test_stream_is_learnt(make_detector, stream):
    """Fresh rows against rows whose cells do not belong together."""
    fresh, past = np.concatenate(stream[25:]), stream[:25]
    rng = np.random.RandomState(0)
    shuffled = np.column_stack([rng.permutation(column) for column in fresh.T])
    labels = np.repeat([1, 0], len(fresh))

    def measure(detector):
        return roc_auc_score(labels, detector.score_samples(np.r_[fresh, shuffled]))

    detector = make_detector(learning_rate=0.01, hidden_layer_sizes=(32, 2))
    after_one = measure(fit_in_parts(detector, past[:1]))
    after_all = measure(fit_in_parts(detector, past[1:]))
    assert after_all > max(0.85, after_one + 0.1)
    assert detector.loss_curve_[-1] < 0.5 * detector.loss_curve_[0]
    assert detector.n_iter_ == len(detector.loss_curve_) == 25


def test_each_call_makes_one_pass_at_a_constant_rate(make_detector, stream):
    """Whatever the parameters say about epochs, schedule and early stopping."""
    quiet = make_detector(epochs=1)
    other = make_detector(
        epochs=50,
        learning_rate_schedule="cosine",
        early_stopping=True,
        calibration_fraction=0.5,
    )
    for detector in (quiet, other):
        fit_in_parts(detector, stream[:3])
    rows = stream[0]
    np.testing.assert_array_equal(other.score_samples(rows), quiet.score_samples(rows))
    assert other.offset_ == quiet.offset_
    assert other.validation_loss_curve_ is None
    assert other.calibration_scores_ is None


def test_scaling_and_threshold_follow_the_stream(make_detector, stream):
    detector = make_detector(contamination=0.1)
    fit_in_parts(detector, stream[:10])
    past = np.concatenate(stream[:10])
    np.testing.assert_allclose(
        detector.reconstruct(past).mean(axis=0), past.mean(axis=0), atol=0.3
    )
    assert np.mean(detector.predict(past) == -1) == pytest.approx(0.1, abs=0.001)
    moved = [part + 100.0 for part in stream[10:20]]
    fit_in_parts(detector, moved)
    seen = np.concatenate([past, *moved])
    assert np.mean(detector.predict(seen) == -1) == pytest.approx(0.1, abs=0.001)


def test_calls_are_reproducible_and_survive_files(make_detector, stream, tmp_path):
    """Pickled or saved in the middle of a stream."""
    expected = fit_in_parts(make_detector(), stream[:6])
    half = fit_in_parts(make_detector(), stream[:3])
    skae.save(half, tmp_path / "half.skae")
    for other in (
        pickle.loads(pickle.dumps(half)),
        skae.load(tmp_path / "half.skae"),
    ):
        fit_in_parts(other, stream[3:6])
        np.testing.assert_array_equal(
            other.score_samples(stream[0]), expected.score_samples(stream[0])
        )
        assert other.offset_ == expected.offset_


def test_optimizer_remembers_the_last_call(make_detector, stream):
    """With momentum .9, steps grow while the gradient stays; anew they would not."""
    import keras

    optimizer = keras.optimizers.SGD(1e-3, momentum=0.9)
    detector = make_detector(optimizer=optimizer, batch_size=50)
    kernels = [
        pickle.loads(pickle.dumps(detector.partial_fit(stream[0]))).model_.weights[0]
        for _ in range(3)
    ]
    first, second = np.abs(np.diff(np.array(kernels), axis=0)).sum(axis=(1, 2))
    assert second > 1.3 * first


def test_later_calls_use_other_random_numbers(make_detector, stream):
    """The same rows twice: at a rate of nearly zero, the masks alone differ."""
    detector = make_detector(masking=1.0, learning_rate=1e-12)
    fit_in_parts(detector, stream[:1] * 2)
    assert detector.loss_curve_[0] != detector.loss_curve_[1]


def test_weight_is_repetition_in_parts(make_detector, stream):
    rng = np.random.RandomState(0)
    weighted, repeated = make_detector(), make_detector()
    for part in stream[:4]:
        weights = rng.randint(4, size=len(part))
        weighted.partial_fit(part, sample_weight=weights)
        repeated.partial_fit(rng.permutation(np.repeat(part, weights, axis=0)))
    rows = np.concatenate(stream[:4])
    np.testing.assert_array_equal(
        weighted.score_samples(rows), repeated.score_samples(rows)
    )
    assert weighted.offset_ == repeated.offset_


def test_sparse_and_missing_parts(make_detector, stream):
    dense = [np.where(part < 0, 0.0, part) for part in stream[:3]]
    expected = fit_in_parts(make_detector(), dense)
    other = fit_in_parts(make_detector(), map(csr_array, dense))
    np.testing.assert_array_equal(
        other.score_samples(dense[0]), expected.score_samples(dense[0])
    )
    holes = [np.where(part < -1.5, np.nan, part) for part in stream[:3]]
    detector = fit_in_parts(make_detector(), holes)
    assert np.isfinite(detector.score_samples(holes[0])).all()


def test_stream_goes_on_from_a_fit(make_detector, stream):
    """The weights are those of the fit; at a rate of nearly zero they stay."""
    rows = np.concatenate(stream[:10])
    fitted = make_detector(epochs=30, early_stopping=True, tol=10.0).fit(rows)
    detector = pickle.loads(pickle.dumps(fitted))
    detector.set_params(learning_rate=1e-12).partial_fit(rows)
    for ours, theirs in zip(
        detector.model_.weights, fitted.model_.weights, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert detector.loss_curve_[:-1] == fitted.loss_curve_
    assert detector.validation_loss_curve_ is None


def test_fit_forgets_the_stream(make_detector, stream):
    detector = fit_in_parts(make_detector(), stream[:3]).fit(stream[3])
    expected = make_detector().fit(stream[3])
    for rows in (stream[0], stream[3]):
        np.testing.assert_array_equal(
            detector.score_samples(rows), expected.score_samples(rows)
        )
    assert detector.__getstate__().keys() == expected.__getstate__().keys()


def test_calibration_is_forgotten_with_the_next_part(make_detector, stream):
    detector = fit_in_parts(make_detector(), stream[:3]).calibrate(stream[3])
    detector.p_values(stream[4])
    detector.partial_fit(stream[5])
    with pytest.raises(NotFittedError, match="not calibrated"):
        detector.p_values(stream[4])


def test_sample_of_a_stream_is_bounded_and_fair():
    """Each of 20 past calls has about as many of 4,000 rows in it, in 20 trials."""
    often = np.zeros(20)
    for seed in range(20):
        stream = start_stream(1000, seed, follows_fit=False)
        for call in range(20):
            X = np.full((1000, 1000), call, np.float32)
            stream = add_rows(
                stream, WeightedTable(X, np.ones(1000)), seed=1000 * seed + call
            )
        assert stream.rows.shape == (4000, 1000)
        assert stream.counts.sum() == pytest.approx(20_000, rel=0.05)
        often += np.bincount(stream.rows[:, 0].astype(int), minlength=20)
    np.testing.assert_allclose(often / 20, 200.0, rtol=0.1)


@pytest.mark.parametrize("n_columns", [5, 500])
def test_heavy_row_is_never_lost(n_columns):
    """It is half of the weight of all rows, and stays so in a sample of them."""
    stream = start_stream(n_columns, seed=0, follows_fit=False)
    weights = np.r_[20_000.0, np.ones(20_000)]
    X = np.r_[np.zeros((1, n_columns)), np.ones((20_000, n_columns))]
    for seed, rows in enumerate(np.array_split(np.arange(20_001), 7)):
        stream = add_rows(stream, WeightedTable(X[rows], weights[rows]), seed)
    assert len(stream.rows) == 8000 if n_columns == 500 else 10_000
    is_heavy = (stream.rows == 0).all(axis=1)
    assert stream.counts[is_heavy].sum() == 20_000
    assert stream.counts[~is_heavy].sum() == pytest.approx(20_000, rel=0.05)


@pytest.mark.parametrize("in_parts", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_threshold_of_many_rows_knows_a_heavy_one(seed, in_parts, make_detector):
    """Of more rows than the statistics come from, one is half of all weight."""
    rng = np.random.RandomState(0)
    X = np.r_[np.zeros((1, 5)), 5 + rng.normal(size=(20_000, 5))]
    weights = np.r_[20_000.0, np.ones(20_000)]
    detector = make_detector(
        epochs=1, contamination=0.05, score_method="neighbors", random_state=seed
    )
    method = detector.partial_fit if in_parts else detector.fit
    method(X, sample_weight=weights)
    flagged = weights[detector.predict(X) == -1].sum() / weights.sum()
    assert 0.02 < flagged < 0.06  # whole rows, so that a heavy one may be in between


def test_few_rows_after_a_fit_leave_scaling_and_threshold(make_detector, stream):
    """Until 100 have come; then scaling, score and threshold are theirs."""
    rows = np.concatenate(stream[:20])
    detector = make_detector(epochs=30, contamination=0.05).fit(rows)
    offset = detector.offset_
    detector.calibrate(stream[20]).partial_fit(rows[:1])
    assert detector.offset_ == offset
    assert np.mean(detector.predict(rows) == -1) == pytest.approx(0.05, abs=0.02)
    with pytest.raises(NotFittedError, match="not calibrated"):
        detector.p_values(rows)
    past = [rows[:1], *stream[21:23]]
    for part in past[1:]:
        detector.partial_fit(part)
    assert detector.offset_ != offset
    flagged = detector.predict(np.concatenate(past)) == -1
    assert flagged.sum() == round(0.05 * 101)


@pytest.mark.parametrize("method", ["neighbors", "reconstruction"])
def test_few_rows_after_a_fit_leave_its_alarms(method):
    """One row moved each weight by a whole step, and the threshold stayed; seed 0."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1000, 4)) @ rng.normal(size=(4, 12))
    rows += 0.4 * rng.normal(size=rows.shape)
    detector = AutoencoderOutlierDetector(
        contamination=0.05, score_method=method, random_state=0
    ).fit(rows[:900])
    labels, codes = detector.predict(rows), detector.transform(rows)
    for row in rows[900:910]:
        detector.partial_fit(row[np.newaxis])
    assert (detector.predict(rows) != labels).mean() < 0.02
    assert (detector.transform(rows) != codes).any()  # it goes on, in small steps


INVALID = [
    {"scaling": "other"},
    {"score_method": "other"},
    {"contamination": 0.9},
    {"masking": 5.0},
    {"batch_size": 0},
    {"learning_rate": -1.0},
    {"optimizer": 3},
    {"verbose": -7},
]


@pytest.mark.parametrize("parameter", INVALID, ids=str)
def test_parameters_are_checked_in_later_calls_too(parameter, make_detector, stream):
    detector = fit_in_parts(make_detector(), stream[:1]).set_params(**parameter)
    with pytest.raises(ValueError, match=f"The {next(iter(parameter))!r} parameter"):
        detector.partial_fit(stream[1])
    assert detector.n_iter_ == 1


def test_part_with_other_columns_changes_nothing(make_detector, stream):
    detector = fit_in_parts(make_detector(), stream[:2])
    before = repr(detector.__getstate__())
    with pytest.raises(ValueError, match="X has 5 features, but"):
        detector.partial_fit(stream[2][:, :5])
    assert repr(detector.__getstate__()) == before


OTHER_ARCHITECTURES = [
    ({"hidden_layer_sizes": (4, 2)}, r"hidden_layer_sizes=\(8, 2\).*\(4, 2\)"),
    ({"activation": "tanh"}, "activation='relu'.*'tanh'"),
    ({"output_activation": "leaky_relu"}, "'linear'.*'leaky_relu'"),
    ({"n_estimators": 2}, "n_estimators=1.*=2"),
]


@pytest.mark.parametrize("changed, message", OTHER_ARCHITECTURES, ids=str)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_other_architecture_is_refused(method, changed, message, make_detector, stream):
    detector = make_detector(warm_start=True).fit(stream[0])
    detector.set_params(**changed)
    before = repr(detector.__getstate__())
    with pytest.raises(ValueError, match=f"(?s){message}.*warm_start=False"):
        getattr(detector, method)(stream[0])
    assert repr(detector.__getstate__()) == before
    detector.set_params(warm_start=False).fit(stream[0])


def test_warm_start_refuses_other_columns(make_detector, stream):
    detector = make_detector(warm_start=True).fit(stream[0])
    with pytest.raises(ValueError, match="n_features=6.*n_features=5"):
        detector.fit(stream[0][:, :5])
    assert detector.n_features_in_ == 6


def test_warm_start_goes_on_from_the_weights(make_detector, stream):
    rows = np.concatenate(stream)
    detector = make_detector(warm_start=True, learning_rate_schedule="cosine")
    first = detector.fit(rows).loss_curve_
    second = detector.fit(rows).loss_curve_
    assert second[0] < first[-1] < first[0]
    assert detector.n_iter_ == len(second) == 5
    anew = clone(detector).fit(rows).loss_curve_
    assert anew == first
    assert detector.set_params(warm_start=False).fit(rows).loss_curve_ == first


def test_continued_warm_start_trains_at_a_constant_rate(make_detector, stream):
    rows = np.concatenate(stream)
    losses = []
    for schedule in ("cosine", "constant"):
        detector = make_detector(warm_start=True).fit(rows)
        detector.set_params(learning_rate_schedule=schedule)
        losses.append(detector.fit(rows).loss_curve_)
    assert losses[0] == losses[1]


def test_warm_start_of_an_unfitted_detector_is_a_plain_fit(make_detector, stream):
    plain = make_detector(learning_rate_schedule="cosine").fit(stream[0])
    warm = make_detector(learning_rate_schedule="cosine", warm_start=True)
    np.testing.assert_array_equal(
        warm.fit(stream[0]).score_samples(stream[1]), plain.score_samples(stream[1])
    )


def test_random_state_none_differs_between_streams(stream):
    scores = [
        fit_in_parts(AutoencoderOutlierDetector((8, 2)), stream[:2]).score_samples(
            stream[0]
        )
        for _ in range(2)
    ]
    assert (scores[0] != scores[1]).all()
