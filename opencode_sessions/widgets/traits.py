"""Traits that hold a pandas object."""

from typing import Any

import traitlets

PLACING = ["event_id", "session_id", "event_type", "file_path"]  # what says where an event is


class Pandas(traitlets.Instance[Any]):
    """Changed when it is set to another object: comparing by == would compare every cell."""

    def set(self, obj: traitlets.HasTraits, value: Any) -> None:
        """Validates, keeps and announces it."""
        assert self.name is not None
        new, old = self._validate(obj, value), obj._trait_values.get(self.name)
        obj._trait_values[self.name] = new
        if new is not old:
            obj._notify_trait(self.name, old, new)


class OfEvents(Pandas):
    """An event or some: what lacks a column that places it is refused, before the trait has it."""

    def validate(self, obj: Any, value: Any) -> Any:
        """The value as it is."""
        value = super().validate(obj, value)
        if missing := [column for column in PLACING if column not in value]:
            raise traitlets.TraitError(
                f"`{self.name}` can only be set to events; here is no {', '.join(missing)}."
            )
        return value
