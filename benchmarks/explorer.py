"""How soon SessionExplorer shows a large store in JupyterLab, and how soon each click is answered.

    python benchmarks/explorer.py [--sessions 5000] [--events 1000000] [--store sessions.db]

Prints one line a gesture: the median and the slowest, in milliseconds, from the gesture to what it
asked for on the page (the timeline painted, the diff and the message there). The first line is from
`ocs.explore(svc)` in a cell to the first diff. A store that is given is kept and used again.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from generated import generate
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "browser"))

from chromium import OPTIONS, chromium  # noqa: E402
from frontends import LabPage, jupyter, notebook, served, without_news  # noqa: E402

ROUNDS = 15
OPEN = "import time\nimport opencode_sessions as ocs\nsvc = await ocs.open({store!r})"
NEW = "began = time.time()\nexplorer = ocs.explore(svc)\nexplorer"
# Until these panels say something else than before; then one more frame, to be painted.
ANSWERED = """async ([gesture, panels]) => {
    const said = () => panels.map((of) => document.querySelector(`.ocs-explorer ${of}`)?.innerHTML);
    const frame = () => new Promise((then) => requestAnimationFrame(then));
    const before = said(), began = performance.now();
    eval(gesture);
    while (said().some((html, at) => html === undefined || html === before[at])) await frame();
    await frame();
    return performance.now() - began;
}"""
SHOWN = """async () => {
    while (!document.querySelector(".ocs-message")) await new Promise(requestAnimationFrame);
    return Date.now() / 1000;
}"""
CHOOSE = """(() => {{
    const list = document.querySelectorAll(".ocs-explorer {list}")[0];
    list.selectedIndex = {index};
    list.dispatchEvent(new Event("change", {{ bubbles: true }}));
}})()"""
TYPE = """(() => {{
    const box = document.querySelector(".ocs-bar input");
    box.value = {words};
    box.dispatchEvent(new Event("input", {{ bubbles: true }}));
    box.dispatchEvent(new Event("change", {{ bubbles: true }}));
}})()"""


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
        print(f"{'':<16}{'median':>8}{'slowest':>9}   ms, of {ROUNDS}")
        for name, times in timed(lab, page):
            print(f"{name:<16}{statistics.median(times):>8.0f}{max(times):>9.0f}")
        browser.close()


def timed(lab: LabPage, page: Page) -> Iterator[tuple[str, list[float]]]:
    """Each gesture, and how long it took, several times."""
    first = []
    for _ in range(3):
        lab.run_all()
        lab.python_until("'explorer' in globals() and explorer._loading.is_waiting", "False")
        page.locator(".ocs-message").wait_for()
        seen = page.evaluate(SHOWN)
        first.append(1000 * (seen - float(lab.python("began"))))
    yield "first view", first

    change, session = ".ocs-change", ".ocs-session"

    def gestures(text: str, panels: list[str], indices: range) -> list[float]:
        return [page.evaluate(ANSWERED, [text.format(index=n), panels]) for n in indices]

    listed = CHOOSE.replace("{list}", ".ocs-lists select")
    yield "a session", gestures(listed, [session, change], range(3, 3 + ROUNDS))
    listed = CHOOSE.replace("{list}", ".ocs-middle select")
    yield "a file", gestures(listed, [change], range(1, 1 + ROUNDS))
    listed = CHOOSE.replace("{list}", ".ocs-bar select")
    yield "another order", gestures(listed, [".ocs-lists select"], range(1, 4))
    words = [json.dumps(f"task 1{n}") for n in range(ROUNDS)]
    texts = [TYPE.format(words=word) for word in words]
    lists = [".ocs-lists select"]
    yield "a filter", [page.evaluate(ANSWERED, [text, lists]) for text in texts]
    canvas = page.locator(".ocs-timeline canvas")
    canvas.scroll_into_view_if_needed()
    canvas.focus()
    key = (
        'document.querySelector(".ocs-timeline canvas").dispatchEvent('
        'new KeyboardEvent("keydown", {key: "ArrowLeft", bubbles: true}))'
    )
    yield "an event", [page.evaluate(ANSWERED, [key, [change]]) for _ in range(ROUNDS)]


if __name__ == "__main__":
    main()
