"""A notebook, run on a database, as one HTML file that opens without a network."""

import os
from pathlib import Path

# nbconvert's page loads require.js, MathJax and Mermaid from the network; ours needs none of them.
_OFFLINE = """
{%- extends "index.html.j2" -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
"""
_WIDGET = "application/vnd.jupyter.widget-view+json"


def write_page(notebook: Path, database: Path, page: Path) -> None:
    """Run a notebook with `OPENCODE_SESSIONS_DB` set to the database and write it as HTML.

    The notebook's own file is not changed. Where a cell shows a widget, the page has its text.

    Raises:
        ImportError: the `lab` extra is not installed.
        nbclient.exceptions.CellExecutionError: a cell failed; no page is written.
    """
    import ipykernel  # noqa: F401  the kernel runs in a process of its own and would fail late
    import matplotlib  # noqa: F401
    import nbclient
    import nbformat
    from nbconvert.exporters import HTMLExporter

    content = nbformat.read(notebook, as_version=4)
    nbclient.NotebookClient(
        content,
        kernel_name="python3",
        timeout=300,  # seconds a cell; a machine with years of sessions takes its time
        store_widget_state=False,
        resources={"metadata": {"path": str(page.parent.resolve())}},
        extra_arguments=["--log-level=ERROR"],  # it warns of its loopback connection at every start
    ).execute(env={**os.environ, "OPENCODE_SESSIONS_DB": str(database.resolve())})
    for cell in content.cells:
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop(_WIDGET, None)
    exporter = HTMLExporter(raw_template=_OFFLINE)
    html, _ = exporter.from_notebook_node(content, resources={"metadata": {"name": notebook.stem}})
    page.write_text(html, encoding="utf-8")
