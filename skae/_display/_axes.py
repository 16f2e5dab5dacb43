"""The axes that a display draws on, and what several displays draw there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.legend import Legend
    from matplotlib.lines import Line2D


def open_axes(ax: Axes | None, display: str, **figure_options: Any) -> Axes:
    """The axes if they are given, otherwise those of a new figure with the options.

    To be called before matplotlib is needed: the error says what wants it.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{display}.plot requires matplotlib, which is missing or broken here. "
            "Install it with `python -m pip install matplotlib`."
        ) from error
    return plt.subplots(**figure_options)[1] if ax is None else ax


def draw_limit(ax: Axes, x: float, label: str, width: float | None = None) -> Line2D:
    """A dashed vertical line, `width` in points; None takes the usual one."""
    return ax.axvline(x, color="black", linestyle="--", linewidth=width, label=label)


def keep_ticks_whole(axis: Axis, steps: Sequence[int] | None = None) -> None:
    """Ticks at whole numbers only, by steps of these, times powers of ten, if given."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", steps=steps, integer=True))


def draw_literally(legend: Legend) -> None:
    """The names in a legend as the user wrote them: a `$` starts no formula."""
    for text in legend.get_texts():
        text.set_parse_math(False)
