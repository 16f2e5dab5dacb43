"""Synthetic anomalies of tables of any kind."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import sparse

import skae
from skae import AutoencoderOutlierDetector, make_synthetic_anomalies


@pytest.fixture
def frame():
    """Twelve rows of columns of all types, with labels of their own."""
    texts = list("abcdefghijkl")
    days = pd.date_range("2020-01-01", periods=12)
    return pd.DataFrame(
        {
            "amount": np.arange(12),
            "text": texts,
            "object": pd.Series(texts, dtype=object),
            "category": pd.Categorical(["no", None, "yes"] * 4),
            "day": days,
            "in Rome": days.tz_localize("Europe/Rome"),
            "whole": pd.array([1, None, 3] * 4, dtype="Int64"),
            "flag": [True, False] * 6,
            "maybe": pd.array([True, None] * 6, dtype="boolean"),
            "single": np.arange(12, dtype=np.float32),
            "duration": days - days[0],
            "mixed": pd.Series(["a", 1, None] * 4, dtype=object),
        }
    ).set_index(pd.Index(texts, name="row"))


def test_cells_of_a_synthetic_anomaly_are_its_columns_values_in_other_rows():
    X = np.arange(300.0).reshape(60, 5)
    anomalies = make_synthetic_anomalies(X)
    assert anomalies.shape == (120, 5)
    changed = anomalies != np.concatenate([X, X])
    assert set(changed.sum(axis=1)) == {1, 2, 3, 4}
    donors, columns = np.divmod(anomalies, 5)
    assert (columns == np.arange(5)).all()
    n_donors = [
        len(set(row[is_changed]))
        for row, is_changed in zip(donors, changed, strict=True)
    ]
    assert set(n_donors[60:]) == {1}
    assert set(n_donors[:60]) == {1, 2, 3, 4}


def test_synthetic_anomalies_are_the_same_in_every_call_unless_another_seed_is_given():
    X = np.random.RandomState(0).normal(size=(30, 4))
    anomalies = make_synthetic_anomalies(X)
    np.testing.assert_array_equal(anomalies, make_synthetic_anomalies(X))
    assert (anomalies != make_synthetic_anomalies(X, random_state=1)).any()
    rng = np.random.RandomState(0)
    np.testing.assert_array_equal(
        anomalies, make_synthetic_anomalies(X, random_state=rng)
    )


@pytest.mark.parametrize("kind", [sparse.csr_array, pd.DataFrame, np.ndarray.tolist])
def test_synthetic_anomalies_are_made_of_tables_of_any_kind(kind):
    X = np.random.RandomState(0).poisson(1.0, size=(30, 4)).astype(float)
    np.testing.assert_array_equal(
        make_synthetic_anomalies(kind(X)), make_synthetic_anomalies(X)
    )


def test_missing_cells_are_not_handed_on_to_synthetic_anomalies():
    X = np.random.RandomState(0).normal(size=(40, 4))
    X[::3, 1] = np.nan
    is_missing = np.isnan(np.concatenate([X, X]))
    assert (np.isnan(make_synthetic_anomalies(X)) <= is_missing).all()


@pytest.mark.parametrize("shape", [(1, 5), (5, 1)])
def test_synthetic_anomalies_need_two_rows_and_two_columns(shape):
    with pytest.raises(ValueError, match="minimum of 2 is required"):
        make_synthetic_anomalies(np.ones(shape))


def test_rows_of_more_weight_give_more_cells_to_synthetic_anomalies():
    X = np.arange(2000.0).reshape(1000, 2)
    weights = np.where(np.arange(1000) < 10, 50.0, 1.0)  # a third of the total
    weights[5] = 0.5
    anomalies = skae._scoring._synthetic.make_anomalies(
        X, weights, np.random.RandomState(0)
    )
    changed = anomalies != np.concatenate([X, X])
    donors = anomalies[changed] // 2
    assert len(donors) == 2000  # each has exactly one cell from another row
    assert 0.25 < np.mean(donors < 10) < 0.4
    assert np.mean(donors == 5) < 0.01


def assert_swapped(cells, others):
    """Each cell of the second list is one of the first; no gap is handed on."""
    assert set(others) <= set(cells)
    assert len(others) == 2 * len(cells)
    for one, other in zip(cells + cells, others, strict=True):
        assert (other is None) <= (one is None)
    assert others != cells + cells


def test_synthetic_anomalies_of_a_pandas_frame_are_such_a_frame(frame):
    anomalies = make_synthetic_anomalies(frame)
    pd.testing.assert_series_equal(anomalies.dtypes, frame.dtypes)
    assert anomalies.index.equals(frame.index.append(frame.index))
    assert anomalies.index.name == "row"
    for name in frame.columns:
        cells, others = (
            [None if pd.isna(cell) else cell for cell in column[name].tolist()]
            for column in (frame, anomalies)
        )
        assert_swapped(cells, others)
    pd.testing.assert_series_equal(pd.concat([frame, anomalies]).dtypes, frame.dtypes)


def test_synthetic_anomalies_of_a_polars_frame_are_such_a_frame():
    frame = pl.DataFrame(
        {
            "amount": np.arange(12),
            "text": list("abcdefghijkl"),
            "category": pl.Series(["no", None, "yes"] * 4, dtype=pl.Categorical),
            "enum": pl.Series(["b", "a"] * 6, dtype=pl.Enum(["a", "b"])),
            "day": [datetime.date(2020, 1, day) for day in range(1, 13)],
            "flag": [True, None] * 6,
            "whole": [1, None, 3] * 4,
        }
    )
    anomalies = make_synthetic_anomalies(frame)
    assert anomalies.schema == frame.schema
    for name in frame.columns:
        assert_swapped(frame[name].to_list(), anomalies[name].to_list())


@pytest.mark.parametrize("kind", [pa.Table, pa.RecordBatch])
def test_synthetic_anomalies_of_an_arrow_table_are_such_a_table(kind):
    table = kind.from_pydict(
        {
            "amount": np.arange(12),
            "category": pa.array(["no", None, "yes"] * 4).dictionary_encode(),
            "day": [datetime.date(2020, 1, day) for day in range(1, 13)],
            "whole": pa.array([1, None, 3] * 4),
        }
    )
    anomalies = make_synthetic_anomalies(table)
    assert isinstance(anomalies, kind)
    assert anomalies.schema == table.schema
    for name in table.schema.names:
        assert_swapped(table[name].to_pylist(), anomalies[name].to_pylist())


def test_cells_of_a_frame_are_swapped_as_those_of_an_array():
    X = np.arange(60.0).reshape(20, 3)
    X[::3, 1] = np.nan
    anomalies = make_synthetic_anomalies(X)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    np.testing.assert_array_equal(make_synthetic_anomalies(frame), anomalies)
    as_text = frame.astype(str).mask(frame.isna())
    pd.testing.assert_frame_equal(
        make_synthetic_anomalies(as_text).reset_index(drop=True),
        pd.DataFrame(anomalies, columns=frame.columns)
        .astype(str)
        .mask(np.isnan(anomalies)),
    )


def test_detector_of_a_frame_scores_its_synthetic_anomalies(frame):
    detector = AutoencoderOutlierDetector(
        4, epochs=1, categorical_features="from_dtype", random_state=0
    ).fit(frame)
    rows = pd.concat([frame, make_synthetic_anomalies(frame)])
    assert detector.score_samples(rows).shape == (36,)


@pytest.mark.parametrize(
    "X",
    [
        np.array([["a", "b"], ["c", "d"], ["e", "f"]]),
        np.array([["2020", "2021"], ["2022", "NaT"], ["2024", "2025"]], "M8[D]"),
        np.array([["a", 1], ["b", 2.5], ["c", None]], object),
    ],
    ids=["text", "dates", "objects"],
)
@pytest.mark.parametrize("kind", [np.asarray, list, np.ma.array])
def test_synthetic_anomalies_of_an_array_hold_its_cells(X, kind):
    given = X.tolist() if kind is list else kind(X)
    anomalies = make_synthetic_anomalies(given)
    assert type(anomalies) is np.ndarray
    assert anomalies.shape == (6, 2)
    if kind is not list:
        assert anomalies.dtype == X.dtype
    for cells, others in zip(X.T.tolist(), anomalies.T.tolist(), strict=True):
        assert set(others) <= set(cells)


def test_object_that_is_no_cell_is_an_error_that_names_the_column():
    X = pd.DataFrame({"text": ["a", "b"], "list": [[1], [2]]})
    with pytest.raises(TypeError, match="column 'list' holds"):
        make_synthetic_anomalies(X)
