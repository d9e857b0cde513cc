"""How much of a database is held by rows that were deleted, and how to give it back."""

from typing import NamedTuple

from sqlalchemy import text

from ..models import TABLES
from .engine import Executor

NAMES = ", ".join(table.name for table in TABLES.values())
# By the server's own statistics, which lag behind by about a second.
DEAD = """
    SELECT coalesce(sum(pg_total_relation_size(relid) * n_dead_tup::float
        / greatest(n_live_tup + n_dead_tup, 1)), 0)
    FROM pg_stat_user_tables WHERE relid = to_regclass(relname) AND relname = ANY(:names)
"""


class Room(NamedTuple):
    """What could be given back."""

    bytes: int
    advice: str


async def room(executor: Executor, dialect: str, place: str) -> Room:
    """What could be given back, and by what."""
    if dialect == "sqlite":
        pages, size = [
            (await executor.execute(text(f"PRAGMA {name}"))).scalar_one()
            for name in ("freelist_count", "page_size")
        ]
        free = int(pages * size)
        return Room(
            free,
            f"{free / 1e6:,.1f} MB of {place} are free, and new rows will fill them. To make the "
            "file smaller run `VACUUM` on it: that takes as much room again while it runs, and "
            "writers wait.",
        )
    names = [table.name for table in TABLES.values()]
    dead = int((await executor.execute(text(DEAD), {"names": names})).scalar_one())
    return Room(
        dead,
        f"Deleted rows hold about {dead / 1e6:,.1f} MB, by the server's statistics; autovacuum "
        f"frees them for new rows. To give them back run `VACUUM (FULL, ANALYZE) {NAMES}`: it "
        "locks the tables while it runs, and takes as much room again.",
    )
