"""From the scores of the training rows to the threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def compute_offset(scores: NDArray[np.float64], contamination: float | str) -> float:
    """The threshold under which a score means outlier.

    A float `contamination` asks for that quantile of the scores, so that this share of
    the rows lies below it. "auto" is the lower fence of Tukey's box plot (the lower
    quartile minus 1.5 interquartile ranges), raised to the 1 % quantile where that is
    higher: about 1 % of the rows, and more only if they stand apart.

    Source: Tukey (1977), "Exploratory Data Analysis", Addison-Wesley.
    """
    if contamination == "auto":
        lowest, lower, upper = np.quantile(scores, [0.01, 0.25, 0.75])
        return float(max(lowest, lower - 1.5 * (upper - lower)))
    return float(np.quantile(scores, float(contamination)))
