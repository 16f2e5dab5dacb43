"""The display of a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skae._display import import_pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_LINEAR_RANGE = 10  # largest over smallest loss; beyond, the axis is logarithmic


class LossCurveDisplay:
    """Training loss after each epoch, and the held-out loss with early stopping.

    Use it to see whether training was long enough, and whether the held-out loss rises
    while the training loss falls. The loss axis is logarithmic where the largest loss
    is more than ten times the smallest.

    Create one with :meth:`from_estimator`; all parameters are stored as attributes.

    Parameters
    ----------
    loss_curve : sequence of float
        Training loss of each epoch.

    validation_loss_curve : sequence of float, default=None
        Loss of the held-out rows after each epoch. None without early stopping.

    Attributes
    ----------
    line_ : matplotlib.lines.Line2D
        The training loss.

    validation_line_ : matplotlib.lines.Line2D or None
        The held-out loss.

    best_line_ : matplotlib.lines.Line2D or None
        The vertical line at the epoch of the smallest held-out loss.

    ax_ : matplotlib.axes.Axes
        Axes with the curves.

    figure_ : matplotlib.figure.Figure
        Figure with the axes.

    See Also
    --------
    LossCurveDisplay.from_estimator : Draw the training of a fitted detector.

    Examples
    --------
    >>> from skae import LossCurveDisplay
    >>> display = LossCurveDisplay(loss_curve=[1.0, 0.3, 0.05]).plot()
    >>> display.ax_.get_yscale()
    'log'
    """

    def __init__(
        self,
        *,
        loss_curve: Sequence[float],
        validation_loss_curve: Sequence[float] | None = None,
    ):
        self.loss_curve = loss_curve
        self.validation_loss_curve = validation_loss_curve

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. None makes a new figure.

        Returns
        -------
        display : LossCurveDisplay
            The display itself, with the artists as attributes.
        """
        plt = import_pyplot(type(self).__name__)
        from matplotlib.ticker import MaxNLocator

        if ax is None:
            _, ax = plt.subplots()

        curves = {"training": self.loss_curve}
        if self.validation_loss_curve is not None:
            curves["held-out rows"] = self.validation_loss_curve
        lines = []
        for label, curve in curves.items():
            marker = "o" if len(curve) == 1 else None  # one point makes no line
            epochs = np.arange(1, len(curve) + 1)
            lines.append(ax.plot(epochs, curve, label=label, marker=marker)[0])
        self.line_, self.validation_line_ = (*lines, None)[:2]
        self.best_line_ = None
        if self.validation_loss_curve is not None:
            self.best_line_ = ax.axvline(
                1 + int(np.argmin(self.validation_loss_curve)),
                color="black",
                linestyle="--",
                linewidth=1,
                label="smallest held-out loss",
            )
            ax.legend()
        losses = np.concatenate([np.asarray(curve) for curve in curves.values()])
        if 0 < MAX_LINEAR_RANGE * losses.min() < losses.max():
            ax.set_yscale("log")
        elif losses.min() >= 0 and ax.get_yscale() == "linear":
            ax.set_ylim(bottom=0)
        ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        ax.set(xlabel="epoch", ylabel="loss, in scaled units")

        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    @classmethod
    def from_estimator(
        cls, estimator: BaseEstimator, *, ax: Axes | None = None
    ) -> Self:
        """Draw the training of a fitted detector.

        Parameters
        ----------
        estimator : estimator instance
            Fitted :class:`~skae.AutoencoderOutlierDetector`, or a fitted
            :class:`~sklearn.pipeline.Pipeline` that ends in one.

        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. None makes a new figure.

        Returns
        -------
        display : LossCurveDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.

        Examples
        --------
        >>> from sklearn.datasets import load_wine
        >>> from skae import AutoencoderOutlierDetector, LossCurveDisplay
        >>> X, _ = load_wine(return_X_y=True)
        >>> detector = AutoencoderOutlierDetector((16, 4), random_state=0).fit(X)
        >>> LossCurveDisplay.from_estimator(detector).ax_.get_xlabel()
        'epoch'
        """
        check_is_fitted(estimator)
        detector = estimator[-1] if isinstance(estimator, Pipeline) else estimator
        display = cls(
            loss_curve=detector.loss_curve_,
            validation_loss_curve=detector.validation_loss_curve_,
        )
        return display.plot(ax)
