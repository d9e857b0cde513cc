"""What has to be written, in order, until it is: the part of the service that loses nothing.

Writes that wait at the same time share one transaction (a group commit), led by one of those who
wait: each await returns when its own rows are durable, and nothing depends on a task of ours. A
group with a write in it that can never succeed is halved until that one stands alone. A cancelled
caller's write ends before the cancellation goes on.

What fails for a passing reason (locked, disconnected, disk full, tables not migrated yet) is kept
and tried again with the next write, in order per session; what can never succeed is parked and
tried by `flush()` alone. To write something twice changes nothing, so what may have been stored
and may not (the loop ended, the connection broke in a commit) is simply tried again.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from itertools import takewhile
from typing import Literal

from .aliases import Aliases
from .errors import PersistenceError, SchemaError
from .models import Row
from .pending import PendingWrite, Stats, fields, group_of
from .store import (
    AppendTo,
    CallerWorkFailed,
    PutMessage,
    Step,
    Store,
    finish,
)

log = logging.getLogger("opencode_sessions")
OnError = Literal["log", "raise"]

MOST_PENDING_ROWS = 10_000  # at 2 to 40 KB a message: some hundred MB at the worst
ROOM_WAIT_S = 30.0  # how long a write waits for room before it raises
RETRY_S = 0.5
GROUP_ROWS = 2_000  # in one transaction: other processes wait for it, a third of a second at most
BATCH_ROWS = 2_000  # queued in a batch; then an await in it writes them

WAITS = "waits for an earlier write of its session"

_batching: ContextVar[frozenset["Outbox"]] = ContextVar("_batching", default=frozenset())


class Outbox:
    """Writes to a store, in groups where several wait, and keeps what failed."""

    def __init__(self, store: Store, on_error: OnError) -> None:
        self.last_error: Exception | None = None
        self.stats = Stats()
        self._store = store
        self._on_error = on_error
        self._queue: deque[PendingWrite] = deque()
        self._under_way: list[PendingWrite] = []
        self._kept: dict[PendingWrite, None] = {}  # what failed, in order
        self._kept_rows = 0
        self._turn = asyncio.Lock()  # whoever has it writes
        self._is_led = False  # somebody has it, or waits for it, to write the queue
        self._loop: asyncio.AbstractEventLoop | None = None
        self.aliases = Aliases()

    @property
    def pending(self) -> list[PendingWrite]:
        """What is not stored yet and nobody waits for, oldest first."""
        batched = [*self._under_way, *self._queue]
        return [*self._kept, *(w for w in batched if not w.is_awaited and w not in self._kept)]

    async def write(
        self, session_id: str, steps: list[Step], *, at_once: bool = False
    ) -> list[Row]:
        """Writes and gives the stored rows; none if the write went to `pending`.

        `at_once` writes also where a batch would wait.

        Raises:
            PersistenceError: with on_error "raise", or when there is no room left in `pending`.
        """
        self._follow_loop()
        write = PendingWrite(session_id, steps)
        self.stats.writes += 1
        if not at_once and self in _batching.get() and self._has_room(write):
            return await self._put_off(write)
        return await self._write(write)

    @asynccontextmanager
    async def batch(self) -> AsyncIterator[None]:
        """Inside, writes wait in `pending` for each other; at its end they are written.

        Raises:
            PersistenceError: with on_error "raise", if something of it is still pending.
        """
        outside = _batching.get()
        _batching.set(outside | {self})
        try:
            yield
        finally:
            _batching.set(outside)
            self._follow_loop()
            await finish(self._write_all(everything=False))
            self._raise_for([write for write in self._kept if not write.is_awaited])

    async def flush(self) -> None:
        """Tries everything again, in order per session.

        Raises:
            PersistenceError: with on_error "raise", if something is still pending.
        """
        self._follow_loop()
        await finish(self._write_all(everything=True))
        self._raise_for(self.pending)

    async def _write_all(self, *, everything: bool) -> None:
        """Writes what was kept, then all that is in the queue by now."""
        async with self._turn:
            await self._retry(everything=everything)
            last = self._queue[-1] if self._queue else None
            while last in self._queue:
                await self._try_next()

    def _raise_for(self, pending: list[PendingWrite]) -> None:
        if pending and self._on_error == "raise":
            raise PersistenceError(
                f"{len(pending)} writes are still pending: {pending[0].reason}"
            ) from self.last_error

    async def _put_off(self, write: PendingWrite) -> list[Row]:
        write.is_awaited, write.reason = False, "waits for the end of its batch"
        self._queue.append(write)
        if sum(each.size for each in self._queue if not each.is_awaited) >= BATCH_ROWS:
            await finish(self._write_all(everything=False))
        else:
            await asyncio.sleep(0)  # an importer's loop lets the others have their turn
        return []

    async def _write(self, write: PendingWrite) -> list[Row]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ROOM_WAIT_S
        try:
            await self._until_tried(write)
            while write.error is not None and self._on_error == "log":
                if loop.time() >= deadline:
                    raise PersistenceError(
                        f"Not stored, and no room to keep it: {len(self._kept)} writes are "
                        f"pending since {next(iter(self._kept)).reason!r}. Mend that, then "
                        "`await svc.flush()`."
                    ) from self.last_error
                self.stats.waits_for_room += 1
                await asyncio.sleep(RETRY_S)
                write.error = None
                await self._until_tried(write)
        except asyncio.CancelledError:
            if self._on_error == "raise" and write.error is not None:
                log.error("what a cancelled caller had asked for failed: %s", write.error)
            else:
                write.error = None
                self._abandon([write])
            raise
        if write.error is not None:
            raise write.error
        return write.stored or []

    async def _until_tried(self, write: PendingWrite) -> None:
        """Waits until somebody has written the group this write is in, or leads one itself.

        A cancellation waits as well: no task is made for it, which would cost more than the wait.
        """
        self._queue.append(write)
        cancelled: asyncio.CancelledError | None = None
        while not write.is_tried:
            try:
                if self._is_led:
                    self.stats.waits += write.woken is None
                    write.woken = asyncio.get_running_loop().create_future()
                    await write.woken
                else:
                    await self._lead()
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    async def _lead(self) -> None:
        """Writes the next group of the queue; then another one leads."""
        self._is_led = True
        turn = asyncio.ensure_future(self._take_turn())
        try:
            await finish(turn)
        finally:
            self._is_led = False
            if turn.cancelled():  # the loop is ending: who waits is not to begin anew
                self._abandon([*self._queue])
            for next_one in self._queue:
                if next_one.wake():
                    break

    async def _take_turn(self) -> None:
        async with self._turn:
            await self._retry(everything=False)
            await self._try_next()

    async def _try_next(self) -> None:
        """Tries the group at the head of the queue."""
        group = group_of(self._queue, self._most_rows)
        for _ in group:
            self._queue.popleft()
        try:
            await self._try(group)
        except asyncio.CancelledError:
            self._abandon(group)
            raise

    async def _retry(self, *, everything: bool) -> None:
        """Tries what was kept, in order: one first, to see whether what was wrong has passed."""
        if not self._kept:
            return
        waiting = deque(write for write in self._kept if everything or not write.is_parked)
        alone = 1
        while waiting:
            group = [waiting[0]] if alone else group_of(waiting, self._most_rows)
            for _ in group:
                waiting.popleft()
            alone = max(alone - 1, 0)
            if not await self._try(group):
                if not everything:
                    return  # whatever it is, it has not passed yet
                if len(group) > 1:
                    waiting.extendleft(reversed(group))
                alone = max(alone, len(group))

    async def _try(self, group: list[PendingWrite]) -> bool:
        """Writes a group in one transaction; says whether no passing reason kept it from that."""
        group = self._without_stuck(group)
        if not group:
            return True
        try:
            rows = await self._apply(group)
        except CallerWorkFailed as error:
            self.last_error = error
            self._stored(group, error.rows)
            if self._on_error == "raise":
                group[0].error = PersistenceError(f"Our rows are stored, but {error}")
                group[0].error.__cause__ = error
        except Exception as error:
            self.stats.failures += 1
            is_passing = _is_passing(error)
            if len(group) > 1 and not is_passing:
                middle = len(group) // 2
                results = [await self._try(half) for half in (group[:middle], group[middle:])]
                return all(results)
            self._failed(group, error, is_parked=not is_passing)
            return not is_passing
        else:
            self._stored(group, rows)
        return True

    async def _apply(self, group: list[PendingWrite]) -> list[Row]:
        self._under_way = group
        started = time.perf_counter()
        try:
            steps = [self.aliases.resolved(step) for write in group for step in write.steps]
            put = {step.row["id"] for step in steps if isinstance(step, PutMessage)}
            return await self._store.apply([told for step in steps for told in _told(step, put)])
        finally:
            self._under_way = []
            self.stats.seconds += time.perf_counter() - started

    def _without_stuck(self, group: list[PendingWrite]) -> list[PendingWrite]:
        """The group without what has to wait for an earlier write of its session."""
        if not self._kept:
            return group
        members = set(group)
        earlier = takewhile(lambda kept: kept not in members, self._kept)
        stuck = {self.aliases.row_id(kept.session_id) for kept in earlier if not kept.is_parked}
        if not stuck:
            return group
        going: list[PendingWrite] = []
        waiting: list[PendingWrite] = []
        for write in group:
            (waiting if self.aliases.row_id(write.session_id) in stuck else going).append(write)
        self._keep(waiting, self.last_error, WAITS)
        return going

    def _stored(self, group: list[PendingWrite], rows: list[Row]) -> None:
        left = iter(rows)
        for write in group:
            asked = write.asked
            write.stored = [next(left) for _ in asked] if write.only_adds else rows
            was_kept = write in self._kept
            if was_kept:
                del self._kept[write]
                self._kept_rows -= write.size
                self.stats.retried += 1
            if was_kept or not write.is_awaited:  # its ids are given out
                self.aliases.learn(asked, write.stored)
            write.wake()
        count = sum(write.size for write in group)
        self.stats.stored(len(group), count)
        if log.isEnabledFor(logging.DEBUG):
            its = fields(group, self._store.place)
            log.debug("stored %d rows of %d writes", count, len(group), extra=its)

    def _failed(self, group: list[PendingWrite], error: Exception, *, is_parked: bool) -> None:
        self.last_error = error
        leading: list[PendingWrite] = []
        following: list[PendingWrite] = []
        seen: set[str] = set()
        for write in group:
            session_id = self.aliases.row_id(write.session_id)
            is_later = session_id in seen and self._on_error == "log"
            (following if is_later else leading).append(write)
            seen.add(session_id)
        for write in leading:
            write.is_parked = is_parked
        self._keep(leading, error, str(error))
        self._keep(following, error, WAITS)

    def _keep(self, writes: list[PendingWrite], error: Exception | None, reason: str) -> None:
        """Keeps what was not stored, or tells whoever asked for it that nobody keeps it."""
        new = []
        for write in writes:
            if write in self._kept:
                write.reason = write.reason if reason is WAITS else reason
                continue
            write.reason = reason
            if write.is_awaited and (self._on_error == "raise" or not self._has_room(write)):
                it = "it " if reason is WAITS else ""
                write.error = PersistenceError(f"Not stored: {it}{reason}")
                write.error.__cause__ = error
            else:
                self._kept[write], write.stored = None, []
                self._kept_rows += write.size
                new.append(write)
            write.wake()
        if new:
            log.error(
                "kept in pending: %s", reason, extra=fields(new, self._store.place, reason=reason)
            )

    def _abandon(self, writes: Iterable[PendingWrite]) -> None:
        """Keeps writes that nobody will hear of; who waits for one is cancelled."""
        for write in writes:
            if write in self._queue:
                self._queue.remove(write)
            if write.woken is not None:
                write.woken.cancel()
            if not write.is_tried:
                write.reason, write.stored = "the event loop ended in the middle", []
                self._kept[write] = None
                self._kept_rows += write.size
        self._kept = dict.fromkeys(sorted(self._kept, key=lambda write: write.number))

    def _follow_loop(self) -> None:
        """Notices that the loop it was used in is gone, with whatever was under way in it."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None and self._loop.is_closed():
                lost = [*self._under_way, *self._queue]
                for write in lost:
                    write.woken = None
                self._abandon(lost)
                self._turn, self._is_led, self._under_way = asyncio.Lock(), False, []
            self._loop = loop

    @property
    def _most_rows(self) -> int:
        return GROUP_ROWS if self._store.takes_groups else 0

    def _has_room(self, write: PendingWrite) -> bool:
        return not self._kept or self._kept_rows + write.size <= MOST_PENDING_ROWS


def _is_passing(error: Exception) -> bool:
    return isinstance(error, SchemaError) or bool(getattr(error, "is_passing", False))


def _told(step: Step, put: set[str]) -> Sequence[Step]:
    """What is in a message that is stored already can be told now."""
    if isinstance(step, AppendTo) and step.message_id not in put:
        return [append for append in step.within(step.message_id) if append.rows]
    return [step]
