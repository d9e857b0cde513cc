"""A trait that holds a pandas object."""

from typing import Any

import traitlets


class Pandas(traitlets.Instance[Any]):
    """Changed when it is set to another object: comparing by == would compare every cell."""

    def set(self, obj: traitlets.HasTraits, value: Any) -> None:
        """Validates, keeps and announces it."""
        assert self.name is not None
        new, old = self._validate(obj, value), obj._trait_values.get(self.name)
        obj._trait_values[self.name] = new
        if new is not old:
            obj._notify_trait(self.name, old, new)
