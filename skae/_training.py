"""Training: Keras's network, loss, optimizer and gradients in one compiled loop.

`keras.Model.fit` spends most of its time between the mini-batches and compiles anew for
every model. Here the loop over many mini-batches is one compiled function, and the
function serves every later fit of the same architecture, loss and optimizer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from skae._tensorflow import first_xla_compilation_silenced

if TYPE_CHECKING:
    import keras

    from skae._scaling import ScaledRows

# What one call of the compiled loop is given: little memory, and work for about a
# second, since an interrupt waits for its end.
CHUNK_BYTES = 2**24
CHUNK_OPERATIONS = 2e10
MAX_CHUNK_UPDATES = 1024

MAX_IDLE_TRAINERS = 16
MAX_IDLE_WEIGHTS = 10**7  # 120 MB with the two moments of Adam

# XLA fuses what lies between the matrix products, and takes about 2 s to compile.
XLA_MIN_UPDATE_OPERATIONS = 1e8
XLA_MIN_OPERATIONS = 1e12


class EarlyStopping(NamedTuple):
    """Stop if the loss of held-out rows has not fallen by `tol` for so many epochs."""

    rows: NDArray[np.intp]
    n_iter_no_change: int
    tol: float


class Training(NamedTuple):
    """What a training leaves behind: plain arrays and numbers."""

    weights: list[NDArray[np.float32]]
    loss_curve: list[float]
    validation_loss_curve: list[float] | None
    ended_by_itself: bool


def train(
    key: Hashable,
    build_model: Callable[[], keras.Model],
    rows: ScaledRows,
    training_rows: NDArray[np.intp],
    initial_weights: Sequence[Sequence[NDArray[np.float32]]],
    shuffle_seeds: Sequence[int],
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float | None,
    learning_rate_schedule: str,
    masking: float,
    mask_values: NDArray[np.float64],
    early_stopping: EarlyStopping | None,
    callbacks: Sequence[Any],
    verbose: int,
    is_reusable: bool = True,
) -> list[Training]:
    """Train one network after another on some of the rows, shuffled before each epoch.

    There is a network for each of the initial weights and shuffle seeds; all share one
    compiled loop. `key` stands for everything that the model of `build_model` depends
    on. The learning rate is None for an optimizer that brings its own. With `masking`
    above 0, each row of a batch loses a share of its cells drawn from U(0, masking):
    they are set to the column's value in `mask_values`, while the network must give
    back the whole row.
    """
    n_batches = -(-len(training_rows) // batch_size)
    n_updates = len(initial_weights) * epochs * n_batches
    operations = _count_operations(initial_weights[0], batch_size)
    xla_batch_size = _choose_xla_batch_size(batch_size, operations, n_updates)
    with (
        _borrowed_trainer(
            (key, masking, xla_batch_size),
            lambda: Trainer(build_model(), masking, xla_batch_size),
            # A function may change behind its name, and callbacks keep the model.
            give_back=is_reusable and not callbacks,
        ) as trainer,
        _Progress(n_updates, verbose) as progress,
    ):
        trainings = []
        for weights, seed in zip(initial_weights, shuffle_seeds, strict=True):
            trainer.reset(weights, learning_rate, mask_values)
            trainings.append(
                _train_network(
                    trainer,
                    rows,
                    _Batches(training_rows, batch_size, seed),
                    _RateFactors(learning_rate_schedule, epochs * n_batches),
                    early_stopping,
                    _Watch(trainer.model, callbacks, early_stopping, epochs, n_batches),
                    progress,
                    chunk_updates=int(CHUNK_OPERATIONS / operations),
                )
            )
        return trainings


def _train_network(
    trainer: Trainer,
    rows: ScaledRows,
    batches: _Batches,
    factors: _RateFactors,
    early_stopping: EarlyStopping | None,
    watch: _Watch,
    progress: _Progress,
    chunk_updates: int,
) -> Training:
    """One update for each of the rate factors, unless a callback ends it before."""
    epochs = len(factors) // len(batches)
    updates_in_memory = CHUNK_BYTES // (4 * batches.size * rows.shape[1])
    chunk_updates = min(chunk_updates, updates_in_memory, MAX_CHUNK_UPDATES)
    chunk_updates = 1 if watch.watches_updates else max(1, chunk_updates)
    # Nobody looks at an unwatched training between epochs: short ones share a call.
    epochs_at_once = max(1, chunk_updates // len(batches))
    if watch.is_watched or progress.is_shown:
        epochs_at_once = 1
    n_buffered = min(chunk_updates, epochs_at_once * len(batches), len(factors))
    buffer = np.empty((n_buffered * batches.size, rows.shape[1]), np.float32)
    loss_curve: list[float] = []
    validation_loss_curve: list[float] = []
    logs: dict[str, float] = {}

    watch.callbacks.on_train_begin()
    while len(loss_curve) < epochs and not trainer.model.stop_training:
        epoch = len(loss_curve)
        watch.callbacks.on_epoch_begin(epoch)
        base_rate = trainer.read_learning_rate()  # a callback may have set it
        indices, counts, seeds = batches.draw(min(epochs_at_once, epochs - epoch))
        losses = np.empty(len(counts))
        for start in range(0, len(counts), chunk_updates):
            chunk = slice(start, start + chunk_updates)
            chunk_rows = indices[chunk].ravel()
            watch.before_updates(start)
            losses[chunk] = trainer.run_updates(
                rows.read(chunk_rows, out=buffer[: len(chunk_rows)]),
                counts[chunk],
                base_rate
                * factors.compute(len(batches) * epoch + start, len(counts[chunk])),
                seeds[chunk],
            )
            _check_finite(losses[chunk], epoch, base_rate)
            watch.after_updates(start, losses[chunk])
            progress.show(losses[chunk])
        if watch.is_watched:
            trainer.set_learning_rate(base_rate)
        loss_curve += batches.average_over_epochs(losses)
        logs = {"loss": loss_curve[-1]}
        if early_stopping is not None:
            logs["val_loss"] = trainer.evaluate(rows, early_stopping.rows)
            validation_loss_curve.append(logs["val_loss"])
        watch.callbacks.on_epoch_end(len(loss_curve) - 1, logs)
    trainer.finalize()
    watch.callbacks.on_train_end(logs)

    return Training(
        weights=trainer.read_weights(),
        loss_curve=loss_curve,
        validation_loss_curve=validation_loss_curve if early_stopping else None,
        ended_by_itself=trainer.model.stop_training,
    )


def _count_operations(weights: Sequence[NDArray[np.float32]], batch_size: int) -> float:
    """Floating-point operations of the matrix products of one update."""
    return 6.0 * batch_size * sum(kernel.size for kernel in weights[::2])


def _choose_xla_batch_size(
    batch_size: int, operations: float, n_updates: int
) -> int | None:
    """The size of the batches for which XLA compiles the update; None to do without."""
    if operations < XLA_MIN_UPDATE_OPERATIONS:
        return None
    return batch_size if n_updates * operations >= XLA_MIN_OPERATIONS else None


class Trainer:
    """A compiled model with its fused loop, reusable with other weights.

    With `xla_batch_size`, batches of that many rows go through XLA, the others not.
    """

    def __init__(self, model: keras.Model, masking: float, xla_batch_size: int | None):
        import tensorflow as tf

        self.model = model
        self._masking = masking
        self._mask_values = tf.Variable(tf.zeros(model.input_shape[1]), trainable=False)
        self._xla_batch_size = xla_batch_size
        self._variables = [variable.value for variable in model.trainable_variables]
        self._fresh_optimizer_state = [
            _without_memory_if_zero(variable.numpy())
            for variable in model.optimizer.variables
        ]
        # An optimizer with a schedule of its own computes its rate by itself.
        self._rate_is_settable = isinstance(
            model.optimizer.get_config().get("learning_rate"), float
        )

    @cached_property
    def _compiled_updates(self) -> Any:
        """`_update_on_each_batch`, compiled once for any number of batches."""
        import tensorflow as tf

        n_features = self.model.input_shape[1]
        return tf.function(
            self._update_on_each_batch, autograph=False
        ).get_concrete_function(
            tf.TensorSpec([None, self._xla_batch_size, n_features], tf.float32),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([None], tf.float32),
            tf.TensorSpec([None, 2], tf.int32),
        )

    @cached_property
    def _compiled_loss(self) -> Any:
        """`_evaluate`, compiled once for any number of rows."""
        import tensorflow as tf

        return tf.function(self._evaluate, autograph=False).get_concrete_function(
            tf.TensorSpec([None, self.model.input_shape[1]], tf.float32)
        )

    def reset(
        self,
        weights: Sequence[NDArray[np.float32]],
        learning_rate: float | None,
        mask_values: NDArray[np.float64],
    ) -> None:
        """Give the model these weights, and its optimizer the state of a new one."""
        self.model.stop_training = False
        for variable, weight in zip(self._variables, weights, strict=True):
            variable.assign(weight)
        for variable, state in zip(
            self.model.optimizer.variables, self._fresh_optimizer_state, strict=True
        ):
            variable.assign(state)
        if learning_rate is not None:
            self.set_learning_rate(learning_rate)
        self._mask_values.assign(mask_values.astype(np.float32))

    def read_learning_rate(self) -> float:
        """The optimizer's present rate, as in float32 whatever Keras keeps it in."""
        return float(np.float32(self.model.optimizer.learning_rate))

    def set_learning_rate(self, learning_rate: float) -> None:
        """Nothing happens to an optimizer that computes its rate by itself."""
        if self._rate_is_settable:
            self.model.optimizer.learning_rate = learning_rate

    def finalize(self) -> None:
        """Let the optimizer have the last word, such as an average over its steps."""
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)

    @property
    def n_weights(self) -> int:
        return self.model.count_params()

    def read_weights(self) -> list[NDArray[np.float32]]:
        return [variable.numpy() for variable in self._variables]

    def run_updates(
        self,
        rows: NDArray[np.float32],
        counts: NDArray[np.int32],
        rates: NDArray[np.float64],
        seeds: NDArray[np.int32],
    ) -> NDArray[np.float32]:
        """One update for each batch; the loss of each, before its update.

        `rows` are the batches one after another, all of one length; of batch i the
        first `counts[i]` rows count, at the learning rate `rates[i]` and with masks
        from the two integers `seeds[i]`.
        """
        import tensorflow as tf

        batches = rows.reshape(len(counts), -1, rows.shape[1])
        with (
            first_xla_compilation_silenced() if self._xla_batch_size else nullcontext()
        ):
            losses: NDArray[np.float32] = self._compiled_updates(
                tf.constant(batches),
                tf.constant(counts),
                tf.constant(rates, tf.float32),
                tf.constant(seeds),
            ).numpy()
        return losses

    def evaluate(self, rows: ScaledRows, indices: NDArray[np.intp]) -> float:
        """The mean loss of some of the rows."""
        import tensorflow as tf

        n_chunk_rows = max(1, CHUNK_BYTES // (4 * rows.shape[1]))
        total = 0.0
        for start in range(0, len(indices), n_chunk_rows):
            chunk = indices[start : start + n_chunk_rows]
            values = np.empty((len(chunk), rows.shape[1]), np.float32)
            loss = self._compiled_loss(tf.constant(rows.read(chunk, out=values)))
            total += float(loss) * len(chunk)
        return total / len(indices)

    def _update_on_each_batch(
        self, batches: Any, counts: Any, rates: Any, seeds: Any
    ) -> Any:
        import tensorflow as tf

        xla_update = tf.function(self._update, autograph=False, jit_compile=True)
        n_batches = tf.shape(batches)[0]

        def update(i: Any, losses: Any) -> tuple[Any, Any]:
            def update_plainly() -> Any:
                return self._update(batches[i, : counts[i]], rates[i], seeds[i])

            if self._xla_batch_size is None:
                loss = update_plainly()
            else:
                loss = tf.cond(
                    counts[i] == self._xla_batch_size,
                    lambda: xla_update(batches[i], rates[i], seeds[i]),
                    update_plainly,
                )
            return i + 1, losses.write(i, loss)

        _, losses = tf.while_loop(
            lambda i, _: i < n_batches,
            update,
            (0, tf.TensorArray(tf.float32, size=n_batches)),
            parallel_iterations=1,
        )
        return losses.stack()

    def _update(self, rows: Any, rate: Any, seed: Any) -> Any:
        """One step of the optimizer on a batch; the loss before it."""
        import tensorflow as tf

        inputs = rows
        if self._masking > 0.0:
            inputs = mask_cells(rows, self._mask_values, self._masking, seed)
        with tf.GradientTape() as tape:
            loss = self._compute_loss(rows, self.model(inputs, training=True))
        gradients = tape.gradient(loss, self._variables)
        if self._rate_is_settable:
            self.model.optimizer.learning_rate = rate
        self.model.optimizer.apply(gradients, self.model.trainable_variables)
        return loss

    def _evaluate(self, rows: Any) -> Any:
        return self._compute_loss(rows, self.model(rows, training=False))

    def _compute_loss(self, rows: Any, outputs: Any) -> Any:
        import tensorflow as tf

        # A `Loss` that is called computes in the user's global precision; its method
        # `call`, like a loss function, in that of the rows.
        loss = getattr(self.model.loss, "call", self.model.loss)
        return tf.reduce_mean(loss(rows, outputs))


def mask_cells(rows: Any, values: Any, masking: float, seed: Any) -> Any:
    """Rows that have lost a share of their cells, each row its own from U(0, masking).

    Lost cells take the `values` of their columns; the seed is two integers.
    """
    import tensorflow as tf

    shape = (tf.shape(rows)[0], rows.shape[1] + 1)
    uniform = tf.random.stateless_uniform(shape, seed, alg="philox")
    is_lost = uniform[:, 1:] < masking * uniform[:, :1]
    return tf.where(is_lost, values, rows)


def _without_memory_if_zero(values: NDArray) -> NDArray:
    """The same values; the moments of an optimizer start as large arrays of zeros."""
    if np.any(values):
        return values
    return np.broadcast_to(np.zeros((), values.dtype), np.shape(values))


_idle_trainers: list[tuple[Hashable, Trainer]] = []
_idle_trainers_lock = threading.Lock()


@contextmanager
def _borrowed_trainer(
    key: Hashable, build_trainer: Callable[[], Trainer], give_back: bool
) -> Iterator[Trainer]:
    """An idle trainer of this key or a new one; kept for the next fit if all went well.

    One that callbacks have seen belongs to them from then on and is not given back.
    """
    trainer = None
    with _idle_trainers_lock:
        for i, (idle_key, idle_trainer) in enumerate(_idle_trainers):
            if idle_key == key:
                trainer = idle_trainer
                del _idle_trainers[i]
                break
    if trainer is None:
        trainer = build_trainer()
    yield trainer
    if give_back:
        with _idle_trainers_lock:
            _idle_trainers.append((key, trainer))
            while (
                len(_idle_trainers) > MAX_IDLE_TRAINERS
                or sum(idle.n_weights for _, idle in _idle_trainers) > MAX_IDLE_WEIGHTS
            ):
                del _idle_trainers[0]


class _Batches:
    """The batches of an epoch: all rows once, in a new order; the last may be short."""

    def __init__(self, rows: NDArray[np.intp], batch_size: int, seed: int):
        self.size = batch_size
        self._rows = rows
        self._rng = np.random.RandomState(seed)
        self._mask_rng = np.random.RandomState([seed, 1])
        n_batches = -(-len(rows) // batch_size)
        self._counts = np.full(n_batches, batch_size, np.int32)
        self._counts[-1] = len(rows) - (n_batches - 1) * batch_size

    def __len__(self) -> int:
        return len(self._counts)

    def draw(
        self, n_epochs: int
    ) -> tuple[NDArray[np.intp], NDArray[np.int32], NDArray[np.int32]]:
        """For each batch its row indices, how many of them count, and seeds for masks.

        A short batch is filled up with its epoch's first rows, which do not count.
        """
        shape = (len(self), self.size)
        indices = [
            np.resize(self._rng.permutation(self._rows), shape) for _ in range(n_epochs)
        ]
        counts = np.tile(self._counts, n_epochs)
        seeds = self._mask_rng.randint(
            np.iinfo(np.int32).max, size=(len(counts), 2), dtype=np.int32
        )
        return np.concatenate(indices), counts, seeds

    def average_over_epochs(self, losses: NDArray[np.float64]) -> list[float]:
        """The mean loss over the rows of each epoch, from the losses of its batches."""
        means = losses.reshape(-1, len(self)) @ self._counts / len(self._rows)
        return [float(mean) for mean in means]


class _Watch:
    """The Keras callbacks of a training, early stopping among them."""

    def __init__(
        self,
        model: keras.Model,
        callbacks: Sequence[Any],
        early_stopping: EarlyStopping | None,
        epochs: int,
        n_batches: int,
    ):
        import keras

        callbacks = list(callbacks)
        self.watches_updates = any(map(_overrides_batch_hooks, callbacks))
        if early_stopping is not None:
            callbacks.append(
                keras.callbacks.EarlyStopping(
                    monitor="val_loss",
                    mode="min",
                    min_delta=early_stopping.tol,
                    patience=early_stopping.n_iter_no_change,
                    restore_best_weights=True,
                )
            )
        self.is_watched = bool(callbacks)
        self.callbacks = keras.callbacks.CallbackList(
            callbacks, model=model, epochs=epochs, steps=n_batches, verbose=0
        )

    def before_updates(self, update: int) -> None:
        if self.watches_updates:
            self.callbacks.on_train_batch_begin(update)

    def after_updates(self, update: int, losses: NDArray[np.float64]) -> None:
        if self.watches_updates:
            self.callbacks.on_train_batch_end(update, {"loss": float(losses[-1])})


def _overrides_batch_hooks(callback: Any) -> bool:
    """Whether a callback wants to be called around every update."""
    import keras

    hooks = "on_batch_begin on_batch_end on_train_batch_begin on_train_batch_end"
    return any(
        getattr(getattr(callback, hook), "__func__", None)
        is not getattr(keras.callbacks.Callback, hook)
        for hook in hooks.split()
    )


class _RateFactors:
    """What the learning rate is multiplied with at each update.

    "cosine" falls from 1 to 0 along half a cosine (Loshchilov & Hutter, 2017, "SGDR:
    stochastic gradient descent with warm restarts", ICLR).
    """

    def __init__(self, schedule: str, n_updates: int):
        self._schedule = schedule
        self._n_updates = n_updates

    def __len__(self) -> int:
        return self._n_updates

    def compute(self, first: int, n: int) -> NDArray[np.float64]:
        """The factors of `n` updates."""
        if self._schedule == "constant":
            return np.ones(n)
        return 0.5 * (1.0 + np.cos(np.pi * np.arange(first, first + n) / len(self)))


class _Progress:
    """One progress bar over all updates, with the loss; nothing if not verbose."""

    def __init__(self, n_updates: int, verbose: int):
        self.is_shown = bool(verbose)
        self._n_updates = n_updates
        self._n_shown = 0

    def __enter__(self) -> Self:
        if self.is_shown:
            import keras

            self._bar = keras.utils.Progbar(
                self._n_updates, stateful_metrics=["loss"], unit_name="update"
            )
        return self

    def show(self, losses: NDArray[np.float64]) -> None:
        if self.is_shown:
            self._n_shown += len(losses)
            self._bar.update(self._n_shown, [("loss", losses.mean())])

    def __exit__(self, *exception: object) -> None:
        if self.is_shown and self._n_shown < self._n_updates:
            self._bar.update(self._n_shown, finalize=True)


def _check_finite(
    losses: NDArray[np.float64], epoch: int, learning_rate: float
) -> None:
    if not np.isfinite(losses).all():
        raise ValueError(
            f"Training diverged: the loss is no longer finite in epoch {epoch + 1}. "
            f"Lower the learning rate, which is {learning_rate:g}, or use a `scaling` "
            "that brings the columns to a like spread."
        )
