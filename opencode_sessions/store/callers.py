"""Transactions on an application's AsyncSession: one savepoint and one commit for each write.

A lock lives with the AsyncSession, because it may not be used by two tasks at once. What is the
application's stays so: its objects are flushed before ours, reported as its own if they fail, and
left as they are if ours do.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from sqlalchemy.exc import PendingRollbackError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from . import CallerWorkFailed, StoreFailed
from .engine import Executor, begin_to_write, end_writing, reason

log = logging.getLogger("opencode_sessions")

LOCK = "opencode_sessions.lock"
ROLLED_BACK = "what you had not committed in the AsyncSession was rolled back"


@asynccontextmanager
async def transaction(session: AsyncSession, writes: bool) -> AsyncIterator[Executor]:
    """A transaction for a write of ours, or for a read.

    Raises:
        CallerWorkFailed: ours is committed, what the application had in the session was lost.
    """
    lock: asyncio.Lock = session.info.setdefault(LOCK, asyncio.Lock())
    async with lock, (_writing if writes else _reading)(session) as executor:
        yield executor


@asynccontextmanager
async def _reading(session: AsyncSession) -> AsyncIterator[Executor]:
    was_idle = not session.in_transaction()
    await _recovered(session)
    try:
        with session.no_autoflush:  # the caller's objects are none of a read's business
            yield session
    finally:
        if was_idle:  # a snapshot left open would keep a later write from ever getting the lock
            await session.commit()


@asynccontextmanager
async def _writing(session: AsyncSession) -> AsyncIterator[Executor]:
    callers_error = await _recovered(session)
    has_work = bool(session.new or session.dirty or session.deleted)
    # The lock before the flush: where it cannot be had, the caller's objects wait untouched.
    is_ours = await session.run_sync(_begin)
    try:
        await session.flush()
    except Exception as error:
        callers_error, has_work = error, False
        await _roll_back(session, error)
        is_ours = await session.run_sync(_begin)
    is_intact = is_released = False
    try:
        savepoint = await session.begin_nested()
        try:
            yield session
        except BaseException:
            with suppress(SQLAlchemyError):  # gone: for some errors SQLite rolls back everything
                await savepoint.rollback()
                is_intact = True
            raise
        await savepoint.commit()
        is_released = True
        await _commit(session)
    except BaseException as error:
        # What the caller has not committed yet stays where it can; a lock that is only ours goes.
        with_callers = has_work or not is_ours
        if not is_intact:
            await _roll_back(session, error if with_callers else None)
        elif not with_callers:
            await _commit(session)
        if is_released and with_callers and isinstance(error, SQLAlchemyError):
            # The caller's rows, by a constraint that is looked at last: ours are fine without.
            raise StoreFailed(reason(error), is_passing=True) from error
        raise
    if callers_error is not None:
        raise CallerWorkFailed(f"{ROLLED_BACK}: {reason(callers_error)}") from callers_error


async def _recovered(session: AsyncSession) -> Exception | None:
    """Gets the session going again if its owner left it failed; gives the failure."""
    try:
        await session.connection()
    except PendingRollbackError as error:
        await _roll_back(session, error)
        return error
    return None


async def _commit(session: AsyncSession) -> None:
    await session.run_sync(_end, "COMMIT")
    await session.commit()


async def _roll_back(session: AsyncSession, callers_loss: BaseException | None) -> None:
    with suppress(SQLAlchemyError):  # the connection may be gone
        await session.run_sync(_end, "ROLLBACK")
    await session.rollback()
    if callers_loss is not None:
        log.error("%s: %s", ROLLED_BACK, reason(callers_loss))


def _begin(session: Session) -> bool:
    return begin_to_write(session.connection())


def _end(session: Session, how: str) -> None:
    end_writing(session.connection(), how)
