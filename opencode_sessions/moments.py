"""Moments as people write them."""

from datetime import UTC, date, datetime, time

from .errors import OpencodeSessionsError

Moment = datetime | date | str


def moment(when: Moment) -> datetime:
    """An aware moment from a datetime, a date or ISO text; without a zone it is local time."""
    try:
        said = datetime.fromisoformat(when) if isinstance(when, str) else when
        # A Timestamp of pandas is a datetime, but refuses to be local time.
        clock = said.timetz() if isinstance(said, datetime) else time()
        return datetime.combine(said, clock).astimezone(UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise OpencodeSessionsError(
            f"{when!r} is no time. Give a datetime, or text like 2026-11-22 or 2026-11-22T18."
        ) from error
