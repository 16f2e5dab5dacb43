"""A sample of all rows of a stream, of bounded size, from which it is judged."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skae._scaling import Table, read_dense
from skae._scoring import count_statistics_rows


class Reservoir(NamedTuple):
    """The rows with the smallest of random numbers, one of which each row gets."""

    seed: int
    n_calls: int
    rows: NDArray[np.float64]  # (n_rows, n_features), NaN where a cell is missing
    weights: NDArray[np.float64]
    keys: NDArray[np.float64]  # the random numbers

    def make_rng(self) -> np.random.RandomState:
        """The randomness of the next call, which differs from that of the others."""
        return np.random.RandomState([self.seed, self.n_calls])


def start_reservoir(n_features: int, seed: int) -> Reservoir:
    """A reservoir without rows."""
    nothing = np.empty(0)
    return Reservoir(seed, 0, np.empty((0, n_features)), nothing, nothing)


def add_rows(
    reservoir: Reservoir, X: Table, weights: NDArray[np.float64], seed: int
) -> Reservoir:
    """A reservoir with the rows of one more call; all ever seen are as likely in it.

    Source: Vitter (1985), "Random sampling with a reservoir", ACM Transactions on
    Mathematical Software 11, 37-57.
    """
    n_past, max_rows = len(reservoir.keys), count_statistics_rows(X.shape[1])
    new_keys = np.random.RandomState(seed).uniform(size=X.shape[0])
    keys = np.append(reservoir.keys, new_keys)
    kept = np.sort(np.argsort(keys, kind="stable")[:max_rows])
    past, new = kept[kept < n_past], kept[kept >= n_past] - n_past
    return Reservoir(
        reservoir.seed,
        reservoir.n_calls + 1,
        np.concatenate([reservoir.rows[past], read_dense(X, new)]).astype(np.float64),
        np.append(reservoir.weights[past], weights[new]),
        keys[kept],
    )
