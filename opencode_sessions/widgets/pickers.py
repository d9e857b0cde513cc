"""The two lists one picks from, each with its filter: sessions, and the files of one."""

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
import pandas as pd

from ..showing import sessions
from ..showing.panels import note_html
from . import files
from .painting import Painting

Pick = Callable[[str], None]
Post = Callable[[Callable[[], None]], None]  # does something on the widget's loop
SESSION_ROWS = 7
MOST_ROWS, LEAST_ROWS = 28, 6  # of the list of files: as many as stand beside a full timeline


class SessionPicker:
    """Sessions to pick from, and a second list for the one beside it.

    `pick_beside` gets "" when the second list is put away.
    """

    def __init__(self, painting: Painting, post: Post, pick: Pick, pick_beside: Pick) -> None:
        self._painting = painting
        self._list = sessions.SessionList(pd.DataFrame(columns=sessions.SHOWN))
        self._chosen: str | None = None
        self._beside: str | None = None
        self._pick_beside = pick_beside
        self.filter = _filter("filter sessions…", width="240px")
        self.sort = ipywidgets.Dropdown(
            options=list(sessions.SORTS), tooltip="Order of the sessions", layout={"width": "160px"}
        )
        self.wide = ipywidgets.ToggleButton(
            description="Side by side",
            tooltip="Choose a second session, to see both on one axis",
            layout={"width": "110px"},
        )
        self.note = ipywidgets.HTML()
        self.first = _list("Sessions", rows=SESSION_ROWS)
        self.second = _list("The session beside it", rows=SESSION_ROWS)
        for control in (self.filter, self.sort):
            control.observe(lambda _: post(self._fill), "value")
        _on_pick(self.first, painting, post, pick)
        _on_pick(self.second, painting, post, pick_beside)
        self.wide.observe(lambda _: None if painting.is_ours else post(self._widen), "value")
        self._fill()

    def show(self, list: sessions.SessionList, chosen: str | None, beside: str | None) -> None:
        """Lists these sessions, with the chosen ones chosen."""
        self._list, self._chosen, self._beside = list, chosen, beside
        self.first.rows = self.second.rows = min(max(len(list), 2), SESSION_ROWS)
        if beside is not None:
            with self._painting():
                self.wide.value = True
        self._fill()

    def _widen(self) -> None:
        if not self.wide.value and self._beside is not None:
            self._pick_beside("")
        self._fill()

    def _fill(self) -> None:
        self.second.layout.display = None if self.wide.value else "none"
        words = self.filter.value.casefold().split()
        lists = [(self.first, self._chosen), (self.second, self._beside)]
        for picker, session in lists[: 1 + self.wide.value]:
            found = self._list.find(session)
            chosen = None if found is None else str(found["session_id"])
            listed = self._list.listed(self.sort.value, words, chosen)
            with self._painting():
                _fill(picker, listed.options, chosen)
            self.note.value = note_html(sessions.listed_note(listed, len(self._list)))


class FilePicker:
    """The files of a session to pick from."""

    def __init__(self, painting: Painting, post: Post, pick: Pick) -> None:
        self._painting = painting
        self._files: pd.DataFrame | None = None
        self._chosen: str | None = None
        self._is_unfolded = False
        self.filter = _filter("filter files…", width="99%")
        self.list = _list("Files, with the number of their events", rows=LEAST_ROWS)
        self.note = ipywidgets.HTML()
        self.filter.observe(lambda _: post(self._fill), "value")
        _on_pick(self.list, painting, post, lambda name: self._picked(name, pick))

    def show(self, files: pd.DataFrame | None, chosen: str | None) -> None:
        """Lists the files of a story, folded if it is another one's."""
        if files is not self._files:
            self._is_unfolded = False
        self._files, self._chosen = files, chosen
        self._fill()

    def _picked(self, name: str, pick: Pick) -> None:
        if name == files.FOLD:
            self._is_unfolded = True
            self._fill()
        else:
            pick(name)

    def _fill(self) -> None:
        listed = files.Listed((), "")
        if self._files is not None:
            words = self.filter.value.casefold().split()
            listed = files.listed(self._files, words, is_unfolded=self._is_unfolded)
        with self._painting():
            self.list.rows = min(max(len(listed.options), LEAST_ROWS), MOST_ROWS)
            _fill(self.list, listed.options, self._chosen)
        self.note.value = note_html(listed.note)


def _fill(picker: Any, options: Sequence[tuple[str, str]], value: str | None) -> None:
    """Gives a list its options; `value` is chosen if it is there."""
    with picker.hold_sync():
        if picker.options != tuple(options):
            picker.index = None
            picker.options = tuple(options)
        picker.value = value if any(value == other for _, other in options) else None


def _on_pick(picker: Any, painting: Painting, post: Post, pick: Pick) -> None:
    def picked(change: Any) -> None:
        if change.new is not None and not painting.is_ours:
            post(lambda: pick(change.new))

    picker.observe(picked, "value")


def _filter(placeholder: str, width: str) -> Any:
    return ipywidgets.Text(placeholder=placeholder, tooltip=placeholder, layout={"width": width})


def _list(name: str, rows: int) -> Any:
    return ipywidgets.Select(options=(), rows=rows, tooltip=name, layout={"width": "99%"})
