"""Files in pictures: what happened to each in order, how often in all, and in which session."""

from datetime import tzinfo
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..analytics import file_timeline as timeline_of
from ..analytics.activity import Freq, period_start
from ..analytics.counting import FAILED, check_known, counted, is_mutation
from ..analytics.files import event_totals
from ..analytics.given import checked
from .paper import (
    BAND,
    FAINT,
    KINDS,
    LETTER,
    LINES,
    RULE,
    SMALL,
    axes,
    cells,
    count_of,
    entitle,
    legend_below,
    lines_told,
    name_columns,
    name_rows,
    named,
    nothing,
    say,
    told_apart,
    when,
)

# The marker of each kind of event, as in the explorer.
MARKERS = {"read": "o", "edit": "s", "write": "^", "move": ">", "delete": "X", "bash": "D"}
BARS = {kind: KINDS[kind] for kind in KINDS if kind != "bash"} | {"failed": ("white", "")}
FILES = 30  # of more, the busiest have a row of their own
COLUMNS = 60  # of more, the last ones
By = Literal["turn", "session"] | Freq
OF = {
    "changes": "completed changes",
    "reads": "completed reads",
    "churn": "lines added and removed",
}
PERIODS: dict[Freq, str] = {"min": "minute", "h": "hour", "D": "day", "M": "month"}
# How times are written, and what more is said of those that share a name.
LABELS = {
    "session": ["%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"],
    "min": ["%m-%d %H:%M", "%Y-%m-%d %H:%M"],
    "h": ["%m-%d %H:00", "%Y-%m-%d %H:00"],
    "D": ["%Y-%m-%d"],
    "M": ["%Y-%m"],
}
CLOCK = ["%H:%M", "%H:%M:%S"]  # of one day
ROOM = 900  # points of marks that a picture's width takes side by side, overlapping a little
PATH = ["project", "last_path"]
MARKED = ["project", "session_id", "turn", "seq", "time", "event_type", "status", *LINES]


@checked
def file_timeline(events: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Each file a row and each event a mark, in the order they happened, session after session.

    A file that was renamed is one row under its last name; one that was made again after it was
    deleted is another, with "(2)". The busiest are on top, those past 30 share a row, and commands
    have one. A ring means the event failed. x counts events, it is not the time: sessions rest for
    hours. Bands are sessions; lines are the turns of a single one. Fork copies, undone turns and
    the user's own calls are left out.

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
    ax = axes(ax, len(labels))
    if marks.empty:
        return nothing(ax)
    x = np.arange(len(marks))
    row = marks["file_id"].map(rank).fillna(len(labels) - 1).to_numpy("int64")
    size = float(np.clip(ROOM / len(marks), 4.6, 6.5))
    ax.hlines(range(len(labels)), -0.5, len(marks) - 0.5, color=RULE, linewidth=0.6, zorder=0.5)
    for kind, (colour, _hatch) in KINDS.items():
        here = marks["event_type"].eq(kind).to_numpy()
        style: dict[str, Any] = {"marker": MARKERS[kind], "color": colour, "mec": "white"}
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
    entitle(ax, _title(marks, files), pad=18)
    return _count(name_rows(ax, labels, own))


@checked
def file_activity(events: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """How often each file was read and changed, the busiest on top, and the lines it came to.

    A file that was renamed is one bar under its last name, one that was made again after it was
    deleted is another, with "(2)"; those past 30 are summed up in words. Bars count completed
    events by type, and those that failed; "+" and "-" are lines added and removed, "unknown" the
    changes that do not say theirs. Fork copies, undone turns, the user's own calls and commands are
    left out.

    Args:
        events: file events: `frames.file_events` or some of its rows.
        ax: where to draw; None makes a figure as tall as its rows.
    """
    marks = _marks(events).dropna(subset="file_id")
    files = _busiest_first(marks)
    labels = _labels(files)
    bars = files[:FILES] if len(labels) < len(files) else files
    ax = axes(ax, len(labels))
    if marks.empty:
        return nothing(ax)
    told = [*LINES, "lines_unknown"]
    end = np.zeros(len(bars))
    for kind, (colour, hatch) in BARS.items():
        count = bars["failed" if kind == "failed" else f"{kind}s"].to_numpy(float)
        edge = "black" if kind == "failed" else "white"
        style: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": edge, "lw": 0.5}
        has = np.flatnonzero(count)
        if len(has):
            ax.barh(has, count[has], left=end[has], height=0.74, label=kind, **style)
        end += count
    for y, lines in enumerate(bars[told].fillna(0).to_numpy()):
        say(ax, end[y], y, lines_told(*lines))
    if len(bars) < len(files):
        rest = files[len(bars) :][["events", *told]].sum()
        say(ax, 0, len(bars), f"{rest['events']:,} events   {lines_told(*rest[told])}")
    ax.margins(x=0.14)
    ax.set_xlim(left=0)
    ax.set_xlabel("events (beside the bars: lines added and removed)")
    entitle(ax, _title(marks, files))
    return _count(name_rows(ax, labels, len(bars)))


@checked
def file_heatmap(
    events: pd.DataFrame,
    by: By | None = None,
    of: Literal["changes", "reads", "churn"] = "changes",
    tz: str | tzinfo = "UTC",
    ax: Axes | None = None,
) -> Axes:
    """Which files were worked on when: a row a file, a column a session, the darker the more.

    A file that was renamed is one row under its last name; one that was made again after it was
    deleted is another, with "(2)". The busiest 30 are shown, the most on top, over the last 60
    columns. Fork copies, undone turns, the user's own calls and commands are left out.

    Args:
        events: file events: `frames.file_events` or some of its rows.
        by: what a column is: "session", in the order they began, "turn", or a minute, hour, day or
            month that has any ("min", "h", "D", "M"). None: turns of a single session, else
            sessions, or days where there are more than 60.
        of: what is counted: completed changes, completed reads, or "churn", the lines that changes
            added and removed, where they are known.
        tz: whose clock the periods are of.
        ax: where to draw; None makes a figure as tall as its rows.

    Raises:
        ValueError: `by` or `of` is none of these.
    """
    check_known("of", of, OF)
    if by is not None:
        check_known("by", by, ["turn", "session", *PERIODS])
    marks = _marks(events).dropna(subset="file_id")
    is_done = marks["status"].eq("completed")
    marks = marks[is_done & marks["event_type"].eq("read") if of == "reads" else is_mutation(marks)]
    if by is None:
        sessions = marks["session_id"].nunique()
        by = "turn" if sessions == 1 else "session" if sessions <= COLUMNS else "D"
    name, column, labels = _columns(marks, by, tz)
    first = max(len(labels) - COLUMNS, 0)
    marks, column = marks[column >= first], column[column >= first] - first
    weight = marks[LINES].sum(axis=1).to_numpy() if of == "churn" else np.ones(len(marks))
    total = marks["file_id"].to_frame().assign(weight=weight).groupby("file_id")["weight"].sum()
    total = total[total > 0].sort_values(ascending=False, kind="stable")
    shown = total.index[:FILES]
    ax = axes(ax, len(shown) + 3)
    if not len(shown):
        return nothing(ax, OF[of])
    row = shown.get_indexer(pd.Index(marks["file_id"]))
    values = np.zeros((len(shown), len(labels) - first))
    np.add.at(values, (row[row >= 0], column[row >= 0]), weight[row >= 0])
    cells(ax, values, OF[of])
    names = marks.drop_duplicates("file_id").set_index("file_id").loc[shown]
    files, columns = count_of(len(total), "file"), count_of(len(labels), name)
    files = f"the busiest {FILES} of {files}" if len(shown) < len(total) else files
    columns = f"the last {COLUMNS} of {columns}" if first else columns
    times = marks["time"].dt.tz_convert(tz)
    entitle(ax, f"{files}: {OF[of]} in {columns}{when(times)}")
    name_columns(ax, labels[first:])
    order = ", by when they began" if by == "session" else ", in order"
    if by == "turn" and marks["session_id"].nunique() > 1:
        order += ", session after session"
    ax.set_xlabel(name if by in PERIODS else f"{name}s{order}")
    return name_rows(ax, named(names["name"], names["project"]))


def _columns(
    marks: pd.DataFrame, by: By, tz: str | tzinfo
) -> tuple[str, "np.ndarray[Any, Any]", list[str]]:
    """What a column is, each event's column, and what the columns are called."""
    code: np.ndarray[Any, Any]
    if by != "turn" and by != "session":
        code, starts = pd.factorize(period_start(marks["time"], by, tz), sort=True)
        return PERIODS[by], code, _written(pd.Series(starts), by)
    key = ["session_id"] if by == "session" else ["session_id", "turn"]
    code = marks.groupby(key, sort=False, observed=True, dropna=False).ngroup().to_numpy()
    first = marks.drop_duplicates(key)
    turns = first["turn"].astype("str").fillna("?")
    sessions = first.drop_duplicates("session_id")
    if by == "turn" and len(sessions) == 1:
        return "turn", code, turns.to_list()
    if by == "session":
        return "session", code, _written(sessions["_first"].dt.tz_convert(tz), "session")
    began = _written(marks["time"].groupby(code).min().dt.tz_convert(tz), "session")
    return "turn", code, [f"{time}, turn {turn}" for time, turn in zip(began, turns, strict=True)]


def _written(times: "pd.Series[pd.Timestamp]", what: str) -> list[str]:
    """What columns that begin at these times are called."""
    is_one_day = what in ("session", "min") and times.dt.date.nunique() == 1
    return told_apart(times, *(CLOCK if is_one_day else LABELS[what]))


def _marks(events: pd.DataFrame) -> pd.DataFrame:
    """The events a picture shows, session after session; commands have no `file_id`.

    `name` is the file's last path, "(2)" behind it if that was another's before: who deletes a file
    and makes it again has made a second one.
    """
    rows = counted(events)
    commands = rows.loc[rows["event_type"].eq("bash") & rows["file_path"].isna(), MARKED]
    of_files = timeline_of(rows)[[*MARKED, "file_id", "last_path"]]
    files = of_files.drop_duplicates("file_id").set_index("file_id")
    name = files["last_path"].astype("str")
    number = files.groupby(PATH, observed=True, dropna=False).cumcount()
    name = name.where(number.eq(0), name + " (" + number.add(1).astype("str") + ")")
    of_files = of_files.drop(columns="last_path").assign(name=of_files["file_id"].map(name))
    marks = pd.concat([of_files, commands], ignore_index=True)
    first = marks.groupby("session_id", observed=True)["time"].transform("min")
    return marks.assign(_first=first).sort_values(
        ["_first", "session_id", "seq"], ignore_index=True
    )


def _busiest_first(marks: pd.DataFrame) -> pd.DataFrame:
    """One row a file: file_id, project, name, and the totals of its events."""
    of_files = marks.dropna(subset="file_id")
    names = of_files.drop_duplicates("file_id").set_index("file_id")[["project", "name"]]
    totals = names.join(event_totals(of_files, of_files["file_id"])).reset_index()
    return totals.sort_values("events", ascending=False, kind="stable", ignore_index=True)


def _labels(files: pd.DataFrame) -> list[str]:
    """What the rows are called; one for all that have none of their own."""
    is_many = len(files) > FILES + 1  # a row for one more file can as well be its own
    own = files[:FILES] if is_many else files
    labels = named(own["name"], files["project"])
    return [*labels, f"{len(files) - FILES:,} more files"] if is_many else labels


def _name_parts(ax: Axes, marks: pd.DataFrame) -> None:
    """Set the sessions apart by bands, or the turns of a single one by lines, and name them."""
    is_single = marks["session_id"].nunique() == 1
    part = marks["turn" if is_single else "session_id"].astype("str").fillna("?")
    starts = np.flatnonzero(part.ne(part.shift()))
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
            style: dict[str, Any] = {"xycoords": height, "textcoords": "offset points"}
            ax.annotate(name, (start - 0.5, 1), (1, 3), **style, **SMALL)


def _count(ax: Axes) -> Axes:
    """What pictures of counts have below them."""
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return legend_below(ax)


def _title(marks: pd.DataFrame, files: pd.DataFrame) -> str:
    """What is shown, how much, and when."""
    name = count_of(len(files), "file")
    if len(files) == 1:
        [name] = _labels(files)
    sessions = count_of(marks["session_id"].nunique(), "session")
    return f"{name}: {count_of(len(marks), 'event')} in {sessions}{when(marks['time'])}"
