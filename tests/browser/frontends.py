"""The programs that show notebooks, each on a free port of loopback and in a home of its own.

Each is ended by its own id, and a JupyterLab page can be asked what its kernel knows.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Locator, Page

TOKEN = "loopback"
PATIENCE = 90  # seconds for a server or a kernel to start on a busy machine
LIFETIME = 600  # seconds without work until a server ends that nobody could end
LOOPBACK = urllib.request.build_opener(urllib.request.ProxyHandler({}))
NO_NEWS = {"fetchNews": "false", "checkForUpdates": False}  # else it asks, over the page


@contextmanager
def served(home: Path, module: str, *options: str) -> Iterator[str]:
    """Runs `python -m module` with these options in `home`; gives its address once it answers.

    "{port}" in an option becomes the port.

    Raises:
        RuntimeError: it ended or did not answer; the message has what it printed.
    """
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    said = home / f"{module}.log"
    command = [sys.executable, "-m", module, *(option.format(port=port) for option in options)]
    with said.open("wb") as log:
        process = subprocess.Popen(
            command, cwd=home, env=_own(home), stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait_for(address, process, said)
        yield address
    finally:
        _end(process)


def jupyter(*apps: str) -> tuple[str, ...]:
    """The options of a Jupyter server; `apps` are those of the program in front of it."""
    root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    return (
        "--no-browser", "--ip=127.0.0.1", "--port={port}", "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={TOKEN}", f"--ServerApp.shutdown_no_activity_timeout={LIFETIME}",
        f"--MappingKernelManager.cull_idle_timeout={LIFETIME}", *root, *apps,
    )  # fmt: skip


def without_news(home: Path) -> None:
    """Sets a JupyterLab in this home to ask nothing by itself."""
    file = home / "settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(NO_NEWS))


def notebook(file: Path, cells: Sequence[str]) -> Path:
    """Writes a notebook with these cells of code."""
    content = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
        },
        "cells": [
            {
                "cell_type": "code", "id": f"cell-{number}", "metadata": {}, "outputs": [],
                "execution_count": None, "source": source,
            }
            for number, source in enumerate(cells)
        ],
    }  # fmt: skip
    file.write_text(json.dumps(content))
    return file


class LabPage:
    """One notebook in one page of JupyterLab or Notebook 7."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def open(self, address: str) -> None:
        """Opens the notebook at this address and waits for its kernel."""
        self.page.goto(f"{address}?token={TOKEN}")
        self.page.wait_for_function(
            f"name => {NOTEBOOK}?.context?.path === name"
            f" && {KERNEL}?.connectionStatus === 'connected'",
            arg=address.rpartition("/")[2],
            timeout=PATIENCE * 1000,
        )

    def command(self, name: str, **options: object) -> None:
        """Has the page do one of its own commands; does not wait for the end of it."""
        self.page.evaluate(
            "([name, options]) => { window.jupyterapp.commands.execute(name, options); }",
            [name, options],
        )

    def run_all(self) -> None:
        """Runs all cells."""
        self.command("notebook:run-all-cells")

    def python(self, expression: str, *before: str) -> str:
        """The repr of an expression in the kernel, once these statements have run."""
        code = json.dumps("\n".join(before))
        answer = self.page.wait_for_function(  # as `evaluate` waits for ever
            f"""async (expression) => {{
                const asked = {KERNEL}.requestExecute({{
                    code: {code}, store_history: false, user_expressions: {{ it: expression }} }});
                const content = (await asked.done).content;
                return content.user_expressions?.it ?? content;
            }}""",
            arg=expression,
            timeout=PATIENCE * 1000,
        ).json_value()
        if answer["status"] != "ok":
            raise RuntimeError(f"{answer['ename']}: {answer['evalue']}")
        return str(answer["data"]["text/plain"])

    def python_until(self, expression: str, wanted: str) -> None:
        """Waits until the kernel says so: what is clicked gets there a moment later."""
        end = time.monotonic() + 20
        while (got := self.python(expression)) != wanted:
            assert time.monotonic() < end, f"{expression} is {got}, not {wanted}"


class TimelinePage:
    """A FileTimeline on a page, whichever program shows it."""

    def __init__(self, root: Locator) -> None:
        self.root = root
        self.canvas = root.locator("canvas")
        self.status = root.locator(".status")

    def painted(self, count: int | None = None) -> None:
        """Waits until the picture has that many events in view, or any."""
        wanted = "[data-painted]" if count is None else f"[data-painted='{count}']"
        self.root.locator(f"canvas{wanted}").wait_for(timeout=PATIENCE * 1000)

    def seen(self) -> int:
        """How many events are in view, once what was asked for is painted."""
        self.root.evaluate(
            "() => new Promise((then) => requestAnimationFrame(() => requestAnimationFrame(then)))"
        )
        return int(self.canvas.get_attribute("data-painted") or 0)

    def where(self, place: int) -> tuple[float, float]:
        """Where the event is on the canvas."""
        at = self.root.evaluate("(root, place) => root.timeline.where(place)", place)
        return at["x"], at["y"]

    def click(self, place: int) -> None:
        """Clicks on the event."""
        x, y = self.where(place)
        self.canvas.click(position={"x": x, "y": y})

    def drag(self, first: int, last: int) -> None:
        """Brushes from one event to another."""
        mouse = self.root.page.mouse
        for step, (place, aside) in enumerate([(first, -0.2), (last, 0.2)]):
            at = self.root.evaluate("(root, place) => root.timeline.where(place)", place)
            mouse.move(at["left"] + aside, at["top"] + 6, steps=6)
            mouse.up() if step else mouse.down()

    def paper(self) -> int:
        """How light the picture's ground is, from 0 to 255."""
        corner = "canvas => canvas.getContext('2d').getImageData(0, 0, 1, 1).data[0]"
        return int(self.canvas.evaluate(corner))


NOTEBOOK = "window.jupyterapp?.shell?.currentWidget"
KERNEL = f"{NOTEBOOK}?.sessionContext?.session?.kernel"


def _own(home: Path) -> dict[str, str]:
    """A user who has set nothing: neither of this machine nor of another test."""
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("JUPYTER", "IPYTHON", "XDG_", "MARIMO", "OPENCODE"))
    }
    names = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "IPYTHONDIR": "ipython"}
    names |= {"JUPYTER_RUNTIME_DIR": "runtime", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
    names |= {"JUPYTERLAB_SETTINGS_DIR": "settings"}
    folders = {name: str(home / folder) for name, folder in names.items()}
    return {**environ, **folders, "HOME": str(home)}


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def _wait_for(address: str, process: "subprocess.Popen[bytes]", said: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        try:
            # Not the page itself: asking Voila for that starts a kernel.
            LOOPBACK.open(f"{address}/static/none", timeout=5).close()
            return
        except urllib.error.HTTPError:  # it answers, if only that there is no such thing
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"{process.args} did not start:\n{said.read_text(errors='replace')}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends it and the kernels it started, which are of its group."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
            process.wait(timeout=10)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
