"""The line that says what is going on, or what to do next."""

from pathlib import Path

import anywidget
import traitlets


class StatusLine(anywidget.AnyWidget):
    """Text of our own, read out by a screen reader as it changes; `code` stands in backticks."""

    _esm = Path(__file__).parent / "static" / "status.js"

    text = traitlets.Unicode().tag(sync=True)

    def __repr__(self) -> str:
        return f"<StatusLine {self.text!r}>"
