"""Which units of the network a column of the table has: one, or one a category.

Cells of a row are ordered numbers first, then categories, and so are the units. A
category column of the table holds codes, 0 to k - 1 for categories with a unit of their
own and k for all others, which share the last unit of its block.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The columns of categories are hidden in so many groups, one after the other, when the
# network predicts them: each is predicted from the others.
HIDDEN_GROUPS = 4


@dataclass(frozen=True, eq=False)
class Layout:
    """The columns of categories, and how many units each of them has."""

    n_columns: int
    columns: NDArray[np.intp]  # (n_categorical,): which ones, ascending
    sizes: NDArray[np.intp]  # (n_categorical,): of their blocks

    def __reduce__(self) -> tuple[Any, ...]:
        """The fields alone, so that equal layouts are pickled alike."""
        return Layout, (self.n_columns, self.columns, self.sizes)

    @classmethod
    def of_numbers(cls, n_columns: int) -> Layout:
        """All columns are numbers, and each has its unit."""
        nothing = np.empty(0, np.intp)
        return cls(n_columns, nothing, nothing)

    @property
    def key(self) -> tuple[int, ...]:
        """What a network of these units depends on."""
        return self.n_numbers, *map(int, self.sizes)

    @cached_property
    def has_categories(self) -> bool:
        return len(self.columns) > 0

    @cached_property
    def n_numbers(self) -> int:
        return self.n_columns - len(self.columns)

    @cached_property
    def n_category_units(self) -> int:
        return int(self.sizes.sum())

    @cached_property
    def n_units(self) -> int:
        return self.n_numbers + self.n_category_units

    @cached_property
    def numbers(self) -> NDArray[np.intp]:
        """The other columns."""
        return np.setdiff1d(np.arange(self.n_columns), self.columns)

    @cached_property
    def starts(self) -> NDArray[np.intp]:
        """The first unit of each block, among those of categories."""
        return np.cumsum(self.sizes) - self.sizes

    @cached_property
    def block_of_unit(self) -> NDArray[np.intp]:
        """Of each unit of a category, the number of its block."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    @cached_property
    def cell_of_unit(self) -> NDArray[np.intp]:
        """Of each unit, the number of its cell."""
        p = self.n_numbers
        return np.concatenate([np.arange(p), p + self.block_of_unit])

    @cached_property
    def groups(self) -> list[NDArray[np.intp]]:
        """The units of categories that are hidden together."""
        n_groups = min(HIDDEN_GROUPS, len(self.sizes))
        group_of_unit = self.block_of_unit % max(n_groups, 1)
        return [
            self.n_numbers + np.flatnonzero(group_of_unit == group)
            for group in range(n_groups)
        ]

    @cached_property
    def first_units(self) -> NDArray[np.intp]:
        """Of each cell, its first unit."""
        p = self.n_numbers
        return np.concatenate([np.arange(p), p + self.starts])

    def find_missing(self, units: NDArray) -> NDArray[np.bool_]:
        """Which cells of rows of units are missing.

        In rows: sums over the cells of a row are then the same in any company.
        """
        if not self.has_categories:
            return np.isnan(units)
        return np.isnan(np.take(units, self.first_units, axis=1))

    def find_infinite(self, units: NDArray) -> NDArray[np.bool_]:
        """Which are infinite."""
        if not self.has_categories:
            return np.isinf(units)
        return np.isinf(np.take(units, self.first_units, axis=1))

    def sum_blocks(self, units: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums over each block of the units of categories, (n_rows, n_categorical)."""
        if not units.size:
            return np.zeros((len(units), len(self.sizes)))
        return np.add.reduceat(units, self.starts, axis=1)

    def maximize_blocks(self, units: NDArray[np.float64]) -> NDArray[np.float64]:
        """The largest unit of each block, likewise."""
        if not units.size:
            return np.zeros((len(units), len(self.sizes)))
        return np.maximum.reduceat(units, self.starts, axis=1)

    def find_codes(
        self, units: NDArray[np.float64], is_shared_out: bool = False
    ) -> NDArray[np.float64]:
        """The category that the largest unit of each block stands for.

        With `is_shared_out` never what shares a unit. NaN where a block is missing, or
        where it has no such unit.
        """
        codes = np.full((len(units), len(self.sizes)), np.nan)
        for j, (start, size) in enumerate(zip(self.starts, self.sizes, strict=True)):
            block = units[:, start : start + size - is_shared_out]
            if block.shape[1]:
                is_known = ~np.isnan(block[:, 0])
                codes[is_known, j] = block[is_known].argmax(axis=1)
        return codes

    def compute_softmax(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each block of the units of categories."""
        highest = np.repeat(self.maximize_blocks(logits), self.sizes, axis=1)
        odds = np.exp(logits - highest)
        odds /= np.repeat(self.sum_blocks(odds), self.sizes, axis=1)
        return odds

    def choose(self, units: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rows of the table: of the categories of a cell the one of most weight."""
        if not self.has_categories:
            return units
        p = self.n_numbers
        codes = self.find_codes(units[:, p:], is_shared_out=True)
        return self.to_columns(np.concatenate([units[:, :p], codes], axis=1))

    def to_columns(self, cells: NDArray[np.float64]) -> NDArray[np.float64]:
        """Cells in the order of the table's columns."""
        if not self.has_categories:
            return cells
        columns = np.empty_like(cells)
        columns[:, self.numbers] = cells[:, : self.n_numbers]
        columns[:, self.columns] = cells[:, self.n_numbers :]
        return columns
