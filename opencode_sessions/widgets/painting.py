"""Whether a control was moved by a person, or by us as we show what was chosen."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Painting:
    """What a thread sets within `with painting():` is our doing; all else somebody chose."""

    def __init__(self) -> None:
        self._painter: int | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """This thread paints meanwhile."""
        before, self._painter = self._painter, threading.get_ident()
        try:
            yield
        finally:
            self._painter = before

    @property
    def is_ours(self) -> bool:
        """Whether what this thread sets now is our doing."""
        return self._painter == threading.get_ident()
