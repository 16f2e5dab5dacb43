"""The compiled loop: what it trains on, and what later fits get of it."""

import gc
import weakref

import numpy as np
import pytest
from scipy.special import log_softmax

from skae._learning import _trainer, _training
from skae._learning._trainer import Trainer, compute_cross_entropies
from skae._learning._training import _Batches
from skae._tables._layout import Layout


@pytest.fixture
def no_idle_trainers(monkeypatch):
    monkeypatch.setattr(_trainer, "_idle_trainers", idle := [])
    return idle


@pytest.fixture
def compilations(monkeypatch):
    """Counts the trainers that are built."""
    built = []
    build = Trainer.__init__

    def count(self, model, *arguments):
        built.append(weakref.ref(model))
        build(self, model, *arguments)

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


@pytest.mark.parametrize("n_updates", [1, 4, 20, 1000])
def test_cosine_schedule_does_not_depend_on_the_updates_of_a_call(
    n_updates, monkeypatch, make_detector, correlated_rows
):
    """200 rows in batches of 32 are 7 updates an epoch, here 35 in all."""
    monkeypatch.setattr(_training, "MAX_CHUNK_UPDATES", n_updates)
    detector = make_detector(learning_rate=0.01, learning_rate_schedule="cosine")
    rates = []
    run_updates = Trainer.run_updates

    def record(self, batches, counts, chunk_rates, seeds):
        rates.extend(chunk_rates)
        return run_updates(self, batches, counts, chunk_rates, seeds)

    monkeypatch.setattr(Trainer, "run_updates", record)
    detector.fit(correlated_rows)
    half_cosine = 0.005 * (1 + np.cos(np.pi * np.arange(35) / 35))
    np.testing.assert_allclose(rates, half_cosine, rtol=1e-6)


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
    monkeypatch.setattr(_trainer, "MAX_IDLE_TRAINERS", 2)
    for width in (2, 3, 4, 5):
        make_detector(hidden_layer_sizes=width, epochs=1).fit(correlated_rows)
    assert len(no_idle_trainers) == 2
    gc.collect()
    assert [model() is not None for model in compilations] == [False, False, True, True]


def test_idle_compilations_are_bounded_in_memory(
    no_idle_trainers, monkeypatch, make_detector, correlated_rows
):
    monkeypatch.setattr(_trainer, "MAX_IDLE_WEIGHTS", 100)
    make_detector(hidden_layer_sizes=50, epochs=1).fit(correlated_rows)
    assert no_idle_trainers == []
    make_detector(hidden_layer_sizes=2, epochs=1).fit(correlated_rows)
    assert len(no_idle_trainers) == 1


def test_every_row_is_trained_on_once_an_epoch():
    batches = _Batches(np.array([3, 5, 7, 11, 13]), None, batch_size=2, seed=0)
    indices, counts, _ = batches.draw(n_epochs=2)
    assert counts.tolist() == [2, 2, 1, 2, 2, 1]
    rows = [row[:count].tolist() for row, count in zip(indices, counts, strict=True)]
    first, second = sum(rows[:3], []), sum(rows[3:], [])
    assert sorted(first) == sorted(second) == [3, 5, 7, 11, 13]
    assert first != second


def test_rows_come_as_often_as_they_weigh():
    """An epoch of 4 rows that weigh 1, 0.5, 5.5 and 1 of 8."""
    weights = np.array([9.0, 1.0, 0.5, 5.5, 1.0])
    batches = _Batches(np.arange(1, 5), weights, batch_size=2, seed=0)
    indices, counts, _ = batches.draw(n_epochs=400)
    assert counts.tolist() == [2, 2] * 400
    often = np.bincount(indices.ravel(), minlength=5) / 400
    np.testing.assert_allclose(often, 4 * weights / 8 * [0, 1, 1, 1, 1], atol=0.05)
    epochs = np.sort(indices.reshape(400, 4), axis=1)
    assert {epoch.count(3) for epoch in epochs.tolist()} == {2, 3}


def test_short_last_batch_counts_for_its_rows_only(make_detector):
    """At a rate of nearly zero the loss is the mean over rows, not over batches."""
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


class TestMasking:
    @pytest.fixture
    def mask(self):
        """Rows of 4 columns, the masked rows, and which cells they lost (seed 1, 2)."""

        def mask(masking):
            import tensorflow as tf

            rows = tf.random.stateless_uniform((5000, 4), (1, 2))
            values = tf.constant([10.0, 20.0, 30.0, 40.0])
            layout = Layout.of_numbers(4)
            masked = _trainer.mask_cells(rows, values, masking, (3, 4), layout).numpy()
            return masked, masked != rows.numpy()

        return mask

    @pytest.mark.parametrize("masking", [0.3, 1.0])
    def test_each_row_loses_its_own_share_of_cells(self, masking, mask):
        _, lost = mask(masking)
        assert abs(lost.mean() - masking / 2) < 0.01
        # Of one common share the numbers of lost cells would be binomial.
        share = masking / 2
        assert lost.sum(axis=1).var() > 1.05 * 4 * share * (1 - share)

    def test_lost_cells_take_the_value_of_their_column(self, mask):
        masked, lost = mask(1.0)
        for column, value in enumerate([10.0, 20.0, 30.0, 40.0]):
            assert (masked[lost[:, column], column] == value).all()

    @pytest.mark.parametrize("scaling", ["standard", "minmax", None])
    def test_masked_network_knows_a_cell_from_the_others(
        self, scaling, make_detector, correlated_rows
    ):
        X = (correlated_rows - correlated_rows.mean(axis=0)) / correlated_rows.std(
            axis=0
        )
        damaged = X.copy()
        damaged[:, 0] = X[:, 0].mean()
        errors = []
        for masking in (0.0, 0.8):
            detector = make_detector(
                hidden_layer_sizes=(32, 8),
                masking=masking,
                epochs=300,
                learning_rate=0.01,
                scaling=scaling,
            ).fit(X)
            errors.append(np.abs(detector.reconstruct(damaged)[:, 0] - X[:, 0]).mean())
        assert errors[1] < 0.7 * errors[0]

    def test_nothing_masked_is_a_plain_autoencoder(
        self, make_detector, correlated_rows
    ):
        plain = make_detector().fit(correlated_rows).loss_curve_
        assert make_detector(masking=0).fit(correlated_rows).loss_curve_ == plain
        assert make_detector(masking=0.1).fit(correlated_rows).loss_curve_ != plain


class TestXLA:
    """XLA compiles the update where the work is large; here it is made to."""

    @pytest.fixture
    def xla_always(self, monkeypatch, no_idle_trainers):
        monkeypatch.setattr(_trainer, "XLA_MIN_UPDATE_OPERATIONS", 0)
        monkeypatch.setattr(_trainer, "XLA_MIN_OPERATIONS", 0)

    @pytest.mark.parametrize("learning_rate_schedule", ["constant", "cosine"])
    def test_trains_as_without_it(
        self, learning_rate_schedule, request, make_detector, correlated_rows
    ):
        """200 rows in batches of 32: the last of each epoch, of 8, goes around XLA."""
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

        def uses_xla(weights, batch_size, n_updates):
            operations = _trainer.count_operations(weights, batch_size)
            return _trainer.is_worth_xla(operations, n_updates)

        assert uses_xla(mnist, batch_size=256, n_updates=20 * 235)
        assert not uses_xla(mnist, batch_size=256, n_updates=235)
        assert not uses_xla(table, batch_size=128, n_updates=10**7)

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
            "from skae import AutoencoderOutlierDetector\n"
            "from skae._learning import _trainer\n"
            "_trainer.XLA_MIN_UPDATE_OPERATIONS = 0\n"
            "_trainer.XLA_MIN_OPERATIONS = 0\n"
            "AutoencoderOutlierDetector(epochs=2).fit(np.eye(20))\n"
        )
        assert out == ""


@pytest.mark.parametrize("value", [1e38, 1e39, 1e300])
def test_cells_that_float32_does_not_hold_are_one_error_and_no_warning(
    value, make_detector
):
    X = np.random.RandomState(0).normal(size=(20, 3))
    with pytest.raises(ValueError, match="Training diverged"):
        make_detector(epochs=1, scaling=None).fit(value * X)
    detector = make_detector(epochs=1).fit(X)
    with pytest.raises(ValueError, match="Training diverged"):
        detector.partial_fit(value * X)  # by the scaling of the first rows


@pytest.mark.parametrize("apart", [0.0, 100.0, 1e6])
def test_cross_entropy_of_a_column_does_not_depend_on_the_logits_of_others(apart):
    """Logits of two columns, of two and of three categories, that lie far apart."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    logits = rng.normal(scale=5.0, size=(200, 5)).astype("f4").astype(float)
    logits = logits + [apart, apart, 0.0, 0.0, 0.0]
    labels = np.hstack([np.eye(2)[rng.integers(2, size=200)], np.eye(3)[[0, 2] * 100]])
    upstream = rng.uniform(size=(200, 2))

    watched = tf.Variable(logits, dtype=tf.float32)
    with tf.GradientTape() as tape:
        costs = compute_cross_entropies(
            tf.constant(labels, tf.float32),
            watched,
            tf.one_hot([0, 0, 1, 1, 1], 2),
        )
        total = tf.reduce_sum(costs * upstream.astype("f4"))
    blocks = np.split(watched.numpy(), [2], axis=1)
    logs = np.hstack([log_softmax(block, axis=1) for block in blocks])
    expected = np.add.reduceat(-labels * logs, [0, 2], axis=1)
    np.testing.assert_allclose(costs, expected, rtol=1e-4, atol=1e-4)
    gradient = upstream[:, [0, 0, 1, 1, 1]] * (np.exp(logs) - labels)
    np.testing.assert_allclose(tape.gradient(total, watched), gradient, atol=1e-5)
