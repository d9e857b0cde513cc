"""The list of sessions: in an order, subagents under their parent, narrowed by words."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from ..shown import number_of, visible
from .source import Row, is_known

LISTED = 200  # options a page lays out and a kernel sends without a delay
TITLE_LETTERS = 90
SHOWN = [
    *("session_id", "opencode_session_id", "parent_session_id", "title", "created_at"),
    *("file_events", "turns", "origin", "archived_at", "deleted_at", "project", "agent_name"),
    "model",
]
# By what, and whether the smallest comes first.
SORTS = {
    "newest first": ("created_at", False),
    "oldest first": ("created_at", True),
    "most events first": ("file_events", False),
    "by title": ("title", True),
}


class Listed(NamedTuple):
    """What a list shows: options as (label, session_id), and how many would fit the words."""

    options: tuple[tuple[str, str], ...]
    total: int


class _Entry(NamedTuple):
    id: str
    label: str
    said: str
    ids: tuple[str, ...]

    def has(self, word: str) -> bool:
        """Whether it says a word, or has an id that begins so: inside of ids is every number."""
        return word in self.said or any(id.startswith(word) for id in self.ids)


class SessionList:
    """The sessions of a store, to be listed and looked up."""

    def __init__(self, sessions: pd.DataFrame) -> None:
        self._sessions = sessions[SHOWN]
        self._rows = {str(one["session_id"]): one for one in self._sessions.to_dict("records")}
        self._row_ids = {one["opencode_session_id"]: id for id, one in self._rows.items()}
        width = len(f"{sessions['file_events'].max():,}") if self._rows else 0
        self._entries = {id: _entry(one, self._depth(id), width) for id, one in self._rows.items()}
        self._ordered: dict[str, list[_Entry]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, session: str | None) -> Row | None:
        """The session with this id, its row's or opencode's."""
        return self._rows.get(session or "") or self._rows.get(self._row_ids.get(session, ""))

    def newest(self) -> str | None:
        """The id of the newest session that touched a file, else of the newest."""
        busy = self._sessions[self._sessions["file_events"] > 0]
        by_age = (self._sessions if busy.empty else busy).sort_values("created_at", kind="stable")
        return None if by_age.empty else str(by_age["session_id"].iloc[-1])

    def listed(self, sort: str, words: Sequence[str], chosen: str | None) -> Listed:
        """The first `LISTED` sessions with all these words in this order, and the chosen one."""
        if sort not in self._ordered:
            self._ordered[sort] = [self._entries[id] for id in self._in_order(*SORTS[sort])]
        fitting = self._ordered[sort]
        if words:
            fitting = [entry for entry in fitting if all(map(entry.has, words))]
        shown = fitting[:LISTED]
        if further := [entry for entry in fitting[LISTED:] if entry.id == chosen]:
            shown[-1:] = further
        return Listed(tuple((entry.label, entry.id) for entry in shown), len(fitting))

    def _in_order(self, by: str, is_ascending: bool) -> Iterator[str]:
        """Every id once, in this order; subagents follow the one that called them, in time."""
        table = self._sessions.sort_values(
            [by, "created_at"], ascending=[is_ascending, True], kind="stable"
        )
        ids = table["session_id"].astype("str").tolist()
        children: dict[str | None, list[str]] = defaultdict(list)
        for id in self._sessions.sort_values("created_at", kind="stable")["session_id"]:
            children[self._parent(id)].append(id)
        roots = [id for id in ids if self._parent(id) is None]
        # Sessions that call each other in a circle hang under no root: they come last.
        waiting, left = [*reversed(ids), *reversed(roots)], set(ids)
        while waiting:
            if (id := waiting.pop()) in left:
                left.remove(id)
                waiting += reversed(children[id])
                yield id

    def _parent(self, session: str) -> str | None:
        """The session that called this one, if it is here."""
        parent = self._rows[session]["parent_session_id"]
        return parent if is_known(parent) and parent in self._rows else None

    def _depth(self, session: str) -> int:
        """How many sessions stand above it; a circle ends where it closes."""
        above = [session]
        while (parent := self._parent(above[-1])) is not None and parent not in above:
            above.append(parent)
        return len(above) - 1


def session_label(session: Row, depth: int = 0, width: int = 0) -> str:
    """A session as the list shows it, `depth` levels below the one that began it."""
    started = session["created_at"]
    when: str = f"{'':<16}" if pd.isna(started) else f"{started:%Y-%m-%d %H:%M}"
    count = f"{session['file_events']:,}".rjust(width)
    events = f"{count} event{' ' if session['file_events'] == 1 else 's'}"
    is_called = depth or is_known(session["parent_session_id"])
    inner = "   " * max(depth - 1, 0) + "└ " if is_called else ""
    marks = [name for name in ("archived", "deleted") if is_known(session[f"{name}_at"])]
    marks += [visible(session["origin"])] if is_known(session["origin"]) else []
    return f"{when}  {events}  {inner}{title(session)}{''.join(f'  · {mark}' for mark in marks)}"


def title(session: Row) -> str:
    """A session's title, short, with nothing hidden in it; plain text, not HTML."""
    name = session["title"] if is_known(session["title"]) else "(no title)"
    return visible(name[:TITLE_LETTERS]) + ("…" if len(name) > TITLE_LETTERS else "")


def listed_note(listed: Listed, total: int) -> str:
    """How many sessions there are, and how many of them the list shows."""
    shown = len(listed.options)
    if total and not listed.total:
        return f"none of {number_of(total, 'session')} has these words"
    of = "" if listed.total == total else f" of {total:,}"
    if shown == listed.total:
        return f"{number_of(shown, 'session') if not of else f'{shown:,}'}{of}"
    more = listed.total - shown
    return f"{shown:,} of {listed.total:,} · {more:,} more: the filter searches all"


def _entry(session: Row, depth: int, width: int) -> _Entry:
    names = ("title", "project", "agent_name", "model")
    ids = (session[name] for name in ("session_id", "opencode_session_id"))
    label = session_label(session, depth, width)
    said = [label, *(str(session[name]) for name in names if is_known(session[name]))]
    return _Entry(
        str(session["session_id"]),
        label,
        "\n".join(said).casefold(),
        tuple(str(id).casefold() for id in ids if is_known(id)),
    )
