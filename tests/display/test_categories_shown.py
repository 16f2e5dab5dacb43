"""Displays of rows with categories, which are shown by their values."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from artists import labels_of
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder, StandardScaler

from skae import (
    AnomalyScoreDisplay,
    AutoencoderOutlierDetector,
    CodeDisplay,
    ExplanationDisplay,
)

ODD = {"amount": 20.0, "payment": "cash", "zip": 75001, "online": True}


def make(**parameters):
    parameters = {"categorical_features": "from_dtype", **parameters}
    return AutoencoderOutlierDetector((16, 4), epochs=60, random_state=0, **parameters)


@pytest.fixture(scope="module")
def frame():
    """Payments of two kinds: all of a row follows from its kind."""
    rng = np.random.default_rng(0)
    kind = rng.integers(2, size=300)
    return pd.DataFrame(
        {
            "amount": 10.0 * (1 + kind) + rng.normal(size=300),
            "payment": np.array(["cash", "card"])[kind],
            "zip": np.array([10115, 75001])[kind],
            "online": kind == 1,
        }
    )


@pytest.fixture(scope="module")
def of_payments(frame):
    return make(categorical_features=["payment", "zip", "online"]).fit(frame)


def notes_of(display):
    """The values beside the bars, by the name of the column."""
    notes = [text.get_text() for text in display.texts_]
    return dict(zip(labels_of(display), notes, strict=True))


TELL = {
    "dict": lambda row: row,
    "reversed dict": lambda row: dict(reversed(row.items())),
    "series": pd.Series,
    "reversed series": lambda row: pd.Series(row)[::-1],
    "frame": lambda row: pd.DataFrame([row]),
    "categorical frame": lambda row: pd.DataFrame([row]).astype(
        {"payment": "category", "zip": "category"}
    ),
    "polars": lambda row: pl.DataFrame([row]),
}


@pytest.mark.parametrize("tell", TELL.values(), ids=TELL)
def test_explanation_shows_categories_by_their_values(tell, of_payments):
    display = ExplanationDisplay.from_estimator(of_payments, tell(ODD))
    notes = notes_of(display)
    assert labels_of(display)[0] == "payment"
    assert notes["payment"] == "cash, expected card"
    assert notes["zip"] == "75001, expected 75001"
    assert notes["online"] == "True, expected True"
    assert notes["amount"].startswith("20, expected ")


@pytest.mark.parametrize("tell", TELL.values(), ids=TELL)
def test_rows_with_text_are_marked_and_mapped_by_their_names(tell, of_payments, frame):
    row = pd.DataFrame([ODD])
    display = AnomalyScoreDisplay.from_estimator(
        of_payments, frame, marked={"odd": tell(ODD)}
    )
    assert display.marked["odd"] == of_payments.score_samples(row)
    code = CodeDisplay.from_estimator(of_payments, tell(ODD))
    np.testing.assert_array_equal(
        code.positions[:, :2], of_payments.transform(row)[:, :2]
    )


@pytest.mark.parametrize(
    "value, note",
    [
        ("cheque", "cheque, expected card"),
        (None, "missing, expected card"),
        (pd.NA, "missing, expected card"),
        ("$5_$", "$5_$, expected card"),
        ("", "'', expected card"),
        ("a" * 40, f"{'a' * 15}…{'a' * 14}, expected card"),
    ],
)
def test_category_that_is_unknown_or_missing_is_shown_as_it_is(
    value, note, of_payments
):
    display = ExplanationDisplay.from_estimator(of_payments, {**ODD, "payment": value})
    display.figure_.canvas.draw()  # a `$` begins no formula
    assert notes_of(display)["payment"] == note


def test_category_where_none_can_be_expected_has_its_value_alone(frame):
    frame = frame.assign(name=[f"n{i}" for i in range(len(frame))])
    detector = make().fit(frame)
    display = ExplanationDisplay.from_estimator(detector, {**ODD, "name": "n7"})
    assert notes_of(display)["name"] == "n7"


@pytest.mark.parametrize("to_row", [tuple, lambda row: np.array(row, dtype=object)])
def test_row_without_names_may_hold_text(to_row, frame):
    rows = frame.to_numpy(dtype=object)
    detector = make(categorical_features=[1, 2, 3]).fit(rows)
    display = ExplanationDisplay.from_estimator(detector, to_row(list(ODD.values())))
    assert notes_of(display)["x1"] == "cash, expected card"
    assert notes_of(display)["x2"] == "75001, expected 75001"


def test_codes_before_the_detector_are_shown_as_what_they_stand_for(frame):
    texts = frame[["payment", "zip", "online"]].astype(str)
    texts = texts.assign(size=np.where(frame["amount"] < 15, "S", "XL"))
    pipeline = make_pipeline(
        OrdinalEncoder(), make(categorical_features=[0, 1, 2])
    ).fit(texts)
    row = {"payment": "cash", "zip": "75001", "online": "True", "size": "XL"}
    display = ExplanationDisplay.from_estimator(pipeline, row)
    assert notes_of(display)["payment"] == "cash, expected card"
    assert notes_of(display)["zip"] == "75001, expected 75001"


def test_numbers_beside_categories_come_back_in_the_units_of_the_user(frame):
    def change(X, power):
        return X.assign(amount=X["amount"].astype(float) ** power)

    step = FunctionTransformer(
        change,
        change,
        kw_args={"power": 2},
        inv_kw_args={"power": 0.5},
        check_inverse=False,
    )
    pipeline = make_pipeline(step, make()).fit(frame)
    display = ExplanationDisplay.from_estimator(pipeline, ODD)
    notes = notes_of(display)
    assert notes["payment"] == "cash, expected card"
    assert notes["amount"].startswith("20, expected ")


def test_categories_after_steps_without_a_way_back_are_shown_by_their_values(frame):
    columns = make_column_transformer(
        (StandardScaler(), ["amount"]),
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    pipeline = make_pipeline(columns, make()).fit(frame)
    display = ExplanationDisplay.from_estimator(pipeline, ODD)
    assert notes_of(display)["payment"] == "cash, expected card"


def test_explanation_takes_rows_of_objects(of_payments):
    row = pd.DataFrame([ODD])
    contributions, expected = of_payments.explain(row, return_expected=True)
    display = ExplanationDisplay.from_predictions(
        contributions[0],
        observed=row.iloc[0],
        expected=expected[0],
        feature_names=list(row),
    )
    assert notes_of(display)["payment"] == "cash, expected card"
