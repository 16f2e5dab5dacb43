"""What can be read off the artists of a display."""


def heights_of(bars):
    return [bar.get_height() for bar in bars]


def edges_of(bars):
    return [bar.get_x() for bar in bars] + [bars[-1].get_x() + bars[-1].get_width()]


def positions_of(lines):
    return [line.get_xdata()[0] for line in lines]


def labels_of(display):
    return [label.get_text() for label in display.ax_.get_yticklabels()]


def legend_of(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]
