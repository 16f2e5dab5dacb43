"""Training: epochs of shuffled batches, watched by callbacks and early stopping."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from skae._trainer import (
    Trainer,
    borrowed_trainer,
    count_operations,
    is_worth_xla,
)
from skae._weighting import draw_by_weight

if TYPE_CHECKING:
    import keras

    from skae._scaling import ScaledRows, Weights

# What one call of the compiled loop is given: little memory, and work for about a
# second, since an interrupt waits for its end.
CHUNK_BYTES = 2**24
CHUNK_OPERATIONS = 2e10
MAX_CHUNK_UPDATES = 1024


class EarlyStopping(NamedTuple):
    """Stop if the loss of held-out rows has not fallen by `tol` for so many epochs."""

    rows: NDArray[np.intp]
    n_iter_no_change: int
    tol: float


def hold_back_rows(
    n_samples: int, validation_fraction: float, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of the rows to train on, and of those that early stopping watches."""
    n_held_out = int(np.ceil(validation_fraction * n_samples))
    if n_held_out >= n_samples:
        raise ValueError(
            "early_stopping=True needs at least one row to train on besides the "
            f"held-out ones; validation_fraction={validation_fraction!r} of "
            f"n_samples={n_samples} holds {n_held_out} back. Pass more rows, lower "
            "validation_fraction or set early_stopping=False."
        )
    order = np.random.RandomState(seed).permutation(n_samples)
    return np.sort(order[n_held_out:]), np.sort(order[:n_held_out])


class Training(NamedTuple):
    """What a training leaves behind: plain arrays and numbers."""

    weights: list[NDArray[np.float32]]
    loss_curve: list[float]
    validation_loss_curve: list[float] | None
    ended_by_itself: bool
    optimizer_state: NDArray[np.float64] | None = None


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
    optimizer_states: Sequence[NDArray[np.float64] | None] | None = None,
) -> list[Training]:
    """Train one network after another on some of the rows, shuffled before each epoch.

    There is a network for each of the initial weights and shuffle seeds; all share one
    compiled loop. `key` stands for everything that the model of `build_model` depends
    on. The learning rate is None for an optimizer that brings its own. With `masking`
    above 0, each row of a batch loses a share of its cells drawn from U(0, masking):
    they are set to the column's value in `mask_values`, while the network must give
    back the whole row. Cells that are NaN are set to it too, and need not come back.

    With `optimizer_states`, one for each network or None for that of a new optimizer,
    the trainings leave theirs behind, too.

    Of weighted rows an epoch has as many as of others, each of them the more often the
    more it weighs: a batch is a sample of what was seen, and no row dominates one.
    """
    has_missing = rows.has_missing
    rows = rows.kept_if_small()
    n_batches = -(-len(training_rows) // batch_size)
    n_updates = len(initial_weights) * epochs * n_batches
    operations = count_operations(initial_weights[0], batch_size)
    uses_xla = is_worth_xla(operations, n_updates)
    with (
        borrowed_trainer(
            (key, masking, uses_xla, has_missing),
            lambda: Trainer(build_model(), masking, uses_xla, has_missing),
            # A function may change behind its name, and callbacks keep the model.
            give_back=is_reusable and not callbacks,
        ) as trainer,
        _Progress(n_updates, verbose) as progress,
    ):
        trainings = []
        states = optimizer_states
        if states is None:
            states = [None] * len(initial_weights)
        for weights, seed, state in zip(
            initial_weights, shuffle_seeds, states, strict=True
        ):
            trainer.reset(weights, learning_rate, mask_values, state)
            training = _train_network(
                trainer,
                rows,
                _Batches(training_rows, rows.weights, batch_size, seed),
                _RateFactors(learning_rate_schedule, epochs * n_batches),
                early_stopping,
                _Watch(trainer.model, callbacks, early_stopping, epochs, n_batches),
                progress,
                chunk_updates=int(CHUNK_OPERATIONS / operations),
            )
            if optimizer_states is not None:
                state = trainer.read_optimizer_state()
                training = training._replace(optimizer_state=state)
            trainings.append(training)
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
    # Nobody looks at an unwatched training between epochs: short ones share a call,
    # unless their short last batches, which XLA leaves out, would come in between.
    epochs_at_once = max(1, chunk_updates // len(batches))
    if watch.is_watched or progress.is_shown or trainer.uses_xla:
        epochs_at_once = 1
    n_buffered = chunk_updates  # always the same: XLA compiles for this number
    if not trainer.uses_xla:
        n_buffered = min(chunk_updates, epochs_at_once * len(batches), len(factors))
    buffer = np.zeros((n_buffered, batches.size, rows.shape[1]), np.float32)
    flat_buffer = buffer.reshape(-1, rows.shape[1])
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
            rows.read(chunk_rows, out=flat_buffer[: len(chunk_rows)])
            losses[chunk] = trainer.run_updates(
                buffer,
                counts[chunk],
                base_rate
                * factors.compute(len(batches) * epoch + start, len(counts[chunk])),
                seeds[chunk],
            )
            _check_finite(losses[chunk], epoch, base_rate)
            watch.after_updates(start, losses[chunk])
            progress.show(losses[chunk])
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


class _Batches:
    """The batches of an epoch: all rows once, in a new order; the last may be short.

    Weighted rows come by weight.
    """

    def __init__(
        self, rows: NDArray[np.intp], weights: Weights, batch_size: int, seed: int
    ):
        self.size = batch_size
        self._rows = rows
        self._weights = None if weights is None else weights[rows]
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
            np.resize(self._rng.permutation(self._draw_rows()), shape)
            for _ in range(n_epochs)
        ]
        counts = np.tile(self._counts, n_epochs)
        seeds = self._mask_rng.randint(
            np.iinfo(np.int32).max, size=(len(counts), 2), dtype=np.int32
        )
        return np.concatenate(indices), counts, seeds

    def _draw_rows(self) -> NDArray[np.intp]:
        """The rows of an epoch."""
        if self._weights is None:
            return self._rows
        drawn = draw_by_weight(self._weights, len(self._rows), self._rng)
        return self._rows[drawn]

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
