"""The compiled training loop: Keras's network, loss, optimizer and gradients in one.

`keras.Model.fit` spends most of its time between the mini-batches and compiles anew for
every model. Here the loop over many mini-batches is one compiled function, and the
function serves every later fit of the same architecture, loss and optimizer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skae._learning._tensorflow import first_xla_compilation_silenced
from skae._scoring._surprise import compute_entropies
from skae._tables._layout import Layout
from skae._tables._scaling import ScaledRows, Scaling

if TYPE_CHECKING:
    import keras

EVALUATION_BYTES = 2**24  # of float32 rows whose loss is computed at once

# About the mean of a block, where float32 still has what is to be added up.
LARGEST_LOGIT = 80.0

MAX_IDLE_TRAINERS = 16
MAX_IDLE_WEIGHTS = 10**7  # 120 MB with the two moments of Adam

# XLA fuses what lies between the matrix products and compiles for .6 s longer. With two
# threads an update took .8 to .93 of the time at 1.3e8 operations or more, .63 with the
# network of the article (3.4e8), and was not faster below: worth it from 170 (article)
# to 1,300 updates on.
XLA_MIN_UPDATE_OPERATIONS = 1e8
XLA_MIN_OPERATIONS = 4e11


def count_operations(weights: Sequence[NDArray[np.float32]], batch_size: int) -> float:
    """Floating-point operations of the matrix products of one update."""
    return 6.0 * batch_size * sum(kernel.size for kernel in weights[::2])


def is_worth_xla(operations: float, n_updates: int) -> bool:
    """Whether a training of so many updates, of so many operations each, gains."""
    return (
        operations >= XLA_MIN_UPDATE_OPERATIONS
        and n_updates * operations >= XLA_MIN_OPERATIONS
    )


class Trainer:
    """A compiled model with its fused loop, reusable with other weights.

    With `uses_xla`, full batches go through XLA, the others not. With `has_missing`,
    cells may be NaN: they stay masked, and neither loss nor gradient knows of them.
    The layout says which of the model's inputs are of one cell.
    """

    def __init__(
        self,
        model: keras.Model,
        layout: Layout,
        masking: float,
        uses_xla: bool,
        has_missing: bool,
    ):
        import tensorflow as tf

        self.model = model
        self._layout = layout
        self._masking = masking
        self._has_missing = has_missing
        self._mask_values = tf.Variable(tf.zeros(model.input_shape[1]), trainable=False)
        n_category_units = layout.n_category_units
        self._frequencies = tf.Variable(tf.zeros(n_category_units), trainable=False)
        self._spreads = tf.Variable(tf.zeros(n_category_units), trainable=False)
        self._entropies = tf.Variable(tf.zeros(len(layout.sizes)), trainable=False)
        self._blocks = tf.one_hot(layout.block_of_unit, len(layout.sizes))
        self.uses_xla = uses_xla
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
            tf.TensorSpec([None, None, n_features], tf.float32),
            tf.TensorSpec([None], tf.float32),
            tf.TensorSpec([None, 2], tf.int32),
            tf.TensorSpec([None], tf.int32),
        )

    @cached_property
    def _xla_compiled_updates(self) -> Any:
        """The same on full batches; XLA compiles it for each number that is passed."""
        import tensorflow as tf

        return tf.function(
            self._update_on_each_batch, autograph=False, jit_compile=True
        )

    @cached_property
    def _compiled_loss(self) -> Any:
        """`_evaluate`, compiled once for any number of rows."""
        import tensorflow as tf

        return tf.function(self._evaluate, autograph=False).get_concrete_function(
            tf.TensorSpec([None, self.model.input_shape[1]], tf.float32),
            tf.TensorSpec([None], tf.float32),
        )

    @np.errstate(over="ignore")  # the loss tells
    def reset(
        self,
        weights: Sequence[NDArray[np.float32]],
        learning_rate: float | None,
        scaling: Scaling,
        optimizer_state: NDArray[np.float64] | None = None,
    ) -> None:
        """Give the model these weights, and its optimizer a state, or a new one's."""
        self.model.stop_training = False
        for variable, weight in zip(self._variables, weights, strict=True):
            variable.assign(weight)
        states = self._fresh_optimizer_state
        if optimizer_state is not None:
            states = self._split_optimizer_state(optimizer_state)
        for variable, state in zip(self.model.optimizer.variables, states, strict=True):
            variable.assign(state)
        if learning_rate is not None:
            self.set_learning_rate(learning_rate)
        self._mask_values.assign(scaling.mask_values.astype(np.float32))
        p, entropies = scaling.layout.n_numbers, compute_entropies(scaling)
        self._frequencies.assign(scaling.frequencies.astype(np.float32))
        self._spreads.assign(scaling.scale[p:].astype(np.float32))
        self._entropies.assign(entropies.astype(np.float32))

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

    def read_optimizer_state(self) -> NDArray[np.float64]:
        """All variables of the optimizer, one after the other."""
        variables = self.model.optimizer.variables
        return np.concatenate([np.ravel(v.numpy()).astype(float) for v in variables])

    def _split_optimizer_state(self, state: NDArray[np.float64]) -> list[NDArray]:
        """What each variable of the optimizer held when its state was read."""
        shapes = [np.shape(values) for values in self._fresh_optimizer_state]
        sizes = [int(np.prod(shape)) for shape in shapes]
        if len(state) != sum(sizes):
            raise ValueError(
                f"The optimizer's state has {len(state)} numbers instead of "
                f"{sum(sizes)}: it is of another optimizer. Start anew with fit."
            )
        parts = np.split(state, np.cumsum(sizes)[:-1])
        return [part.reshape(s) for part, s in zip(parts, shapes, strict=True)]

    @np.errstate(over="ignore")
    def run_updates(
        self,
        batches: NDArray[np.float32],
        counts: NDArray[np.int32],
        rates: NDArray[np.float64],
        seeds: NDArray[np.int32],
    ) -> NDArray[np.float32]:
        """One update for each of the counts; the loss of each, before its update.

        Of batch i the first `counts[i]` rows count, at the learning rate `rates[i]` and
        with masks from the two integers `seeds[i]`. `batches` is a buffer of always the
        same shape (batches, rows, columns); what lies beyond the counts is not used.
        """
        import tensorflow as tf

        rates = rates.astype(np.float32)
        n_full = 0
        if self.uses_xla:
            n_full = int(np.cumprod(counts == batches.shape[1]).sum())
        losses = []
        if n_full > 0:
            filling = (0, len(batches) - n_full)
            with first_xla_compilation_silenced():
                losses.append(
                    self._xla_compiled_updates(
                        tf.constant(batches),
                        tf.constant(np.pad(rates[:n_full], filling)),
                        tf.constant(np.pad(seeds[:n_full], (filling, (0, 0)))),
                        tf.constant(n_full),
                    ).numpy()[:n_full]
                )
        if n_full < len(counts):
            rest = slice(n_full, len(counts))
            losses.append(
                self._compiled_updates(
                    tf.constant(batches[rest]),
                    tf.constant(rates[rest]),
                    tf.constant(seeds[rest]),
                    tf.constant(counts[rest]),
                ).numpy()
            )
        joined: NDArray[np.float32] = np.concatenate(losses)
        return joined

    def evaluate(self, rows: ScaledRows, indices: NDArray[np.intp]) -> float:
        """The mean loss of some of the rows, by weight."""
        import tensorflow as tf

        n_chunk_rows = max(1, EVALUATION_BYTES // (4 * rows.shape[1]))
        sums, totals = 0.0, 0.0
        for start in range(0, len(indices), n_chunk_rows):
            chunk = indices[start : start + n_chunk_rows]
            values = rows.read(chunk, out=np.empty((len(chunk), rows.shape[1]), "f4"))
            weights = (
                np.ones(len(chunk)) if rows.weights is None else rows.weights[chunk]
            )
            loss = self._compiled_loss(
                tf.constant(values), tf.constant(weights / weights.mean(), tf.float32)
            )
            sums += float(loss) * weights.sum()
            totals += weights.sum()
        return sums / totals

    def _update_on_each_batch(
        self, batches: Any, rates: Any, seeds: Any, counts: Any
    ) -> Any:
        """The losses; `counts` of each batch, or the number of batches if all are full.

        XLA wants constant shapes, but not a constant number of rounds.
        """
        import tensorflow as tf

        are_full = counts.shape.rank == 0
        n_batches = counts if are_full else tf.shape(counts)[0]

        def update(i: Any, losses: Any) -> tuple[Any, Any]:
            rows = batches[i] if are_full else batches[i, : counts[i]]
            return i + 1, losses.write(i, self._update(rows, rates[i], seeds[i]))

        _, losses = tf.while_loop(
            lambda i, _: i < n_batches,
            update,
            (0, tf.TensorArray(tf.float32, size=tf.shape(batches)[0])),
            parallel_iterations=1,
        )
        return losses.stack()

    def _update(self, rows: Any, rate: Any, seed: Any) -> Any:
        """One step of the optimizer on a batch; the loss before it."""
        import tensorflow as tf

        rows, is_missing = self._fill(rows)
        inputs = rows
        if self._masking > 0.0:
            inputs = mask_cells(
                rows, self._mask_values, self._masking, seed, self._layout
            )
        with tf.GradientTape() as tape:
            outputs = self.model(inputs, training=True)
            loss = self._compute_loss(rows, outputs, is_missing)
        gradients = tape.gradient(loss, self._variables)
        if self._rate_is_settable:
            self.model.optimizer.learning_rate = rate
        self._apply(gradients)
        return loss

    def _apply(self, gradients: Sequence[Any]) -> None:
        """Let the optimizer take its step.

        Inside a replica context, which is the default, TensorFlow would register each
        compilation for good, and a search over architectures grow by 5 MB a fit. Only
        the optimizer that scales losses insists on one.
        """
        import keras
        import tensorflow as tf

        optimizer, variables = self.model.optimizer, self.model.trainable_variables
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            optimizer.apply(gradients, variables)
        else:
            tf.distribute.get_replica_context().merge_call(
                lambda _: optimizer.apply(gradients, variables)
            )

    def _evaluate(self, rows: Any, weights: Any) -> Any:
        """The mean loss of rows by weight; the weights have mean 1."""
        rows, is_missing = self._fill(rows)
        outputs = self.model(rows, training=False)
        return self._compute_loss(rows, outputs, is_missing, weights)

    def _fill(self, rows: Any) -> tuple[Any, Any]:
        """Rows with mask values in their missing cells, and which these are, if any."""
        import tensorflow as tf

        if not self._has_missing:
            return rows, None
        is_missing = tf.math.is_nan(rows)
        return tf.where(is_missing, self._mask_values, rows), is_missing

    def _compute_loss(
        self, rows: Any, outputs: Any, is_missing: Any, weights: Any = None
    ) -> Any:
        """The mean loss of a batch, over the observed cells.

        A loss is a function of whole rows. In a missing cell it is therefore given one
        constant, the mask value, as target and as output: no gradient passes, and what
        is zero where both are equal adds nothing. The factor makes a mean over all
        cells one over those that are observed.
        """
        import tensorflow as tf

        if self._layout.has_categories:
            return self._compute_mixed_loss(rows, outputs, is_missing, weights)
        loss = self._compute_losses(rows, outputs, is_missing)
        if is_missing is None:
            return _average(loss, weights)
        observed_share = 1.0 - _average(tf.cast(is_missing, tf.float32), weights)
        return _average(loss, weights) / observed_share

    def _compute_losses(self, rows: Any, outputs: Any, is_missing: Any) -> Any:
        """What the loss is for rows, without terms for missing cells."""
        import tensorflow as tf

        # A `Loss` that is called computes in the user's global precision; its method
        # `call`, like a loss function, in that of the rows.
        loss = getattr(self.model.loss, "call", self.model.loss)
        if is_missing is not None:
            outputs = tf.where(is_missing, rows, outputs)
        return loss(rows, outputs)

    def _compute_mixed_loss(
        self, rows: Any, outputs: Any, is_missing: Any, weights: Any
    ) -> Any:
        """The same of rows with categories, each of which weighs like a number.

        Of a category the loss is the cross-entropy over the entropy of its column.
        """
        import tensorflow as tf

        layout, p = self._layout, self._layout.n_numbers
        costs = self._compute_cross_entropies(rows[:, p:], outputs[:, p:])
        observed_share = 1.0
        if is_missing is not None:
            is_missing = tf.gather(is_missing, layout.first_units, axis=1)
            costs = tf.where(is_missing[:, p:], 0.0, costs)
            observed_share -= _average(tf.cast(is_missing, tf.float32), weights)
            is_missing = is_missing[:, :p]
        total = len(layout.columns) * _average(costs, weights)
        if p:
            losses = self._compute_losses(rows[:, :p], outputs[:, :p], is_missing)
            total += p * _average(losses, weights)
        return total / (layout.n_columns * observed_share)

    def _compute_cross_entropies(self, units: Any, logits: Any) -> Any:
        """Of each category, over the entropy of its column, (n_rows, n_categorical)."""
        labels = units * self._spreads + self._frequencies
        return compute_cross_entropies(labels, logits, self._blocks) / self._entropies


def compute_cross_entropies(labels: Any, logits: Any, blocks: Any) -> Any:
    """Of each block of units, in nats, (n_rows, n_blocks); `blocks` says whose each is.

    With the gradient in closed form, a seventh of the time of TensorFlow's own. Logits
    are bounded about the mean of their block, and not below the highest of the row:
    blocks that bound each other outbid each other, without end.
    """
    import tensorflow as tf

    shares = blocks / tf.reduce_sum(blocks, axis=0)

    @tf.custom_gradient
    def compute(logits: Any) -> Any:
        means = tf.matmul(tf.matmul(logits, shares), blocks, transpose_b=True)
        logits = tf.clip_by_value(logits - means, -LARGEST_LOGIT, LARGEST_LOGIT)
        odds = tf.exp(logits)
        sums = tf.matmul(odds, blocks)
        costs = tf.math.log(sums) - tf.matmul(labels * logits, blocks)
        expected = odds / tf.matmul(sums, blocks, transpose_b=True)

        def grade(upstream: Any) -> Any:
            weights = tf.matmul(upstream, blocks, transpose_b=True)
            return weights * (expected - labels)

        return costs, grade

    return compute(logits)


def _average(values: Any, weights: Any) -> Any:
    """The mean of values, of which the first axis has the given weights, if any.

    A loss that has no such axis is a mean over the rows already.
    """
    import tensorflow as tf

    if weights is not None and values.shape.rank:
        shape = [-1] + [1] * (values.shape.rank - 1)
        values = values * tf.reshape(weights, shape)
    return tf.reduce_mean(values)


def mask_cells(
    rows: Any, values: Any, masking: float, seed: Any, layout: Layout
) -> Any:
    """Rows that have lost a share of their cells, each row its own from U(0, masking).

    Lost cells take the `values` of their columns; the seed is two integers.
    """
    import tensorflow as tf

    shape = (tf.shape(rows)[0], layout.n_columns + 1)
    uniform = tf.random.stateless_uniform(shape, seed, alg="philox")
    is_lost = uniform[:, 1:] < masking * uniform[:, :1]
    if layout.has_categories:  # a product takes half the time of `gather`
        cells = tf.one_hot(layout.cell_of_unit, layout.n_columns, axis=0)
        is_lost = tf.matmul(tf.cast(is_lost, tf.float32), cells) > 0.5
    return tf.where(is_lost, values, rows)


def _without_memory_if_zero(values: NDArray) -> NDArray:
    """The same values; the moments of an optimizer start as large arrays of zeros."""
    if np.any(values):
        return values
    return np.broadcast_to(np.zeros((), values.dtype), np.shape(values))


_idle_trainers: list[tuple[Hashable, Trainer]] = []
_idle_trainers_lock = threading.Lock()


@contextmanager
def borrowed_trainer(
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
