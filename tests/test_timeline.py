"""FileTimeline without a browser: what it sends, and what is chosen, from either side."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import traitlets
from conftest import TRAILMAP, Recording
from hypothesis import given
from hypothesis import strategies as st

import opencode_sessions as ocs
from opencode_sessions.analytics.counting import FAILED
from opencode_sessions.showing.picture import FAILED_BIT, FAINT_BIT, UNTOLD, Picture
from opencode_sessions.showing.svg import MARK
from opencode_sessions.widgets import timeline as timeline_room

CLEAN_UP = "ses_dfb94b0edffeI566j7sbRyceyc"
RELEASE = "ses_dfb90f25effeDe0GsDxWMywL0H"
HOSTILE = "<img src=x onerror=alert(1)>\u202e\x1b[31m"
NODE = shutil.which("node")


@pytest.fixture(scope="module")
def every(recordings: dict[str, Recording]) -> pd.DataFrame:
    return ocs.read_opencode(recordings[TRAILMAP].database).file_events


@pytest.fixture(scope="module")
def events(every: pd.DataFrame) -> pd.DataFrame:
    return every[every["session_id"] == CLEAN_UP].reset_index(drop=True)


@pytest.fixture
def timeline(events: pd.DataFrame) -> ocs.FileTimeline:
    return ocs.FileTimeline(events)


# -- the picture -----------------------------------------------------------------------------------


def test_a_row_is_a_file_under_its_last_name_the_busiest_first(events: pd.DataFrame) -> None:
    picture = Picture(events)
    assert picture.names[0] == "trailmap/elevation.py"
    assert picture.names[-1] == ""
    assert picture.counts[:-1] == sorted(picture.counts[:-1], reverse=True)
    assert sum(picture.counts) == len(picture) == len(events) == 196
    moved = events[(events["event_type"] == "move") & (events["status"] == "completed")]
    assert len(moved) > 0
    for place, event in moved.iterrows():
        assert picture.names[picture.row[place]] == event["new_file_path"]
    commands = events["file_path"].isna().to_numpy()
    assert {picture.names[row] for row in picture.row[commands]} == {""}


def test_every_file_has_the_name_that_its_history_ends_with(
    recordings: dict[str, Recording],
) -> None:
    for recording in recordings.values():
        picture = Picture(ocs.read_opencode(recording.database).file_events)
        histories = ocs.analytics.file_timeline(
            picture.events, include=("fork_copies", "undone", "user")
        )
        ends = histories.set_index("event_id")["last_path"].astype("str")
        last = picture.events["event_id"].map(ends).astype("str").fillna("")
        assert [picture.names[row] for row in picture.row] == last.tolist()


def test_each_number_of_a_mark_is_what_the_event_says(every: pd.DataFrame) -> None:
    picture = Picture(every)
    shown = picture.events
    assert [[*MARK][kind & 7] for kind in picture.kind] == list(shown["event_type"])
    assert ((picture.kind & FAILED_BIT) > 0).tolist() == shown["status"].isin(FAILED).tolist()
    faint = shown["is_undone"] | shown["is_fork_copy"]
    assert ((picture.kind & FAINT_BIT) > 0).tolist() == faint.tolist()
    known = (shown["additions"] + shown["deletions"]).to_numpy("f8", na_value=np.nan)
    assert ((picture.lines == UNTOLD) == np.isnan(known)).all()
    at_least = 2 ** ((picture.lines - 0.5) / 12) - 1
    assert (at_least[~np.isnan(known)] <= known[~np.isnan(known)]).all()
    times = pd.to_datetime(picture.time, unit="ms", utc=True).round("ms")
    assert (times == shown["time"].dt.round("ms")).all()
    assert picture.row.dtype == "u2" and picture.kind.dtype == picture.lines.dtype == "u1"


def test_events_come_in_the_order_they_happened(events: pd.DataFrame) -> None:
    shuffled = events.sample(frac=1, random_state=1)
    timeline = ocs.FileTimeline(shuffled)
    assert timeline.events["event_id"].tolist() == events["event_id"].tolist()
    turns = timeline._picture.turns
    assert turns[:, 1:].tolist() == [[turn, 0] for turn in range(1, 8)]
    first = events.groupby("turn")["seq"].min().tolist()
    assert events["seq"].iloc[turns[:, 0].astype(int)].tolist() == first


def test_sessions_of_one_file_are_numbered_as_they_come(as_frames: ocs.analytics.Frames) -> None:
    history = ocs.analytics.file_timeline(as_frames.file_events, "trailmap/storage.py")
    timeline = ocs.FileTimeline(history)
    sessions = list(dict.fromkeys(history["session_id"]))
    assert len(sessions) == 9
    for place, turn, number in timeline._picture.turns.tolist():
        assert history[["session_id", "turn"]].iloc[place].tolist() == [sessions[number - 1], turn]
    said = re.findall(r">((?:session|turn) \d+)</text>", timeline.static_html())
    assert said == [f"session {number}" for number in (3, 4, 3, 8)]  # as far as there is room


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), max_size=30))
def test_every_event_has_a_row_of_its_group(rows: list[tuple[int, int]]) -> None:
    events = made(rows)
    for side_by_side in (False, True):
        picture = Picture(events, side_by_side=side_by_side)
        assert sum(picture.counts) == len(events)
        assert sum(group.end - group.start for group in picture.groups) == len(events)
        for group in picture.groups:
            mine = picture.row[group.start : group.end]
            assert ((group.first_row <= mine) & (mine < group.end_row)).all()
            if side_by_side:
                assert picture.events["session_id"].iloc[group.start : group.end].nunique() == 1
        names = [picture.names[row] for row in picture.row]
        assert names == picture.events["file_path"].astype("str").fillna("").tolist()


def made(rows: list[tuple[int, int]]) -> pd.DataFrame:
    """Reads of files by sessions; file 0 is a command."""
    count = len(rows)
    paths = [f"{file}.py" if file else None for _, file in rows]
    frame = pd.DataFrame(
        {
            "event_id": [f"prt_{n}" for n in range(count)],
            "session_id": [f"ses_{session}" for session, _ in rows],
            "project": "/home/dev",
            "turn": pd.array([1] * count, "Int32"),
            "seq": pd.array(range(count), "Int32"),
            "time": pd.Series(pd.NaT, range(count), "datetime64[us, UTC]"),
            "actor": "agent",
            "event_type": ["read" if path else "bash" for path in paths],
            "file_path": pd.Categorical(paths),
            "new_file_path": pd.Categorical([None] * count),
            "command": pd.Series([None] * count, dtype="str"),
            "status": "completed",
            "error": pd.Series([None] * count, dtype="str"),
            "additions": pd.array([None] * count, "Int32"),
            "deletions": pd.array([None] * count, "Int32"),
            "is_fork_copy": False,
            "is_undone": False,
        }
    )
    return frame.astype({"is_fork_copy": "bool", "is_undone": "bool"})


def test_side_by_side_each_session_starts_at_its_own_rows(every: pd.DataFrame) -> None:
    two = every[every["session_id"].isin([CLEAN_UP, RELEASE])]
    timeline = ocs.FileTimeline(two, side_by_side=True)
    groups = timeline._picture.groups
    assert [group.session for group in groups] == two["session_id"].unique().tolist()
    assert [group.end - group.start for group in groups] == two["session_id"].value_counts(
        sort=False
    )[[group.session for group in groups]].tolist()
    timeline.brushed = [0, 2]
    assert timeline.selection["session_id"].value_counts().loc[[CLEAN_UP, RELEASE]].tolist() == [
        3,
        3,
    ]
    twice = [name for name in timeline._picture.names if timeline._picture.names.count(name) > 1]
    second = len(timeline._picture.names) - 1 - timeline._picture.names[::-1].index(twice[0])
    timeline._row = second
    assert (timeline.file, timeline._row) == (twice[0], second)


# -- what is chosen --------------------------------------------------------------------------------


def test_what_is_chosen_goes_both_ways(timeline: ocs.FileTimeline, events: pd.DataFrame) -> None:
    assert (timeline.selected, timeline.event, timeline.file) == (None, None, None)
    timeline.selected = events["event_id"].iloc[60]
    assert timeline._selected == 60
    assert timeline.event is not None and timeline.event["file_path"] == "trailmap/difficulty.py"
    timeline._selected = 7
    assert timeline.selected == events["event_id"].iloc[7]
    timeline._selected = 9_999  # from a page that shows something older
    assert timeline.selected is None
    timeline.file = "trailmap/cli.py"
    assert timeline._row == 1
    timeline._row = len(timeline._picture.names) - 1
    assert timeline.file == ""
    timeline._row = -1
    assert timeline.file is None


def test_the_selection_is_what_is_brushed_else_all(
    timeline: ocs.FileTimeline, events: pd.DataFrame
) -> None:
    assert len(timeline.selection) == 196
    timeline.brushed = [10, 12]
    assert timeline.selection["event_id"].tolist() == events["event_id"].iloc[10:13].tolist()
    for wrong in ([3, 1], [-1, 2], [1], [1, 2, 3]):
        with pytest.raises(traitlets.TraitError):
            timeline.brushed = wrong
    assert timeline.brushed == [10, 12]


@pytest.mark.parametrize(
    ("trait", "said"),
    [("selected", "See `timeline.events.event_id`"), ("file", "'trailmap/elevation.py'")],
)
def test_what_is_not_there_cannot_be_chosen(
    timeline: ocs.FileTimeline, trait: str, said: str
) -> None:
    with pytest.raises(ocs.OpencodeSessionsError, match=said):
        setattr(timeline, trait, "nope")
    assert getattr(timeline, trait) is None


def test_other_events_keep_what_is_still_there(every: pd.DataFrame, events: pd.DataFrame) -> None:
    timeline = ocs.FileTimeline(events)
    timeline.selected, timeline.file = events["event_id"].iloc[60], "trailmap/cli.py"
    timeline.brushed = [1, 2]
    base = timeline._words["base"]
    timeline.events = every
    assert timeline.event is not None
    assert timeline.event["event_id"] == timeline.selected == events["event_id"].iloc[60]
    assert timeline._selected == timeline.events["event_id"].tolist().index(timeline.selected)
    assert timeline._picture.names[timeline._row] == timeline.file == "trailmap/cli.py"
    assert timeline.brushed is None
    assert timeline._words["base"] > base
    timeline.events = every[every["session_id"] == RELEASE]
    assert (timeline.selected, timeline._selected) == (None, -1)


def test_events_that_grew_leave_everything_as_it_is(events: pd.DataFrame) -> None:
    timeline = ocs.FileTimeline(events.head(100))
    timeline.selected, timeline.brushed = events["event_id"].iloc[60], [3, 9]
    base, version = timeline._words["base"], timeline._words["version"]
    timeline.events = events.head(103)
    assert (timeline._selected, timeline.brushed) == (60, [3, 9])
    assert timeline._words["base"] == base
    assert timeline._words["version"] > version


def test_new_events_are_sent_in_one_message(
    timeline: ocs.FileTimeline, every: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(timeline.comm, "send", lambda **message: sent.append(message))
    timeline.events = every
    (message,) = sent
    assert {"_words", "_time", "_rows", "_kind", "_lines", "_turns"} == {
        *(name for name in message["data"]["state"] if name == "_words"),
        *(path[0] for path in message["data"]["buffer_paths"]),
    }
    assert sum(map(len, message["buffers"])) < 20 * len(every)  # bytes


def test_a_page_asks_for_the_words_of_one_event(
    timeline: ocs.FileTimeline, events: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Any] = []
    monkeypatch.setattr(timeline, "send", said.append)
    version = timeline._words["version"]
    timeline._asked(timeline, {"details": 60, "version": version}, [])
    assert said[0]["said"][:3] == [
        ["edit", "completed"], ["", "trailmap/difficulty.py"], ["lines", "+1 \N{MINUS SIGN}1"]
    ]  # fmt: skip
    timeline._asked(timeline, {"details": 60, "version": version - 1}, [])
    timeline._asked(timeline, {"details": 196, "version": version}, [])
    assert len(said) == 1
    for place in range(196):
        assert all(text for _, text in timeline._picture.details(place))


# -- what is shown ---------------------------------------------------------------------------------


def test_what_an_agent_typed_hides_nothing(events: pd.DataFrame) -> None:
    bad = events.head(20).copy()
    bad["file_path"] = bad["file_path"].astype("str").fillna("x") + HOSTILE
    bad["command"] = bad["error"] = HOSTILE
    bad["session_id"] = HOSTILE
    timeline = ocs.FileTimeline(bad, side_by_side=True)
    timeline.selected = bad["event_id"].iloc[3]
    words = timeline._words
    texts = [*words["labels"], *(group[4] for group in words["groups"]), repr(timeline)]
    texts += [text for place in range(20) for _, text in timeline._picture.details(place)]
    assert not {"\u202e", "\x1b"} & set("".join(texts))
    html = timeline._repr_mimebundle_()[0]["text/html"]
    assert "<img" not in html and not {"\u202e", "\x1b"} & set(html)
    assert "&lt;img src=x" in html


def test_an_exported_page_has_a_picture(timeline: ocs.FileTimeline, events: pd.DataFrame) -> None:
    data, _ = timeline._repr_mimebundle_()
    assert data["text/plain"] == repr(timeline) == "<FileTimeline: 196 events, 30 files>"
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["text/html"].count("<svg ") > 1
    assert "http" not in data["text/html"].replace("http://www.w3.org/2000/svg", "")


def test_an_exported_page_of_very_many_says_which(every: pd.DataFrame) -> None:
    many = pd.concat([every] * 5, ignore_index=True)
    many["event_id"] = [f"prt_{n}" for n in range(len(many))]
    many["seq"] = pd.array(range(len(many)), "Int32")
    many["session_id"] = "ses_1"
    timeline = ocs.FileTimeline(many)
    timeline.selected = timeline.events["event_id"].iloc[2_500]
    html = timeline._repr_mimebundle_()[0]["text/html"]
    assert f"Events 1,501 to 3,500 of {len(many):,}." in html
    assert html.count("<rect ") == 1


def test_nothing_to_show_says_what_to_call() -> None:
    timeline = ocs.FileTimeline()
    assert repr(timeline) == "<FileTimeline: 0 events, 0 files>"
    assert "ocs.read_opencode()" in timeline._repr_mimebundle_()[0]["text/html"]
    assert timeline.selection.empty and timeline.event is None
    timeline.events = None
    assert len(timeline.events) == 0


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (lambda frame: frame.drop(columns=["turn", "seq"]), ocs.OpencodeSessionsError, "turn, seq"),
        (lambda frame: frame.to_dict(), TypeError, "not dict"),
    ],
)
def test_what_is_no_file_events_is_refused(
    events: pd.DataFrame, given: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        ocs.FileTimeline(given(events))


@pytest.mark.skipif(NODE is None, reason="there is no node on PATH to check JavaScript with")
@pytest.mark.parametrize("name", ["timeline.js", "status.js"])
def test_a_script_is_one_and_writes_no_html(name: str) -> None:
    script = (Path(timeline_room.__file__).parent / "static" / name).read_bytes()
    check = [str(NODE), "--input-type=module", "--check"]
    done = subprocess.run(check, input=script, capture_output=True)
    assert done.returncode == 0, done.stderr
    for word in (b"innerHTML", b"insertAdjacentHTML", b"document.write", b"eval(", b"import "):
        assert word not in script
