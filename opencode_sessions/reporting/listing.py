"""The sessions of a report as a table, each under the one that called it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from ..showing.sessions import title
from ..showing.source import Row, is_known
from ..shown import escaped
from .measures import Measures, lasting

HEADS = (
    "started",
    "session",
    "model",
    "turns",
    "calls",
    "failed",
    "files",
    "lines",
    "at work",
    "cost",
)


def list_html(sessions: Sequence[Row], measures: Measures, anchors: Mapping[str, str]) -> str:
    """The table; a session that is told in full is a link to where it is."""
    heads = "".join(f"<th scope='col'>{head}</th>" for head in HEADS)
    rows = "".join(
        _row(session, depth, measures.summary(str(session["session_id"])), anchors)
        for session, depth in _in_order(sessions)
    )
    return (
        (
            "<section id='sessions'><h2>Sessions</h2><div class='wide'>"
            f"<table class='sessions'><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
            "</div></section>"
        )
        if sessions
        else ""
    )


def _row(session: Row, depth: int, did: Row, anchors: Mapping[str, str]) -> str:
    name = f"<span class='title'>{escaped(title(session))}</span>"
    if anchor := anchors.get(str(session["session_id"])):
        name = f"<a href='#{anchor}'>{name}</a>"
    inner = f"<span class='soft' style='padding-left:{min(depth, 6)}em'>└ </span>" if depth else ""
    model = escaped(str(session["model"])) if is_known(session["model"]) else ""
    lines = ""
    if is_known(did["churn"]) and did["churn"]:
        lines = (
            f"<span class='plus'>+{did['additions']:,}</span>"
            f" <span class='minus'>\N{MINUS SIGN}{did['deletions']:,}</span>"
        )
    started: Any = session["created_at"]
    cells = [
        _counted(did["turns"], "turn"),
        _counted(did["calls"], "call"),
        _counted(did["failed"], "failed"),
        _counted(did["files_changed"], "file"),
        _number(lines),
        _number(lasting(did["active_s"])),
        _number(f"${did['own_cost_usd']:,.2f}" if is_known(did["own_cost_usd"]) else ""),
    ]
    when: str = "" if pd.isna(started) else f"{started:%Y-%m-%d %H:%M}"
    return (
        f"<tr><td class='soft'>{when}</td><th scope='row'>{inner}{name}</th>"
        f"<td class='soft'>{model}</td>{''.join(cells)}</tr>"
    )


def _in_order(sessions: Sequence[Row]) -> Iterator[tuple[Row, int]]:
    """Each session once, the oldest first, those it called below it; a circle comes last."""
    ids = {str(session["session_id"]) for session in sessions}
    inner: dict[str | None, list[Row]] = defaultdict(list)
    for session in sessions:
        parent: Any = session["parent_session_id"]
        inner[str(parent) if is_known(parent) and str(parent) in ids else None].append(session)
    left = {str(session["session_id"]): session for session in sessions}
    waiting = [(session, 0) for session in (*sessions[::-1], *inner[None][::-1])]
    while waiting:
        session, depth = waiting.pop()
        id = str(session["session_id"])
        if left.pop(id, None) is not None:
            yield session, depth
            waiting += [(one, depth + 1) for one in inner[id][::-1]]


def _number(said: str) -> str:
    return f"<td class='number'>{said}</td>"


def _counted(count: Any, what: str) -> str:
    """A cell that says itself what it counts, for a page too narrow for a head of the column."""
    if not is_known(count) or not count:
        return _number("")
    many = what if count == 1 or what == "failed" else f"{what}s"
    state = " state" if what == "failed" else ""
    return f"<td class='number{state}' data-of='{many}'>{count:,}</td>"
