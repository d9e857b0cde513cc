"""Frames as tables in a terminal.

An agent typed most of what is shown, and a terminal obeys control characters and rich its markup:
every cell is cleaned and none is parsed.
"""

import json
import os
import unicodedata
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ..import_report import ImportReport
    from .doctor import Diagnosis

PIPE_WIDTH = 120  # columns of a table that goes into a file or a pipe
NARROW = 100  # columns below which the spare ones are left out


def clean(text: object) -> str:
    """Text as one line without control characters, nor those that reorder or hide text."""
    line = str(text).translate({ord(c): " " for c in "\t\n\r"})
    return "".join(c for c in line if unicodedata.category(c) not in {"Cc", "Cf", "Cs"})


def say(text: str, file: TextIO | None = None) -> None:
    """Print lines, each cleaned."""
    print("\n".join(map(clean, text.split("\n"))), file=file)


def print_json(what: "pd.DataFrame | ImportReport | Diagnosis") -> None:
    """Print a frame's rows, or a report, as JSON: one object a line, times in ISO 8601."""
    if not isinstance(what, pd.DataFrame):
        print(json.dumps(asdict(what)))
    elif not what.empty:  # pandas' JSON is ASCII: it obeys no terminal and fits every encoding
        lines = what.to_json(orient="records", lines=True, date_format="iso", date_unit="us")
        print(lines, end="")


def print_sessions(sessions: pd.DataFrame, limit: int) -> None:
    """Print the newest sessions; `limit` 0 prints all."""
    newest = sessions.sort_values("created_at", ascending=False, kind="stable")
    inner = newest["parent_session_id"].notna()
    title = newest["title"].fillna("(no title)").astype("str")
    _print(
        pd.DataFrame(
            {
                "session": newest["opencode_session_id"].fillna(newest["session_id"]),
                "started": newest["created_at"].dt.strftime("%Y-%m-%d %H:%M"),
                "turns": newest["turns"],
                "calls": newest["tool_calls"],
                "events": newest["file_events"],
                "title": title.mask(inner, "└ " + title),
            }
        ),
        f"Sessions, newest first (UTC){_label(sessions)}",
        limit,
        spare=("turns", "calls"),
    )


def print_files(summary: pd.DataFrame, events: pd.DataFrame, limit: int) -> None:
    """Print `file_summary(events)`, busiest first as it is; `limit` 0 prints all."""
    counts = ["events", "reads", "writes", "edits", "deletes", "moves", "failed", "sessions"]
    _print(
        pd.DataFrame(
            {
                "file": summary["file_path"],
                **_where_several(summary, "project"),
                **summary[counts],
                "+": summary["additions"],
                "-": summary["deletions"],
            }
        ),
        f"Files, busiest first{_label(events)}",
        limit,
        spare=("deletes", "moves", "sessions"),
    )


def print_timeline(timeline: pd.DataFrame, path: str, limit: int) -> None:
    """Print `file_timeline(events, path)`; `limit` 0 prints all."""
    lines = timeline["start_line"].astype("str") + "-" + timeline["end_line"].astype("str")
    _print(
        pd.DataFrame(
            {
                "time": timeline["time"].dt.strftime("%Y-%m-%d %H:%M:%S"),
                "session": timeline["opencode_session_id"].fillna(timeline["session_id"]),
                "turn": timeline["turn"],
                **_where_several(timeline, "project"),
                **_where_several(timeline.rename(columns={"file_path": "file"}), "file"),
                "what": timeline["event_type"],
                "failed": timeline["status"].astype("str").replace("completed", ""),
                "+": timeline["additions"],
                "-": timeline["deletions"],
                "lines": lines.where(timeline["start_line"].notna(), ""),
            }
        ),
        f"{path}, in order (UTC){_label(timeline)}",
        limit,
        spare=("turn", "lines"),
    )


def print_answers(found: pd.DataFrame) -> None:
    """Print what `svc.search` found."""
    _print(
        pd.DataFrame(
            {
                "time": found["time"].dt.strftime("%Y-%m-%d %H:%M"),
                "session": found["opencode_session_id"].fillna(found["session_id"]),
                "kind": found["kind"],
                **_where_several(found, "project"),
                "file": found["file_path"].where(found["kind"].isin(["diff", "error"])),
                "text": found["snippet"],
            }
        ),
        "Newest first (UTC)",
        0,
        spare=(),
    )


def _where_several(frame: pd.DataFrame, name: str) -> dict[str, pd.Series]:
    """The column, if its rows differ: one project for all says nothing."""
    return {name: frame[name]} if frame[name].nunique() > 1 else {}


def _label(frame: pd.DataFrame) -> str:
    """Whose rows these are, where they say so: a recording must never pass for one's own."""
    origins = sorted(frame["origin"].dropna().unique())
    partly = "partly " if frame["origin"].isna().any() else ""
    return f" · {partly}{', '.join(origins)}" if origins else ""


def _print(frame: pd.DataFrame, title: str, limit: int, *, spare: tuple[str, ...]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    if console.width < NARROW:
        frame = frame.drop(columns=list(spare))
    shown = frame.head(limit) if limit else frame
    table = Table(title=Text(clean(title), "bold"), title_justify="left", box=box.SIMPLE_HEAD)
    table.pad_edge, table.padding = False, (0, 1, 0, 0)
    names = [str(name) for name in shown]
    for name in names:
        number = pd.api.types.is_numeric_dtype(shown[name].dtype)
        cut = name in (
            "title",
            "file",
            "project",
            "text",
        )  # every other column keeps its width when space is short
        table.add_column(name, justify="right" if number else "left", no_wrap=not cut)
    for row in shown.itertuples(index=False):
        table.add_row(*map(_cell, names, row))
    console.print(table)
    if len(shown) < len(frame):
        print(f"  {len(shown)} of {len(frame)}\n")


def _cell(name: str, value: Any) -> Text:
    if pd.isna(value):
        return Text("")
    text = f"{value:,}" if isinstance(value, int) else clean(value)
    if name in ("file", "project", "text"):  # one copies it whole
        return Text(text, overflow="fold")
    return Text(text, overflow="ellipsis", no_wrap=True)
