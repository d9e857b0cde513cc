"""What the pictures share: colours, room, names, and how what agents typed becomes ink.

That is drawn as text: no mathtext, no control characters, a box for what the font does not have.
"""

import unicodedata
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import font_manager, rcParams
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

# Okabe and Ito's colours, which the colour-blind tell apart, and the hatch that repeats each.
COLOURS = (
    *(("#0072B2", ""), ("#009E73", "////"), ("#D55E00", "xxxx"), ("#B8860B", "....")),
    *(("#B0558A", "++++"), ("#56B4E9", "\\\\\\\\"), ("#F0E442", "oo"), ("#7A7A7A", "--")),
)
# What each kind of event has in every picture and in the explorer, and so the tool of its name.
KINDS = dict(zip(("read", "edit", "write", "move", "delete"), COLOURS, strict=False))
KINDS["bash"] = COLOURS[7]
# Of tools of other names, in this order.
OTHERS = (
    *(*COLOURS[5:7], ("#332288", "||||"), ("#882255", "**"), ("#44AA99", "OO")),
    *(("#CC6677", "\\\\.."), ("#222222", "//oo"), ("#BBAADD", "||..")),
)
REST = ("#DDDDDD", "")  # of all that has no colour of its own
FAINT, RULE, BAND = "#666666", "#DDDDDD", "#F2F2F2"
SHADES = "Blues"  # from light to dark, so in grey as well
LINES = ["additions", "deletions"]
LETTERS = 46  # of a path; its end says more than its start
LETTER = 0.075  # inches a letter of the smallest text takes
MISSING = "\N{WHITE SQUARE}"  # what fonts draw for a glyph they lack
# Control, format (those that reorder text among them), and half a surrogate pair.
HIDDEN = ("Cc", "Cf", "Cs")
SMALL: dict[str, Any] = {"fontsize": 8, "color": FAINT, "parse_math": False}


def axes(ax: Axes | None, rows: int, width: float = 10, least: int = 3) -> Axes:
    """Where to draw: `ax`, or a figure as tall as its rows."""
    if ax is not None:
        return ax
    height = 1.3 + 0.22 * max(rows, least)
    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def nothing(ax: Axes, what: str = "file events") -> Axes:
    """Says that there is nothing to draw."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    said = f"No {what} here."
    ax.text(0.5, 0.5, said, ha="center", va="center", color=FAINT, transform=ax.transAxes)
    return ax


def name_rows(ax: Axes, labels: list[str], own: int | None = None) -> Axes:
    """Names the rows, the first on top; those from `own` on stand for several things."""
    ax.set_yticks(range(len(labels)), labels, parse_math=False, fontsize=9)
    for text in ax.get_yticklabels()[len(labels) if own is None else own :]:
        text.set(style="italic", color=FAINT)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    return plain(ax)


def name_columns(ax: Axes, labels: list[str]) -> Axes:
    """Names the columns below, long names turned, as many as there is room for."""
    room = ax.get_window_extent().width / ax.figure.dpi / 0.16  # inches a line of text takes
    step = max(int(np.ceil(len(labels) / max(room, 1))), 1)
    turned = 90 if max(map(len, labels), default=0) > 2 else 0
    style: dict[str, Any] = {"rotation": turned, "parse_math": False, "fontsize": 8}
    ax.set_xticks(range(0, len(labels), step), labels[::step], **style)
    return ax


def cells(ax: Axes, values: "np.ndarray[Any, Any]", unit: str) -> Axes:
    """A number a cell, the darker the larger, none where it is 0; a bar says how dark is what."""
    shown = np.ma.masked_less_equal(values, 0)
    rows, columns = (np.arange(many + 1) - 0.5 for many in values.shape)
    mesh = ax.pcolormesh(columns, rows, shown, cmap=SHADES, vmin=0, edgecolors="white", lw=0.6)
    bar = ax.figure.colorbar(mesh, ax=ax, pad=0.01, aspect=30)
    bar.set_label(unit, fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar.locator = MaxNLocator(integer=True)
    bar.outline.set_visible(False)
    ax.hlines(rows, columns[0], columns[-1], color=BAND, linewidth=0.6, zorder=0.5)
    room = ax.get_window_extent().width / ax.figure.dpi / values.shape[1]  # inches a cell has
    most = values.max()
    for row, column in zip(*np.nonzero(values > 0), strict=True):
        told = f"{values[row, column]:,.0f}"
        if LETTER * len(told) < room:
            colour = "white" if values[row, column] > 0.55 * most else "black"
            where: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7}
            ax.text(column, row, told, color=colour, **where)
    return ax


def plain(ax: Axes) -> Axes:
    """No ticks and no frame, but for the bottom line."""
    ax.tick_params(length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color(RULE)
    return ax


class Title(Text):
    """A title that is wrapped where its axes end: matplotlib's go on to the end of the figure."""

    def _get_wrap_line_width(self) -> float:
        assert self.axes is not None
        return self.axes.bbox.width


def entitle(ax: Axes, said: str, pad: float | None = None) -> Axes:
    """Says above the picture what it shows."""
    style: dict[str, Any] = {"loc": "left", "fontsize": 10, "parse_math": False, "wrap": True}
    ax.set_title(said, pad=pad, **style).__class__ = Title
    return ax


def legend_below(ax: Axes) -> Axes:
    """A legend below the picture, of as many columns as it has room for, if any is to be named.

    To be called when all else is drawn. A wider one would make layouts leave the axes less room.
    """
    names = ax.get_legend_handles_labels()[1]
    if not names:
        return ax
    figure = ax.get_figure(root=True)
    if figure and (layout := figure.get_layout_engine()):
        layout.execute(figure)
    below = ax.transAxes + ScaledTranslation(0, -0.48, ax.figure.dpi_scale_trans)
    for columns in range(len(names), 0, -1):
        legend = ax.legend(
            loc="upper left",
            bbox_to_anchor=(0, 0),
            bbox_transform=below,
            frameon=False,
            borderpad=0,
            borderaxespad=0,
            fontsize=9,
            handletextpad=0.3,
            columnspacing=1.4,
            ncols=columns,
        )
        if legend.get_window_extent().width <= ax.bbox.width:
            break
    return ax


def say(ax: Axes, x: float, y: float, text: str, points: float = 5) -> Text:
    """A small text some points to the right of a place, over what lines cross it."""
    where: dict[str, Any] = {"xytext": (points, 0), "textcoords": "offset points", "va": "center"}
    box: dict[str, Any] = {"boxstyle": "square,pad=0.1", "fc": "white", "lw": 0, "alpha": 0.8}
    return ax.annotate(text, (x, y), bbox=box, **where, **SMALL)


def count_of(count: int, noun: str) -> str:
    """A number and what it is of."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def lines_told(additions: int, deletions: int, unknown: int) -> str:
    """Lines added and removed, and how many changes did not say theirs."""
    told = f"+{additions:,} \N{MINUS SIGN}{deletions:,}" if additions or deletions else ""
    return f"{told} ({unknown:,} unknown)".lstrip() if unknown else told


def when(times: "pd.Series[pd.Timestamp]") -> str:
    """From when to when: ", 2026-11-22 18:01 to 18:08 UTC"; nothing where no time is known."""
    first, last = times.min(), times.max()
    if pd.isna(first):
        return ""
    end = f"{last:%H:%M}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M}"
    return f", {first:%Y-%m-%d %H:%M} to {end} {first:%Z}"


def told_apart(times: "pd.Series[pd.Timestamp]", *formats: str) -> list[str]:
    """Each time as briefly as tells it from the others: what shares a name says more.

    What no format tells apart is numbered.
    """
    names = times.dt.strftime(formats[0]).fillna("no time")
    for longer in formats[1:]:
        is_shared = names.duplicated(keep=False) & times.notna()
        names = names.mask(is_shared, times.dt.strftime(longer))
    number = names.groupby(names).cumcount().add(1).astype("str")
    return names.where(number.eq("1"), names + " (" + number + ")").to_list()


def named(paths: "pd.Series[Any]", projects: "pd.Series[Any]") -> list[str]:
    """Paths as rows call them, with the project's last folder where there are several projects.

    These may be of more rows than the paths.
    """
    said = paths.astype("str")
    if projects.nunique() > 1:
        said = projects[paths.index].astype("str").str.split(r"[\\/]").str[-1] + ": " + said
    return [short(path) for path in drawable(said)]


def short(path: str, letters: int = LETTERS) -> str:
    """A long path's end."""
    return path if len(path) <= letters else "\N{HORIZONTAL ELLIPSIS}" + path[1 - letters :]


def drawable(texts: Iterable[str]) -> list[str]:
    """Texts as the font can draw them: no control characters, boxes for the glyphs it lacks."""
    fonts = [font_manager.FontProperties(family=[name]) for name in rcParams["font.family"]]
    faces = [font_manager.get_font(font_manager.findfont(font)) for font in fonts]
    known = {glyph for face in faces for glyph in face.get_charmap()}
    return [
        "".join(
            letter if ord(letter) in known else MISSING
            for letter in text
            if unicodedata.category(letter) not in HIDDEN
        )
        for text in texts
    ]
