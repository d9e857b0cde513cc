"""What an error of a driver means to us: come back later, migrate the tables, or never."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, InvalidRequestError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from ..errors import PersistenceError, SchemaError
from . import StoreFailed
from .engine import reason

# What the driver says when the same write may succeed later, on SQLite and by PostgreSQL's SQLSTATE
# (connection lost, resources, lock not available, serialization, shutdown).
PASSING_TEXTS = ("locked", "busy", "disk is full", "disk i/o", "unable to open", "connection")
PASSING_STATES = ("08", "40001", "40P01", "53", "55P03", "57P")
STALE_PLAN = "cached statement plan is invalid"  # somebody changed the tables; made anew by then
SCHEMA_TEXTS = ("no such table", "no such column", "has no column")
SCHEMA_STATES = ("42P01", "42703")

# Another holds the lock; or this user, this server, this file takes no writes.
REACH_TEXTS = ("locked", "readonly")
REACH_STATES = ("55P03", "42501", "25006")


def is_out_of_reach(error: DBAPIError) -> bool:
    """Whether what failed is there and sound, but not ours to read or write right now."""
    state = getattr(error.orig, "sqlstate", None)
    if state:
        return state in REACH_STATES
    return any(part in str(error.orig).lower() for part in REACH_TEXTS)


@contextmanager
def translated() -> Iterator[None]:
    """Driver errors as what they mean to us: tables missing, come back later, or never."""
    try:
        yield
    except Exception as error:
        is_drivers_own = type(error).__module__.startswith("asyncpg.")  # need not be installed
        if not (is_drivers_own or isinstance(error, SQLAlchemyError | sqlite3.Error | OSError)):
            raise
        raise _meaning(error, is_drivers_own) from error


@contextmanager
def of_use(place: str) -> Iterator[None]:
    """Says where a value is that its column cannot hold: others may write to the tables too.

    Raises:
        PersistenceError: in place of a ValueError or OverflowError, which is its cause.
    """
    try:
        yield
    except OverflowError as error:
        raise PersistenceError(
            f"A time in {place} is before the year 1 or after 9999: {reason(error)}."
        ) from error
    except ValueError as error:
        raise PersistenceError(
            f"A value in {place} is none that its column is for: {reason(error)}."
        ) from error


def _meaning(error: Exception, is_drivers_own: bool) -> SchemaError | StoreFailed:
    if is_drivers_own or isinstance(error, DBAPIError | sqlite3.Error):
        cause = getattr(error, "orig", error)
        text, state = str(cause).lower(), str(getattr(cause, "sqlstate", None) or "")
        if any(part in text for part in SCHEMA_TEXTS) or state in SCHEMA_STATES:
            return SchemaError(
                f"The tables are missing or older than this version ({cause}). Run "
                "`await ocs.migrate(engine)` or `opencode-sessions migrate URL` once."
            )
        is_passing = (
            getattr(error, "connection_invalidated", False)
            or state.startswith(PASSING_STATES)
            or (not state and any(part in text for part in PASSING_TEXTS))
            or STALE_PLAN in text
        )
        return StoreFailed(reason(error), is_passing=is_passing)
    # No connection free, the AsyncSession in the middle of something of its owner's, no network.
    is_passing = isinstance(error, NoConnectionFree | InvalidRequestError | OSError)
    return StoreFailed(reason(error), is_passing=is_passing)
