"""`explore`: sessions, their files, each file's timeline and every change, in a notebook.

Choosing is setting a trait, from Python or by a picker; showing follows from the trait. What has to
be loaded first is loaded by `Loading`, one request at a time. What its task raises would vanish: it
becomes `explorer.problem` and the one alert line.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ipywidgets
import pandas as pd
import traitlets

from ..analytics import Frames
from ..service import OpencodeSessionService
from . import panels
from .cells import close_with_cell
from .loading import Loading
from .source import FromFrames, Source, finish, newest, row, session_row
from .story import SHELL, Story, newest_change, no_events
from .svg import legend_html, timeline_svg
from .text import escaped, visible

NEVER_LOADED = (
    "This explorer lives in a running notebook. <code>await explorer.settled()</code> before it is "
    "shown keeps its picture here as well."
)
NO_SESSIONS = (
    "No sessions here yet. <code>await svc.import_opencode()</code> imports what opencode left on "
    "this machine; then <code>ocs.explore(svc)</code> again."
)
NO_EVENTS = "This session touched no files and ran no commands. Choose another."


def explore(source: OpencodeSessionService | Frames) -> "SessionExplorer":
    """A widget to look through sessions: pick one and a file, see its timeline and each change.

    Returns at once and fills as it loads. Frames show changes if loaded with `diffs=True`.

    Raises:
        TypeError: the source is neither a service nor frames.
    """
    if not isinstance(source, OpencodeSessionService | Frames):
        raise TypeError(
            f"explore() shows a service or frames, not {type(source).__name__}. "
            "Try `ocs.explore(svc)` or `ocs.explore(await svc.frames(diffs=True))`."
        )
    return SessionExplorer(source)


class SessionExplorer(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """What `explore` makes; Python reads and sets what is chosen.

    `session` is a session's id, `file` a path as the frames show it ("" for the commands), `event`
    an event_id of it, `events` the chosen file's events as a DataFrame. What was set is on view
    once `await explorer.settled()` has returned; `problem` is then None, or what went wrong.
    """

    session = traitlets.Unicode(None, allow_none=True)
    file = traitlets.Unicode(None, allow_none=True)
    event = traitlets.Unicode(None, allow_none=True)
    problem = traitlets.Instance(Exception, allow_none=True)

    def __init__(self, source: OpencodeSessionService | Frames) -> None:
        self._source: Source = FromFrames(source) if isinstance(source, Frames) else source
        self._loading = Loading(self._show_loading, self._show_problem)
        self._painter: int | None = None  # the thread that sets traits and pickers by itself
        self._last_file: str | None = None
        self._sessions = pd.DataFrame(columns=panels.SESSION)
        self._story: Story | None = None  # of the session, once it is loaded
        self._events = no_events()
        self._make_panels()
        super().__init__(
            [
                ipywidgets.HTML(f"<style>{panels.STYLE}</style>", layout={"display": "none"}),
                self._alert,
                self._session_filter,
                self._session_picker,
                self._note,
                ipywidgets.HBox(
                    [
                        ipywidgets.VBox(
                            [self._file_filter, self._file_picker],
                            layout={"width": "30%", "min_width": "200px"},
                        ),
                        ipywidgets.VBox(
                            [self._timeline, self._slider, self._change],
                            layout={"width": "70%", "padding": "0 0 0 8px"},
                        ),
                    ]
                ),
            ]
        )
        self.add_class("ocs-explorer")
        self._wire()
        close_with_cell(self)
        self._loading.post(self._open)

    @property
    def events(self) -> pd.DataFrame:
        """The chosen file's events of the session, in order, as `file_timeline` has them."""
        return self._events

    async def settled(self) -> None:
        """Returns when everything asked for is on view, or `problem` says why not."""
        await self._loading.settled()

    def close(self) -> None:
        """Cancels what is loading and takes the widget off the page."""
        self._loading.post(self._loading.cancel)
        for part in _parts(self):
            part.close()
        super().close()

    def __repr__(self) -> str:
        if self._loading.is_waiting:
            return "<SessionExplorer: loading; `await explorer.settled()` waits for it>"
        if self.problem is not None:
            return f"<SessionExplorer: {visible(repr(self.problem))}>"
        session = session_row(self._sessions, self.session)
        if session is None:
            return "<SessionExplorer: no sessions>"
        file = "shell commands" if self.file == SHELL else visible(self.file or "no files")
        return f"<SessionExplorer {panels.title(session)!r}: {file}, {len(self._events)} events>"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        session = session_row(self._sessions, self.session)
        if self._loading.is_waiting:
            picture = panels.note_html(NEVER_LOADED)
        else:
            heading = f"<b>{escaped(panels.session_label(session))}</b>" if session else ""
            shown = (self._alert, self._note, self._timeline, self._change)
            picture = heading + "".join(panel.value for panel in shown)
        return {
            **super()._repr_mimebundle_(**kwargs),
            "text/plain": repr(self),
            "text/html": f"<style>{panels.STYLE}</style><div class='ocs'>{picture}</div>",
        }

    # -- choosing ----------------------------------------------------------------------------------

    def _make_panels(self) -> None:
        self._alert, self._timeline = ipywidgets.HTML(), ipywidgets.HTML()
        self._note = ipywidgets.HTML(layout={"min_height": "1.5em"})  # so that nothing jumps
        self._change = ipywidgets.HTML(layout={"max_height": "480px", "overflow": "auto"})
        self._session_filter = _filter("filter sessions…")
        self._session_picker = _picker("Sessions", rows=6)
        self._file_filter = _filter("filter files…")
        self._file_picker = _picker("Files, with the number of their events", rows=16)
        self._slider = ipywidgets.IntSlider(
            min=1, max=1, description="event", disabled=True, layout={"width": "98%"}
        )

    def _wire(self) -> None:
        self._session_filter.observe(lambda _: self._loading.post(self._list_sessions), "value")
        self._file_filter.observe(lambda _: self._loading.post(self._list_files), "value")
        self._session_picker.observe(lambda change: self._pick("session", change.new), "value")
        self._file_picker.observe(lambda change: self._pick("file", change.new), "value")
        self._slider.observe(lambda change: self._pick_event(change.new), "value")
        self.observe(lambda _: self._chosen(self._open, "file", "event"), "session")
        self.observe(lambda _: self._chosen(self._show_file, "event"), "file")
        self.observe(lambda _: self._chosen(self._show_event), "event")

    def _pick(self, name: str, value: str | None) -> None:
        if value is not None and self._painter != threading.get_ident():
            self._loading.post(lambda: setattr(self, name, value))

    def _pick_event(self, number: int) -> None:
        if self._painter != threading.get_ident():
            self._loading.post(
                lambda: setattr(self, "event", self._events["event_id"].iloc[number - 1])
            )

    def _chosen(self, show: Callable[[], None], *depending: str) -> None:
        """Someone set a trait: those that depend on it start over."""
        if self._painter != threading.get_ident():
            with self._painting():
                for name in depending:
                    setattr(self, name, None)
            self._loading.post(show)

    @contextmanager
    def _painting(self) -> Iterator[None]:
        """What this thread sets meanwhile is our doing and no choice."""
        before, self._painter = self._painter, threading.get_ident()
        try:
            yield
        finally:
            self._painter = before

    # -- showing -----------------------------------------------------------------------------------

    def _open(self) -> None:
        self._story = None
        if isinstance(self._source, FromFrames):
            finish(self._load())
        else:
            self._loading.start(self._load)

    async def _load(self) -> None:
        if session_row(self._sessions, self.session) is None:
            self._sessions = (await self._source.sessions())[panels.SESSION]
            self._list_sessions()
        session = self.session or newest(self._sessions)
        if session is None:
            self._clear(NO_SESSIONS)
            return
        self._story = Story(await self._source.file_events(session, diffs=True))
        with self._painting():
            self.session = session
        self._list_sessions()
        self._show_file()

    def _show_file(self) -> None:
        if self._story is None:
            if not self._loading.is_waiting:  # it failed; else this is shown when it is loaded
                self._open()
            return
        files = self._story.files.index
        if self.file is not None:
            file = self.file
        elif files.empty:
            self._clear(NO_EVENTS)
            return
        else:
            file = str(self._last_file if self._last_file in files else files[0])
        self._events = self._story.of(file)
        with self._painting():
            self.file = self._last_file = file
        self._list_files()
        self._show_event()

    def _show_event(self) -> None:
        if self._story is None:
            return
        event = self.event or newest_change(self._events)
        name = self._story.file_of(event)
        ids = self._events["event_id"]
        if not (ids == event).any():  # of another file: show that one
            with self._painting():
                self.file = name
            self._show_file()
            return
        place = int((ids == event).to_numpy().argmax())
        with self._painting():
            self.event = event
            self._slider.max = len(ids)
            self._slider.value = place + 1
            self._slider.disabled = len(ids) == 1
        story = self._story
        picture = timeline_svg(story.events, story.names, name, event)
        self._timeline.value = f"<div class='ocs'>{legend_html(story.events)}{picture}</div>"
        self._change.value = panels.change_html(row(self._events, place), place + 1, len(ids))
        self._say("")

    def _list_sessions(self) -> None:
        words = self._session_filter.value.casefold().split()
        newest = self._sessions.sort_values("created_at", ascending=False, kind="stable")
        options = [
            (panels.session_label(row), str(row["session_id"])) for row in newest.to_dict("records")
        ]
        chosen = session_row(self._sessions, self.session)
        self._fill(
            self._session_picker, options, words, None if chosen is None else chosen["session_id"]
        )

    def _list_files(self) -> None:
        files = self._story.files if self._story is not None else None
        words = self._file_filter.value.casefold().split()
        options = []
        if files is not None and not files.empty:
            width = len(str(files["events"].max()))
            options = [
                (panels.file_label(name, events, failed, width), name)
                for name, events, failed in files.itertuples()
            ]
        chosen = None
        if self._story is not None and not self._events.empty and self.file is not None:
            chosen = self._story.file_of(self._events["event_id"].iloc[-1])
        self._fill(self._file_picker, options, words, chosen)

    def _fill(
        self,
        picker: Any,
        options: Sequence[tuple[str, str]],
        words: Sequence[str],
        value: str | None,
    ) -> None:
        """Gives a picker the options with all these words; `value` is chosen if it is there."""
        fitting = tuple(
            (label, value)
            for label, value in options
            if all(word in label.casefold() for word in words)
        )
        with self._painting(), picker.hold_sync():
            if picker.options != fitting:
                picker.index = None
                picker.options = fitting
            picker.value = value if any(value == other for _, other in fitting) else None

    def _show_loading(self) -> None:
        self._note.value = panels.note_html("Loading…")

    def _show_problem(self, problem: Exception) -> None:
        with self._painting():  # what is not on view is not chosen: choosing it again tries again
            self.session = None if self._story is None else self.session
            self.file = self.event = None
        self._list_sessions()
        self._clear("")
        self._say("", problem)

    def _clear(self, note: str) -> None:
        self._events = no_events()
        with self._painting():
            self._slider.value = self._slider.max = 1
            self._slider.disabled = True
        self._timeline.value = self._change.value = ""
        self._list_files()
        self._say(note)

    def _say(self, note: str, problem: Exception | None = None) -> None:
        self._note.value = panels.note_html(note)
        self._alert.value = "" if problem is None else panels.problem_html(problem)
        self.problem = problem


def _filter(placeholder: str) -> Any:
    return ipywidgets.Text(placeholder=placeholder, tooltip=placeholder, layout={"width": "99%"})


def _picker(name: str, rows: int) -> Any:
    return ipywidgets.Select(options=(), rows=rows, tooltip=name, layout={"width": "99%"})


def _parts(widget: Any) -> Iterator[Any]:
    """Every widget within this one, layouts and styles included."""
    for child in getattr(widget, "children", ()):
        yield from _parts(child)
        yield child
    yield widget.layout
    if hasattr(widget, "style"):
        yield widget.style
