"""The explorer as a notebook drives it: in memory, on SQLite, on frames, with a loop or without."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import ipywidgets.widgets.widget
import pandas as pd
import pytest
import traitlets
from conftest import TRAILMAP, Recording

import opencode_sessions as ocs
from opencode_sessions.analytics.counting import FAILED
from opencode_sessions.widgets import SessionExplorer, loading
from opencode_sessions.widgets.svg import MARKS, legend_html, timeline_svg

CLEAN_UP = "ses_dfb94b0edffeI566j7sbRyceyc"
RELEASE = "ses_dfb90f25effeDe0GsDxWMywL0H"
FORK = "ses_dfb926e42ffeZ3kATY7retQk4m"
WAIT = 60  # seconds until a test is given up
HOSTILE = "<script>alert(1)</script>\u202e\x1b[31m\"'"

Source = ocs.OpencodeSessionService | ocs.analytics.Frames


@pytest.fixture(scope="module")
def memory(recordings: dict[str, Recording]) -> ocs.OpencodeSessionService:
    service = ocs.OpencodeSessionService()
    asyncio.run(
        service.import_opencode(recordings[TRAILMAP].database, origin="ana", progress=False)
    )
    return service


@pytest.fixture(scope="module")
def frames(memory: ocs.OpencodeSessionService) -> ocs.analytics.Frames:
    return asyncio.run(memory.frames(diffs=True))


@pytest.fixture(scope="module")
def file(recordings: dict[str, Recording], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "sessions.db"

    async def fill() -> None:
        async with ocs.open(path) as service:
            recording = recordings[TRAILMAP].database
            await service.import_opencode(recording, origin="ana", progress=False)

    asyncio.run(fill())
    return path


@pytest.fixture(params=["memory", "sqlite", "frames"])
async def source(
    request: pytest.FixtureRequest,
    memory: ocs.OpencodeSessionService,
    frames: ocs.analytics.Frames,
    file: Path,
) -> AsyncIterator[Source]:
    """The recording, to be read; all tests share it."""
    if request.param == "sqlite":
        async with ocs.open(file) as service:
            yield service
    else:
        yield memory if request.param == "memory" else frames


class Gate:
    """A service whose answers wait until they are let through; it notes who asked and gave up."""

    def __init__(self, frames: ocs.analytics.Frames) -> None:
        self._frames = frames
        self._entered = asyncio.Event()
        self._open: dict[str, asyncio.Event] = {}
        self.asked: list[str] = []
        self.cancelled: list[str] = []
        self.at_cancel: type[BaseException] = asyncio.CancelledError

    async def is_asked(self, name: str) -> None:
        """Returns once somebody has asked for this."""
        while name not in self.asked:
            self._entered.clear()
            await asyncio.wait_for(self._entered.wait(), WAIT)

    def let_through(self, name: str) -> None:
        self._open.setdefault(name, asyncio.Event()).set()

    async def sessions(self) -> pd.DataFrame:
        await self._pass("sessions")
        return self._frames.sessions

    async def file_events(self, session: str, *, diffs: bool) -> pd.DataFrame:
        await self._pass(session)
        events = self._frames.file_events
        return events[events["session_id"] == session].reset_index(drop=True)

    async def _pass(self, name: str) -> None:
        self.asked.append(name)
        self._entered.set()
        try:
            await self._open.setdefault(name, asyncio.Event()).wait()
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise self.at_cancel() from None


@pytest.fixture
def gate(frames: ocs.analytics.Frames) -> Gate:
    return Gate(frames)


def made_by(gate: Gate) -> SessionExplorer:
    return SessionExplorer(gate)  # type: ignore[arg-type]


async def until(explorer: SessionExplorer, shown: Callable[[], bool]) -> None:
    """Returns when one of the explorer's own panels makes it true."""
    happened = asyncio.Event()
    for panel in (explorer._note, explorer._alert, explorer._change):
        panel.observe(lambda _: happened.set() if shown() else None, "value")
    if not shown():
        await asyncio.wait_for(happened.wait(), WAIT)


def picked(picker: Any) -> str:
    return str(picker.label)


# -- what is on view -----------------------------------------------------------------------------


async def test_it_opens_at_once_on_the_newest_session_and_its_busiest_file(source: Source) -> None:
    explorer = ocs.explore(source)
    await explorer.settled()
    assert explorer.problem is None
    assert explorer.session == RELEASE
    assert explorer.file == "CHANGELOG.md"
    assert explorer.event == explorer.events["event_id"].iloc[-1]
    assert (
        picked(explorer._session_picker) == "2026-11-22 18:05  Release 0.3.0  ·  38 events  ·  ana"
    )
    assert picked(explorer._file_picker) == "\u20073  CHANGELOG.md"
    assert repr(explorer) == "<SessionExplorer 'Release 0.3.0': CHANGELOG.md, 3 events>"


async def test_python_sets_what_is_shown_and_reads_it_back(source: Source) -> None:
    explorer = ocs.explore(source)
    explorer.session = CLEAN_UP
    explorer.file = "trailmap/storage.py"
    await explorer.settled()
    assert explorer.problem is None
    events = explorer.events
    assert list(events["file_path"].unique()) == ["trailmap/storage.py"]
    assert "version" in events and events["diff"].notna().any()

    failed = events.loc[events["status"] == "error", "event_id"].iloc[0]
    explorer.event = failed
    await explorer.settled()
    assert "asked for and not done" in explorer._change.value
    assert explorer._slider.value == list(events["event_id"]).index(failed) + 1
    assert picked(explorer._file_picker).endswith("trailmap/storage.py  (2 failed)")


async def test_pickers_and_slider_choose_as_python_does(source: Source) -> None:
    explorer = ocs.explore(source)
    await explorer.settled()
    explorer._session_picker.value = CLEAN_UP
    await explorer.settled()
    assert explorer.session == CLEAN_UP
    assert explorer.file == "trailmap/elevation.py"

    explorer._file_picker.index = 1
    await explorer.settled()
    assert explorer.file == "trailmap/cli.py"

    explorer._slider.value = 1
    await explorer.settled()
    assert explorer.event == explorer.events["event_id"].iloc[0]
    assert "event 1 of 15" in explorer._change.value


async def test_a_file_stays_chosen_in_a_session_that_has_it(source: Source) -> None:
    explorer = ocs.explore(source)
    explorer.session, explorer.file = CLEAN_UP, "trailmap/search.py"
    await explorer.settled()
    explorer.session = "ses_dfb92f2a4ffeyxQPQO2y1F1X8w"
    await explorer.settled()
    assert explorer.file == "trailmap/search.py"
    assert explorer.file != explorer._file_picker.options[0][1]
    explorer.session = RELEASE
    await explorer.settled()
    assert explorer.file == "CHANGELOG.md"


async def test_filters_narrow_the_lists_and_leave_the_choice(source: Source) -> None:
    explorer = ocs.explore(source)
    explorer.session = CLEAN_UP
    await explorer.settled()
    explorer._session_filter.value = "REVIEW subagent"
    assert len(explorer._session_picker.options) == 3
    assert explorer._session_picker.value is None
    assert explorer.session == CLEAN_UP

    explorer._file_filter.value = "tests/"
    names = [value for _, value in explorer._file_picker.options]
    assert names and all(name.startswith("tests/") for name in names)
    explorer._file_filter.value = explorer._session_filter.value = ""
    assert explorer._session_picker.value == CLEAN_UP
    assert explorer._file_picker.value == explorer.file == "trailmap/elevation.py"


async def test_commands_are_the_file_without_a_name(source: Source) -> None:
    explorer = ocs.explore(source)
    explorer.session, explorer.file = CLEAN_UP, ""
    await explorer.settled()
    assert set(explorer.events["event_type"]) == {"bash"}
    assert len(explorer.events) == 43
    assert explorer.events["version"].isna().all()
    assert "<pre>$ " in explorer._change.value
    assert "shell commands, 43 events" in repr(explorer)


def test_every_session_of_every_recording_shows_all_its_events(
    recordings: dict[str, Recording],
) -> None:
    for recording in recordings.values():
        frames = ocs.read_opencode(recording.database, diffs=True)
        explorer = ocs.explore(frames)
        for session, events in frames.file_events.groupby("session_id", observed=True):
            explorer.session = str(session)
            assert explorer.problem is None
            story = explorer._story
            assert story is not None
            shown = pd.concat([story.of(file)["event_id"] for file in story.files.index])
            assert sorted(shown) == sorted(events["event_id"])
        explorer.close()


def test_an_event_of_another_file_brings_that_file(frames: ocs.analytics.Frames) -> None:
    explorer = ocs.explore(frames)
    events = frames.file_events.query("session_id == @CLEAN_UP")
    explorer.session = CLEAN_UP
    for event in events["event_id"][::5]:
        explorer.event = event
        assert explorer.problem is None
        assert explorer.event == event
        assert event in set(explorer.events["event_id"])


def test_a_renamed_file_is_found_by_both_names(frames: ocs.analytics.Frames) -> None:
    explorer = ocs.explore(frames)
    moved = frames.file_events.query("event_type == 'move'").iloc[0]
    explorer.session = moved["session_id"]
    for name in (moved["file_path"], moved["new_file_path"]):
        explorer.file = name
        assert explorer.problem is None
        assert moved["event_id"] in set(explorer.events["event_id"])
        assert explorer._file_picker.value == moved["new_file_path"]


# -- with and without a loop ---------------------------------------------------------------------


def test_frames_need_no_loop(frames: ocs.analytics.Frames) -> None:
    explorer = ocs.explore(frames)
    explorer.session = CLEAN_UP
    assert explorer.file == "trailmap/elevation.py"
    assert len(explorer.events) == 16


def test_a_service_without_a_loop_loads_when_it_is_waited_for(
    memory: ocs.OpencodeSessionService,
) -> None:
    explorer = ocs.explore(memory)
    explorer.session = CLEAN_UP
    assert explorer.events.empty
    assert "await explorer.settled()" in repr(explorer)
    asyncio.run(explorer.settled())
    assert explorer.file == "trailmap/elevation.py"
    explorer.session = RELEASE  # the loop is gone
    asyncio.run(explorer.settled())
    assert explorer.file == "CHANGELOG.md"


async def test_a_callback_on_another_thread_comes_back_to_the_loop(source: Source) -> None:
    explorer = ocs.explore(source)
    await explorer.settled()
    threads = []
    explorer._change.observe(lambda _: threads.append(asyncio.get_running_loop()), "value")
    await asyncio.to_thread(setattr, explorer._session_picker, "value", CLEAN_UP)
    await explorer.settled()
    assert explorer.session == CLEAN_UP
    assert explorer.problem is None
    assert set(threads) == {asyncio.get_running_loop()}


async def test_it_can_be_waited_for_on_another_loop(gate: Gate) -> None:
    explorer = made_by(gate)
    waiting = asyncio.create_task(asyncio.to_thread(asyncio.run, explorer.settled()))
    gate.let_through("sessions")
    gate.let_through(RELEASE)
    await waiting
    assert explorer.session == RELEASE


# -- requests ------------------------------------------------------------------------------------


async def test_the_newest_request_wins(gate: Gate) -> None:
    explorer = made_by(gate)
    gate.let_through("sessions")
    explorer.session = CLEAN_UP
    await asyncio.sleep(0)
    explorer.session = FORK
    gate.let_through(FORK)
    await explorer.settled()
    assert gate.cancelled[-1] == CLEAN_UP or CLEAN_UP not in gate.asked
    gate.let_through(CLEAN_UP)
    await explorer.settled()
    assert explorer.session == FORK
    assert "fork #1" in picked(explorer._session_picker)
    assert explorer.problem is None


async def test_a_request_under_way_is_cancelled(gate: Gate) -> None:
    gate.let_through("sessions")
    gate.let_through(RELEASE)
    explorer = made_by(gate)
    await explorer.settled()
    explorer.session = CLEAN_UP
    await gate.is_asked(CLEAN_UP)
    explorer.session = RELEASE
    await explorer.settled()
    assert gate.cancelled == [CLEAN_UP]
    assert explorer.session == RELEASE


async def test_what_a_given_up_request_raises_is_nobodys_problem(gate: Gate) -> None:
    gate.at_cancel = ConnectionError
    gate.let_through("sessions")
    gate.let_through(RELEASE)
    explorer = made_by(gate)
    await explorer.settled()
    explorer.session = CLEAN_UP
    await gate.is_asked(CLEAN_UP)
    explorer.session = RELEASE
    await explorer.settled()
    assert gate.cancelled == [CLEAN_UP]
    assert explorer.problem is None


async def test_many_choices_in_a_row_end_at_the_last(source: Source) -> None:
    explorer = ocs.explore(source)
    await explorer.settled()
    ids = [value for _, value in explorer._session_picker.options][:6]
    for id in [*ids, *reversed(ids)]:
        explorer.session = id
        await asyncio.sleep(0)
    await explorer.settled()
    assert explorer.problem is None
    assert explorer.session == ids[0]
    assert set(explorer.events["session_id"]) == {ids[0]}


async def test_loading_is_said_only_when_it_takes_a_while(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "SLOW", 0)
    explorer = made_by(gate)
    assert explorer._note.value == ""
    await until(explorer, lambda: "Loading…" in explorer._note.value)
    gate.let_through("sessions")
    gate.let_through(RELEASE)
    await explorer.settled()
    assert explorer._note.value == ""

    monkeypatch.setattr(loading, "SLOW", 3600)
    notes: list[str] = []
    explorer._note.observe(lambda change: notes.append(change.new), "value")
    explorer.session = CLEAN_UP
    gate.let_through(CLEAN_UP)
    await explorer.settled()
    assert notes == []


# -- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trait", "value", "said"),
    [
        ("session", "ses_nope", "SessionNotFound: No session"),
        ("file", "trailmap/elevation.pi", "Try 'trailmap/elevation.py'"),
        ("event", "prt_nope", "See `explorer.events.event_id`"),
    ],
)
async def test_a_wrong_choice_is_said_and_the_next_one_works(
    source: Source, trait: str, value: str, said: str
) -> None:
    explorer = ocs.explore(source)
    explorer.session = CLEAN_UP
    await explorer.settled()
    setattr(explorer, trait, value)
    await explorer.settled()
    assert isinstance(explorer.problem, ocs.OpencodeSessionsError)
    alert = text_of(explorer._alert.value)
    assert "role='alert'" in explorer._alert.value
    assert said in alert
    assert explorer.events.empty and explorer._timeline.value == explorer._change.value == ""
    assert explorer.file is explorer.event is None

    explorer.file = "trailmap/planner.py" if trait == "session" else "trailmap/cli.py"
    await explorer.settled()
    if trait == "session":  # which has none, so the newest is tried
        assert explorer.session == RELEASE
        assert "This session has no events of 'trailmap/planner.py'" in str(explorer.problem)
    else:
        assert (explorer.session, explorer.problem) == (CLEAN_UP, None)
    explorer.session = FORK
    await explorer.settled()
    assert explorer.problem is None
    assert explorer._alert.value == ""
    assert not explorer.events.empty


async def test_an_error_of_the_store_is_said_with_its_traceback_behind(
    memory: ocs.OpencodeSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> pd.DataFrame:
        raise RuntimeError(f"no such thing {HOSTILE}")

    monkeypatch.setattr(memory, "file_events", broken)
    explorer = ocs.explore(memory)
    await explorer.settled()
    assert isinstance(explorer.problem, RuntimeError)
    assert "RuntimeError: no such thing <script>" in text_of(explorer._alert.value)
    assert "<script" not in explorer._alert.value
    assert "<details><summary>Traceback" in explorer._alert.value
    assert repr(explorer).startswith("<SessionExplorer: RuntimeError(")
    assert "no such thing" in explorer._repr_mimebundle_()["text/html"]
    explorer._session_picker.value = CLEAN_UP
    await explorer.settled()
    assert explorer._session_picker.value is None
    monkeypatch.undo()
    explorer._session_picker.value = CLEAN_UP
    await explorer.settled()
    assert explorer.problem is None
    assert explorer.session == CLEAN_UP


async def test_an_error_in_a_callback_is_said_wherever_it_came(gate: Gate) -> None:
    def fails() -> None:
        raise ZeroDivisionError

    explorer = made_by(gate)
    explorer._loading.post(fails)
    assert isinstance(explorer.problem, ZeroDivisionError)
    explorer.problem = None
    await asyncio.to_thread(explorer._loading.post, fails)
    await asyncio.sleep(0)
    assert isinstance(explorer.problem, ZeroDivisionError)


def test_only_a_service_or_frames_can_be_explored(frames: ocs.analytics.Frames) -> None:
    with pytest.raises(TypeError, match=r"explore\(\) shows a service or frames, not DataFrame"):
        ocs.explore(frames.file_events)  # type: ignore[arg-type]


# -- nothing to show -----------------------------------------------------------------------------


async def test_an_empty_store_says_what_to_call_next() -> None:
    explorer = ocs.explore(ocs.OpencodeSessionService())
    await explorer.settled()
    assert explorer.problem is None
    assert explorer.session is None
    assert "await svc.import_opencode()" in explorer._note.value
    assert repr(explorer) == "<SessionExplorer: no sessions>"
    explorer._slider.value = 1
    explorer._file_filter.value = explorer._session_filter.value = "x"
    assert explorer.problem is None


async def test_sessions_stored_since_are_found(trailmap: Recording) -> None:
    service = ocs.OpencodeSessionService()
    explorer = ocs.explore(service)
    await explorer.settled()
    await service.import_opencode(trailmap.database, progress=False)
    explorer.session = CLEAN_UP
    await explorer.settled()
    assert len(explorer._session_picker.options) == 20
    assert explorer.file == "trailmap/elevation.py"


async def test_a_session_without_events_says_so() -> None:
    service = ocs.OpencodeSessionService()
    await service.get_or_create_session("ses_1", "build", "/home/dev/shop", title="Talk")
    explorer = ocs.explore(service)
    await explorer.settled()
    assert explorer.problem is None
    assert explorer.file is None
    assert "touched no files" in explorer._note.value
    assert explorer.events[["time", "status", "diff", "version"]].empty
    assert repr(explorer) == "<SessionExplorer 'Talk': no files, 0 events>"


async def test_frames_without_diffs_say_how_to_load_them(trailmap: Recording) -> None:
    explorer = ocs.explore(ocs.read_opencode(trailmap.database))
    assert explorer.problem is None
    assert "ocs.read_opencode(diffs=True)" in explorer._change.value


# -- what is shown is harmless -------------------------------------------------------------------


async def test_what_an_agent_typed_is_text_everywhere() -> None:
    service = ocs.OpencodeSessionService()
    session = await service.get_or_create_session("ses_1", HOSTILE, "/home/dev", title=HOSTILE)
    parts = [
        {"type": "tool_use", "name": "write", "input": {"path": HOSTILE, "content": HOSTILE}},
        {"type": "tool_use", "name": "edit", "input": {"path": HOSTILE, "new_string": HOSTILE}},
        {"type": "tool_use", "name": "bash", "input": {"command": HOSTILE}},
    ]
    message = await service.persist_message(session, "assistant", parts)
    await service.persist_file_events(message, parts)
    explorer = ocs.explore(service)
    await explorer.settled()
    assert explorer.problem is None
    shown = [explorer._session_picker.label, explorer._file_picker.label, repr(explorer)]
    for event in (await service.file_events())["event_id"]:
        explorer.event = event
        html = explorer._repr_mimebundle_()["text/html"]
        shown.append(html)
        assert Elements(html).names <= {
            *("style", "div", "span", "b", "pre", "table", "tr", "td", "ins", "del"),
            *("svg", "title", "text", "path", "g", "rect", "circle"),
        }
        assert "&lt;script&gt;" in html
    for text in shown:
        assert "<script" not in text or text in shown[:3]  # a label is text, no HTML
        assert not {"\u202e", "\x1b"} & set(text)


class Elements(HTMLParser):
    """The elements of a page; attributes that could run something are refused."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name == "href"]


def text_of(html: str) -> str:
    found: list[str] = []
    parser = HTMLParser()
    parser.handle_data = found.append  # type: ignore[method-assign]
    parser.feed(html)
    parser.close()
    return "".join(found)


# -- the picture ---------------------------------------------------------------------------------


def test_the_picture_has_a_mark_for_each_event_and_a_ring_for_each_failed_one(
    frames: ocs.analytics.Frames,
) -> None:
    events = frames.file_events.query("session_id == @CLEAN_UP").reset_index(drop=True)
    names = events["file_path"].astype("str").fillna("")
    in_rows = [*names[names != ""].value_counts().index[:9], ""]
    chosen = events.loc[names == in_rows[3], "event_id"].iloc[-1]
    svg = timeline_svg(events, names, in_rows[3], chosen)
    shown = events[names.isin(in_rows)]
    assert svg.count(" UTC</title>") == len(shown)
    assert svg.count("<circle r='7'") == shown["status"].isin(FAILED).sum() > 0
    assert svg.count("<rect ") == 1
    assert re.findall(r">turn (\d)<", svg) == list("1234567")
    assert "failed" in legend_html(events)


def test_a_file_far_down_gets_a_row_when_it_is_chosen(frames: ocs.analytics.Frames) -> None:
    events = frames.file_events.query("session_id == @CLEAN_UP").reset_index(drop=True)
    names = events["file_path"].astype("str").fillna("")
    assert "trailmap/model.py" not in timeline_svg(events, names, "", None)
    assert "trailmap/model.py" in timeline_svg(events, names, "trailmap/model.py", None)


def test_of_a_huge_session_the_marks_around_the_chosen_one_are_drawn(
    frames: ocs.analytics.Frames,
) -> None:
    one = frames.file_events.query("session_id == @CLEAN_UP")
    events = pd.concat([one] * 30, ignore_index=True)
    events["event_id"] = [f"prt_{n}" for n in range(len(events))]
    names = events["file_path"].astype("str").fillna("")
    for place in (0, len(events) // 2, len(events) - 1):
        svg = timeline_svg(events, names, names.iloc[place], f"prt_{place}")
        assert svg.count(" UTC</title>") == MARKS
        assert svg.count("<rect ") == 1
        assert f"<title>{place + 1}: " in svg


# -- in a notebook -------------------------------------------------------------------------------


async def test_an_exported_page_has_the_picture(source: Source) -> None:
    explorer = ocs.explore(source)
    early = explorer._repr_mimebundle_()
    await explorer.settled()
    bundle = explorer._repr_mimebundle_()
    assert bundle["text/plain"] == repr(explorer)
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert "Release 0.3.0" in bundle["text/html"]
    assert "<svg" in bundle["text/html"] and "ocs-diff" in bundle["text/html"]
    assert "http" not in bundle["text/html"].replace("http://www.w3.org/2000/svg", "")
    if isinstance(source, ocs.OpencodeSessionService):
        assert "await explorer.settled()" in early["text/html"]


async def test_closing_cancels_and_leaves_no_widget_behind(gate: Gate) -> None:
    before = set(ipywidgets.widgets.widget._instances)
    explorer = made_by(gate)
    await gate.is_asked("sessions")
    explorer.close()
    await explorer.settled()
    assert gate.cancelled == ["sessions"]
    assert set(ipywidgets.widgets.widget._instances) == before
    explorer.close()


async def test_the_choice_is_a_trait_others_can_follow(frames: ocs.analytics.Frames) -> None:
    class Follower(traitlets.HasTraits):
        path = traitlets.Unicode(None, allow_none=True)

    explorer = ocs.explore(frames)
    follower = Follower()
    traitlets.link((explorer, "file"), (follower, "path"))
    assert follower.path == "CHANGELOG.md"
    follower.path = "README.md"
    assert list(explorer.events["file_path"].unique()) == ["README.md"]
