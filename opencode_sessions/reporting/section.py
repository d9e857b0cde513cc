"""One session of a report: what it did in numbers, its timeline, its files, its conversation."""

import base64
import json
from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from ..analytics import Frames
from ..showing.picture import Picture
from ..showing.sessions import title
from ..showing.source import Row, is_known
from ..showing.story import SHELL, Story
from ..showing.svg import MARK, MARKS, legend_html, timeline_svg
from ..shown import escaped, number_of
from .conversation import Conversation
from .limits import Cut
from .measures import Measures

NO_MESSAGES = "This session has no messages yet: nothing was asked and nothing was done."
NO_TEXT = "Nothing that was said is in these frames."
NO_EVENTS = "No file was read, written or changed, and no command was run."


def section_html(
    frames: Frames, session: Row, measures: Measures, anchors: Mapping[str, str], cut: Cut
) -> str:
    """The section of a session; `frames` hold its rows alone."""
    id = str(session["session_id"])
    prefix = anchors[id]
    story = Story(frames.file_events)
    picture = Picture(story.events, names=story.names)
    conversation = Conversation(frames, picture, prefix, anchors, cut)
    told = "".join(conversation.html())
    tiles = "".join(
        f"<li><b>{escaped(measure.number)}</b> {escaped(measure.name)}"
        f"<span class='soft'>{escaped(measure.about)}</span></li>"
        for measure in measures.of(id)
    )
    if frames.messages.empty and story.events.empty:
        body = _note(NO_MESSAGES)
    else:
        body = (
            f"<ul class='measures'>{tiles}</ul>"
            f"{_drawn(story, picture, prefix, cut, conversation.left_out)}"
            f"{_files(story, picture, cut.files)}<h3>Conversation</h3>{told or _note(NO_TEXT)}"
        )
    return (
        f"<section class='session' id='{prefix}' data-prefix='{prefix}'>"
        f"<header><h2>{escaped(title(session))}</h2><p class='soft'>{_about(session)}</p></header>"
        f"{body}</section>"
    )


def _about(session: Row) -> str:
    version = session["opencode_version"]
    words = [
        "" if pd.isna(session["created_at"]) else f"{session['created_at']:%Y-%m-%d %H:%M} UTC",
        *(
            str(session[name])
            for name in ("project", "agent_name", "model", "origin")
            if is_known(session[name])
        ),
        f"opencode {version}" if is_known(version) else "",
        "subagent" if is_known(session["parent_session_id"]) else "",
        "deleted in opencode" if is_known(session["deleted_at"]) else "",
    ]
    return " · ".join(f"<span>{escaped(word)}</span>" for word in words if word)


def _drawn(story: Story, picture: Picture, prefix: str, cut: Cut, left_out: Collection[int]) -> str:
    """The picture, and the numbers that the script draws a livelier one from."""
    if story.events.empty:
        return _note(NO_EVENTS)
    still = f"<div class='still'>{_still(story, min(cut.marks, MARKS))}</div>"
    if not cut.limits.is_live:
        return f"<h3>Timeline</h3><figure class='timeline'>{still}</figure>"
    wire = {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for name, value in picture.wire().items()
    }
    places = [place for place in range(len(picture)) if place not in left_out]
    said = dict(zip(places, picture.all_details(places), strict=True))
    drawn = {"data": wire, "said": said}
    data = json.dumps(drawn, separators=(",", ":")).replace("<", "\\u003c")
    return (
        f"<h3>Timeline</h3><figure class='timeline' data-prefix='{prefix}'>{still}</figure>"
        f"<script type='application/json' id='{prefix}-data'>{data}</script>"
    )


def _still(story: Story, most: int) -> str:
    """The picture of the last events, for paper and where no script runs."""
    events, names = story.events.iloc[-most:], story.names.iloc[-most:]
    more = len(story.events) - len(events)
    note = _note(f"{number_of(more, 'earlier event')} are not drawn.") if more else ""
    return f"{legend_html(events)}{timeline_svg(events, names, None, None)}{note}"


def _files(story: Story, picture: Picture, most: int) -> str:
    files = story.files[story.files.index != SHELL]
    if files.empty:
        return ""
    lines = story.events.groupby(story.names)[["additions", "deletions"]].sum(min_count=1)
    rows = []
    for name, file in files.head(most).iterrows():
        kinds = " ".join(
            f"<span title='{kind}'><svg viewBox='-8 -8 16 16'><path d='{MARK[kind][1]}'"
            f" fill='{MARK[kind][0]}'/></svg>{file[kind]}</span>"
            for kind in MARK
            if file[kind]
        )
        former = (
            f" <span class='soft'>was {escaped(file['former'])}</span>" if file["former"] else ""
        )
        failed = f"<span class='state'>{file['failed']} failed</span>" if file["failed"] else ""
        added, removed = (lines[column].get(name) for column in ("additions", "deletions"))
        changed = "" if not is_known(added) and not is_known(removed) else _changed(added, removed)
        rows.append(
            f"<tr data-row='{picture.names.index(str(name))}'><th scope='row'>"
            f"<button class='path'>{escaped(str(name))}</button>{former}</th>"
            f"<td>{kinds} {failed}</td><td class='lines'>{changed}</td></tr>"
        )
    more = len(files) - len(rows)
    note = (
        _note(f"{number_of(more, 'more file')} with fewer events are not listed.") if more else ""
    )
    is_open = " open" if len(rows) <= 12 else ""
    heading = f"<summary><h3>{number_of(len(files), 'file')}</h3></summary>"
    return (
        f"<details class='files'{is_open}>{heading}<table>{''.join(rows)}</table>{note}</details>"
    )


def _changed(added: Any, removed: Any) -> str:
    plus, minus = (int(count) if is_known(count) else 0 for count in (added, removed))
    if not plus and not minus:
        return ""
    return f"<span class='plus'>+{plus:,}</span> <span class='minus'>\N{MINUS SIGN}{minus:,}</span>"


def _note(text: str) -> str:
    return f"<p class='note'>{escaped(text)}</p>"
