"""The static picture of a session: a mark an event, a ring a failure, whatever its size."""

import re
from pathlib import Path

import pandas as pd
from exploring import CLEAN_UP
from handmade import example

import opencode_sessions as ocs
from opencode_sessions.analytics import Frames
from opencode_sessions.analytics.counting import FAILED
from opencode_sessions.showing.svg import MARKS, ROWS, legend_html, timeline_svg


def of_clean_up(frames: ocs.analytics.Frames) -> pd.DataFrame:
    events = frames.file_events
    return events[events["session_id"] == CLEAN_UP].reset_index(drop=True)


def test_the_picture_has_a_mark_for_each_event_and_a_ring_for_each_failed_one(
    as_frames: ocs.analytics.Frames,
) -> None:
    events = of_clean_up(as_frames)
    names = events["file_path"].astype("str").fillna("")
    in_rows = [*names[names != ""].value_counts().index[:ROWS], ""]
    chosen = events.loc[names == in_rows[3], "event_id"].iloc[-1]
    svg = timeline_svg(events, names, in_rows[3], chosen)
    shown = events[names.isin(in_rows)]
    assert svg.count(" UTC</title>") == len(shown)
    assert svg.count("<circle r='7'") == shown["status"].isin(FAILED).sum() > 0
    assert svg.count("<rect ") == 1
    assert re.findall(r">turn (\d)<", svg) == list("1234567")
    files = names[names != ""].nunique() - ROWS
    assert f">{files} more files, {len(events) - len(shown)} events</text>" in svg
    assert "<rect " in svg.rpartition("<g transform='translate")[2]  # the chosen one comes last
    assert "failed" in legend_html(events)


def test_a_mark_of_no_known_time_says_none() -> None:
    events = example().file_events
    events.loc[events.index[0], "time"] = pd.NaT
    names = events["file_path"].astype("str").fillna("")
    titles = sorted(re.findall("<title>([^<]*)<", timeline_svg(events, names, None, None)))
    assert titles[:2] == ["1: read, completed", "2: edit, error, 23:59:00 UTC"]


HOSTILE = "x</title></g></svg><img src=x onerror=alert(1)>"


def test_what_this_version_does_not_know_is_shown_as_other(tmp_path: Path) -> None:
    """A newer one's type of event is NA in frames; in frames of one's own it may be anything."""
    frames = example()
    for type, status in ((None, None), ("rename", "queued"), (HOSTILE, HOSTILE)):
        events = frames.file_events.assign(event_type="edit", status="completed")
        events.loc[events.index[:2], ["event_type", "status"]] = [type, status]
        given = Frames(frames.sessions, frames.messages, frames.tool_calls, events)
        picture = timeline_svg(events, events["file_path"].astype("str").fillna(""), None, None)
        pages = [picture, ocs.report(given, tmp_path / "out.html").path.read_text()]
        pages.append(str(ocs.FileTimeline(events)._repr_mimebundle_()))
        assert all("<img src=x" not in page for page in pages)
        assert picture.count("M-5 -1.8H5V1.8H-5z") == 2
        assert "other" in legend_html(events)
        assert ocs.FileTimeline(events)._picture.kind.tolist() == [6, 6, 2, 2, 2, 2, 2]


def test_commands_stand_above_the_files_however_many_these_are(
    as_frames: ocs.analytics.Frames,
) -> None:
    events = of_clean_up(as_frames)
    names = events["file_path"].astype("str").fillna("")
    rows = re.findall(
        r"<text x='182' y='([\d.]+)'[^>]*>([^<]*)<", timeline_svg(events, names, "", "")
    )
    assert len(rows) == ROWS + 1
    assert min(rows, key=lambda row: float(row[0]))[1] == "shell"


def test_a_file_far_down_gets_a_row_when_it_is_chosen(as_frames: ocs.analytics.Frames) -> None:
    events = of_clean_up(as_frames)
    names = events["file_path"].astype("str").fillna("")
    assert "trailmap/model.py" not in timeline_svg(events, names, "", None)
    assert "trailmap/model.py" in timeline_svg(events, names, "trailmap/model.py", None)


def test_turns_that_would_be_a_fence_are_left_out(as_frames: ocs.analytics.Frames) -> None:
    events = of_clean_up(as_frames).assign(turn=pd.array(range(196), "Int32"))
    names = events["file_path"].astype("str").fillna("")
    assert ">turn " not in timeline_svg(events, names, None, None)


def test_of_a_huge_session_the_marks_around_the_chosen_one_are_drawn(
    as_frames: ocs.analytics.Frames,
) -> None:
    one = of_clean_up(as_frames)
    events = pd.concat([one] * 30, ignore_index=True)
    events["event_id"] = [f"prt_{n}" for n in range(len(events))]
    names = events["file_path"].astype("str").fillna("")
    for place in (0, len(events) // 2, len(events) - 1):
        svg = timeline_svg(events, names, names.iloc[place], f"prt_{place}")
        assert svg.count(" UTC</title>") == MARKS
        assert svg.count("<rect ") == 1
        assert f"<title>{place + 1}: " in svg
