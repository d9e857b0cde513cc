"""Terminal IPython through a pty, as a person drives it: its loop runs only while a cell awaits."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from opencode_sessions import demo

WAIT = 60  # seconds until the terminal is given up; nothing here takes more than a few
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r")


class Terminal:
    """An ipython, its prompts awaited one by one."""

    def __init__(self, folder: Path) -> None:
        options = ["--simple-prompt", "--no-banner", "--no-confirm-exit", "--colors=NoColor"]
        self.process = pexpect.spawn(
            sys.executable,
            ["-m", "IPython", *options],
            cwd=str(folder),
            encoding="utf-8",
            dimensions=(50, 200),
            timeout=WAIT,
            echo=False,
        )
        self._count = 1
        self._await_prompt()

    def run(self, cell: str) -> str:
        """What the terminal shows for a line until the next prompt."""
        self.process.sendline(cell)
        self._count += 1
        return self._await_prompt()

    def fail(self, cell: str) -> str:
        """The same for a line that must raise; the number of the prompt goes on."""
        shown = self.run(cell)
        assert "Traceback" in shown
        return shown

    def leave(self) -> int | None:
        self.process.sendline("exit")
        self.process.expect(pexpect.EOF)
        self.process.wait()
        return self.process.exitstatus

    def _await_prompt(self) -> str:
        self.process.expect_exact(f"In [{self._count}]: ")
        return CONTROL.sub("", self.process.before or "").strip()


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    demo.unpack(tmp_path)
    terminal = Terminal(tmp_path)
    yield terminal
    if terminal.process.isalive():
        terminal.process.terminate(force=True)


@pytest.mark.parametrize("store", ["ocs.OpencodeSessionService()", "await ocs.open('own.db')"])
def test_a_session_at_the_prompt(terminal: Terminal, store: str) -> None:
    terminal.run("import warnings; warnings.simplefilter('error')")
    terminal.run("import opencode_sessions as ocs")
    terminal.run(f"svc = {store}")
    assert "20" in terminal.run("await svc.import_opencode('opencode.db', progress=False)")
    assert "20 rows" in terminal.run("frames = await svc.frames(); frames")

    shown = terminal.fail("await svc.file_events('ses_nope')")
    assert "SessionNotFound: No session 'ses_nope'" in shown
    assert terminal.run("len(await svc.file_events('ses_dfb90f25effeDe0GsDxWMywL0H'))").endswith(
        "38"
    )

    terminal.run("made = await svc.get_or_create_session('ses_mine', title='By hand')")
    assert "'By hand'" in terminal.run("(await svc.get_session('ses_mine')).title")
    assert terminal.leave() == 0


def test_the_explorer_at_the_prompt(terminal: Terminal) -> None:
    terminal.run("import opencode_sessions as ocs")
    terminal.run("svc = await ocs.open('own.db')")
    terminal.run("report = await svc.import_opencode('opencode.db', progress=False)")
    assert "await explorer.settled()" in terminal.run("explorer = ocs.explore(svc); explorer")
    terminal.run("await explorer.settled()")
    assert "'Release 0.3.0': CHANGELOG.md, 3 events" in terminal.run("explorer")
    terminal.run("explorer.session = 'ses_dfb94b0edffeI566j7sbRyceyc'")
    terminal.run("await explorer.settled()")
    assert "16" in terminal.run("explorer.problem, len(explorer.events)")
    assert terminal.leave() == 0


def test_frames_without_a_single_await(terminal: Terminal) -> None:
    terminal.run("import opencode_sessions as ocs")
    terminal.run("frames = ocs.read_opencode('opencode.db')")
    assert "Release 0.3.0" in terminal.run("ocs.explore(frames)")
    assert terminal.leave() == 0
