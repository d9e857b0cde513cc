"""One write on its way into a store, and what became of all of them."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Any

from .models import Row
from .store import Append, AppendTo, Put, PutMessage, PutSession, Step
from .store.appending import is_appending

_numbers = count()


@dataclass(eq=False)
class PendingWrite:
    """A write that has not happened yet: its rows, why not, and whether it was given up on."""

    session_id: str
    steps: list[Step]
    reason: str = ""
    is_parked: bool = False
    # What follows is between the outbox and who waits for the write.
    is_awaited: bool = field(default=True, repr=False)
    stored: list[Row] | None = field(default=None, repr=False)
    """What the store made of it; nothing once it is kept in `pending`."""
    error: Exception | None = field(default=None, repr=False)
    woken: asyncio.Future[None] | None = field(default=None, repr=False)
    number: int = field(default_factory=_numbers.__next__, repr=False)

    @property
    def rows(self) -> list[Row]:
        """The rows that are not stored, of all tables."""
        return [row for step in self.steps for row in _rows(step)]

    @cached_property
    def size(self) -> int:
        """How many rows that are."""
        return sum(len(_rows(step)) for step in self.steps)

    @property
    def asked(self) -> list[Row]:
        """The rows for which the store gives one back."""
        return [step.row for step in self.steps if isinstance(step, PutSession | PutMessage)]

    @cached_property
    def only_adds(self) -> bool:
        """Whether it may share a transaction with others."""
        return is_appending(self.steps)

    @property
    def is_tried(self) -> bool:
        """Whether the one who waits for it may go on."""
        return self.stored is not None or self.error is not None

    def wake(self) -> bool:
        """Wakes who waits for it; says whether anybody does."""
        if self.woken is None or self.woken.done():
            return False
        self.woken.set_result(None)
        return True


def _rows(step: Step) -> Sequence[Row]:
    match step:
        case PutSession(row) | PutMessage(row):
            return [row]
        case AppendTo(message_id, within):
            return [row for append in within(message_id) for row in append.rows]
        case Append(_, rows) | Put(_, rows):
            return rows
    return []


def group_of(writes: Iterable[PendingWrite], most_rows: int) -> list[PendingWrite]:
    """The first writes that go into one transaction: one, or so many rows that only add."""
    group: list[PendingWrite] = []
    rows = 0
    for write in writes:
        rows += write.size
        if group and not (rows <= most_rows and write.only_adds and group[0].only_adds):
            break
        group.append(write)
    return group


def fields(writes: Sequence[PendingWrite], place: str, **more: Any) -> dict[str, Any]:
    """What a log record says of writes, for whoever collects records."""
    return {
        "place": place,
        "writes": len(writes),
        "rows": sum(write.size for write in writes),
        "session_id": writes[0].session_id,
        **more,
    }


@dataclass
class Stats:
    """What a service has written since it was made, in counts."""

    writes: int = 0
    """Asked for: a session, a message, the events of one."""
    rows: int = 0
    """Stored, of all tables."""
    groups: int = 0
    """Transactions that stored something."""
    largest_group: int = 0
    """The most writes in one of them."""
    waits: int = 0
    """Writes that came while a group was being written, and waited for theirs."""
    waits_for_room: int = 0
    """Times a write found `pending` full and waited."""
    failures: int = 0
    """Transactions that failed."""
    retried: int = 0
    """Writes that were stored after they had been pending."""
    pending: int = 0
    """Writes that are not stored now."""
    parked: int = 0
    """Those of them that are tried again by `flush()` alone."""
    scrubbed: int = 0
    """Values no database can hold, replaced on the way in."""
    seconds: float = 0.0
    """Spent in the store, failed attempts too."""

    def stored(self, writes: int, rows: int) -> None:
        """Counts a transaction."""
        self.groups += 1
        self.rows += rows
        self.largest_group = max(self.largest_group, writes)

    def __repr__(self) -> str:
        said = f"{self.writes:,} writes, {self.rows:,} rows in {self.groups:,} transactions"
        details = {
            "largest group": self.largest_group,
            "waits": self.waits,
            "waits for room": self.waits_for_room,
            "failures": self.failures,
            "retried": self.retried,
            "pending": self.pending,
            "parked": self.parked,
            "scrubbed": self.scrubbed,
        }
        more = [f"{name} {number:,}" for name, number in details.items() if number]
        return f"<Stats {'; '.join([said, *more])}; {self.seconds:.2f} s>"


class Pruned(int):
    """How many sessions were deleted; `free_bytes` could be given back, `advice` says how."""

    free_bytes: int
    advice: str

    def __new__(cls, sessions: int, free_bytes: int, advice: str) -> "Pruned":  # noqa: D102
        pruned = super().__new__(cls, sessions)
        pruned.free_bytes, pruned.advice = free_bytes, advice
        return pruned

    def __repr__(self) -> str:
        return f"<Pruned {int(self):,} sessions. {self.advice}>"

    __str__ = __repr__
