"""What learning in parts keeps between its calls, in bounded memory."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skae._scaling import Table, read_dense
from skae._scoring import count_statistics_rows


class Stream(NamedTuple):
    """A random sample of all rows that were passed, and the state of the optimizer.

    The sample is a reservoir: of the random numbers that each row gets, those with the
    smallest stay.
    """

    seed: int
    n_calls: int
    rows: NDArray[np.float64]  # (n_rows, n_features), NaN where a cell is missing
    weights: NDArray[np.float64]
    keys: NDArray[np.float64]  # the random numbers
    optimizer: str
    optimizer_states: NDArray[np.float64]  # (n_networks, n_values), none at first

    def make_rng(self) -> np.random.RandomState:
        """The randomness of the next call, which differs from that of the others."""
        return np.random.RandomState([self.seed, self.n_calls])


def start_stream(n_features: int, seed: int) -> Stream:
    """A stream without rows."""
    nothing = np.empty(0)
    no_rows, no_states = np.empty((0, n_features)), np.empty((0, 0))
    return Stream(seed, 0, no_rows, nothing, nothing, "", no_states)


def add_rows(
    stream: Stream, X: Table, weights: NDArray[np.float64], seed: int
) -> Stream:
    """A stream with the rows of one more call; all ever seen are as likely in it.

    Source: Vitter (1985), "Random sampling with a reservoir", ACM Transactions on
    Mathematical Software 11, 37-57.
    """
    n_past, max_rows = len(stream.keys), count_statistics_rows(X.shape[1])
    new_keys = np.random.RandomState(seed).uniform(size=X.shape[0])
    keys = np.append(stream.keys, new_keys)
    kept = np.sort(np.argsort(keys, kind="stable")[:max_rows])
    past, new = kept[kept < n_past], kept[kept >= n_past] - n_past
    return stream._replace(
        n_calls=stream.n_calls + 1,
        rows=np.concatenate([stream.rows[past], read_dense(X, new)]).astype(float),
        weights=np.append(stream.weights[past], weights[new]),
        keys=keys[kept],
    )
