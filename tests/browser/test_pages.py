"""What needs no notebook program: the timeline on any page, and a notebook that was exported."""

import asyncio
import base64
import json
from pathlib import Path

import nbclient
import nbformat
import pandas as pd
import pytest
from conftest import PICTURES, elsewhere, keep
from frontends import TimelinePage, notebook
from nbconvert.exporters import HTMLExporter
from playwright.sync_api import Page, expect

from opencode_sessions.showing.picture import Picture
from opencode_sessions.widgets import timeline

CLEAN_UP = "ses_dfb94b0edffeI566j7sbRyceyc"  # 196 events on 30 files in seven turns
SCRIPT = (Path(timeline.__file__).parent / "static" / "timeline.js").read_text(encoding="utf-8")
PAGE = """<!doctype html><meta charset="utf-8"><style>:root {{ color-scheme: {scheme} }}
body {{ background: Canvas; margin: 20px }}</style><div id="here"></div>
<script type="module">{script}
const said = {said};
window.shown = draw(document.querySelector("#here"), {data}, (place) => said[place]);
window.chosen = [];
window.shown.on("selected", (place) => window.chosen.push(place));
</script>"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_any_page_can_draw_a_timeline(
    page: Page, events: Path, tmp_path: Path, scheme: str
) -> None:
    picture = Picture(pd.read_parquet(events).query("session_id == @CLEAN_UP"))
    data = {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for name, value in picture.wire().items()
    }
    said = [picture.details(place) for place in range(len(picture))]
    file = tmp_path / "page.html"
    texts = {"data": json.dumps({**data, "selected": 60}), "said": json.dumps(said)}
    file.write_text(PAGE.format(script=SCRIPT, scheme=scheme, **texts))
    page.goto(file.as_uri())

    shown = TimelinePage(page.locator(".ocs-timeline"))
    shown.painted(196)
    assert (shown.paper() > 200) == (scheme == "light")
    expect(shown.status).to_contain_text("event 61 of 196 · edit completed · trailmap/difficulty")
    shown.click(37)
    expect(shown.status).to_contain_text("Could not find oldString")
    page.evaluate("shown.set('selected', 7)")
    expect(shown.status).to_contain_text("event 8 of 196")
    assert page.evaluate("[shown.get('selected'), chosen]") == [7, [37, 7]]
    shown.drag(20, 49)
    assert page.evaluate("shown.get('brushed')") == [20, 49]
    page.evaluate("shown.set('axis', 'time')")
    expect(shown.root.get_by_role("button", name="time", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )
    keep(page, f"any-page-{scheme}")
    page.evaluate("shown.remove()")
    expect(shown.root).to_have_count(0)


CELLS = [
    "import pandas as pd, opencode_sessions as ocs, tempfile\n"
    "svc = ocs.OpencodeSessionService()\n"
    "report = await svc.import_opencode(ocs.demo.unpack(tempfile.mkdtemp()), progress=False)\n"
    "report",
    "svc",
    f"frames = await svc.frames()\nsession = await svc.get_session({CLEAN_UP!r})\nsession",
    "frames",
    f"ocs.FileTimeline(frames.file_events[frames.file_events['session_id'] == {CLEAN_UP!r}])",
    f"explorer = ocs.explore(svc)\nexplorer.session = {CLEAN_UP!r}\nawait explorer.settled()\n"
    "explorer",
]


# Numbers of lines stand in their columns: a page's own rules for tables make these narrower.
BEFORE_ITS_EDGE = """(cells) => cells.every((cell) => {
    const text = document.createRange();
    text.selectNodeContents(cell);
    const { left, right } = cell.getBoundingClientRect(), said = text.getBoundingClientRect();
    return !said.width || (left < said.left && said.right < right);
})"""


# nbconvert's own page asks for these, whatever is on it; here nobody answers.
@pytest.mark.parametrize("page", [r"https://cdnjs\.cloudflare\.com/ajax/libs/"], indirect=True)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_exported_notebook_shows_it_all_offline(page: Page, tmp_path: Path, scheme: str) -> None:
    content = nbformat.read(notebook(tmp_path / "look.ipynb", CELLS), as_version=4)
    client = nbclient.NotebookClient(content, kernel_name="python3", store_widget_state=False)
    elsewhere(lambda: asyncio.run(client.async_execute()))
    html, _ = HTMLExporter(theme=scheme).from_notebook_node(content)
    (tmp_path / "look.html").write_text(html)
    page.goto((tmp_path / "look.html").as_uri(), wait_until="domcontentloaded")

    for said in ("tool calls", "newest", "Clean up before 0.3", ".file_events"):
        expect(page.locator("table", has_text=said).first).to_be_visible()
    timeline, explorer = (page.locator("div.ocs:has(> svg)").nth(n) for n in (0, 1))
    for shown in (timeline, explorer):
        expect(shown.locator("> svg")).to_be_visible()
        expect(shown.locator("> svg")).to_contain_text("trailmap/storage.py")
    expect(explorer.locator(".ocs-session")).to_contain_text("196 events")
    expect(explorer.locator(".ocs-message")).to_contain_text("Prompt")
    expect(explorer.locator(".ocs-diff tr.add").first).to_be_visible()
    assert explorer.locator(".ocs-diff td.n").evaluate_all(BEFORE_ITS_EDGE)
    explorer.screenshot(path=PICTURES / f"exported-{scheme}.png")
