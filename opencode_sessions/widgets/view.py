"""Where the explorer's panels stand."""

from collections.abc import Iterator
from typing import Any

import ipywidgets

from ..showing import panels
from .pickers import FilePicker, SessionPicker
from .status import StatusLine
from .timeline import FileTimeline


class View:
    """The panels beside the two lists: a timeline, a slider to step through changes, and HTML."""

    def __init__(self) -> None:
        self.note, self.alert, self.heading = StatusLine(), ipywidgets.HTML(), ipywidgets.HTML()
        self.timeline = FileTimeline()
        self.slider = ipywidgets.IntSlider(
            min=1, max=1, disabled=True, readout=False, layout={"width": "60%"}
        )
        self.step = ipywidgets.Label()
        self.message, self.change = ipywidgets.HTML(), ipywidgets.HTML()

    def rows(self, sessions: SessionPicker, files: FilePicker) -> list[Any]:
        """All panels, from top to bottom."""
        bar = (sessions.filter, sessions.sort, sessions.wide, sessions.note, self.note)
        left = ipywidgets.VBox([files.filter, files.list, files.note])
        steps = _row("ocs-bar", self.slider, self.step)
        return [
            ipywidgets.HTML(f"<style>{panels.STYLE}</style>", layout={"display": "none"}),
            _row("ocs-bar", *bar),
            self.alert,
            _row("ocs-lists", sessions.first, sessions.second),
            self.heading,
            _row("ocs-middle", left, ipywidgets.VBox([self.timeline, steps])),
            _row("ocs-bottom", self.message, self.change),
        ]

    def show_step(self, number: int, count: int, what: str) -> None:
        """Puts the slider at one of the things it steps through; 0 is before the first."""
        self.slider.max = max(count, 1)  # by itself: the page holds a value to the maximum it knows
        self.slider.value = max(number, 1)
        self.slider.disabled = count < 2
        self.step.value = f"{what} {number} of {count}" if count else ""

    def static_html(self, timeline: str) -> str:
        """What the panels say, around a picture of the timeline."""
        above = [self.alert.value, panels.note_html(self.note.text), self.heading.value]
        return "".join([*above, timeline, self.message.value, self.change.value])

    def clear(self) -> None:
        """Takes away what was said of a session, and what was chosen in it."""
        self.timeline.selected = self.timeline.file = None
        for panel in (self.heading, self.message, self.change):
            panel.value = ""
        self.show_step(0, 0, "")


def parts(widget: Any) -> Iterator[Any]:
    """Every widget within this one, layouts and styles included."""
    for child in getattr(widget, "children", ()):
        yield from parts(child)
        yield child
    yield widget.layout
    if hasattr(widget, "style"):
        yield widget.style


def _row(name: str, *children: Any) -> Any:
    row = ipywidgets.HBox(children)
    row.add_class(name)
    return row
