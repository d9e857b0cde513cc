"""`explore`: sessions, their files, each file's timeline and every change, in a notebook.

Choosing is setting a trait, from Python or by a picker; showing follows from the trait. What has to
be loaded or takes a while is done by `Loading`, for each purpose the newest request. What its tasks
raise would vanish: it becomes `explorer.problem` and the one alert line.
"""

from collections.abc import Callable
from typing import Any

import ipywidgets
import pandas as pd
import traitlets

from ..analytics import Frames
from ..service import OpencodeSessionService
from ..showing import panels
from ..showing.message import message_html
from ..showing.picture import Picture
from ..showing.sessions import SHOWN, SessionList, title
from ..showing.source import FromFrames, Row, Source, is_known, row, together
from ..showing.story import SHELL, Story, newest_change, no_events, reach, steps
from ..shown import visible
from .cells import close_with_cell
from .finding import FindBox
from .loading import Loading
from .painting import Painting
from .pickers import FilePicker, SessionPicker
from .status import LOADING, NEVER_LOADED, NO_EVENTS, NO_SESSIONS
from .traits import OfEvents
from .view import View, held, parts


def explore(source: OpencodeSessionService | Frames) -> "SessionExplorer":
    """A widget to look through sessions: pick one and a file, see its timeline and each change.

    Returns at once and fills as it loads. Frames show changes if loaded with `diffs=True`, and what
    was said if loaded with `parts=True`.

    Raises:
        TypeError: the source is neither a service nor frames.
    """
    if not isinstance(source, OpencodeSessionService | Frames):
        raise TypeError(
            f"explore() shows a service or frames, not {type(source).__name__}. "
            "Try `ocs.explore(svc)` or `ocs.explore(await svc.frames(diffs=True, parts=True))`."
        )
    return SessionExplorer(source)


class SessionExplorer(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """What `explore` makes; Python reads and sets what is chosen, and may observe each of these.

    `selected`, an event_id, is what all else follows from: `session` (a session's id), `file` (a
    path as the frames show it, "" for the commands). `beside` is a second session, shown on one
    axis with the first. As pandas objects: `event`, the selected event as a Series; `events`, those
    of the chosen file, as `file_timeline` has them; `selection`, those brushed in the timeline, all
    of the session when nothing is. Set to events of another session, they bring that one.

    What was set is on view once `await explorer.settled()` has returned; `problem` is then None, or
    what went wrong.
    """

    session = traitlets.Unicode(None, allow_none=True)
    beside = traitlets.Unicode(None, allow_none=True)
    file = traitlets.Unicode(None, allow_none=True)
    selected = traitlets.Unicode(None, allow_none=True)
    event = OfEvents(pd.Series, allow_none=True)
    events = OfEvents(pd.DataFrame)
    selection = OfEvents(pd.DataFrame)
    problem = traitlets.Instance(Exception, allow_none=True)

    def __init__(self, source: OpencodeSessionService | Frames) -> None:
        is_frames = isinstance(source, Frames)
        self._source: Source = FromFrames(source) if isinstance(source, Frames) else source
        self._loading = Loading(self._show_loading, self._show_problem, is_at_once=is_frames)
        self._painting = Painting()
        self._last_file: str | None = None
        self._list = SessionList(pd.DataFrame(columns=SHOWN))
        self._story: Story | None = None  # of the session, once it is loaded
        self._read: dict[str, pd.DataFrame] = {}  # what it is made of, by session
        self._brushed: pd.DataFrame | None = None  # events to brush once they are on view
        self._view, post = View(), self._loading.post
        self._sessions = SessionPicker(
            self._painting,
            post,
            lambda id: setattr(self, "session", id),
            lambda id: setattr(self, "beside", id or None),
        )
        self._files = FilePicker(self._painting, post, lambda name: setattr(self, "file", name))
        self._find = FindBox(
            self._source, self._painting, self._loading, self._go, lambda: self._say("")
        )
        rows = self._view.rows(self._sessions, self._files, self._find)
        with self._painting():
            super().__init__(rows, events=no_events(), selection=no_events())
        self.add_class("ocs-explorer")
        self._wire()
        close_with_cell(self)
        self._loading.post(self._open)

    async def settled(self) -> None:
        """Returns when everything asked for is on view, or `problem` says why not."""
        await self._loading.settled()

    def close(self) -> None:
        """Cancels what is loading and takes the widget off the page."""
        self._loading.post(self._loading.close)
        for part in parts(self):
            part.close()
        super().close()

    def __repr__(self) -> str:
        if self._loading.is_waiting:
            return "<SessionExplorer: loading; `await explorer.settled()` waits for it>"
        if self.problem is not None:
            return f"<SessionExplorer: {visible(repr(self.problem))}>"
        session = self._list.find(self.session)
        if session is None:
            return "<SessionExplorer: no sessions>"
        file = "shell commands" if self.file == SHELL else visible(self.file or "no files")
        return f"<SessionExplorer {title(session)!r}: {file}, {len(self.events)} events>"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return {
            **super()._repr_mimebundle_(**kwargs),
            "text/plain": repr(self),
            "text/html": f"<style>{panels.STYLE}</style><div class='ocs'>{self._picture()}</div>",
        }

    def _picture(self) -> str:
        """What is on view, as HTML that needs no kernel."""
        if self._loading.is_waiting:
            return panels.note_html(NEVER_LOADED)
        return self._view.static_html()

    # -- choosing ----------------------------------------------------------------------------------

    def _wire(self) -> None:
        for name in ("selected", "file"):
            self._view.timeline.observe(self._pick_mark, name)
        self._view.timeline.observe(lambda _: self._if_chosen(self._take_brush), "brushed")
        self._view.slider.observe(lambda change: self._pick_step(change.new), "value")
        self.observe(lambda _: self._chosen(self._open, "file", "selected"), "session")
        self.observe(lambda _: self._chosen_beside(), "beside")
        self.observe(lambda _: self._chosen(self._show_file, "selected"), "file")
        self.observe(lambda _: self._chosen(self._show_event), "selected")
        self.observe(self._go_to, ["event", "events", "selection"])

    def _pick_mark(self, change: Any) -> None:
        if change.new is None:  # let go of in the timeline: here something is always chosen
            self._if_chosen(self._show_event)
        else:
            self._if_chosen(lambda: setattr(self, change.name, change.new))

    def _pick_step(self, number: int) -> None:
        if self.file is not None and not self._painting.is_ours:
            place = steps(self.events, self.file)[number - 1]
            chosen = str(self.events["event_id"].iloc[place])
            self._if_chosen(lambda: setattr(self, "selected", chosen))

    def _if_chosen(self, do: Callable[[], None]) -> None:
        """Does something on the widget's loop, if a person chose it."""
        if not self._painting.is_ours:
            self._loading.post(do)

    def _chosen(self, show: Callable[[], None], *depending: str) -> None:
        """Someone set a trait: those that depend on it start over."""
        if not self._painting.is_ours:
            with self._painting():
                for name in depending:
                    setattr(self, name, None)
            self._loading.post(show)

    def _chosen_beside(self) -> None:
        session = self._list.find(self.session) or {}
        stays = self.event is not None and self.event["session_id"] == session.get("session_id")
        self._chosen(self._open, *(() if stays else ("file", "selected")))

    @traitlets.validate("events", "selection")
    def _has_events(self, proposal: Any) -> Any:
        if proposal.value.empty and not self._painting.is_ours:
            name = proposal.trait.name
            raise traitlets.TraitError(f"`{name}` can only be set to events; here are none.")
        return proposal.value

    def _go_to(self, change: Any) -> None:
        """Someone set events: their session, and their file or themselves, are chosen."""
        if self._painting.is_ours:
            return
        if change.name == "event":
            if change.new is not None:
                self._bring(change.new)
            self.selected = None if change.new is None else change.new["event_id"]
        elif change.name == "events":
            first = row(change.new, 0)
            self._bring(first)
            self.file = first["file_path"] if first["event_type"] != "bash" else SHELL
        else:
            self._brushed = change.new
            self._bring(row(change.new, 0))
            self._loading.post(self._brush)

    def _go(self, session: str, event: str | None) -> None:
        """Someone picked what was found: an event, or a session where it is of none."""
        if self._story is None or session not in set(self._story.events["session_id"]):
            self.session = session
        if event is not None:
            self.selected = event

    def _bring(self, event: Row) -> None:
        if self._story is None or event["session_id"] not in set(self._story.events["session_id"]):
            self.session = str(event["session_id"])

    # -- showing -----------------------------------------------------------------------------------

    def _open(self) -> None:
        self._story = None
        self._loading.cancel("event")
        self._loading.start("sessions", self._load)

    async def _load(self) -> None:
        wanted = (self.session, *filter(None, [self.beside]))
        if any(self._list.find(id) is None for id in wanted):
            sessions = await self._source.sessions()
            self._list = await self._loading.aside(SessionList, sessions)
            self._view.unfold_sessions(len(self._list) > 0)  # a list scrolls only when it is there
            self._list_sessions()
        session = self.session or self._list.newest()
        if session is None:
            self._clear()
            self._say(NO_SESSIONS)
            return
        beside = None if self.beside == session else self.beside
        ids = [session] if beside is None else [session, beside]
        # Beside another a session is shown as it was; alone it is read anew.
        read = {} if beside is None else self._read
        self._read = {
            id: read[id] if id in read else await self._source.file_events(id, diffs=True)
            for id in ids
        }
        events = await self._loading.aside(together, [*self._read.values()])
        story = await self._loading.aside(Story, events)
        is_wide = beside is not None
        picture = await self._loading.aside(
            Picture, events, side_by_side=is_wide, names=story.names
        )
        found = list(filter(None, map(self._list.find, ids)))
        titles = {one["session_id"]: title(one) for one in found}
        picture.groups = [each._replace(session=titles[each.session]) for each in picture.groups]
        heading = await self._loading.aside(
            lambda: "".join(panels.session_html(one, story) for one in found)
        )
        self._story = story
        with held(self):
            with self._painting():
                self.session, self.beside = session, beside
                self._view.message.value = ""
                self._view.timeline.show(picture)
                self.selection = self._view.timeline.selection
            self._view.heading.value = heading
            self._view.unfold_events(not events.empty)
            self._list_sessions()
            self._show_file()
            self._brush()

    def _show_file(self) -> None:
        if self._story is None:
            if not self._loading.is_waiting:  # it failed; else this is shown when it is loaded
                self._open()
            return
        names = self._story.files.index
        if self.file is not None:
            file = self.file
        elif self.selected is not None:
            file = self._story.file_of(self.selected)
        elif names.empty:
            self._clear()
            self._say(NO_EVENTS)
            return
        else:
            busiest = next(iter(names.drop(SHELL, errors="ignore")), SHELL)
            file = str(self._last_file if self._last_file in names else busiest)
        events = self._story.of(file)
        with self._painting():
            self.events, self.file, self._last_file = events, file, file
        self._list_files()
        self._show_event()

    def _show_event(self) -> None:
        if self._story is None:
            return
        event = self.selected or newest_change(self.events)
        name = self._story.file_of(event)
        ids = self.events["event_id"]
        if not (ids == event).any():  # of another file: show that one
            with self._painting():
                self.file = name
            self._show_file()
            return
        place = int((ids == event).to_numpy().argmax())
        stops = steps(self.events, name)
        with self._painting():
            self.selected, self.event = event, self.events.iloc[place]
            self._view.timeline.file, self._view.timeline.selected = name, event
            what = "command" if name == SHELL else "change"
            self._view.show_step(int((stops <= place).sum()), len(stops), what)
        shown = self.event.to_dict()
        self._loading.start("event", lambda: self._write(shown, place + 1, len(ids)))

    async def _write(self, event: Row, number: int, count: int) -> None:
        """Writes what an event changed, and the message around it."""
        change = await self._loading.aside(panels.change_html, event, number, count)
        id = str(event["message_id"]) if is_known(event["message_id"]) else ""
        messages = await self._source.message(id)
        message = await self._loading.aside(message_html, messages, event)
        self._view.change.value, self._view.message.value = change, message
        self._say("")

    def _list_sessions(self) -> None:
        self._sessions.show(self._list, self.session, self.beside)

    def _list_files(self) -> None:
        chosen = None
        if self._story is not None and not self.events.empty:
            chosen = self._story.file_of(self.events["event_id"].iloc[-1])
        self._files.show(None if self._story is None else self._story.files, chosen)

    def _take_brush(self) -> None:
        with self._painting():
            self.selection = self._view.timeline.selection

    def _brush(self) -> None:
        """Brushes what was asked for, from its first event to its last."""
        if self._story is not None and self._brushed is not None:
            timeline = self._view.timeline
            wanted, self._brushed = self._brushed["event_id"], None
            with self._painting():
                timeline.brushed = reach(timeline.events, wanted, by_session=bool(self.beside))
                self.selection = timeline.selection

    def _show_loading(self) -> None:
        self._view.note.text = LOADING

    def _show_problem(self, problem: Exception) -> None:
        self._say("", problem)  # first of all: what follows shows something as well
        with self._painting():  # what is not on view is not chosen: choosing it again tries again
            if self._story is None:
                self.session = self.beside = None
            self.file = self.selected = None
        self._list_sessions()
        self._clear()

    def _clear(self) -> None:
        self._loading.cancel("event")  # it would write what is cleared here
        with self._painting():
            self.events, self.event = no_events(), None
            if self._story is None:
                self._view.timeline.events, self.selection = None, no_events()
                self._view.heading.value = ""
            self._view.clear()
        has_events = self._story is not None and not self._story.events.empty
        self._view.unfold_events(has_events)
        self._list_files()

    def _say(self, note: str, problem: Exception | None = None) -> None:
        self._view.note.text = note
        self._view.alert.value = "" if problem is None else panels.problem_html(problem)
        self.problem = problem
