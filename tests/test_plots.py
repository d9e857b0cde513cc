"""The pictures: what is drawn and named, on recordings and on paths nobody should have typed."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from conftest import Recording
from handmade import START, bash, delete, edit, example, file_events, frame, move, read, write
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection, QuadMesh
from matplotlib.colors import to_rgb
from matplotlib.text import Text

import opencode_sessions as ocs
from opencode_sessions import plots
from opencode_sessions.analytics import (
    Frames,
    blind_edits,
    cost_by_file,
    coupling,
    edit_failures,
    file_timeline,
    rates,
)

# What each picture is drawn of, and what it says when there is nothing.
PLOTS: dict[str, tuple[Callable[[Frames], pd.DataFrame | Frames], str]] = {
    "churn": (lambda frames: frames.file_events, "No changed lines here."),
    "cost_per_file": (cost_by_file, "No costs of files here."),
    "coupling_matrix": (
        lambda frames: coupling(frames.file_events, min_revs=1, min_shared=1),
        "No coupled files here.",
    ),
    "failure_rates": (lambda frames: edit_failures(frames.file_events), "No attempts here."),
    "file_activity": (lambda frames: frames.file_events, "No file events here."),
    "file_heatmap": (lambda frames: frames.file_events, "No completed changes here."),
    "file_timeline": (lambda frames: frames.file_events, "No file events here."),
    "session_gantt": (lambda frames: frames, "No sessions with a time here."),
    "tool_mix": (lambda frames: frames.tool_calls, "No tool calls here."),
}
NOTHING = Frames(
    **{name: frame(name, []) for name in ("sessions", "messages", "tool_calls", "file_events")}
)
LONG = "Clean up before 0.3"
HOSTILE = ["$\\frac{1}{0}$", "a$b", "\x1b[31mred", "two\nlines", "\u202edesrever.py", "漢字.md"]


@pytest.fixture(autouse=True)
def _no_window() -> Iterator[None]:
    matplotlib.use("agg")
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def frames(recordings: dict[str, Recording]) -> Frames:
    return ocs.read_opencode(recordings["trailmap-1.18.33"].database, shell=False)


@pytest.fixture(scope="module")
def demo(recordings: dict[str, Recording]) -> Frames:
    """With what commands changed, as the demo is shown."""
    return ocs.read_opencode(recordings["trailmap-1.18.33"].database)


@pytest.fixture
def session(frames: Frames) -> pd.DataFrame:
    (id,) = frames.sessions.loc[frames.sessions["title"] == LONG, "session_id"]
    return frames.file_events[frames.file_events["session_id"] == id]


def drawn(ax: Axes) -> Axes:
    """Draws for real, which is when matplotlib meets what it cannot draw."""
    ax.figure.canvas.draw()
    return ax


def rows(ax: Axes) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


def marks(ax: Axes) -> dict[str, int]:
    """How many marks of each kind there are."""
    return {str(line.get_label()): len(line.get_xdata()) for line in ax.lines}


def lengths(ax: Axes) -> dict[str, float]:
    """How long all bars of each kind are together."""
    return {
        str(bars.get_label()): sum(bar.get_width() for bar in bars.patches)
        for bars in ax.containers
    }


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_every_picture_is_tested() -> None:
    assert sorted(PLOTS) == plots.__all__


@pytest.mark.parametrize("name", PLOTS)
def test_draws_where_it_is_told_and_leaves_the_data_alone(name: str, demo: Frames) -> None:
    plot, (given, _) = getattr(plots, name), PLOTS[name]
    data = given(demo)
    before = data if isinstance(data, Frames) else data.copy(deep=True)
    figure, (left, right) = plt.subplots(1, 2)
    assert plot(data, ax=right) is right
    assert drawn(right).has_data() and not left.has_data()
    own = drawn(plot(data))
    assert own.figure is not figure
    assert own.get_xlabel() or name == "coupling_matrix"  # files have no unit
    assert own.get_title("left")
    if not isinstance(before, Frames):
        pd.testing.assert_frame_equal(data, before)


@pytest.mark.parametrize("name", PLOTS)
def test_nothing_says_so(name: str) -> None:
    given, said = PLOTS[name]
    ax = drawn(getattr(plots, name)(given(NOTHING)))
    assert texts(ax) == [said]
    assert rows(ax) == []


# At 4 inches what is said beside the bars of these takes all the room.
WORDY = {"file_activity", "session_gantt"}
WIDTHS = [(name, 6.4) for name in PLOTS] + [(name, 4.0) for name in sorted({*PLOTS} - WORDY)]


@pytest.mark.parametrize(("name", "wide"), WIDTHS)
def test_title_and_legend_are_no_wider_than_the_picture(
    name: str, wide: float, demo: Frames
) -> None:
    figure, ax = plt.subplots(figsize=(wide, 6), layout="constrained")
    drawn(getattr(plots, name)(PLOTS[name][0](demo), ax=ax))
    own, edge = ax.get_window_extent(), figure.bbox
    assert own.width > 0.25 * edge.width
    texts = [text for text in ax.get_children() if isinstance(text, Text) and text.get_text()]
    (title,) = (text for text in texts if text.get_text() == ax.get_title("left"))
    above = title.get_window_extent()
    assert above.x1 <= own.x1 + 1 and above.y1 <= edge.y1
    for text in legend.get_texts() if (legend := ax.get_legend()) else []:
        below = text.get_window_extent()
        assert below.x1 <= edge.x1 and below.y0 >= edge.y0


@pytest.mark.parametrize("layout", ["constrained", "tight"])
def test_pictures_side_by_side_have_room(layout: Any, demo: Frames) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3), layout=layout)
    plots.tool_mix(demo.tool_calls, ax=left)
    drawn(plots.churn(demo.file_events, ax=right))
    assert min(ax.get_window_extent().width for ax in (left, right)) > 0.35 * figure.bbox.width
    legend = left.get_legend()
    assert legend is not None
    extents = [text.get_window_extent() for text in legend.get_texts()]
    assert max(text.x1 for text in extents) <= left.get_window_extent().x1 + 1
    assert min(text.y0 for text in extents) >= 0


def test_legend_has_all_its_names_in_the_picture(demo: Frames) -> None:
    """In several lines where it has to, in one where there is room."""
    lines = {}
    for wide in (5, 16):
        _, ax = plt.subplots(figsize=(wide, 4), layout="constrained")
        legend = drawn(plots.tool_mix(demo.tool_calls, by="session_id", ax=ax)).get_legend()
        assert legend is not None
        assert legend.get_window_extent().x1 <= ax.get_window_extent().x1 + 1
        lines[wide] = len({round(text.get_window_extent().y0) for text in legend.get_texts()})
    assert lines[16] == 1 < lines[5]


def test_each_event_of_a_session_is_a_mark_in_the_row_of_its_file(session: pd.DataFrame) -> None:
    ax = drawn(plots.file_timeline(session))
    kinds = session["event_type"].value_counts()
    failed = int(session["status"].isin(["error", "denied", "aborted"]).sum())
    assert marks(ax) == kinds[kinds > 0].to_dict() | {"failed": failed}
    names = rows(ax)
    assert names[0] == "trailmap/elevation.py" and names[-1] == "shell"
    assert len(names) == session["file_path"].nunique() + 1
    shown = {
        (int(x), names[int(y)]) for line in ax.lines for x, y in zip(*line.get_data(), strict=True)
    }
    expected = session["file_path"].astype(object).fillna("shell").reset_index(drop=True)
    assert shown == set(expected.items())
    assert [text for text in texts(ax) if text.startswith("turn")] == [
        f"turn {n}" for n in range(1, 8)
    ]
    assert ax.get_xlabel() == "events, in order"
    assert ax.get_title("left").startswith("28 files: 190 events in 1 session, 2026-11-22 18:01")


def test_shape_repeats_colour_and_every_kind_is_in_the_legend(
    frames: Frames,
) -> None:
    ax = drawn(plots.file_timeline(frames.file_events))
    looks = {(line.get_marker(), line.get_color()) for line in ax.lines}
    assert len({marker for marker, _ in looks}) == len(ax.lines) - 1  # a ring is round as reads are
    assert len({colour for _, colour in looks}) == len(ax.lines) == 7
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == list(marks(ax))
    bars = drawn(plots.file_activity(frames.file_events)).containers
    hatches = {str(bar.get_label()): bar.patches[0].get_hatch() for bar in bars}
    assert len(set(hatches.values())) == len(hatches) - 1 == 4
    assert [kind for kind, hatch in hatches.items() if not hatch] == ["read", "failed"]
    assert to_rgb(bars[-1].patches[0].get_facecolor()) == (1, 1, 1)  # a failure is white


def test_busiest_files_have_rows_and_the_others_share_one(frames: Frames) -> None:
    events = frames.file_events
    ax = drawn(plots.file_timeline(events))
    assert len(rows(ax)) == 32
    assert rows(ax)[0] == "trailmap/cli.py"
    assert rows(ax)[-2:] == ["45 more files", "shell"]
    counted = events[~(events["is_fork_copy"] | events["is_undone"])]
    assert sum(marks(ax).values()) - marks(ax)["failed"] == len(counted) == 864
    (bands,) = (c for c in ax.collections if isinstance(c, PolyCollection))
    assert len(bands.get_paths()) == 10  # every other of 20 sessions
    assert "session after session" in ax.get_xlabel()
    bars = drawn(plots.file_activity(events))
    assert rows(bars)[-1] == "45 more files"
    assert texts(bars)[-1] == "185 events   +461 \N{MINUS SIGN}47 (1 unknown)"


def test_bars_are_as_long_as_the_counts(session: pd.DataFrame) -> None:
    ax = drawn(plots.file_activity(session))
    summary = ocs.analytics.file_summary(session)
    assert lengths(ax) == {
        "read": summary["reads"].sum(),
        "edit": summary["edits"].sum(),
        "write": summary["writes"].sum(),
        "failed": summary["failed"].sum(),
    }
    first = summary.iloc[0]
    assert texts(ax)[0] == f"+{first['additions']} \N{MINUS SIGN}{first['deletions']}"
    rewritten = rows(ax).index("docs/getting started.md")
    assert texts(ax)[rewritten] == "+19 \N{MINUS SIGN}0 (1 unknown)"


def test_history_of_one_file_is_one_row_under_its_last_name(frames: Frames) -> None:
    history = file_timeline(frames.file_events, "trailmap/geometry.py")
    ax = drawn(plots.file_timeline(history))
    assert rows(ax) == ["trailmap/geo/distance.py"]
    assert ax.get_title("left").startswith("trailmap/geo/distance.py: 25 events in 9 sessions")


def test_thirty_first_file_has_a_row_as_well() -> None:
    events = file_events(*(edit(f"{n:02}.py") for n in range(31)))
    assert rows(plots.file_timeline(events))[-1] == "30.py"
    more = file_events(*(edit(f"{n:02}.py") for n in range(32)))
    assert rows(plots.file_timeline(more))[-2:] == ["29.py", "2 more files"]


def test_commands_alone_are_drawn() -> None:
    ax = drawn(plots.file_timeline(file_events(bash("ls"), bash("pwd"))))
    assert (rows(ax), marks(ax)) == (["shell"], {"bash": 2})
    nothing = drawn(plots.file_activity(file_events(bash("ls"))))
    assert texts(nothing) == ["No file events here."]


def test_same_path_in_two_projects_is_two_rows_that_say_which() -> None:
    events = file_events(
        edit("a.py"), edit("a.py"), edit("a.py", project="C:\\code\\shop", session_id="s2", seq=0)
    )
    assert rows(drawn(plots.file_timeline(events))) == ["app: a.py", "shop: a.py"]


@pytest.mark.parametrize("plot", [plots.file_timeline, plots.file_activity, plots.file_heatmap])
def test_file_that_was_made_again_is_another_in_order(plot: Callable[..., Axes]) -> None:
    again = [edit("a.py"), edit("b.py"), delete("a.py"), *[edit("a.py")] * 3, delete("a.py")]
    shown = rows(drawn(plot(file_events(*again, write("a.py")))))
    assert shown == ["a.py (2)", "a.py", "b.py", "a.py (3)"]


def test_days_name_the_sessions_where_there_are_several() -> None:
    events = file_events(
        edit("a.py", seq=0),
        edit("a.py", session_id="s2", seq=0, time=START + pd.Timedelta(days=3)),
    )
    ax = drawn(plots.file_timeline(events))
    assert texts(ax) == ["03-07", "03-10"]
    assert ax.get_title("left").endswith("2026-03-07 23:58 to 2026-03-10 23:58 UTC")


def test_events_without_a_time_are_drawn() -> None:
    ax = drawn(plots.file_timeline(file_events(edit("a.py", time=None), read("a.py", time=None))))
    assert ax.get_title("left") == "a.py: 2 events in 1 session"


def hostile() -> Frames:
    """A session whose paths, tools, models and title nobody should have typed."""
    rows = [edit(path, model=path) for path in HOSTILE for _ in range(2)]
    events = file_events(*rows)
    of_example = example()
    calls = pd.concat([of_example.tool_calls.iloc[:1]] * len(HOSTILE), ignore_index=True)
    return Frames(
        sessions=of_example.sessions.assign(title="".join(HOSTILE[:4])),
        messages=of_example.messages,
        tool_calls=calls.assign(tool=HOSTILE, model=HOSTILE),
        file_events=events,
    )


DRAWN = [
    *("$\\frac{1}{0}$", "a$b", "[31mred", "twolines", "desrever.py"),
    "\N{WHITE SQUARE}\N{WHITE SQUARE}.md",
]


@pytest.mark.parametrize("name", sorted(set(PLOTS) - {"churn", "session_gantt"}))
def test_what_agents_typed_is_drawn_as_text(name: str) -> None:
    ax = drawn(getattr(plots, name)(PLOTS[name][0](hostile())))
    assert sorted(rows(ax)) == sorted(DRAWN)


def test_titles_and_tools_are_drawn_as_text() -> None:
    ax = drawn(plots.session_gantt(hostile()))
    assert rows(ax) == ["".join(DRAWN[:4])]
    tools = drawn(plots.tool_mix(hostile().tool_calls, by="actor"))
    assert sorted(texts(tools)[:-1]) == sorted(DRAWN)
    one = drawn(plots.file_timeline(file_events(edit("$\\frac{1}{0}$"))))
    assert one.get_title("left").startswith("$\\frac")


@pytest.mark.parametrize("plot", [plots.file_timeline, plots.file_activity, plots.file_heatmap])
def test_long_path_keeps_its_end(plot: Callable[..., Axes]) -> None:
    (label,) = rows(drawn(plot(file_events(edit("deep/" * 40 + "a.py")))))
    assert label.startswith("\N{HORIZONTAL ELLIPSIS}") and label.endswith("deep/a.py")
    assert len(label) == 46


def test_events_that_have_not_ended_are_in_no_bar() -> None:
    ax = drawn(plots.file_activity(file_events(read("a.py", status="pending"))))
    assert (rows(ax), lengths(ax), ax.get_legend()) == (["a.py"], {}, None)


def test_renamed_file_keeps_its_row() -> None:
    ax = drawn(plots.file_timeline(file_events(edit("a.py"), move("a.py", "b.py"), edit("b.py"))))
    assert (rows(ax), marks(ax)) == (["b.py"], {"edit": 2, "move": 1})


# Against the clock


def test_bars_of_a_minute_are_the_lines_changed_in_it(demo: Frames) -> None:
    ax = drawn(plots.churn(demo.file_events))
    up, down = ax.containers
    happened = demo.file_events.query("not is_fork_copy and not is_undone")
    changed = happened[happened["status"].eq("completed") & happened["additions"].notna()]
    minutes = changed.groupby(changed["time"].dt.floor("min"))[["additions", "deletions"]].sum()
    minutes = minutes[minutes.gt(0).any(axis=1)]
    shown = {round(bar.get_x() * 1440): bar.get_height() for bar in up.patches if bar.get_height()}
    since = (minutes.index - pd.Timestamp(0, tz="UTC")) // pd.Timedelta("1min")
    assert shown == {m: n for m, n in zip(since, minutes["additions"], strict=True) if n}
    assert -sum(bar.get_height() for bar in down.patches) == minutes["deletions"].sum() == 166
    assert ax.get_title("left").startswith(
        "+1,577 \N{MINUS SIGN}166 lines, those of 22 changes not known, by minute, 2026-11-22 17:42"
    )
    (diamonds,) = (line for line in ax.lines if line.get_marker() == "D")
    assert len(diamonds.get_xdata()) == 4
    assert ax.get_ylabel() == "lines a minute" and ax.get_xlabel() == "time, UTC"


@pytest.mark.parametrize(
    ("hours", "name"), [(1, "minute"), (100, "hour"), (2000, "day"), (10_000, "month")]
)
def test_periods_are_as_short_as_the_picture_has_room_for(hours: int, name: str) -> None:
    last = START + pd.Timedelta(hours=hours)
    ax = drawn(plots.churn(file_events(edit("a.py"), edit("a.py", time=last))))
    assert ax.get_ylabel() == f"lines a {name}"


def test_title_says_when_lines_changed() -> None:
    """Not when the first and last period begin, nor when files were read."""
    at = [START + pd.Timedelta(hours=hours) for hours in (0, 1, 500, 501)]
    events = file_events(*(edit("a.py", time=time) for time in at[1:3]))
    around = file_events(read("a.py", time=at[0]), read("a.py", time=at[3]))
    ax = drawn(plots.churn(pd.concat([events, around]), "D"))
    assert ax.get_title("left").endswith("by day, 2026-03-08 00:58 to 2026-03-28 19:58 UTC")


def test_day_and_month_are_as_wide_as_they_are_on_the_readers_clock() -> None:
    changes = file_events(edit("a.py", time=pd.Timestamp("2026-03-29 12:00", tz="UTC")))
    for freq, wide in (("D", 23 / 24), ("M", 31 - 1 / 24)):
        ax = drawn(plots.churn(changes, freq, tz="Europe/Berlin"))
        assert ax.containers[0].patches[0].get_width() == pytest.approx(wide)
        assert ax.get_xlabel() == "time, Europe/Berlin"


def test_each_session_is_a_row_and_each_turn_a_bar(demo: Frames) -> None:
    ax = drawn(plots.session_gantt(demo))
    names = rows(ax)
    arrow = "\N{DOWNWARDS ARROW WITH TIP RIGHTWARDS} "
    review = names.index("Review before the release")
    assert names[review + 1 : review + 5] == [
        arrow + title
        for title in (
            "Review geometry (@general subagent)",
            "Review storage (@reviewer subagent)",
            "Review web (@reviewer subagent)",
            "Missing tests (@general subagent)",
        )
    ]
    assert len(names) == len(demo.sessions) == 20
    messages = demo.messages.query("not is_fork_copy and not is_undone")
    turns = messages.groupby(["session_id", "turn"], observed=True).ngroups
    own, below = ax.containers
    assert len(own.patches) + len(below.patches) == turns
    assert {round(bar.get_y() + 0.31) for bar in below.patches} == {*range(review + 1, review + 5)}
    (failures,) = (line for line in ax.lines if line.get_label() == "a failed call")
    calls = demo.tool_calls.query("not is_fork_copy and not is_undone and actor != 'user'")
    assert len(failures.get_xdata()) == calls["status"].isin(["error", "denied", "aborted"]).sum()
    cost = demo.sessions.set_index("title")["cost_usd"]["Review before the release"]
    assert texts(ax)[review] == f"22 calls, ${cost:.2f}"
    dotted = [c for c in ax.collections if isinstance(c, LineCollection)][-1]
    leads = {tuple(round(y) for _, y in line) for line in np.array(dotted.get_segments())}
    assert leads == {(review, review + n) for n in range(1, 5)}


def test_one_session_is_shown_with_its_subagents(demo: Frames) -> None:
    title = "Review web (@reviewer subagent)"
    (id,) = demo.sessions.loc[demo.sessions["title"] == title, "session_id"]
    ax = drawn(plots.session_gantt(demo, id, tz="Europe/Berlin"))
    assert rows(ax)[0] == "Review before the release" and len(rows(ax)) == 5
    assert ax.get_title("left") == "5 sessions, 2026-11-22 19:03 to 19:05 CET"
    with pytest.raises(KeyError, match="ses_none"):
        plots.session_gantt(demo, "ses_none")


def test_turn_is_seen_however_short_beside_the_whole() -> None:
    """The white edge of a bar takes half a point of it: a short one has an edge of its colour."""
    frames = example()
    year = {}
    for name in ("sessions", "messages", "tool_calls", "file_events"):
        rows = getattr(frames, name)
        time = "created_at" if name == "sessions" else "time"
        later = rows.assign(session_id="s2", **{time: rows[time] + pd.Timedelta(days=300)})
        year[name] = pd.concat([rows, later], ignore_index=True)
    for of, ink in ((frames, 0.0), (Frames(**year), 2.0)):
        (turns,) = drawn(plots.session_gantt(of)).containers
        for bar in turns.patches:
            own = to_rgb(bar.get_edgecolor()) == to_rgb(bar.get_facecolor())
            assert bar.get_linewidth() * own == ink


def test_session_without_a_turn_is_named_where_it_began() -> None:
    frames = example()
    unused = frames.sessions.assign(session_id="s2", created_at=START + pd.Timedelta(days=1))
    timeless = frames.sessions.assign(session_id="s3")
    timeless.loc[:, "created_at"] = pd.NaT
    sessions = pd.concat([frames.sessions, unused, timeless], ignore_index=True)
    ax = drawn(plots.session_gantt(replace(frames, sessions=sessions)))
    start = min(bar.get_x() for bar in ax.containers[0].patches)
    began = START.timestamp() / 86_400 + 1
    assert texts(ax)[1:] == ["0 calls, $0.00"] * 2
    assert [text.xy[0] for text in ax.texts[1:]] == pytest.approx([began, start], abs=1e-9)
    assert ax.get_xlim()[1] > began
    assert ax.get_title("left") == "3 sessions, 2026-03-07 23:57 to 2026-03-08 23:58 UTC"


# Cells


def values(ax: Axes) -> dict[tuple[str, int], float]:
    """What the cells say, by row and column."""
    (mesh,) = (c for c in ax.collections if isinstance(c, QuadMesh))
    array, names = mesh.get_array(), rows(ax)
    found = np.ma.masked_array(array)
    return {
        (names[row], int(column)): float(found[row, column])
        for row, column in zip(*np.nonzero(~np.ma.getmaskarray(found)), strict=True)
    }


def test_cells_count_the_changes_of_each_session(demo: Frames) -> None:
    ax = drawn(plots.file_heatmap(demo.file_events))
    happened = demo.file_events.query("not is_fork_copy and not is_undone")
    changed = happened[
        happened["status"].eq("completed")
        & happened["event_type"].isin(["write", "edit", "delete", "move"])
    ]
    begin = happened.groupby("session_id", observed=True)["time"].min().sort_values()
    order = [session for session in begin.index if session in set(changed["session_id"])]
    told = Counter(
        (path, order.index(session))
        for path, session in zip(changed["file_path"], changed["session_id"], strict=True)
    )
    shown = values(ax)
    assert len({row for row, _ in shown}) == len(rows(ax)) == 30
    never_moved = [row for row in rows(ax) if row in set(happened["file_path"])]
    never_moved = [row for row in never_moved if row not in set(happened["new_file_path"])]
    assert len(never_moved) > 20
    assert {key: n for key, n in shown.items() if key[0] in never_moved} == {
        key: n for key, n in told.items() if key[0] in never_moved
    }
    assert ax.get_title("left").startswith(
        "the busiest 30 of 67 files: completed changes in 16 ses"
    )


def test_columns_are_turns_sessions_or_periods(demo: Frames) -> None:
    session = demo.sessions.loc[demo.sessions["title"] == LONG, "session_id"].iloc[0]
    events = demo.file_events[demo.file_events["session_id"] == session]
    by_turn = drawn(plots.file_heatmap(events, of="churn"))
    assert [text.get_text() for text in by_turn.get_xticklabels()] == [*"1234567"]
    wanted = events.query("file_path == 'trailmap/search.py' and turn == 1 and not is_undone")
    churn = wanted[["additions", "deletions"]].sum().sum()
    assert values(by_turn)["trailmap/search.py", 0] == churn == 41
    by_day = drawn(plots.file_heatmap(demo.file_events, "D", "reads", tz="Asia/Tokyo"))
    assert [text.get_text() for text in by_day.get_xticklabels()] == ["2026-11-23"]
    with pytest.raises(ValueError, match="'week'"):
        plots.file_heatmap(events, "week")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'edits'"):
        plots.file_heatmap(events, of="edits")  # type: ignore[arg-type]


def columns(ax: Axes) -> list[str]:
    return [label.get_text() for label in ax.get_xticklabels()]


def test_columns_have_names_of_their_own(demo: Frames) -> None:
    """Sessions of one minute are told apart by seconds; turns of several say their own time."""
    shown = columns(drawn(plots.file_heatmap(demo.file_events, "session")))
    assert len(shown) == len({*shown}) == 16
    assert shown[5:9] == ["18:00", "18:01", "18:02:27", "18:02:46"]
    by_turn = drawn(plots.file_heatmap(demo.file_events, "turn"))
    turns = columns(by_turn)
    assert len(turns) == len({*turns})
    assert turns[:3] == ["17:42, turn 1", "18:08:41, turn 3", "17:46, turn 2"]  # as there is room
    assert by_turn.get_xlabel() == "turns, in order, session after session"
    began = demo.file_events.groupby("session_id", observed=True)["time"].min()
    tokyo = drawn(plots.file_heatmap(demo.file_events, "session", tz="Asia/Tokyo"))
    assert columns(tokyo)[0] == f"{began.min().tz_convert('Asia/Tokyo'):%H:%M}" == "02:42"
    assert tokyo.get_title("left").endswith("2026-11-23 02:42 to 03:10 JST")


@pytest.mark.parametrize(
    ("after", "by", "expected"),
    [
        (["0s", "20s", "1min"], "session", ["23:58:00", "23:58:20", "23:59"]),
        (["0s", "0s", "1min"], "session", ["23:58:00", "23:58:00 (2)", "23:59"]),
        (
            ["0s", "30s", "1min", "1D"],
            "session",
            ["2026-03-07 23:58:00", "2026-03-07 23:58:30", "2026-03-07 23:59", "2026-03-08"],
        ),
        (["0s", None, None], "session", ["23:58", "no time", "no time (2)"]),
        (["0s", "1D"], "min", ["03-07 23:58", "03-08 23:58"]),
        (["0s", "365D"], "h", ["2026-03-07 23:00", "2027-03-07 23:00"]),
        (["0s", "1min"], "turn", ["23:58, turn ?", "23:59, turn ?"]),
        (["0s"], "turn", ["?"]),
    ],
)
def test_times_say_more_where_they_share_a_name(
    after: list[str | None], by: Any, expected: list[str]
) -> None:
    """And a change of no known turn is in the picture as well."""
    at = [pd.NaT if one is None else START + pd.Timedelta(one) for one in after]
    turn = {"turn": None} if by == "turn" else {}
    changes = [
        edit("a.py", session_id=f"s{n}", seq=0, time=time) | turn for n, time in enumerate(at)
    ]
    assert columns(ax := drawn(plots.file_heatmap(file_events(*changes), by))) == expected
    assert sum(values(ax).values()) == len(after)


def test_an_unknown_turn_is_named_so() -> None:
    ax = drawn(plots.file_timeline(file_events(edit("a.py", turn=None), edit("b.py", turn=None))))
    assert texts(ax) == ["turn ?"]


def test_many_sessions_become_days() -> None:
    changes = [
        edit("a.py", session_id=f"s{n:02}", seq=0, time=START + pd.Timedelta(days=n))
        for n in range(61)
    ]
    ax = drawn(plots.file_heatmap(file_events(*changes)))
    assert ax.get_title("left").startswith("1 file: completed changes in the last 60 of 61 days")
    assert len(values(ax)) == 60


def test_each_pair_is_one_cell_below_the_diagonal(demo: Frames) -> None:
    pairs = coupling(demo.file_events, min_revs=3, min_shared=3)
    shown, names = values(ax := drawn(plots.coupling_matrix(pairs))), rows(ax)
    assert len(shown) == len(pairs) == 49
    assert all(names.index(row) > column for row, column in shown)
    degree = {
        frozenset(pair[:2]): pair[2]
        for pair in pairs[["file_path", "coupled_path", "degree"]].itertuples(index=False)
    }
    assert {frozenset((row, names[column])): n for (row, column), n in shown.items()} == degree
    assert names[:2] == ["trailmap/difficulty.py", "trailmap/geo/distance.py"]


# Shares and rates


def test_calls_are_not_counted_by_their_events(demo: Frames) -> None:
    with pytest.raises(ValueError, match=r"counts tool calls: `frames\.tool_calls`"):
        plots.tool_mix(demo.file_events)


def test_parts_of_a_bar_are_the_tools_shares(demo: Frames) -> None:
    ax = drawn(plots.tool_mix(demo.tool_calls))
    calls = demo.tool_calls.query("not is_fork_copy and not is_undone and actor != 'user'")
    told = Counter(zip(calls["model"].astype(str), calls["tool"].astype(str), strict=True))
    whole = Counter(calls["model"].astype(str))
    models = rows(ax)
    assert models == [model for model, _ in whole.most_common()]
    shown = {
        (model, str(bars.get_label())): bar.get_width()
        for bars in ax.containers
        for model, bar in zip(models, bars.patches, strict=True)
    }
    named = {tool for _, tool in shown} - {"other"}
    assert len(named) == 8 and "apply_patch" in named  # one model's alone, and most of its changes
    assert {key: share for key, share in shown.items() if key[1] in named and share} == {
        key: pytest.approx(n / whole[key[0]]) for key, n in told.items() if key[1] in named
    }
    assert [sum(s for (m, _), s in shown.items() if m == model) for model in models] == [
        pytest.approx(1)
    ] * 3
    assert ax.get_title("left") == "926 calls of 10 tools by model"
    agents = drawn(plots.tool_mix(demo.tool_calls, by=["agent_name", "model"]))
    assert rows(agents)[0] == "build, pine-large"


def looks(ax: Axes) -> dict[str, tuple[Any, str]]:
    """The colour and hatch of each kind of bar."""
    return {
        str(bars.get_label()): (
            to_rgb(bars.patches[0].get_facecolor()),
            bars.patches[0].get_hatch() or "",
        )
        for bars in ax.containers
    }


def test_a_kind_of_event_looks_the_same_in_every_picture(demo: Frames) -> None:
    marks = {
        str(line.get_label()): to_rgb(str(line.get_color()))
        for line in drawn(plots.file_timeline(demo.file_events)).lines
    }
    kinds = looks(drawn(plots.file_activity(demo.file_events)))
    tools = looks(drawn(plots.tool_mix(demo.tool_calls)))
    reads = looks(drawn(plots.tool_mix(demo.tool_calls.query("tool != 'edit'"))))
    for kind in ("read", "edit", "write"):
        assert marks[kind] == kinds[kind][0] and kinds[kind] == tools[kind]
    assert {kind: reads[kind] for kind in ("read", "write", "bash")}.items() <= tools.items()
    assert marks["bash"] == tools["bash"][0]
    assert not {*kinds.values()} & {look for tool, look in tools.items() if tool not in kinds}


@pytest.mark.parametrize("many", [8, 9, 12])
def test_tools_of_any_name_look_different(many: int) -> None:
    calls = example().tool_calls
    names = [f"tool {n}" for n in range(many - 1)] + ["read"]
    calls = pd.concat([calls.iloc[:1]] * many, ignore_index=True).assign(tool=names)
    shown = looks(drawn(plots.tool_mix(calls)))
    assert len({*shown.values()}) == len(shown) == min(many, 9)


def test_dots_are_rates_on_their_intervals(demo: Frames) -> None:
    failures = edit_failures(demo.file_events, by=["model", "tool"])
    ax = drawn(plots.failure_rates(failures))
    assert (
        rows(ax) == (failures["model"].astype(str) + ", " + failures["tool"].astype(str)).tolist()
    )
    dots = ax.lines[-1]
    assert dots.get_xdata() == pytest.approx(failures["failure_rate"].to_numpy())
    (bars,) = (c for c in ax.collections if isinstance(c, LineCollection))
    ends = [(line[0][0], line[1][0]) for line in np.array(bars.get_segments())]
    assert ends == [*zip(failures["low"], failures["high"], strict=True)]
    assert texts(ax) == ["1 of 36", "7 of 192", "0 of 33", "1 of 157", "1 of 9"]
    assert ax.get_title("left") == "10 of 427 attempts failed, by model and tool"
    of_all = rates(blind_edits(demo), "is_blind")
    blind = drawn(plots.failure_rates(of_all, said=("blind", "changes")))
    assert (rows(blind), texts(blind)) == (["all"], ["52 of 365"])
    assert blind.get_title("left") == "52 of 365 changes blind"
    assert blind.get_xlabel().startswith("blind / changes, ")
    with pytest.raises(KeyError, match="edit_failures"):
        plots.failure_rates(demo.sessions)


def test_rate_of_nothing_is_no_dot() -> None:
    of_nothing = rates(pd.DataFrame({"flag": pd.Series(dtype="boolean")}), "flag")
    ax = drawn(plots.failure_rates(of_nothing))
    assert texts(ax) == ["none of none"]
    assert np.isnan(ax.lines[-1].get_xdata()).all()


def test_bars_and_conversation_are_the_whole_cost(demo: Frames) -> None:
    costs = cost_by_file(demo)
    ax = drawn(plots.cost_per_file(costs))
    files = costs[costs["file_path"] != "<conversation>"]
    by_path = files.groupby("file_path")["estimate_usd"].sum().sort_values(ascending=False)
    assert rows(ax)[:3] == list(by_path.index[:3])
    assert sum(lengths(ax).values()) == pytest.approx(by_path[:30].sum())
    assert rows(ax)[-1] == "47 more files"
    assert texts(ax)[-1] == f"${by_path[30:].sum():.4f}"
    assert ax.get_title("left") == (
        "$5.49: about $1.19 for 77 files, $4.30 for the conversation around them"
    )
    assert ax.get_xlabel() == "US dollars, estimate"


def test_files_of_several_projects_say_which_theirs_is(demo: Frames) -> None:
    costs = cost_by_file(demo)
    project = costs["project"].astype("str").where(costs.index % 2 == 0, "/home/dev/other")
    ax = drawn(plots.cost_per_file(costs.assign(project=project)))
    assert {name.split(":")[0] for name in rows(ax)[:-1]} == {"trailmap", "other"}
