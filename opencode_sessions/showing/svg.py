"""A session's file events as one static SVG: a row a file, a mark an event, in their order.

No script, no colour that a theme could hide, shape repeats colour: the same picture serves the live
explorer, an exported page and a notebook on GitHub.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..analytics.counting import FAILED
from ..shown import escaped, number_of, visible

ROWS = 19  # files with a row of their own, busiest first
MARKS = 2_000  # what a page lays out without a delay: of more, those around the chosen one
WIDTH, LABEL, RIGHT = 920, 190, 12  # all lengths in SVG units, a pixel at full width
TOP, ROW = 18, 18
LABEL_LETTERS = 28
TURN_LABEL, SESSION_LABEL = 44, 64
DASHED = " stroke-dasharray='2 3'"
TURN_APART = 14  # the least room for a turn, on average, for turns to be shown
ROOM, SMALLEST = 7, 0.75  # a mark with less room than this shrinks, but not below this scale

# Okabe and Ito's colours, told apart by the colour-blind; 3:1 or better on white and on black.
MARK = {
    "read": ("#0072B2", "M-4.2 0a4.2 4.2 0 1 0 8.4 0a4.2 4.2 0 1 0 -8.4 0z"),
    "write": ("#D55E00", "M0 -5L5 4.2L-5 4.2z"),
    "edit": ("#009E73", "M-4 -4H4V4H-4z"),
    "delete": (
        "#B0558A",
        "M-4 -5.4L0 -1.4L4 -5.4L5.4 -4L1.4 0L5.4 4L4 5.4L0 1.4L-4 5.4L-5.4 4L-1.4 0L-5.4 -4z",
    ),
    "move": ("#B8860B", "M-4 -5L5 0L-4 5L-1.5 0z"),
    "bash": ("#7A7A7A", "M0 -5.4L5.4 0L0 5.4L-5.4 0z"),
    "other": ("#7A7A7A", "M-5 -1.8H5V1.8H-5z"),  # written by a version that knows more types
}
OTHER = [*MARK].index("other")
INK = "var(--jp-content-font-color1, currentColor)"
FAINT = "var(--jp-content-font-color3, #999)"
FADED = " opacity='.5'"
FONT = "font-family='var(--jp-ui-font-family, sans-serif)' font-size='11'"


Numbers = np.ndarray[Any, np.dtype[np.floating[Any]]]


class Row(NamedTuple):
    """One row of the picture: the path ("" for commands) and its height from the top."""

    path: str
    y: float


def timeline_svg(
    events: pd.DataFrame,
    paths: pd.Series,
    file: str | None,
    selected: str | None,
    room: int = 0,
) -> str:
    """The picture of one session's events.

    Args:
        events: the session's file events, in order.
        paths: for each of them the row it belongs to: the last name of its file, "" for commands.
        file: the row to bring out.
        selected: the event_id of the mark to box.
        room: for how many events the axis has room, if for more than these.
    """
    files = paths[paths != ""].value_counts()
    shown = list(files.index[:ROWS])
    if file and file not in shown:
        shown[-1:] = [file]
    if (paths == "").any():
        shown.insert(0, "")
    rows = {path: Row(path, TOP + ROW * (n + 0.5)) for n, path in enumerate(shown)}
    end = TOP + ROW * len(rows) + 4
    left_out = files[[name for name in files.index if name not in rows]]
    height = end + ROW * bool(len(left_out))
    x = _places(len(events), max(room, len(events)))
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}'"
        f" width='100%' style='max-width:{WIDTH * 1.2:.0f}px' role='img' {FONT} fill='{INK}'>"
        f"<title>{len(events)} events of the session in order, by file</title>",
        *_turns(events, x, end),
        *(_row(row, row.path == file) for row in rows.values()),
        *_marks(events, paths, x, rows, selected),
        *_left_out(left_out, end),
        "</svg>",
    ]
    return "".join(parts)


def legend_html(events: pd.DataFrame) -> str:
    """What the marks mean, for the types that are there."""
    there = {*marked(events["event_type"])}
    types = [type for type in MARK if type in there]
    items = [_sample(_shape(type), type) for type in types]
    if events["status"].isin(FAILED).any():
        items.append(_sample(_ring(), "failed"))
    if _faded(events).any():
        items.append("faded: undone, or copied by a fork")
    return f"<div class='ocs-legend'>{'&emsp;'.join(items)}</div>"


def _places(count: int, room: int) -> Numbers:
    """Where each event stands from left to right: by order, as sessions idle for hours."""
    step = (WIDTH - LABEL - RIGHT) / max(room, 1)
    return LABEL + step * (np.arange(count) + 0.5)


def _left_out(files: "pd.Series[int]", end: float) -> Iterator[str]:
    """How many files have no row, and how much happened on them."""
    if len(files):
        said = f"{number_of(len(files), 'more file')}, {number_of(int(files.sum()), 'event')}"
        yield f"<text x='{LABEL}' y='{end + 11:.1f}' fill='{FAINT}'>{said}</text>"


def _turns(events: pd.DataFrame, x: Numbers, height: float) -> Iterator[str]:
    """A line where each turn begins, and its number where there is room; none that are a fence.

    Of several sessions, where one begins or goes on, its number in their order.
    """
    turns = events["turn"].to_numpy("int64", na_value=0)
    sessions, different = pd.factorize(events["session_id"])
    comes = np.diff(sessions, prepend=0 if len(different) == 1 else -1) != 0
    begins = np.flatnonzero(comes | (np.diff(turns, prepend=turns[:1] - 1) != 0))
    if len(begins) * TURN_APART > WIDTH - LABEL - RIGHT:
        return
    at = x[begins] - (x[1] - x[0]) / 2 if len(x) > 1 else np.array([LABEL] * len(begins))
    free_from = 0.0
    for place, start, end in zip(begins, at, np.append(at[1:], WIDTH), strict=True):
        yield (
            f"<path d='M{start:.1f} {TOP - 4}V{height - 4}' stroke='{FAINT}'"
            f" stroke-width='.7'{'' if comes[place] else DASHED}/>"
        )
        is_soon_over = comes[place] and end < start + SESSION_LABEL
        if start >= free_from and not is_soon_over:
            text = f"session {sessions[place] + 1}" if comes[place] else f"turn {turns[place]}"
            yield f"<text x='{start + 2:.1f}' y='10' fill='{FAINT}'>{text}</text>"
            free_from = start + (SESSION_LABEL if comes[place] else TURN_LABEL)


def _row(row: Row, is_chosen: bool) -> str:
    label = visible(row.path) if row.path else "shell"
    if len(label) > LABEL_LETTERS:
        end = label[1 - LABEL_LETTERS :]
        label = "…" + end[max(end.find("/"), 0) :]
    weight = " font-weight='bold'" if is_chosen else ""
    return (
        f"<text x='{LABEL - 8}' y='{row.y + 4:.1f}' text-anchor='end'{weight}>{escaped(label)}"
        f"<title>{escaped(row.path or 'commands')}</title></text>"
        f"<path d='M{LABEL} {row.y:.1f}H{WIDTH - RIGHT}' stroke='{FAINT}'"
        f" stroke-width='{1.2 if is_chosen else 0.4}'/>"
    )


def _marks(
    events: pd.DataFrame,
    paths: pd.Series,
    x: Numbers,
    rows: dict[str, Row],
    selected: str | None,
) -> Iterator[str]:
    in_rows = np.flatnonzero(paths.isin(list(rows)).to_numpy())
    chosen = np.flatnonzero((events["event_id"] == selected).to_numpy())
    if len(in_rows) > MARKS:
        middle = int(np.searchsorted(in_rows, chosen[0])) if len(chosen) else len(in_rows)
        start = min(max(middle - MARKS // 2, 0), len(in_rows) - MARKS)
        in_rows = in_rows[start : start + MARKS]
    # What failed is painted after the others and the chosen one last: nothing covers their marks.
    failed = events["status"].isin(FAILED).to_numpy()[in_rows]
    in_rows = in_rows[np.lexsort((in_rows, failed, np.isin(in_rows, chosen)))]
    some = events.iloc[in_rows]
    scale = min(1, max(SMALLEST, (x[1] - x[0]) / ROOM)) if len(x) > 1 else 1
    for place, name, mark, type, status, time, is_failed, is_faded in zip(
        in_rows,
        paths.iloc[in_rows],
        marked(some["event_type"]),
        some["event_type"].astype("str").fillna("unknown"),
        some["status"].astype("str").fillna("unknown"),
        some["time"].dt.strftime(", %H:%M:%S UTC").fillna(""),
        some["status"].isin(FAILED),
        _faded(some),
        strict=True,
    ):
        yield (
            f"<g transform='translate({x[place]:.1f} {rows[name].y:.1f})'>"
            f"<title>{place + 1}: {escaped(type)}, {escaped(status)}{time}</title>"
            f"<g transform='scale({scale:.2f})'{FADED if is_faded else ''}>{_shape(mark)}"
            f"{_ring() if is_failed else ''}</g>{_box() if place in chosen else ''}</g>"
        )


def _faded(events: pd.DataFrame) -> pd.Series:
    return events["is_undone"] | events["is_fork_copy"]


def marked(types: pd.Series) -> pd.Series:
    """Under which mark each event is shown."""
    return types.astype("str").where(types.isin([*MARK]), "other")


def _shape(mark: str) -> str:
    colour, shape = MARK[mark]
    edge = "stroke='var(--jp-layout-color0, Canvas)' stroke-width='.8'"  # between marks that touch
    return f"<path d='{shape}' fill='{colour}' {edge}/>"


def _ring() -> str:
    return f"<circle r='7' fill='none' stroke='{INK}' stroke-width='1.3'/>"


def _box() -> str:
    return (
        "<rect x='-8.5' y='-8.5' width='17' height='17' rx='2' fill='none'"
        f" stroke='{INK}' stroke-width='1.8'/>"
    )


def _sample(mark: str, means: str) -> str:
    return (
        "<span style='white-space:nowrap'>"
        "<svg width='16' height='16' viewBox='-8 -8 16 16' style='vertical-align:-3px'"
        " aria-hidden='true'>"
        f"{mark}</svg> {means}</span>"
    )
