"""`FileTimeline`: file events as one picture, in a notebook, with what is chosen in it as traits.

Traits without an underscore are for people; those with one are the wire to `static/timeline.js`,
which knows places and rows where people know ids and names.
"""

from pathlib import Path
from typing import Any, Literal

import anywidget
import pandas as pd
import traitlets

from ..showing.panels import STYLE, note_html
from ..showing.picture import Picture, no_events
from ..showing.story import SHELL
from ..showing.svg import MARKS, legend_html, timeline_svg
from ..shown import escaped, visible
from .cells import close_with_cell

NOTHING = -1  # as a place or a row
NOTHING_TO_SHOW = (
    "No events to show. <code>timeline.events = frames.file_events</code> shows some; "
    "<code>frames = ocs.read_opencode()</code> reads this machine's."
)


class FileTimeline(anywidget.AnyWidget):
    """File events by file, in order or in time: `ocs.FileTimeline(frames.file_events)`.

    A row a file under its last name, commands first, then the busiest; a mark an event. Click or
    arrow keys choose one, dragging brushes a range, Ctrl with the wheel zooms. Read and set:

    `selected` is an event_id, `file` a row's name ("" for the commands), each or None. `brushed` is
    the first and last place of a range in the order of the events, or None. `axis` is "order" or
    "time" (UTC; a pause of more than 5 minutes is folded); `size_by_lines` makes marks larger, the
    more lines they changed. `side_by_side` shows each session in rows of its own from one start.

    Raises:
        TypeError: the events are no DataFrame.
        OpencodeSessionsError: they lack a column; or what is set in a trait is not there.
    """

    _esm = Path(__file__).parent / "static" / "timeline.js"

    selected = traitlets.Unicode(None, allow_none=True)
    file = traitlets.Unicode(None, allow_none=True)
    brushed: Any = traitlets.List(
        traitlets.Int(), default_value=None, allow_none=True, minlen=2, maxlen=2
    ).tag(sync=True)
    axis = traitlets.Enum(("order", "time"), "order").tag(sync=True)
    size_by_lines = traitlets.Bool(False).tag(sync=True)

    _words = traitlets.Dict().tag(sync=True)
    _time = traitlets.Bytes().tag(sync=True)
    _rows = traitlets.Bytes().tag(sync=True)
    _kind = traitlets.Bytes().tag(sync=True)
    _lines = traitlets.Bytes().tag(sync=True)
    _turns = traitlets.Bytes().tag(sync=True)
    _selected = traitlets.Int(NOTHING).tag(sync=True)
    _row = traitlets.Int(NOTHING).tag(sync=True)
    _zoomed: Any = traitlets.List(traitlets.Float(), default_value=None, allow_none=True).tag(
        sync=True
    )

    def __init__(
        self,
        events: pd.DataFrame | None = None,
        *,
        axis: Literal["order", "time"] = "order",
        side_by_side: bool = False,
    ) -> None:
        self._side_by_side = side_by_side
        self._picture = self._pictured(events)
        self._version = self._base = 0
        super().__init__(axis=axis, **self._wire())
        self.on_msg(self._asked)
        close_with_cell(self)

    @property
    def events(self) -> pd.DataFrame:
        """What is shown, in the order it happened; setting it shows other events."""
        return self._picture.events

    @events.setter
    def events(self, events: pd.DataFrame | None) -> None:
        self.show(self._pictured(events))

    def show(self, picture: Picture) -> None:
        """Shows a picture that was made before, as in a thread; else set `events`.

        What is chosen stays so if it is still there. Events that only grew leave the view where it
        is.
        """
        grown = picture.begins_as(self._picture)
        selected, file = self.selected, self.file
        self._version += 1
        self._base = self._base if grown else self._version
        with self.hold_sync():
            self._picture = picture
            if not grown:
                ids = picture.events["event_id"]
                self.brushed = None
                self.selected = selected if (ids == selected).any() else None
            self.file = file if file in picture.names else None
            for name, value in self._wire().items():
                setattr(self, name, value)
            self._selected, self._row = self._place(self.selected), self._row_of(self.file)

    @property
    def selection(self) -> pd.DataFrame:
        """The brushed events; all of them when nothing is brushed."""
        return self.events if self.brushed is None else self._picture.between(*self.brushed)

    @property
    def event(self) -> "pd.Series[Any] | None":
        """The selected event; None without one."""
        return None if self.selected is None else self.events.iloc[self._place(self.selected)]

    def __repr__(self) -> str:
        files = len({*self._picture.names} - {SHELL})
        chosen = "" if self.selected is None else f", {visible(self.selected)} selected"
        return f"<FileTimeline: {len(self._picture):,} events, {files:,} files{chosen}>"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle: Any = super()._repr_mimebundle_(**kwargs)  # its None is of no anywidget
        data, metadata = bundle
        html = f"<style>{STYLE}</style><div class='ocs'>{self.static_html()}</div>"
        return {**data, "text/html": html}, metadata

    def static_html(self) -> str:
        """A picture for a page without Python: all events, or those around the selected one.

        Side by side, the sessions stand one below the other on one axis.
        """
        groups, names = self._picture.groups, self._picture.names
        if not groups:
            return note_html(NOTHING_TO_SHOW)
        count = max(group.end - group.start for group in groups)
        chosen = [self._selected - one.start for one in groups if self._selected in range(*one[:2])]
        start = min(max(max(chosen, default=count) - MARKS // 2, 0), max(count - MARKS, 0))
        shown = [legend_html(self.events)]
        for group in groups:
            places = slice(group.start + start, min(group.start + start + MARKS, group.end))
            events = self.events.iloc[places].reset_index(drop=True)
            rows = pd.Series([names[row] for row in self._picture.row[places]], dtype="str")
            if len(groups) > 1:
                shown.append(f"<div class='ocs-title'>{escaped(group.session)}</div>")
            shown.append(timeline_svg(events, rows, self.file, self.selected, min(count, MARKS)))
        note = f"Events {start + 1:,} to {start + MARKS:,} of {count:,}." if count > MARKS else ""
        return "".join(shown) + note_html(note)

    # -- the wire ----------------------------------------------------------------------------------

    def _pictured(self, events: pd.DataFrame | None) -> Picture:
        return Picture(no_events() if events is None else events, side_by_side=self._side_by_side)

    def _wire(self) -> dict[str, Any]:
        wire = self._picture.wire()
        wire["words"] |= {"version": self._version, "base": self._base}
        return {f"_{name}": value for name, value in wire.items()}

    @traitlets.validate("selected")
    def _is_event(self, proposal: Any) -> Any:
        self._place(proposal.value)
        return proposal.value

    @traitlets.validate("file")
    def _is_row(self, proposal: Any) -> Any:
        self._row_of(proposal.value)
        return proposal.value

    @traitlets.validate("brushed")
    def _is_range(self, proposal: Any) -> Any:
        if proposal.value is not None and not 0 <= proposal.value[0] <= proposal.value[1]:
            raise traitlets.TraitError(f"brushed={proposal.value} is no range of places.")
        return proposal.value

    @traitlets.validate("_selected")
    def _is_place(self, proposal: Any) -> Any:
        return proposal.value if 0 <= proposal.value < len(self._picture) else NOTHING

    @traitlets.observe("selected")
    def _send_place(self, change: Any) -> None:
        self._selected = self._place(change.new)

    @traitlets.observe("_selected")
    def _take_place(self, change: Any) -> None:
        ids = self.events["event_id"]
        self.selected = None if change.new == NOTHING else str(ids.iloc[change.new])

    @traitlets.observe("file")
    def _send_row(self, change: Any) -> None:
        if change.new is None or self._named(self._row) != change.new:  # side by side, names repeat
            self._row = self._row_of(change.new)

    @traitlets.observe("_row")
    def _take_row(self, change: Any) -> None:
        self.file = self._named(change.new)

    def _place(self, event: str | None) -> int:
        if event is None:
            return NOTHING
        ids = self.events["event_id"]
        known = self._selected  # the common case, and a million ids take a while to search
        is_known = 0 <= known < len(ids) and ids.iloc[known] == event
        return known if is_known else self._picture.place_of(event)

    def _row_of(self, file: str | None) -> int:
        return NOTHING if file is None else self._picture.row_of(file)

    def _named(self, row: int) -> str | None:
        return self._picture.names[row] if 0 <= row < len(self._picture.names) else None

    def _asked(self, _widget: Any, content: Any, _buffers: Any) -> None:
        """The browser asks for the words of one event."""
        place, version = content["details"], content["version"]
        if version == self._version and 0 <= place < len(self._picture):
            self.send({**content, "said": self._picture.details(place)})
