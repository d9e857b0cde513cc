"""What surrounds the notebooks; `pytest --nbmake notebooks` runs them.

nbmake sees no error of a widget's callback: so that is broken here on purpose, and must turn the
notebook red.
"""

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from nbclient.exceptions import CellExecutionError
from run_notebooks import NOTEBOOKS, WIDGET, keep_what_anyone_may_see, run

import opencode_sessions as ocs

PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
OPENING = """import warnings

warnings.simplefilter("error")"""
BREAK_THE_CALLBACK = """
async def broken(self, *args, **kwargs):
    raise RuntimeError("broken on purpose")

ocs.OpencodeSessionService.file_events = broken
"""


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> nbformat.NotebookNode:
    return nbformat.read(request.param, as_version=4)


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def drives_a_widget(cell: nbformat.NotebookNode) -> bool:
    return "ocs.explore(" in cell.source


def test_a_notebook_opens_with_the_package_and_warnings_as_errors(
    notebook: nbformat.NotebookNode,
) -> None:
    first = code(notebook)[0].source
    assert first.startswith(OPENING)
    assert first.endswith("import opencode_sessions as ocs")


def test_a_notebook_is_committed_as_it_ran(notebook: nbformat.NotebookNode) -> None:
    cells = code(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert any("text/html" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output.get("name") == "stderr"]


def test_a_committed_notebook_says_nothing_of_where_it_ran(
    notebook: nbformat.NotebookNode,
) -> None:
    before = nbformat.writes(notebook)
    keep_what_anyone_may_see(notebook)
    assert nbformat.writes(notebook) == before
    assert WIDGET not in before
    for place in (tempfile.gettempdir(), str(Path.home()), str(NOTEBOOKS.parent), sys.prefix):
        assert f"{place}/" not in before


def test_a_committed_widget_is_a_picture_that_shows_anywhere(
    notebook: nbformat.NotebookNode,
) -> None:
    """GitHub, where a notebook is opened first, takes styles and SVG out of HTML."""
    outputs = [output for cell in code(notebook) for output in cell.outputs]
    widgets = [
        set(output.data)
        for output in outputs
        if output.get("data", {}).get("text/plain", "").startswith(("<SessionExp", "<FileTime"))
    ]
    assert all(kinds == {"text/plain", "image/png"} for kinds in widgets)
    assert bool(widgets) == any(map(drives_a_widget, code(notebook)))


def test_the_first_notebook_shows_the_recording_by_its_name() -> None:
    text = PATHS[0].read_text(encoding="utf-8")
    assert "Docstrings for the public functions" in text
    assert text.count("scripted replay") > 2


def test_a_notebook_waits_for_its_widget_and_asks_what_went_wrong(
    notebook: nbformat.NotebookNode,
) -> None:
    for cell in filter(drives_a_widget, code(notebook)):
        assert "await explorer.settled()\nassert not explorer.problem" in cell.source


def test_a_broken_callback_turns_the_notebook_red(tmp_path: Path) -> None:
    driving = []
    for path in PATHS:
        notebook = nbformat.read(path, as_version=4)
        widget = next(filter(drives_a_widget, code(notebook)), None)
        if widget is not None:
            driving.append(path.stem)
            widget.source = BREAK_THE_CALLBACK + widget.source
            notebook.cells = [cell for cell in notebook.cells if "ocs.plots." not in cell.source]
            with pytest.raises(CellExecutionError, match="broken on purpose") as raised:
                run(notebook, tmp_path)
            assert raised.value.ename == "AssertionError"
    assert driving == ["01_first_look", "03_file_timelines", "04_what_went_wrong"]


@pytest.mark.parametrize(
    "name", ["03_file_timelines", "04_what_went_wrong", "05_what_opencode_missed"]
)
def test_a_notebook_takes_the_readers_own_store(name: str, tmp_path: Path) -> None:
    async def make() -> None:
        async with await ocs.open(tmp_path / "own.db") as svc:
            recording = ocs.demo.unpack(tmp_path)
            await svc.import_opencode(recording, since="2026-11-22 18:04", progress=False)

    asyncio.run(make())
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    (cell,) = (cell for cell in notebook.cells if cell.metadata.get("tags") == ["parameters"])
    assert cell.source.startswith("database = None")
    own = f"database = {str(tmp_path / 'own.db')!r}"
    cell.source = cell.source.replace("database = None", own, 1)
    run(notebook, tmp_path)


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[BlockingKernelClient]:
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(tmp_path), extra_arguments=["--log-level=ERROR"])
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    yield client
    client.stop_channels()
    manager.shutdown_kernel()


def run_cell(kernel: BlockingKernelClient, cell_id: str, source: str) -> str:
    """What a cell prints, run as a notebook does: with its id."""
    content = {"code": source, "silent": False, "store_history": True, "allow_stdin": False}
    request = kernel.session.msg("execute_request", content, metadata={"cellId": cell_id})
    kernel.shell_channel.send(request)
    printed = ""
    while True:
        message = kernel.get_iopub_msg(timeout=60)
        if message["parent_header"].get("msg_id") != request["header"]["msg_id"]:
            continue
        assert message["msg_type"] != "error", message["content"]["traceback"]
        if message["msg_type"] == "stream":
            printed += message["content"]["text"]
        elif message["content"].get("execution_state") == "idle":
            return printed.strip()


def test_a_cell_that_runs_again_leaves_one_explorer(kernel: BlockingKernelClient) -> None:
    run_cell(kernel, "a", "import opencode_sessions as ocs, ipywidgets.widgets.widget as w")
    run_cell(kernel, "a", "svc = ocs.OpencodeSessionService(); made = []")
    count = "print(len(w._instances))"
    make = "made.append(ocs.explore(svc)); await made[-1].settled()"
    run_cell(kernel, "b", make)
    one = int(run_cell(kernel, "c", count))
    assert one > 10
    for _ in range(3):
        run_cell(kernel, "b", make)
        assert int(run_cell(kernel, "c", count)) == one
    run_cell(kernel, "d", make)
    assert int(run_cell(kernel, "c", count)) == 2 * one
    run_cell(kernel, "b", "'no explorer any more'")
    assert int(run_cell(kernel, "c", count)) == one
    assert run_cell(kernel, "e", "print(made[-1].problem, made[0].comm)") == "None None"
