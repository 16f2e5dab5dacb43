"""Columns of categories: learnt, compared, explained and named whole."""

import copy
import pickle

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skae import AutoencoderOutlierDetector

pd = pytest.importorskip("pandas")

N_ROWS = 600


@pytest.fixture(scope="module")
def payments():
    """Amounts and kinds of payment that depend on a hidden group; seed 0."""
    rng = np.random.RandomState(0)
    group = rng.randint(4, size=N_ROWS)
    return pd.DataFrame(
        {
            "amount": rng.normal(size=N_ROWS) + 4 * group,
            "means": np.array(["card", "cash", "wire", "cheque"])[group],
            "hour": rng.normal(size=N_ROWS),
            "shop": np.array(list("abcdefgh"))[2 * group + rng.randint(2, size=N_ROWS)],
        }
    )


def make(**parameters):
    defaults = {"epochs": 40, "random_state": 0, "categorical_features": "from_dtype"}
    return AutoencoderOutlierDetector((16, 4), **(defaults | parameters))


@pytest.fixture(scope="module")
def detector(payments):
    return make().fit(payments)


@pytest.fixture
def contradiction(payments):
    """A payment by a means that its amount and its shop speak against."""
    row = payments[payments["means"] == "card"].head(1)
    return row.assign(means="cash")


# ---------------------------------------------------------------- what is detected


def test_a_contradiction_is_an_outlier_and_its_column_is_named(detector, contradiction):
    assert detector.predict(contradiction) == [-1]
    contributions, expected = detector.explain(contradiction, return_expected=True)
    assert contributions.shape == (1, 4)
    assert contributions.argmax() == 1
    assert expected[0, 1] == "card"
    assert detector.reconstruct(contradiction)[0, 1] == "card"


@pytest.mark.parametrize("method", ["neighbors", "reconstruction"])
@pytest.mark.parametrize("n_networks", [1, 2])
def test_contributions_add_up_to_the_anomaly(payments, method, n_networks):
    detector = make(score_method=method, n_estimators=n_networks).fit(payments)
    odd = payments.head(50).assign(shop="nowhere")
    for rows in (payments, odd):
        contributions = detector.explain(rows)
        assert (contributions >= 0).all()
        np.testing.assert_allclose(
            contributions.sum(axis=1), -detector.score_samples(rows), rtol=1e-9
        )


def test_changed_column_is_named_in_nine_of_ten_rows():
    rng = np.random.RandomState(0)
    group = rng.randint(5, size=2000)
    numbers = np.eye(5)[group][:, :3] + 0.2 * rng.normal(size=(2000, 3))
    tables = [rng.permutation(5) for _ in range(5)]
    categories = np.column_stack([table[group] for table in tables])
    changed, columns = categories[1500:].copy(), rng.randint(5, size=500)
    places = np.arange(500), columns
    changed[places] = categories[rng.randint(1500, size=500), columns]
    is_changed = changed[places] != categories[1500:][places]
    X = np.hstack([numbers, categories])
    detector = make(categorical_features=range(3, 8), epochs="auto").fit(X[:1500])
    odd = np.hstack([numbers[1500:], changed])[is_changed]
    first = detector.explain(odd).argmax(axis=1)
    assert np.mean(first == 3 + columns[is_changed]) >= 0.9


def test_new_category_is_evidence_and_no_error(detector, payments):
    rows = payments.head(20)
    new = detector.score_samples(rows.assign(shop="nowhere"))
    assert (new < detector.score_samples(rows) - 1.0).all()
    assert (detector.predict(rows.assign(shop="nowhere")) == -1).all()


def test_new_category_in_a_constant_column_is_evidence(payments):
    constant = payments[["amount", "hour"]].assign(country="de")
    detector = make().fit(constant)
    assert (detector.predict(constant.head(9).assign(country="fr")) == -1).all()


def test_another_identifier_is_no_evidence(payments):
    names = [f"customer {i}" for i in range(N_ROWS)]
    detector = make().fit(payments.assign(customer=names))
    assert detector.categories_[4] == []
    rows = payments.head(5)
    known, new = rows.assign(customer=names[:5]), rows.assign(customer="x")
    scores = detector.score_samples(known)
    np.testing.assert_array_equal(scores, detector.score_samples(new))
    assert (detector.explain(known)[:, 4] == 0).all()
    assert detector.reconstruct(known)[0, 4] is None
    (finding,) = detector.diagnose(payments.assign(customer=names)).problems
    assert finding.name == "columns that look like identifiers"
    assert "customer" in finding.figure


def test_training_stays_finite_beside_a_constant_column():
    """Whose surprise, once it is learnt, is nearly nothing; seed 0."""
    rng = np.random.default_rng(0)
    hidden, mixing = rng.normal(size=(4000, 2)), rng.normal(size=2)
    noise = 0.3 * rng.normal(size=4000)
    table = pd.DataFrame(
        {
            "x": np.exp(0.5 * (hidden @ mixing + noise)),
            "c": np.where(hidden[:, 0] > 0, "a", "b"),
            "k": np.where(hidden[:, 1] > 1, "y", "n"),
            "currency": "EUR",
        }
    )
    detector = AutoencoderOutlierDetector(
        categorical_features="from_dtype", random_state=0
    ).fit(table)
    assert max(detector.loss_curve_[5:]) < detector.loss_curve_[0]


def test_missing_category_is_missing(payments):
    gaps = payments.copy()
    gaps.loc[::4, "means"] = None
    detector = make(epochs=300).fit(gaps)
    contributions = detector.explain(gaps)
    assert (contributions[::4, 1] == 0).all()
    others = payments.loc[1::4, "means"]
    assert detector.categories_[1] == sorted(set(others))
    filled = detector.reconstruct(gaps)[::4, 1]
    assert np.mean(filled == payments["means"][::4]) > 0.9


def test_common_rows_are_no_outliers_however_few_distinct_ones_there_are():
    for n in (50, 100, 300):
        X = pd.DataFrame({"a": ["x"] * (10 * n - n) + ["y"] * n, "b": "p"})
        X.loc[X["a"] == "y", "b"] = "q"
        detector = make().fit(X)
        assert (detector.predict(X) == 1).all()
        mixed = pd.DataFrame({"a": ["x", "z"], "b": ["q", "p"]})
        assert (detector.predict(mixed) == -1).all()


def test_common_rows_of_numbers_are_no_outliers_either():
    X = np.repeat([[0.0, 0.0], [5.0, 5.0]], [900, 100], axis=0)
    assert (make().fit(X).predict(X) == 1).all()


# ---------------------------------------------------------- which categories have units


def test_categories_of_one_row_share_a_unit(payments):
    own = [f"shop of row {i}" for i in payments.index]
    shops = payments["shop"].where(payments.index > 4, own)
    detector = make().fit(payments.assign(shop=shops))
    assert detector.categories_[3] == sorted("abcdefgh")


def test_at_most_a_hundred_categories_have_units():
    rng = np.random.RandomState(0)
    codes = np.minimum(rng.geometric(0.02, size=4000), 300)
    X = np.column_stack([codes, rng.normal(size=4000)])
    detector = make(categorical_features=[0], epochs=1).fit(X)
    values, counts = np.unique(codes, return_counts=True)
    kept = detector.categories_[0]
    assert len(kept) <= 100
    is_kept = np.isin(values, kept)
    assert counts[is_kept].min() > counts[~is_kept].max()
    assert counts[is_kept].min() >= 4


def test_identifiers_stay_bounded(tmp_path):
    X = pd.DataFrame({"id": np.arange(20_000).astype(str), "x": np.arange(20_000) % 7})
    detector = make(epochs=1).fit(X)
    assert len(pickle.dumps(detector)) < 100_000


def test_weight_zero_is_the_same_as_leaving_out_and_two_as_repeating(payments):
    weights = np.ones(N_ROWS)
    weights[:200], weights[200:300] = 0, 2
    rows = pd.concat([payments[200:], payments[200:300]])
    weighted = make().fit(payments, sample_weight=weights)
    repeated = make().fit(rows)
    assert weighted.categories_ == repeated.categories_
    np.testing.assert_array_equal(
        weighted.score_samples(payments), repeated.score_samples(payments)
    )


def test_order_of_rows_does_not_matter(detector, payments):
    other = make().fit(payments.sample(frac=1, random_state=1))
    np.testing.assert_array_equal(
        other.score_samples(payments), detector.score_samples(payments)
    )


def test_a_row_scores_the_same_in_any_company(detector, payments):
    scores = detector.score_samples(payments)
    alone = [detector.score_samples(payments[i : i + 1])[0] for i in range(20)]
    np.testing.assert_array_equal(alone, scores[:20])


def test_a_row_scores_the_same_in_any_company_with_many_columns_of_categories():
    rng = np.random.RandomState(0)
    n_categories = (2, 3, 5, 7, 11, 13, 17, 40)
    codes = [rng.randint(n, size=1200) for n in n_categories]
    X = np.column_stack([rng.normal(size=(1200, 3)), *codes])
    detector = make(categorical_features=range(3, 11), epochs=3).fit(X)
    scores, shares = detector.score_samples(X), detector.explain(X)
    for i in range(0, 1200, 30):
        row = X[i : i + 1]
        assert detector.score_samples(row)[0] == scores[i]
        np.testing.assert_array_equal(detector.explain(row)[0], shares[i])


def test_a_column_of_identifiers_does_not_hide_that_rows_are_common():
    X = pd.DataFrame({"a": ["x"] * 270 + ["y"] * 30, "b": ["p"] * 270 + ["q"] * 30})
    named = X.assign(name=[f"n{i}" for i in range(300)])
    assert (make().fit(named).score_samples(named) == 0).all()


@pytest.mark.parametrize("weight", [1 / 300, 0.5, 1e12, 1e17])
def test_weights_of_any_scale_keep_the_categories(payments, weight):
    rows = payments.head(300).assign(country="de")
    detector = make().fit(rows, sample_weight=np.full(300, weight))
    assert detector.categories_[1] == ["card", "cash", "cheque", "wire"]
    assert detector.categories_[4] == ["de"]
    few = make().fit(rows[["means"]], sample_weight=np.full(300, weight))
    assert few.categories_ == [["card", "cash", "cheque", "wire"]]


# ----------------------------------------------------------------- kinds of tables


def test_kinds_of_tables_give_the_same_scores(detector, payments):
    expected = detector.score_samples(payments)
    polars = pytest.importorskip("polars")
    arrow = pytest.importorskip("pyarrow")
    for table in (
        payments.astype({"means": "category", "shop": object}),
        polars.from_pandas(payments),
        arrow.Table.from_pandas(payments),
    ):
        np.testing.assert_array_equal(detector.score_samples(table), expected)
        other = make().fit(table)
        np.testing.assert_array_equal(other.score_samples(table), expected)


@pytest.mark.parametrize(
    "features", [["means", "shop"], [1, 3], [False, True, False, True]]
)
def test_forms_of_categorical_features_mean_the_same(detector, payments, features):
    other = make(categorical_features=features).fit(payments)
    np.testing.assert_array_equal(
        other.score_samples(payments), detector.score_samples(payments)
    )
    assert other.categories_ == detector.categories_


def test_sparse_and_dense_rows_score_alike():
    rng = np.random.RandomState(0)
    X = np.round(rng.normal(size=(300, 5))) * (rng.uniform(size=(300, 5)) < 0.4)
    X[:, 2] = rng.randint(3, size=300)
    detectors = [make(categorical_features=[2]).fit(rows) for rows in (X, csr_array(X))]
    for rows in (X, csr_array(X)):
        scores = [detector.score_samples(rows) for detector in detectors]
        np.testing.assert_array_equal(*scores)


def test_text_without_categorical_features_is_an_error_that_names_both(payments):
    with pytest.raises(ValueError, match="'means' holds text.*categorical_features"):
        make(categorical_features=None).fit(payments)


def test_columns_in_another_order_are_refused_by_name(detector, payments):
    with pytest.raises(ValueError, match="feature names should match"):
        detector.predict(payments[["means", "amount", "hour", "shop"]])
    with pytest.raises(ValueError, match=r"now missing:\n- shop"):
        detector.predict(payments[["amount", "means", "hour"]])


def test_another_type_of_the_same_values_draws_a_warning(payments):
    coded = payments.assign(shop=payments["shop"].map(ord), is_far=payments["hour"] > 1)
    detector = make(categorical_features=["means", "shop", "is_far"]).fit(coded)
    for column in ("shop", "is_far"):
        text = coded.assign(**{column: coded[column].astype(str)})
        with pytest.warns(UserWarning, match=f"type.*column '{column}': text.*numbers"):
            detector.predict(text.head(1))
    detector.predict(coded.assign(shop=coded["shop"].astype(float)))
    detector.predict(coded.assign(shop=-1, means="new", is_far=None))


def test_infinite_category_is_an_error():
    X = np.array([[1.0, 2.0], [2.0, 3.0]] * 20)
    detector = make(categorical_features=[0]).fit(X)
    for method in (detector.predict, detector.explain, detector.fit):
        with pytest.raises(ValueError, match="column 0 holds inf in row 1"):
            method([[1.0, 2.0], [np.inf, 3.0]])


def test_table_of_categories_alone(payments):
    X = payments[["means", "shop"]]
    detector = make().fit(X)
    assert detector.predict(X).mean() > 0.8
    assert (detector.predict(X.head(3).assign(means="wire", shop="a")) == -1).all()
    assert detector.inverse_transform(detector.transform(X)).shape == X.shape


def test_categories_that_are_numbers_come_back_as_numbers():
    rng = np.random.RandomState(0)
    X = np.column_stack([rng.randint(3, size=200) * 10.0, rng.normal(size=200)])
    detector = make(categorical_features=[0]).fit(X)
    reconstructed = detector.reconstruct(X)
    assert reconstructed.dtype == np.float64
    assert set(reconstructed[:, 0]) <= {0.0, 10.0, 20.0}


# -------------------------------------------------------------------- everywhere


@pytest.mark.parametrize(
    "parameters",
    [
        {"scaling": "minmax", "output_activation": "sigmoid"},
        {"scaling": "robust", "loss": "mean_absolute_error"},
        {"scaling": None, "activation": "tanh"},
        {"early_stopping": True, "n_iter_no_change": 3, "tol": 0.0, "epochs": 200},
        {"masking": 0.0},
        {"hidden_layer_sizes": 3, "epochs": 300},
        {"hidden_layer_sizes": (24, 16, 8)},
    ],
)
def test_a_contradiction_is_found_with_other_parameters(
    payments, contradiction, parameters
):
    detector = make(contamination=0.02).set_params(**parameters).fit(payments)
    assert detector.predict(contradiction) == [-1]


def test_who_knows_nothing_misses_one_of_each_column():
    """Of independent columns, whatever their categories and frequencies."""
    rng = np.random.RandomState(0)
    X = np.column_stack(
        [
            rng.normal(size=3000),
            rng.randint(2, size=3000),
            rng.randint(20, size=3000),
            rng.uniform(size=3000) < 0.02,
        ]
    )
    detector = make(
        categorical_features=[1, 2, 3], score_method="reconstruction", epochs="auto"
    )
    surprises = detector.fit(X).explain(X).mean(axis=0) * X.shape[1]
    np.testing.assert_allclose(surprises[1:], 1.0, atol=0.25)


def test_loss_of_who_knows_nothing_is_one_whatever_the_number_of_categories():
    rng = np.random.RandomState(0)
    X = np.column_stack([rng.randint(2, size=2000), rng.randint(40, size=2000)])
    detector = make(categorical_features=[0, 1], learning_rate=0.002).fit(X)
    assert detector.loss_curve_[-1] == pytest.approx(1.0, abs=0.15)


def test_a_stream_takes_new_categories_as_new(payments):
    detector = make(batch_size=16).partial_fit(payments[:300])
    detector.partial_fit(payments[300:])
    new = payments.assign(shop="new")
    assert np.mean(detector.predict(new) == -1) > 0.9
    for _ in range(4):
        detector.partial_fit(new)
    assert np.mean(detector.predict(new) == -1) < 0.1


def test_warm_start_keeps_the_units(payments):
    detector = make(warm_start=True).fit(payments[:300])
    before = detector.categories_
    detector.fit(payments[300:].assign(shop="new"))
    assert detector.categories_ == before
    assert np.isfinite(detector.score_samples(payments)).all()


def test_warm_start_refuses_other_columns(payments):
    detector = make(warm_start=True).fit(payments)
    before = pickle.dumps(detector)
    numbers = np.random.RandomState(0).randint(3, size=(100, 4)).astype(float)
    other = make(warm_start=True, categorical_features=[3]).fit(numbers)
    for rows in (np.hstack([numbers, numbers]), numbers[:, :3]):
        with pytest.raises(ValueError, match="features, but the network to go on from"):
            other.fit(rows)
    for columns in (["amount", "means", "hour"], ["means", "amount", "hour", "shop"]):
        with pytest.raises(ValueError, match="feature names should match"):
            detector.fit(payments[columns])
    assert pickle.dumps(detector) == before


def test_columns_without_any_observed_cell(payments):
    with pytest.warns(
        UserWarning, match="'amount', column 'hour'.*a category adds nothing"
    ):
        detector = make().fit(payments.assign(amount=np.nan, hour=np.nan))
    assert np.isfinite(detector.score_samples(payments)).all()
    gaps = payments.assign(means=pd.Series(np.nan, payments.index, dtype="str"))
    with pytest.warns(UserWarning, match="no observed cell in column 'means'"):
        detector = make(categorical_features=["means", "shop"]).fit(gaps)
    assert (detector.explain(payments)[:, 1] == 0).all()


def test_calibration_rows_do_not_choose_the_units(payments):
    """Or a new row would be stranger than they are."""
    X = payments.assign(customer=[f"{i // 2}" for i in range(N_ROWS)])
    detector = make(calibration_fraction=0.5, contamination=0.1).fit(X)
    fresh = payments.assign(customer="new")
    assert np.mean(detector.predict(fresh) == -1) < 0.2
    p_values = detector.p_values(X)
    assert 0 < p_values.min() <= p_values.max() <= 1


def test_calibrate_promises_a_rate(payments, contradiction):
    detector = make().fit(payments[:300])
    detector.calibrate(payments[300:], false_alarm_rate=0.05)
    assert np.mean(detector.predict(payments[300:]) == -1) <= 0.05
    assert detector.p_values(contradiction) < 0.05


def test_copies_and_pickles_score_alike(detector, payments):
    expected = detector.score_samples(payments)
    for other in (copy.deepcopy(detector), pickle.loads(pickle.dumps(detector))):
        np.testing.assert_array_equal(other.score_samples(payments), expected)
    again = clone(detector).fit(payments)
    np.testing.assert_array_equal(again.score_samples(payments), expected)


def test_failed_fit_changes_nothing(payments):
    detector = make().fit(payments)
    before = pickle.dumps(detector)
    with pytest.raises(ValueError, match="inf"):
        detector.fit(payments.assign(amount=np.inf, shop="other"))
    with pytest.raises(ValueError, match="inf"):
        detector.partial_fit(payments.assign(amount=np.inf))
    assert pickle.dumps(detector) == before


def test_searches_and_pipelines(payments):
    scale = ColumnTransformer(
        [("scale", StandardScaler(), ["amount", "hour"])],
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    pipeline = make_pipeline(scale, make(epochs=5))
    grid = {"autoencoderoutlierdetector__hidden_layer_sizes": [(8, 2), (16, 4)]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(payments)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.predict(payments).shape == (N_ROWS,)


def test_cache_trains_once(payments, tmp_path):
    first = make(memory=str(tmp_path)).fit(payments)
    files = set(tmp_path.rglob("output.pkl"))
    second = make(memory=str(tmp_path), contamination=0.2).fit(payments)
    assert set(tmp_path.rglob("output.pkl")) == files
    np.testing.assert_array_equal(
        first.score_samples(payments), second.score_samples(payments)
    )


def test_keras_models_work_on_encoded_rows(detector, payments):
    rows = payments.head(10)
    units = [rows[["amount", "hour"]].to_numpy()]
    for j in (1, 3):
        values = [*detector.categories_[j], "others"]
        units.append(rows.iloc[:, [j]].to_numpy() == np.array(values))
    encoded = np.hstack(units).astype(float)
    outputs = np.asarray(detector.model_(encoded))
    assert outputs.shape == encoded.shape
    np.testing.assert_allclose(
        outputs[:, :2],
        detector.reconstruct(rows)[:, [0, 2]].astype(float),
        rtol=1e-4,
        atol=1e-5,
    )
    np.testing.assert_allclose(outputs[:, 2:7].sum(axis=1), 1.0, rtol=1e-6)
    codes = np.asarray(detector.encoder_(encoded))
    np.testing.assert_allclose(codes, detector.transform(rows), rtol=1e-4, atol=1e-5)
