"""What needs no notebook program: the timeline on any page, and a notebook that was exported."""

import base64
import json
from pathlib import Path

import pandas as pd
import pytest
from conftest import keep
from frontends import TimelinePage
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
