"""Values that are no measurement are found, and no others."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn import datasets

import skae._tables._reading
from skae import AutoencoderOutlierDetector
from skae._tables._moments import compute_moments
from skae._tables._reading import WeightedTable
from skae._tables._scaling import fit_scaling
from skae._tables._sentinels import find_sentinels
from skae._tables._weighting import merge_rows, none_if_equal


def find(X, weights=None):
    weights = np.ones(X.shape[0]) if weights is None else weights
    table = WeightedTable(*merge_rows(X, weights))
    moments = compute_moments(table.X, none_if_equal(table.weights))
    return find_sentinels(table, moments)


def make_rows(n_rows, unit=1.0):
    """Eight columns that follow three hidden factors (seed 0)."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n_rows, 3)) @ rng.normal(size=(3, 8))
    return unit * (rows + 0.3 * rng.normal(size=rows.shape))


FILLERS = [
    *(-999.0, -9999.0, -99_999.0, 99_999.0, 1e20, 1e30, -1e30, 1e34, 9.97e36),
    *(9.969209968386869e36, float(np.finfo(np.float32).max), -3.4028235e38),
    *(-(2.0**31), 2.0**31 - 1, -(2.0**63), 2.0**63, np.finfo(np.float64).max),
]


@pytest.mark.parametrize("value", [*FILLERS, 1.2345e7, -8e9, 1e200], ids=str)
@pytest.mark.parametrize("n_odd", [1, 20, 200])
@pytest.mark.parametrize("n_rows", [1000, 5000])
def test_value_that_makes_up_the_variance_is_found(n_rows, n_odd, value):
    X = make_rows(n_rows, unit=0.1)
    X[::2, 5] = np.nan
    X[np.arange(n_odd), 3] = value
    ((column, found, share, _),) = find(X)
    assert (column, found) == (3, value)
    assert 0.999 < share <= 1.0


@pytest.mark.parametrize(
    "deviation, is_found", [(5.0, True), (40.0, True), (100.0, False)]
)
def test_filler_that_is_nothing_else_is_found_where_others_differ_too(
    deviation, is_found
):
    X = np.random.default_rng(0).normal(20.0, deviation, size=(400, 3))
    X[[7, 90, 233], 1] = -999.0
    assert [sentinel.column for sentinel in find(X)] == [1] * is_found


@pytest.mark.parametrize("make_table", [np.asarray, np.float32, sparse.csr_array])
def test_tables_of_other_kinds_are_searched(make_table, monkeypatch):
    monkeypatch.setattr(skae._tables._reading, "CHUNK_BYTES", 4_000)
    X = make_rows(500)
    X[4, 1], X[5:9, 6] = 1e20, -32_768.0
    first, second = find(make_table(X))
    assert (first.column, second.column) == (1, 6)
    assert (first.value, second.value) == (make_table(X)[4, 1], -32_768.0)


def test_weights_count():
    """The share of the variance is one of what was seen."""
    X = make_rows(300)
    X[7, 2] = -9999.0
    X[8, 2] = 2000.0
    heavy = np.where(np.arange(300) == 8, 200.0, 1.0)
    assert [s.column for s in find(X)] == [2]
    assert find(X, heavy) == []
    assert find(np.repeat(X, heavy.astype(int), axis=0)) == []


@pytest.mark.parametrize(
    "others",
    [
        np.zeros(1000),
        np.arange(1000) % 2,
        np.arange(1000) % 50 == 0,
        np.random.default_rng(0).poisson(3.0, size=1000),
        np.random.default_rng(0).lognormal(size=1000),
    ],
    ids=["constant", "binary", "rare", "counts", "amounts"],
)
@pytest.mark.parametrize("value", [-9999.0, 1e20, 9.97e36, -(2.0**63)])
def test_filler_is_found_beside_values_of_any_kind(value, others):
    X = np.c_[others.astype(float), make_rows(1000)]
    X[5, 0] = value
    assert [s[:2] for s in find(X)] == [(0, value)]


@pytest.mark.parametrize("event", [1.0, 100.0, 127.0, 255.0, 999.0, 9999.0, 3e6])
@pytest.mark.parametrize("n_events", [1, 2, 10, 300, 999])
def test_rare_event_is_none(event, n_events):
    """It makes up all of the variance, too."""
    X = np.c_[np.where(np.arange(1000) < n_events, event, 0.0), make_rows(1000)]
    assert find(X) == []
    assert find(1.0 - X) == []


def draw_tails(rng, n_rows):
    """Columns of which few values make up the variance."""
    columns = {
        "pareto": rng.pareto(1.5, size=(n_rows, 50)),
        "amounts": rng.lognormal(0.0, 2.0, size=(n_rows, 50)),
        "events": rng.binomial(1, 0.005, (n_rows, 50))
        * np.round(rng.lognormal(3.0, 3.0, (n_rows, 50))),
        "counts": rng.poisson(0.01, size=(n_rows, 50)) * 1.0,
        "student": rng.standard_t(2.0, size=(n_rows, 50)),
        "one of all": np.eye(n_rows)[:, :50] * 1e6,
    }
    return columns.items()


@pytest.mark.parametrize("n_rows", [100, 1000, 5000])
def test_long_tails_are_none(n_rows):
    """Of five draws; tails as x^-1.5 and lighter."""
    for seed in range(5):
        for name, X in draw_tails(np.random.default_rng(seed), n_rows):
            assert find(X) == [], name


@pytest.mark.parametrize(
    "load",
    [
        datasets.load_iris,
        datasets.load_digits,
        datasets.load_wine,
        datasets.load_breast_cancer,
        datasets.load_diabetes,
        lambda: datasets.load_diabetes(scaled=False),
        datasets.load_linnerud,
    ],
    ids="iris digits wine cancer diabetes diabetes-raw linnerud".split(),
)
def test_ordinary_tables_have_none(load):
    X = load().data
    rng = np.random.default_rng(0)
    for n_rows in (len(X), *[len(X) // 2] * 5):
        assert find(X[rng.permutation(len(X))[:n_rows]]) == []


def test_table_is_read_again_only_if_a_column_is_suspicious(monkeypatch):
    X = make_rows(1000)
    table, moments = WeightedTable(*merge_rows(X, np.ones(1000))), compute_moments(X)

    def fail(*_):
        raise AssertionError("read again")

    monkeypatch.setattr("skae._tables._sentinels.read_numbered_chunks", fail)
    assert find_sentinels(table, moments) == []


class TestWarning:
    """What a user of `fit` and `partial_fit` is told."""

    @pytest.fixture
    def frame(self):
        frame = pd.DataFrame(make_rows(600), columns=list("pqrstuvw"))
        frame.loc[17, "r"] = 1e20
        return frame

    @pytest.mark.parametrize("method", ["fit", "partial_fit"])
    def test_quotes_column_and_value_and_says_the_way_out(
        self, method, frame, make_detector
    ):
        with pytest.warns(UserWarning, match=r"column 'r' \(the value 1e\+20") as told:
            getattr(make_detector(epochs=1), method)(frame)
        (warning,) = told
        assert "NaN" in str(warning.message) and "robust" in str(warning.message)
        assert warning.filename == __file__

    def test_has_the_number_of_a_column_without_a_name(self, frame, make_detector):
        with pytest.warns(UserWarning, match="column 2 "):
            make_detector(epochs=1).fit(frame.to_numpy())

    def test_way_out_is_one(self, frame, make_detector):
        """Warnings are errors here."""
        make_detector(epochs=1).fit(frame.replace(1e20, np.nan))
        make_detector(epochs=1, scaling="robust").fit(frame)

    def test_robust_scaling_flags_what_is_far_off_all_the_same(self, frame):
        detector = AutoencoderOutlierDetector(
            scaling="robust", contamination=0.02, random_state=0
        ).fit(frame)
        odd = frame[:100].copy()
        odd["s"] += 8 * frame["s"].std()
        assert (detector.predict(odd) == -1).all()

    def test_diagnosis_names_it_too(self, frame, make_detector):
        detector = make_detector(epochs=1, scaling="robust").fit(frame)
        assert "1 of 8 (r: 1e+20)" in str(detector.diagnose(frame))

    @pytest.mark.parametrize("value", [-99_999_999.0, -2147483648.0, 9.96921e36])
    def test_value_is_quoted_in_all_its_digits(self, value, frame, make_detector):
        frame.loc[17, "r"] = value
        shown = repr(value).removesuffix(".0").replace("+", r"\+")
        with pytest.warns(UserWarning, match=rf"the value {shown} has"):
            make_detector(epochs=1).fit(frame)

    @pytest.mark.parametrize("share", [0.48, 0.5, 0.55, 0.8])
    @pytest.mark.parametrize("value", [-9999.0, 1e20])
    def test_filler_of_half_the_rows_or_more_is_found(
        self, value, share, frame, make_detector
    ):
        frame.loc[: int(600 * share), "r"] = value
        with pytest.warns(UserWarning, match="column 'r'"):
            make_detector(epochs=1).fit(frame)

    def test_date_is_quoted_as_a_date(self, make_detector):
        begun = pd.date_range("2024-01-01", periods=600, freq="min", unit="s")
        frame = pd.DataFrame({"begun": begun, "x": np.arange(600.0) % 7})
        frame.loc[5, "begun"] = pd.Timestamp("9999-12-31")
        with pytest.warns(UserWarning, match="'begun' .the value 9999-12-31T00:00:00"):
            make_detector(epochs=1).fit(frame)

    @pytest.mark.parametrize("value", [1e20, -1e6, 1.79e308])
    def test_robust_scaling_does_without_it_where_quartiles_are_equal(self, value):
        """Nine tenths of the column are 0."""
        rng = np.random.default_rng(0)
        X = make_rows(600)
        X[:, 2] = np.where(rng.random(600) < 0.1, rng.normal(5, 1, 600), 0.0)
        expected = fit_scaling(X, "robust").scale[2]
        X[7, 2] = value
        assert fit_scaling(X, "robust").scale[2] == pytest.approx(expected, rel=0.05)
