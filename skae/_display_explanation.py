"""The display of one row's explanation."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import sparray, spmatrix
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from skae._display import import_pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_NAME_LENGTH = 30  # of a name that leaves the bars and their notes enough room
# What scikit-learn's transformers raise that have no names or no inverse.
CANNOT = (AttributeError, ValueError, TypeError, NotImplementedError)
MAX_DIGITS = 13  # what differs only beyond them is taken for the same number


class ExplanationDisplay:
    """Bar chart of what each column adds to the anomaly of one row.

    The columns with the largest contributions are named, with the value observed and
    the one that the network expects from other columns; one more bar holds the others,
    so that the bars add up to the anomaly of the row. Of a name that is longer than 30
    characters, the beginning and the end are shown; those that then look alike have the
    number of their column in front. Values have as many digits as tell the observed one
    from the expected.

    Create one with :meth:`from_estimator` or :meth:`from_predictions`; all parameters
    are stored as attributes.

    Parameters
    ----------
    contributions : ndarray of shape (n_features,)
        What each column adds, as a row of `explain`.

    observed : ndarray of shape (n_features,), default=None
        The row. None names no values.

    expected : ndarray of shape (n_features,), default=None
        What was expected of it, in the same units. None names no expected values.

    feature_names : sequence of str of length n_features, default=None
        Names of the columns. None calls them x0, x1 and so on.

    Attributes
    ----------
    bars_ : matplotlib.container.BarContainer
        The bars, the largest contribution first, that of the other columns last.

    texts_ : list of matplotlib.text.Text
        The observed and expected value beside each bar.

    columns_ : ndarray of int
        Indices of the columns that have a bar, in the order of the bars.

    ax_ : matplotlib.axes.Axes
        Axes with the bars.

    figure_ : matplotlib.figure.Figure
        Figure with the axes.

    See Also
    --------
    ExplanationDisplay.from_estimator : Explain a row by a fitted detector.
    ExplanationDisplay.from_predictions : Draw contributions that are at hand.

    Examples
    --------
    >>> import numpy as np
    >>> from skae import ExplanationDisplay
    >>> display = ExplanationDisplay(
    ...     contributions=np.array([0.1, 0.7, 0.2]), feature_names=["a", "b", "c"]
    ... ).plot(max_features=2)
    >>> display.columns_
    array([1, 2])
    """

    def __init__(
        self,
        *,
        contributions: NDArray[np.float64],
        observed: NDArray[np.float64] | None = None,
        expected: NDArray[np.float64] | None = None,
        feature_names: Sequence[str] | None = None,
    ):
        self.contributions = contributions
        self.observed = observed
        self.expected = expected
        self.feature_names = feature_names

    def plot(self, ax: Axes | None = None, *, max_features: int = 10) -> Self:
        """Draw the bars.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. None makes a new figure.

        max_features : int, default=10
            Number of columns with a bar of their own, those with the largest
            contributions.

        Returns
        -------
        display : ExplanationDisplay
            The display itself, with the artists as attributes.

        Raises
        ------
        ValueError
            If max_features is not an integer of at least 1.
        """
        is_integer = isinstance(max_features, Integral) and max_features is not True
        if not is_integer or max_features < 1:
            raise ValueError(
                f"max_features must be an integer of at least 1. Got {max_features!r}."
            )
        plt = import_pyplot(type(self).__name__)
        n_features = len(self.contributions)
        order = np.argsort(-self.contributions, kind="stable")
        self.columns_, others = order[:max_features], order[max_features:]
        names = self.feature_names
        shown = [
            _shorten(str(names[j])) if names is not None else f"x{j}"
            for j in self.columns_
        ]
        labels = [
            f"x{j} {name}" if shown.count(name) > 1 else name
            for j, name in zip(self.columns_, shown, strict=True)
        ]
        lengths = self.contributions[self.columns_].tolist()
        colors = ["C0"] * len(labels)
        notes = [self._describe(column) for column in self.columns_]
        if len(others):
            labels.append(f"{len(others)} other" + "s" * (len(others) > 1))
            lengths.append(self.contributions[others].sum())
            colors.append("0.7")
            notes.append("")
        if ax is None:
            width = 6.7 + 0.08 * max(10, *map(len, labels))  # in inches: room for names
            height = 1.4 + 0.36 * len(labels)
            _, ax = plt.subplots(figsize=(width, height), layout="constrained")
        positions = np.arange(len(labels))
        self.bars_ = ax.barh(positions, lengths, color=colors)
        self.texts_ = [
            ax.annotate(
                note,
                (length, position),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize="small",
            )
            for position, length, note in zip(positions, lengths, notes, strict=True)
        ]
        ax.set_yticks(positions, labels, parse_math=False)  # names may hold a `$`
        ax.yaxis.set_inverted(True)  # the largest on top
        total = self.contributions.sum()
        ax.set_xlabel(
            f"contribution to the anomaly score, {total:.3g}"
            + (f" in {n_features} columns" if len(others) else "")
        )
        # The notes stand right of the bars: leave them the room that they take. An axis
        # that is shared keeps what others need.
        longest = max(map(len, notes))
        right = max(lengths) * (1 + min(0.028 * longest, 1.2)) or 1.0
        ax.update_datalim([(right, 0)], updatey=False)
        ax.autoscale_view()
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    def _describe(self, column: int) -> str:
        observed, expected = (
            None if row is None else float(row[column])
            for row in (self.observed, self.expected)
        )
        digits = 4
        if observed is not None and expected is not None:
            digits = _count_digits(observed, expected)
        parts = []
        if observed is not None:
            parts.append("missing" if np.isnan(observed) else f"{observed:.{digits}g}")
        if expected is not None:
            parts.append(f"expected {expected:.{digits}g}")
        return ", ".join(parts)

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: ArrayLike | spmatrix | sparray,
        *,
        max_features: int = 10,
        ax: Axes | None = None,
    ) -> Self:
        """Draw the explanation that a fitted detector gives of one row.

        Parameters
        ----------
        estimator : estimator instance
            Fitted :class:`~skae.AutoencoderOutlierDetector`, or a fitted
            :class:`~sklearn.pipeline.Pipeline` that ends in one; the columns are then
            those that its last step sees, by the names that it or the earlier steps
            have for them. Their values are in the units of X if each earlier step keeps
            the columns and can be inverted, as a scaler can; otherwise they are what
            the last step sees.

        X : {array-like, sparse matrix} of shape (n_features,) or (1, n_features)
            One row. A row of a frame keeps the names of its columns as a frame,
            ``frame.iloc[[0]]``.

        max_features : int, default=10
            Number of columns with a bar of their own.

        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. None makes a new figure.

        Returns
        -------
        display : ExplanationDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If X is not one row, or max_features not an integer of at least 1.

        Examples
        --------
        >>> from sklearn.datasets import load_breast_cancer
        >>> from skae import AutoencoderOutlierDetector, ExplanationDisplay
        >>> X, y = load_breast_cancer(return_X_y=True, as_frame=True)
        >>> detector = AutoencoderOutlierDetector((16, 4), random_state=0)
        >>> detector = detector.fit(X[y == 1])
        >>> display = ExplanationDisplay.from_estimator(detector, X[y == 0].iloc[[0]])
        >>> len(display.bars_)
        11
        """
        check_is_fitted(estimator)
        if isinstance(X, spmatrix | sparray):
            X = X.toarray()
        X = X if np.ndim(X) == 2 else np.reshape(X, (1, -1))
        if np.shape(X)[0] != 1:
            raise ValueError(
                "X must be one row, of shape (n_features,) or (1, n_features); its "
                f"shape is {np.shape(X)}. Pass X[[i]], or frame.iloc[[i]]."
            )
        detector, steps, names = estimator, None, None
        if isinstance(estimator, Pipeline):
            detector = estimator[-1]
            if len(estimator) > 1:
                steps, given = estimator[:-1], X
                X, names = steps.transform(X), _name_outputs(steps)
        names = getattr(detector, "feature_names_in_", names)
        contributions, expected = detector.explain(X, return_expected=True)
        if names is not None and len(names) != contributions.shape[1]:
            names = None  # the earlier steps miscount
        # Read as `explain` reads it: sparse, and with any sign of a missing value.
        observed = check_array(
            X, accept_sparse=True, dtype=np.float64, ensure_all_finite="allow-nan"
        )
        if isinstance(observed, spmatrix | sparray):
            observed = observed.toarray()
        if steps is not None:
            observed, expected = _undo(steps, given, observed, expected)
        return cls.from_predictions(
            contributions[0],
            observed=observed[0],
            expected=expected[0],
            feature_names=names,
            max_features=max_features,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        contributions: ArrayLike,
        *,
        observed: ArrayLike | None = None,
        expected: ArrayLike | None = None,
        feature_names: Sequence[str] | None = None,
        max_features: int = 10,
        ax: Axes | None = None,
    ) -> Self:
        """Draw the explanation of one row, given what `explain` returned for it.

        Parameters
        ----------
        contributions : array-like of shape (n_features,)
            What each column adds, a row of `explain`.

        observed : array-like of shape (n_features,), default=None
            The row; NaN in it is called missing.

        expected : array-like of shape (n_features,), default=None
            What was expected of it, as `explain` returns it on request.

        feature_names : sequence of str of length n_features, default=None
            Names of the columns. None calls them x0, x1 and so on.

        max_features : int, default=10
            Number of columns with a bar of their own.

        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. None makes a new figure.

        Returns
        -------
        display : ExplanationDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If contributions are not one finite row, the others differ from them in
            length, or max_features is not an integer of at least 1.

        Examples
        --------
        >>> from skae import ExplanationDisplay
        >>> display = ExplanationDisplay.from_predictions(
        ...     [0.1, 0.7], observed=[3.0, 7.1], expected=[3.1, 4.2]
        ... )
        >>> display.texts_[0].get_text()
        '7.1, expected 4.2'
        """
        rows = {
            "contributions": contributions,
            "observed": observed,
            "expected": expected,
        }
        checked: dict[str, NDArray[np.float64]] = {
            name: check_array(
                row,
                ensure_2d=False,
                dtype=np.float64,
                input_name=name,
                ensure_all_finite="allow-nan" if name == "observed" else True,
            )
            for name, row in rows.items()
            if row is not None
        }
        if checked["contributions"].ndim != 1:
            raise ValueError(
                "contributions must be one row, of shape (n_features,); its shape is "
                f"{checked['contributions'].shape}. Pass explain(X)[i]."
            )
        n_features = len(checked["contributions"])
        for name, row in checked.items():
            if row.shape != (n_features,):
                raise ValueError(
                    f"{name} must be one row of shape ({n_features},); its shape is "
                    f"{row.shape}."
                )
        if feature_names is not None and len(feature_names) != n_features:
            raise ValueError(
                f"feature_names must name {n_features} columns, as many as there are "
                f"contributions; it has {len(feature_names)}."
            )
        display = cls(**checked, feature_names=feature_names)
        return display.plot(ax, max_features=max_features)


def _shorten(name: str) -> str:
    """The name, without its middle if it is too long to be drawn."""
    if len(name) <= MAX_NAME_LENGTH:
        return name
    half = MAX_NAME_LENGTH // 2
    return f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[half + 1 - MAX_NAME_LENGTH :]}"


def _count_digits(observed: float, expected: float) -> int:
    """How many significant digits show two of the difference; at least four."""
    difference = abs(observed - expected)
    if not difference > 0:  # or missing
        return 4
    larger = max(abs(observed), abs(expected))
    digits = 2 + np.floor(np.log10(larger)) - np.floor(np.log10(difference))
    return int(digits) if 4 < digits <= MAX_DIGITS else 4


def _name_outputs(steps: Pipeline) -> Sequence[str] | None:
    """What the steps call the columns that they return; None if they cannot tell."""
    try:
        return steps.get_feature_names_out()
    except CANNOT:
        return None


def _undo(
    steps: Pipeline,
    given: ArrayLike,
    observed: NDArray[np.float64],
    expected: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both rows in the units of the given one; as they are if the steps forbid it."""
    names = _name_outputs(steps)
    own_names = [f"x{column}" for column in range(observed.shape[1])]
    if names is None or list(names) != list(
        getattr(steps, "feature_names_in_", own_names)
    ):  # other columns, as from a PCA
        return observed, expected
    try:
        as_given = check_array(given, dtype=np.float64, ensure_all_finite="allow-nan")
        rows = [
            np.asarray(steps.inverse_transform(row), dtype=np.float64)
            for row in (observed, expected)
        ]
    except CANNOT:
        return observed, expected
    # A step without an inverse may hand on what it is given, as FunctionTransformer.
    is_inverse = np.allclose(rows[0], as_given, rtol=1e-6, equal_nan=True)
    return (rows[0], rows[1]) if is_inverse else (observed, expected)
