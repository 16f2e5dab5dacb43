"""The compiled loop: what it trains on, and what later fits get of it."""

import gc
import weakref

import numpy as np
import pytest

from skae import _training
from skae._training import Trainer, _Batches


@pytest.fixture
def no_idle_trainers(monkeypatch):
    monkeypatch.setattr(_training, "_idle_trainers", idle := [])
    return idle


@pytest.fixture
def compilations(monkeypatch):
    """Counts the trainers that are built."""
    built = []
    build = Trainer.__init__

    def count(self, model, xla_batch_size=None):
        built.append(weakref.ref(model))
        build(self, model, xla_batch_size)

    monkeypatch.setattr(Trainer, "__init__", count)
    return built


def test_later_fits_of_an_architecture_reuse_its_compilation(
    no_idle_trainers, compilations, make_detector, correlated_rows
):
    make_detector().fit(correlated_rows)
    make_detector(random_state=1, contamination=0.1).fit(correlated_rows[:150])
    make_detector(batch_size=64, learning_rate=0.1, epochs=2).fit(correlated_rows)
    assert len(compilations) == 1
    make_detector(optimizer="sgd").fit(correlated_rows)
    make_detector(loss="mean_absolute_error").fit(correlated_rows)
    make_detector(activation="tanh").fit(correlated_rows)
    make_detector().fit(correlated_rows[:, :4])
    assert len(compilations) == 5


@pytest.mark.parametrize("optimizer", ["adam", "nadam", "adagrad", "ftrl", "rmsprop"])
def test_reused_compilation_gives_what_a_new_one_gives(
    optimizer, no_idle_trainers, compilations, make_detector, correlated_rows
):
    fresh = make_detector(optimizer=optimizer).fit(correlated_rows)
    make_detector(optimizer=optimizer, random_state=1).fit(correlated_rows)
    reused = make_detector(optimizer=optimizer).fit(correlated_rows)
    assert len(compilations) == 1
    assert reused.loss_curve_ == fresh.loss_curve_
    np.testing.assert_array_equal(
        reused.score_samples(correlated_rows), fresh.score_samples(correlated_rows)
    )


def test_idle_compilations_are_bounded_and_the_others_let_go(
    no_idle_trainers, compilations, monkeypatch, make_detector, correlated_rows
):
    monkeypatch.setattr(_training, "MAX_IDLE_TRAINERS", 2)
    for width in (2, 3, 4, 5):
        make_detector(hidden_layer_sizes=width, epochs=1).fit(correlated_rows)
    assert len(no_idle_trainers) == 2
    gc.collect()
    assert [model() is not None for model in compilations] == [False, False, True, True]


def test_every_row_is_trained_on_once_an_epoch():
    batches = _Batches(np.array([3, 5, 7, 11, 13]), batch_size=2, seed=0)
    indices, counts = batches.draw(n_epochs=2)
    assert counts.tolist() == [2, 2, 1, 2, 2, 1]
    rows = [row[:count].tolist() for row, count in zip(indices, counts, strict=True)]
    first, second = sum(rows[:3], []), sum(rows[3:], [])
    assert sorted(first) == sorted(second) == [3, 5, 7, 11, 13]
    assert first != second


def test_short_last_batch_counts_for_its_rows_only(make_detector):
    """One epoch at rate nearly zero: the loss is the mean over rows, not batches."""
    X = np.random.RandomState(0).normal(size=(9, 3))
    X[0] = 100.0
    losses = [
        make_detector(
            batch_size=batch_size, epochs=1, learning_rate=1e-12, scaling=None
        )
        .fit(X)
        .loss_curve_[0]
        for batch_size in (9, 4, 2)
    ]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)


def test_chunks_of_any_size_train_alike(monkeypatch, make_detector, correlated_rows):
    whole = make_detector().fit(correlated_rows).loss_curve_
    monkeypatch.setattr(_training, "MAX_CHUNK_UPDATES", 3)
    assert make_detector().fit(correlated_rows).loss_curve_ == whole


class TestXLA:
    """XLA compiles the update where the work is large; here it is made to."""

    @pytest.fixture
    def xla_always(self, monkeypatch, no_idle_trainers):
        monkeypatch.setattr(_training, "XLA_MIN_UPDATE_OPERATIONS", 0)
        monkeypatch.setattr(_training, "XLA_MIN_OPERATIONS", 0)

    @pytest.mark.parametrize("learning_rate_schedule", ["constant", "cosine"])
    def test_trains_as_without_it(
        self, learning_rate_schedule, request, make_detector, correlated_rows
    ):
        """200 rows in batches of 32: the last batch of each epoch, of 8, goes around."""
        parameters = {"learning_rate_schedule": learning_rate_schedule, "epochs": 20}
        plain = make_detector(**parameters).fit(correlated_rows)
        request.getfixturevalue("xla_always")
        compiled = make_detector(**parameters).fit(correlated_rows)
        np.testing.assert_allclose(compiled.loss_curve_, plain.loss_curve_, rtol=1e-4)
        again = make_detector(**parameters).fit(correlated_rows)
        assert again.loss_curve_ == compiled.loss_curve_

    def test_is_used_for_long_training_of_wide_layers_only(self):
        def weights(*widths):
            pairs = zip(widths[:-1], widths[1:], strict=True)
            return [w for pair in pairs for w in (np.zeros(pair), np.zeros(pair[1]))]

        mnist = weights(784, 128, 64, 32, 64, 128, 784)
        table = weights(30, 128, 64, 32, 64, 128, 30)
        choose = _training._choose_xla_batch_size
        assert choose(mnist, batch_size=256, n_updates=20 * 235) == 256
        assert choose(mnist, batch_size=256, n_updates=235) is None
        assert choose(table, batch_size=128, n_updates=10**7) is None

    def test_prints_nothing_after_a_chatty_import_of_tensorflow(
        self, run_in_fresh_process
    ):
        out, _ = run_in_fresh_process(
            "import os, warnings\n"
            "with warnings.catch_warnings():\n"
            "    warnings.simplefilter('ignore')\n"
            "    import tensorflow\n"
            "os.dup2(1, 2)\n"  # whatever goes to stderr is seen in stdout
            "import numpy as np\n"
            "from skae import AutoencoderOutlierDetector, _training\n"
            "_training.XLA_MIN_UPDATE_OPERATIONS = 0\n"
            "_training.XLA_MIN_OPERATIONS = 0\n"
            "AutoencoderOutlierDetector(epochs=2).fit(np.eye(20))\n"
        )
        assert out == ""
