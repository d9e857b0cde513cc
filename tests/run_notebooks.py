"""Runs the notebooks and writes them back with their outputs: `python tests/run_notebooks.py [03]`.

They run on the recording alone, in an empty folder, as on a machine without opencode. What is kept
is what anyone may see: no widget state, no progress bars, no times of the run. In place of a widget
stands what it would show on an exported page, as a PNG: GitHub takes styles and SVG out of HTML.
"""

import base64
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import nbclient
import nbformat
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parent / "browser"))

from chromium import OPTIONS, chromium
from pictures import small

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"
WIDE, SCALE = 1000, 1.5  # CSS pixels, and those of the PNG for each
PAGE = (
    "<style>:root { color-scheme: light } body { margin: 0 } .ocs { padding: 1px 6px 6px }</style>"
)


def run(
    notebook: nbformat.NotebookNode, folder: Path, extra_env: Mapping[str, str] | None = None
) -> None:
    """Executes a notebook in an empty folder, its own or the machine's data out of reach.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("OPENCODE")}
    env |= {"XDG_DATA_HOME": str(folder / "data"), **(extra_env or {})}
    nbclient.NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=120,  # seconds a cell
        store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
        extra_arguments=["--log-level=ERROR"],  # it warns of its loopback connection
    ).execute(env=env)


def picture_widgets(notebook: nbformat.NotebookNode) -> None:
    """Puts a PNG in place of each widget's HTML."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    shown = [
        output.data for output in outputs if {WIDGET, "text/html"} <= {*output.get("data", {})}
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=OPTIONS)
        page = browser.new_page(
            viewport={"width": WIDE, "height": WIDE}, device_scale_factor=SCALE, offline=True
        )
        for data in shown:
            page.set_content(PAGE + data.pop("text/html"))
            picture = small(page.locator(".ocs").first.screenshot())
            data["image/png"] = base64.b64encode(picture).decode()
        browser.close()


def keep_what_anyone_may_see(notebook: nbformat.NotebookNode) -> None:
    """Takes out of a notebook what belongs to one run of it."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")  # "parameters": the reader's to set
        cell.metadata = {"tags": tags} if tags else {}
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            data.pop(WIDGET, None)
            if "text/plain" in data:  # where an object lay in memory
                data["text/plain"] = re.sub(" at 0x[0-9a-f]+>", ">", data["text/plain"])
        if cell.cell_type == "code":  # a progress bar has text alone
            cell.outputs = [each for each in cell.outputs if not _is_bar(each)]
        if "SparkSession.builder" in cell.source:  # its JVM tells of itself as it starts
            cell.outputs = [each for each in cell.outputs if each.output_type != "stream"]


def _is_bar(output: nbformat.NotebookNode) -> bool:
    return output.output_type == "display_data" and list(output.data) == ["text/plain"]


if __name__ == "__main__":
    for path in sorted(NOTEBOOKS.glob(f"*{''.join(sys.argv[1:])}*.ipynb")):
        content = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as empty:
            run(content, Path(empty))
        picture_widgets(content)
        keep_what_anyone_may_see(content)
        nbformat.write(content, path)
        print(path.name)
