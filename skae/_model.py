"""What is learnt, as one immutable value; rows in, codes and scores out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import gen_batches

from skae._scoring._diagnosis import (
    Finding,
    check_code,
    check_copying,
    check_reconstruction,
    shuffle_cells,
)
from skae._scoring._explanation import compute_contributions, compute_expected
from skae._scoring._forward import (
    BLOCK_ROWS,
    Activate,
    Activation,
    Architecture,
    Layer,
    compute_outputs,
    iterate_forward,
    make_networks,
)
from skae._scoring._scores import ScoreStatistics, compute_anomaly
from skae._tables._reading import Table, Weights, warn_of_unobserved
from skae._tables._scaling import ScaledRows, Scaling

LOWEST_SCORE = float(np.finfo(np.float64).min)
_RECORDS: dict[str, Any] = {  # plain dicts outside of a Model
    "architecture": Architecture,
    "score_statistics": ScoreStatistics,
}


@dataclass(frozen=True, eq=False)
class Model:
    """All that is learnt, and nothing else; whoever learns more makes another.

    Its fields are what a pickle, a file and an ONNX graph hold of it. All else is made
    of them when it is first needed.
    """

    center: NDArray[np.float64]  # (n_features,), in the user's units
    scale: NDArray[np.float64]
    mask_values: NDArray[np.float64]  # (n_features,), in the network's units
    architecture: Architecture
    weights: list[list[NDArray[np.float32]]]  # of each network: kernel, bias, ...
    score_method: str
    score_statistics: ScoreStatistics

    # Not learnt: what computes an activation that NumPy does not know.
    make_activation: Callable[[Activation], Activate]

    def to_plain(self) -> dict[str, Any]:
        """The fields by their names, records as dicts."""
        plain = {name: getattr(self, name) for name in FIELDS}
        return plain | {name: plain[name]._asdict() for name in _RECORDS}

    @classmethod
    def from_plain(
        cls,
        plain: Mapping[str, Any],
        make_activation: Callable[[Activation], Activate],
    ) -> Model:
        """The way back from `to_plain`; an older file has medians in place of means."""
        older = {"mask_values": plain["score_statistics"]["center"]}
        records = {name: kind(**plain[name]) for name, kind in _RECORDS.items()}
        return cls(**{**older, **plain, **records}, make_activation=make_activation)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the fields without what is derived from them."""
        return Model.from_plain, (self.to_plain(), self.make_activation)

    @cached_property
    def networks(self) -> list[list[Layer]]:
        """The networks for the forward pass in NumPy."""
        return make_networks(self.architecture, self.weights, self.make_activation)

    @property
    def n_codes(self) -> int:
        """Columns of a code, those of all networks side by side."""
        return self.architecture.n_codes * len(self.weights)

    @property
    def scaling(self) -> Scaling:
        """From the user's units to the network's and back."""
        return Scaling(self.center, self.scale, self.mask_values)

    def read(self, X: Table, weights: Weights = None) -> ScaledRows:
        """Rows in the network's units."""
        return ScaledRows(X, self.scaling, weights)

    def score(self, X: Table) -> NDArray[np.float64]:
        """The score of each row; warns of rows without any observed cell."""
        scores, n_unobserved = np.empty(X.shape[0]), 0
        with np.errstate(over="ignore", invalid="ignore"):
            for block, inputs, outputs in iterate_forward(self.read(X), self.networks):
                scores[block] = -compute_anomaly(
                    self.score_method, inputs, outputs, self.score_statistics
                )
                if not scores[block].all():
                    is_zero = scores[block] == 0.0
                    n_unobserved += int(np.isnan(inputs[is_zero]).all(axis=1).sum())
        if n_unobserved:
            warn_of_unobserved(n_unobserved, "scored 0, the most normal score", 4)
        # A row so far out that its error overflows is the least normal of all.
        return np.nan_to_num(scores, copy=False, nan=LOWEST_SCORE, neginf=LOWEST_SCORE)

    def explain(self, X: Table) -> NDArray[np.float64]:
        """What each column adds to the anomaly of each row."""
        contribute = partial(
            compute_contributions,
            self.score_method,
            forward=partial(compute_outputs, networks=self.networks),
            statistics=self.score_statistics,
            mask_values=self.mask_values,
        )
        return self._compute_by_blocks(X, contribute)

    def expect(self, X: Table) -> NDArray[np.float64]:
        """What is expected of each cell when it is masked, in the user's units."""
        expect = partial(
            compute_expected,
            forward=partial(compute_outputs, networks=self.networks),
            mask_values=self.mask_values,
        )
        return self.scaling.undo(self._compute_by_blocks(X, expect))

    def _compute_by_blocks(
        self, X: Table, compute: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """What a function makes of blocks of scaled rows; cell by cell."""
        rows, cells = self.read(X), np.empty(X.shape)
        with np.errstate(over="ignore", invalid="ignore"):
            for block in gen_batches(len(cells), BLOCK_ROWS):
                inputs = rows.read(block, out=np.empty_like(cells[block]))
                cells[block] = compute(inputs)
        return cells

    def encode(self, X: Table) -> NDArray[np.float64]:
        """The code of each row."""
        codes = np.empty((X.shape[0], self.n_codes))
        encoders = [n[: self.architecture.n_encoder_layers] for n in self.networks]
        for block, _, outputs in iterate_forward(self.read(X), encoders):
            codes[block] = np.concatenate(outputs, axis=1)
        return codes

    def decode(self, codes: NDArray) -> NDArray[np.float64]:
        """The row that each code stands for, in the user's units."""
        rows = np.zeros((len(codes), self.architecture.n_features))
        n_codes, n_encoder = (
            self.architecture.n_codes,
            self.architecture.n_encoder_layers,
        )
        own_codes = np.split(codes, len(self.networks), axis=1)
        for codes, layers in zip(own_codes, self.networks, strict=True):
            unscaled = ScaledRows(codes, Scaling.of_nothing(n_codes))
            for block, _, (outputs,) in iterate_forward(unscaled, [layers[n_encoder:]]):
                rows[block] += self.scaling.undo(outputs)
        rows /= len(self.networks)
        return rows

    def reconstruct(self, X: Table) -> NDArray[np.float64]:
        """What the networks make of each row, on average, in the user's units."""
        return self.scaling.undo(self.reconstruct_scaled(self.read(X)))

    def reconstruct_scaled(self, rows: ScaledRows) -> NDArray[np.float64]:
        """The same from scaled rows, and in the network's units."""
        averages = np.empty(rows.shape)
        for block, _, outputs in iterate_forward(rows, self.networks):
            averages[block] = np.mean(outputs, axis=0)
        return averages

    def inspect(self, X: Table) -> list[Finding]:
        """What a diagnosis finds in the networks by means of rows."""
        inputs = self.read(X).read_all()
        shuffled = shuffle_cells(inputs)
        identity = Scaling.of_nothing(inputs.shape[1], self.mask_values)
        outputs, shuffled_outputs = (
            self.reconstruct_scaled(ScaledRows(rows, identity))
            for rows in (inputs, shuffled)
        )
        return [
            check_reconstruction(inputs, outputs),
            check_copying(shuffled, shuffled_outputs),
            check_code(inputs, self.encode(X)),
        ]


FIELDS = tuple(f.name for f in fields(Model) if f.name != "make_activation")
