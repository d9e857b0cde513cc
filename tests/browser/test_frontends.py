"""FileTimeline in what else shows notebooks: painted, a click reaches Python, nothing loads."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import keep
from frontends import LabPage, TimelinePage, jupyter, notebook, served
from playwright.sync_api import Browser, Page, expect

CLEAN_UP = "ses_dfb94b0edffeI566j7sbRyceyc"
CELL = """import pandas as pd, opencode_sessions as ocs
events = pd.read_parquet({file!r}).query("session_id == '{session}'")
timeline = ocs.FileTimeline(events)
timeline"""
MARIMO = """import marimo

app = marimo.App()


@app.cell
def _():
    import marimo as mo
    import pandas as pd
    import opencode_sessions as ocs
    events = pd.read_parquet({file!r}).query("session_id == '{session}'")
    timeline = mo.ui.anywidget(ocs.FileTimeline(events))
    timeline
    return (mo, timeline)


@app.cell
def _(mo, timeline):
    timeline.value
    mo.md(f"selected: {{timeline.widget.selected}}")
    return


if __name__ == "__main__":
    app.run()
"""


@pytest.fixture
def cell(events: Path) -> str:
    return CELL.format(file=str(events), session=CLEAN_UP)


@pytest.fixture
def chosen(events: Path) -> str:
    return str(pd.read_parquet(events).query("session_id == @CLEAN_UP")["event_id"].iloc[60])


def test_notebook_7(browser: Browser, page: Page, tmp_path: Path, cell: str, chosen: str) -> None:
    notebook(tmp_path / "look.ipynb", [cell])
    with served(
        tmp_path, "notebook", *jupyter("--JupyterNotebookApp.expose_app_in_browser=True")
    ) as at:
        shown = LabPage(page)
        shown.open(f"{at}/notebooks/look.ipynb")
        shown.run_all()
        timeline = TimelinePage(page.locator(".ocs-timeline"))
        timeline.painted(196)
        timeline.click(60)
        shown.python_until("timeline.selected", repr(chosen))
        keep(page, "notebook-7")


@pytest.mark.parametrize("page", [r"https://cdn\.jsdelivr\.net/npm/@fortawesome/"], indirect=True)
def test_voila(browser: Browser, page: Page, tmp_path: Path, cell: str) -> None:
    file = notebook(tmp_path / "look.ipynb", [cell])
    with served(
        tmp_path, "voila", str(file), "--no-browser", "--port={port}", "--Voila.ip=127.0.0.1"
    ) as at:
        page.goto(at, wait_until="domcontentloaded")
        timeline = TimelinePage(page.locator(".ocs-timeline"))
        timeline.painted(196)
        timeline.click(60)
        # What only Python knows: the kernel has heard of it.
        expect(timeline.status).to_contain_text("edit completed · trailmap/difficulty.py")
        keep(page, "voila")


def test_marimo(browser: Browser, page: Page, tmp_path: Path, events: Path, chosen: str) -> None:
    file = tmp_path / "look.py"
    file.write_text(MARIMO.format(file=str(events), session=CLEAN_UP))
    options = ("run", str(file), "--headless", "--host=127.0.0.1", "--port={port}", "--no-token")
    with served(tmp_path, "marimo", *options) as at:
        page.goto(at, wait_until="domcontentloaded")
        timeline = TimelinePage(page.locator(".ocs-timeline"))
        timeline.painted(196)
        timeline.click(60)
        expect(timeline.status).to_contain_text("edit completed · trailmap/difficulty.py")
        expect(page.get_by_text(f"selected: {chosen}")).to_be_visible()
        keep(page, "marimo")
