"""Where the explorer's panels stand."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import ipywidgets

from ..showing import panels
from .finding import FindBox
from .pickers import FilePicker, SessionPicker
from .status import StatusLine
from .timeline import FileTimeline


class View:
    """The panels beside the two lists: a timeline, a slider to step through changes, and HTML."""

    def __init__(self) -> None:
        self.note, self.alert, self.heading = StatusLine(), ipywidgets.HTML(), ipywidgets.HTML()
        self.timeline = FileTimeline()
        self._of_sessions: list[Any] = []  # panels for sessions, and for the events of one
        self._of_events: list[Any] = []
        self.slider = ipywidgets.IntSlider(
            min=1, max=1, disabled=True, readout=False, layout={"width": "60%"}
        )
        self.step = ipywidgets.Label()
        self.message, self.change = ipywidgets.HTML(), ipywidgets.HTML()

    def rows(self, sessions: SessionPicker, files: FilePicker, find: FindBox) -> list[Any]:
        """All panels, from top to bottom."""
        left = ipywidgets.VBox([files.filter, files.list, files.note])
        steps = _row("ocs-bar", self.slider, self.step)
        controls = [sessions.filter, sessions.sort, sessions.wide, find.words, sessions.note]
        lists = _row("ocs-lists", sessions.first, sessions.second)
        middle = _row("ocs-middle", left, ipywidgets.VBox([self.timeline, steps]))
        bottom = _row("ocs-bottom", self.message, self.change)
        self._of_sessions, self._of_events = [*controls, lists], [middle, bottom]
        self.unfold_sessions(False)
        self.unfold_events(False)
        return [
            ipywidgets.HTML(f"<style>{panels.STYLE}</style>", layout={"display": "none"}),
            _row("ocs-bar", *controls, self.note),
            self.alert,
            find.note,
            find.list,
            lists,
            self.heading,
            middle,
            bottom,
        ]

    def unfold_sessions(self, is_used: bool) -> None:
        """Shows what there is for sessions, or puts it away."""
        _unfold(self._of_sessions, is_used)

    def unfold_events(self, is_used: bool) -> None:
        """Shows what there is for the events of a session, or puts it away."""
        _unfold(self._of_events, is_used)

    def show_step(self, number: int, count: int, what: str) -> None:
        """Puts the slider at one of the things it steps through; 0 is before the first."""
        self.slider.max = max(count, 1)  # by itself: the page holds a value to the maximum it knows
        self.slider.value = max(number, 1)
        self.slider.disabled = count < 2
        self.slider.layout.display = None if count > 1 else "none"
        self.step.value = f"{what} {number} of {count}" if count else ""

    def static_html(self) -> str:
        """What the panels say, around a picture of the timeline."""
        timeline = self.timeline.static_html() if len(self.timeline.events) else ""
        above = [self.alert.value, panels.note_html(self.note.text), self.heading.value]
        below = f"<div class='ocs-bottom'>{self.message.value}{self.change.value}</div>"
        return "".join([*above, timeline, below])

    def clear(self) -> None:
        """Takes away what was chosen, and what was said of it."""
        self.timeline.selected = self.timeline.file = None
        self.message.value = self.change.value = ""
        self.show_step(0, 0, "")


def parts(widget: Any) -> Iterator[Any]:
    """Every widget within this one, layouts and styles included."""
    for child in getattr(widget, "children", ()):
        yield from parts(child)
        yield child
    yield widget.layout
    if hasattr(widget, "style"):
        yield widget.style


@contextmanager
def held(widget: Any) -> Iterator[None]:
    """What is set within reaches the page at the end: it draws once, and we are done by then."""
    with ExitStack() as stack:
        for part in parts(widget):
            if not isinstance(part, ipywidgets.IntSlider):  # sends its maximum before its value
                stack.enter_context(part.hold_sync())
        yield


def _unfold(panels: list[Any], is_used: bool) -> None:
    for panel in panels:
        panel.layout.display = None if is_used else "none"


def _row(name: str, *children: Any) -> Any:
    row = ipywidgets.HBox(children)
    row.add_class(name)
    return row
