"""The display of codes as a map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.validation import column_or_1d

from skae._display._axes import draw_literally, open_axes
from skae._display._inputs import Rows, as_table, transform, unwrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_LABELS = 20  # colours that one can still tell apart


@dataclass(kw_only=True, eq=False, repr=False)
class CodeDisplay:
    """Map of rows by their code: what the network takes for alike lies close together.

    Codes of two columns are drawn as they are; of more, their first two principal
    components; of one, the code against the number of the row.

    Create one with :meth:`from_estimator` or :meth:`from_predictions`; all parameters
    are stored as attributes.

    Parameters
    ----------
    positions : ndarray of shape (n_samples, 2)
        Where each row lies.

    y : ndarray of shape (n_samples,), default=None
        Label of each row, at most 20 different ones, each with its colour. None draws
        all rows alike.

    xlabel : str, default="code 0"
        Label of the horizontal axis.

    ylabel : str, default="code 1"
        Label of the vertical axis.

    Attributes
    ----------
    scatters_ : dict of str to matplotlib.collections.PathCollection
        The points: of all "rows" without labels, by the label otherwise. If the labels
        are 1 and -1, these are "inliers" and "outliers".

    ax_ : matplotlib.axes.Axes
        Axes with the map.

    figure_ : matplotlib.figure.Figure
        Figure with the axes.

    See Also
    --------
    CodeDisplay.from_estimator : Draw the codes that a fitted detector gives to rows.
    CodeDisplay.from_predictions : Draw codes that are at hand.

    Examples
    --------
    >>> import numpy as np
    >>> from skae import CodeDisplay
    >>> display = CodeDisplay(positions=np.eye(2), y=np.array([1, -1])).plot()
    >>> sorted(display.scatters_)
    ['inliers', 'outliers']
    """

    positions: NDArray[np.float64]
    y: NDArray | None = None
    xlabel: str = "code 0"
    ylabel: str = "code 1"

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the map.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. None makes a new figure.

        Returns
        -------
        display : CodeDisplay
            The display itself, with the artists as attributes.

        See Also
        --------
        from_estimator : Draw it from a fitted detector.
        from_predictions : Draw it from what has been computed already.

        Examples
        --------
        >>> import numpy as np
        >>> from skae import CodeDisplay
        >>> display = CodeDisplay(positions=np.eye(2)).plot()
        >>> display.ax_.get_ylabel()
        'code 1'
        """
        ax = open_axes(ax, type(self).__name__, layout="constrained")
        from matplotlib import color_sequences

        groups = _split(self.positions, self.y)
        colors = color_sequences["tab10" if len(groups) <= 10 else "tab20"]
        size = float(np.clip(2e4 / len(self.positions), 4, 24))
        self.scatters_ = {}
        for (label, positions), color in zip(groups.items(), colors, strict=False):
            x, y = positions.T
            self.scatters_[label] = ax.scatter(
                x, y, size, color=color, label=label, alpha=0.7, linewidths=0
            )
        ax.set(xlabel=self.xlabel, ylabel=self.ylabel)
        if self.y is not None:
            beside = (1, 0.5) if len(groups) > 4 else None  # many would hide the map
            handles, _ = ax.get_legend_handles_labels()  # others may draw there, too
            legend = ax.legend(
                loc="center left" if beside else "best", bbox_to_anchor=beside
            )
            draw_literally(legend)
            for handle, shown in zip(handles, legend.legend_handles, strict=True):
                if shown and handle in self.scatters_.values():
                    shown.set(sizes=[24], alpha=1)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: Rows,
        y: ArrayLike | None = None,
        *,
        ax: Axes | None = None,
    ) -> Self:
        """Draw the codes that a fitted detector gives to rows.

        Parameters
        ----------
        estimator : estimator instance
            Fitted :class:`~skae.AutoencoderOutlierDetector`, or a fitted
            :class:`~sklearn.pipeline.Pipeline` or search, such as
            :class:`~sklearn.model_selection.GridSearchCV`, that ends in one.

        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows for the map. A single one of a frame is told by its names, in any
            order, be it a pandas Series, a mapping of names to values or a frame of one
            row. If the estimator was fitted without names, a Series is taken by
            position.

        y : array-like of shape (n_samples,), default=None
            Label of each row, as in the class.

        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. None makes a new figure.

        Returns
        -------
        display : CodeDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted, or a search without `refit`.
        ValueError
            If a row that is told by its names has others than in `fit`.

        See Also
        --------
        from_predictions : Draw it from what has been computed already.
        plot : Draw it again, on other axes.

        Examples
        --------
        >>> from sklearn.datasets import load_wine
        >>> from skae import AutoencoderOutlierDetector, CodeDisplay
        >>> X, y = load_wine(return_X_y=True)
        >>> detector = AutoencoderOutlierDetector((16, 2), random_state=0).fit(X)
        >>> display = CodeDisplay.from_estimator(detector, X, y)
        >>> display.ax_.get_xlabel()
        'code 0'
        """
        path = unwrap(estimator)
        *_, codes = transform(path, as_table(X, path[0]))
        return cls.from_predictions(codes, y, ax=ax)

    @classmethod
    def from_predictions(
        cls, codes: ArrayLike, y: ArrayLike | None = None, *, ax: Axes | None = None
    ) -> Self:
        """Draw codes, given what `transform` returned.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_codes)
            Code of each row.

        y : array-like of shape (n_samples,), default=None
            Label of each row, as in the class.

        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. None makes a new figure.

        Returns
        -------
        display : CodeDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If codes are not a finite table, or y differs in length, lacks a label or
            has more than 20 different ones.

        See Also
        --------
        from_estimator : Draw it from a fitted detector.
        plot : Draw it again, on other axes.

        Examples
        --------
        >>> from skae import CodeDisplay
        >>> display = CodeDisplay.from_predictions([[0.1], [0.4], [0.2]])
        >>> display.xlabel, display.ylabel
        ('row', 'code 0')
        """
        codes = check_array(codes, dtype=np.float64, input_name="codes")
        if y is not None:
            y = _check_labels(y, codes)
        positions, (xlabel, ylabel) = _place(codes)
        return cls(positions=positions, y=y, xlabel=xlabel, ylabel=ylabel).plot(ax)


def _split(positions: NDArray, y: NDArray | None) -> dict[str, NDArray]:
    """Where all rows lie, or with labels those of each, in the order of drawing."""
    if y is None:
        return {"rows": positions}
    verdicts = {1: "inliers", -1: "outliers"}  # the few outliers last, on top
    labels = np.unique(y)
    names = {label: str(label) for label in labels.tolist()}
    if labels.dtype.kind in "if" and names.keys() <= verdicts.keys():
        names = {label: name for label, name in verdicts.items() if label in names}
    return {name: positions[y == label] for label, name in names.items()}


def _place(codes: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[str, str]]:
    """Where each row lies, and the labels of the two axes."""
    if codes.shape[1] == 1:
        return np.column_stack([np.arange(len(codes)), codes]), ("row", "code 0")
    if codes.shape[1] == 2 or len(codes) == 1:
        return codes[:, :2], ("code 0", "code 1")
    with np.errstate(divide="ignore", invalid="ignore"):  # a constant code
        pca = PCA(2, svd_solver="full").fit(codes)
    first, second = (
        f"principal component {i + 1} of the code ({share:.0%} of its variance)"
        for i, share in enumerate(np.nan_to_num(pca.explained_variance_ratio_))
    )
    return pca.transform(codes), (first, second)


def _check_labels(y: ArrayLike, codes: NDArray[np.float64]) -> NDArray:
    """Labels as an array: one for each code, none missing, few enough to be shown."""
    y = column_or_1d(y)
    check_consistent_length(codes, y)
    if _has_missing(y):
        raise ValueError(
            "y must have a label for each row, all numbers or all strings; some are "
            "missing, such as NaN or None, or of another type. Leave such rows out of "
            "codes and y, or give them a label of their own, such as -1 or 'unknown'."
        )
    if (n_labels := len(np.unique(y))) > MAX_LABELS:
        raise ValueError(
            f"y must have at most {MAX_LABELS} different labels, each with its colour; "
            f"it has {n_labels}. Group them, or leave y out."
        )
    return y


def _has_missing(y: NDArray) -> bool:
    """Whether a label is missing or cannot be compared with the others."""
    try:
        return any(label is None or label != label for label in np.unique(y).tolist())
    except TypeError:  # from None or pandas.NA among others
        return True
