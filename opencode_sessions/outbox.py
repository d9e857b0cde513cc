"""What has to be written, in order, until it is: the part of the service that loses nothing.

A write is shielded: a cancelled caller's write ends before the cancellation goes on. One that fails
for a passing reason (locked, disconnected, disk full, tables not migrated yet) waits and is tried
again with the next write, in order per session; one that can never succeed is parked and tried by
`flush()` alone. To write something twice changes nothing, so what may have been stored and may not
(the loop ended, the connection broke in a commit) is simply tried again.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from .errors import PersistenceError, SchemaError
from .models import Row
from .store import (
    Append,
    CallerWorkFailed,
    Delete,
    Put,
    PutMessage,
    PutSession,
    Step,
    Store,
    finish,
)

log = logging.getLogger("opencode_sessions")
OnError = Literal["log", "raise"]

MOST_PENDING_ROWS = 10_000  # at 2 to 40 KB a message: some hundred MB at the worst
ROOM_WAIT_S = 30.0  # how long a write waits for room before it raises
RETRY_S = 0.5


@dataclass(slots=True, eq=False)
class PendingWrite:
    """A write that has not happened yet: its rows, why not, and whether it was given up on."""

    session_id: str
    steps: list[Step]
    reason: str = ""
    is_parked: bool = False

    @property
    def rows(self) -> list[Row]:
        """The rows that are not stored, of all tables."""
        return [row for step in self.steps for row in _rows(step)]


class Outbox:
    """Writes to a store one after the other, and keeps what failed."""

    def __init__(self, store: Store, on_error: OnError) -> None:
        self.pending: list[PendingWrite] = []
        self.last_error: Exception | None = None
        self._store = store
        self._on_error = on_error
        self._turn = asyncio.Lock()
        # The ids of rows we gave out before they were stored, then stored under another: they were
        # there already.
        self._aliases: dict[str, str] = {}

    def row_id(self, id: str) -> str:
        """The id under which the row with this id of ours is stored."""
        return self._aliases.get(id, id)

    async def write(self, session_id: str, steps: list[Step]) -> list[Row]:
        """Writes and gives the stored rows; none if the write went to `pending`.

        Raises:
            PersistenceError: with on_error "raise", or when there is no room left in `pending`.
        """
        return await finish(self._write(PendingWrite(session_id, steps)))

    async def flush(self) -> None:
        """Tries everything again, in order per session.

        Raises:
            PersistenceError: with on_error "raise", if something is still pending.
        """
        await finish(self._flush())

    async def _flush(self) -> None:
        async with self._turn:
            await self._retry(everything=True)
        if self.pending and self._on_error == "raise":
            raise PersistenceError(
                f"{len(self.pending)} writes are still pending: {self.pending[0].reason}"
            ) from self.last_error

    async def _write(self, write: PendingWrite) -> list[Row]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ROOM_WAIT_S
        try:
            while True:
                async with self._turn:
                    try:
                        return await self._next(write)
                    except PersistenceError as error:
                        if self._on_error == "raise":
                            raise
                        if self._has_room(write):
                            log.error("kept in pending: %s", error)
                            self.pending.append(write)
                            return []
                if loop.time() >= deadline:
                    raise PersistenceError(
                        f"Not stored, and no room to keep it: {len(self.pending)} writes are "
                        f"pending since {self.pending[0].reason!r}. Mend that, then "
                        "`await svc.flush()`."
                    ) from self.last_error
                await asyncio.sleep(RETRY_S)
        except asyncio.CancelledError:
            write.reason = "the event loop ended in the middle"
            self.pending.append(write)
            raise

    async def _next(self, write: PendingWrite) -> list[Row]:
        """Writes after all that waits before it.

        Raises:
            PersistenceError: it was not stored; with on_error "raise" also if what the caller had
                in the same AsyncSession was not.
        """
        await self._retry(everything=False)
        session_id = self.row_id(write.session_id)
        waiting = [p for p in self.pending if not p.is_parked]
        if any(self.row_id(p.session_id) == session_id for p in waiting):
            write.reason = "waits for an earlier write of its session"
            raise PersistenceError(f"Not stored: it {write.reason}.") from self.last_error
        try:
            return await self._attempt(write)
        except CallerWorkFailed as error:
            self.last_error = error
            if self._on_error == "raise":
                raise PersistenceError(f"Our rows are stored, but {error}") from error
            return error.rows
        except Exception as error:
            self._failed(write, error)
            raise PersistenceError(f"Not stored: {error}") from error

    async def _attempt(self, write: PendingWrite) -> list[Row]:
        return await self._store.apply([self._resolved(step) for step in write.steps])

    async def _retry(self, *, everything: bool) -> None:
        """Tries what is pending, in order; a session whose write fails again waits as a whole."""
        stuck: set[str] = set()
        for write in list(self.pending):
            session_id = self.row_id(write.session_id)
            if session_id in stuck or (write.is_parked and not everything):
                continue
            try:
                stored = await self._attempt(write)
            except CallerWorkFailed as error:
                self.last_error = error
                stored = error.rows
            except Exception as error:
                self._failed(write, error)
                if not write.is_parked:
                    stuck.add(session_id)
                    if not everything:
                        return  # whatever it is, it has not passed yet
                continue
            self.pending.remove(write)
            asked = [step.row for step in write.steps if isinstance(step, PutSession | PutMessage)]
            for row, found in zip(asked, stored, strict=True):
                if row["id"] != found["id"]:
                    self._aliases[row["id"]] = found["id"]

    def _failed(self, write: PendingWrite, error: Exception) -> None:
        is_passing = isinstance(error, SchemaError) or getattr(error, "is_passing", False)
        write.reason, write.is_parked = str(error), not is_passing
        self.last_error = error

    def _has_room(self, write: PendingWrite) -> bool:
        rows = sum(len(pending.rows) for pending in [*self.pending, write])
        return not self.pending or rows <= MOST_PENDING_ROWS

    def _resolved(self, step: Step) -> Step:
        """The step with ids as the store knows them."""
        match step:
            case PutMessage(row):
                return PutMessage(self._resolved_row(row))
            case Append(_, rows) | Put(_, rows):
                return replace(step, rows=[self._resolved_row(row) for row in rows])
            case Delete(table, ids):
                return Delete(table, [self.row_id(id) for id in ids])
        return step

    def _resolved_row(self, row: Row) -> Row:
        keys = [key for key in ("session_id", "message_id") if row.get(key) in self._aliases]
        return row | {key: self._aliases[row[key]] for key in keys} if keys else row


def _rows(step: Step) -> Sequence[Row]:
    match step:
        case PutSession(row) | PutMessage(row):
            return [row]
        case Append(_, rows) | Put(_, rows):
            return rows
    return []
