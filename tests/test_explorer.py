"""The explorer as a notebook drives it: in memory, on SQLite, on frames."""

import asyncio
import re
from typing import Any

import ipywidgets.widgets.widget
import pandas as pd
import pytest
import traitlets
from conftest import Recording
from exploring import (
    CLEAN_UP,
    FORK,
    HOSTILE,
    PLANNER,
    RELEASE,
    Elements,
    Gate,
    Source,
    made_by,
    text_of,
)

import opencode_sessions as ocs


def picked(picker: Any) -> str:
    return str(picker.label)


# -- what is on view -------------------------------------------------------------------------------


async def test_it_opens_at_once_on_the_newest_session_and_its_busiest_file(source: Source) -> None:
    explorer = ocs.explore(source)
    await explorer.settled()
    assert explorer.problem is None
    assert explorer.session == RELEASE
    assert explorer.file == "CHANGELOG.md"
    assert explorer.selected == explorer.events["event_id"].iloc[-1]
    assert explorer.event is not None and explorer.event["event_id"] == explorer.selected
    assert len(explorer.selection) == 38
    label = "2026-11-22 18:05   38 events  Release 0.3.0  · ana"
    assert picked(explorer._sessions.first) == label
    assert picked(explorer._files.list) == "\u20073  CHANGELOG.md  ●1 ▲1 ■1"
    timeline = explorer._view.timeline
    assert (timeline.file, timeline.selected) == (explorer.file, explorer.selected)
    assert "Release 0.3.0" in explorer._view.heading.value
    assert "38 events · 17 files · +54 \N{MINUS SIGN}15" in text_of(explorer._view.heading.value)
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
    explorer.selected = failed
    await explorer.settled()
    assert "asked for and not done" in explorer._view.change.value
    assert "Could not find oldString" in explorer._view.message.value
    changes = events[events["event_type"] != "read"]
    assert explorer._view.slider.value == list(changes["event_id"]).index(failed) + 1
    assert explorer._view.step.value == f"change {explorer._view.slider.value} of {len(changes)}"
    assert picked(explorer._files.list) == "12 ✗2  trailmap/storage.py  ●4 ■8"
    assert explorer._view.timeline.selected == failed


async def test_pickers_and_slider_choose_as_python_does(source: Source) -> None:
    explorer = ocs.explore(source)
    await explorer.settled()
    explorer._sessions.first.value = CLEAN_UP
    await explorer.settled()
    assert explorer.session == CLEAN_UP
    assert explorer.file == "trailmap/elevation.py"

    explorer._files.list.index = 2  # after the commands and the busiest
    await explorer.settled()
    assert explorer.file == "trailmap/cli.py"

    explorer._view.slider.value = 1
    await explorer.settled()
    assert explorer.selected == explorer.events["event_id"].iloc[1]  # the first is a read
    assert "event 2 of 15" in explorer._view.change.value

    timeline = explorer._view.timeline
    timeline.selected = explorer.events["event_id"].iloc[0]
    await explorer.settled()
    assert explorer.selected == timeline.selected
    assert "Nothing was changed" in explorer._view.change.value
    assert explorer._view.step.value == "change 0 of 11"
    timeline.file = "trailmap/units.py"
    await explorer.settled()
    assert explorer.file == "trailmap/units.py" == explorer._files.list.value
    timeline.file = None
    assert timeline.file == "trailmap/units.py"


async def test_a_file_stays_chosen_in_a_session_that_has_it(source: Source) -> None:
    explorer = ocs.explore(source)
    explorer.session, explorer.file = CLEAN_UP, "trailmap/search.py"
    await explorer.settled()
    explorer.session = "ses_dfb92f2a4ffeyxQPQO2y1F1X8w"
    await explorer.settled()
    assert explorer.file == "trailmap/search.py"
    assert explorer.file != explorer._files.list.options[0][1]
    explorer.session = RELEASE
    await explorer.settled()
    assert explorer.file == "CHANGELOG.md"


async def test_filters_narrow_the_lists_and_leave_the_choice(source: Source) -> None:
    explorer = ocs.explore(source)
    explorer.session = CLEAN_UP
    await explorer.settled()
    explorer._sessions.filter.value = "REVIEW subagent"
    assert len(explorer._sessions.first.options) == 3
    assert explorer._sessions.first.value is None
    assert explorer.session == CLEAN_UP

    explorer._files.filter.value = "tests/"
    names = [value for _, value in explorer._files.list.options]
    assert names and all(name.startswith("tests/") for name in names)
    explorer._files.filter.value = explorer._sessions.filter.value = ""
    assert explorer._sessions.first.value == CLEAN_UP
    assert explorer._files.list.value == explorer.file == "trailmap/elevation.py"


async def test_more_files_are_unfolded_by_picking_them(
    as_frames: ocs.analytics.Frames,
) -> None:
    explorer = ocs.explore(as_frames)
    shown = explorer._files
    shown._files = pd.concat([shown._files.head(1)] * 99)
    shown._fill()
    assert len(shown.list.options) == 61
    shown.list.index = 60
    assert len(shown.list.options) == 99
    assert explorer.problem is None


async def test_commands_are_the_file_without_a_name(source: Source) -> None:
    explorer = ocs.explore(source)
    explorer.session, explorer.file = CLEAN_UP, ""
    await explorer.settled()
    assert set(explorer.events["event_type"]) == {"bash"}
    assert len(explorer.events) == 43
    assert explorer.events["version"].isna().all()
    assert "<pre>$ " in explorer._view.change.value
    assert explorer._view.step.value == "command 43 of 43"
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


def test_an_event_of_another_file_brings_that_file(as_frames: ocs.analytics.Frames) -> None:
    explorer = ocs.explore(as_frames)
    events = as_frames.file_events.query("session_id == @CLEAN_UP")
    explorer.session = CLEAN_UP
    for event in events["event_id"][::5]:
        explorer.selected = event
        assert explorer.problem is None
        assert explorer.selected == event
        assert event in set(explorer.events["event_id"])


def test_a_renamed_file_is_found_by_both_names(as_frames: ocs.analytics.Frames) -> None:
    explorer = ocs.explore(as_frames)
    moved = as_frames.file_events.query("event_type == 'move'").iloc[0]
    explorer.session = moved["session_id"]
    for name in (moved["file_path"], moved["new_file_path"]):
        explorer.file = name
        assert explorer.problem is None
        assert moved["event_id"] in set(explorer.events["event_id"])
        assert explorer._files.list.value == moved["new_file_path"]
    moves = as_frames.file_events.query("event_type == 'move'")
    explorer.event = moves[moves["diff"].isna()].iloc[0]
    assert "The file was moved" in explorer._view.change.value


# -- pandas in and out -----------------------------------------------------------------------------


async def test_an_event_of_any_session_is_brought_as_it_is(
    source: Source, as_frames: ocs.analytics.Frames
) -> None:
    explorer = ocs.explore(source)
    await explorer.settled()
    failed = as_frames.file_events.query("status == 'error' and event_type == 'edit'").iloc[0]
    explorer.event = failed
    await explorer.settled()
    assert explorer.problem is None
    assert explorer.session == failed["session_id"]
    assert explorer.selected == failed["event_id"]
    assert explorer.event["file_path"] == failed["file_path"]
    assert failed["event_id"] in set(explorer.events["event_id"])


async def test_events_bring_their_session_and_file(
    source: Source, as_frames: ocs.analytics.Frames
) -> None:
    explorer = ocs.explore(source)
    moved = as_frames.file_events.query("event_type == 'move'").tail(1)
    explorer.events = moved
    await explorer.settled()
    assert explorer.problem is None
    assert explorer.session == moved["session_id"].iloc[0]
    assert moved["event_id"].iloc[0] in set(explorer.events["event_id"])
    explorer.events = as_frames.file_events.query("event_type == 'bash'").head(1)
    await explorer.settled()
    assert explorer.file == ""


async def test_a_selection_is_brushed_and_what_is_brushed_is_the_selection(
    source: Source, as_frames: ocs.analytics.Frames
) -> None:
    explorer = ocs.explore(source)
    changes: list[pd.DataFrame] = []
    explorer.observe(lambda change: changes.append(change.new), "selection")
    events = as_frames.file_events
    wanted = events[(events["session_id"] == CLEAN_UP) & (events["turn"] == 3)]
    explorer.selection = wanted
    await explorer.settled()
    assert explorer.problem is None
    assert explorer.session == CLEAN_UP
    timeline = explorer._view.timeline
    assert timeline.brushed is not None
    assert set(wanted["event_id"]) <= set(explorer.selection["event_id"])
    assert explorer.selection["turn"].nunique() == 1

    timeline.brushed = [0, 9]
    await explorer.settled()
    assert len(explorer.selection) == 10
    assert changes[-1] is explorer.selection
    timeline.brushed = None
    await explorer.settled()
    assert len(explorer.selection) == 196


# -- two sessions ----------------------------------------------------------------------------------


async def test_two_sessions_stand_side_by_side(source: Source) -> None:
    explorer = ocs.explore(source)
    explorer.session, explorer.beside = PLANNER, FORK
    await explorer.settled()
    assert explorer.problem is None
    assert explorer._sessions.wide.value is True
    assert explorer._sessions.second.layout.display is None
    assert explorer._sessions.second.value == FORK
    heading = text_of(explorer._view.heading.value)
    assert heading.count("Plan walks over a network of paths") == 2
    picture = explorer._view.timeline._picture
    assert [group.session for group in picture.groups] == [
        "Plan walks over a network of paths",
        "Plan walks over a network of paths (fork #1)",
    ]
    assert len(explorer.selection) == 64
    assert explorer.file == "trailmap/planner.py"
    assert set(explorer.events["session_id"]) == {PLANNER, FORK}
    assert explorer.events["file_path"].dtype == "category"

    own = explorer.events[explorer.events["session_id"] == FORK]
    explorer.event = own.iloc[-1]
    await explorer.settled()
    assert explorer.session == PLANNER  # it is on view beside it
    assert explorer.selected == own["event_id"].iloc[-1]
    assert "ocs-call" in explorer._view.message.value

    explorer.selection = own.head(3)
    await explorer.settled()
    assert explorer._view.timeline.brushed is not None
    assert set(own["event_id"].head(3)) <= set(explorer.selection["event_id"])

    explorer._sessions.wide.value = False
    await explorer.settled()
    assert explorer.beside is None
    assert set(explorer.events["session_id"]) == {PLANNER}
    assert explorer._sessions.second.layout.display == "none"


async def test_a_second_session_is_picked_from_the_second_list(source: Source) -> None:
    explorer = ocs.explore(source)
    await explorer.settled()
    assert explorer._sessions.second.options == ()
    explorer._sessions.wide.value = True
    assert len(explorer._sessions.second.options) == 20
    explorer._sessions.second.value = CLEAN_UP
    await explorer.settled()
    assert explorer.beside == CLEAN_UP
    assert len(explorer.selection) == 38 + 196
    explorer._sessions.first.value = CLEAN_UP  # the same twice is one
    await explorer.settled()
    assert (explorer.session, explorer.beside) == (CLEAN_UP, None)
    assert len(explorer.selection) == 196


async def test_what_is_on_view_is_not_read_again_to_stand_beside_another(
    in_memory: ocs.OpencodeSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    file_events = in_memory.file_events

    async def watched(session: str, **options: Any) -> pd.DataFrame:
        read.append(session)
        return await file_events(session, **options)

    monkeypatch.setattr(in_memory, "file_events", watched)
    explorer = ocs.explore(in_memory)
    explorer.session = PLANNER
    await explorer.settled()
    for beside in (FORK, CLEAN_UP, None):
        explorer.beside = beside
        await explorer.settled()
    assert read == [PLANNER, FORK, CLEAN_UP, PLANNER], "alone again it may have grown"


# -- what goes wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trait", "value", "said"),
    [
        ("session", "ses_nope", "SessionNotFound: No session"),
        ("file", "trailmap/elevation.pi", "Try 'trailmap/elevation.py'"),
        ("selected", "prt_nope", "See `explorer.events.event_id`"),
        ("beside", "ses_nope", "SessionNotFound: No session"),
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
    alert = text_of(explorer._view.alert.value)
    assert "role='alert'" in explorer._view.alert.value
    assert said in alert
    assert explorer.events.empty
    assert explorer._view.change.value == explorer._view.message.value == ""
    assert explorer.file is explorer.event is explorer.beside is None
    is_gone = trait in ("session", "beside")
    assert text_of(explorer._view.heading.value).startswith("" if is_gone else "Clean up before")

    explorer.file = "trailmap/planner.py" if is_gone else "trailmap/cli.py"
    await explorer.settled()
    if is_gone:  # there is none, so the newest is tried
        assert explorer.session == RELEASE
        assert "This session has no events of 'trailmap/planner.py'" in str(explorer.problem)
    else:
        assert (explorer.session, explorer.problem) == (CLEAN_UP, None)
        assert "Clean up before 0.3" in explorer._view.heading.value
    explorer.session = FORK
    await explorer.settled()
    assert explorer.problem is None
    assert explorer._view.alert.value == ""
    assert not explorer.events.empty


async def test_what_is_no_event_is_refused_and_leaves_all_as_it_was(
    source: Source, as_frames: ocs.analytics.Frames
) -> None:
    explorer = ocs.explore(source)
    await explorer.settled()
    events = as_frames.file_events
    ids = events[["event_id"]]
    for trait, value, said in (
        ("event", ids.iloc[0], "here is no session_id, event_type, file_path"),
        ("events", ids, "here is no session_id, event_type, file_path"),
        ("selection", ids, "here is no session_id, event_type, file_path"),
        ("events", events.head(0), "here are none"),
        ("selection", events.head(0), "here are none"),
    ):
        before = getattr(explorer, trait)
        with pytest.raises(traitlets.TraitError, match=f"`{trait}` can only be set .* {said}"):
            setattr(explorer, trait, value)
        assert getattr(explorer, trait) is before
    explorer.event = events.iloc[0]
    await explorer.settled()
    assert explorer.problem is None
    assert explorer.selected == events["event_id"].iloc[0]


async def test_an_error_of_the_store_is_said_with_its_traceback_behind(
    in_memory: ocs.OpencodeSessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> pd.DataFrame:
        raise RuntimeError(f"no such thing {HOSTILE}")

    monkeypatch.setattr(in_memory, "file_events", broken)
    explorer = ocs.explore(in_memory)
    await explorer.settled()
    assert isinstance(explorer.problem, RuntimeError)
    assert "RuntimeError: no such thing <script>" in text_of(explorer._view.alert.value)
    assert "<script" not in explorer._view.alert.value
    assert "<details><summary>Traceback" in explorer._view.alert.value
    assert repr(explorer).startswith("<SessionExplorer: RuntimeError(")
    assert "no such thing" in explorer._repr_mimebundle_()["text/html"]
    explorer._sessions.first.value = CLEAN_UP
    await explorer.settled()
    assert explorer._sessions.first.value is None
    monkeypatch.undo()
    explorer._sessions.first.value = CLEAN_UP
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


def test_only_a_service_or_frames_can_be_explored(as_frames: ocs.analytics.Frames) -> None:
    with pytest.raises(TypeError, match=r"explore\(\) shows a service or frames, not DataFrame"):
        ocs.explore(as_frames.file_events)  # type: ignore[arg-type]


# -- nothing to show -------------------------------------------------------------------------------


def on_view(widget: Any) -> list[Any]:
    """The widget and what stands in it, but for what is put away."""
    if widget.layout.display == "none":
        return []
    return [widget, *(part for child in getattr(widget, "children", ()) for part in on_view(child))]


async def test_an_empty_store_says_what_to_call_next() -> None:
    explorer = ocs.explore(ocs.OpencodeSessionService())
    await explorer.settled()
    assert explorer.problem is None
    assert explorer.session is None
    assert "await svc.import_opencode()" in explorer._view.note.text
    assert explorer._view.note in on_view(explorer)
    assert explorer._sessions.first not in on_view(explorer)
    assert explorer._view.timeline not in on_view(explorer)
    assert repr(explorer) == "<SessionExplorer: no sessions>"
    explorer._view.slider.value = 1
    explorer._files.filter.value = explorer._sessions.filter.value = "x"
    assert explorer.problem is None


async def test_sessions_stored_since_are_found(trailmap: Recording) -> None:
    service = ocs.OpencodeSessionService()
    explorer = ocs.explore(service)
    await explorer.settled()
    await service.import_opencode(trailmap.database, progress=False)
    explorer.session = CLEAN_UP
    await explorer.settled()
    assert len(explorer._sessions.first.options) == 20
    assert explorer._sessions.first in on_view(explorer)
    assert explorer._view.timeline in on_view(explorer)
    assert explorer.file == "trailmap/elevation.py"


async def test_a_session_without_events_says_so() -> None:
    service = ocs.OpencodeSessionService()
    await service.get_or_create_session("ses_1", "build", "/home/dev/shop", title="Talk")
    explorer = ocs.explore(service)
    await explorer.settled()
    assert explorer.problem is None
    assert explorer.file is None
    assert "touched no files" in explorer._view.note.text
    assert explorer._sessions.first in on_view(explorer)
    assert explorer._view.timeline not in on_view(explorer)
    assert explorer.events[["time", "status", "diff", "version"]].empty
    assert repr(explorer) == "<SessionExplorer 'Talk': no files, 0 events>"


async def test_frames_without_diffs_say_how_to_load_them(trailmap: Recording) -> None:
    explorer = ocs.explore(ocs.read_opencode(trailmap.database))
    assert explorer.problem is None
    assert "ocs.read_opencode(diffs=True)" in explorer._view.change.value


# -- what is shown is harmless ---------------------------------------------------------------------


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
    shown = [explorer._sessions.first.label, explorer._files.list.label, repr(explorer)]
    for event in (await service.file_events())["event_id"]:
        explorer.selected = event
        await explorer.settled()
        html = explorer._repr_mimebundle_()["text/html"]
        shown.append(html)
        assert Elements(html).names <= {
            *("style", "div", "span", "b", "code", "pre", "table", "tr", "td", "ins", "del"),
            *("details", "summary", "dl", "dt", "dd", "i"),
            *("svg", "title", "text", "path", "g", "rect", "circle"),
        }
        assert "&lt;script&gt;" in html
    for text in shown:
        assert "<script" not in text or text in shown[:3]  # a label is text, no HTML
        assert not {"\u202e", "\x1b"} & set(text)


async def test_a_long_name_takes_a_line_and_lines_nobody_knows_are_not_none() -> None:
    service = ocs.OpencodeSessionService()
    session = await service.get_or_create_session("ses_1", "a" * 4_000, "/home/dev", title="Long")
    parts = [{"type": "tool_use", "name": "write", "input": {"path": "a.py", "content": "x"}}]
    message = await service.persist_message(session, "assistant", parts)
    await service.persist_file_events(message, parts)
    explorer = ocs.explore(service)
    await explorer.settled()
    view = explorer._view
    assert "1 event · 1 file · aaa" in text_of(view.heading.value)
    for panel in (view.heading, view.message, view.change):
        assert f"{'a' * 60}…" in panel.value
        assert "a" * 61 not in panel.value


# -- in a notebook ---------------------------------------------------------------------------------


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


async def test_an_exported_page_has_two_sessions_on_one_axis(source: Source) -> None:
    explorer = ocs.explore(source)
    explorer.session, explorer.beside = PLANNER, FORK
    await explorer.settled()
    assert explorer.problem is None
    html = explorer._repr_mimebundle_()["text/html"]
    first, second = html.split("<div class='ocs-title'>")[1:]
    assert first.startswith("Plan walks over a network of paths</div>")
    assert second.startswith("Plan walks over a network of paths (fork #1)</div>")
    counts = [group.end - group.start for group in explorer._view.timeline._picture.groups]
    assert [each.count(" UTC</title>") for each in (first, second)] == counts
    assert places(first)[: min(counts)] == places(second)[: min(counts)]


def places(svg: str) -> list[float]:
    """How far from the left the marks stand, in order."""
    return sorted(float(x) for x in re.findall(r"<g transform='translate\(([\d.]+) ", svg))


async def test_closing_cancels_and_leaves_no_widget_behind(gate: Gate) -> None:
    before = set(ipywidgets.widgets.widget._instances)
    explorer = made_by(gate)
    await gate.is_asked("sessions")
    explorer.close()
    await explorer.settled()
    assert gate.cancelled == ["sessions"]
    assert set(ipywidgets.widgets.widget._instances) == before
    explorer.close()


async def test_the_choice_is_a_trait_others_can_follow(as_frames: ocs.analytics.Frames) -> None:
    class Follower(traitlets.HasTraits):
        path = traitlets.Unicode(None, allow_none=True)

    explorer = ocs.explore(as_frames)
    follower = Follower()
    traitlets.link((explorer, "file"), (follower, "path"))
    assert follower.path == "CHANGELOG.md"
    follower.path = "README.md"
    assert list(explorer.events["file_path"].unique()) == ["README.md"]


# -- what was searched for -------------------------------------------------------------------------


async def test_words_are_found_in_all_sessions_and_picking_a_place_goes_there(
    source: Source,
) -> None:
    explorer = ocs.explore(source)
    await explorer.settled()
    find = explorer._find
    assert find.list.layout.display == "none"
    find.words.value = "distance"
    await explorer.settled()
    assert explorer.problem is None
    assert "the newest 100 places" in find.note.value
    assert len(find.list.options) == 100
    diffs = [n for label, n in find.list.options if "  diff" in label]
    find.list.index = diffs[-1]
    await explorer.settled()
    answer = find._found.iloc[diffs[-1]]
    assert (explorer.session, explorer.selected) == (answer["session_id"], answer["event_id"])
    assert explorer.file == answer["file_path"]
    assert "distance" in explorer._view.change.value
    outputs = [n for label, n in find.list.options if "  output" in label]
    find.list.index = outputs[-1]
    await explorer.settled()
    assert explorer.event is not None
    assert explorer.event["message_id"] == find._found.iloc[outputs[-1]]["message_id"]
    find.words.value = ""
    await explorer.settled()
    assert find.list.layout.display == find.note.layout.display == "none"
    assert explorer._view.note.text == ""


async def test_words_that_nothing_has_say_so(source: Source) -> None:
    explorer = ocs.explore(source)
    explorer._find.words.value = 'xyzzy" NEAR('
    await explorer.settled()
    assert explorer.problem is None
    assert "No text has these words." in explorer._find.note.value
    assert explorer.session == RELEASE
