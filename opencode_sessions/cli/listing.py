"""`sessions`, `files` and `timeline`: what is stored, as tables."""

import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import OpencodeSessionsError
from ..shown import number_of
from .stores import Db, Json, read, say_empty

if TYPE_CHECKING:
    import pandas as pd

    from ..service import OpencodeSessionService

_Limit = Annotated[
    int, typer.Option("--limit", "-n", min=0, help="Rows of the table; 0 for all. JSON has all.")
]


def sessions(db: Db = None, limit: _Limit = 20, json: Json = False) -> None:
    """The stored sessions, newest first.

    Examples:

    - `opencode-sessions sessions`
    - `opencode-sessions sessions --json | jq .title`
    """
    from .tables import print_json, print_sessions

    frame = read(db, lambda service: service.sessions())
    if json:
        print_json(frame)
    elif frame.empty:
        say_empty(db)
    else:
        print_sessions(frame, limit)


def files(
    session: Annotated[
        str | None,
        typer.Argument(help="A session's id. By default all sessions.", show_default=False),
    ] = None,
    db: Db = None,
    limit: _Limit = 20,
    json: Json = False,
) -> None:
    """The files that were read, written and changed, busiest first.

    Examples:

    - `opencode-sessions files`
    - `opencode-sessions files ses_dfb94b0edffeI566j7sbRyceyc`
    - `opencode-sessions files --json | jq 'select(.failed > 0) | .file_path'`
    """
    from ..analytics import file_summary
    from .tables import print_files, print_json

    async def run(service: "OpencodeSessionService") -> "tuple[pd.DataFrame, bool]":
        events = await _events_of(service, session)
        return events, events.empty and (await service.sessions()).empty

    events, is_empty = read(db, run)
    summary = file_summary(events)
    if json:
        print_json(summary)
    elif is_empty:
        say_empty(db)
    elif summary.empty:
        _say_no_files(events)
    else:
        print_files(summary, events, limit)


def timeline(
    file: Annotated[
        str, typer.Argument(help="A path as `files` shows it, or enough of its end: `cli.py`.")
    ],
    session: Annotated[
        str | None, typer.Option(help="Only what this session did.", show_default=False)
    ] = None,
    db: Db = None,
    limit: _Limit = 0,
    json: Json = False,
) -> None:
    """What happened to one file, in order, over all sessions and renames.

    Examples:

    - `opencode-sessions timeline src/app.py`
    - `opencode-sessions timeline app.py --session ses_dfb94b0edffeI566j7sbRyceyc`
    """
    from ..analytics import file_timeline
    from .tables import print_json, print_timeline

    events = read(db, lambda service: _events_of(service, session))
    path = _path_in(events, file)
    story = file_timeline(events, path)
    if json:
        print_json(story)
    else:
        print_timeline(story, path, limit)


async def _events_of(service: "OpencodeSessionService", session: str | None) -> "pd.DataFrame":
    if session is not None:
        await service.get_session(session)  # or whoever mistyped it takes it for an idle one
    return await service.file_events(session)


def _say_no_files(events: "pd.DataFrame") -> None:
    """Say that sessions, which there are, touched no file of their own."""
    kinds = {"is_fork_copy": "copied by a fork", "is_undone": "of turns that were undone"}
    counts = {what: int(events[name].sum()) for name, what in kinds.items()}
    left = [f"{number_of(count, 'event')} {what}" for what, count in counts.items() if count]
    more = f" Not counted: {', '.join(left)}." if left else ""
    print(f"No file was read, written or changed.{more}", file=sys.stderr)


def _path_in(events: "pd.DataFrame", wanted: str) -> str:
    """The one path of these events that is meant.

    Raises:
        OpencodeSessionsError: no path or several are; the message names them, or the nearest.
    """
    paths: set[str] = {*events["file_path"].dropna(), *events["new_file_path"].dropna()}
    wanted = Path(wanted).as_posix()  # ./a//b is a/b
    if wanted in paths:
        return wanted
    for project in events["project"].dropna().unique():
        wanted = wanted.removeprefix(f"{project}/")
    found = sorted(path for path in paths if path == wanted or path.endswith(f"/{wanted}"))
    if len(found) == 1:
        return found[0]
    if found:
        raise OpencodeSessionsError(f"{wanted} may be {', '.join(found)}. Say more of it.")
    near = difflib.get_close_matches(wanted, paths, cutoff=0.4)
    hint = (
        f"Did you mean {', '.join(near)}?" if near else "`opencode-sessions files` names them all."
    )
    raise OpencodeSessionsError(f"Nothing happened to {wanted}. {hint}")
