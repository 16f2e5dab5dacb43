"""The display of one row's explanation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_array

from skae._display._axes import open_axes
from skae._display._inputs import Rows, as_table, transform, unwrap
from skae._display._units import (
    is_missing,
    list_categorical,
    name_expected,
    name_inputs,
    name_outputs,
    read_row,
    undo,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

MAX_NAME_LENGTH = 30  # of a name that leaves the bars and their notes enough room
# Where the note of a bar stands: right of its end.
BESIDE: dict[str, Any] = {"xytext": (4, 0), "textcoords": "offset points"}
MAX_DIGITS = 13  # what differs only beyond them is taken for the same number


@dataclass(kw_only=True, eq=False, repr=False)
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
        What each column adds, a row of `explain`.

    observed : ndarray of shape (n_features,), default=None
        The row, of numbers, or of objects where a column holds categories; NaN or None
        in it is called missing. None names no values.

    expected : ndarray of shape (n_features,), default=None
        What was expected of it in the same units, as `explain` returns it on request;
        None where no category can be. None names no expected values.

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

    contributions: NDArray[np.float64]
    observed: NDArray | None = None
    expected: NDArray | None = None
    feature_names: Sequence[str] | None = None

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

        See Also
        --------
        from_estimator : Draw it from a fitted detector.
        from_predictions : Draw it from what has been computed already.

        Examples
        --------
        >>> import numpy as np
        >>> from skae import ExplanationDisplay
        >>> display = ExplanationDisplay(contributions=np.array([0.1, 0.7, 0.2])).plot()
        >>> display.columns_
        array([1, 2, 0])
        """
        is_integer = isinstance(max_features, Integral) and max_features is not True
        if not is_integer or max_features < 1:
            raise ValueError(
                f"max_features must be an integer of at least 1. Got {max_features!r}."
            )
        order = np.argsort(-self.contributions, kind="stable")
        self.columns_, others = order[:max_features], order[max_features:]
        labels = _label(self.columns_, self.feature_names)
        lengths = self.contributions[self.columns_].tolist()
        notes = [self._describe(column) for column in self.columns_]
        colors = ["C0"] * len(labels)
        if len(others):
            labels.append(f"{len(others)} other" + "s" * (len(others) > 1))
            lengths.append(self.contributions[others].sum())
            notes.append("")
            colors.append("0.7")

        width = 6.7 + 0.08 * max(10, *map(len, labels))  # in inches: room for names
        size = width, 1.4 + 0.36 * len(labels)
        ax = open_axes(ax, type(self).__name__, figsize=size, layout="constrained")
        positions = np.arange(len(labels))
        self.bars_ = ax.barh(positions, lengths, color=colors)
        ax.set_yticks(positions, labels, parse_math=False)  # names may hold a `$`
        ax.yaxis.set_inverted(True)  # the largest on top
        self.texts_ = _draw_notes(ax, lengths, notes)
        total = f"{self.contributions.sum():.3g}"
        scope = f" in {len(order)} columns" if len(others) else ""
        ax.set_xlabel(f"contribution to the anomaly score, {total}{scope}")
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _describe(self, column: int) -> str:
        """The values of a column that are known, with the digits that part them."""
        digits, parts = 4, []
        if self.observed is not None and self.expected is not None:
            digits = _count_digits(self.observed[column], self.expected[column])
        if self.observed is not None:
            value = self.observed[column]
            parts.append("missing" if is_missing(value) else _show(value, digits))
        if self.expected is not None and not is_missing(self.expected[column]):
            parts.append(f"expected {_show(self.expected[column], digits)}")
        return ", ".join(parts)

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: Rows,
        *,
        max_features: int = 10,
        ax: Axes | None = None,
    ) -> Self:
        """Draw the explanation that a fitted detector gives of one row.

        Parameters
        ----------
        estimator : estimator instance
            Fitted :class:`~skae.AutoencoderOutlierDetector`, or a fitted
            :class:`~sklearn.pipeline.Pipeline` or search, such as
            :class:`~sklearn.model_selection.GridSearchCV`, that ends in one. If each
            earlier step of a pipeline keeps the columns apart and can be inverted, as a
            scaler can, the columns and their values are those of X; otherwise they are
            what the last step sees, by the names that it or the earlier steps have.

        X : {array-like, sparse matrix, mapping} of shape (n_features,) or \
                (1, n_features)
            One row. That of a frame is told by its names, in any order, be it a pandas
            Series, a mapping of names to values or a frame of one row. If the estimator
            was fitted without names, a Series is taken by position.

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
            If the estimator is not fitted, or a search without `refit`.
        ValueError
            If X is not one row or has other names than in `fit`, or if max_features is
            not an integer of at least 1.

        See Also
        --------
        from_predictions : Draw it from what has been computed already.
        plot : Draw it again, on other axes.

        Examples
        --------
        >>> from sklearn.datasets import load_breast_cancer
        >>> from skae import AutoencoderOutlierDetector, ExplanationDisplay
        >>> X, y = load_breast_cancer(return_X_y=True, as_frame=True)
        >>> detector = AutoencoderOutlierDetector((16, 4), random_state=0)
        >>> detector = detector.fit(X[y == 1])
        >>> display = ExplanationDisplay.from_estimator(detector, X[y == 0].iloc[0])
        >>> len(display.bars_)
        11
        """
        *steps, detector = path = unwrap(estimator)
        X = as_table(X, path[0])
        if np.shape(X)[:1] != (1,):
            raise ValueError(
                "X must be one row, of shape (n_features,) or (1, n_features); its "
                f"shape is {np.shape(X)}. Pass X[i], or frame.iloc[i]."
            )
        stages = transform(steps, X)
        contributions, expected = detector.explain(stages[-1], return_expected=True)
        categories = detector.categories_
        observed = read_row(stages[-1], list_categorical(categories))
        rows = np.vstack([observed, name_expected(expected, categories)])
        if (undone := undo(steps, stages, rows)) is not None:
            rows, names = undone, name_inputs(X, path[0])
        else:
            names = getattr(detector, "feature_names_in_", name_outputs(steps))
        if names is not None and len(names) != rows.shape[1]:
            names = None  # the earlier steps miscount
        observed, expected = rows
        return cls.from_predictions(
            contributions[0],
            observed=observed,
            expected=expected,
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

        The parameters are those of the class and of :meth:`plot`.

        Parameters
        ----------
        contributions : array-like of shape (n_features,)
            What each column adds.

        observed : array-like of shape (n_features,), default=None
            The row.

        expected : array-like of shape (n_features,), default=None
            What was expected of it.

        feature_names : sequence of str of length n_features, default=None
            Names of the columns.

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

        See Also
        --------
        from_estimator : Draw it from a fitted detector.
        plot : Draw it again, on other axes.

        Examples
        --------
        >>> from skae import ExplanationDisplay
        >>> display = ExplanationDisplay.from_predictions(
        ...     [0.1, 0.7], observed=[3.0, 7.1], expected=[3.1, 4.2]
        ... )
        >>> display.texts_[0].get_text()
        '7.1, expected 4.2'
        """
        rows = _check_rows(
            {"contributions": contributions, "observed": observed, "expected": expected}
        )
        n_features = len(rows["contributions"])
        if feature_names is not None and len(feature_names) != n_features:
            raise ValueError(
                f"feature_names must name {n_features} columns, as many as there are "
                f"contributions; it has {len(feature_names)}."
            )
        display = cls(**rows, feature_names=feature_names)
        return display.plot(ax, max_features=max_features)


def _label(columns: NDArray[np.intp], names: Sequence[str] | None) -> list[str]:
    """Short names of the columns; those that then look alike have their number."""
    if names is None:
        return [f"x{j}" for j in columns]
    shown = [_shorten(str(names[j])) for j in columns]
    return [
        f"x{j} {name}" if shown.count(name) > 1 else name
        for j, name in zip(columns, shown, strict=True)
    ]


def _shorten(name: str) -> str:
    """The name, without its middle if it is too long to be drawn."""
    if len(name) <= MAX_NAME_LENGTH:
        return name
    half = MAX_NAME_LENGTH // 2
    return f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[half + 1 - MAX_NAME_LENGTH :]}"


def _show(value: Any, digits: int) -> str:
    """A number with so many digits; a category as it is, but for its middle."""
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    text = str(value)
    return _shorten(text) if text == text.strip() != "" else repr(_shorten(text))


def _count_digits(observed: Any, expected: Any) -> int:
    """How many significant digits show two of the difference; at least four."""
    if not (isinstance(observed, float) and isinstance(expected, float)):
        return 4  # a category
    difference = abs(float(observed) - float(expected))  # silent if it overflows
    if not difference > 0:  # or missing
        return 4
    larger = max(abs(observed), abs(expected))
    digits = 2 + np.floor(np.log10(larger)) - np.floor(np.log10(difference))
    return int(digits) if 4 < digits <= MAX_DIGITS else 4


def _draw_notes(ax: Axes, lengths: list[float], notes: list[str]) -> list[Annotation]:
    """Notes right of the bars, on an axis with the room that they take."""
    longest = max(map(len, notes))
    right = max(lengths) * (1 + min(0.028 * longest, 1.2)) or 1.0
    # An axis that is shared keeps what others need.
    ax.update_datalim([(right, 0)], updatey=False)
    ax.autoscale_view()
    return [
        ax.annotate(
            note, (length, i), va="center", size="small", parse_math=False, **BESIDE
        )
        for i, (length, note) in enumerate(zip(lengths, notes, strict=True))
    ]


def _check_rows(rows: dict[str, ArrayLike | None]) -> dict[str, NDArray]:
    """Those rows that are given, as arrays that are as long as the contributions."""
    checked = {
        name: _check_row(row, name) for name, row in rows.items() if row is not None
    }
    shape = checked["contributions"].shape
    if len(shape) != 1:
        raise ValueError(
            "contributions must be one row, of shape (n_features,); its shape is "
            f"{shape}. Pass explain(X)[i]."
        )
    for name, row in checked.items():
        if row.shape != shape:
            raise ValueError(
                f"{name} must be one row of shape {shape}; its shape is {row.shape}."
            )
    return checked


def _check_row(row: ArrayLike, name: str) -> NDArray:
    """A row of numbers, or one of objects if there are categories in it."""
    dtype = getattr(row, "dtype", None)
    kind = getattr(dtype, "kind", None) or np.asarray(row).dtype.kind
    if name != "contributions" and kind in "OUT":
        return np.array(row, dtype=object)
    return check_array(
        row,
        ensure_2d=False,
        dtype=np.float64,
        input_name=name,
        ensure_all_finite="allow-nan" if name == "observed" else True,
    )
