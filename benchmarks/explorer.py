"""How soon SessionExplorer shows a large store in JupyterLab, and how soon it answers.

    python -m benchmarks.explorer [--sessions 5000] [--events 1000000] [--store sessions.db]

Prints one line a gesture: the median and the slowest, in milliseconds. The first view is from
`ocs.explore(svc)` in a cell to the first message, which comes last; a gesture from its event to all
that it changes on the page; "to Python" from the release of the mouse to who observes the trait. A
gesture without an answer ends the run and is named. A store that is given is kept and used again.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from playwright.sync_api import Page, TimeoutError, sync_playwright

from .generated import generate
from .timeline import released

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "browser"))

from chromium import OPTIONS, chromium  # noqa: E402
from frontends import LabPage, TimelinePage, jupyter, notebook, served, without_news  # noqa: E402

ROUNDS = 15
PATIENCE = 20  # seconds until a gesture counts as one that is not answered
OPEN = "import time\nimport opencode_sessions as ocs\nsvc = await ocs.open({store!r})"
NEW = "began = time.time()\nexplorer = ocs.explore(svc)\nexplorer"
HEAR = """
heard = []
explorer.observe(lambda change: heard.append(time.time()), {trait!r})
"""
# Until each of these panels is there, and is another one or says something else than before; then
# until a frame has been painted. To look at every frame would make the page draw all the time.
ANSWERED = """async ([gesture, panels]) => {
    const look = () => panels.map((of) => {
        const panel = document.querySelector(`.ocs-explorer ${of}`);
        return { panel, said: panel?.innerHTML };
    });
    const frame = () => new Promise((then) => requestAnimationFrame(then));
    const before = look(), began = performance.now();
    const isOld = ({ panel, said }, at) =>
        panel === null || (panel === before[at].panel && said === before[at].said);
    await new Promise((then) => {
        const seen = new MutationObserver(() => {
            if (!look().some(isOld)) then(seen.disconnect());
        });
        const all = { subtree: true, childList: true, characterData: true, attributes: true };
        seen.observe(document.querySelector(".ocs-explorer"), all);
        eval(gesture);
    });
    await frame();
    await frame();
    return performance.now() - began;
}"""
SHOWN = "document.querySelector('.ocs-explorer .ocs-message') && Date.now() / 1000"
CHOOSE = """(() => {{
    const list = document.querySelectorAll(".ocs-explorer {list}")[{at}];
    list.selectedIndex = {index};
    list.dispatchEvent(new Event("change", {{ bubbles: true }}));
}})()"""
TYPE = """(() => {{
    const box = document.querySelector(".ocs-explorer input[placeholder^='{box}']");
    box.value = "{words}";
    box.dispatchEvent(new Event("input", {{ bubbles: true }}));
    box.dispatchEvent(new Event("change", {{ bubbles: true }}));
}})()"""
PRESS = """document.querySelector(".ocs-explorer {on}").dispatchEvent(
    new KeyboardEvent("keydown", {{ key: "ArrowLeft", bubbles: true }}))"""
SESSION = [".ocs-session", ".ocs-timeline .scroll", ".ocs-message", ".ocs-change"]
SESSIONS, FILES = ".ocs-lists select", ".ocs-middle select"
CHANGE, CANVAS = ".ocs-change", ".ocs-timeline canvas"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=5_000)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--store", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        store = asked.store or home / "sessions.db"
        if not store.exists():
            generate(store, sessions=asked.sessions, events=asked.events)
        measure(home, store.resolve())


def measure(home: Path, store: Path) -> None:
    """Opens the store in a notebook and times what one does with it."""
    without_news(home)
    options = jupyter("--LabApp.expose_app_in_browser=True")
    with sync_playwright() as playwright, served(home, "jupyterlab", *options) as address:
        browser = playwright.chromium.launch(executable_path=chromium(), args=OPTIONS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        file = notebook(home / "look.ipynb", [OPEN.format(store=str(store)), NEW])
        lab = LabPage(page)
        lab.open(f"{address}/lab/tree/{file.name}")
        lab.command("application:toggle-left-area")
        print(f"{'':<20}{'median':>8}{'slowest':>9}   ms", flush=True)
        for name, times in timed(lab, page):
            median, slowest = statistics.median(times), max(times)
            print(f"{name:<20}{median:>8.0f}{slowest:>9.0f}   of {len(times)}", flush=True)
        browser.close()


def timed(lab: LabPage, page: Page) -> Iterator[tuple[str, list[float]]]:
    """Each gesture, and how long it took, several times."""

    def answered(gestures: Iterable[str], *panels: str) -> list[float]:
        return [answer(page, gesture, panels) for gesture in gestures]

    yield "first view", [first_view(lab, page) for _ in range(3)]
    yield "a session", answered(choices(SESSIONS, range(3, 3 + ROUNDS)), *SESSION)
    yield "another order", answered(choices(".ocs-bar select", [1, 3, 0, 3, 2]), SESSIONS)
    # From here on with the sessions of the most events; the last is the first of them.
    yield "a busy session", answered(choices(SESSIONS, range(ROUNDS, -1, -1)), *SESSION)
    yield "a file", answered(choices(FILES, range(ROUNDS, -1, -1)), CHANGE)
    for name, on in (("a step", ".noUi-handle"), ("an event", CANVAS)):
        yield name, answered([PRESS.format(on=on)] * ROUNDS, CHANGE)

    timeline = TimelinePage(page.locator(".ocs-explorer .ocs-timeline"))
    timeline.canvas.scroll_into_view_if_needed()
    lab.python("None", HEAR.format(trait="selected"))
    shown = on_screen(timeline, int(lab.python("len(explorer._story.events)")))
    yield "click to Python", [heard(lab, timeline, partial(timeline.click, n)) for n in shown]
    lab.python("None", HEAR.format(trait="selection"))
    pairs = itertools.pairwise(shown)
    yield "brush to Python", [heard(lab, timeline, partial(timeline.drag, *two)) for two in pairs]

    # No time of day looks like it: of a session only the title has "24:".
    words = [TYPE.format(box="filter sessions", words=f"{24 + n}:") for n in range(ROUNDS)]
    yield "a filter", answered(words, SESSIONS)
    words = [TYPE.format(box="filter files", words=f"part{n:02}/") for n in range(ROUNDS)]
    yield "a filter of files", answered(words, FILES)
    page.get_by_placeholder("filter sessions").fill("")
    page.get_by_role("button", name="Side by side").click()
    page.locator(SESSIONS).nth(1).locator("option").nth(ROUNDS).wait_for(state="attached")
    besides = choices(SESSIONS, range(1, 1 + ROUNDS), at=1)
    yield "side by side", answered(besides, ".ocs-session + .ocs-session", ".ocs-timeline .scroll")


def first_view(lab: LabPage, page: Page) -> float:
    """Milliseconds from `explore` to the first message, of a page that shows none before."""
    lab.python("None", "if 'explorer' in globals(): explorer.close()")
    page.locator(".ocs-explorer").wait_for(state="detached")
    lab.run_all()
    seen = page.wait_for_function(SHOWN, timeout=1000 * PATIENCE).json_value()
    return 1000 * (float(seen) - float(lab.python("began")))


def choices(list: str, indices: Iterable[int], at: int = 0) -> list[str]:
    """Gestures that choose these options of a list, one after the other."""
    return [CHOOSE.format(list=list, at=at, index=index) for index in indices]


def answer(page: Page, gesture: str, panels: Sequence[str]) -> float:
    """Milliseconds from a gesture until all these panels say something else."""
    limit = 1000 * PATIENCE
    try:
        took = page.wait_for_function(ANSWERED, arg=[gesture, panels], timeout=limit)
    except TimeoutError:
        what = f"Not all of {', '.join(panels)} changed within {PATIENCE} s of this gesture:"
        sys.exit(f"{what}\n{gesture}")
    return float(took.json_value())


def on_screen(timeline: TimelinePage, count: int) -> list[int]:
    """Places of events far from each other, whose rows need no scrolling."""
    stride = count // (ROUNDS + 1)
    starts = range(0, count - stride, stride)
    return [
        next(n for n in range(start, count) if 40 < timeline.where(n)[1] < 400) for start in starts
    ]


def heard(lab: LabPage, timeline: TimelinePage, do: Callable[[], None]) -> float:
    """Milliseconds from the release of the mouse until Python is told."""
    return 1000 * released(lab, timeline, do)


if __name__ == "__main__":
    main()
