"""What learning in parts keeps between its calls, in bounded memory."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skae._scaling import Table, read_dense
from skae._scoring import count_statistics_rows

MIN_ROWS = 100  # of a stream that follows a fit, before it is judged by them


class Stream(NamedTuple):
    """A random sample of all rows that were passed, and the state of the optimizer.

    By priority sampling: of the priorities, each row's weight over a random number in
    (0, 1], the highest stay. A row that stays stands for others of little weight, too:
    it counts as much as the highest priority that did not stay, or its own weight.

    Source: Duffield, Lund & Thorup (2007), "Priority sampling for estimation of
    arbitrary subset sums", Journal of the ACM 54 (6), article 32.
    """

    seed: int
    n_calls: int
    min_rows: int  # before they replace what a fit has found
    rows: NDArray[np.float64]  # (n_rows, n_features), NaN where a cell is missing
    weights: NDArray[np.float64]
    priorities: NDArray[np.float64]
    left_out: float  # the highest priority that did not stay
    optimizer: str
    optimizer_states: NDArray[np.float64]  # (n_networks, n_values), none at first

    def make_rng(self) -> np.random.RandomState:
        """The randomness of the next call, which differs from that of the others."""
        return np.random.RandomState([self.seed, self.n_calls])

    @property
    def is_judged_by(self) -> bool:
        """Whether scaling, score and threshold come from its rows."""
        return len(self.rows) >= self.min_rows

    @property
    def counts(self) -> NDArray[np.float64]:
        """What each of the rows counts."""
        counts: NDArray[np.float64] = np.maximum(self.weights, self.left_out)
        return counts


def start_stream(n_features: int, seed: int, follows_fit: bool) -> Stream:
    """A stream without rows."""
    min_rows = MIN_ROWS if follows_fit else 0
    nothing, no_rows, no_states = (
        np.empty(0),
        np.empty((0, n_features)),
        np.empty((0, 0)),
    )
    return Stream(seed, 0, min_rows, no_rows, nothing, nothing, 0.0, "", no_states)


def add_rows(
    stream: Stream, X: Table, weights: NDArray[np.float64], seed: int
) -> Stream:
    """A stream with the rows of one more call."""
    n_past, max_rows = len(stream.rows), count_statistics_rows(X.shape[1])
    uniform = 1.0 - np.random.RandomState(seed).uniform(size=X.shape[0])
    priorities = np.append(stream.priorities, weights / uniform)
    order = np.argsort(-priorities, kind="stable")
    kept, left_out = np.sort(order[:max_rows]), priorities[order[max_rows:]]
    past, new = kept[kept < n_past], kept[kept >= n_past] - n_past
    return stream._replace(
        n_calls=stream.n_calls + 1,
        rows=np.concatenate([stream.rows[past], read_dense(X, new)]).astype(float),
        weights=np.append(stream.weights[past], weights[new]),
        priorities=priorities[kept],
        left_out=max(stream.left_out, float(np.max(left_out, initial=0.0))),
    )
