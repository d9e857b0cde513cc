"""`svc.search`: a question in words, and its answers as a DataFrame."""

from collections.abc import Collection
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from .analytics.choosing import of_project
from .analytics.columns import TIME
from .analytics.paths import posix_path, project_of
from .errors import OpencodeSessionsError
from .store import Store
from .store.searching.answers import KINDS, Answer, Kind, Search
from .words import asked

OF_SESSION = ("id", "opencode_id", "title", "workdir", "worktree", "project_id")
SLOW = 1.0  # seconds; a bar that only flashes up is worse than none
DTYPES: dict[str, Any] = {
    "time": TIME,
    "kind": pd.CategoricalDtype(pd.Index(KINDS, dtype="str")),
    "snippet": "str",
    "file_path": "str",
    "project": "str",
    "title": "str",
    "session_id": "str",
    "opencode_session_id": "str",
    "message_id": "str",
    "event_id": "str",
}


async def search(
    store: Store,
    text: str,
    project: str | None,
    kind: Kind | Collection[Kind] | None,
    limit: int,
    *,
    progress: bool,
) -> pd.DataFrame:
    """The answers of a store, newest first; see `Reader.search`.

    Raises:
        OpencodeSessionsError: there is no such kind.
    """
    kinds = KINDS if kind is None else (kind,) if isinstance(kind, str) else tuple(kind)
    if unknown := [str(one) for one in kinds if one not in KINDS]:
        raise OpencodeSessionsError(
            f"There is no kind {', '.join(unknown)}. There are {', '.join(KINDS)}."
        )
    question = asked(text)
    if question.is_nothing or not kinds or limit < 1:
        return _frame([], {})
    sessions = None
    if project is not None:
        sessions = of_project(project, await _sessions(store, None))
    with tqdm(desc="index", unit="row", delay=SLOW, disable=not progress, leave=False) as bar:
        found = await store.search(Search(question, kinds, sessions, limit), bar.update)
    ids = {answer.session_id for answer in found}
    return _frame(found, {row["id"]: row for row in await _sessions(store, ids)})


async def reindex(store: Store, *, progress: bool) -> None:
    """Makes the index of a store anew."""
    with tqdm(desc="index", unit="row", disable=not progress) as bar:
        await store.reindex(bar.update)


async def _sessions(store: Store, ids: Collection[str] | None) -> list[dict[str, Any]]:
    rows = await store.select("sessions", OF_SESSION, None if ids is None else {"id": ids})
    return [dict(zip(OF_SESSION, row, strict=True)) for row in rows]


def _frame(found: list[Answer], sessions: dict[str, dict[str, Any]]) -> pd.DataFrame:
    rows = []
    for answer in found:
        of = sessions.get(answer.session_id, dict.fromkeys(OF_SESSION))
        place = of["workdir"], of["worktree"]
        rows.append(
            {
                "time": answer.time,
                "kind": answer.kind,
                "snippet": answer.snippet,
                "file_path": answer.file_path and posix_path(answer.file_path, *place),
                "project": project_of(*place),
                "title": of["title"],
                "session_id": answer.session_id,
                "opencode_session_id": of["opencode_id"],
                "message_id": answer.message_id,
                "event_id": answer.id if answer.table == "file_events" else None,
            }
        )
    return pd.DataFrame(rows, columns=list(DTYPES)).astype(DTYPES)
