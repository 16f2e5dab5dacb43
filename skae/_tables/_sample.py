"""Random samples of rows, of bounded size: of a table, and of a stream of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skae._tables._reading import WeightedTable, read_dense
from skae._tables._scaling import ScaledRows
from skae._tables._weighting import draw_by_weight, none_if_equal

# Rows that the statistics come from: enough for a median to .013 standard deviations,
# and to .04 where rows are so wide that their number is limited by memory.
SAMPLE_ROWS = 10_000
SAMPLE_ROWS_IF_WIDE = 1_000
SAMPLE_CELLS = 4_000_000
MIN_ROWS = 100  # of a stream that follows a fit, before it is judged by them


def count_sample_rows(n_features: int) -> int:
    """How many rows a sample has, at most."""
    return min(max(SAMPLE_ROWS_IF_WIDE, SAMPLE_CELLS // n_features), SAMPLE_ROWS)


def draw_sample(n_samples: int, n_features: int, seed: int) -> NDArray[np.intp]:
    """Indices of the rows of a sample."""
    order = np.random.RandomState(seed).permutation(n_samples)
    return np.sort(order[: count_sample_rows(n_features)])


def take_sample(rows: ScaledRows, seed: int) -> ScaledRows:
    """The rows of a sample: all, or drawn by weight."""
    n_rows = count_sample_rows(rows.shape[1])
    if rows.weights is None or rows.shape[0] <= n_rows:
        return rows.take(draw_sample(*rows.shape, seed))
    rng = np.random.RandomState(seed)
    drawn = draw_by_weight(rows.weights, n_rows, rng)
    indices, counts = np.unique(drawn, return_counts=True)
    return rows.take(indices, none_if_equal(counts.astype(float)))


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
    def counts(self) -> NDArray[np.float64]:
        """What each of the rows counts."""
        counts: NDArray[np.float64] = np.maximum(self.weights, self.left_out)
        return counts

    @property
    def sample(self) -> WeightedTable | None:
        """What scaling, score and threshold come from, once there are enough rows."""
        if len(self.rows) < self.min_rows:
            return None
        return WeightedTable(self.rows, self.counts)


def start_stream(n_features: int, seed: int, follows_fit: bool) -> Stream:
    """A stream without rows."""
    min_rows = MIN_ROWS if follows_fit else 0
    nothing, no_rows, no_states = (
        np.empty(0),
        np.empty((0, n_features)),
        np.empty((0, 0)),
    )
    return Stream(seed, 0, min_rows, no_rows, nothing, nothing, 0.0, "", no_states)


def add_rows(stream: Stream, table: WeightedTable, seed: int) -> Stream:
    """A stream with the rows of one more call."""
    X, weights = table.X, table.weights
    n_samples = X.shape[0]
    n_units = X.shape[1] if table.layout is None else table.layout.n_units
    n_past, max_rows = len(stream.rows), count_sample_rows(n_units)
    uniform = 1.0 - np.random.RandomState(seed).uniform(size=n_samples)
    priorities = np.append(stream.priorities, weights / uniform)
    order = np.argsort(-priorities, kind="stable")
    kept, left_out = np.sort(order[:max_rows]), priorities[order[max_rows:]]
    past, new = kept[kept < n_past], kept[kept >= n_past] - n_past
    rows = np.concatenate([stream.rows[past], read_dense(X, new)])
    return stream._replace(
        n_calls=stream.n_calls + 1,
        rows=rows.astype(float),
        weights=np.append(stream.weights[past], weights[new]),
        priorities=priorities[kept],
        left_out=max(stream.left_out, float(np.max(left_out, initial=0.0))),
    )
