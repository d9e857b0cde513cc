"""The explorer's lists: sessions as a tree, files with what was done to them, both kept light."""

from typing import Any

import pandas as pd
import pytest
from exploring import CLEAN_UP, FORK, HOSTILE
from hypothesis import given
from hypothesis import strategies as st

import opencode_sessions as ocs
from opencode_sessions.showing.sessions import (
    LISTED,
    SHOWN,
    SORTS,
    SessionList,
    listed_note,
    title,
)
from opencode_sessions.showing.story import SHELL, Story
from opencode_sessions.widgets import files

NEWEST, OLDEST, BUSIEST, BY_TITLE = SORTS


def made(*rows: dict[str, Any]) -> SessionList:
    """A list of sessions, a minute after each other unless they say when."""
    start = pd.Timestamp("2026-03-07 09:00", tz="UTC")
    table = [
        dict.fromkeys(SHOWN)
        | {
            "session_id": f"s{number}",
            "opencode_session_id": f"ses_{number}",
            "created_at": start + pd.Timedelta(minutes=number),
            "file_events": 0,
        }
        | row
        for number, row in enumerate(rows)
    ]
    return SessionList(pd.DataFrame(table, columns=SHOWN))


def ids(sessions: SessionList, sort: str = NEWEST, words: str = "") -> str:
    return " ".join(id for _, id in sessions.listed(sort, words.split(), None).options)


def test_subagents_stand_under_the_one_that_called_them() -> None:
    sessions = made(
        {"title": "b", "file_events": 5},
        {"title": "called", "parent_session_id": "s0", "file_events": 9},
        {"title": "a", "file_events": 7},
        {"title": "called later", "parent_session_id": "s0"},
        {"title": "called by called", "parent_session_id": "s1"},
    )
    assert ids(sessions, NEWEST) == "s2 s0 s1 s4 s3"
    assert ids(sessions, OLDEST) == "s0 s1 s4 s3 s2"
    assert ids(sessions, BUSIEST) == "s2 s0 s1 s4 s3"
    assert ids(sessions, BY_TITLE) == "s2 s0 s1 s4 s3"
    labels = [label for label, _ in sessions.listed(NEWEST, [], None).options]
    assert labels == [
        "2026-03-07 09:02  7 events  a",
        "2026-03-07 09:00  5 events  b",
        "2026-03-07 09:01  9 events  └ called",
        "2026-03-07 09:04  0 events     └ called by called",
        "2026-03-07 09:03  0 events  └ called later",
    ]


@given(st.lists(st.integers(-1, 7), min_size=8, max_size=8))
def test_whoever_called_whom_each_session_is_listed_once(parents: list[int]) -> None:
    rows = [{"parent_session_id": None if p < 0 else f"s{p}", "title": str(p)} for p in parents]
    for sort in SORTS:
        assert sorted(ids(made(*rows), sort).split()) == [f"s{n}" for n in range(8)]


def test_a_session_whose_caller_is_not_here_says_that_it_was_called() -> None:
    sessions = made({"title": "Review", "parent_session_id": "ses_gone"})
    assert sessions.listed(NEWEST, [], None).options[0][0].endswith("0 events  └ Review")


def test_words_look_at_more_than_the_label() -> None:
    sessions = made(
        {"title": "Fix login", "model": "pine-large", "project": "/home/dev/shop"},
        {"title": "Add cache", "agent_name": "plan", "origin": "ana"},
    )
    for words, found in {"FIX": "", "fix log": "s0", "pine": "s0", "shop": "s0", "ana plan": "s1",
                         "ses_1": "s1", "es_1": "", "03-07 09:00": "s0", "fix plan": ""
                         }.items():  # fmt: skip
        assert ids(sessions, words=words) == found
    some = sessions.listed(NEWEST, ["fix"], None)
    assert listed_note(some, len(sessions)) == "1 of 2"
    none = sessions.listed(NEWEST, ["xyzzy"], None)
    assert listed_note(none, len(sessions)) == "none of 2 sessions has these words"
    assert listed_note(sessions.listed(NEWEST, [], None), len(sessions)) == "2 sessions"


def test_of_thousands_some_are_listed_and_the_chosen_one_among_them() -> None:
    sessions = made(*({"title": f"task {n}"} for n in range(3_000)))
    listed = sessions.listed(NEWEST, [], "s5")
    assert len(listed.options) == LISTED
    assert [id for _, id in listed.options][-2:] == [f"s{3_000 - LISTED + 1}", "s5"]
    assert listed_note(listed, 3_000) == "200 of 3,000 · 2,800 more: the filter searches all"
    assert ids(sessions, words="task 2718") == "s2718"
    many = sessions.listed(NEWEST, ["1"], None)
    assert listed_note(many, 3_000).startswith(f"200 of {many.total:,} ·")


def test_sessions_are_found_by_either_id(as_frames: ocs.analytics.Frames) -> None:
    sessions = SessionList(as_frames.sessions)
    assert len(sessions) == 20
    found = sessions.find(FORK)
    assert found is not None and title(found).endswith("(fork #1)")
    assert sessions.find("ses_nope") is sessions.find(None) is None
    assert made({"file_events": 1}, {}).newest() == "s0"
    assert made({}, {}).newest() == "s1"
    assert made().newest() is None


def test_a_session_says_that_it_is_archived_deleted_and_whose() -> None:
    at = pd.Timestamp("2026-03-08", tz="UTC")
    sessions = made({"title": None, "archived_at": at, "deleted_at": at, "origin": HOSTILE})
    label = sessions.listed(NEWEST, [], None).options[0][0]
    assert "(no title)  · archived  · deleted  · <script>" in label
    assert not {"\u202e", "\x1b"} & set(label)


# -- files -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def story(as_frames: ocs.analytics.Frames) -> Story:
    events = as_frames.file_events
    return Story(events[events["session_id"] == CLEAN_UP].reset_index(drop=True))


def labels(story: Story, words: str = "", *, is_unfolded: bool = False) -> list[str]:
    listed = files.listed(story.files, words.split(), is_unfolded=is_unfolded)
    return [label.replace(files.FIGURE_SPACE, " ") for label, _ in listed.options]


def test_files_say_how_many_events_failures_and_former_names_they_have(story: Story) -> None:
    listed = labels(story)
    assert listed[0].rstrip() == "43     shell commands"
    assert listed[1] == "16     trailmap/elevation.py  ●6 ■10"
    assert "12 ✗2  trailmap/storage.py  ●4 ■8" in listed
    assert " 4 ✗1  docs/guide/index.md  ●2 ■1 ▶1  ← docs/index.md" in listed
    assert files.listed(story.files, [], is_unfolded=False).note == "30 files"


def test_words_look_at_former_names_and_failures(story: Story) -> None:
    assert [label.split()[-1] for label in labels(story, "docs/gpx")] == ["docs/gpx.md"]
    assert len(labels(story, "failed")) == 3
    assert len(labels(story, "failed storage")) == 1
    assert labels(story, "nothing like it") == []
    none = files.listed(story.files, ["xyzzy"], is_unfolded=False)
    assert none.note == "none of 30 files has these words"
    assert files.listed(story.files, ["failed"], is_unfolded=False).note == "3 of 30 files"


def test_files_beyond_sixty_are_folded_into_one_option(as_frames: ocs.analytics.Frames) -> None:
    some = as_frames.file_events.iloc[:200].copy()
    some["file_path"] = [f"src/{n}.py" for n in range(200)]
    some["event_type"] = "read"
    some["event_type"] = some["event_type"].astype(as_frames.file_events["event_type"].dtype)
    story = Story(some)
    listed = files.listed(story.files, [], is_unfolded=False)
    assert len(listed.options) == files.FOLDED_FROM + 1
    assert listed.options[-1] == ("… 140 more files, 140 events", files.FOLD)
    assert len(labels(story, is_unfolded=True)) == 200
    assert labels(story, "src/199.py") == ["1  src/199.py  ●1"]


def test_a_long_path_keeps_its_end() -> None:
    file = {"events": 1, "failed": 0, "former": "", **dict.fromkeys(files.SIGNS, 0)}
    label = files.file_label("packages/" * 9 + "deep/name.py", file, 1, 0)
    assert label.split("  ")[1].startswith("…/packages/") and label.rstrip().endswith(
        "deep/name.py"
    )
    assert files.file_label(SHELL, file, 3, 0).split("  ")[1] == "shell commands"
