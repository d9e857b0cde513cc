"""FileTimeline in JupyterLab and Chromium, by mouse and by keyboard."""

import ast
import math
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import Lab, keep
from frontends import TimelinePage
from playwright.sync_api import expect

CLEAN_UP = "ses_dfb94b0edffeI566j7sbRyceyc"  # 196 events on 30 files in seven turns

CANVAS = "document.querySelector('.ocs-timeline canvas')"
PAPER = f"{CANVAS}.getContext('2d').getImageData(0, 0, 1, 1).data[0]"

Show = Callable[..., TimelinePage]


@pytest.fixture
def show(lab: Lab, events: Path) -> Show:
    def show(made: str = "ocs.FileTimeline(events)", *more: str) -> TimelinePage:
        return lab.show(
            f"""import pandas as pd, opencode_sessions as ocs
every = pd.read_parquet({str(events)!r})
events = every.query("session_id == '{CLEAN_UP}'")""",
            *more,
            f"timeline = {made}\ntimeline",
        )

    return show


@pytest.fixture
def ids(events: Path) -> list[str]:
    return list(pd.read_parquet(events).query("session_id == @CLEAN_UP").event_id)


def test_a_click_selects(lab: Lab, show: Show, ids: list[str]) -> None:
    timeline = show()
    timeline.painted(196)
    for place in (0, 60, 195):
        timeline.click(place)
        lab.python_until("timeline.selected", repr(ids[place]))
        expect(timeline.status).to_contain_text(f"event {place + 1} of 196")
    assert lab.python("timeline.event['event_id']") == repr(ids[195])
    expect(timeline.status).to_have_attribute("aria-live", "polite")  # a screen reader says it
    expect(timeline.status).to_contain_text("completed")  # as Python says it


def test_python_selects(lab: Lab, show: Show, ids: list[str]) -> None:
    timeline = show()
    for _ in range(6):
        timeline.canvas.press("+")
    assert timeline.seen() < 196
    lab.python("None", f"timeline.selected = {ids[190]!r}")
    expect(timeline.status).to_contain_text("event 191 of 196")
    x, y = timeline.where(190)
    box = timeline.canvas.bounding_box()
    assert box is not None
    assert 0 < x < box["width"] and 0 < y < box["height"]  # the view went there
    lab.python("None", "timeline.selected = None")
    expect(timeline.status).to_contain_text("196 events on 30 files")


def test_arrow_keys_choose_an_event_and_a_file(lab: Lab, show: Show, ids: list[str]) -> None:
    timeline = show()
    timeline.click(60)
    cells = lab.page.locator(".jp-Notebook .jp-Cell").count()
    for key, place in (("ArrowRight", 61), ("ArrowRight", 62), ("ArrowLeft", 61), ("End", 195)):
        timeline.canvas.press(key)
        lab.python_until("timeline.selected", repr(ids[place]))
    timeline.click(60)
    timeline.canvas.press("Shift+ArrowLeft")
    lab.python_until("timeline.selected != timeline.events['event_id'].iloc[60]", "True")
    assert lab.python("timeline.event['file_path']") == "'trailmap/difficulty.py'"
    for key, file in (
        ("ArrowDown", ""),  # the commands stand first
        ("ArrowDown", "trailmap/elevation.py"),
        ("ArrowDown", "trailmap/cli.py"),
        ("ArrowUp", "trailmap/elevation.py"),
    ):
        timeline.canvas.press(key)
        lab.python_until("timeline.file", repr(file))
    timeline.canvas.press("ArrowUp")
    timeline.canvas.press("ArrowUp")
    *_, last, _commands = ast.literal_eval(lab.python("timeline._picture.names"))
    lab.python_until("timeline.file", repr(last))  # round to the last
    for _ in range(3):  # what is selected, then the file
        timeline.canvas.press("Escape")
    lab.python_until("(timeline.selected, timeline.file)", "(None, None)")
    # None of it did anything to the notebook.
    assert lab.page.locator(".jp-Notebook .jp-Cell").count() == cells
    expect(timeline.canvas).to_be_focused()


def test_a_file_is_chosen_by_its_label(lab: Lab, show: Show) -> None:
    timeline = show()
    _, y = timeline.where(0)
    timeline.canvas.click(position={"x": 20, "y": y})
    lab.python_until("timeline.file", "'trailmap/model.py'")
    timeline.canvas.click(position={"x": 20, "y": y})
    lab.python_until("timeline.file", "None")


def test_brushing_selects_a_range(lab: Lab, show: Show, ids: list[str]) -> None:
    timeline = show()
    assert lab.python("len(timeline.selection)") == "196"
    timeline.drag(20, 49)
    lab.python_until("timeline.brushed", "[20, 49]")
    assert ast.literal_eval(lab.python("list(timeline.selection['event_id'])")) == ids[20:50]
    expect(timeline.status).to_contain_text("30 brushed")
    keep(lab.page, "brushed")
    timeline.canvas.press("Escape")
    lab.python_until("timeline.brushed", "None")
    lab.python("None", "timeline.brushed = [3, 5]")
    expect(timeline.status).to_contain_text("3 brushed")


def test_zoom_and_pan(lab: Lab, show: Show) -> None:
    timeline = show()
    timeline.painted(196)
    timeline.canvas.focus()

    def at(place: int) -> float:
        return timeline.where(place)[0]

    wide = at(100) - at(90)
    timeline.canvas.press("+")
    assert at(100) - at(90) == pytest.approx(2 * wide)
    zoomed = at(90)
    timeline.canvas.press("]")
    panned = at(90)
    assert panned < zoomed
    timeline.canvas.press("[")
    assert at(90) > panned
    timeline.canvas.press("-")
    timeline.painted(196)
    x, y = timeline.where(60)
    timeline.canvas.hover(position={"x": x, "y": y})
    lab.page.keyboard.down("Control")
    lab.page.mouse.wheel(0, -600)
    lab.page.keyboard.up("Control")
    lab.python_until("timeline._zoomed is None", "False")
    assert timeline.seen() < 196
    assert at(60) == pytest.approx(x, abs=2)  # what is under the pointer stays there
    keep(lab.page, "zoomed")
    timeline.canvas.press("0")
    timeline.painted(196)


def test_the_plain_wheel_is_the_notebooks(lab: Lab, show: Show) -> None:
    timeline = show(*[], "ocs.FileTimeline(every)", "import time\n" * 40)
    notebook = lab.page.locator(".jp-WindowedPanel-outer").first
    timeline.canvas.scroll_into_view_if_needed()
    notebook.evaluate("panel => panel.scrollTo(0, 0)")
    timeline.canvas.hover()
    before = notebook.evaluate("panel => panel.scrollTop")
    lab.page.mouse.wheel(0, 300)
    lab.page.wait_for_function(
        "before => document.querySelector('.jp-WindowedPanel-outer').scrollTop > before", arg=before
    )


def test_pointing_shows_details(lab: Lab, show: Show) -> None:
    timeline = show()
    x, y = timeline.where(60)
    timeline.canvas.hover(position={"x": x, "y": y})
    tip = lab.page.locator(".ocs-tip")
    expect(tip).to_be_visible()
    expect(tip).to_contain_text("edit completed")
    expect(tip).to_contain_text("trailmap/difficulty.py")
    expect(tip).to_contain_text(re.compile("lines \\+\\d+ \N{MINUS SIGN}\\d+"))
    keep(lab.page, "tooltip")
    timeline.canvas.hover(position={"x": 2, "y": 2})
    expect(tip).to_be_hidden()


def test_it_follows_the_theme(lab: Lab, show: Show) -> None:
    timeline = show()
    timeline.click(60)
    assert timeline.paper() > 200
    keep(lab.page, "light-1400")
    lab.command("apputils:change-theme", theme="JupyterLab Dark")
    lab.page.wait_for_function(f"{PAPER} < 60")
    expect(lab.page.locator("#jupyterlab-splash")).to_have_count(0)
    keep(lab.page, "dark-1400")
    lab.page.set_viewport_size({"width": 800, "height": 1000})
    lab.page.wait_for_function(f"{CANVAS}.clientWidth < 760")
    keep(lab.page, "dark-800")
    lab.command("apputils:change-theme", theme="JupyterLab Light")
    lab.page.wait_for_function(f"{PAPER} > 200")


def test_it_follows_a_theme_that_no_transition_tells(lab: Lab, show: Show) -> None:
    """As it is where JupyterLab has hidden the page before one begins."""
    timeline = show()
    timeline.root.evaluate("e => { e.style.transition = 'none'; }")
    for name, paper in (("Dark", "< 60"), ("Light", "> 200")):
        lab.command("apputils:change-theme", theme=f"JupyterLab {name}")
        lab.page.wait_for_function(f"{PAPER} {paper}")
        expect(lab.page.locator("#jupyterlab-splash")).to_have_count(0)


def test_a_reloaded_page_has_it_all(lab: Lab, show: Show, ids: list[str]) -> None:
    timeline = show()
    timeline.click(60)
    lab.python_until("timeline.selected", repr(ids[60]))
    timeline.canvas.press("+")
    lab.python_until("timeline._zoomed is None", "False")
    lab.python("None", "timeline.file = 'trailmap/cli.py'; timeline.brushed = [55, 65]")
    seen = timeline.seen()
    lab.command("docmanager:save")
    lab.page.wait_for_function(
        "!window.jupyterapp.shell.currentWidget.context.model.dirty", timeout=30_000
    )
    lab.page.reload()
    timeline.painted(seen)
    expect(timeline.status).to_contain_text("11 brushed · event 61 of 196")
    timeline.click(61)
    lab.python_until("timeline.selected", repr(ids[61]))


def test_a_cell_that_runs_again_leaves_one(lab: Lab, show: Show) -> None:
    timeline = show()
    alive = "sum(isinstance(w, ocs.FileTimeline) for w in instances._instances.values())"
    first = lab.python("timeline.model_id")
    lab.run_all()
    lab.python_until(f"timeline.model_id != {first}", "True")
    timeline.painted(196)
    expect(timeline.root).to_have_count(1)
    assert lab.python(alive, "import ipywidgets.widgets.widget as instances") == "1"


def test_other_events_and_more_events(lab: Lab, show: Show, ids: list[str]) -> None:
    timeline = show("ocs.FileTimeline(events.head(100))")
    timeline.painted(100)
    lab.python("None", "timeline.events = events.head(103)")
    timeline.painted(103)  # all in view, so the newest as well
    for _ in range(3):
        timeline.canvas.press("+")
    timeline.canvas.press("Home")
    lab.python_until("timeline.selected", repr(ids[0]))
    seen = timeline.seen()
    lab.python("None", "timeline.events = events.head(106)")
    pill = timeline.root.locator(".new")
    expect(pill).to_have_text("3 new \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}")
    assert timeline.seen() == seen
    keep(lab.page, "three-new")
    pill.click()
    expect(pill).to_be_hidden()
    x, _ = timeline.where(105)
    assert x < lab.page.viewport_size["width"]  # type: ignore[index]
    lab.python("None", "timeline.events = every.query('session_id != @events.session_id.iloc[0]')")
    lab.python_until("timeline.selected", "None")
    timeline.painted(int(lab.python("len(timeline.events)")))
    lab.python("None", "timeline.events = None")
    expect(timeline.root.locator(".empty")).to_contain_text("ocs.read_opencode()")


def test_each_mark_of_a_working_day_can_be_clicked(lab: Lab, show: Show) -> None:
    """300 events over 8 hours: at least 95 % are 6 pixels or more from the next of their row."""
    timeline = show(
        "ocs.FileTimeline(day)",
        "day = every[every['session_id'].isin(every['session_id'].value_counts().index[:3])]\n"
        "day = day.sort_values(['session_id', 'seq']).head(300)\n"
        "day = day.assign(session_id='ses_1', seq=pd.array(range(300), 'Int32'),\n"
        "    time=pd.date_range('2026-03-07 09:00', '2026-03-07 17:00', 300, tz='UTC'))",
    )
    lab.page.set_viewport_size({"width": 1576, "height": 1000})
    lab.page.wait_for_function(f"{CANVAS}.clientWidth >= 1395 && {CANVAS}.clientWidth <= 1405")
    assert timeline.seen() == 300
    found = timeline.root.evaluate("""(root) => [...Array(300).keys()].map((place) => {
        const { x, y } = root.timeline.where(place);
        return [x, y, root.timeline.pick(x, y)];
    })""")
    rows: dict[float, list[float]] = {}
    for x, y, _ in found:
        rows.setdefault(y, []).append(x)

    def is_apart(x: float, y: float) -> bool:
        others = sorted(abs(other - x) for other in rows[y])
        return min([*others[1:2], math.inf]) >= 6

    apart = [is_apart(x, y) for x, y, _ in found]
    picked = [place == by for place, (_, _, by) in enumerate(found)]
    assert sum(apart) >= 0.95 * 300
    assert sum(picked) >= 0.95 * 300


def test_in_time_a_pause_of_more_than_five_minutes_is_folded(lab: Lab, show: Show) -> None:
    timeline = show(
        "ocs.FileTimeline(day, axis='time')",
        "minutes = [0, 1, 2, 6, 486, 487]\n"
        "start = pd.Timestamp('2026-03-07 09:00', tz='UTC')\n"
        "day = events.head(6).assign(time=start + pd.to_timedelta(minutes, unit='min'))",
    )
    timeline.painted(6)
    x = [timeline.where(place)[0] for place in range(6)]
    minute = x[1] - x[0]
    assert x[3] - x[2] == pytest.approx(4 * minute, rel=0.02)
    assert 0 < x[4] - x[3] < minute  # of eight hours
    assert x[5] - x[4] == pytest.approx(minute, rel=0.02)
    keep(lab.page, "pause")
    timeline.root.get_by_role("button", name="time", exact=True).click()
    lab.python_until("timeline.axis", "'order'")
    timeline.seen()
    x = [timeline.where(place)[0] for place in range(6)]
    assert x[4] - x[3] == pytest.approx(x[1] - x[0], rel=0.02)


def test_marks_are_as_large_as_their_changes_when_asked(lab: Lab, show: Show) -> None:
    timeline = show(
        "ocs.FileTimeline(some)",
        "some = events[events['event_type'] == 'edit'].head(2)\n"
        "lines = pd.array([0, 900], 'Int32')\n"
        "some = some.assign(additions=lines, deletions=0, status='completed')",
    )
    timeline.painted(2)
    assert inked(timeline, 1) == pytest.approx(inked(timeline, 0), rel=0.1)
    timeline.root.get_by_role("button", name="size by lines").click()
    lab.python_until("timeline.size_by_lines", "True")
    timeline.seen()
    assert inked(timeline, 1) > 2 * inked(timeline, 0)


def inked(timeline: TimelinePage, place: int) -> int:
    """How many pixels around a mark have the colour of its middle."""
    x, y = timeline.where(place)
    pixels = timeline.canvas.evaluate(
        """(canvas, [x, y]) => {
            const side = 31, edge = (side - 1) / 2, ratio = devicePixelRatio;
            const { data } = canvas.getContext("2d").getImageData(
                Math.round(x * ratio) - edge, Math.round(y * ratio) - edge, side, side);
            const middle = 4 * (edge * side + edge);
            const isInk = (at) =>
                [0, 1, 2].every((n) => Math.abs(data[4 * at + n] - data[middle + n]) < 24);
            return [...Array(side * side).keys()].filter(isInk).length;
        }""",
        [x, y],
    )
    return int(pixels)


def test_what_failed_is_ringed_and_turns_are_set_apart(lab: Lab, show: Show) -> None:
    """On the canvas itself: a circle around one of three edits, a line before another."""
    timeline = show(
        "ocs.FileTimeline(some)",
        "some = events[events['event_type'] == 'edit'].head(3)\n"
        "some = some.assign(status=['completed', 'error', 'completed'],\n"
        "    turn=pd.array([1, 1, 2], 'Int32'), additions=pd.array([1] * 3, 'Int32'))",
    )
    timeline.painted(3)
    places = [timeline.where(place) for place in range(3)]
    around = [marked(timeline, x, y, 6.4, 8.4) for x, y in places]
    assert around[1] > 40 > 10 > max(around[0], around[2])
    (first, _), (second, _), (third, _) = places
    between = [
        marked(timeline, (a + b) / 2, 33, 0, 2) for a, b in ((first, second), (second, third))
    ]
    assert between[0] == 0 < between[1]


def marked(timeline: TimelinePage, x: float, y: float, inner: float, outer: float) -> int:
    """How many pixels between two circles are not as the paper."""
    pixels = timeline.canvas.evaluate(
        """(canvas, [x, y, inner, outer]) => {
            const ratio = devicePixelRatio, edge = Math.ceil(outer * ratio), side = 2 * edge + 1;
            const context = canvas.getContext("2d");
            const paper = context.getImageData(0, 0, 1, 1).data;
            const { data } = context.getImageData(
                Math.round(x * ratio) - edge, Math.round(y * ratio) - edge, side, side);
            const isMarked = (at) => {
                const far = Math.hypot((at % side) - edge, Math.floor(at / side) - edge) / ratio;
                return far >= inner && far <= outer
                    && [0, 1, 2].some((n) => Math.abs(data[4 * at + n] - paper[n]) > 60);
            };
            return [...Array(side * side).keys()].filter(isMarked).length;
        }""",
        [x, y, inner, outer],
    )
    return int(pixels)


def test_where_marks_would_hide_each_other_there_is_density(lab: Lab, show: Show) -> None:
    timeline = show(
        "ocs.FileTimeline(many)",
        "many = pd.concat([events] * 50, ignore_index=True)\n"
        "many = many.assign(seq=pd.array(range(len(many)), 'Int32'),\n"
        "    event_id=[f'prt_{n}' for n in range(len(many))])",
    )
    timeline.painted(9800)
    expect(timeline.canvas).to_have_attribute("data-mode", "density")
    keep(lab.page, "density")
    for _ in range(4):
        timeline.canvas.press("+")
    expect(timeline.canvas).to_have_attribute("data-mode", "marks")


@pytest.mark.parametrize("times", [1, 50])
@pytest.mark.parametrize("axis", ["order", "time"])
def test_the_axis_never_goes_back(axis: str, times: int, lab: Lab, show: Show) -> None:
    """Calls of one step may start out of order: here each first of two began 30 minutes later."""
    timeline = show(
        f"ocs.FileTimeline(many, axis={axis!r})",
        f"many = pd.concat([events.head(120)] * {times}, ignore_index=True)\n"
        "minutes = pd.Series(range(len(many))).mul(120 / len(many)).floordiv(1)\n"
        "late = pd.Series([30, 0] * (len(many) // 2))\n"
        "start = pd.Timestamp('2026-03-07 23:00', tz='UTC')\n"
        "many = many.assign(seq=pd.array(range(len(many)), 'Int32'),\n"
        "    event_id=[f'prt_{n}' for n in range(len(many))],\n"
        "    time=start + pd.to_timedelta(minutes + late, unit='min'))",
    )
    timeline.painted(120 * times)
    mode = "density" if times > 1 else "marks"
    expect(timeline.canvas).to_have_attribute("data-mode", mode)
    labels = on_axis(timeline)
    days = [label.rpartition(" ")[0] for label in labels]
    assert [day for day in days if day] == ["03-07", "03-08"]
    clock = [label.rpartition(" ")[2] for label in labels]
    midnight = days.index("03-08")
    assert len(clock) > 5
    assert clock[:midnight] == sorted(clock[:midnight])
    assert clock[midnight:] == sorted(clock[midnight:])


def on_axis(timeline: TimelinePage) -> list[str]:
    """What is written on the axis, from left to right, when it is painted again."""
    timeline.canvas.evaluate(
        """(canvas) => {
            const context = canvas.getContext("2d"), write = context.fillText;
            window.written = [];
            context.fillText = (text, x, y) => {
                if (y === 25) window.written.push([x, text]);
                write.call(context, text, x, y);
            };
            document.body.dataset.again = "";  // the page's own attributes may change its colours
        }"""
    )
    timeline.seen()
    written = timeline.root.page.evaluate("window.written")
    assert [x for x, _ in written] == sorted(x for x, _ in written), "painted once"
    return [text for _, text in written]


def test_hostile_content_is_shown_and_does_nothing(lab: Lab, show: Show) -> None:
    outside = "https://evil.example/x.png"
    hostile = (
        f"</style><script>alert(1)</script><img src={outside} onerror=alert(2)>"
        "<svg onload=alert(3)>\u202egnp.exe\x1b[31m\u0000'\"&amp;"
    )
    timeline = show(
        "ocs.FileTimeline(bad)",
        f"text = {hostile!r}\n"
        "bad = events.head(40).copy()\n"
        "bad['file_path'] = bad['file_path'].astype('str').fillna('x') + text\n"
        "bad['command'] = bad['error'] = bad['event_id'] = text + bad['event_id']\n"
        "bad['session_id'] = text",
    )
    timeline.painted(40)
    timeline.click(7)
    lab.python_until("timeline.selected == bad['event_id'].iloc[7]", "True")
    timeline.canvas.hover(position=dict(zip("xy", timeline.where(12), strict=True)))  # type: ignore[arg-type]
    tip = lab.page.locator(".ocs-tip")
    expect(tip).to_contain_text("<script>alert(1)</script>")
    for text in (tip.inner_text(), timeline.status.inner_text()):
        assert "⟨U+202E⟩" in text and "␛" in text
        assert not {"\u202e", "\x1b", "\x00"} & set(text)
    lab.python(
        "None",
        "timeline.side = ocs.FileTimeline(bad, side_by_side=True)",
        "timeline.file = timeline._picture.names[0]",
    )
    assert (
        lab.page.locator("script, img").evaluate_all(
            "(found, host) => found.filter((one) => one.src.includes(host)).length", "evil"
        )
        == 0
    )
    assert lab.python("'<script' in timeline._repr_mimebundle_()[0]['text/html']") == "False"
