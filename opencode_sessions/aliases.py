"""Rows that were given out before they were stored, then stored under another id.

They were there already: another process, or an import, has stored the same meanwhile.
"""

from collections.abc import Sequence
from dataclasses import replace

from .models import Row
from .store import Append, AppendTo, Delete, Put, PutMessage, Step


class Aliases:
    """The ids under which such rows are stored."""

    def __init__(self) -> None:
        self._stored: dict[str, str] = {}

    def row_id(self, id: str) -> str:
        """The id under which the row with this id of ours is stored."""
        return self._stored.get(id, id)

    def learn(self, asked: Sequence[Row], stored: Sequence[Row]) -> None:
        """Notes what became of rows."""
        for one, other in zip(asked, stored, strict=False):
            if one["id"] != other["id"]:
                self._stored[one["id"]] = other["id"]

    def resolved(self, step: Step) -> Step:
        """The step with ids as the store knows them."""
        if not self._stored:
            return step
        match step:
            case PutMessage(row):
                return PutMessage(self._row(row))
            case AppendTo(message_id):
                return replace(step, message_id=self.row_id(message_id))
            case Append(_, rows) | Put(_, rows):
                return replace(step, rows=[self._row(row) for row in rows])
            case Delete(table, ids):
                return Delete(table, [self.row_id(id) for id in ids])
        return step

    def _row(self, row: Row) -> Row:
        keys = [key for key in ("session_id", "message_id") if row.get(key) in self._stored]
        return row | {key: self._stored[row[key]] for key in keys} if keys else row
