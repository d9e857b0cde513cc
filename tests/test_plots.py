"""The pictures: what is drawn and named, on recordings and on paths nobody should have typed."""

from collections.abc import Callable, Iterator

import matplotlib
import pandas as pd
import pytest
from conftest import Recording
from handmade import START, bash, edit, file_events, move, read
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb

import opencode_sessions as ocs
from opencode_sessions import plots
from opencode_sessions.analytics import file_timeline

PLOTS = [plots.file_timeline, plots.file_activity]
LONG = "Clean up before 0.3"
HOSTILE = ["$\\frac{1}{0}$", "a$b", "\x1b[31mred", "two\nlines", "\u202edesrever.py", "漢字.md"]


@pytest.fixture(autouse=True)
def _no_window() -> Iterator[None]:
    matplotlib.use("agg")
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def frames(recordings: dict[str, Recording]) -> ocs.analytics.Frames:
    return ocs.read_opencode(recordings["trailmap-1.18.33"].database, shell=False)


@pytest.fixture
def session(frames: ocs.analytics.Frames) -> pd.DataFrame:
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


@pytest.mark.parametrize("plot", PLOTS)
def test_draws_where_it_is_told_and_leaves_the_events_alone(
    plot: Callable[..., Axes], frames: ocs.analytics.Frames
) -> None:
    before = frames.file_events.copy(deep=True)
    figure, (left, right) = plt.subplots(1, 2)
    assert plot(frames.file_events, ax=right) is right
    assert plot(frames.file_events, right) is right
    assert not left.has_data()
    assert plot(frames.file_events).figure is not figure
    pd.testing.assert_frame_equal(frames.file_events, before)


@pytest.mark.parametrize("plot", PLOTS)
def test_no_events_say_so(plot: Callable[..., Axes], frames: ocs.analytics.Frames) -> None:
    ax = drawn(plot(frames.file_events.iloc[:0]))
    assert texts(ax) == ["No file events here."]
    assert rows(ax) == []


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
    frames: ocs.analytics.Frames,
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


def test_busiest_files_have_rows_and_the_others_share_one(frames: ocs.analytics.Frames) -> None:
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


def test_history_of_one_file_is_one_row_under_its_last_name(frames: ocs.analytics.Frames) -> None:
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


@pytest.mark.parametrize("plot", PLOTS)
def test_what_agents_typed_is_drawn_as_text(plot: Callable[..., Axes]) -> None:
    ax = drawn(plot(file_events(*(edit(path) for path in HOSTILE))))
    assert rows(ax) == [
        "$\\frac{1}{0}$",
        "a$b",
        "[31mred",
        "twolines",
        "desrever.py",
        "\N{WHITE SQUARE}\N{WHITE SQUARE}.md",
    ]
    assert drawn(plot(file_events(edit("$\\frac{1}{0}$")))).get_title("left").startswith("$\\frac")


@pytest.mark.parametrize("plot", PLOTS)
def test_long_path_keeps_its_end(plot: Callable[..., Axes]) -> None:
    (label,) = rows(drawn(plot(file_events(edit("deep/" * 40 + "a.py")))))
    assert label.startswith("\N{HORIZONTAL ELLIPSIS}") and label.endswith("deep/a.py")
    assert len(label) == 46


def test_renamed_file_keeps_its_row() -> None:
    ax = drawn(plots.file_timeline(file_events(edit("a.py"), move("a.py", "b.py"), edit("b.py"))))
    assert (rows(ax), marks(ax)) == (["b.py"], {"edit": 2, "move": 1})
