"""What a timeline draws of file events: rows of files, and a few numbers a mark.

Strings stay here. The browser gets twelve bytes a mark, and asks for the words of the one mark that
somebody points at.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..analytics import file_timeline
from ..analytics.counting import EXTRAS, FAILED, codes, numbered, places_in_order
from ..errors import OpencodeSessionsError
from ..shown import visible
from .story import OF_FILES, SHELL
from .svg import MARK, OTHER

TEXT_LETTERS = 300  # of a command, an error or a path: what a tooltip can hold
FAILED_BIT, FAINT_BIT = 8, 16  # beside the kind of a mark, which takes three bits
LINES_STEPS = 12  # of the byte that says how many lines, for each doubling
UNTOLD = 255  # as that byte: nobody knows how many

NEEDED = (
    *("event_id", "session_id", "project", "turn", "seq", "time", "actor", "event_type"),
    *("file_path", "new_file_path", "command", "status", "error", "additions", "deletions"),
    *("is_fork_copy", "is_undone"),
)

Column = np.ndarray[Any, np.dtype[Any]]


class Group(NamedTuple):
    """Events on one axis from its start: places `start` to `end`, rows `first_row` to `end_row`."""

    start: int
    end: int
    first_row: int
    end_row: int
    session: str


class Picture:
    """File events as rows and marks.

    `events` are all of them in the order they happened; side by side, session after session.
    `names` has for each row the last name of its file, SHELL for the commands, `counts` its events;
    the busiest come first, the commands last, in each of the `groups` by itself.

    A number an event: `row` (u2, or u4 for very many), `kind` (u1: the place in `svg.MARK`, and
    bits), `lines` (u1: added and removed, as a logarithm), `time` (f8: milliseconds, NaN where not
    known). `turns` (u4) has for each turn the place where it begins, its number, and which session
    it is of, from 1 in the order they come; 0 where all events are of one.

    `names` are the files of the events as a `Story` has them, where somebody has made one.

    Raises:
        TypeError: the events are no DataFrame.
        OpencodeSessionsError: they lack a column.
    """

    def __init__(
        self,
        events: pd.DataFrame,
        *,
        side_by_side: bool = False,
        names: "pd.Series[Any] | None" = None,
    ) -> None:
        _check(events)
        sessions = codes(events["session_id"])
        if side_by_side:
            sessions = pd.factorize(sessions)[0].astype("int64")
            places = np.lexsort((events["seq"].to_numpy("int64", na_value=-1), sessions))
        else:
            places = places_in_order(events[["session_id", "seq", "time"]])
        if not np.array_equal(places, np.arange(len(events))):
            events, sessions = events.iloc[places], sessions[places]
            names = None if names is None else names.iloc[places]
        self.events = events.reset_index(drop=True)
        file, files = _files(self.events) if names is None else _coded(names)
        self.groups: list[Group] = []
        self.names: list[str] = []
        self.counts: list[int] = []
        rows = [
            self._add_group(start, end, file[start:end], files)
            for start, end in _runs(sessions if side_by_side else np.zeros_like(sessions))
        ]
        self.row = np.concatenate(rows) if rows else np.zeros(0, "i8")
        self.row = self.row.astype("u2" if len(self.names) < 1 << 16 else "u4")
        self.kind = _kinds(self.events)
        self.lines = _lines(self.events)
        time = self.events["time"].to_numpy("datetime64[us]")
        self.time = np.where(np.isnat(time), np.nan, time.astype("int64") / 1_000)
        self.turns = _turns(self.events["turn"], sessions)

    def __len__(self) -> int:
        return len(self.events)

    def place_of(self, event: str) -> int:
        """Where the event stands.

        Raises:
            OpencodeSessionsError: there is no such event.
        """
        found = np.flatnonzero((self.events["event_id"] == event).to_numpy(bool))
        if not len(found):
            raise OpencodeSessionsError(
                f"This timeline has no event {event!r}. See `timeline.events.event_id`."
            )
        return int(found[0])

    def row_of(self, file: str) -> int:
        """The first row of this name.

        Raises:
            OpencodeSessionsError: no row has it.
        """
        if file not in self.names:
            busiest = ", ".join(map(repr, self.names[:3])) or "none, it is empty"
            raise OpencodeSessionsError(f"This timeline has no row {file!r}. Busiest: {busiest}.")
        return self.names.index(file)

    def between(self, first: int, last: int) -> pd.DataFrame:
        """The events from one place to another, both included; side by side, of each session."""
        parts = [
            self.events.iloc[group.start + first : min(group.start + last + 1, group.end)]
            for group in self.groups
        ]
        return pd.concat(parts) if parts else self.events

    def begins_as(self, other: "Picture") -> bool:
        """Whether it is the other one and maybe more, as that of a session which goes on."""
        count = len(other)
        if not 0 < count <= len(self):
            return False
        mine, theirs = self.events["event_id"].iloc[:count], other.events["event_id"]
        return [g[0] for g in self.groups] == [g[0] for g in other.groups] and mine.equals(theirs)

    def wire(self) -> dict[str, Any]:
        """What `static/timeline.js` draws: `words`, for JSON, and columns as bytes."""
        columns = {"time": self.time, "rows": self.row, "kind": self.kind}
        columns |= {"lines": self.lines, "turns": self.turns}
        return {"words": self.words(), **{name: each.tobytes() for name, each in columns.items()}}

    def words(self) -> dict[str, Any]:
        """All that is no number a mark, for JSON; nothing in it hides."""
        return {
            "labels": [visible(name) or "shell" for name in self.names],
            "shells": [row for row, name in enumerate(self.names) if name == SHELL],
            "counts": self.counts,
            "groups": [[*group[:4], visible(group.session)] for group in self.groups],
            "marks": [[name, colour, shape] for name, (colour, shape) in MARK.items()],
        }

    def details(self, place: int) -> list[list[str]]:
        """What there is to say of one event: headings and texts; nothing in them hides."""
        event = {name: self.events[name].iloc[place] for name in NEEDED}
        return [[heading, visible(text)] for heading, text in _said(event)]

    def all_details(self, places: Sequence[int]) -> list[list[list[str]]]:
        """`details` of all these events, for a page that cannot ask for them."""
        events = self.events[[*NEEDED]].iloc[[*places]].to_dict("records")
        return [[[heading, visible(text)] for heading, text in _said(event)] for event in events]  # type: ignore[arg-type]

    def _add_group(self, start: int, end: int, file: Column, files: "pd.Index[str]") -> Column:
        """Adds the rows of these events; returns the row of each. A file of -1 is a command."""
        counts = np.bincount(file + 1, minlength=len(files) + 1)
        busiest = np.argsort(-counts[1:], kind="stable") + 1
        order = np.append(busiest, 0)
        order = order[counts[order] > 0]
        first = len(self.names)
        row = np.empty(len(counts), "i8")
        row[order] = first + np.arange(len(order))
        self.names += [files[code - 1] if code else SHELL for code in order]
        self.counts += counts[order].tolist()
        session = str(self.events["session_id"].iloc[start])
        self.groups.append(Group(start, end, first, len(self.names), session))
        placed: Column = row[file + 1]
        return placed


def no_events() -> pd.DataFrame:
    """A frame without rows that a picture can be made of."""
    empty = pd.DataFrame(columns=[*NEEDED]).astype("str")
    flags = dict.fromkeys(("is_fork_copy", "is_undone"), "bool")
    numbers = dict.fromkeys(("turn", "seq", "additions", "deletions"), "Int32")
    return empty.astype({**flags, **numbers, "time": "datetime64[us, UTC]"})


def _check(events: pd.DataFrame) -> None:
    if not isinstance(events, pd.DataFrame):
        raise TypeError(
            f"A timeline shows file events, not {type(events).__name__}. "
            "Try `ocs.FileTimeline(frames.file_events)`."
        )
    if missing := [name for name in NEEDED if name not in events]:
        raise OpencodeSessionsError(
            f"These are no file events: {', '.join(missing)} missing. "
            "`frames.file_events` has all that a timeline needs, and so has any choice of its rows."
        )


def _files(events: pd.DataFrame) -> "tuple[Column, pd.Index[str]]":
    """For each event the number of its file, by the last name that had; -1 for a command.

    Only where something was moved can that be another name than the event's own.
    """
    path = events["file_path"]
    moves = events.loc[events["new_file_path"].notna(), ["file_path", "new_file_path"]]
    moved = {*moves["file_path"].dropna(), *moves["new_file_path"]}
    places = np.flatnonzero(path.isin(moved))
    of_files = events[OF_FILES].iloc[places].assign(place=places)
    histories = file_timeline(of_files, include=EXTRAS)
    last = histories["last_path"]
    own = path.astype("category").cat.categories
    names: pd.Index[str] = pd.Index(own.union(last.cat.categories), dtype="str")
    file = numbered(path, names)
    file[histories["place"].to_numpy()] = numbered(last, names)
    return file, names


def _coded(names: "pd.Series[Any]") -> "tuple[Column, pd.Index[str]]":
    return codes(names) - 1, names.cat.categories[1:]  # the first is SHELL


def _runs(values: Column) -> Iterator[tuple[int, int]]:
    bounds = np.flatnonzero(np.diff(values, prepend=-1, append=-1))
    return zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)


def _kinds(events: pd.DataFrame) -> Column:
    types = events["event_type"].astype("category")
    known = {name: place for place, name in enumerate(MARK)}
    places = np.array([*(known.get(name, OTHER) for name in types.cat.categories), OTHER], "u1")
    kinds = places[types.cat.codes]
    kinds |= np.where(events["status"].isin(FAILED), FAILED_BIT, 0).astype("u1")
    faint = (events["is_undone"] | events["is_fork_copy"]).to_numpy(bool)
    kinds |= np.where(faint, FAINT_BIT, 0).astype("u1")
    return kinds


def _lines(events: pd.DataFrame) -> Column:
    known = (events["additions"] + events["deletions"]).to_numpy("f8", na_value=np.nan)
    steps = np.round(LINES_STEPS * np.log2(1 + known))
    return np.where(np.isnan(steps), UNTOLD, np.minimum(steps, UNTOLD - 1)).astype("u1")


def _turns(turn: "pd.Series[int]", sessions: Column) -> Column:
    turns = turn.to_numpy("i8", na_value=0)
    begins = (np.diff(turns, prepend=-1) != 0) | (np.diff(sessions, prepend=-1) != 0)
    places = np.flatnonzero(begins)
    number, different = pd.factorize(sessions[places])
    of = number + 1 if len(different) > 1 else np.zeros_like(places)
    return np.stack([places, turns[places], of], axis=1).astype("u4")


def _said(event: dict[str, Any]) -> Iterator[tuple[str, str]]:
    status = str(event["status"])
    put_back = [("undone", event["is_undone"]), ("copied by a fork", event["is_fork_copy"])]
    states = [status, *(name for name, is_so in put_back if is_so)]
    yield str(event["event_type"]), ", ".join(states)
    for heading, name in (("", "file_path"), ("to", "new_file_path"), ("$", "command")):
        if not pd.isna(event[name]):
            yield heading, _short(str(event[name]))
    if not (pd.isna(event["additions"]) or pd.isna(event["deletions"])):
        yield "lines", f"+{event['additions']} \N{MINUS SIGN}{event['deletions']}"
    if not pd.isna(event["time"]):
        yield "time", f"{event['time']:%Y-%m-%d %H:%M:%S} UTC"
    if not pd.isna(event["turn"]):
        yield "turn", str(event["turn"])
    if not pd.isna(event["error"]):
        yield "error", _short(str(event["error"]))


def _short(text: str) -> str:
    return text if len(text) <= TEXT_LETTERS else f"{text[:TEXT_LETTERS]}…"
