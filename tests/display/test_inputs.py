"""What displays take: rows by their names, searches, and pipelines of all kinds."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

from skae import (
    AnomalyScoreDisplay,
    AutoencoderOutlierDetector,
    CodeDisplay,
    ExplanationDisplay,
    LossCurveDisplay,
)


def make():
    return AutoencoderOutlierDetector((4, 2), epochs=2, random_state=0)


def search(estimator, refit=True):
    (name,) = [name for name in estimator.get_params() if name.endswith("scaling")]
    return GridSearchCV(estimator, {name: ["standard", "minmax"]}, cv=2, refit=refit)


class Halving(BaseEstimator):
    """A sampler as imbalanced-learn has them, without `transform`."""

    def fit_resample(self, X, y=None):
        return X[::2], y


class SamplingPipeline(Pipeline):
    """A pipeline whose samplers act in `fit` only, as imbalanced-learn's."""

    def _iter(self, with_final=True, filter_passthrough=True):
        steps = super()._iter(with_final, filter_passthrough)
        return (step for step in steps if not hasattr(step[-1], "fit_resample"))

    def fit(self, X, y=None):
        *earlier, (_, last) = self.steps
        for _, step in earlier:
            is_sampler = hasattr(step, "fit_resample")
            X = step.fit_resample(X)[0] if is_sampler else step.fit_transform(X)
        last.fit(X)
        return self


class Choosing(TransformerMixin, BaseEstimator):
    """A step of a user that chooses columns by name and learns nothing."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X[["e", "a", "c"]].to_numpy()


class Doubling(Choosing):
    def transform(self, X):
        return 2 * X


@pytest.fixture(scope="module")
def frame(correlated_rows):
    return pd.DataFrame(correlated_rows, columns=list("abcde"))


@pytest.fixture(scope="module")
def pipeline(frame):
    return make_pipeline(StandardScaler(), make()).fit(frame)


@pytest.mark.parametrize(
    "tell",
    [
        lambda row: row.iloc[0],
        lambda row: row.iloc[0][::-1],
        lambda row: row.iloc[0].to_dict(),
        lambda row: row.iloc[0][::-1].to_dict(),
        lambda row: row[list("edcba")],
        lambda row: pl.from_pandas(row[list("bdaec")]),
    ],
    ids=["series", "reversed series", "dict", "reversed dict", "frame", "polars"],
)
def test_row_of_a_frame_is_told_by_its_names(tell, pipeline, frame):
    row = frame.iloc[[7]]
    scores = AnomalyScoreDisplay.from_estimator(
        pipeline, frame, marked={"row": tell(row), "some": frame[:2]}
    ).marked
    assert scores["row"] == pipeline.score_samples(row)
    np.testing.assert_array_equal(scores["some"], pipeline.score_samples(frame[:2]))
    explained = ExplanationDisplay.from_estimator(pipeline, tell(row))
    np.testing.assert_allclose(explained.observed, row.iloc[0])
    np.testing.assert_allclose(explained.contributions.sum(), -scores["row"])
    code = CodeDisplay.from_estimator(pipeline, tell(row))
    np.testing.assert_array_equal(code.positions, pipeline.transform(row))


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda row: row.drop("b"), "5 columns.*; missing: 'b'. Give it a value"),
        (lambda row: row.drop("b").to_dict(), "missing: 'b'"),
        (lambda row: row.drop("b").to_frame().T, "missing: 'b'"),
        (lambda row: {**row, "z": 1.0}, "any order; unexpected: 'z'. Give"),
        (lambda row: row.rename({"b": "z"}), "missing: 'b'; unexpected: 'z'"),
        (lambda row: row[list("abcdea")], "unexpected: 'a'"),
        (lambda row: pd.Series(np.zeros(9)), "unexpected: 0, 1, 2, 3, 4 and 4 more"),
    ],
)
def test_row_with_other_names_than_in_fit_is_refused(
    change, message, pipeline, frame, pyplot
):
    row = change(frame.iloc[7])
    with pytest.raises(ValueError, match=f"X must have the names.*{message}"):
        ExplanationDisplay.from_estimator(pipeline, row)
    with pytest.raises(ValueError, match=f"X must have the names.*{message}"):
        CodeDisplay.from_estimator(pipeline, row)
    with pytest.raises(ValueError, match=rf"marked\['row'\] must have.*{message}"):
        AnomalyScoreDisplay.from_estimator(pipeline, frame, marked={"row": row})
    assert pyplot.get_fignums() == []


def test_series_is_taken_by_position_where_fit_saw_no_names(detector, frame):
    row = frame.iloc[7]
    display = ExplanationDisplay.from_estimator(detector, row)
    np.testing.assert_array_equal(display.observed, row)
    with pytest.raises(ValueError, match="fitted without names; got dict"):
        ExplanationDisplay.from_estimator(detector, row.to_dict())


def test_row_before_a_column_transformer_may_have_columns_that_it_does_not_use(frame):
    frame = frame.assign(note=["some", "text"] * 100, kind=["x", "y"] * 100)
    pipeline = make_pipeline(
        make_column_transformer(
            (StandardScaler(), ["e", "a"]), (OneHotEncoder(), ["kind"])
        ),
        make(),
    ).fit(frame)
    score = pipeline.score_samples(frame.iloc[[7]])
    row = frame.iloc[7][::-1]
    for told in (row, row.drop("note"), row.to_dict(), {**row, "later": "added"}):
        display = ExplanationDisplay.from_estimator(pipeline, told)
        np.testing.assert_allclose(display.contributions.sum(), -score)
        assert display.feature_names[0] == "standardscaler__e"
    with pytest.raises(ValueError, match="missing: {'kind'}"):
        ExplanationDisplay.from_estimator(pipeline, row.drop("kind"))


def test_missing_cells_of_a_series_stay_missing(frame):
    frame = frame.assign(b=pd.array(range(200), "Int64"), kind=["x", "y"] * 100)
    frame.loc[:20, ["b", "kind"]] = pd.NA
    frame["kind"] = frame["kind"].astype(object).where(frame["kind"].notna(), np.nan)
    pipeline = make_pipeline(
        make_column_transformer(
            (StandardScaler(), ["a", "b"]), (OneHotEncoder(), ["kind"])
        ),
        make(),
    ).fit(frame)
    row = frame.iloc[7]
    display = ExplanationDisplay.from_estimator(pipeline, row)
    assert np.isnan(display.observed[1])
    np.testing.assert_allclose(
        display.contributions.sum(), -pipeline.score_samples(frame.iloc[[7]])
    )


def test_step_that_takes_down_no_names_is_given_those_of_the_row(frame):
    pipeline = make_pipeline(Choosing(), StandardScaler(), make()).fit(frame)
    row = frame.iloc[7][::-1]
    score = pipeline.score_samples(frame.iloc[[7]])
    for told in (row, row.to_dict()):
        display = AnomalyScoreDisplay.from_estimator(
            pipeline, frame, marked={"row": told}
        )
        assert display.marked["row"] == score


def test_texts_are_rows_of_a_pipeline_that_takes_texts():
    texts = pd.Series(["red fish", "blue fish", "one fish", "two fish"] * 20)
    pipeline = make_pipeline(CountVectorizer(), make()).fit(texts)
    score = pipeline.score_samples(["red fish"])
    display = AnomalyScoreDisplay.from_estimator(
        pipeline, texts, marked={"red": ["red fish"]}
    )
    np.testing.assert_array_equal(display.scores, pipeline.score_samples(texts))
    assert display.marked["red"] == score
    code = CodeDisplay.from_estimator(pipeline, texts.tolist())
    np.testing.assert_array_equal(code.positions, pipeline.transform(texts))
    display = ExplanationDisplay.from_estimator(pipeline, ["red fish"])
    np.testing.assert_allclose(display.contributions.sum(), -score)
    assert list(display.feature_names) == ["blue", "fish", "one", "red", "two"]
    with pytest.raises(ValueError, match=r"X must be one row.*shape is \(\)"):
        ExplanationDisplay.from_estimator(pipeline, "red fish")


def wrappers():
    """Estimators around a detector, each with its name."""
    sampling = [("halving", Halving()), ("scaler", StandardScaler())]
    return {
        "search": search(make()),
        "search over a pipeline": search(make_pipeline(StandardScaler(), make())),
        "pipeline of a search": make_pipeline(StandardScaler(), search(make())),
        "nested pipelines": make_pipeline(
            StandardScaler(), make_pipeline(MinMaxScaler(), make_pipeline(make()))
        ),
        "passthrough": Pipeline([("nothing", "passthrough"), ("last", make())]),
        "sampler": SamplingPipeline([*sampling, ("last", make())]),
        "search over a sampler": search(
            SamplingPipeline([*sampling, ("last", make())])
        ),
        "step without a fitted attribute": make_pipeline(
            StandardScaler(), Doubling(), make()
        ),
    }


@pytest.mark.parametrize("name", wrappers())
def test_displays_find_the_detector(name, frame):
    estimator = wrappers()[name].fit(frame)
    detector = estimator
    while not isinstance(detector, AutoencoderOutlierDetector):
        detector = getattr(detector, "best_estimator_", detector)
        detector = detector[-1] if isinstance(detector, Pipeline) else detector
    for given in (estimator, FrozenEstimator(estimator)):
        display = AnomalyScoreDisplay.from_estimator(given, frame)
        np.testing.assert_array_equal(display.scores, estimator.score_samples(frame))
        assert display.offset == detector.offset_
        display = ExplanationDisplay.from_estimator(given, frame.iloc[7][::-1])
        np.testing.assert_allclose(
            display.contributions.sum(), -estimator.score_samples(frame.iloc[[7]])
        )
        code = CodeDisplay.from_estimator(given, frame)
        np.testing.assert_array_equal(code.positions, estimator.transform(frame))
        curve = LossCurveDisplay.from_estimator(given)
        assert curve.loss_curve == detector.loss_curve_


@pytest.mark.parametrize(
    "display", [AnomalyScoreDisplay, CodeDisplay, ExplanationDisplay, LossCurveDisplay]
)
def test_search_that_holds_no_estimator_is_refused(display, frame):
    found = search(make(), refit=False).fit(frame)
    rows = () if display is LossCurveDisplay else (frame.iloc[[7]],)
    for given in (found, make_pipeline(found)):
        with pytest.raises(NotFittedError, match="GridSearchCV.*refit is False"):
            display.from_estimator(given, *rows)
