"""The display of scores."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_array

from skae._detector import AutoencoderOutlierDetector
from skae._display._axes import draw_limit, draw_literally, keep_ticks_whole, open_axes
from skae._display._inputs import Rows, as_table, transform, unwrap
from skae._scoring._ranking import read_labels, show_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The axis of the scores is logarithmic if on a linear one three quarters of the rows
# would fall into one bin of this many; that of the counts, if a class would be lower
# than this part of the highest bar.
CROWDED = 50

# Scores are drawn within it: beyond larger ones, margins and ticks would overflow.
LARGEST = 1e200


@dataclass(kw_only=True, eq=False, repr=False)
class AnomalyScoreDisplay:
    """Histogram of anomaly scores, with the threshold that makes an outlier.

    The anomaly score of a row is minus what `score_samples` returns: outliers lie to
    the right of the threshold, which is minus `offset_`. Use it to see whether the
    threshold parts the outliers from the rest, and where single rows lie.

    Axes are logarithmic where needed: that of the scores, with bins to match, if three
    quarters of the rows would otherwise crowd in a fiftieth of it and their edges are
    not given; that of the counts, if the bars of a class would otherwise be lower than
    a fiftieth of the highest.

    Create one with :meth:`from_estimator` or :meth:`from_predictions`; all parameters
    are stored as attributes.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
        Scores as `score_samples` returns them, larger for more normal rows.

    y : ndarray of shape (n_samples,), default=None
        -1 marks an outlier, every other label an inlier; each kind gets its histogram.
        None draws one histogram of all rows.

    offset : float, default=None
        The score under which a row is an outlier, the `offset_` of the detector. None
        draws no threshold.

    marked : mapping of str to ndarray of shape (n_marked,), default=None
        Scores of further rows to be marked, by their name in the legend.

    xlabel : str, default="anomaly score"
        Label of the horizontal axis.

    Attributes
    ----------
    histograms_ : dict of str to matplotlib.container.BarContainer
        The bars: of all "rows" without labels, of "inliers" and "outliers" with labels.

    threshold_line_ : matplotlib.lines.Line2D or None
        The vertical line at the threshold.

    marked_lines_ : dict of str to list of matplotlib.lines.Line2D
        The vertical lines at the marked rows, by their name in the legend.

    ax_ : matplotlib.axes.Axes
        Axes with the histogram.

    figure_ : matplotlib.figure.Figure
        Figure with the axes.

    See Also
    --------
    AnomalyScoreDisplay.from_estimator : Draw the scores of a fitted detector.
    AnomalyScoreDisplay.from_predictions : Draw scores that are at hand.
    sklearn.inspection.DecisionBoundaryDisplay : Draw the scores of a detector of two
        columns over the plane.

    Examples
    --------
    >>> import numpy as np
    >>> from skae import AnomalyScoreDisplay
    >>> scores = -np.random.default_rng(0).gamma(2.0, size=1000)
    >>> display = AnomalyScoreDisplay(scores=scores, offset=-6.0)
    >>> display = display.plot()
    >>> display.threshold_line_.get_label()
    'threshold'

    Outliers are few. A logarithmic axis makes single rows visible:

    >>> display.ax_.set_yscale("log")
    """

    scores: NDArray[np.float64]
    y: NDArray | None = None
    offset: float | None = None
    marked: Mapping[str, NDArray[np.float64]] | None = None
    xlabel: str = "anomaly score"

    def plot(
        self, ax: Axes | None = None, *, bins: int | Sequence[float] | str = 50
    ) -> Self:
        """Draw the histogram, the threshold and the marked rows.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. None makes a new figure.

        bins : int, sequence of float or str, default=50
            Number of bins over the range of the scores, or their edges, or a rule of
            :func:`numpy.histogram_bin_edges`. Inliers and outliers share the bins, and
            the marked rows do not widen them.

        Returns
        -------
        display : AnomalyScoreDisplay
            The display itself, with the artists as attributes.

        See Also
        --------
        from_estimator : Draw it from a fitted detector.
        from_predictions : Draw it from what has been computed already.

        Examples
        --------
        >>> import numpy as np
        >>> from skae import AnomalyScoreDisplay
        >>> display = AnomalyScoreDisplay(scores=np.array([-0.1, -0.2, -0.9])).plot()
        >>> display.ax_.get_xlabel()
        'anomaly score'
        """
        ax = open_axes(ax, type(self).__name__)
        anomaly = _negate(self.scores)
        if np.ndim(bins) == 0 and _is_crowded(anomaly):
            ax.set_xscale("log")
        edges = _find_edges(anomaly, bins, is_log=ax.get_xscale() == "log")
        self.histograms_, highest = {}, []
        for label, group in _split(anomaly, self.y).items():
            counts, _, self.histograms_[label] = ax.hist(
                group,
                edges,
                color="C1" if label == "outliers" else "C0",
                alpha=None if self.y is None else 0.6,
                label=None if self.y is None else label,
            )
            highest.append(np.max(counts))
        _scale_counts(ax, highest)

        self.threshold_line_ = None
        if self.offset is not None:
            self.threshold_line_ = draw_limit(ax, _negate(self.offset), "threshold")
        self.marked_lines_ = {}
        for i, (label, scores) in enumerate((self.marked or {}).items()):
            lines = [ax.axvline(_negate(score), color=f"C{i + 2}") for score in scores]
            lines[0].set_label(label)  # one entry in the legend, however many rows
            self.marked_lines_[label] = lines

        ax.set(xlabel=self.xlabel, ylabel="number of rows")
        if ax.get_legend_handles_labels()[1]:
            draw_literally(ax.legend())
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: Rows,
        y: ArrayLike | None = None,
        *,
        marked: Mapping[str, Rows] | None = None,
        bins: int | Sequence[float] | str = 50,
        ax: Axes | None = None,
    ) -> Self:
        """Draw the anomaly scores that a fitted detector gives to rows.

        See the class for y and :meth:`plot` for bins.

        Parameters
        ----------
        estimator : estimator instance
            Fitted outlier detector with `score_samples` and `offset_`, of skae or
            scikit-learn, or a fitted :class:`~sklearn.pipeline.Pipeline` or search,
            such as :class:`~sklearn.model_selection.GridSearchCV`, that ends in one.

        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows for the histogram; a single one as in `marked`.

        y : array-like of shape (n_samples,), default=None
            Labels of the rows, -1 for an outlier.

        marked : mapping of str to {array-like, sparse matrix, mapping}, default=None
            Rows to be marked by vertical lines, by their name in the legend. Each value
            is one row, of shape (n_features,), or several, of shape
            (n_marked, n_features). One row of a frame is told by its names, in any
            order, be it a pandas Series, a mapping of names to values or a frame of one
            row. If the estimator was fitted without names, a Series is taken by
            position.

        bins : int, sequence of float or str, default=50
            Bins of the histogram.

        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. None makes a new figure.

        Returns
        -------
        display : AnomalyScoreDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted, or a search without `refit`.
        ValueError
            If a row that is told by its names has others than in `fit`.

        See Also
        --------
        AnomalyScoreDisplay.from_predictions : Draw scores that are at hand.

        Examples
        --------
        >>> from sklearn.datasets import load_breast_cancer
        >>> from skae import AnomalyScoreDisplay, AutoencoderOutlierDetector
        >>> X, y = load_breast_cancer(return_X_y=True)
        >>> benign, malignant = X[y == 1], X[y == 0]
        >>> detector = AutoencoderOutlierDetector(random_state=0).fit(benign)
        >>> display = AnomalyScoreDisplay.from_estimator(
        ...     detector, benign, marked={"malignant": malignant[:3]}
        ... )
        >>> display.ax_.get_xlabel()
        'anomaly score'
        """
        *steps, detector = path = unwrap(estimator)

        def score(rows: Rows, name: str) -> NDArray[np.float64]:
            *_, seen = transform(steps, as_table(rows, path[0], name))
            return detector.score_samples(seen)

        return cls.from_predictions(
            score(X, "X"),
            y,
            offset=detector.offset_,
            marked={
                label: score(rows, f"marked[{label!r}]")
                for label, rows in (marked or {}).items()
            },
            xlabel=_name_scores(detector),
            bins=bins,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        scores: ArrayLike,
        y: ArrayLike | None = None,
        *,
        offset: float | None = None,
        marked: Mapping[str, ArrayLike] | None = None,
        xlabel: str = "anomaly score",
        bins: int | Sequence[float] | str = 50,
        ax: Axes | None = None,
    ) -> Self:
        """Draw the anomaly scores of rows, given what `score_samples` returned.

        The parameters are those of the class and of :meth:`plot`.

        Parameters
        ----------
        scores : array-like of shape (n_samples,)
            Scores of the rows. Minus the score is drawn.

        y : array-like of shape (n_samples,), default=None
            Labels of the rows, -1 for an outlier.

        offset : float, default=None
            The score under which a row is an outlier.

        marked : mapping of str to float or array-like of shape (n_marked,), \
                default=None
            Scores to be marked, one or several under each name.

        xlabel : str, default="anomaly score"
            Label of the horizontal axis.

        bins : int, sequence of float or str, default=50
            Bins of the histogram.

        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. None makes a new figure.

        Returns
        -------
        display : AnomalyScoreDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If scores are empty or not finite, differ from y in length, or stand in
            each other's place.

        Warns
        -----
        UserWarning
            If y has several labels, and none of them is -1.

        See Also
        --------
        AnomalyScoreDisplay.from_estimator : Draw the scores of a fitted detector.

        Examples
        --------
        >>> from skae import AnomalyScoreDisplay
        >>> display = AnomalyScoreDisplay.from_predictions(
        ...     [-0.1, -0.2, -0.1, -0.9], [1, 1, 1, -1], offset=-0.5
        ... )
        >>> sorted(display.histograms_)
        ['inliers', 'outliers']
        """
        scores = _check_scores(scores, "scores")
        if y is not None:
            y = read_labels(y, np.ones(len(scores)))
            if y.dtype.kind == "f" and np.isin(scores, [-1, 0, 1]).all():
                _check_order(y)
            if len(kinds := np.unique(y)) > 1 and -1 not in kinds:
                warnings.warn(
                    "All rows are drawn as inliers: -1 marks an outlier, and the "
                    f"labels in y are {show_labels(kinds)}.",
                    UserWarning,
                    stacklevel=2,
                )
        if offset is not None:
            # Some detectors of scikit-learn keep it as an array of one element.
            offset = _check_scores(offset, "offset").item()
        return cls(
            scores=scores,
            y=y,
            offset=offset,
            marked={
                label: _check_scores(values, f"marked[{label!r}]")
                for label, values in (marked or {}).items()
            },
            xlabel=xlabel,
        ).plot(ax, bins=bins)


def _negate(scores: Any) -> Any:
    """Minus the scores, or one of them, within what an axis can show."""
    return np.clip(np.negative(scores), -LARGEST, LARGEST)


def _is_crowded(anomaly: NDArray[np.float64]) -> bool:
    """Whether most scores share a small part of their range, all being positive."""
    low, upper_quartile, high = np.quantile(anomaly, [0.0, 0.75, 1.0])
    return bool(low > 0 and CROWDED * (upper_quartile - low) < high - low)


def _find_edges(
    anomaly: NDArray[np.float64], bins: int | Sequence[float] | str, *, is_log: bool
) -> list[float]:
    """Edges of the bins; of equal width on the axis, unless they are given."""
    if np.ndim(bins) > 0 or not is_log or not anomaly.min() > 0:
        return np.histogram_bin_edges(anomaly, bins=bins).tolist()
    edges = (10 ** np.histogram_bin_edges(np.log10(anomaly), bins=bins)).tolist()
    # Rounding loses no row.
    return [min(edges[0], anomaly.min()), *edges[1:-1], max(edges[-1], anomaly.max())]


def _split(anomaly: NDArray, y: NDArray | None) -> dict[str, NDArray]:
    """The scores of all rows, or with labels those of each kind that there is."""
    if y is None:
        return {"rows": anomaly}
    groups = {"inliers": anomaly[y != -1], "outliers": anomaly[y == -1]}
    return {label: group for label, group in groups.items() if len(group)}


def _scale_counts(ax: Axes, highest: list[float]) -> None:
    """An axis of counts on which each histogram is seen, given its highest bar."""
    seen = [height for height in highest if height > 0]  # given edges may miss some
    if seen and CROWDED * min(seen) < max(seen):
        ax.set_yscale("log")
    if ax.get_yscale() == "linear":  # no fractions of a row
        keep_ticks_whole(ax.yaxis, steps=[1, 2, 5, 10])


def _name_scores(detector: BaseEstimator) -> str:
    """What minus the scores are, by the method with which the detector was fitted."""
    is_own = isinstance(detector, AutoencoderOutlierDetector)
    is_error = is_own and detector._model.score_method == "reconstruction"
    return "reconstruction error" if is_error else "anomaly score"


def _check_order(y: NDArray[np.float64]) -> None:
    """An error if y holds scores, where labels came in their place."""
    fractions = y[y != np.round(y)]
    if len(fractions):
        raise ValueError(
            "The scores come first, then y, the labels; the first argument holds -1, 0 "
            f"and 1 only, and y numbers such as {fractions[0]:.3g}. Exchange them."
        )


def _check_scores(scores: ArrayLike, name: str) -> NDArray[np.float64]:
    """Scores as a finite array of one dimension and at least one element."""
    scores = check_array(
        np.atleast_1d(scores), ensure_2d=False, dtype=np.float64, input_name=name
    )
    if scores.ndim != 1:
        raise ValueError(
            f"{name} must have one dimension, one score for each row; got an array of "
            f"shape {scores.shape}."
        )
    return scores
