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
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from skae._tensorflow import first_xla_compilation_silenced

if TYPE_CHECKING:
    import keras

CHUNK_BYTES = 2**24  # of float32 rows, handed to the compiled loop at once
MAX_CHUNK_UPDATES = 1024  # so that an interrupt does not wait long
MAX_IDLE_TRAINERS = 16

# XLA fuses what lies between the matrix products, and takes about 2 s to compile.
XLA_MIN_UPDATE_OPERATIONS = 1e8
XLA_MIN_OPERATIONS = 1e12


class RowReader(Protocol):
    """Rows in the network's units, read by their indices."""

    @property
    def shape(self) -> tuple[int, int]: ...

    def read(self, rows: NDArray[np.intp], out: NDArray) -> NDArray: ...


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
    rows: RowReader,
    training_rows: NDArray[np.intp],
    initial_weights: Sequence[Sequence[NDArray[np.float32]]],
    shuffle_seeds: Sequence[int],
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float | None,
    learning_rate_schedule: str,
    early_stopping: EarlyStopping | None,
    callbacks: Sequence[Any],
    verbose: int,
) -> list[Training]:
    """Train one network after another on some of the rows, shuffled before each epoch.

    There is a network for each of the initial weights and shuffle seeds; all share one
    compiled loop. `key` stands for everything that the model of `build_model` depends
    on. The learning rate is None for an optimizer that brings its own.
    """
    n_batches = -(-len(training_rows) // batch_size)
    factors = _compute_rate_factors(learning_rate_schedule, epochs * n_batches)
    n_updates = len(initial_weights) * len(factors)
    xla_batch_size = _choose_xla_batch_size(initial_weights[0], batch_size, n_updates)
    with (
        _borrowed_trainer(
            key, build_model, xla_batch_size, give_back=not callbacks
        ) as trainer,
        _Progress(n_updates, verbose) as progress,
    ):
        trainings = []
        for weights, seed in zip(initial_weights, shuffle_seeds, strict=True):
            trainer.reset(weights, learning_rate)
            batches = _Batches(training_rows, batch_size, seed)
            watch = _Watch(trainer.model, callbacks, early_stopping, epochs, n_batches)
            trainings.append(
                _train_network(
                    trainer, rows, batches, factors, early_stopping, watch, progress
                )
            )
        return trainings


def _train_network(
    trainer: Trainer,
    rows: RowReader,
    batches: _Batches,
    factors: NDArray[np.float64],
    early_stopping: EarlyStopping | None,
    watch: _Watch,
    progress: _Progress,
) -> Training:
    """One update for each of the rate factors, unless a callback ends it before."""
    epochs = len(factors) // len(batches)
    chunk_updates = 1
    if not watch.watches_updates:
        updates_in_memory = CHUNK_BYTES // (4 * batches.size * rows.shape[1])
        chunk_updates = min(max(1, updates_in_memory), MAX_CHUNK_UPDATES)
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
        indices, counts = batches.draw(min(epochs_at_once, epochs - epoch))
        losses = np.empty(len(counts))
        for start in range(0, len(counts), chunk_updates):
            chunk = slice(start, start + chunk_updates)
            chunk_rows = indices[chunk].ravel()
            watch.before_updates(start)
            losses[chunk] = trainer.run_updates(
                rows.read(chunk_rows, out=buffer[: len(chunk_rows)]),
                counts[chunk],
                base_rate * factors[epoch * len(batches) :][chunk],
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
    watch.callbacks.on_train_end(logs)

    return Training(
        weights=trainer.read_weights(),
        loss_curve=loss_curve,
        validation_loss_curve=validation_loss_curve if early_stopping else None,
        ended_by_itself=trainer.model.stop_training,
    )


def _choose_xla_batch_size(
    weights: Sequence[NDArray[np.float32]], batch_size: int, n_updates: int
) -> int | None:
    """The size of the batches for which XLA compiles the update; None to do without."""
    n_multiplications = 3 * batch_size * sum(kernel.size for kernel in weights[::2])
    operations = 2.0 * n_multiplications
    if operations < XLA_MIN_UPDATE_OPERATIONS:
        return None
    return batch_size if n_updates * operations >= XLA_MIN_OPERATIONS else None


class Trainer:
    """A compiled model with its fused loop, reusable with other weights.

    With `xla_batch_size`, batches of that many rows go through XLA, the others not.
    """

    def __init__(self, model: keras.Model, xla_batch_size: int | None = None):
        self.model = model
        self._xla_batch_size = xla_batch_size
        self._variables = [variable.value for variable in model.trainable_variables]
        self._fresh_optimizer_state = [
            _without_memory_if_zero(variable.numpy())
            for variable in model.optimizer.variables
        ]
        # An optimizer with a schedule of its own computes its rate by itself.
        self._rate_is_settable = isinstance(
            model.optimizer.get_config()["learning_rate"], float
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
        )

    @cached_property
    def _compiled_loss(self) -> Any:
        """`_compute_loss`, compiled once for any number of rows."""
        import tensorflow as tf

        return tf.function(self._compute_loss, autograph=False).get_concrete_function(
            tf.TensorSpec([None, self.model.input_shape[1]], tf.float32)
        )

    def reset(
        self, weights: Sequence[NDArray[np.float32]], learning_rate: float | None
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

    def read_learning_rate(self) -> float:
        """The optimizer's present rate, as in float32 whatever Keras keeps it in."""
        return float(np.float32(self.model.optimizer.learning_rate))

    def set_learning_rate(self, learning_rate: float) -> None:
        """Nothing happens to an optimizer that computes its rate by itself."""
        if self._rate_is_settable:
            self.model.optimizer.learning_rate = learning_rate

    def read_weights(self) -> list[NDArray[np.float32]]:
        return [variable.numpy() for variable in self._variables]

    def run_updates(
        self, rows: NDArray, counts: NDArray[np.int32], rates: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """One update for each batch; the loss of each, before its update.

        `rows` are the batches one after another, all of one length; of batch i the
        first `counts[i]` rows count, at the learning rate `rates[i]`.
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
            ).numpy()
        return losses

    def evaluate(self, rows: RowReader, indices: NDArray[np.intp]) -> float:
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

    def _update_on_each_batch(self, batches: Any, counts: Any, rates: Any) -> Any:
        import tensorflow as tf

        xla_update = tf.function(self._update, autograph=False, jit_compile=True)
        n_batches = tf.shape(batches)[0]

        def update(i: Any, losses: Any) -> tuple[Any, Any]:
            def update_plainly() -> Any:
                return self._update(batches[i, : counts[i]], rates[i])

            if self._xla_batch_size is None:
                loss = update_plainly()
            else:
                loss = tf.cond(
                    counts[i] == self._xla_batch_size,
                    lambda: xla_update(batches[i], rates[i]),
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

    def _update(self, rows: Any, rate: Any) -> Any:
        """One step of the optimizer on a batch; the loss before it."""
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = self._compute_loss(rows, training=True)
        gradients = tape.gradient(loss, self._variables)
        if self._rate_is_settable:
            self.model.optimizer.learning_rate = rate
        self.model.optimizer.apply(gradients, self.model.trainable_variables)
        return loss

    def _compute_loss(self, rows: Any, training: bool = False) -> Any:
        import tensorflow as tf

        # A `Loss` that is called computes in the user's global precision; its method
        # `call`, like a loss function, in that of the rows.
        loss = getattr(self.model.loss, "call", self.model.loss)
        return tf.reduce_mean(loss(rows, self.model(rows, training=training)))


def _without_memory_if_zero(values: NDArray) -> NDArray:
    """The same values; the moments of an optimizer start as large arrays of zeros."""
    if np.any(values):
        return values
    return np.broadcast_to(np.zeros((), values.dtype), np.shape(values))


_idle_trainers: list[tuple[Hashable, Trainer]] = []
_idle_trainers_lock = threading.Lock()


@contextmanager
def _borrowed_trainer(
    key: Hashable,
    build_model: Callable[[], keras.Model],
    xla_batch_size: int | None,
    give_back: bool,
) -> Iterator[Trainer]:
    """An idle trainer of this key or a new one; kept for the next fit if all went well.

    One that callbacks have seen belongs to them from then on and is not given back.
    """
    key, trainer = (key, xla_batch_size), None
    with _idle_trainers_lock:
        for i, (idle_key, idle_trainer) in enumerate(_idle_trainers):
            if idle_key == key:
                trainer = idle_trainer
                del _idle_trainers[i]
                break
    if trainer is None:
        trainer = Trainer(build_model(), xla_batch_size)
    yield trainer
    if give_back:
        with _idle_trainers_lock:
            _idle_trainers.append((key, trainer))
            del _idle_trainers[:-MAX_IDLE_TRAINERS]


class _Batches:
    """The batches of an epoch: all rows once, in a new order; the last may be short."""

    def __init__(self, rows: NDArray[np.intp], batch_size: int, seed: int):
        self.size = batch_size
        self._rows = rows
        self._rng = np.random.RandomState(seed)
        n_batches = -(-len(rows) // batch_size)
        self._counts = np.full(n_batches, batch_size, np.int32)
        self._counts[-1] = len(rows) - (n_batches - 1) * batch_size

    def __len__(self) -> int:
        return len(self._counts)

    def draw(self, n_epochs: int) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
        """Row indices (n_batches, batch_size) and how many of each batch count.

        A short batch is filled up with its epoch's first rows, which do not count.
        """
        shape = (len(self), self.size)
        indices = [
            np.resize(self._rng.permutation(self._rows), shape) for _ in range(n_epochs)
        ]
        return np.concatenate(indices), np.tile(self._counts, n_epochs)

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

    return any(
        getattr(type(callback), hook) is not getattr(keras.callbacks.Callback, hook)
        for hook in (
            "on_batch_begin",
            "on_batch_end",
            "on_train_batch_begin",
            "on_train_batch_end",
        )
    )


def _compute_rate_factors(schedule: str, n_updates: int) -> NDArray[np.float64]:
    """What the learning rate is multiplied with at each update.

    "cosine" falls from 1 to 0 along half a cosine (Loshchilov & Hutter, 2017, "SGDR:
    stochastic gradient descent with warm restarts", ICLR).
    """
    if schedule == "constant":
        return np.ones(n_updates)
    return 0.5 * (1.0 + np.cos(np.pi * np.arange(n_updates) / n_updates))


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
