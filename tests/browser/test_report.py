"""A report opened from disk, as whoever got it by mail opens it: nothing runs, nothing loads."""

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import keep
from frontends import TimelinePage
from playwright.sync_api import Browser, Page, expect

import opencode_sessions as ocs
from opencode_sessions import demo
from opencode_sessions.reporting import limits, whole

CLEAN_UP = "ses_dfb94b0edffeI566j7sbRyceyc"  # 196 events on 30 files in seven turns
ALERTS = "<script>alert(1)</script><img src=//x/y onerror=alert(1)><svg onload=alert(1)>"
HOSTILE = (
    f"{ALERTS}\u202etxt.exe\u2066\x1b[31m\x00</td></table></pre></script>\"'`&lt;" + "a\u0301" * 9
)
LONG = "w" * 3_000

expect.set_options(timeout=30_000)  # a busy machine is no failure


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> ocs.analytics.Frames:
    recording = demo.unpack(tmp_path_factory.mktemp("recording"))
    return ocs.read_opencode(recording, diffs=True, parts=True)


Open = Callable[..., Page]


@pytest.fixture
def show(page: Page, frames: ocs.analytics.Frames, tmp_path: Path) -> Open:
    """Opens a report of the recording."""

    def show(**options: Any) -> Page:
        made = ocs.report(frames, tmp_path / "out.html", **options)
        opened(page, made.path)
        return page

    return show


def opened(page: Page, path: Path) -> None:
    """Opens a report, and refuses it whatever it asks for beside itself."""
    asked: list[str] = []
    page.on("request", lambda made: asked.append(made.url))
    page.goto(path.as_uri())
    expect(page.locator("html")).to_have_attribute("data-ready", "true")
    assert asked == [path.as_uri()]


def test_the_timeline_and_the_conversation_choose_for_each_other(show: Open) -> None:
    page = show(session=CLEAN_UP)
    timeline = TimelinePage(page.locator(".ocs-timeline"))
    timeline.painted(196)
    timeline.click(60)
    here = page.locator(".call.here")
    expect(here).to_have_attribute("data-places", "60")
    expect(here).to_be_in_viewport()
    other = page.locator(".call[data-places='100'] > summary")
    other.click()
    expect(timeline.status).to_contain_text("event 101 of 196")
    page.locator(".files > summary").click()
    page.get_by_role("button", name="trailmap/cli.py").click()
    expect(page.locator(".files tr.here")).to_contain_text("trailmap/cli.py")
    expect(timeline.root).to_be_in_viewport()
    keep(page, "report-chosen")


def test_by_keyboard(show: Open) -> None:
    page = show(session=CLEAN_UP)
    here = page.locator(".call.here")
    page.keyboard.press("e")
    expect(here).to_have_class(re.compile("failed"))
    first = here.get_attribute("data-places")
    page.keyboard.press("j")
    expect(here).not_to_have_attribute("data-places", first or "")
    page.keyboard.press("k")
    expect(here).to_have_attribute("data-places", first or "")
    expect(here).to_be_in_viewport()
    page.keyboard.press("j")
    page.evaluate(AT_ONCE, "kn")
    expect(here).to_have_attribute("data-places", first or "")
    turn = page.locator(".turn h4").nth(2)
    expect(turn).to_be_in_viewport()
    page.keyboard.press("o")
    expect(page.locator("details.call:not([open])")).to_have_count(0)
    page.keyboard.press("t")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


# Presses keys faster than the page is painted, and waits until it has settled.
AT_ONCE = """async (keys) => {
    for (const key of keys) document.dispatchEvent(new KeyboardEvent("keydown", { key }));
    for (let frame = 0; frame < 4; frame++) await new Promise(requestAnimationFrame);
}"""


def test_search_counts_opens_and_steps(show: Open) -> None:
    page = show(session=CLEAN_UP)
    page.keyboard.press("/")
    page.keyboard.type("from dataclasses import dataclass")  # coloured, so in several pieces
    hits = page.locator("#hits")
    expect(hits).to_have_text(re.compile(r"^\d+$"))
    count = int(hits.inner_text())
    assert count == page.locator("td.t, .text, pre, summary").evaluate_all(
        "(all, text) => all.filter((one) => !one.matches('td.t pre'))"
        ".reduce((sum, one) => sum + one.textContent.split(text).length - 1, 0)",
        "from dataclasses import dataclass",
    )
    page.keyboard.press("Enter")
    expect(hits).to_have_text(f"1 of {count}")
    page.keyboard.press("Shift+Enter")
    expect(hits).to_have_text(f"{count} of {count}")
    page.wait_for_function(
        "(text) => { const [one] = CSS.highlights.get('current');"
        " const { top, bottom } = one.getBoundingClientRect();"
        " return one.toString() === text && top > 50 && bottom < innerHeight }",
        arg="from dataclasses import dataclass",
    )
    page.keyboard.press("Escape")
    expect(hits).to_have_text("")


@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_both_themes_are_told_apart(show: Open, scheme: str, width: int) -> None:
    page = show(project="trailmap")
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": width, "height": 1000})
    page.locator("figure.timeline").first.scroll_into_view_if_needed()
    TimelinePage(page.locator(".ocs-timeline").first).painted()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
    assert (int(paper) > 200) == (scheme == "light")
    keep(page, f"report-{scheme}-{width}")


def test_on_a_phone_a_session_is_a_few_lines_and_nothing_is_cut(show: Open) -> None:
    page = show()
    page.set_viewport_size({"width": 400, "height": 1000})
    wide, table = page.locator("#sessions .wide"), page.locator("table.sessions")
    assert wide.evaluate("(wide) => wide.scrollWidth <= wide.clientWidth")
    counts = table.locator("tr", has_text="Clean up before 0.3").locator("[data-of]")
    said = counts.evaluate_all("(of) => of.map((one) => `${one.innerText} ${one.dataset.of}`)")
    assert said == ["7 turns", "195 calls", "4 failed", "27 files"]
    after = "(one) => getComputedStyle(one, '::after').content"
    assert counts.first.evaluate(after) != "none"
    page.set_viewport_size({"width": 1400, "height": 1000})
    expect(table.get_by_role("columnheader", name="turns")).to_be_visible()
    assert counts.first.evaluate(after) == "none"


@pytest.mark.parametrize("width", [1400, 400])
def test_what_was_typed_does_nothing(page: Page, tmp_path: Path, width: int) -> None:
    async def fill() -> Path:
        service = ocs.OpencodeSessionService()
        text = f"{HOSTILE} {LONG}"
        session = await service.get_or_create_session("s", HOSTILE, f"/a/{HOSTILE}", None, text)
        error = {"status": "error", "input": {"filePath": f"{HOSTILE}{LONG}"}, "error": text}
        parts: list[dict[str, Any]] = [
            {"type": "text", "text": text},
            {"type": "reasoning", "text": text},
            {"type": "tool_use", "name": "bash", "input": {"command": text}},
            {"type": "tool_use", "name": "edit", "input": {"path": HOSTILE, "diff": f"-{text}"}},
            {"type": "tool", "tool": f"{HOSTILE}{LONG}", "state": error},
            {"type": "tool", "tool": "write", "state": error},
        ]
        for role in ("user", "assistant"):
            message = await service.persist_message(session, role, parts)
            await service.persist_file_events(message, parts)
        return (await ocs.report(service, tmp_path / "out.html")).path

    with ThreadPoolExecutor(1) as thread:  # Playwright has a loop in this one
        path = thread.submit(asyncio.run, fill()).result()
    page.set_viewport_size({"width": width, "height": 1000})
    opened(page, path)
    page.keyboard.press("o")
    TimelinePage(page.locator(".ocs-timeline")).painted()
    expect(page.locator("main")).to_contain_text("<script>alert(1)</script>")
    expect(page.locator("main")).to_contain_text("⟨U+202E⟩txt.exe")
    assert (
        page.locator("main img, main iframe, main script:not([type='application/json'])").count()
        == 0
    )
    assert page.evaluate("document.documentElement.scrollWidth") == width
    keep(page, f"report-hostile-{width}")


def test_a_script_that_is_not_its_own_would_not_run(show: Open) -> None:
    """Were a text ever to reach the page as markup, the policy still stops it."""
    page = show(session=CLEAN_UP)
    page.evaluate(
        "document.querySelector('main').insertAdjacentHTML('beforeend',"
        ' `<img src=x onerror="window.ran = 1">`);'
        "const s = document.createElement('script'); s.textContent = 'window.ran = 2';"
        "document.body.append(s)"
    )
    page.wait_for_function("performance.now() > 0")
    assert page.evaluate("window.ran") is None


def only_level(monkeypatch: pytest.MonkeyPatch, **changed: Any) -> None:
    """As of a session that is far larger."""
    for module in (limits, whole):
        monkeypatch.setattr(module, "LEVELS", (limits.LEVELS[0]._replace(**changed),))


def test_of_a_large_session_what_is_left_out_can_still_be_pointed_at(
    show: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_level(monkeypatch, messages=80)
    page = show(session=CLEAN_UP)
    expect(page.locator("header.top .note")).to_contain_text("the middle is left out")
    timeline = TimelinePage(page.locator(".ocs-timeline"))
    timeline.painted(196)
    timeline.click(60)
    expect(timeline.status).to_contain_text(re.compile("event 61 of 196 · .*UTC"))
    expect(page.locator(".call.here")).to_have_count(0)
    timeline.click(195)
    expect(page.locator(".call.here")).to_have_attribute("data-places", "195")


@pytest.mark.parametrize("width", [1400, 400])
def test_of_the_largest_the_picture_is_there_alone(
    show: Open, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    only_level(monkeypatch, messages=80, marks=90, is_live=False)
    page = show(session=CLEAN_UP)
    page.set_viewport_size({"width": width, "height": 1000})
    page.locator("figure.timeline").scroll_into_view_if_needed()
    expect(page.locator(".still svg[role=img]")).to_be_visible()
    expect(page.locator("figure.timeline")).to_contain_text("106 earlier events are not drawn")
    expect(page.locator(".ocs-timeline")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.locator(".files > summary").click()
    page.get_by_role("button", name="trailmap/cli.py").click()
    page.locator("details.call[data-places] > summary").first.click()
    page.keyboard.press("j")
    expect(page.locator(".call.here")).to_have_count(1)
    page.locator("figure.timeline").scroll_into_view_if_needed()
    keep(page, f"report-picture-{width}")


def test_on_paper(show: Open, browser: Browser) -> None:
    page = show(session=CLEAN_UP)
    TimelinePage(page.locator(".ocs-timeline")).painted(196)
    page.emulate_media(media="print")
    expect(page.locator("nav")).to_be_hidden()
    expect(page.locator(".ocs-timeline")).to_be_hidden()
    expect(page.locator(".still")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"
    keep(page, "report-print")
    pdf = page.pdf(format="A4")
    assert 5 < len(re.findall(rb"/Type /Page\b", pdf)) < 80


def test_without_scripts_there_is_a_picture(
    browser: Browser, frames: ocs.analytics.Frames, tmp_path: Path
) -> None:
    made = ocs.report(frames, tmp_path / "out.html", session=CLEAN_UP)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(made.path.as_uri())
    expect(page.locator(".still svg[role=img]")).to_be_visible()
    expect(page.locator(".text").first).to_contain_text("Before 0.3 I want to clean up")
    context.close()
