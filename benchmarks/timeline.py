"""How soon FileTimeline shows many events in JupyterLab, and how soon a click is known.

    python -m benchmarks.timeline [events ...]

Prints one line a size, of the best of three: seconds from `ocs.FileTimeline(events)` to its pixels
("new"), and from `timeline.events = events` ("other"), each with the part of it that is Python's;
milliseconds from the release of the mouse to Python's `timeline.selected`. The events are those of
the packaged recording over and over, on made-up files.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "browser"))

from chromium import OPTIONS, chromium  # noqa: E402
from frontends import LabPage, TimelinePage, jupyter, notebook, served, without_news  # noqa: E402

SIZES = (20_000, 200_000, 1_000_000)
ROUNDS = 3
FILES = 3_000

MAKE = f"""
import tempfile, time
import numpy as np, pandas as pd
import opencode_sessions as ocs

def made(count):
    rng = np.random.default_rng(1)
    one = ocs.read_opencode(ocs.demo.unpack(tempfile.mkdtemp())).file_events
    events = one.iloc[rng.integers(len(one), size=count)].reset_index(drop=True)
    names = np.array([f"src/part{{n % 40}}/file_{{n}}.py" for n in range({FILES})])
    which = (rng.pareto(0.7, count) * 5).astype(int) % {FILES}
    return events.assign(
        event_id=[f"prt_{{n}}" for n in range(count)],
        session_id=pd.Categorical.from_codes(np.zeros(count, int), ["ses_1"]),
        seq=pd.array(np.arange(count), "Int32"),
        turn=pd.array(1 + np.arange(count) // 500, "Int32"),
        time=pd.Timestamp("2026-03-01", tz="UTC").as_unit("us")
        + pd.to_timedelta(np.arange(count) * 3, unit="s").as_unit("us"),
        file_path=pd.Series(names[which]).where(events["event_type"] != "bash").astype("category"),
        new_file_path=pd.Series(names[which] + "x")
        .where((events["event_type"] == "move") & (which % 100 == 7))
        .astype("category"),
    )

frames = {{size: made(size) for size in SIZES}}
heard = []
timeline = None
"""
NEW = """
began = time.time()
timeline = ocs.FileTimeline(frames[{size}])
made_in = time.time() - began
timeline.observe(lambda change: heard.append(time.time()), "selected")
timeline
"""
SHOWN = """(count) => {
    const canvas = document.querySelector(".ocs-timeline canvas");
    return Number(canvas?.dataset.painted) === count && Date.now() / 1000;
}"""


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", nargs="*", type=int, default=SIZES)
    sizes = parser.parse_args().events
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        home = Path(folder)
        without_news(home)
        browser = playwright.chromium.launch(executable_path=chromium(), args=OPTIONS)
        options = jupyter("--LabApp.expose_app_in_browser=True")
        with served(home, "jupyterlab", *options) as address:
            print(f"{'events':>10}  {'new (Python)':>16}  {'other (Python)':>16}  {'click':>8}")
            for size in sizes:
                page = browser.new_page(viewport={"width": 1400, "height": 1000})
                best = measured(page, home, address, size)
                print(
                    f"{size:>10,}  {best[0]:>6.2f} s ({best[1]:.2f} s)  {best[2]:>6.2f} s"
                    f" ({best[3]:.2f} s)  {best[4] * 1000:>5.0f} ms"
                )
                page.close()
        browser.close()


def measured(page: Page, home: Path, address: str, size: int) -> list[float]:
    """The best of some rounds: new, Python's part, other, Python's part, click; in seconds."""
    file = notebook(home / f"events-{size}.ipynb", [NEW.format(size=size)])
    lab = LabPage(page)
    lab.open(f"{address}/lab/workspaces/{size}/tree/{file.name}")
    lab.command("application:toggle-left-area")
    lab.python("len(frames)", MAKE.replace("SIZES", f"[{size}]"))
    rounds = []
    for _ in range(ROUNDS):
        lab.python("None", "timeline and timeline.close()")
        page.locator(".ocs-timeline").wait_for(state="detached")
        lab.run_all()
        seen = page.wait_for_function(SHOWN, arg=size).json_value()
        new = seen - float(lab.python("began"))
        made = float(lab.python("made_in"))

        lab.python("None", "timeline.events = frames[" + str(size) + "].head(10)")
        TimelinePage(page.locator(".ocs-timeline")).painted(10)
        lab.python(
            "None",
            "began = time.time()",
            f"timeline.events = frames[{size}]",
            "made_in = time.time() - began",
        )
        seen = page.wait_for_function(SHOWN, arg=size).json_value()
        other = seen - float(lab.python("began"))
        again = float(lab.python("made_in"))
        rounds.append([new, made, other, again, clicked(lab, page, size)])
    return [min(each) for each in zip(*rounds, strict=True)]


def clicked(lab: LabPage, page: Page, size: int) -> float:
    """Seconds from the release of the mouse until Python has called who asked for `selected`."""
    timeline = TimelinePage(page.locator(".ocs-timeline"))
    place = size // 2
    while timeline.where(place)[1] > 500:  # of a row that is on the screen
        place += 1
    return released(lab, timeline, lambda: timeline.click(place))


def released(lab: LabPage, timeline: TimelinePage, do: Callable[[], None]) -> float:
    """Seconds from the release of the mouse, which `do` ends with, to the first time in `heard`."""
    timeline.canvas.evaluate(
        "() => window.addEventListener('pointerup',"
        " () => { window.released = Date.now() / 1000; }, { once: true, capture: true })"
    )
    do()
    lab.python_until("len(heard) > 0", "True")
    told = float(lab.python("heard[0]"))
    lab.python("None", "heard.clear()")
    return told - float(timeline.root.page.evaluate("window.released"))


if __name__ == "__main__":
    main()
