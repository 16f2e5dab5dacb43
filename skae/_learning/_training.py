"""Training: epochs of shuffled batches, watched by callbacks and early stopping."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from skae._learning._network import build_training_model
from skae._learning._recipe import Recipe, Seeds, count_held_out
from skae._learning._tensorflow import import_keras
from skae._learning._trainer import (
    Trainer,
    borrowed_trainer,
    count_operations,
    is_worth_xla,
)
from skae._tables._reading import Weights
from skae._tables._scaling import ScaledRows
from skae._tables._weighting import draw_by_weight

if TYPE_CHECKING:
    import keras
    from joblib import Memory

# What one call of the compiled loop is given: little memory, and work for about a
# second, since an interrupt waits for its end.
CHUNK_BYTES = 2**24
CHUNK_OPERATIONS = 2e10
MAX_CHUNK_UPDATES = 1024


class Surroundings(NamedTuple):
    """What else a training is given: live objects, which no cache can be asked for."""

    prototype: keras.optimizers.Optimizer | None  # of the recipe's optimizer
    callbacks: Sequence[keras.callbacks.Callback]
    verbose: int
    memory: str | Memory | None


def make_surroundings(
    optimizer: str | keras.optimizers.Optimizer,
    callbacks: Sequence[keras.callbacks.Callback] | None,
    verbose: int,
    memory: str | Memory | None,
) -> Surroundings:
    """Surroundings, or an error if the callbacks are not a list."""
    if callbacks is not None and not isinstance(callbacks, Sequence):
        raise TypeError(
            "callbacks must be a list of keras.callbacks.Callback. Got "
            f"{callbacks!r} instead."
        )
    prototype = None if isinstance(optimizer, str) else optimizer
    return Surroundings(prototype, callbacks or (), verbose, memory)


class Training(NamedTuple):
    """What the training of a network leaves behind: plain arrays and numbers."""

    weights: list[NDArray[np.float32]]
    loss_curve: list[float]
    validation_loss_curve: list[float] | None
    ended_by_itself: bool
    optimizer_state: NDArray[np.float64] | None = None


class _Plan(NamedTuple):
    """Which rows are trained on, which are watched, and how often."""

    training_rows: NDArray[np.intp]
    held_out_rows: NDArray[np.intp] | None
    batch_size: int
    epochs: int

    @property
    def n_batches(self) -> int:
        """Of an epoch; the last may be short."""
        return -(-len(self.training_rows) // self.batch_size)


def _make_plan(recipe: Recipe, n_rows: int, seed: int) -> _Plan:
    """The plan of a settled recipe; the seed chooses the rows that are held out."""
    training_rows, held_out_rows = np.arange(n_rows), None
    if recipe.early_stopping:
        order = np.random.RandomState(seed).permutation(n_rows)
        n_held_out = count_held_out(n_rows, recipe)
        training_rows = np.sort(order[n_held_out:])
        held_out_rows = np.sort(order[:n_held_out])
    return _Plan(training_rows, held_out_rows, recipe.batch_size, int(recipe.epochs))


def train(
    recipe: Recipe,
    rows: ScaledRows,
    start: Sequence[Sequence[NDArray[np.float32]]],
    seeds: Seeds,
    surroundings: Surroundings,
    optimizer_states: Sequence[NDArray[np.float64] | None] | None = None,
) -> list[Training]:
    """Train one network after another on the rows, by a settled recipe.

    There is a network for each of the initial weights in `start`; all share one
    compiled loop. Rows are shuffled before each epoch. With `masking` above 0, each row
    of a batch loses a share of its cells drawn from U(0, masking): they are set to the
    mask value of their column, while the network must give back the whole row. Cells
    that are NaN are set to it too, and need not come back.

    With `optimizer_states`, one for each network or None for that of a new optimizer,
    the trainings leave theirs behind, too.

    Of weighted rows an epoch has as many as of others, each of them the more often the
    more it weighs: a batch is a sample of what was seen, and no row dominates one.
    """
    import_keras()  # or raise, before anything is borrowed that needs it
    has_missing, scaling = rows.has_missing, rows.scaling
    rows = rows.kept_if_small()
    plan = _make_plan(recipe, rows.shape[0], seeds.split)
    n_updates = len(start) * plan.epochs * plan.n_batches
    operations = count_operations(start[0], plan.batch_size)
    uses_xla = is_worth_xla(operations, n_updates)
    architecture = recipe.plan_architecture(scaling.layout)

    def build_trainer() -> Trainer:
        optimizer = surroundings.prototype or recipe.optimizer
        model = build_training_model(architecture, recipe.loss, optimizer)
        return Trainer(model, scaling.layout, recipe.masking, uses_xla, has_missing)

    trainings = []
    # A function may change behind its name, and callbacks keep the model.
    give_back = recipe.is_made_of_names and not surroundings.callbacks
    kind = architecture, recipe.loss, recipe.optimizer, recipe.masking
    key = kind, scaling.layout.key, uses_xla, has_missing
    with (
        borrowed_trainer(key, build_trainer, give_back) as trainer,
        _Progress(n_updates, surroundings.verbose) as progress,
    ):
        states = optimizer_states or [None] * len(start)
        for weights, seed, state in zip(start, seeds.shuffling, states, strict=True):
            rate = None if recipe.brings_its_rate else recipe.learning_rate
            trainer.reset(weights, rate, scaling, state)
            watch = _Watch(trainer.model, surroundings.callbacks, recipe, plan)
            chunk = 1 if watch.watches_updates else int(CHUNK_OPERATIONS / operations)
            is_alone = not (watch.is_watched or progress.is_shown or uses_xla)
            feed = _Feed(rows, plan, seed, chunk, is_alone, uses_xla)
            training = _train_network(trainer, feed, recipe, watch, progress)
            if optimizer_states is not None:
                state = trainer.read_optimizer_state()
                training = training._replace(optimizer_state=state)
            trainings.append(training)
    return trainings


def _train_network(
    trainer: Trainer, feed: _Feed, recipe: Recipe, watch: _Watch, progress: _Progress
) -> Training:
    """An update for each batch of each epoch, unless a callback ends it before."""
    plan = feed.plan
    n_updates = plan.epochs * plan.n_batches
    loss_curve: list[float] = []
    validation_loss_curve: list[float] = []
    logs: dict[str, float] = {}
    watch.callbacks.on_train_begin()
    while len(loss_curve) < plan.epochs and not trainer.model.stop_training:
        epoch = len(loss_curve)
        watch.callbacks.on_epoch_begin(epoch)
        base_rate = trainer.read_learning_rate()  # a callback may have set it
        losses: list[NDArray[np.float64]] = []
        for update, counts, seeds in feed.fill_buffer(epoch):
            watch.before_updates(update)
            first = plan.n_batches * epoch + update
            updates = np.arange(first, first + len(counts)) / n_updates
            rates = base_rate * _compute_rate_factors(
                recipe.learning_rate_schedule, updates
            )
            results = trainer.run_updates(feed.buffer, counts, rates, seeds)
            losses.append(results.astype(np.float64))
            _check_finite(losses[-1], epoch, base_rate)
            watch.after_updates(update, losses[-1])
            progress.show(losses[-1])
        trainer.set_learning_rate(base_rate)
        loss_curve += feed.batches.average_over_epochs(np.concatenate(losses))
        logs = {"loss": loss_curve[-1]}
        if plan.held_out_rows is not None:
            logs["val_loss"] = trainer.evaluate(feed.rows, plan.held_out_rows)
            validation_loss_curve.append(logs["val_loss"])
        watch.callbacks.on_epoch_end(len(loss_curve) - 1, logs)
    trainer.finalize()
    watch.callbacks.on_train_end(logs)
    return Training(
        weights=trainer.read_weights(),
        loss_curve=loss_curve,
        validation_loss_curve=validation_loss_curve or None,
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


class _Feed:
    """The rows of batches in the buffer that the compiled loop is given.

    Nobody looks at a training that is alone between epochs: short ones share a call,
    unless their short last batches, which XLA leaves out, would come in between.
    """

    def __init__(
        self,
        rows: ScaledRows,
        plan: _Plan,
        seed: int,
        chunk_updates: int,
        is_alone: bool,
        is_fixed: bool,
    ):
        self.rows, self.plan = rows, plan
        self.batches = _Batches(plan.training_rows, rows.weights, plan.batch_size, seed)
        updates_in_memory = CHUNK_BYTES // (4 * plan.batch_size * rows.shape[1])
        chunk = max(1, min(chunk_updates, updates_in_memory, MAX_CHUNK_UPDATES))
        self._chunk_updates = chunk
        self._epochs_at_once = max(1, chunk // plan.n_batches) if is_alone else 1
        n_buffered = min(chunk, min(self._epochs_at_once, plan.epochs) * plan.n_batches)
        if is_fixed:  # XLA compiles for the size of the buffer
            n_buffered = chunk
        shape = n_buffered, plan.batch_size, rows.shape[1]
        self.buffer = np.zeros(shape, np.float32)

    def fill_buffer(
        self, epoch: int
    ) -> Iterator[tuple[int, NDArray[np.int32], NDArray[np.int32]]]:
        """Yield the number of an update, and counts and seeds of those in the buffer.

        From the first update of an epoch to the last of as many as share a call.
        """
        n_epochs = min(self._epochs_at_once, self.plan.epochs - epoch)
        indices, counts, seeds = self.batches.draw(n_epochs)
        flat_buffer = self.buffer.reshape(-1, self.buffer.shape[2])
        for start in range(0, len(counts), self._chunk_updates):
            chunk = slice(start, start + self._chunk_updates)
            chunk_rows = indices[chunk].ravel()
            self.rows.read(chunk_rows, out=flat_buffer[: len(chunk_rows)])
            yield start, counts[chunk], seeds[chunk]


class _Watch:
    """The Keras callbacks of a training, early stopping among them."""

    def __init__(
        self,
        model: keras.Model,
        callbacks: Sequence[keras.callbacks.Callback],
        recipe: Recipe,
        plan: _Plan,
    ):
        import keras

        callbacks = list(callbacks)
        for callback in callbacks:
            if not isinstance(callback, keras.callbacks.Callback):
                raise TypeError(
                    "callbacks must be a list of keras.callbacks.Callback. Got one "
                    f"that holds an instance of {type(callback).__name__!r} instead."
                )
        self.watches_updates = any(map(_overrides_batch_hooks, callbacks))
        if recipe.early_stopping:
            callbacks.append(
                keras.callbacks.EarlyStopping(
                    monitor="val_loss",
                    mode="min",
                    min_delta=recipe.tol,
                    patience=recipe.n_iter_no_change,
                    restore_best_weights=True,
                )
            )
        self.is_watched = bool(callbacks)
        self.callbacks = keras.callbacks.CallbackList(
            callbacks,
            model=model,
            epochs=plan.epochs,
            steps=plan.n_batches,
            verbose=0,
        )

    def before_updates(self, update: int) -> None:
        if self.watches_updates:
            self.callbacks.on_train_batch_begin(update)

    def after_updates(self, update: int, losses: NDArray[np.float64]) -> None:
        if self.watches_updates:
            self.callbacks.on_train_batch_end(update, {"loss": float(losses[-1])})


def _overrides_batch_hooks(callback: keras.callbacks.Callback) -> bool:
    """Whether a callback wants to be called around every update."""
    import keras

    hooks = "on_batch_begin on_batch_end on_train_batch_begin on_train_batch_end"
    return any(
        getattr(getattr(callback, hook), "__func__", None)
        is not getattr(keras.callbacks.Callback, hook)
        for hook in hooks.split()
    )


def _compute_rate_factors(
    schedule: str, times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What the learning rate is multiplied with at times from 0 to 1 of a training.

    "cosine" falls from 1 to 0 along half a cosine (Loshchilov & Hutter, 2017, "SGDR:
    stochastic gradient descent with warm restarts", ICLR).
    """
    if schedule == "constant":
        return np.ones(len(times))
    return 0.5 * (1.0 + np.cos(np.pi * times))


class _Progress:
    """One progress bar over all updates, with the loss; nothing if not verbose.

    Nor if standard output is missing, closed or unable to flush, as in some services.
    """

    def __init__(self, n_updates: int, verbose: int):
        self.is_shown = bool(verbose)
        self._n_updates = n_updates
        self._n_shown = 0

    def __enter__(self) -> Self:
        if self.is_shown:
            import keras

            with self._unless_it_fails():
                self._bar = keras.utils.Progbar(
                    self._n_updates, stateful_metrics=["loss"], unit_name="update"
                )
        return self

    def show(self, losses: NDArray[np.float64]) -> None:
        if self.is_shown:
            self._n_shown += len(losses)
            with self._unless_it_fails():
                self._bar.update(self._n_shown, [("loss", losses.mean())])

    def __exit__(self, *exception: object) -> None:
        if self.is_shown and self._n_shown < self._n_updates:
            with self._unless_it_fails():
                self._bar.update(self._n_shown, finalize=True)

    @contextmanager
    def _unless_it_fails(self) -> Iterator[None]:
        try:
            yield
        except Exception:  # whatever the stream raises
            self.is_shown = False


def _check_finite(
    losses: NDArray[np.float64], epoch: int, learning_rate: float
) -> None:
    if not np.isfinite(losses).all():
        raise ValueError(
            f"Training diverged: the loss is no longer finite in epoch {epoch + 1}. "
            f"Lower the learning rate, which is {learning_rate:g}, or use a `scaling` "
            "that brings the columns to a like spread."
        )
