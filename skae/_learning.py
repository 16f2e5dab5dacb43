"""The steps of learning, of which `fit` and `partial_fit` tell the order."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Integral
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_memory, validate_data

from skae._calibration import (
    compute_conformal_offset,
    compute_offset,
    hold_back_calibration_rows,
)
from skae._fitted import VALIDATION, FittedAutoencoder, Input, find_observed
from skae._forward import OUTPUT_RANGES, iterate_forward
from skae._network import (
    SerializedOptimizer,
    build_training_model,
    draw_initial_weights,
    plan_architecture,
    serialize_optimizer,
)
from skae._scaling import ScaledRows, Table, fit_scaling, take_rows
from skae._scoring import (
    compute_anomaly,
    compute_score_statistics,
    count_statistics_rows,
    draw_statistics_rows,
)
from skae._stream import Stream, start_stream
from skae._training import EarlyStopping, Training, hold_back_rows, train
from skae._version import __version__
from skae._weighting import (
    check_weights,
    draw_by_weight,
    merge_rows,
    none_if_equal,
)

if TYPE_CHECKING:
    import keras
    from joblib import Memory

# The defaults of the widths, the rate and its schedule, the updates, the batches, the
# masking and the score were chosen together by benchmarks/detection.py, one for all
# tables; docs/detection.md tells what else was tried. One network: three gain .003 and
# cost three times as much. Columns are standardised, for raw ones come in unlike units.
AUTO_UPDATES = 1000


class Seeds(NamedTuple):
    """Seeds of held-out rows, of each network twice, of two samples of the rows."""

    split: int
    weights: list[int]
    shuffling: list[int]
    sample: int
    calibration: int


class LearningAutoencoder(FittedAutoencoder):
    """Each step reads parameters and what earlier steps have set."""

    hidden_layer_sizes: int | Sequence[int]
    activation: str | Callable
    output_activation: str | Callable
    loss: str | Callable
    learning_rate: float
    learning_rate_schedule: str
    epochs: int | str
    batch_size: int
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int
    tol: float
    masking: float
    scaling: str | None
    n_estimators: int
    score_method: str
    contamination: float | str
    calibration_fraction: float
    memory: str | Memory | None
    verbose: int
    random_state: int | np.random.RandomState | None

    def _take_in(
        self, X: Input, sample_weight: ArrayLike | None, reset: bool
    ) -> tuple[Table, NDArray[np.float64]]:
        """The distinct rows of X that count, with their weights."""
        X = validate_data(self, X, reset=reset, **VALIDATION)
        weights = check_weights(sample_weight, X)
        weighted = np.flatnonzero(weights)
        X, weights = take_rows(X, weighted), weights[weighted]
        observed = find_observed(X, stacklevel=6)
        return merge_rows(take_rows(X, observed), weights[observed])

    def _start_stream(self) -> Stream:
        """A stream without rows; its seed is that of all later calls."""
        rng = check_random_state(self.random_state)
        seed = int(rng.randint(np.iinfo(np.int32).max))
        follows_fit = hasattr(self, "_weights")
        return start_stream(self.n_features_in_, seed, follows_fit)

    def _draw_seeds(self, rng: np.random.RandomState) -> Seeds:
        """One seed for each consumer of randomness."""
        size = 3 + 2 * self.n_estimators
        seeds = [int(seed) for seed in rng.randint(np.iinfo(np.int32).max, size=size)]
        split, *networks, sample, calibration = seeds
        return Seeds(split, networks[::2], networks[1::2], sample, calibration)

    def _hold_back(
        self, X: Table, weights: NDArray[np.float64], seed: int, is_continued: bool
    ) -> tuple[Table, NDArray[np.float64], tuple[Table, NDArray[np.int64]] | None]:
        """Rows to fit on, with weights; those that only calibrate, with counts."""
        if not self.calibration_fraction:
            return X, weights, None
        if is_continued:
            raise ValueError(
                f"calibration_fraction={self.calibration_fraction!r} holds rows back "
                "that the network has not seen, but with warm_start=True it goes on "
                "from weights that may have been trained on them. Set "
                "calibration_fraction=0 and call calibrate with rows that no fit has "
                "seen, or start anew with warm_start=False."
            )
        weights, counts = hold_back_calibration_rows(
            weights, self.calibration_fraction, self.contamination, seed
        )
        kept, held_back = np.flatnonzero(weights), np.flatnonzero(counts)
        calibration = take_rows(X, held_back), counts[held_back]
        # Anew, for the order of the rows was one among all.
        X, weights = merge_rows(take_rows(X, kept), weights[kept])
        return X, weights, calibration

    def _fit_scaling(self, X: Table, weights: NDArray[np.float64]) -> ScaledRows:
        """Set the scaling and the mask values; the rows by it."""
        weights_or_none = none_if_equal(weights)
        self._center, self._scale = fit_scaling(X, self.scaling, weights_or_none)
        rows = ScaledRows(X, self._center, self._scale, weights_or_none)
        self._mask_values = rows.compute_mean()
        self._warn_if_out_of_reach(rows)
        return rows

    def _begin(
        self, weight_seeds: list[int], is_continued: bool
    ) -> list[list[NDArray[np.float32]]]:
        """Plan the networks; the weights that their training starts from."""
        architecture = plan_architecture(
            self.n_features_in_,
            self.hidden_layer_sizes,
            self.activation,
            self.output_activation,
        )
        if not is_continued:
            self._architecture = architecture
            return [draw_initial_weights(architecture, seed) for seed in weight_seeds]
        for name, before, after in (
            ("n_features", self._architecture.n_features, architecture.n_features),
            (
                "hidden_layer_sizes",
                self._architecture.hidden_layer_sizes,
                architecture.hidden_layer_sizes,
            ),
            ("activation", self._architecture.activation, architecture.activation),
            (
                "output_activation",
                self._architecture.output_activation,
                architecture.output_activation,
            ),
            ("n_estimators", len(self._weights), self.n_estimators),
        ):
            if before != after:
                raise ValueError(
                    f"The network was trained with {name}={before!r} and cannot go on "
                    f"with {name}={after!r}. Set it back, or start anew: call fit with "
                    "warm_start=False."
                )
        return self._weights

    def _warn_if_out_of_reach(self, rows: ScaledRows) -> None:
        """Warn if the output activation cannot reach the rows."""
        activation = self.output_activation
        if not isinstance(activation, str) or activation not in OUTPUT_RANGES:
            return
        low, high = OUTPUT_RANGES[activation]
        lowest, highest = rows.compute_range()
        if lowest < low - 1e-6 or highest > high + 1e-6:
            warnings.warn(
                f"output_activation={activation!r} stays within [{low:g}, {high:g}], "
                f"but with scaling={self.scaling!r} the columns reach from "
                f"{lowest:.3g} to {highest:.3g}, which the network cannot reproduce. "
                "Use scaling='minmax' for [0, 1], or output_activation='linear'.",
                UserWarning,
                stacklevel=5,
            )

    def _train(
        self,
        rows: ScaledRows,
        start: list[list[NDArray[np.float32]]],
        seeds: Seeds,
        callbacks: Sequence[keras.callbacks.Callback] | None,
        is_continued: bool,
    ) -> list[Training]:
        """Resolve what the parameters leave open, and train or recall."""
        if callbacks is not None and not isinstance(callbacks, Sequence):
            raise TypeError(
                "callbacks must be a list of keras.callbacks.Callback. Got "
                f"{callbacks!r} instead."
            )
        training_rows, early_stopping = np.arange(rows.shape[0]), None
        if self.early_stopping:
            training_rows, held_out_rows = hold_back_rows(
                rows.shape[0], self.validation_fraction, seeds.split
            )
            early_stopping = EarlyStopping(
                held_out_rows, self.n_iter_no_change, self.tol
            )
        if self.epochs == "auto":
            n_batches = -(-len(training_rows) // self.batch_size)
            epochs = max(1, round(AUTO_UPDATES / n_batches))
        else:
            epochs = int(self.epochs)
        train_or_recall = train
        if isinstance(self.random_state, Integral) and not callbacks:
            memory = check_memory(self.memory)
            train_or_recall = memory.cache(train, ignore=["build_model", "verbose"])
        trainings = self._run_training(
            train_or_recall,
            rows,
            training_rows,
            start,
            seeds.shuffling,
            epochs=epochs,
            schedule="constant" if is_continued else self.learning_rate_schedule,
            early_stopping=early_stopping,
            callbacks=callbacks or (),
        )
        if early_stopping and not all(t.ended_by_itself for t in trainings):
            warnings.warn(
                f"Early stopping did not end the training within epochs={epochs}; the "
                "held-out loss may still be falling. Increase epochs.",
                ConvergenceWarning,
                stacklevel=4,
            )
        return trainings

    def _go_on(
        self,
        rows: ScaledRows,
        start: list[list[NDArray[np.float32]]],
        seeds: Seeds,
        stream: Stream,
    ) -> list[Training]:
        """One pass over the rows of a call of `partial_fit`; updates `_stream`."""
        optimizer = repr(self._make_optimizer_key())
        states: list[NDArray[np.float64] | None] = [None] * len(start)
        if optimizer == stream.optimizer:
            states = list(stream.optimizer_states)
        trainings = self._run_training(
            train,
            rows,
            np.arange(rows.shape[0]),
            start,
            seeds.shuffling,
            epochs=1,
            schedule="constant",
            optimizer_states=states,
        )
        self._stream = stream._replace(
            optimizer=optimizer,
            optimizer_states=np.array([t.optimizer_state for t in trainings], float),
        )
        return trainings

    def _make_optimizer_key(self) -> str | SerializedOptimizer:
        """What stands for the optimizer: its name, or how to make it."""
        optimizer = self.optimizer
        return (
            optimizer if isinstance(optimizer, str) else serialize_optimizer(optimizer)
        )

    def _run_training(
        self,
        train_or_recall: Callable[..., list[Training]],
        rows: ScaledRows,
        training_rows: NDArray[np.intp],
        start: list[list[NDArray[np.float32]]],
        shuffle_seeds: list[int],
        *,
        epochs: int,
        schedule: str,
        early_stopping: EarlyStopping | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        optimizer_states: Sequence[NDArray[np.float64] | None] | None = None,
    ) -> list[Training]:
        """Train with the parameters that every training depends on."""
        architecture, optimizer = self._architecture, self.optimizer
        brings_its_rate = not isinstance(optimizer, str)
        kinds = (self.activation, self.output_activation, self.loss, optimizer)
        return train_or_recall(
            (__version__, architecture, self.loss, self._make_optimizer_key()),
            partial(build_training_model, architecture, self.loss, optimizer),
            rows,
            training_rows,
            start,
            shuffle_seeds,
            epochs=epochs,
            batch_size=min(self.batch_size, len(training_rows)),
            learning_rate=None if brings_its_rate else self.learning_rate,
            learning_rate_schedule="constant" if brings_its_rate else schedule,
            masking=float(self.masking),
            mask_values=self._mask_values,
            early_stopping=early_stopping,
            callbacks=callbacks,
            verbose=self.verbose,
            is_reusable=all(isinstance(kind, str) for kind in kinds),
            optimizer_states=optimizer_states,
        )

    def _keep(
        self, trainings: list[Training], past_curve: Sequence[float] = ()
    ) -> None:
        """What the trainings leave behind, as attributes."""
        self._weights = [training.weights for training in trainings]
        self.loss_curve_ = [
            *past_curve,
            *_average([training.loss_curve for training in trainings]),
        ]
        curves = [training.validation_loss_curve for training in trainings]
        observed_curves = [curve for curve in curves if curve is not None]
        self.validation_loss_curve_ = (
            _average(observed_curves) if observed_curves else None
        )
        self.n_iter_ = len(self.loss_curve_)
        self._score_method = self.score_method

    def _take_sample(self, rows: ScaledRows, seed: int) -> ScaledRows:
        """The rows that the score's statistics come from: all, or drawn by weight."""
        n_rows = count_statistics_rows(rows.shape[1])
        if rows.weights is None or rows.shape[0] <= n_rows:
            return rows.take(draw_statistics_rows(*rows.shape, seed))
        rng = np.random.RandomState(seed)
        drawn = draw_by_weight(rows.weights, n_rows, rng)
        indices, counts = np.unique(drawn, return_counts=True)
        return rows.take(indices, none_if_equal(counts.astype(float)))

    def _fit_score(self, rows: ScaledRows) -> NDArray[np.float64]:
        """Set the score's statistics; the scores of the rows that they come from.

        Raises if the training diverged.
        """
        inputs = np.empty(rows.shape)
        outputs = np.empty((self.n_estimators, *rows.shape))
        for block, block_inputs, block_outputs in iterate_forward(
            rows, self._networks, self._mask_values
        ):
            inputs[block] = block_inputs
            outputs[:, block] = block_outputs
        is_observed = ~np.isnan(inputs)
        error = np.abs(inputs - outputs).mean(where=is_observed)
        size = np.abs(inputs).mean(where=is_observed)
        if not error <= 100.0 * max(1.0, size):
            raise ValueError(
                "Training diverged: the network's mean absolute error on the rows is "
                f"{error:.3g}, where their mean absolute value is {size:.3g} (both "
                "scaled). Lower the learning rate."
            )
        self._score_statistics = compute_score_statistics(
            inputs, list(outputs), rows.weights
        )
        return -compute_anomaly(
            self._score_method, inputs, list(outputs), self._score_statistics
        )

    def _set_threshold(
        self,
        rows: ScaledRows,
        sample_scores: NDArray[np.float64],
        calibration: tuple[Table, NDArray[np.int64]] | None,
    ) -> None:
        """`offset_`, from the scores of the held-back rows if there are any.

        Otherwise from those of the rows, of which the sample may be all.
        """
        self.calibration_scores_ = None
        if calibration is None:
            is_all = len(sample_scores) == rows.shape[0]
            scores = sample_scores if is_all else self._score_samples(rows.X)
            self.offset_ = compute_offset(scores, self.contamination, rows.weights)
            return
        X, counts = calibration
        self.calibration_scores_ = np.sort(np.repeat(self._score_samples(X), counts))
        if self.contamination == "auto":
            self.offset_ = compute_offset(self.calibration_scores_, "auto")
        else:
            self.offset_ = compute_conformal_offset(
                self.calibration_scores_, float(self.contamination)
            )


def _average(curves: list[list[float]]) -> list[float]:
    """Mean of curves at each epoch, over those that reach it."""
    longest = max(map(len, curves))
    reached = [[c[epoch] for c in curves if len(c) > epoch] for epoch in range(longest)]
    return [float(np.mean(values)) for values in reached]
