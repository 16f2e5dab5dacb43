"""The display of a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.base import BaseEstimator

from skae._display._axes import draw_limit, draw_literally, keep_ticks_whole, open_axes
from skae._display._inputs import unwrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

MAX_LINEAR_RANGE = 10  # largest over smallest loss; beyond, the axis is logarithmic


@dataclass(kw_only=True, eq=False, repr=False)
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

    loss_curve: Sequence[float]
    validation_loss_curve: Sequence[float] | None = None

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

        See Also
        --------
        from_estimator : Draw it from a fitted detector.

        Examples
        --------
        >>> from skae import LossCurveDisplay
        >>> display = LossCurveDisplay(loss_curve=[0.4, 0.3, 0.2]).plot()
        >>> display.ax_.get_yscale()
        'linear'
        """
        ax = open_axes(ax, type(self).__name__)
        held_out = self.validation_loss_curve
        losses = list(self.loss_curve)
        self.line_ = _draw_curve(ax, self.loss_curve, "training")
        self.validation_line_ = self.best_line_ = None
        if held_out is not None:
            losses.extend(held_out)
            self.validation_line_ = _draw_curve(ax, held_out, "held-out rows")
            best = 1 + int(np.argmin(held_out))
            self.best_line_ = draw_limit(ax, best, "smallest held-out loss", width=1)
            draw_literally(ax.legend())
        smallest, largest = np.min(losses), np.max(losses)
        if 0 < MAX_LINEAR_RANGE * smallest < largest:
            ax.set_yscale("log")
        elif smallest >= 0 and ax.get_yscale() == "linear":
            ax.set_ylim(bottom=0)
        keep_ticks_whole(ax.xaxis)
        ax.set(xlabel="epoch", ylabel="loss, in scaled units")
        self.ax_, self.figure_ = ax, ax.figure
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
            :class:`~sklearn.pipeline.Pipeline` or search, such as
            :class:`~sklearn.model_selection.GridSearchCV`, that ends in one.

        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. None makes a new figure.

        Returns
        -------
        display : LossCurveDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted, or a search without `refit`.

        See Also
        --------
        plot : Draw it again, on other axes.

        Examples
        --------
        >>> from sklearn.datasets import load_wine
        >>> from skae import AutoencoderOutlierDetector, LossCurveDisplay
        >>> X, _ = load_wine(return_X_y=True)
        >>> detector = AutoencoderOutlierDetector((16, 4), random_state=0).fit(X)
        >>> LossCurveDisplay.from_estimator(detector).ax_.get_xlabel()
        'epoch'
        """
        *_, detector = unwrap(estimator)
        return cls(
            loss_curve=detector.loss_curve_,
            validation_loss_curve=detector.validation_loss_curve_,
        ).plot(ax)


def _draw_curve(ax: Axes, curve: Sequence[float], label: str) -> Line2D:
    """The line of a loss over the epochs."""
    epochs = np.arange(1, len(curve) + 1)
    marker = "o" if len(curve) == 1 else None  # one point makes no line
    return ax.plot(epochs, curve, label=label, marker=marker)[0]
