"""What was said and done in a session, turn by turn, each call with what it did to files."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from ..analytics import Frames
from ..analytics.counting import FAILED
from ..loose import as_text
from ..parts import ToolCall, listed, tool_calls
from ..rows import row_id
from ..showing import diff
from ..showing.panels import kind_of
from ..showing.picture import Picture
from ..showing.source import Row, is_known
from ..showing.svg import MARK
from ..shown import escaped, escaped_lines, number_of
from .limits import Cut

OPEN_LINES = 16  # of a change that is open from the start
SUMMARY_LETTERS = 160
CHANGES = ("write", "edit", "delete", "move")


class Call(NamedTuple):
    """A tool call as the page shows it, from a part or from a row."""

    tool: str
    status: str
    title: str
    input: Mapping[str, Any]
    output: str
    error: str
    seconds: float | None
    child: str | None
    places: Sequence[int]


class Conversation:
    """The messages of one session as HTML.

    Each call has `data-places`, the places of its events on the timeline, and each event an id made
    of `prefix` and its place. Of many messages the first and the last are told; the places of
    what the others did are in `left_out`, once `html` has been read.
    """

    def __init__(
        self, frames: Frames, picture: Picture, prefix: str, anchors: Mapping[str, str], cut: Cut
    ) -> None:
        self._prefix, self._anchors, self._cut = prefix, anchors, cut
        self.left_out: set[int] = set()
        self._messages: list[Row] = frames.messages.to_dict("records")  # type: ignore[assignment]
        self._events: list[Row] = picture.events.to_dict("records")  # type: ignore[assignment]
        self._of_call: dict[str, list[int]] = defaultdict(list)
        self._of_message: dict[str, list[int]] = defaultdict(list)
        for place, event in enumerate(self._events):
            self._of_call[str(event["event_id"]).rpartition(".")[0]].append(place)
            self._of_message[str(event["message_id"])].append(place)
        self._rows: dict[str, list[Row]] = defaultdict(list)
        for row in frames.tool_calls.to_dict("records"):
            self._rows[str(row["message_id"])].append(row)

    def html(self) -> Iterator[str]:
        """Each turn, in order."""
        messages = self._messages
        skipped = len(messages) - self._cut.messages
        first = self._cut.messages // 8  # what was asked; what came of it is at the end
        turn: Any = None
        is_open = False
        for number, message in enumerate(messages):
            if first <= number < first + skipped:
                if number == first:
                    said = number_of(skipped, "message")
                    yield f"<p class='note'>{said} of the middle are not shown.</p>"
                self.left_out.update(self._of_message.pop(str(message["message_id"]), ()))
                continue
            begins = message["role"] == "user" or message["turn"] != turn
            if not is_open or (begins and message["turn"] != turn):
                turn = message["turn"]
                yield f"{'</section>' if is_open else ''}{self._turn(message)}"
                is_open = True
            yield self._message(message)
        if is_open:
            yield "</section>"
        left = sorted(place for places in self._of_message.values() for place in places)
        if left:
            self.left_out.update(left[self._cut.messages :])
            more = len(left) - self._cut.messages
            note = f"<p class='note'>{more:,} more are not shown.</p>" if more > 0 else ""
            said = self._left(left[: self._cut.messages])
            yield f"<section class='turn'><h4>Not told by any message</h4>{said}{note}</section>"

    def _turn(self, message: Row) -> str:
        number = f"Turn {message['turn']}" if is_known(message["turn"]) else "Before any prompt"
        time = _time(message["time"])
        return f"<section class='turn'><h4>{number} <span class='soft'>{time}</span></h4>"

    def _message(self, message: Row) -> str:
        is_user = message["role"] == "user"
        states = [
            *(["undone later"] if message["is_undone"] else []),
            *(["copied by a fork"] if message["is_fork_copy"] else []),
            *(
                ["a summary that replaced the context before it"]
                if message["is_compaction"]
                else []
            ),
        ]
        kind = " faint" if message["is_undone"] or message["is_fork_copy"] else ""
        notes = "".join(f"<p class='note'>{state}</p>" for state in states)
        body = notes + "".join(self._parts(message, is_user))
        if is_known(message["error"]):
            body += f"<pre class='bad'>{self._shown(str(message['error']))}</pre>"
        if not body:
            return ""
        who = "prompt" if is_user else "answer"
        return f"<div class='message {who}{kind}'>{body}</div>"

    def _parts(self, message: Row, is_user: bool) -> Iterator[str]:
        id = str(message["message_id"])
        parts = listed(message.get("parts"))
        if not parts or all({*part} <= {"type", "tool", "hash"} for part in parts):
            if is_known(message["content"]):
                yield self._text(str(message["content"]))
            for row in self._rows.pop(id, ()):
                yield self._call(self._from_row(row))
        for part in parts:
            text = as_text(part.get("text")) or as_text(part.get("content"))
            if call := next(tool_calls([part]), None):
                yield self._call(self._from_part(call, id))
            elif part.get("type") == "reasoning" and text:
                yield self._reasoning(text)
            elif part.get("type") == "text" and text and part.get("synthetic"):
                yield self._folded("What opencode added", text)
            elif part.get("type") == "text" and text:
                yield self._text(text)
            elif name := as_text(part.get("filename")):
                yield f"<p class='note'>attached: <span class='path'>{escaped(name)}</span></p>"
        if left := self._of_message.pop(id, []):
            yield self._left(left)

    # -- calls -------------------------------------------------------------------------------------

    def _from_part(self, call: ToolCall, message: str) -> Call:
        seconds = None
        if call.started_ms is not None and call.ended_ms is not None:
            seconds = (call.ended_ms - call.started_ms) / 1000
        said = call.part_id or (f"{message}/{call.call_id}" if call.call_id else None)
        places: Sequence[int] = self._of_call.pop(row_id(said), []) if said else []
        places = self._claimed(message, places, call.tool, call.call_id)
        child = as_text(call.metadata.get("sessionId")) or as_text(call.metadata.get("sessionID"))
        return Call(
            call.tool, call.status, call.title or "", call.input, call.output or "",
            call.error or "", seconds, child, places,
        )  # fmt: skip

    def _from_row(self, row: Row) -> Call:
        def text(name: str) -> str:
            return str(row[name]) if is_known(row[name]) else ""

        given = row.get("input")
        places = self._claimed(
            str(row["message_id"]),
            self._of_call.pop(str(row["tool_call_id"]), []),
            text("tool"),
            text("call_id") or None,
        )
        return Call(
            text("tool"), text("status"), text("title"), given if isinstance(given, dict) else {},
            "", text("error"), row["duration_s"] if is_known(row["duration_s"]) else None,
            text("child_session_id") or None, places,
        )  # fmt: skip

    def _claimed(
        self, message: str, places: Sequence[int], tool: str, call_id: str | None
    ) -> Sequence[int]:
        """The events of a call, which no other call of the message has then."""
        waiting = self._of_message[message]
        if not places:  # of an application that named no part
            same = [at for at in waiting if self._events[at]["tool"] == tool]
            named = [at for at in same if self._events[at]["call_id"] == call_id]
            places = named if call_id else same[:1]
        taken = {*places}
        self._of_message[message] = [at for at in waiting if at not in taken]
        return places

    def _call(self, call: Call) -> str:
        events = [self._events[place] for place in call.places]
        types = [str(event["event_type"]) for event in events]
        body = "".join(self._body(call, events))
        is_small = any(type in CHANGES for type in types) and body.count("<tr") <= OPEN_LINES
        is_bad = call.status in FAILED
        places = " ".join(map(str, call.places))
        took = f"{call.seconds:.1f} s" if call.seconds is not None and call.seconds >= 0.05 else ""
        label = self._label(call, events)
        head = (
            f"{_sign(types[0] if types else '', is_bad)}<b>{escaped(call.tool)}</b> {label}"
            f"{_lines(events)}{_state(call.status)}<span class='soft'>{took}</span>"
        )
        attributes = f" data-places='{places}'" if places else ""
        attributes += "".join(f" id='{self._prefix}e{place}'" for place in call.places[:1])
        kind = f"call {escaped(types[0]) if types else 'other'}{' failed' if is_bad else ''}"
        if not body:
            return f"<div class='{kind}'{attributes}><div class='head'>{head}</div></div>"
        opened = " open" if is_small or is_bad else ""
        return (
            f"<details class='{kind}'{attributes}{opened}><summary>{head}</summary>{body}</details>"
        )

    def _label(self, call: Call, events: Sequence[Row]) -> str:
        paths = [str(event["file_path"]) for event in events if is_known(event["file_path"])]
        if call.child and call.child in self._anchors:
            title = escaped(_short(call.title or "subagent"))
            return f"<a href='#{self._anchors[call.child]}'>{title}</a> "
        command = as_text(call.input.get("command"))
        if call.tool == "bash" and command:
            return f"<code>{escaped(_short(command))}</code> "
        if paths:
            more = f" and {len({*paths}) - 1} more" if len({*paths}) > 1 else ""
            moved = events[0]["new_file_path"]
            to = f" → <span class='path'>{escaped(str(moved))}</span>" if is_known(moved) else ""
            return f"<span class='path'>{escaped(paths[0])}</span>{to}{more} "
        known = (as_text(call.input.get(name)) for name in ("pattern", "query", "url", "command"))
        said = call.title or next((text for text in known if text), "")
        return f"<span class='find'>{escaped(_short(said))}</span> " if said else ""

    def _body(self, call: Call, events: Sequence[Row]) -> Iterator[str]:
        shown = [event for event in events if is_known(event.get("diff"))]
        for event in shown:
            if len(events) > 1:
                yield f"<p class='path'>{escaped(str(event['file_path']))}{_lines([event])}</p>"
            yield self._diff(event, call.status)
        command = as_text(call.input.get("command"))
        if call.tool == "bash" and command and (len(command) > SUMMARY_LETTERS or "\n" in command):
            yield f"<pre>$ {self._shown(command)}</pre>"
        elif call.input and not shown and call.tool not in ("bash", "read"):
            yield self._folded("Input", _as_text(call.input))
        if call.error:
            yield f"<pre class='bad'>{self._shown(call.error)}</pre>"
        elif call.output and not shown:
            yield f"<pre>{self._shown(call.output)}</pre>"

    def _diff(self, event: Row, status: str) -> str:
        text, limit = str(event["diff"]), self._cut.limits.diff_lines
        lines = text.count("\n") + 1
        if lines > limit:
            self._cut.leave_out(len(text) * (lines - limit) // lines)
        note = "" if status == "completed" else "<p class='note'>Asked for, and not done.</p>"
        if limit == 0:
            return f"{note}<p class='note'>{number_of(lines, 'line')} of a change.</p>"
        names = [event[name] for name in ("new_file_path", "file_path") if is_known(event[name])]
        return note + diff.diff_html(text, kind_of(event), limit, next(iter(names), None))

    def _left(self, places: Sequence[int]) -> str:
        """Events that no call of their message did, as far as is known: what a command changed."""
        calls = []
        for place in places:
            event = self._events[place]
            error = str(event["error"]) if is_known(event["error"]) else ""
            given = {"command": event["command"]} if is_known(event["command"]) else {}
            what = str(event["event_type"]), str(event["status"])
            calls.append(self._call(Call(*what, "", given, "", error, None, None, [place])))
        return "".join(calls)

    # -- texts -------------------------------------------------------------------------------------

    def _text(self, text: str) -> str:
        shown, more = self._cut.text(text)
        return f"<div class='text'>{escaped_lines(shown)}{_more(more)}</div>"

    def _shown(self, text: str) -> str:
        shown, more = self._cut.output(text)
        return f"{escaped_lines(shown)}{_more(more)}"

    def _reasoning(self, text: str) -> str:
        return self._folded("Reasoning", text, "reasoning")

    def _folded(self, name: str, text: str, kind: str = "input") -> str:
        beginning = "" if kind == "input" else f" <span class='find'>{escaped(_short(text))}</span>"
        return (
            f"<details class='{kind}'><summary>{name}{beginning}</summary>"
            f"<pre>{self._shown(text)}</pre></details>"
        )


def _more(note: str) -> str:
    return f"\n<i class='note'>{note}</i>" if note else ""


def _short(text: str) -> str:
    words = " ".join(text[: 2 * SUMMARY_LETTERS].split())
    return words if len(words) <= SUMMARY_LETTERS else f"{words[:SUMMARY_LETTERS]}…"


def _as_text(arguments: Mapping[str, Any]) -> str:
    return "\n".join(
        f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in arguments.items()
    )


def _lines(events: Sequence[Row]) -> str:
    known = [e for e in events if is_known(e["additions"]) and is_known(e["deletions"])]
    changed = [e for e in known if e["additions"] or e["deletions"]]
    if not changed:
        return ""
    added, removed = (sum(int(e[name]) for e in changed) for name in ("additions", "deletions"))
    return (
        f" <span class='lines'><span class='plus'>+{added:,}</span>"
        f" <span class='minus'>\N{MINUS SIGN}{removed:,}</span></span> "
    )


def _state(status: str) -> str:
    if status in FAILED:
        return f"<span class='state'>{escaped(status)}</span> "
    return "<span class='state'>has not ended</span> " if status == "pending" else ""


def _sign(type: str, is_bad: bool) -> str:
    """The mark of the timeline, before a call."""
    if type not in MARK:
        return "<svg viewBox='-8 -8 16 16'><circle r='2' fill='currentColor'/></svg>"
    colour, shape = MARK[type]
    ring = "<circle r='7' fill='none' stroke='currentColor'/>" if is_bad else ""
    return f"<svg viewBox='-8 -8 16 16'><path d='{shape}' fill='{colour}'/>{ring}</svg>"


def _time(time: Any) -> str:
    return "" if pd.isna(time) else f"{time:%Y-%m-%d %H:%M:%S} UTC"
