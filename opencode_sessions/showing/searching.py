"""Frames, asked in words as a store is: every row of them is looked at."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ..analytics import Frames
from ..analytics.columns import COLUMNS
from ..answering import search
from ..store import TableName, Take, Where
from ..store.searching.answers import Answer, Progress, Search, without_index

BATCH = 2000  # rows as Python objects at once
# What the frames tell of a session as a whole: the paths in them are seen from there.
PLACE = {"workdir": "project", "worktree": "project"}


async def search_frames(frames: Frames, text: str, limit: int) -> pd.DataFrame:
    """What `svc.search` gives, of frames."""
    return await search(_Rows(frames), text, None, None, limit, progress=False)  # type: ignore[arg-type]


class _Rows:
    """As much of a store as a search asks. It waits for nothing."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames

    async def search(self, search: Search, progress: Progress) -> list[Answer]:
        return await without_index(self, search)  # type: ignore[arg-type]

    async def scan(
        self, table: TableName, columns: Sequence[str], where: Where | None, take: Take
    ) -> None:
        frame = getattr(self._frames, table)
        names = {column.stored: column.name for column in COLUMNS[table] if column.stored}
        names |= PLACE if table == "sessions" else {}
        for column, values in (where or {}).items():
            frame = frame[frame[names[column]].isin(list(values))]
        for start in range(0, len(frame), BATCH):
            some = frame.iloc[start : start + BATCH]
            found = [_values(some, names[column]) for column in columns]
            take(list(zip(*found, strict=True)))

    async def select(
        self, table: TableName, columns: Sequence[str], where: Where | None = None
    ) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        await self.scan(table, columns, where, rows.extend)
        return rows


def _values(frame: pd.DataFrame, column: str) -> list[Any]:
    if column not in frame:  # diffs and parts, if they were not asked for
        return [None] * len(frame)
    values = frame[column].astype(object)
    return values.where(values.notna(), None).tolist()
