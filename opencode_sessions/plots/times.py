"""Pictures against the clock: how much changed when, and which session worked while which did."""

from datetime import tzinfo
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import FuncFormatter, MaxNLocator
from pandas import DateOffset, Timedelta

from ..analytics import Frames, activity, session_tree
from ..analytics.activity import Freq
from ..analytics.counting import FAILED, Floats, counted, is_mutation, numbered
from ..analytics.given import checked
from ..analytics.lineage import session_of
from ..analytics.sessions import CALL, MESSAGE, turn_spans
from .paper import (
    COLOURS,
    FAINT,
    LINES,
    RULE,
    axes,
    count_of,
    drawable,
    entitle,
    legend_below,
    lines_told,
    name_rows,
    nothing,
    plain,
    say,
    short,
    when,
)

# How long a period is, at most, and what it is called.
PERIODS: dict[Freq, tuple[str, str]] = {
    "min": ("1min", "minute"),
    "h": ("1h", "hour"),
    "D": ("25h", "day"),
    "M": ("745h", "month"),
}
NEXT = {"D": DateOffset(days=1), "M": DateOffset(months=1)}
BARS = 120  # from one end to the other, if nobody says how long a period is
SESSIONS = 40  # rows; of more, the last
SHORT = 0.01  # of the picture's width: white edges would leave nothing of a shorter turn


@checked
def churn(
    events: pd.DataFrame,
    freq: Freq | None = None,
    tz: str | tzinfo = "UTC",
    ax: Axes | None = None,
) -> Axes:
    """How many lines were added and removed when: a bar a period, added up and removed down.

    A diamond marks periods with changes whose lines are not known, as overwriting writes. Fork
    copies, undone turns and the user's own calls are left out, and so are events without a time.

    Args:
        events: file events: `frames.file_events` or some of its rows.
        freq: how long a period is: a minute, hour, day or month ("min", "h", "D", "M"); None takes
            the shortest that makes no more than 120 of them.
        tz: whose clock it is.
        ax: where to draw; None makes a figure.

    Raises:
        ValueError: `freq` is none of these.
        TypeError: `tz` is neither a name nor a tzinfo.
        ZoneInfoNotFoundError: `tz` names no time zone.
    """
    timed = events[events["time"].notna()]
    ax = axes(ax, 8)
    freq = freq or _freq(counted(timed, columns=["time"])["time"])
    table = activity(timed, freq, tz)
    told = [*LINES, "lines_unknown"]
    table = table.groupby("period")[told].sum()
    table = table[table.gt(0).any(axis=1)]
    if table.empty:
        return nothing(ax, "changed lines")
    length, name = PERIODS[freq]
    table = table.reset_index()
    starts = table["period"]
    # A day or month ends where the next one starts, by its own clock.
    ends = starts + (NEXT[freq] if freq in NEXT else Timedelta(length))
    left, width = days(starts), days(ends) - days(starts)
    for column, sign, (colour, hatch) in zip(LINES, (1, -1), (COLOURS[1], COLOURS[2]), strict=True):
        style: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": "white", "lw": 0.5}
        height = sign * table[column].to_numpy(float)
        label = "added" if sign > 0 else "removed"
        ax.bar(left, height, width, align="edge", label=label, **style)
    unknown = table["lines_unknown"].gt(0).to_numpy(bool)
    if unknown.any():
        mark: dict[str, Any] = {"marker": "D", "ms": 4.5, "mfc": "white", "mec": "black"}
        middle = (left + width / 2)[unknown]
        label = "changes of unknown lines"
        ax.plot(middle, np.zeros(len(middle)), ls="none", label=label, zorder=3, **mark)
    ax.axhline(0, color=FAINT, linewidth=0.8)
    _clock(ax, tz)
    ax.margins(y=0.1)
    ax.set_xlabel(f"time, {tz}")
    ax.set_ylabel(f"lines a {name}")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_formatter(FuncFormatter(_either_way))
    ax.grid(axis="y", color=RULE, linewidth=0.6)
    ax.set_axisbelow(True)
    added, removed, hidden = table[told].sum()
    said = f"{lines_told(added, removed, 0)} lines"
    if hidden:
        said += f", those of {count_of(hidden, 'change')} not known,"
    changes = counted(timed)
    changes = changes[is_mutation(changes) & changes[LINES].fillna(1).ne(0).any(axis=1)]
    entitle(ax, f"{said} by {name}{when(changes['time'].dt.tz_convert(tz))}")
    return legend_below(plain(ax))


def _either_way(lines: float, _: object) -> str:
    """A number of lines, whether they are above or below."""
    return f"{abs(lines):,.0f}"


@checked
def session_gantt(
    frames: Frames,
    session: str | None = None,
    tz: str | tzinfo = "UTC",
    ax: Axes | None = None,
) -> Axes:
    """Who worked when: a row a session, subagents below who called them, a bar a turn.

    A thin line joins the turns of a session, a dotted one leads from a session to the subagent it
    called; a ring is a call that failed. Beside each, or where it was created if it has no turn,
    are its tool calls, and what it cost by itself. The last 40 rows are shown. Fork copies, undone
    turns and the user's own calls are left out.

    Args:
        frames: all frames of the sessions.
        session: a session, by row id or opencode's: it is shown with all its subagents, and with
            who called it.
        tz: whose clock it is.
        ax: where to draw; None makes a figure as tall as its rows.

    Raises:
        KeyError: no such session.
    """
    tree = session_tree(frames)
    if session is not None:
        is_it = tree["session_id"].eq(session) | tree["opencode_session_id"].eq(session)
        if not is_it.any():
            raise KeyError(f"No session {session!r} in these frames.")
        tree = tree[tree["root_session_id"].isin(tree.loc[is_it, "root_session_id"])]
    ids = pd.Index(tree["session_id"][-SESSIONS:], dtype="str")
    shown = tree[-SESSIONS:].reset_index(drop=True)
    ax = axes(ax, len(shown))
    calls = counted(frames.tool_calls, columns=CALL)
    calls = calls.assign(row=session_of(calls, ids))
    calls = calls[calls["row"] >= 0].dropna(subset="time")
    spans = turn_spans(counted(frames.messages, columns=MESSAGE), calls, ids)
    spans = spans[spans["session"] >= 0].dropna(subset="start")
    if spans.empty:
        return nothing(ax, "sessions with a time")
    row = spans["session"].to_numpy()
    start, end = (days(spans[name]) for name in ("start", "end"))
    created = frames.sessions["created_at"].set_axis(frames.sessions["session_id"].astype("str"))
    created = created.reindex(ids).reset_index(drop=True)
    unused = created.drop(np.unique(row)).dropna()
    places = dict(zip(unused.index, days(unused).tolist(), strict=True))
    first, last = min([start.min(), *places.values()]), max([end.max(), *places.values()])
    whole, width = max(last - first, 1e-9), end - start
    reach = pd.DataFrame({"row": row, "start": start, "end": end})
    reach = reach.groupby("row").agg({"start": "min", "end": "max"})
    places |= reach["end"].to_dict()
    ax.hlines(reach.index, reach["start"], reach["end"], color=FAINT, linewidth=0.8, zorder=1)
    is_below = shown["depth"].gt(0).to_numpy()[row]
    for these, label, (colour, hatch) in (
        (~is_below, "a turn", COLOURS[0]),
        (is_below, "a subagent's", COLOURS[1]),
    ):
        is_short = width[these] < SHORT * whole
        edges = {"edgecolor": np.where(is_short, colour, "white"), "lw": np.where(is_short, 2, 0.5)}
        style: dict[str, Any] = {"color": colour, "hatch": hatch, **edges}
        if these.any():
            ax.barh(row[these], width[these], 0.62, start[these], label=label, zorder=2, **style)
    caller = pd.Series(numbered(shown["parent_session_id"], ids), name="caller")
    called = reach.join(caller).query("caller >= 0")
    dots: dict[str, Any] = {"color": FAINT, "ls": ":", "lw": 0.9, "zorder": 1}
    ax.vlines(called["start"], called["caller"], called.index, **dots)
    failed = calls[calls["status"].isin(FAILED)]
    ring: dict[str, Any] = {"marker": "o", "mfc": "white", "mec": "black", "ms": 4.5, "zorder": 3}
    if len(failed):
        ax.plot(days(failed["time"]), failed["row"], label="a failed call", ls="none", **ring)
    made = np.bincount(calls["row"], minlength=len(shown))
    for place, cost in enumerate(shown["own_cost_usd"]):
        told = count_of(made[place], "call") + ("" if pd.isna(cost) else f", ${cost:,.2f}")
        say(ax, places.get(place, first), place, told, points=9)
    _clock(ax, tz)
    ax.set_xlim(first - 0.01 * whole, last + 0.16 * whole)
    ax.set_xlabel(f"time, {tz}")
    sessions = count_of(len(tree), "session")
    sessions = f"the last {SESSIONS} of {sessions}" if len(tree) > len(shown) else sessions
    moments = pd.concat([spans["start"], spans["end"], unused])
    entitle(ax, f"{sessions}{when(moments.dt.tz_convert(tz))}")
    arrows = ["\N{DOWNWARDS ARROW WITH TIP RIGHTWARDS}" * depth for depth in shown["depth"]]
    titles = [short(title) for title in drawable(shown["title"].fillna("").astype("str"))]
    labels = [f"{arrow} {title}".strip() for arrow, title in zip(arrows, titles, strict=True)]
    return legend_below(name_rows(ax, labels))


def _freq(times: "pd.Series[pd.Timestamp]") -> Freq:
    """The shortest period that is not too short."""
    whole = times.max() - times.min()
    for freq, (length, _name) in PERIODS.items():
        if pd.isna(whole) or whole <= BARS * pd.Timedelta(length):
            return freq
    return "M"


def days(times: "pd.Series[pd.Timestamp]") -> Floats:
    """Times as matplotlib counts them: days since 1970, UTC."""
    return times.dt.tz_convert("UTC").to_numpy("datetime64[us]").astype("int64") / 86_400e6


def _clock(ax: Axes, tz: str | tzinfo) -> None:
    """Times below, of this zone, no more than say something."""
    locator = AutoDateLocator(tz=tz)  # type: ignore[no-untyped-call]
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=tz))  # type: ignore[no-untyped-call]
