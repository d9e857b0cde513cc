"""The explorer's panels: what they are, where they stand, and how a list is filled."""

from collections.abc import Iterator, Sequence
from typing import Any

import ipywidgets

from . import panels
from .sessions import SORTS
from .status import StatusLine
from .timeline import FileTimeline

Options = Sequence[tuple[str, str]]


class View:
    """Native controls, one `FileTimeline`, and HTML; they know nothing of sessions."""

    def __init__(self) -> None:
        self.alert, self.note = ipywidgets.HTML(), StatusLine()
        self.session_filter = _filter("filter sessions…", width="240px")
        self.sort = ipywidgets.Dropdown(
            options=list(SORTS), tooltip="Order of the sessions", layout={"width": "160px"}
        )
        self.side_by_side = ipywidgets.ToggleButton(
            description="Side by side",
            tooltip="Choose a second session, to see both on one axis",
            layout={"width": "110px"},
        )
        self.listed = ipywidgets.HTML()
        self.sessions = _picker("Sessions", rows=7)
        self.beside = _picker("The session beside it", rows=7)
        self.heading = ipywidgets.HTML()
        self.file_filter = _filter("filter files…", width="99%")
        self.files = _picker("Files, with the number of their events", rows=13)
        self.files_listed = ipywidgets.HTML()
        self.timeline = FileTimeline()
        self.slider = ipywidgets.IntSlider(
            min=1, max=1, disabled=True, readout=False, layout={"width": "60%"}
        )
        self.step = ipywidgets.Label()
        self.message, self.change = ipywidgets.HTML(), ipywidgets.HTML()
        self.beside.layout.display = "none"

    def rows(self) -> list[Any]:
        """The panels from top to bottom."""
        bar = _row(
            "ocs-bar", self.session_filter, self.sort, self.side_by_side, self.listed, self.note
        )
        files = ipywidgets.VBox([self.file_filter, self.files, self.files_listed])
        steps = _row("ocs-bar", self.slider, self.step)
        return [
            ipywidgets.HTML(f"<style>{panels.STYLE}</style>", layout={"display": "none"}),
            bar,
            self.alert,
            _row("ocs-lists", self.sessions, self.beside),
            self.heading,
            _row("ocs-middle", files, ipywidgets.VBox([self.timeline, steps])),
            _row("ocs-bottom", self.message, self.change),
        ]

    def show_step(self, number: int, count: int, what: str) -> None:
        """Puts the slider at one of the things it steps through; 0 is before the first."""
        with self.slider.hold_sync():
            self.slider.max = max(count, 1)
            self.slider.value = max(number, 1)
            self.slider.disabled = count < 2
        self.step.value = f"{what} {number} of {count}" if count else ""

    def clear(self) -> None:
        """Takes away what was said of a session."""
        for panel in (self.heading, self.message, self.change):
            panel.value = ""
        self.show_step(0, 0, "")


def fill(picker: Any, options: Options, value: str | None) -> None:
    """Gives a picker its options; `value` is chosen if it is there."""
    with picker.hold_sync():
        if picker.options != tuple(options):
            picker.index = None
            picker.options = tuple(options)
        picker.value = value if any(value == other for _, other in options) else None


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


def _filter(placeholder: str, width: str) -> Any:
    return ipywidgets.Text(placeholder=placeholder, tooltip=placeholder, layout={"width": width})


def _picker(name: str, rows: int) -> Any:
    return ipywidgets.Select(options=(), rows=rows, tooltip=name, layout={"width": "99%"})
