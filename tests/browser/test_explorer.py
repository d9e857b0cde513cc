"""SessionExplorer in JupyterLab and Chromium: by mouse, by keyboard, and from Python."""

import asyncio
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PICTURES, Lab, elsewhere, keep
from frontends import PATIENCE, TimelinePage
from pictures import small
from playwright.sync_api import Locator, Page, expect

import opencode_sessions as ocs

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CLEAN_UP = "ses_dfb94b0edffeI566j7sbRyceyc"  # 196 events on 30 files in seven turns
RELEASE = "ses_dfb90f25effeDe0GsDxWMywL0H"  # the newest
PLANNER, FORK = "ses_dfb934ab3ffeldERtHdUZnMe73", "ses_dfb926e42ffeZ3kATY7retQk4m"
FAILED_EDIT = "explorer.selection.query(\"status == 'error' and event_type == 'edit'\").iloc[0]"
ALERTS = "<script>alert(1)</script><img src=//x/y onerror=alert(1)><svg onload=alert(1)>"
HOSTILE = f"{ALERTS}\u202etxt.exe\u2066\x1b[31m\x00</td></table></pre>\"'`&lt;" + "a\u0301" * 3
LONG = "w" * 4_000

expect.set_options(timeout=30_000)  # a busy machine is no failure


class ExplorerPage:
    """An explorer on a page of JupyterLab."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.page = lab, lab.page
        self.root = lab.page.locator(".ocs-explorer")
        self.timeline = TimelinePage(self.root.locator(".ocs-timeline"))
        self.sessions, self.beside = (self.root.locator(".ocs-lists select").nth(n) for n in (0, 1))
        self.files = self.root.locator(".ocs-middle select")
        self.session_filter, self.file_filter = (
            self.root.get_by_placeholder(f"filter {what}…") for what in ("sessions", "files")
        )
        self.slider = self.root.locator(".noUi-handle")
        self.message, self.change = (self.root.locator(f".ocs-{n}") for n in ("message", "change"))
        self.alert = self.root.get_by_role("alert")
        self.status = self.root.locator(".ocs-status")

    def is_python(self, expression: str, wanted: object) -> None:
        """Waits until the kernel says so, and has nothing to complain of."""
        self.lab.python_until(expression, repr(wanted))
        assert self.lab.python("explorer.problem") == "None"

    def do(self, *statements: str) -> None:
        """Has the kernel do something."""
        self.lab.python("None", *statements)

    def brush(self, first: int, last: int) -> None:
        """Drags over the axis from one event to another, in a row that is on the screen."""
        self.timeline.canvas.scroll_into_view_if_needed()
        box = self.timeline.canvas.bounding_box()
        assert box is not None
        for step, (place, aside) in enumerate([(first, -0.2), (last, 0.2)]):
            x, _ = self.timeline.where(place)
            self.page.mouse.move(box["x"] + x + aside, box["y"] + 60, steps=6)
            self.page.mouse.up() if step else self.page.mouse.down()

    def shot(self, name: str) -> None:
        """Keeps what the explorer looks like, all of it."""
        self.page.mouse.move(0, 0)
        keep_all(self.page, self.root, name)


Show = Callable[..., ExplorerPage]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recording in a store of ours."""
    folder = tmp_path_factory.mktemp("store")

    async def fill() -> None:
        async with ocs.open(folder / "sessions.db") as service:
            await service.import_opencode(ocs.demo.unpack(folder), progress=False)

    elsewhere(lambda: asyncio.run(fill()))
    return folder / "sessions.db"


@pytest.fixture
def show(lab: Lab, store: Path) -> Show:
    def show(*more: str, of: Path = store) -> ExplorerPage:
        opened = f"import opencode_sessions as ocs\nsvc = await ocs.open({str(of)!r})"
        lab.show(opened, "\n".join(["explorer = ocs.explore(svc)", *more, "explorer"]))
        shown = ExplorerPage(lab)
        shown.message.wait_for(timeout=PATIENCE * 1000)  # what comes last
        return shown

    return show


def keep_all(page: Page, root: Locator, name: str) -> None:
    """Keeps the whole of what may be higher than the window."""
    size = page.viewport_size
    assert size is not None
    box = root.bounding_box()
    assert box is not None
    page.set_viewport_size({**size, "height": max(int(box["height"]) + 300, size["height"])})
    root.scroll_into_view_if_needed()
    page.wait_for_timeout(300)  # a canvas paints after it was given its size
    keep(page, name)
    page.set_viewport_size(size)


def theme(lab: Lab, name: str) -> None:
    lab.command("apputils:change-theme", theme=f"JupyterLab {name}")
    lab.page.wait_for_function(THEMED, arg=str(name == "Light").lower())
    expect(lab.page.locator("#jupyterlab-splash")).to_have_count(0)  # it fades over all there is


# The page's, and the canvas's, which is painted a frame later.
THEMED = """(isLight) => {
    const canvas = document.querySelector(".ocs-explorer canvas");
    if (document.body.dataset.jpThemeLight !== isLight) return false;
    if (!canvas?.dataset.painted) return true;
    const [paper] = canvas.getContext("2d").getImageData(0, 0, 1, 1).data;
    return String(paper > 128) === isLight;
}"""


def lightness(colour: str) -> float:
    """From 0 to 255, of what `getComputedStyle` says."""
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3


# -- choosing ------------------------------------------------------------------------------------


def test_a_session_and_a_file_are_picked(show: Show) -> None:
    explorer = show()
    explorer.is_python("explorer.session", RELEASE)
    pick(explorer.sessions, "Clean up before 0.3")
    explorer.is_python("explorer.session", CLEAN_UP)
    explorer.timeline.painted(196)
    expect(explorer.root.locator(".ocs-session")).to_contain_text("196 events · 30 files")

    pick(explorer.files, "trailmap/storage.py")
    explorer.is_python("explorer.file", "trailmap/storage.py")
    expect(explorer.change).to_contain_text("trailmap/storage.py")
    explorer.timeline.click(37)
    expect(explorer.change).to_contain_text("This was asked for and not done")
    expect(explorer.message).to_contain_text("Now the storage raises them.")
    explorer.is_python("explorer.event['status']", "error")


def pick(select: Locator, text: str) -> None:
    """Picks the option that has this text."""
    select.select_option(
        index=select.locator("option", has_text=text).first.evaluate("o => o.index")
    )


def test_words_are_searched_for_and_a_place_is_picked(show: Show) -> None:
    explorer = show()
    box = explorer.root.get_by_placeholder("search all sessions…")
    found = explorer.root.locator(".ocs-found select")
    expect(found).to_be_hidden()
    box.fill("elevation gain")
    box.press("Enter")
    expect(found.locator("option", has_text="diff").first).to_be_attached(timeout=PATIENCE * 1000)
    pick(found, "diff")
    explorer.is_python("explorer.event['event_type'] in ('edit', 'write')", True)
    expect(explorer.change).to_contain_text("elevation")
    explorer.shot("explorer-search")
    box.fill("")
    box.press("Enter")
    expect(found).to_be_hidden()


def test_lists_are_filtered_and_sorted(show: Show) -> None:
    explorer = show()
    explorer.session_filter.fill("subagent review")
    expect(explorer.sessions.locator("option")).to_have_count(3)
    explorer.session_filter.fill("")
    expect(explorer.sessions.locator("option")).to_have_count(20)
    explorer.root.locator(".ocs-bar select").select_option("most events first")
    expect(explorer.sessions.locator("option").first).to_contain_text("Clean up before 0.3")
    explorer.file_filter.fill("docs/")
    expect(explorer.files.locator("option")).to_have_count(4)
    explorer.is_python("explorer.session", RELEASE)


def test_commands_are_on_view_however_many_files_there_are(show: Show) -> None:
    explorer = show(f"explorer.session = {CLEAN_UP!r}")
    explorer.timeline.painted(196)
    is_command = "(explorer._story.events['event_type'] == 'bash')"
    command = int(explorer.lab.python(f"int({is_command}.argmax())"))
    box = explorer.timeline.canvas.bounding_box()
    assert box is not None
    assert explorer.timeline.where(command)[1] < box["height"]
    rows = {explorer.timeline.where(place)[1] for place in range(196)}
    assert max(rows) > box["height"]  # others are not
    expect(explorer.files.locator("option").first).to_contain_text("shell commands")


def test_keys_stay_in_the_lists(show: Show) -> None:
    explorer = show()
    cells = explorer.page.locator(".jp-Notebook .jp-Cell")
    before = cells.count()
    explorer.sessions.locator("option").nth(1).click()
    explorer.is_python("explorer._list.find(explorer.session)['title'][:7]", "Do the ")
    explorer.sessions.press("ArrowDown")
    explorer.is_python("explorer._list.find(explorer.session)['title'][:7]", "A print")
    explorer.sessions.press("ArrowUp")
    explorer.sessions.press("ArrowUp")
    explorer.is_python("explorer.session", RELEASE)
    for key in ("d", "d", "x", "a", "b", "0", "0"):  # they delete, cut, add cells and restart
        explorer.sessions.press(key)
        explorer.files.press(key)
        explorer.timeline.canvas.press(key)
    expect(cells).to_have_count(before)
    explorer.files.locator("option").nth(1).click()
    explorer.files.press("ArrowDown")
    explorer.is_python("explorer.file", "README.md")
    explorer.timeline.canvas.press("ArrowRight")
    explorer.timeline.canvas.press("ArrowRight")
    expect(cells).to_have_count(before)


def test_the_slider_steps_through_the_changes_of_a_file(show: Show) -> None:
    explorer = show(f"explorer.session, explorer.file = {CLEAN_UP!r}, 'trailmap/storage.py'")
    expect(explorer.root).to_contain_text("change 8 of 8")
    expect(explorer.slider).to_have_attribute("aria-valuenow", "8.0")
    explorer.slider.press("Home")
    expect(explorer.root).to_contain_text("change 1 of 8")
    explorer.is_python("explorer.event['status']", "error")
    expect(explorer.change).to_contain_text("This was asked for and not done")
    for _ in range(2):
        explorer.slider.press("ArrowRight")
    expect(explorer.root).to_contain_text("change 3 of 8")
    explorer.is_python("int(explorer.event['version'])", 1)
    expect(explorer.change.locator("ins, tr.add").first).to_be_visible()


def test_what_is_brushed_is_the_selection(show: Show) -> None:
    explorer = show(f"explorer.session = {CLEAN_UP!r}")
    explorer.timeline.painted(196)
    explorer.brush(20, 29)
    explorer.is_python("10 <= len(explorer.selection) <= 12", True)  # they stand close
    explorer.do("explorer.selection = explorer.selection.head(4)")
    explorer.is_python("len(explorer.selection)", 4)
    expect(explorer.timeline.status).to_contain_text("4 brushed")


def test_python_moves_the_view(show: Show) -> None:
    explorer = show()
    explorer.do(f"explorer.session = {CLEAN_UP!r}")
    explorer.timeline.painted(196)
    explorer.do(f"explorer.event = {FAILED_EDIT}")
    expect(explorer.change).to_contain_text("This was asked for and not done")
    expect(explorer.files.locator("option:checked")).to_contain_text("trailmap/storage.py")
    expect(explorer.sessions.locator("option:checked")).to_contain_text("Clean up before 0.3")
    expect(explorer.timeline.status).to_contain_text("event 38 of 196")


def test_two_sessions_stand_side_by_side(show: Show) -> None:
    explorer = show(f"explorer.session = {PLANNER!r}")
    expect(explorer.beside).to_be_hidden()
    explorer.root.get_by_role("button", name="Side by side").click()
    expect(explorer.beside).to_be_visible()
    pick(explorer.beside, "(fork #1)")
    explorer.is_python("explorer.beside", FORK)
    explorer.timeline.painted(64)
    expect(explorer.root.locator(".ocs-session")).to_have_count(2)
    explorer.shot("side-by-side")
    explorer.root.get_by_role("button", name="Side by side").click()
    explorer.timeline.painted(33)
    explorer.is_python("explorer.beside", None)


# -- what may happen to it -------------------------------------------------------------------------


def test_an_error_is_an_alert(show: Show) -> None:
    explorer = show()
    expect(explorer.alert).to_have_count(0)
    explorer.do("explorer.file = '<b>nowhere.py</b>'")
    expect(explorer.alert).to_contain_text("no events of '<b>nowhere.py</b>'")
    expect(explorer.alert.locator("pre")).to_be_hidden()
    explorer.shot("alert")
    pick(explorer.sessions, "Clean up before 0.3")
    expect(explorer.alert).to_have_count(0)
    explorer.timeline.painted(196)


def test_a_cell_that_runs_again_leaves_one_explorer(show: Show) -> None:
    explorer = show()
    widgets = "len(__import__('ipywidgets').widgets.widget._instances)"
    before = explorer.lab.python(widgets)
    for _ in range(2):
        explorer.do("explorer.session = None")
        explorer.lab.run_all()
        explorer.lab.python_until(f"explorer.session == {RELEASE!r} and {widgets}", before)
    expect(explorer.root).to_have_count(1)
    expect(explorer.change.locator("table")).to_be_visible()


def test_a_reloaded_page_has_the_whole_state(show: Show) -> None:
    explorer = show(f"explorer.session, explorer.file = {CLEAN_UP!r}, 'trailmap/storage.py'")
    explorer.slider.press("Home")
    expect(explorer.change).to_contain_text("This was asked for and not done")
    explorer.file_filter.fill("trailmap/")
    expect(explorer.files.locator("option")).to_have_count(16)
    explorer.lab.command("docmanager:save")
    expect(explorer.page.locator(".jp-mod-dirty")).to_have_count(0)
    explorer.page.reload()
    explorer.timeline.painted(196)
    expect(explorer.change).to_contain_text("This was asked for and not done")
    expect(explorer.message).to_contain_text("Now the storage raises them.")
    expect(explorer.files.locator("option:checked")).to_contain_text("trailmap/storage.py")
    expect(explorer.files.locator("option")).to_have_count(16)
    expect(explorer.timeline.status).to_contain_text("event 38 of 196")
    expect(explorer.root).to_contain_text("change 1 of 8")
    explorer.slider.press("ArrowRight")
    expect(explorer.root).to_contain_text("change 2 of 8")


# -- what an agent typed ---------------------------------------------------------------------------

STORE_HOSTILE = f"""
from opencode_sessions.import_report import ImportReport
hostile, long = {HOSTILE!r}, {LONG!r}
svc = ocs.OpencodeSessionService()
for text in (long, hostile):
    session = await svc.get_or_create_session("ses_" + text[:9], text, "/home/dev", title=text)
    asked = [{{"type": "text", "text": text}}]
    await svc.persist_message(session, "user", asked)
    parts = [{{"type": "reasoning", "text": text}}, {{"type": "text", "text": text}}]
    for number in range(3):
        path = f"src/{{text}}/{{number}}.py"
        parts += [
            {{"type": "tool_use", "id": path + "w", "name": "write", "input": {{
                "path": path, "content": text}}}},
            {{"type": "tool_use", "id": path, "name": "edit", "input": {{
                "path": path, "new_string": text}}}},
            {{"type": "tool", "tool": "bash", "callID": text, "state": {{
                "status": "error" if number else "completed", "input": {{"command": text}},
                "title": text, "error": text if number else None, "output": text}}}},
        ]
    message = await svc.persist_message(session, "assistant", parts)
    await svc.persist_file_events(message, parts)
report = ImportReport(sources=[hostile, long], notes=[hostile, long])
"""
HARMFUL = "script, img, iframe, object, [onload]"


def test_nothing_of_it_runs_loads_or_breaks_the_layout(lab: Lab) -> None:
    """The page itself notes each dialog, each error and each request to the outside."""
    lab.page.set_viewport_size({"width": 1400, "height": 3000})  # far below, it would not be shown
    lab.start(
        "import opencode_sessions as ocs" + STORE_HOSTILE,
        "from IPython.display import display\n"
        "for one in (svc, session, message, report, await svc.frames()): display(one)\n"
        "display(ocs.FileTimeline(await svc.file_events()))",
        "explorer = ocs.explore(svc)\nexplorer",
    )
    explorer = ExplorerPage(lab)
    ids = "list(explorer._story.events['event_id'])"
    listed = "explorer._sessions.first.options"
    explorer.root.locator(".ocs-call").wait_for(timeout=PATIENCE * 1000)
    for session in range(2):
        explorer.sessions.locator("option").nth(session).click()
        first = f"explorer._story.events['session_id'].iloc[0] == {listed}[{session}][1]"
        explorer.lab.python_until(f"explorer._story is not None and bool({first})", "True")
        assert explorer.lab.python(f"len({ids})") == "9"
        for place in range(9):
            explorer.do(f"explorer.selected = {ids}[{place}]")
            number = place // 3 + 1 if place % 3 == 2 else place % 3 + 1  # commands have one list
            expect(explorer.change).to_contain_text(f"event {number} of")
            for summary in explorer.message.locator("summary").all():
                if summary.is_visible():
                    summary.click()
        explorer.timeline.canvas.hover(position={"x": 40, "y": 50})
        explorer.timeline.click(4)
        is_harmless(explorer, f"hostile-{session}")
    explorer.sessions.locator("option").first.click()
    explorer.lab.python_until("explorer._list.newest() == explorer.session", "True")
    box = explorer.root.get_by_placeholder("search all sessions…")
    box.fill("alert")
    box.press("Enter")
    found = explorer.root.locator(".ocs-found option", has_text="<script>alert(1)")
    expect(found.first).to_be_attached(timeout=PATIENCE * 1000)
    explorer.do(f"explorer.beside = {listed}[1][1]")
    explorer.timeline.painted(18)
    is_harmless(explorer, "hostile-beside")
    explorer.do("explorer.file = hostile")
    expect(explorer.alert).to_contain_text("This session has no events of '<script>alert(1)")
    is_harmless(explorer, "hostile-alert")
    foreign = ".jp-OutputArea script, .jp-OutputArea img, .jp-OutputArea [onload]"
    assert explorer.page.locator(foreign).count() == 0
    too_wide = "(shown) => shown.filter((one) => one.scrollWidth > one.clientWidth).length"
    assert explorer.page.locator(".jp-OutputArea-output").evaluate_all(too_wide) == 0


def is_harmless(explorer: ExplorerPage, name: str) -> None:
    """Nothing of what was typed is an element, hides or reorders text, or needs more room."""
    said = explorer.root.inner_text()
    assert not set("\u202e\u2066\x1b\x00") & set(said)
    assert "⟨U+202E⟩" in said and "<script>alert(1)" in said  # in the list at least
    assert explorer.root.locator(HARMFUL).count() == 0
    assert explorer.page.evaluate(WIDER_THAN_THE_EXPLORER) == []
    explorer.shot(name)


WIDER_THAN_THE_EXPLORER = """() => {
    const root = document.querySelector('.ocs-explorer'), edge = root.getBoundingClientRect().right;
    const scrolls = (e) => e && e !== root &&
        (getComputedStyle(e).overflowX !== 'visible' || scrolls(e.parentElement));
    return [...root.querySelectorAll('*')].filter((e) => !scrolls(e.parentElement)
        && e.getBoundingClientRect().right > edge + 1).map((e) => e.className);
}"""


# -- what it looks like ----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def sized(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Callable[[int], Path]:
    """A store with so many sessions: 20 are the recording's, others are made up."""
    generate = runpy.run_path(str(ROOT / "benchmarks" / "generated.py"))["generate"]

    def sized(sessions: int) -> Path:
        if sessions == 20:
            return store
        file = tmp_path_factory.mktemp("sized") / f"{sessions}.db"
        if sessions:
            elsewhere(lambda: generate(file, sessions=sessions, events=sessions * 12))
        return file

    return sized


@pytest.mark.parametrize("sessions", [0, 1, 20, 5000])
def test_it_is_itself_in_both_themes_and_sizes(
    lab: Lab, show: Show, sized: Callable[[int], Path], sessions: int
) -> None:
    if sessions:
        explorer = show(of=sized(sessions))
        expect(explorer.sessions.locator("option")).to_have_count(min(sessions, 200))
        if sessions == 20:
            explorer.do(f"explorer.session = {CLEAN_UP!r}")
            explorer.timeline.painted(196)
            explorer.do(f"explorer.event = {FAILED_EDIT}")
            expect(explorer.change).to_contain_text("This was asked for and not done")
    else:
        explorer = empty(lab)
        expect(explorer.status).to_contain_text("await svc.import_opencode()")
    for width in (1400, 800):
        lab.page.set_viewport_size({"width": width, "height": 1000})
        for name in ("Dark", "Light"):  # as it was before, for the test after this one
            theme(lab, name)
            ink, ground = (
                lightness(explorer.root.evaluate(f"e => getComputedStyle({of}).{what}"))
                for of, what in (("e", "color"), ("document.body", "backgroundColor"))
            )
            assert abs(ink - ground) > 120
            assert explorer.page.evaluate(WIDER_THAN_THE_EXPLORER) == []
            explorer.shot(f"explorer-{sessions}-{width}-{name.lower()}")


@pytest.mark.sharp
def test_the_picture_of_the_readme(lab: Lab, show: Show, request: pytest.FixtureRequest) -> None:
    """A busy session, a failed edit selected, what it asked for."""
    lab.page.set_viewport_size({"width": 1180, "height": 1300})
    explorer = show(f"explorer.session = {CLEAN_UP!r}")
    explorer.timeline.painted(196)
    explorer.do(f"explorer.event = {FAILED_EDIT}")
    expect(explorer.change).to_contain_text("This was asked for and not done")
    expect(explorer.timeline.status).to_contain_text("Could not find oldString")
    for name in ("Dark", "Light"):
        theme(lab, name)
        lab.page.mouse.move(0, 0)
        lab.page.evaluate("document.activeElement.blur()")
        box = explorer.root.bounding_box()
        assert box is not None
        around = {"x": box["x"] - 8, "y": box["y"] - 3}
        size = {"width": box["width"] + 16, "height": box["height"] + 8}
        picture = small(lab.page.screenshot(clip={**around, **size}))
        folders = [PICTURES, DOCS] if request.config.getoption("--docs") else [PICTURES]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"explorer-{name.lower()}.png").write_bytes(picture)


def empty(lab: Lab) -> ExplorerPage:
    """An explorer of a store without sessions: its timeline has nothing to paint."""
    lab.start(
        "import opencode_sessions as ocs",
        "explorer = ocs.explore(ocs.OpencodeSessionService())\nexplorer",
    )
    explorer = ExplorerPage(lab)
    explorer.root.wait_for(timeout=PATIENCE * 1000)
    return explorer
