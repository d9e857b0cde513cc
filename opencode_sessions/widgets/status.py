"""The line that says what is going on, or what to do next."""

from pathlib import Path

import anywidget
import traitlets

LOADING = "Loading…"
NO_SESSIONS = (
    "No sessions here yet. `await svc.import_opencode()` imports what opencode left on this "
    "machine; then `ocs.explore(svc)` again."
)
NO_EVENTS = "This session touched no files and ran no commands. Choose another."
NEVER_LOADED = (
    "This explorer lives in a running notebook. `await explorer.settled()` before it is shown "
    "keeps its picture here as well."
)


class StatusLine(anywidget.AnyWidget):
    """Text of our own, read out by a screen reader as it changes; `code` stands in backticks."""

    _esm = Path(__file__).parent / "static" / "status.js"

    text = traitlets.Unicode().tag(sync=True)

    def __repr__(self) -> str:
        return f"<StatusLine {self.text!r}>"
