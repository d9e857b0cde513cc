"""A notebook, run on a database, as one HTML file that opens without a network."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OpencodeSessionsError

if TYPE_CHECKING:
    from nbformat import NotebookNode

# nbconvert's page loads require.js, MathJax and Mermaid from the network; ours needs none of them.
_OFFLINE = """
{%- extends "index.html.j2" -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
"""
_WIDGET = "application/vnd.jupyter.widget-view+json"


def notebook_folder() -> Path:
    """The notebooks of the installed package, else those beside it in the source tree."""
    installed = Path(__file__).parents[1] / "_notebooks"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "notebooks"


def write_page(notebook: Path, page: Path, environ: Mapping[str, str]) -> None:
    """Run a notebook in the page's folder, with these variables set, and write it as HTML.

    The notebook's own file is not changed. Where a cell shows a widget, the page has its HTML.

    Raises:
        ImportError: the `lab` extra is not installed.
        OpencodeSessionsError: a cell failed; no page is written.
    """
    import ipykernel  # noqa: F401  the kernel runs in a process of its own and would fail late
    import matplotlib  # noqa: F401
    import nbclient
    import nbformat
    from nbconvert.exporters import HTMLExporter

    content = nbformat.read(notebook, as_version=4)
    client = nbclient.NotebookClient(
        content,
        kernel_name="python3",
        timeout=300,  # seconds a cell; a machine with years of sessions takes its time
        store_widget_state=False,
        shutdown_kernel="immediate",  # its own warning fails it, where warnings are errors
        resources={"metadata": {"path": str(page.parent.resolve())}},
        extra_arguments=["--log-level=ERROR"],  # it warns of its loopback connection at every start
    )
    try:
        client.execute(env={**os.environ, **environ})
    except nbclient.exceptions.CellExecutionError as error:
        raise OpencodeSessionsError(
            f"{notebook.name} stopped at {error.ename}: {error.evalue}"
        ) from error
    for cell in content.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _is_for_a_page(output)]
    exporter = HTMLExporter(raw_template=_OFFLINE)
    html, _ = exporter.from_notebook_node(content, resources={"metadata": {"name": notebook.stem}})
    page.write_text(html, encoding="utf-8")


def _is_for_a_page(output: "NotebookNode") -> bool:
    """Whether an output, now without its widget, says more than a progress bar."""
    data = output.get("data", {})
    return data.pop(_WIDGET, None) is None or set(data) > {"text/plain"}
