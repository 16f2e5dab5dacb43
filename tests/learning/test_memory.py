"""Caching of trained weights: a network is trained once."""

import joblib
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

from skae._learning import _training


@pytest.fixture
def trainings(monkeypatch):
    """The networks that were really trained."""
    trained = []
    train_network = _training._train_network

    def count(*arguments, **keywords):
        trained.append(arguments)
        return train_network(*arguments, **keywords)

    monkeypatch.setattr(_training, "_train_network", count)
    return trained


def test_grid_over_contamination_trains_each_network_once(
    tmp_path, trainings, make_detector, correlated_rows
):
    grid = {
        "hidden_layer_sizes": [(8, 2), (8, 3)],
        "contamination": [0.05, 0.1, 0.2],
    }
    search = GridSearchCV(make_detector(memory=str(tmp_path)), grid, cv=2, refit=False)
    search.fit(correlated_rows)
    assert len(trainings) == 2 * 2
    again = GridSearchCV(make_detector(), grid, cv=2, refit=False).fit(correlated_rows)
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], again.cv_results_["mean_test_score"]
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"random_state": 1},
        {"epochs": 6},
        {"activation": "tanh"},
        {"scaling": "minmax"},
        {"loss": "mean_absolute_error"},
        {"optimizer": "sgd"},
        {"learning_rate": 0.1},
        {"learning_rate_schedule": "cosine"},
        {"batch_size": 33},
        {"masking": 0.5},
        {"n_estimators": 2},
    ],
    ids=str,
)
def test_what_training_depends_on_trains_anew(
    changed, tmp_path, trainings, make_detector, correlated_rows
):
    make_detector(memory=str(tmp_path)).fit(correlated_rows)
    n_before = len(trainings)
    make_detector(memory=str(tmp_path), **changed).fit(correlated_rows)
    assert len(trainings) > n_before


@pytest.mark.parametrize(
    "changed",
    [
        {"tol": 0.5, "n_iter_no_change": 3, "validation_fraction": 0.2},
        {"epochs": np.int64(5)},
        {"score_method": "neighbors"},
        {"hidden_layer_sizes": [8, 2]},
    ],
    ids=str,
)
def test_what_training_does_not_depend_on_trains_once(
    changed, tmp_path, trainings, make_detector, correlated_rows
):
    make_detector(memory=str(tmp_path)).fit(correlated_rows)
    make_detector(memory=str(tmp_path), **changed).fit(correlated_rows)
    assert len(trainings) == 1


def test_optimizer_of_a_local_class_is_cached(
    tmp_path, trainings, make_detector, correlated_rows
):
    import keras

    class Slow(keras.optimizers.SGD):
        pass

    detector = make_detector(memory=str(tmp_path), optimizer=Slow(0.001))
    detector.fit(correlated_rows).fit(correlated_rows)
    assert len(trainings) == 1


def test_other_rows_train_anew(tmp_path, trainings, make_detector, correlated_rows):
    detector = make_detector(memory=str(tmp_path)).fit(correlated_rows)
    changed = correlated_rows.copy()
    changed[7, 2] += 1e-9
    detector.fit(changed)
    assert len(trainings) == 2


def test_recalled_fit_equals_a_trained_one(
    tmp_path, trainings, make_detector, correlated_rows
):
    memory = joblib.Memory(tmp_path, verbose=0)
    trained = make_detector(memory=memory, n_estimators=2).fit(correlated_rows)
    recalled = make_detector(memory=memory, n_estimators=2).fit(correlated_rows)
    assert len(trainings) == 2
    np.testing.assert_array_equal(
        trained.score_samples(correlated_rows), recalled.score_samples(correlated_rows)
    )
    assert recalled.loss_curve_ == trained.loss_curve_
    assert recalled.n_iter_ == trained.n_iter_


@pytest.mark.parametrize(
    "random_state", [None, np.random.RandomState(0)], ids=["None", "RandomState"]
)
def test_random_state_that_is_no_integer_is_not_cached(
    random_state, tmp_path, trainings, make_detector, correlated_rows
):
    detector = make_detector(memory=str(tmp_path), random_state=random_state)
    detector.fit(correlated_rows).fit(correlated_rows)
    assert len(trainings) == 2
    assert list(tmp_path.iterdir()) == []


def test_fit_with_callbacks_is_not_cached(
    tmp_path, trainings, make_detector, correlated_rows
):
    import keras

    detector = make_detector(memory=str(tmp_path))
    for _ in range(2):
        detector.fit(correlated_rows, callbacks=[keras.callbacks.Callback()])
    assert len(trainings) == 2


def test_damaged_entry_is_trained_anew(
    tmp_path, trainings, make_detector, correlated_rows, caplog
):
    fresh = make_detector(memory=str(tmp_path)).fit(correlated_rows)
    (entry,) = tmp_path.rglob("output.pkl")
    entry.write_bytes(entry.read_bytes()[:100])
    mended = make_detector(memory=str(tmp_path)).fit(correlated_rows)
    assert len(trainings) == 2
    np.testing.assert_array_equal(
        mended.score_samples(correlated_rows), fresh.score_samples(correlated_rows)
    )
    make_detector(memory=str(tmp_path)).fit(correlated_rows)
    assert len(trainings) == 2  # the entry was mended
