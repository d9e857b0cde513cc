"""`read_opencode`: this machine's sessions as DataFrames in one call, with no store in between."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from .opening import Moment
from .service import OpencodeSessionService

if TYPE_CHECKING:
    from .analytics import Frames


def read_opencode(
    path: str | os.PathLike[str] | None = None,
    *,
    since: Moment | None = None,
    project: str | None = None,
    diffs: bool = False,
    parts: bool = False,
) -> "Frames":
    """Reads opencode's sessions into `Frames`, as `pd.read_csv` reads a file.

    Args:
        path: an opencode database, or the folder it is in; None finds this machine's.
        since: only sessions touched at or after this moment.
        project: only this project: its worktree's path, its last part, or opencode's project id.
        diffs: add `file_events.diff`.
        parts: add `messages.parts` and `tool_calls.input`.

    Raises:
        SourceNotFound: nothing to read; the message names where we looked.
        SourceError: it could not be read at all.
    """

    async def read() -> "Frames":
        service = OpencodeSessionService()
        await service.import_opencode(path, since=since, project=project, progress=False)
        return await service.frames(diffs=diffs, parts=parts)

    # A thread of its own: in a notebook this one has a running loop already.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, read()).result()
