"""A real browser on real notebook programs; a run of its own: `pytest tests/browser`.

Whatever a page asks for outside of loopback fails the test that made it. What the pages looked like
is kept in build/screenshots, and with `--docs` the README's pictures in docs.
"""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from chromium import OPTIONS, chromium
from frontends import LabPage, TimelinePage, jupyter, notebook, served, without_news
from playwright.sync_api import Browser, Page, sync_playwright

from opencode_sessions import demo, read_opencode

NOTEBOOK_ERROR = "notebook_core."  # Notebook 7.6 stumbles over a setting of its own, with any page
PICTURES = Path(__file__).parents[2] / "build" / "screenshots"
OWN = r"(data|blob|about|file):|(http|ws)://127\.0\.0\.1:\d+/"
SIZE = {"width": 1400, "height": 1000}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--docs", action="store_true", help="put the README's pictures into docs/")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sharp: on a screen with two pixels for one of CSS")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = chromium()
    if path is None:
        pytest.skip("there is no Chromium on PATH (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page of a new user; its picture is kept, and it may ask for nothing but what is here.

    A parameter is a pattern of what else this program loads by itself.
    """
    sharp = 2 if request.node.get_closest_marker("sharp") else 1
    context = browser.new_context(viewport=SIZE, reduced_motion="reduce", device_scale_factor=sharp)
    page = context.new_page()
    page.set_default_timeout(30_000)
    asked: list[str] = []
    page.on("request", lambda made: asked.append(made.url))
    page.on("websocket", lambda made: asked.append(made.url))
    said: list[str] = []
    page.on("pageerror", lambda error: NOTEBOOK_ERROR in error.stack or said.append(error.stack))
    page.on("dialog", lambda dialog: (said.append(f"dialog: {dialog.message}"), dialog.accept()))
    yield page
    keep(page, re.sub(r"\W+", "-", request.node.name).strip("-"))
    context.close()
    own = re.compile(f"{OWN}|{request.param}" if hasattr(request, "param") else OWN)
    assert [url for url in asked if not own.match(url)] == []
    assert said == []


def keep(page: Page, name: str) -> None:
    """Keeps what the page looks like."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png")


def elsewhere(do: Callable[[], object]) -> None:
    """In a thread of its own: Playwright has a loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(do).result()


@pytest.fixture(scope="session")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recording's file events, as a notebook can read them in no time."""
    folder = tmp_path_factory.mktemp("events")
    file = folder / "events.parquet"
    read_opencode(demo.unpack(folder)).file_events.to_parquet(file)
    return file


@pytest.fixture(scope="session")
def lab_server(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """JupyterLab's address, and the folder it shows."""
    home = tmp_path_factory.mktemp("lab")
    without_news(home)
    options = jupyter("--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly")
    with served(home, "jupyterlab", *options) as address:
        yield address, home


@pytest.fixture
def lab(page: Page, lab_server: tuple[str, Path], request: pytest.FixtureRequest) -> "Lab":
    return Lab(page, *lab_server, name=re.sub(r"\W+", "-", request.node.name))


class Lab(LabPage):
    """A notebook of the test's own in JupyterLab."""

    def __init__(self, page: Page, address: str, folder: Path, name: str) -> None:
        super().__init__(page)
        self._address, self._file = address, folder / f"{name}.ipynb"

    def show(self, *cells: str) -> TimelinePage:
        """Runs these cells in a new notebook; the last one shows a timeline."""
        self.start(*cells)
        shown = TimelinePage(self.page.locator(".ocs-timeline"))
        shown.painted()
        return shown

    def start(self, *cells: str) -> None:
        """Opens a new notebook with these cells and runs them."""
        notebook(self._file, cells)
        self.open(f"{self._address}/lab/workspaces/{self._file.stem}/tree/{self._file.name}")
        self.command("application:toggle-left-area")
        self.run_all()
