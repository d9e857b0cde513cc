"""Moments as people write them."""

from datetime import UTC, date, datetime

from .errors import OpencodeSessionsError

Moment = datetime | date | str


def moment(when: Moment) -> datetime:
    """An aware moment from a datetime, a date or ISO text; without a zone it is local time."""
    if isinstance(when, str):
        try:
            when = datetime.fromisoformat(when)
        except ValueError as error:
            raise OpencodeSessionsError(
                f"{when!r} is no time. Give a datetime, or text like 2026-11-22 or 2026-11-22T18."
            ) from error
    if not isinstance(when, datetime):
        when = datetime(when.year, when.month, when.day)
    return when.astimezone(UTC)
