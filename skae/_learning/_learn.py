"""Learning: from rows and a recipe to a Model, at once or going on from another."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_memory

from skae._learning._network import draw_initial_weights, make_keras_activation
from skae._learning._recipe import Recipe, Seeds, draw_seeds
from skae._learning._training import Surroundings, Training, train
from skae._model import AnyModel, AveragedModel, Model
from skae._scoring._forward import (
    OUTPUT_RANGES,
    Architecture,
    make_hidings,
    make_networks,
    run_forward,
)
from skae._scoring._neighbors import choose_neighborhood
from skae._scoring._surprise import compute_misses
from skae._tables._checks import warn_of_columns, warn_of_sentinels
from skae._tables._frequent import share_rare
from skae._tables._moments import compute_moments
from skae._tables._reading import WeightedTable, take_rows
from skae._tables._sample import Stream, take_sample
from skae._tables._scaling import ScaledRows, Scaling, find_limit, scale_rows
from skae._tables._weighting import none_if_equal

# Of the way of a network, while the threshold cannot follow it: the first step of an
# optimizer moves each weight by the whole learning rate, be it for a single row.
SMALL_PART = np.float32(0.01)

# Errors in units of what knowing nothing would cost: a training that went astray, and
# one that is of no use.
BEYOND = 10.0
FAR_BEYOND = 100.0


class Learnt(NamedTuple):
    """A Model, and the losses on the way to it."""

    model: AnyModel
    loss_curve: list[float]
    validation_loss_curve: list[float] | None

    def after(self, loss_curve: list[float]) -> Learnt:
        """The same at the end of what came before."""
        return self._replace(loss_curve=[*loss_curve, *self.loss_curve])


def learn(
    table: WeightedTable,
    recipe: Recipe,
    seeds: Seeds,
    score_method: str,
    surroundings: Surroundings,
    past: AnyModel | None = None,
    folds: NDArray[np.intp] | None = None,
) -> Learnt:
    """Scale rows, train networks on them, and take the score's statistics.

    With a `past` Model the networks go on from its weights, at a constant rate. With
    the fold of each row, there is a Model for each fold, of the rows of the others.
    """
    rows = _scale(table, recipe)
    if past is not None:
        recipe = recipe._replace(learning_rate_schedule="constant")
    parts: Iterable[tuple[ScaledRows, Seeds]] = [(rows, seeds)]
    if folds is not None:
        parts = _leave_out_folds(table, recipe, seeds, folds)
    models, trainings = [], []
    for part, own_seeds in parts:
        settled = recipe.settle(part.shape[0], table.n_samples)
        model, own_trainings = _learn_rows(
            part, settled, own_seeds, score_method, surroundings, past
        )
        models.append(model)
        trainings += own_trainings
    loss_curve = _average([training.loss_curve for training in trainings])
    if recipe.early_stopping and not all(t.ended_by_itself for t in trainings):
        warnings.warn(
            f"Early stopping did not end the training within epochs={len(loss_curve)}; "
            "the held-out loss may still be falling. Increase epochs.",
            ConvergenceWarning,
            stacklevel=4,
        )
    curves = [t.validation_loss_curve for t in trainings if t.validation_loss_curve]
    return Learnt(
        models[0] if folds is None else AveragedModel(tuple(models)),
        loss_curve,
        _average(curves) if curves else None,
    )


def _leave_out_folds(
    table: WeightedTable, recipe: Recipe, seeds: Seeds, folds: NDArray[np.intp]
) -> Iterator[tuple[ScaledRows, Seeds]]:
    """For each fold the rows of the others, by their own scaling, and seeds."""
    rng = np.random.RandomState([seeds.calibration, 1])
    for fold in range(folds.max() + 1):
        (others,) = np.nonzero(folds != fold)
        X, weights = take_rows(table.X, others), table.weights[others]
        part = share_rare(table._replace(X=X, weights=weights, n_weighted=0))
        yield scale_rows(part, recipe.scaling), draw_seeds(rng, len(seeds.weights))


def _learn_rows(
    rows: ScaledRows,
    recipe: Recipe,
    seeds: Seeds,
    score_method: str,
    surroundings: Surroundings,
    past: AnyModel | None,
) -> tuple[Model, list[Training]]:
    """A Model of rows by a settled recipe, and the trainings, or what a cache has."""
    architecture = recipe.plan_architecture(rows.scaling.layout)
    start = _choose_start(architecture, rows.scaling, seeds, past)
    is_cached = surroundings.memory is not None and not surroundings.callbacks
    obtain = _recall_or_train if is_cached else train
    trainings = obtain(recipe, rows, start, seeds, surroundings)
    weights = [training.weights for training in trainings]
    sample = take_sample(rows, seeds.sample)
    model = _make_model(
        architecture, weights, sample, score_method, seeds.sample, stacklevel=6
    )
    return model, trainings


def _recall_or_train(
    recipe: Recipe,
    rows: ScaledRows,
    start: list[list[NDArray[np.float32]]],
    seeds: Seeds,
    surroundings: Surroundings,
) -> list[Training]:
    """What a cache has of a training, if it is undamaged."""
    memory = surroundings.memory
    try:
        recall = check_memory(memory).cache(_train_and_seal, ignore=["surroundings"])
    except OSError as error:
        raise OSError(
            error.errno,
            f"memory={memory!r} must be a folder that can be made and written to, a "
            f"joblib.Memory or None. {error.strerror}",
            error.filename,
        ) from error
    arguments = recipe, rows, start, seeds, surroundings
    recalled = recall(*arguments)
    try:
        trainings, seal = recalled
        is_whole = _compute_seal(trainings) == seal
    except (AttributeError, TypeError, ValueError):  # it is something else
        is_whole = False
    return trainings if is_whole else train(*arguments)


def _train_and_seal(
    recipe: Recipe,
    rows: ScaledRows,
    start: list[list[NDArray[np.float32]]],
    seeds: Seeds,
    surroundings: Surroundings,
) -> tuple[list[Training], str]:
    """Trainings, and by what to know that a cache gives them back as they were."""
    trainings = train(recipe, rows, start, seeds, surroundings)
    return trainings, _compute_seal(trainings)


def _compute_seal(trainings: list[Training]) -> str:
    digest = hashlib.sha256()
    for weights, *others in trainings:
        for weight in weights:
            digest.update(repr((weight.shape, weight.dtype.str)).encode())
            digest.update(weight.tobytes())
        digest.update(repr(others).encode())
    return digest.hexdigest()


def learn_part(
    table: WeightedTable,
    recipe: Recipe,
    seeds: Seeds,
    score_method: str,
    surroundings: Surroundings,
    past: AnyModel | None,
    stream: Stream,
) -> tuple[Learnt, Stream]:
    """Make one pass over the rows of a part, at a constant rate; the stream after it.

    The networks go on from those of the `past` Model and the optimizers from their
    states in the stream. Scaling and statistics come from the stream's sample. While it
    has too few rows, they stay those of the past, as the threshold does, and the
    networks go a small part of the way. Of the Models of several folds, the first goes
    on.
    """
    past = None if past is None else past.members[0]
    sample = None
    if stream.sample is not None:
        named = stream.sample._replace(
            names=table.names, kinds=table.kinds, layout=table.layout
        )
        sample = _scale(named, recipe)
    known = past if sample is None else sample
    assert known is not None  # a stream that follows no fit is judged from the start
    weights_of_rows = none_if_equal(table.weights)
    limit = find_limit(recipe.scaling)
    rows = ScaledRows(table.X, known.scaling, weights_of_rows, limit)
    architecture = recipe.plan_architecture(rows.scaling.layout)
    start = _choose_start(architecture, rows.scaling, seeds, past)
    optimizer = repr(recipe.optimizer)
    states: Sequence[NDArray[np.float64] | None] = [None] * len(start)
    if optimizer == stream.optimizer:
        states = list(stream.optimizer_states)
    recipe = recipe._replace(
        epochs=1, early_stopping=False, learning_rate_schedule="constant"
    ).settle(rows.shape[0], table.n_samples)
    trainings = train(recipe, rows, start, seeds, surroundings, states)
    weights = [training.weights for training in trainings]
    if isinstance(known, Model):
        pairs = zip(known.weights, weights, strict=True)
        model = replace(known, weights=[_go_towards(*pair) for pair in pairs])
    else:
        model = _make_model(
            architecture, weights, known, score_method, seeds.sample, stacklevel=5
        )
    stream = stream._replace(
        optimizer=optimizer,
        optimizer_states=np.array([t.optimizer_state for t in trainings], float),
    )
    return Learnt(model, _average([t.loss_curve for t in trainings]), None), stream


def _go_towards(
    weights: list[NDArray[np.float32]], others: list[NDArray[np.float32]]
) -> list[NDArray[np.float32]]:
    """Weights, and a small part of the way from them to others."""
    pairs = zip(weights, others, strict=True)
    return [weight + SMALL_PART * (other - weight) for weight, other in pairs]


def _scale(table: WeightedTable, recipe: Recipe) -> ScaledRows:
    """Rows by the scaling that they give; warns of columns that go wrong by it."""
    moments = compute_moments(table.X, none_if_equal(table.weights))
    warn_of_columns(table, moments, stacklevel=5)
    if recipe.scaling != "robust":
        warn_of_sentinels(table, moments, stacklevel=5)
    rows = scale_rows(table, recipe.scaling, moments)
    _warn_if_out_of_reach(rows, recipe)
    return rows


def _warn_if_out_of_reach(rows: ScaledRows, recipe: Recipe) -> None:
    """Warn if the output activation cannot reach the rows."""
    activation = recipe.output_activation
    if not isinstance(activation, str) or activation not in OUTPUT_RANGES:
        return
    low, high = OUTPUT_RANGES[activation]
    lowest, highest = rows.compute_range()
    if lowest < low - 1e-6 or highest > high + 1e-6:
        warnings.warn(
            f"output_activation={activation!r} stays within [{low:g}, {high:g}], but "
            f"with scaling={recipe.scaling!r} the columns reach from {lowest:.3g} to "
            f"{highest:.3g}, which the network cannot reproduce. Use scaling='minmax' "
            "for [0, 1], or output_activation='linear'.",
            UserWarning,
            stacklevel=6,
        )


def _choose_start(
    architecture: Architecture, scaling: Scaling, seeds: Seeds, past: AnyModel | None
) -> list[list[NDArray[np.float32]]]:
    """The weights that the training of each network starts from."""
    if past is None:
        frequencies = scaling.frequencies
        return [
            draw_initial_weights(architecture, frequencies, seed)
            for seed in seeds.weights
        ]
    past = past.members[0]  # of several folds
    before = past.architecture._asdict() | {"n_estimators": len(past.weights)}
    now = architecture._asdict() | {"n_estimators": len(seeds.weights)}
    for name, value in now.items():
        if value != before[name]:
            raise ValueError(
                f"The network was trained with {name}={before[name]!r} and cannot go "
                f"on with {name}={value!r}. Set it back, or start anew: call fit with "
                "warm_start=False."
            )
    return past.weights


def _make_model(
    architecture: Architecture,
    weights: list[list[NDArray[np.float32]]],
    sample: ScaledRows,
    score_method: str,
    seed: int,
    stacklevel: int,
) -> Model:
    """A Model with references from a sample; raises if the training diverged."""
    scaling, layout = sample.scaling, sample.scaling.layout
    networks = make_networks(architecture, weights, make_keras_activation)
    inputs, outputs = run_forward(sample, networks, make_hidings(networks, layout))
    _check_error(inputs, outputs, scaling, sample.weights, stacklevel + 1)
    neighborhood = None
    if score_method == "neighbors":
        neighborhood = choose_neighborhood(
            inputs,
            outputs.mean(axis=0),
            scaling,
            sample.weights,
            np.random.RandomState([seed, 1]),
            sample.without_limit().read_all() if sample.limit < np.inf else inputs,
        )
    return Model(
        *scaling[:4],
        layout.columns,
        layout.sizes,
        architecture,
        weights,
        neighborhood,
        make_keras_activation,
    )


def _check_error(
    inputs: NDArray[np.float64],
    outputs: NDArray[np.float64],
    scaling: Scaling,
    weights: NDArray[np.float64] | None,
    stacklevel: int,
) -> None:
    """Warn, or raise, if the networks know less, or far less, than nothing of rows."""
    is_observed = ~scaling.layout.find_missing(inputs)
    weights = np.ones(len(inputs)) if weights is None else weights
    misses = [compute_misses(inputs, output, scaling) for output in outputs]
    error = np.mean([_average_size(cells, is_observed, weights) for cells in misses])
    p = scaling.layout.n_numbers
    numbers, is_number = inputs[:, :p], is_observed[:, :p]
    size = _average_size(numbers, is_number, weights) if is_number.any() else 1.0
    message = (
        "Training diverged: the network's mean absolute error on the rows is "
        f"{error:.3g}, where their mean absolute value is {size:.3g} (both scaled). "
        "Lower the learning rate."
    )
    if not error <= FAR_BEYOND * max(1.0, size):
        raise ValueError(message)
    if error > BEYOND * max(1.0, size):
        warnings.warn(message, ConvergenceWarning, stacklevel)


def _average_size(
    cells: NDArray, is_observed: NDArray[np.bool_], weights: NDArray[np.float64]
) -> float:
    """Mean of the absolute values of observed cells, by weight; NaN without any."""
    sizes = np.where(is_observed, np.abs(cells), 0.0).sum(axis=1)
    total = float(is_observed.sum(axis=1) @ weights)
    return float(sizes @ weights) / total if total else np.nan


def _average(curves: list[list[float]]) -> list[float]:
    """Mean of curves at each epoch, over those that reach it."""
    longest = max(map(len, curves))
    reached = [[c[epoch] for c in curves if len(c) > epoch] for epoch in range(longest)]
    return [float(np.mean(values)) for values in reached]
