"""What is learnt, as one immutable value; rows in, codes and scores out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, reduce
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from skae._scoring import _neighbors as neighbors
from skae._scoring._diagnosis import (
    Finding,
    check_code,
    check_copying,
    check_reconstruction,
    shuffle_cells,
)
from skae._scoring._explanation import compute_contributions, compute_expected
from skae._scoring._forward import (
    Activate,
    Activation,
    Architecture,
    Hiding,
    Layer,
    iterate_forward,
    keep_finite,
    make_hidings,
    make_networks,
    run_forward,
)
from skae._scoring._scores import (
    compute_error_squares,
    compute_error_terms,
    compute_reconstruction_errors,
)
from skae._scoring._surprise import make_units
from skae._scoring._threads import BLOCK_ROWS, share_out
from skae._tables._layout import Layout
from skae._tables._reading import Table
from skae._tables._scaling import ScaledRows, Scaling

LOWEST_SCORE = float(np.finfo(np.float64).min)


@dataclass(frozen=True, eq=False)
class Model:
    """All that is learnt, and nothing else; whoever learns more makes another.

    Its fields are what a pickle, a file and an ONNX graph hold of it. All else is made
    of them when it is first needed.
    """

    pivot: NDArray[np.float64]  # (n_units,), in the user's units
    remainder: NDArray[np.float64]  # of the center, beside the pivot
    scale: NDArray[np.float64]
    mask_values: NDArray[np.float64]  # (n_units,), in the network's units
    category_columns: NDArray[np.intp]  # which columns of a table
    category_sizes: NDArray[np.intp]  # how many units each of them has
    architecture: Architecture
    weights: list[list[NDArray[np.float32]]]  # of each network: kernel, bias, ...
    neighborhood: neighbors.Neighborhood | None  # None: the reconstruction error

    # Not learnt: what computes an activation that NumPy does not know.
    make_activation: Callable[[Activation], Activate]

    def to_plain(self) -> dict[str, Any]:
        """The fields by their names, records as dicts."""
        plain = {name: getattr(self, name) for name in FIELDS}
        hood = self.neighborhood
        plain["architecture"] = self.architecture._asdict()
        plain["neighborhood"] = None if hood is None else hood._asdict()
        return plain

    @classmethod
    def from_plain(
        cls,
        plain: Mapping[str, Any],
        make_activation: Callable[[Activation], Activate],
    ) -> Model:
        """The way back from `to_plain`."""
        hood = plain["neighborhood"]
        records = {
            "architecture": Architecture(**plain["architecture"]),
            "neighborhood": None if hood is None else neighbors.Neighborhood(**hood),
        }
        return cls(**{**plain, **records}, make_activation=make_activation)

    @property
    def members(self) -> tuple[Model, ...]:
        """Itself: an AveragedModel has several."""
        return (self,)

    @property
    def score_method(self) -> str:
        """By the name of the parameter."""
        return "reconstruction" if self.neighborhood is None else "neighbors"

    @cached_property
    def networks(self) -> list[list[Layer]]:
        """The networks for the forward pass in NumPy."""
        return make_networks(self.architecture, self.weights, self.make_activation)

    @cached_property
    def hidings(self) -> list[list[Hiding]]:
        """What predicts categories, of each network."""
        return make_hidings(self.networks, self.layout)

    @cached_property
    def references(self) -> neighbors.References | None:
        """The rows to compare with, as these networks see them."""
        if self.neighborhood is None:
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            rows = self.scaling.expand(self.neighborhood.references)
            outputs = self._run(rows).mean(axis=0)
            hood, scaling = self.neighborhood, self.scaling
            return neighbors.make_references(hood, rows, outputs, scaling)

    @property
    def n_codes(self) -> int:
        """Columns of a code, those of all networks side by side."""
        return self.architecture.n_codes * len(self.weights)

    @property
    def center(self) -> NDArray[np.float64]:
        """Pivot and remainder, as exact as one float64 can be."""
        return self.scaling.center

    @cached_property
    def layout(self) -> Layout:
        """Which units a column has."""
        n_columns = len(self.scale) - self.category_sizes.sum()
        n_columns += len(self.category_columns)
        return Layout(int(n_columns), self.category_columns, self.category_sizes)

    @property
    def scaling(self) -> Scaling:
        """From the user's units to the network's and back."""
        parts = self.pivot, self.remainder, self.scale, self.mask_values
        return Scaling(*parts, self.layout)

    @cached_property
    def _no_rows(self) -> ScaledRows:
        return ScaledRows(np.empty((0, self.layout.n_columns)), self.scaling)

    def read(self, X: Table) -> ScaledRows:
        """Rows in the network's units."""
        return self._no_rows.replaced_by(X)

    def score(self, X: Table) -> NDArray[np.float64]:
        """The score of each row; 0 for one without any observed cell."""
        rows, scores = self.read(X), np.empty(X.shape[0])

        def work(part: slice) -> None:
            for block, inputs, outputs in iterate_forward(
                rows, self.networks, part, self.hidings
            ):
                scores[block] = -self._compute_anomaly(inputs, outputs)

        self._share_out(len(scores), work)
        # A row so far out that its error overflows is the least normal of all.
        scores[~(scores >= LOWEST_SCORE)] = LOWEST_SCORE
        return scores

    def _compute_anomaly(
        self,
        inputs: NDArray[np.float64],
        outputs: Sequence[NDArray[np.float64]] | NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Minus the scores of scaled rows; overwrites the outputs."""
        if self.references is None:
            return compute_reconstruction_errors(inputs, outputs, self.scaling)
        average = outputs[0] if len(outputs) == 1 else np.mean(outputs, axis=0)
        return neighbors.compute_anomalies(inputs, average, self.references)

    def explain(self, X: Table) -> NDArray[np.float64]:
        """What each column adds to the anomaly of each row."""
        return self._compute_by_blocks(X, X.shape[1], self._contribute)

    def _contribute(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        outputs, references = self._run(inputs), self.references
        if references is None:
            terms = compute_error_terms(inputs, outputs, self.scaling)
        else:
            average = outputs.mean(axis=0)
            terms = neighbors.compute_terms(inputs, average, references)
            copies = neighbors.find_copies(inputs, average, references)

        def measure(rows: NDArray[np.float64]) -> NDArray[np.float64]:
            outputs = self._run(rows)
            if references is None:
                return compute_error_squares(rows, outputs, self.scaling)
            average = outputs.mean(axis=0)
            return neighbors.compute_squares(rows, average, references, copies)

        anomaly = self._compute_anomaly(inputs, outputs)
        shares = compute_contributions(inputs, anomaly, terms, self.scaling, measure)
        return self.layout.to_columns(shares)

    def _run(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """What comes out of each network for scaled rows."""
        identity = Scaling.of_nothing(inputs.shape[1], self.mask_values)
        rows = ScaledRows(inputs, identity)
        return run_forward(rows, self.networks, self.hidings)[1]

    def expect(self, X: Table) -> NDArray[np.float64]:
        """What is expected of each unit when its cell is masked, as `reconstruct`."""

        def expect(inputs: NDArray[np.float64]) -> NDArray[np.float64]:
            return self.scaling.undo(compute_expected(inputs, self._run, self.scaling))

        return keep_finite(self._compute_by_blocks(X, self.layout.n_units, expect))

    def _compute_by_blocks(
        self,
        X: Table,
        width: int,
        compute: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    ) -> NDArray[np.float64]:
        """What a function makes of blocks of scaled rows."""
        rows, cells = self.read(X), np.empty((X.shape[0], width))

        def work(part: slice) -> None:
            for start in range(part.start, part.stop, BLOCK_ROWS):
                block = slice(start, min(start + BLOCK_ROWS, part.stop))
                inputs = np.empty((block.stop - start, rows.shape[1]))
                cells[block] = compute(rows.read(block, out=inputs))

        self._share_out(len(cells), work)
        return cells

    def _share_out(self, n_rows: int, work: Callable[[slice], None]) -> None:
        """Let threads work on the rows, after what all of them need has been made."""
        _ = self.networks, self.hidings, self.references
        share_out(n_rows, self.architecture.n_features, work)

    def encode(self, X: Table) -> NDArray[np.float64]:
        """The code of each row."""
        rows, codes = self.read(X), np.empty((X.shape[0], self.n_codes))
        encoders = [n[: self.architecture.n_encoder_layers] for n in self.networks]

        def work(part: slice) -> None:
            for block, _, outputs in iterate_forward(rows, encoders, part):
                codes[block] = np.concatenate(outputs, axis=1)

        self._share_out(len(codes), work)
        return keep_finite(codes)

    def decode(self, codes: NDArray) -> NDArray[np.float64]:
        """What each code stands for, as `reconstruct` has it."""
        outputs = np.zeros((len(codes), self.architecture.n_features))
        identity = Scaling.of_nothing(self.architecture.n_codes)
        own_codes = np.split(codes, len(self.networks), axis=1)
        n_encoder = self.architecture.n_encoder_layers

        def work(part: slice) -> None:
            for codes, layers in zip(own_codes, self.networks, strict=True):
                unscaled, decoder = ScaledRows(codes, identity), layers[n_encoder:]
                for block, _, (output,) in iterate_forward(unscaled, [decoder], part):
                    outputs[block] += output

        self._share_out(len(outputs), work)
        outputs /= len(self.networks)
        return keep_finite(self.scaling.undo(outputs))

    def reconstruct(self, X: Table) -> NDArray[np.float64]:
        """What the networks make of each unit, on average, in the user's units.

        Of categories the probabilities.
        """
        rows = self.read(X)
        averages = np.empty(rows.shape)

        def work(part: slice) -> None:
            for block, _, outputs in iterate_forward(
                rows, self.networks, part, self.hidings
            ):
                averages[block] = self.scaling.undo(np.mean(outputs, axis=0))

        self._share_out(len(averages), work)
        return keep_finite(averages)

    @np.errstate(all="ignore")
    def inspect(self, X: Table) -> list[Finding]:
        """What a diagnosis finds in the networks by means of rows."""
        return _inspect(self.members, X)


@dataclass(frozen=True, eq=False)
class AveragedModel:
    """Models with scalings and references of their own, of one architecture.

    It offers what a Model offers: the mean of what its members say, and their codes
    side by side.
    """

    members: tuple[Model, ...]

    def to_plain(self) -> dict[str, Any]:
        """The members as they make themselves plain."""
        return {"members": [member.to_plain() for member in self.members]}

    @property
    def score_method(self) -> str:
        """That of all members."""
        return self.members[0].score_method

    @property
    def n_codes(self) -> int:
        """Columns of a code, those of all members side by side."""
        return sum(member.n_codes for member in self.members)

    def score(self, X: Table) -> NDArray[np.float64]:
        """The mean score of each row; the lowest, if all members give that."""
        scores = [member.score(X) for member in self.members]
        with np.errstate(over="ignore"):
            average = np.maximum(_average(scores, len(scores)), LOWEST_SCORE)
        average[np.max(scores, axis=0) == LOWEST_SCORE] = LOWEST_SCORE
        return average

    @property
    def layout(self) -> Layout:
        """Which units a column has."""
        return self.members[0].layout

    def explain(self, X: Table) -> NDArray[np.float64]:
        """What each column adds to the anomaly of each row."""
        return self._average(lambda member: member.explain(X))

    def expect(self, X: Table) -> NDArray[np.float64]:
        """What is expected of each unit when its cell is masked."""
        return self._average(lambda member: member.expect(X))

    def encode(self, X: Table) -> NDArray[np.float64]:
        """The code of each row."""
        return np.hstack([member.encode(X) for member in self.members])

    def decode(self, codes: NDArray) -> NDArray[np.float64]:
        """What each code stands for."""
        parts = np.split(codes, len(self.members), axis=1)
        own_codes = dict(zip(self.members, parts, strict=True))
        return self._average(lambda member: member.decode(own_codes[member]))

    def reconstruct(self, X: Table) -> NDArray[np.float64]:
        """What the networks make of each unit, on average."""
        return self._average(lambda member: member.reconstruct(X))

    def inspect(self, X: Table) -> list[Finding]:
        """What a diagnosis finds in the networks by means of rows."""
        return _inspect(self.members, X)

    def _average(
        self, compute: Callable[[Model], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """The mean of what is computed by each member."""
        return _average(map(compute, self.members), len(self.members))


AnyModel: TypeAlias = Model | AveragedModel


def make_model(
    plain: Mapping[str, Any], make_activation: Callable[[Activation], Activate]
) -> AnyModel:
    """The way back from the `to_plain` of either kind."""
    if "members" not in plain:
        return Model.from_plain(plain, make_activation)
    members = [Model.from_plain(member, make_activation) for member in plain["members"]]
    return AveragedModel(tuple(members))


def _average(arrays: Iterable[NDArray[np.float64]], n: int) -> NDArray[np.float64]:
    """The mean of n arrays, added one by one: no cell depends on the others."""
    average: NDArray[np.float64] = reduce(np.add, (array / n for array in arrays))
    return average


@np.errstate(all="ignore")
def _inspect(models: Sequence[Model], X: Table) -> list[Finding]:
    """What a diagnosis finds in the networks of all models."""
    inputs = [model.read(X).read_all() for model in models]
    shuffled = [
        model.scaling.expand(shuffle_cells(model.scaling.condense(rows)))
        for model, rows in zip(models, inputs, strict=True)
    ]

    def give_back(all_rows: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        pairs = zip(models, all_rows, strict=True)
        outputs = [(model, model._run(rows).mean(axis=0)) for model, rows in pairs]
        return np.concatenate([make_units(o, model.scaling) for model, o in outputs])

    codes = np.hstack([model.encode(X) for model in models])
    n_columns = models[0].layout.n_columns
    return [
        check_reconstruction(np.concatenate(inputs), give_back(inputs)),
        check_copying(np.concatenate(shuffled), give_back(shuffled), n_columns),
        check_code(inputs[0], codes),
    ]


FIELDS = tuple(f.name for f in fields(Model) if f.name != "make_activation")
