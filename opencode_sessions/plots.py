"""Pictures of file events: functions that draw on `ax`, or a figure of their own, and return it.

Shape and hatch repeat the colour, so a picture says the same in grey. What agents typed is drawn as
text: no mathtext, no control characters, a box for what the font does not have.
"""

import unicodedata
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from .analytics import file_timeline as timeline_of
from .analytics.counting import FAILED, counted
from .analytics.files import event_totals

try:
    import matplotlib.pyplot as plt
    from matplotlib import font_manager, rcParams
    from matplotlib.axes import Axes
    from matplotlib.ticker import MaxNLocator
    from matplotlib.transforms import ScaledTranslation
except ImportError as error:
    raise ImportError("Plots need matplotlib: pip install 'opencode-sessions[lab]'") from error

# Marker, hatch, and Okabe and Ito's colours, which the colour-blind tell apart, as in the explorer.
KINDS = {
    "read": ("o", "", "#0072B2"),
    "edit": ("s", "////", "#009E73"),
    "write": ("^", "xxxx", "#D55E00"),
    "move": (">", "....", "#B8860B"),
    "delete": ("X", "++++", "#B0558A"),
    "bash": ("D", "", "#7A7A7A"),
}
BARS = {kind: KINDS[kind] for kind in KINDS if kind != "bash"} | {"failed": ("o", "", "white")}
FAINT, RULE, BAND = "#666666", "#DDDDDD", "#F2F2F2"
FILES = 30  # of more, the busiest have a row of their own
LETTERS = 46  # of a path; its end says more than its start
ROOM = 900  # points of marks that a picture's width takes side by side, overlapping a little
LETTER = 0.075  # inches a letter of the smallest text takes
MISSING = "\N{WHITE SQUARE}"  # what fonts draw for a glyph they lack
TITLE: dict[str, Any] = {"loc": "left", "fontsize": 10, "parse_math": False}
LINES = ["additions", "deletions"]
MARKED = ["project", "session_id", "turn", "seq", "time", "event_type", "status", *LINES]


def file_timeline(events: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Each file a row and each event a mark, in the order they happened, session after session.

    A file that was renamed is one row under its last name. The busiest are on top, those past 30
    share a row, and commands have one. A ring means the event failed. x counts events, it is not
    the time: sessions rest for hours. Bands are sessions; lines are the turns of a single one. Fork
    copies, undone turns and the user's own calls are left out.

    Args:
        events: file events: `frames.file_events` or some of its rows.
        ax: where to draw; None makes a figure as tall as its rows.
    """
    marks = _marks(events)
    files = _busiest_first(marks)
    labels = _labels(files)
    own = FILES if len(labels) < len(files) else len(files)
    rank = pd.Series(files.index, index=files["file_id"]).clip(upper=len(labels) - 1)
    if marks["file_id"].isna().any():
        labels.append("shell")
    ax = _axes(ax, len(labels))
    if marks.empty:
        return _nothing(ax)
    x = np.arange(len(marks))
    row = marks["file_id"].map(rank).fillna(len(labels) - 1).to_numpy("int64")
    size = float(np.clip(ROOM / len(marks), 4.6, 6.5))
    ax.hlines(range(len(labels)), -0.5, len(marks) - 0.5, color=RULE, linewidth=0.6, zorder=0.5)
    for kind, (marker, _hatch, colour) in KINDS.items():
        here = marks["event_type"].eq(kind).to_numpy()
        style: dict[str, Any] = {"marker": marker, "color": colour, "markeredgecolor": "white"}
        if here.any():
            ax.plot(x[here], row[here], label=kind, ls="none", ms=size, mew=0.3, **style)
    here = marks["status"].isin(FAILED).to_numpy()
    ring: dict[str, Any] = {"marker": "o", "markerfacecolor": "none", "color": "black"}
    if here.any():
        ax.plot(x[here], row[here], label="failed", ls="none", ms=size + 3.6, mew=0.9, **ring)
    _name_parts(ax, marks)
    ax.set_xlim(-1, len(marks))
    is_single = marks["session_id"].nunique() == 1
    ax.set_xlabel("events, in order" if is_single else "events, in order, session after session")
    ax.set_title(_title(marks, files), pad=18, **TITLE)
    return _finish(ax, labels, own)


def file_activity(events: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """How often each file was read and changed, the busiest on top, and the lines it came to.

    A file that was renamed is one bar under its last name; those past 30 are summed up in words.
    Bars count completed events by type, and those that failed; "+" and "-" are lines added and
    removed, "unknown" the changes that do not say theirs. Fork copies, undone turns, the user's own
    calls and commands are left out.

    Args:
        events: file events: `frames.file_events` or some of its rows.
        ax: where to draw; None makes a figure as tall as its rows.
    """
    marks = _marks(events).dropna(subset="file_id")
    files = _busiest_first(marks)
    labels = _labels(files)
    bars = files[:FILES] if len(labels) < len(files) else files
    ax = _axes(ax, len(labels))
    if marks.empty:
        return _nothing(ax)
    told = [*LINES, "lines_unknown"]
    end = np.zeros(len(bars))
    for kind, (_marker, hatch, colour) in BARS.items():
        count = bars["failed" if kind == "failed" else f"{kind}s"].to_numpy(float)
        edge = "black" if kind == "failed" else "white"
        style: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": edge, "lw": 0.5}
        has = np.flatnonzero(count)
        if len(has):
            ax.barh(has, count[has], left=end[has], height=0.74, label=kind, **style)
        end += count
    for y, lines in enumerate(bars[told].fillna(0).to_numpy()):
        _say(ax, end[y], y, _lines(*lines))
    if len(bars) < len(files):
        rest = files[len(bars) :][["events", *told]].sum()
        _say(ax, 0, len(bars), f"{rest['events']:,} events   {_lines(*rest[told])}")
    ax.margins(x=0.14)
    ax.set_xlim(left=0)
    ax.set_xlabel("events (beside the bars: lines added and removed)")
    ax.set_title(_title(marks, files), **TITLE)
    return _finish(ax, labels, len(bars))


def _marks(events: pd.DataFrame) -> pd.DataFrame:
    """The events a picture shows, session after session; commands have no `file_id`."""
    rows = counted(events)
    commands = rows.loc[rows["event_type"].eq("bash") & rows["file_path"].isna(), MARKED]
    of_files = timeline_of(rows)[[*MARKED, "file_id", "last_path"]]
    marks = pd.concat([of_files, commands], ignore_index=True)
    first = marks.groupby("session_id", observed=True)["time"].transform("min")
    return marks.assign(_first=first).sort_values(
        ["_first", "session_id", "seq"], ignore_index=True
    )


def _busiest_first(marks: pd.DataFrame) -> pd.DataFrame:
    """One row a file: file_id, project, last_path, and the totals of its events."""
    of_files = marks.dropna(subset="file_id")
    names = of_files.drop_duplicates("file_id").set_index("file_id")[["project", "last_path"]]
    totals = names.join(event_totals(of_files, of_files["file_id"])).reset_index()
    return totals.sort_values("events", ascending=False, kind="stable", ignore_index=True)


def _labels(files: pd.DataFrame) -> list[str]:
    """What the rows are called; one for all that have none of their own."""
    is_many = len(files) > FILES + 1  # a row for one more file can as well be its own
    named = files[:FILES] if is_many else files
    paths = named["last_path"].astype("str")
    if files["project"].nunique() > 1:
        paths = named["project"].astype("str").str.split(r"[\\/]").str[-1] + ": " + paths
    labels = [_short(path) for path in _drawable(paths)]
    return [*labels, f"{len(files) - FILES:,} more files"] if is_many else labels


def _axes(ax: Axes | None, rows: int) -> Axes:
    if ax is not None:
        return ax
    height = 1.3 + 0.22 * max(rows, 3)
    return plt.subplots(figsize=(10, height), layout="constrained")[1]


def _nothing(ax: Axes) -> Axes:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    said = "No file events here."
    ax.text(0.5, 0.5, said, ha="center", va="center", color=FAINT, transform=ax.transAxes)
    return ax


def _name_parts(ax: Axes, marks: pd.DataFrame) -> None:
    """Set the sessions apart by bands, or the turns of a single one by lines, and name them."""
    is_single = marks["session_id"].nunique() == 1
    part = marks["turn"] if is_single else marks["session_id"].astype("str")
    starts = np.flatnonzero(part.ne(part.shift()).to_numpy(dtype=bool, na_value=True))
    ends = np.append(starts[1:], len(marks))
    height = ax.get_xaxis_transform()  # x in events, y from the bottom 0 to the top 1
    if is_single:
        names = [f"turn {turn}" for turn in part[starts]]
        ax.vlines(starts - 0.5, 0, 1, FAINT, ":", linewidth=0.6, zorder=0.4, transform=height)
    else:
        is_one_day = marks["time"].dt.date.nunique() == 1
        names = list(
            marks["time"][starts].dt.strftime("%H:%M" if is_one_day else "%m-%d").fillna("")
        )
        bands = list(zip(starts[1::2] - 0.5, (ends - starts)[1::2], strict=True))
        ax.broken_barh(bands, (0, 1), color=BAND, linewidth=0, zorder=0, transform=height)
    events_per_inch = len(marks) / (ax.get_window_extent().width / ax.figure.dpi)
    free = -np.inf
    for start, name in zip(starts, names, strict=True):
        if start >= free:
            free = start + LETTER * len(name) * events_per_inch
            style: dict[str, Any] = {"fontsize": 8, "color": FAINT, "xycoords": height}
            ax.annotate(name, (start - 0.5, 1), (1, 3), textcoords="offset points", **style)


def _finish(ax: Axes, labels: list[str], rows: int) -> Axes:
    """What both pictures share; labels past `rows` name no single file."""
    ax.set_yticks(range(len(labels)), labels, parse_math=False, fontsize=9)
    for text in ax.get_yticklabels()[rows:]:
        text.set(style="italic", color=FAINT)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.tick_params(length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color(RULE)
    below = ax.transAxes + ScaledTranslation(0, -0.42, ax.figure.dpi_scale_trans)
    ax.legend(
        loc="upper left",
        bbox_to_anchor=(0, 0),
        bbox_transform=below,
        ncols=7,
        frameon=False,
        borderpad=0,
        fontsize=9,
        handletextpad=0.3,
        columnspacing=1.4,
    )
    return ax


def _title(marks: pd.DataFrame, files: pd.DataFrame) -> str:
    """What is shown, how much, and when."""
    name = _n(len(files), "file")
    if len(files) == 1:
        [name] = _labels(files)
    counts = f"{_n(len(marks), 'event')} in {_n(marks['session_id'].nunique(), 'session')}"
    first, last = marks["time"].min(), marks["time"].max()
    if pd.isna(first):
        return f"{name}: {counts}"
    end = f"{last:%H:%M}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M}"
    return f"{name}: {counts}, {first:%Y-%m-%d %H:%M} to {end} UTC"


def _say(ax: Axes, x: float, y: float, text: str) -> None:
    style: dict[str, Any] = {"va": "center", "fontsize": 8, "color": FAINT}
    ax.annotate(text, (x, y), xytext=(4, 0), textcoords="offset points", **style)


def _lines(additions: int, deletions: int, unknown: int) -> str:
    """Lines added and removed, and how many changes did not say theirs."""
    lines = f"+{additions:,} \N{MINUS SIGN}{deletions:,}" if additions or deletions else ""
    return f"{lines} ({unknown:,} unknown)".lstrip() if unknown else lines


def _n(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _short(path: str) -> str:
    return path if len(path) <= LETTERS else "\N{HORIZONTAL ELLIPSIS}" + path[1 - LETTERS :]


def _drawable(texts: Iterable[str]) -> list[str]:
    """Texts as the font can draw them: no control characters, boxes for the glyphs it lacks."""
    fonts = [font_manager.FontProperties(family=[name]) for name in rcParams["font.family"]]
    faces = [font_manager.get_font(font_manager.findfont(font)) for font in fonts]
    known = {glyph for face in faces for glyph in face.get_charmap()}
    hidden = (
        "Cc",
        "Cf",
        "Cs",
    )  # control, format (reordering ones among them), half a surrogate pair
    return [
        "".join(
            letter if ord(letter) in known else MISSING
            for letter in text
            if unicodedata.category(letter) not in hidden
        )
        for text in texts
    ]
